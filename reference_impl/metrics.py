"""What is counted and measured: the families, and how a worker counts.

A family appears among the metrics on its first use; those without labels and those whose labels
are known beforehand begin at zero. The values of labels are closed sets: route templates, never
paths; no ids, and nothing that a client made up.
"""

import bisect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .metrics_store import Store

LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Edges at the limits that requirements name: 20, 50, 100 and 200 ms."""
GROUP = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: its name, what it is, and how the workers' numbers become one."""

    name: str
    """As exposed; a counter's ends in _total."""
    help: str
    kind: str = "counter"
    """counter, gauge or histogram."""
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    """Upper edges of a histogram's buckets, without the infinite one."""
    merge: str = "sum"
    """sum, or max for a gauge that every worker knows."""


REQUESTS = Family(
    name="http_server_request_duration_seconds",
    help="Time from the request's head to its answer, by method, route template and status.",
    kind="histogram",
    labels=("method", "route", "status"),
    edges=LATENCY_S,
)
ACTIVE = Family(
    name="http_server_active_requests", help="Requests being answered now.", kind="gauge"
)
PROBLEMS = Family(
    name="http_server_problems_total",
    help="Answers that were problem documents, by problem code.",
    labels=("code",),
)
THREADS = Family(
    name="http_server_threads", help="Requests that can be answered at once.", kind="gauge"
)
QUEUE = Family(name="writer_queue_length", help="Writes that wait for a turn.", kind="gauge")
QUEUE_MAX = Family(name="writer_queue_limit", help="Writes that may wait.", kind="gauge")
LOGGED = Family(
    name="log_records_total", help="Lines logged, access lines apart, by level.", labels=("level",)
)
LOG_DROPPED = Family(
    name="access_log_dropped_total", help="Access lines that were lost: the reader was too slow."
)
COMMITS = Family(
    name="db_commit_duration_seconds",
    help="Time of a commit of a group of writes, waiting for other workers included.",
    kind="histogram",
    edges=LATENCY_S,
)
GROUPS = Family(
    name="db_commit_group_size",
    help="Writes that were committed together.",
    kind="histogram",
    edges=GROUP,
)
FAILURES = Family(
    name="db_commit_failures_total",
    help="Groups of writes that could not be committed: busy, full, lost_disk or other.",
    labels=("reason",),
)
READS = Family(
    name="db_read_duration_seconds",
    help="Time of the queries of one request that see one state of the book.",
    kind="histogram",
    edges=LATENCY_S,
)
CACHE_LOOKUPS = Family(
    name="cache_lookups_total",
    help="Values looked for in the memory of the workers, by cache and whether they were there.",
    labels=("cache", "outcome"),
)
CPU = Family(name="process_cpu_seconds_total", help="Processor time of the workers.")
MEMORY = Family(
    name="process_resident_memory_bytes", help="Resident memory of the workers.", kind="gauge"
)
FILES = Family(name="process_open_fds", help="Open files of the workers.", kind="gauge")
FILES_MAX = Family(
    name="process_max_fds", help="Open files that one worker may have.", kind="gauge", merge="max"
)
WORKERS = Family(name="process_workers", help="Workers that run.", kind="gauge")
WORKER_STARTS = Family(name="process_worker_starts_total", help="Workers that were started.")
JOB_RUNS = Family(
    name="background_runs_total", help="Steps of work in the background, by job.", labels=("job",)
)
JOB_FAILURES = Family(
    name="background_failures_total",
    help="Steps of work in the background that failed, by job.",
    labels=("job",),
)

CALLS = Family(
    name="integration_call_duration_seconds",
    help="Calls to an outside system, by how they ended.",
    kind="histogram",
    labels=("system", "outcome"),
    edges=LATENCY_S,
)
CALLS_ACTIVE = Family(
    name="integration_calls_active",
    help="Calls to an outside system that are under way.",
    kind="gauge",
    labels=("system",),
)
RETRIES = Family(
    name="integration_retries_total",
    help="Attempts of calls to an outside system beyond the first.",
    labels=("system",),
)
REJECTED = Family(
    name="integration_rejected_total",
    help="Calls that were not made: not_configured, open (the breaker) or full (too many).",
    labels=("system", "reason"),
)
RESULTS = Family(
    name="strategy_results_total",
    help="Results of strategies, by outcome: booked, refused or repeated.",
    labels=("outcome",),
)
BREAKER_CHANGES = Family(
    name="integration_breaker_changes_total",
    help="Changes of a circuit breaker, by the state that it came to.",
    labels=("system", "state"),
)

