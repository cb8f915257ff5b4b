"""The one place where work runs beside the requests: each named job in exactly one worker.

A worker owns a job while its lease in the database lasts, and renews it while it lives. When it
dies, the lease runs out and another worker goes on within `LEASE_MS` and a second; a worker that
stops gives its leases back. A step that fails is logged and counted, and comes again later.

    jobs.run_when_owner("sweep", every_s=5.0, step=sweep)   # in create_app, in every worker

A step returns True if there is more to do at once. It writes through `shared.writer.submit`; where
it would be wrong to do a thing twice, its write begins with `check_owner(connection, ...)`, since
a worker may lose its lease in the middle of a step (it was stopped, the disk was slow).
"""

import atexit
import contextlib
import logging
import multiprocessing.util
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import metrics, runtime_dir, web
from .problems import Problem

LEASE_MS = 6_000
RENEW_MS = 4_000
"""A lease with less than this left is renewed."""
TEND_S = 1.0
STOP_S = 1.0
"""How long a worker that stops waits for its steps."""
BACKOFF_MAX_S = 30.0

Step = Callable[[], bool | None]
TakenOver = Callable[[str, str, int], None]
"""Told the name of a job, who had it, and since when (ms) it was without an owner."""
_log = logging.getLogger(__name__)


class LostLeaseError(Exception):
    """Another worker owns the job by now."""


@dataclass(slots=True, eq=False)
class Job:
    """A named job of this worker."""

    name: str
    every_s: float
    step: Step
    until_ms: int = 0
    """This worker's lease lasts so long; 0: another has it."""
    failures: int = 0
    wake: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


def owner(connection: sqlite3.Connection, name: str) -> tuple[str, int] | None:
    """Return the holder of a lease and until when (ms); None if nobody ever had it."""
    row = connection.execute("SELECT holder, until FROM leases WHERE name = ?", (name,)).fetchone()
    return None if row is None else (row[0], row[1])


def check_owner(connection: sqlite3.Connection, name: str, shared: web.Services) -> None:
    """Raise LostLeaseError unless this worker owns the job; for the start of a step's write."""
    held = owner(connection, name)
    if held is None or held[0] != shared.instance or held[1] <= shared.clock.now_ms():
        raise LostLeaseError(name)


def free(until_ms: int, now_ms: int) -> bool:
    """Tell whether a lease may be taken: it ran out, or was written by a clock gone wrong."""
    return until_ms <= now_ms or until_ms > now_ms + LEASE_MS


def take(
    connection: sqlite3.Connection, name: str, holder: str, now_ms: int
) -> tuple[bool, tuple[str, int] | None]:
    """Take or renew a lease; return whether it is the holder's now, and who let it run out."""
    held, until = owner(connection, name), now_ms + LEASE_MS
    if held is None:
        connection.execute("INSERT INTO leases VALUES (?, ?, ?, 1)", (name, holder, until))
        return True, None
    if held[0] != holder and not free(held[1], now_ms):
        return False, None
    connection.execute(
        "UPDATE leases SET epoch = epoch + (holder <> ?1), holder = ?1, until = ?2 WHERE name = ?3",
        (holder, until, name),
    )
    return True, held if held[0] != holder and 0 < held[1] <= now_ms else None


