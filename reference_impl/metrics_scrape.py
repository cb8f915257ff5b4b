"""GET /metrics: what the workers have counted, and what the deployment says at that moment."""

import os
import resource
import shutil
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import flask
from flask import request
from prometheus_client import CollectorRegistry
from prometheus_client import exposition as plain
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics

from . import access, caches, config, events, metrics, outbox, runtime_dir, serving, web
from .delivery import figures as delivery
from .integration import breakers
from .metrics import Family

blueprint = flask.Blueprint("metrics", __name__)

SAMPLE_S = 1.0
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"

READ = (
    ("process_start_time_seconds", "gauge", "When this server was started.", ()),
    ("disk_free_bytes", "gauge", "Free space on the disk of the database.", ()),
    ("disk_size_bytes", "gauge", "Size of the disk of the database.", ()),
    ("system_cpus", "gauge", "Processors of the machine.", ()),
    ("system_memory_available_bytes", "gauge", "Memory of the machine that is available.", ()),
    ("system_memory_total_bytes", "gauge", "Memory of the machine.", ()),
    ("db_size_bytes", "gauge", "Size of the database file.", ()),
    ("db_wal_bytes", "gauge", "Size of the write-ahead log.", ()),
    ("db_integrity_ok", "gauge", "0 from a failed sync until the whole file was checked.", ()),
    ("ledger_transactions_total", "counter", "Transactions, by outcome.", ("kind", "outcome")),
    ("ledger_moved_minor_units_total", "counter", "Amounts posted and settled.", ("currency",)),
    ("ledger_accounts", "gauge", "Accounts, by status.", ("status",)),
    (
        "ledger_customer_minor_units",
        "gauge",
        "What the accounts of customers hold, all buckets together.",
        ("currency",),
    ),
    ("growth_operations_total", "counter", "Forks, merges and reinvestments.", ("kind",)),
    ("events_total", "counter", "Events, by type.", ("type",)),
    ("outbox_events", "gauge", "Events that are kept.", ()),
    ("outbox_backlog_events", "gauge", "Events before a consumer, at most.", ("consumer",)),
    *delivery.FAMILIES,
    (
        "integration_breaker_state",
        "gauge",
        "Circuit breaker of an outside system: 0 closed, 1 half-open, 2 open.",
        ("system",),
    ),
)
"""Families that are read at a scrape: name, kind, help, labels."""
READ_FAMILIES = {
    name: Family(name=name, kind=kind, help=text, labels=labels)
    for name, kind, text, labels in READ
}
MEANINGS = {
    "requests": "http_server_request_duration_seconds",
    "requests_active": "http_server_active_requests",
    "problems": "http_server_problems_total",
    "threads": "http_server_threads",
    "queue_length": "writer_queue_length",
    "queue_limit": "writer_queue_limit",
    "log_records": "log_records_total",
    "log_lines_lost": "access_log_dropped_total",
    "commit_duration": "db_commit_duration_seconds",
    "commit_group_size": "db_commit_group_size",
    "commit_failures": "db_commit_failures_total",
    "read_duration": "db_read_duration_seconds",
    "cpu": "process_cpu_seconds_total",
    "memory": "process_resident_memory_bytes",
    "open_files": "process_open_fds",
    "open_files_max": "process_max_fds",
    "workers": "process_workers",
    "worker_starts": "process_worker_starts_total",
    "start_time": "process_start_time_seconds",
    "disk_free": "disk_free_bytes",
    "disk_size": "disk_size_bytes",
    "machine_processors": "system_cpus",
    "machine_memory_available": "system_memory_available_bytes",
    "machine_memory": "system_memory_total_bytes",
    "database_size": "db_size_bytes",
    "wal_size": "db_wal_bytes",
    "integrity": "db_integrity_ok",
    "transactions": "ledger_transactions_total",
    "money_moved": "ledger_moved_minor_units_total",
    "accounts": "ledger_accounts",
    "customer_money": "ledger_customer_minor_units",
    "growth": "growth_operations_total",
    "events": "events_total",
    "events_kept": "outbox_events",
    **delivery.MEANINGS,
}
"""What the capability document says: meaning -> name."""
_GROWTH = {"forked": "fork", "merged": "merge", "reinvested": "reinvest"}
_KINDS = ("deposit", "withdrawal", "transfer", "premium", "assignment", "fee", "tax", "interest")
_AT_ZERO = (
    *(("growth_operations_total", (name,)) for name in _GROWTH.values()),
    *(("ledger_accounts", (name,)) for name in ("active", "suspended", "closed", "merged")),
    *(("ledger_transactions_total", (kind, "posted")) for kind in _KINDS),
    *(("ledger_moved_minor_units_total", (code,)) for code in config.CURRENCIES),
    *(("events_total", (event,)) for event in events.TYPES),
)
"""Series that are there before the first of their kind has happened."""