SPANS = Family(
    name="trace_spans_total",
    help="Spans of traces that were exported, failed (the collector did not take them) or dropped"
    " (too many waited).",
    labels=("outcome",),
)
DELIVERIES = Family(
    name="delivery_events_total",
    help="Events to webhooks and notification, reports to reporting: taken, failed (attempts),"
    " set_aside or missed.",
    labels=("system", "outcome"),
)
COUNTED = (
    *(REQUESTS, ACTIVE, PROBLEMS, THREADS, QUEUE, QUEUE_MAX, LOGGED, LOG_DROPPED),
    *(COMMITS, GROUPS, FAILURES, READS),
    CACHE_LOOKUPS,
    *(CPU, MEMORY, FILES, FILES_MAX, WORKERS, WORKER_STARTS),
    *(JOB_RUNS, JOB_FAILURES),
    *(CALLS, CALLS_ACTIVE, RETRIES, REJECTED, BREAKER_CHANGES, RESULTS),
    DELIVERIES,
    SPANS,
)
"""Families that workers count; what is read at a scrape is in metrics_scrape."""
FAILURE_REASONS = ("busy", "full", "lost_disk", "other")
LEVELS = ("warning", "error")
OUTSIDE_CODES = ("circuit_open", "integration_unavailable")
"""Problems that a rule subtracts from the errors: they are counted from the first one on."""


class Metrics:
    """How one worker counts."""

    def __init__(self, folder: Path | None) -> None:
        """Take a place in the server's folder, and begin the gauges anew."""
        self.store = Store(folder)
        for family in COUNTED:
            if not family.labels:
                self.store.place(family.name, (), len(family.edges) + 2 if family.edges else 1)
        self.store.clear([family.name for family in COUNTED if family.kind == "gauge"])
        for reason in FAILURE_REASONS:
            self.count(FAILURES, (reason,), 0)
        for level in LEVELS:
            self.count(LOGGED, (level,), 0)
        for code in OUTSIDE_CODES:
            self.count(PROBLEMS, (code,), 0)

    def count(self, family: Family, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        """Add to a counter or a gauge."""
        store = self.store
        store.add(store.place(family.name, labels), amount)

    def put(self, family: Family, value: float, labels: tuple[str, ...] = ()) -> None:
        """Set a gauge of this worker."""
        self.store.put(self.store.place(family.name, labels), value)

    def begin(self, family: Family, labels: tuple[str, ...]) -> None:
        """Let a histogram of these labels be there before its first value."""
        self.store.place(family.name, labels, len(family.edges) + 2)

    def observe(self, family: Family, value: float, labels: tuple[str, ...] = ()) -> None:
        """Add a value to a histogram: a number for each bucket, the infinite one, the sum."""
        edges = family.edges
        first = self.store.place(family.name, labels, len(edges) + 2)
        self.store.add_two(first + bisect.bisect_left(edges, value), first + len(edges) + 1, value)

    def committed(self, writes: int, seconds: float, failure: str | None) -> None:
        """Count a group of writes; `failure` is one of FAILURE_REASONS."""
        if failure is not None:
            self.count(FAILURES, (failure,))
        elif writes:
            self.observe(COMMITS, seconds)
            self.observe(GROUPS, writes)


class Nothing(Metrics):
    """Counts nothing: metrics are switched off."""

    def __init__(self) -> None:
        """Take no place."""

    def count(self, family: Family, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        """Do nothing."""

    def put(self, family: Family, value: float, labels: tuple[str, ...] = ()) -> None:
        """Do nothing."""

    def begin(self, family: Family, labels: tuple[str, ...]) -> None:
        """Do nothing."""

    def observe(self, family: Family, value: float, labels: tuple[str, ...] = ()) -> None:
        """Do nothing."""

    def committed(self, writes: int, seconds: float, failure: str | None) -> None:
        """Do nothing."""


def begin_outside(counted: Metrics, system: str) -> None:
    """Let the series of an outside system be there before its first call."""
    counted.begin(CALLS, (system, "ok"))
    for family in (CALLS_ACTIVE, RETRIES):
        counted.count(family, (system,), 0)
    for reason in ("open", "full"):
        counted.count(REJECTED, (system, reason), 0)
    for state in ("closed", "open", "half_open"):
        counted.count(BREAKER_CHANGES, (system, state), 0)


def begin_spans(counted: Metrics) -> None:
    """Let the series of exported spans be there before the first one."""
    for outcome in ("exported", "failed", "dropped"):
        counted.count(SPANS, (outcome,), 0)


class CountLines(logging.Handler):
    """Counts what is logged, by level."""

    def __init__(self, count: Callable[..., None]) -> None:
        """Count with `count`."""
        super().__init__(logging.WARNING)
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        self._count(LOGGED, ("error" if record.levelno >= logging.ERROR else "warning",))


def count_lines(counted: Metrics) -> None:
    """Count what this process logs from now on, and nowhere else."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, CountLines)]:
        root.removeHandler(handler)
    root.addHandler(CountLines(counted.count))