class Background:
    """The jobs of one worker."""

    def __init__(self, shared: web.Services) -> None:
        """Run nothing yet."""
        self._shared = shared
        self._jobs: dict[str, Job] = {}
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None
        self.on_taken_over: TakenOver = lambda *_: None
        """Called in the new owner's process when a lease had run out."""

    def run_when_owner(self, name: str, every_s: float, step: Step) -> None:
        """Let `step` run every `every_s` seconds in the worker that owns `name`.

        Each worker registers the same jobs when its application is built; names are a closed set,
        since they are labels of metrics. The first step comes at once.
        """
        if name in self._jobs:
            raise ValueError(f"the job {name} is there already")
        self._jobs[name] = Job(name=name, every_s=every_s, step=step)
        self._shared.metrics.count(metrics.JOB_RUNS, (name,), 0)
        self._shared.metrics.count(metrics.JOB_FAILURES, (name,), 0)

    def start(self) -> None:
        """Start the threads, and give the leases back when this process ends in good order."""
        self._keeper = threading.Thread(target=self._keep, name="leases", daemon=True)
        self._keeper.start()
        multiprocessing.util.Finalize(None, self.stop, exitpriority=100)
        atexit.register(self.stop)

    def start_in_server(self) -> None:
        """Start if a server runs this worker; a test without one calls `tend` and `turn`."""
        if runtime_dir.current() is not None:
            self.start()

    def stop(self) -> None:
        """Let running steps come to their end in bounded time, and give the leases back."""
        if self._ended.is_set():
            return
        self._ended.set()
        threads = [job.thread for job in self._jobs.values() if job.thread]
        for job in self._jobs.values():
            job.wake.set()
        for thread in (*threads, *([self._keeper] if self._keeper else [])):
            if thread.is_alive():  # one that is about to start ends at once, and cannot be joined
                thread.join(STOP_S / (len(threads) + 1))
        with contextlib.suppress(Problem, sqlite3.Error, OSError):
            self.give_back()
            if (note := _alive()) is not None:  # without it, the server gives them back
                note.unlink(missing_ok=True)

    def owns(self, name: str) -> bool:
        """Tell whether this worker may run a job now."""
        return self._jobs[name].until_ms > self._shared.clock.now_ms()

    def wake(self, name: str) -> None:
        """Let the next step of a job of this worker come at once; elsewhere it comes in time."""
        self._jobs[name].wake.set()

    def tend(self) -> None:
        """Take the leases that are free and renew those of this worker, in one write if any."""
        now, holder = self._shared.clock.now_ms(), self._shared.instance
        rows = self._shared.readers.get().execute("SELECT name, holder, until FROM leases")
        held = {row["name"]: (row["holder"], row["until"]) for row in rows}
        due = []
        for name, job in self._jobs.items():
            of, until = held.get(name, ("", 0))
            if of == holder and until > now + RENEW_MS and not free(until, now):
                continue
            if of == holder or free(until, now):
                due.append(job)
            else:
                job.until_ms = 0
        if due:
            self._take(due)

    def _take(self, due: list[Job]) -> None:
        holder, clock = self._shared.instance, self._shared.clock

        def run(connection: sqlite3.Connection) -> dict[str, tuple[int, tuple[str, int] | None]]:
            now, got = clock.now_ms(), {}
            for job in () if self._ended.is_set() else due:  # what was given back stays so
                mine, lost = take(connection, job.name, holder, now)
                got[job.name] = (now + LEASE_MS if mine else 0, lost)
            return got

        for name, (until_ms, lost) in self._shared.writer.submit(run).items():
            job = self._jobs[name]
            if until_ms and not job.until_ms:
                job.wake.set()
            job.until_ms = until_ms
            if lost:
                _log.warning("the job %s goes on here: its owner has ended", name)
                self.on_taken_over(name, *lost)

    def give_back(self) -> None:
        """End all leases of this worker."""
        holder = self._shared.instance
        for job in self._jobs.values():
            job.until_ms = 0
        self._shared.writer.submit(
            lambda connection: (
                connection.execute(
                    "UPDATE leases SET until = 0 WHERE holder = ?", (holder,)
                ).rowcount
            )
        )

    def turn(self, name: str) -> bool:
        """Run the steps of a job that are due, if it is this worker's; False if one failed."""
        job = self._jobs[name]
        try:
            more = self.owns(name)
            while more and not self._ended.is_set():
                self._shared.metrics.count(metrics.JOB_RUNS, (name,))
                more = bool(job.step()) and self.owns(name)
        except LostLeaseError:
            _log.info("the job %s was taken over", name)
            job.until_ms = 0
        except Exception as error:  # noqa: BLE001 - a job outlives whatever fails in one of its steps
            self._failed(job, error)
            return False
        job.failures = 0
        return True

    def _failed(self, job: Job, error: Exception) -> None:
        job.failures += 1
        self._shared.metrics.count(metrics.JOB_FAILURES, (job.name,))
        if isinstance(error, Problem):
            _log.info("the job %s waits: %s", job.name, error.code)
        else:
            _log.error("a step of the job %s failed", job.name, exc_info=error)

    def _keep(self) -> None:
        while not self._ended.is_set():
            try:
                if (note := _alive()) is not None:
                    note.write_text(self._shared.instance, "ascii")
                self.tend()
                for job in self._jobs.values():
                    if job.until_ms and (job.thread is None or not job.thread.is_alive()):
                        job.thread = threading.Thread(
                            target=self._loop, args=(job,), name=job.name, daemon=True
                        )
                        job.thread.start()
            except Problem as error:
                _log.info("the leases wait: %s", error.code)
            except Exception:  # noqa: BLE001 - as in `turn`
                _log.exception("the leases could not be tended")
            self._ended.wait(TEND_S)

    def _loop(self, job: Job) -> None:
        while not self._ended.is_set():
            job.wake.clear()
            self.turn(job.name)
            job.wake.wait(pause_s(job.every_s, job.failures))


def _alive() -> Path | None:
    """Return this worker's note: when it has died, its age tells until when it lived."""
    folder = runtime_dir.current()
    return None if folder is None else folder / f"alive-{os.getpid()}"


def pause_s(every_s: float, failures: int) -> float:
    """Return how long a job waits: longer with each failure in a row, up to half a minute."""
    doubled: float = every_s * 2.0 ** min(failures, 10)
    return min(doubled, max(every_s, BACKOFF_MAX_S))