class Before:
    """What the workers before this one, in whose place it goes on, had counted."""

    def __init__(self, counted: metrics.Metrics) -> None:
        """Read it, before the first sample."""
        self.cpu_s = _stands(counted, metrics.CPU, ())
        self.lookups = {
            labels: _stands(counted, metrics.CACHE_LOOKUPS, labels)
            for labels, _ in caches.lookups()
        }


def _stands(counted: metrics.Metrics, family: metrics.Family, labels: tuple[str, ...]) -> float:
    return counted.store.get(counted.store.place(family.name, labels))


def sample(shared: web.Services, before: Before) -> None:
    """Note what this process uses."""
    counted = shared.metrics
    counted.put(metrics.CPU, before.cpu_s + time.process_time())
    for labels, count in caches.lookups():
        counted.put(metrics.CACHE_LOOKUPS, before.lookups[labels] + count, labels)
    counted.put(metrics.QUEUE, shared.writer.queue_length())
    counted.put(metrics.QUEUE_MAX, shared.settings.queue_size)
    counted.put(metrics.THREADS, shared.settings.threads)
    counted.put(metrics.WORKERS, 1)
    counted.put(metrics.FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    own = Path("/proc/self")
    if own.is_dir():
        pages = int((own / "statm").read_text("ascii").split()[1])
        counted.put(metrics.MEMORY, pages * resource.getpagesize())
        counted.put(metrics.FILES, len(os.listdir(own / "fd")))  # noqa: PTH208 - a count of names


def start(shared: web.Services) -> Callable[[], None]:
    """Sample this worker every second if a server runs it; return a sample of now."""
    counted = shared.metrics
    before = Before(counted)
    counted.count(metrics.WORKER_STARTS)

    def now() -> None:
        sample(shared, before)

    def forever() -> None:
        while True:
            now()
            time.sleep(SAMPLE_S)

    if runtime_dir.current() is not None:
        threading.Thread(target=forever, name="sampler", daemon=True).start()
    return now


@blueprint.get("/metrics")
def get_metrics() -> flask.Response:
    """Return the metrics of all workers, as OpenMetrics or in the older text form."""
    web.caller(access.Rank.OPERATOR)
    shared = web.services()
    flask.current_app.extensions["alluse.sample"]()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything(shared))
    if wants_openmetrics(request.headers.get("Accept", "")):
        content: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # theirs
        media_type = OPENMETRICS_TYPE
    else:
        content, media_type = plain.generate_latest(registry), plain.CONTENT_TYPE_PLAIN_0_0_4
    return flask.Response(content, headers={"Content-Type": media_type})


def wants_openmetrics(accept: str) -> bool:
    """Tell whether the reader names OpenMetrics among what it takes."""
    for accepted in accept.split(","):
        name, *parameters = (part.strip().lower() for part in accepted.split(";"))
        if name == OPENMETRICS:
            return "q=0" not in parameters
    return False


class Everything:
    """Puts the numbers of the workers and of the deployment together."""

    def __init__(self, shared: web.Services) -> None:
        """Read with these services."""
        self._shared = shared

    def collect(self) -> Iterator[Metric]:
        """Yield every family that has a value."""
        yield from counted_families(self._shared)
        found: dict[str, list[tuple[tuple[str, ...], float]]] = defaultdict(list)
        for name, labels, value in (*machine(self._shared), *book(self._shared)):
            found[name].append((labels, value))
        for name, family in READ_FAMILIES.items():
            if name in found:
                yield simple(family, found[name])


def counted_families(shared: web.Services) -> Iterator[Metric]:
    """Add up what the workers have counted; gauges of those that run."""
    sums: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    families = {family.name: family for family in metrics.COUNTED}
    for series in shared.metrics.store.everything():
        family = families.get(series.family)
        if family is None or (family.kind == "gauge" and not series.live):
            continue
        total = sums.setdefault((series.family, series.labels), [0.0] * len(series.values))
        merge = max if family.merge == "max" else _add
        for index, value in enumerate(series.values):
            total[index] = merge(total[index], value)
    for family in metrics.COUNTED:
        rows = [(labels, values) for (name, labels), values in sums.items() if name == family.name]
        if rows and family.kind == "histogram":
            yield histogram(family, rows)
        elif rows:
            yield simple(family, [(labels, values[0]) for labels, values in rows])


def _add(one: float, other: float) -> float:
    return one + other


def histogram(family: Family, rows: Iterable[tuple[tuple[str, ...], list[float]]]) -> Metric:
    """Return a histogram from numbers of each bucket, the infinite one and the sum."""
    made = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    edges = [*map(str, family.edges), "+Inf"]
    for labels, values in rows:
        below, buckets = 0.0, []
        for edge, number in zip(edges, values, strict=False):
            below += number
            buckets.append((edge, below))
        made.add_metric(labels, buckets, sum_value=values[-1])
    return made


def simple(family: Family, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """Return a counter or a gauge."""
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.help, labels=family.labels)
    for labels, value in rows:
        made.add_metric(labels, value)
    return made


def machine(shared: web.Services) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield what the machine and the files say."""
    path = shared.settings.database
    runtime = runtime_dir.current() or Path()
    disk = shutil.disk_usage(path.parent)
    yield "process_start_time_seconds", (), started_s(runtime)
    yield "disk_free_bytes", (), disk.free
    yield "disk_size_bytes", (), disk.total
    yield "db_size_bytes", (), path.stat().st_size
    yield "system_cpus", (), os.cpu_count() or 1
    log = Path(f"{path}-wal")
    yield "db_wal_bytes", (), log.stat().st_size if log.exists() else 0
    yield "db_integrity_ok", (), 0 if (runtime / serving.DISK_LOST).is_file() else 1
    memory = Path("/proc/meminfo")
    if memory.is_file():
        lines = (line.split() for line in memory.read_text("ascii").splitlines())
        sizes = {words[0]: int(words[1]) * 1024 for words in lines}
        yield "system_memory_available_bytes", (), sizes.get("MemAvailable:", 0)
        yield "system_memory_total_bytes", (), sizes.get("MemTotal:", 0)


def started_s(runtime: Path) -> float:
    """Return when the server was started: its folder's first file says."""
    note = runtime / "started"
    try:
        return float(note.read_text("ascii"))
    except (OSError, ValueError):
        return _IMPORTED_S


_IMPORTED_S = time.time()


def book(shared: web.Services) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield what the book says, all at one moment of it; nothing while it cannot be read."""
    connection = shared.readers.get()
    try:
        connection.execute("BEGIN")
        try:
            yield from list(_book(connection))
            yield from list(_breakers(shared, connection))
            yield from list(delivery.gauges(connection, shared.clock.now_ms()))
        finally:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        shared.metrics.count(metrics.FAILURES, ("other",))


def _breakers(
    shared: web.Services, connection: sqlite3.Connection
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    for point in shared.outbound.registry:
        if point.configured:
            standing = breakers.load(connection, point.name).standing
            state = breakers.judge(standing, point.rules, shared.clock.now_ms())
            yield "integration_breaker_state", (point.name,), breakers.STATE_NUMBERS[state]


def _book(connection: sqlite3.Connection) -> Iterator[tuple[str, tuple[str, ...], float]]:
    tallies = outbox.tallied(connection)
    yield "outbox_events", (), outbox.kept(connection)
    waiting: dict[str, int] = defaultdict(int)
    for consumer, events_before in outbox.backlog(connection).items():
        name = delivery.system(consumer)
        waiting[name] = max(waiting[name], events_before)
    for name, events_before in waiting.items():
        yield "outbox_backlog_events", (name,), events_before
    rows = connection.execute(
        "SELECT currency, -sum(balance) FROM buckets INDEXED BY sqlite_autoindex_buckets_2"
        " WHERE system IS NOT NULL GROUP BY currency"
    )
    for currency, total in rows:
        yield "ledger_customer_minor_units", (currency,), total
    totals: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)
    totals.update(dict.fromkeys(_AT_ZERO, 0.0))
    for event, kind, currency, number, amount in tallies:
        for name, labels, value in business(event, kind, currency, (number, amount)):
            totals[name, labels] += value
    for (name, labels), value in totals.items():
        yield name, labels, value


def business(
    event: str, kind: str, currency: str, tally: tuple[int, float]
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield what one kind of event adds to the business metrics; `tally` is events and amount."""
    number, amount = tally
    yield "events_total", (event,), number
    _, subject, verb = event.split(".")
    match subject, verb:
        case "transaction", _:
            yield "ledger_transactions_total", (kind, verb), number
            if verb in {"posted", "settled"}:
                yield "ledger_moved_minor_units_total", (currency,), amount
        case "growth", _ if verb in _GROWTH:
            yield "growth_operations_total", (_GROWTH[verb],), number
        case "account", "opened":
            yield "ledger_accounts", ("active",), number
        case "account", "suspended" | "reactivated" | "closed" | "merged":
            status = "active" if verb == "reactivated" else verb
            yield "ledger_accounts", (status,), number
            yield "ledger_accounts", (kind,), -number
