"""The one writer of this process: drains a bounded queue and commits many requests at once.

One thread and one connection write. Each job runs inside its own savepoint, so a refusal or a
bug in one leaves its neighbours alone; nobody is answered before COMMIT has returned. Processes
take turns by a file lock around BEGIN..COMMIT, which is fair where SQLite's own retrying is not.
"""

import fcntl
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from . import database
from .problems import Problem

BATCH_MAX = 256

T = TypeVar("T")
Action = Callable[[sqlite3.Connection], T]
Refusal = Callable[[sqlite3.Connection, Problem], None]

_log = logging.getLogger(__name__)


class Job(Generic[T]):
    """One request's write: what to do, what to record if it is refused, and its outcome."""

    __slots__ = ("_claim", "_done", "action", "error", "refused", "result")

    def __init__(self, action: Action[T], refused: Refusal | None) -> None:
        """Prepare a job that nobody has taken yet."""
        self.action = action
        self.refused = refused
        self.result: T | None = None
        self.error: BaseException | None = None
        self._claim = threading.Lock()
        self._done = threading.Lock()
        self._done.acquire()

    def claim(self) -> bool:
        """Take the job: to run it (the writer) or to give up (the request). Once only."""
        return self._claim.acquire(blocking=False)

    def finish(self) -> None:
        """Let the waiting request go on."""
        self._done.release()

    def wait(self, timeout_s: float) -> bool:
        """Wait for `finish`; False when time is up."""
        return self._done.acquire(timeout=timeout_s)


class Writer:
    """Applies jobs in batches; `submit` blocks until the commit, in bounded time."""

    def __init__(self, path: Path, *, queue_size: int, wait_s: float) -> None:
        """Open the write connection and the lock file, and start the thread."""
        self._queue: queue.Queue[Job[object] | None] = queue.Queue(queue_size)
        self._wait_s = wait_s
        self._connection = database.connect(path)
        self._gate = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - lives with the writer
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, action: Action[T], refused: Refusal | None = None) -> T:
        """Run `action` in the next batch and return its result after the commit.

        Raises what the action raised; Problem `busy` when the queue is full or its turn did not
        come in time. `refused` is called, after the action's own work was undone, to record a
        Problem in the same commit.
        """
        job = Job(action, refused)
        try:
            self._queue.put_nowait(job)  # type: ignore[arg-type]  # the queue forgets T
        except queue.Full:
            raise busy() from None
        if not job.wait(self._wait_s) and (job.claim() or not job.wait(self._wait_s)):
            raise busy()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # set by the writer before finish()

    def close(self) -> None:
        """Finish what is queued, stop the thread and close the connection."""
        self._queue.put(None)
        self._thread.join(timeout=self._wait_s)
        self._connection.close()
        self._gate.close()

    def alive(self) -> bool:
        """Tell whether the writer thread still runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while True:
            jobs, last = self._drain()
            if jobs:
                self._commit(jobs)
            if last:
                return

    def _drain(self) -> tuple[list[Job[object]], bool]:
        jobs: list[Job[object]] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == BATCH_MAX:
                return jobs, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _commit(self, jobs: list[Job[object]]) -> None:
        taken: list[Job[object]] = []
        try:
            with locked(self._gate.fileno()):
                self._connection.execute("BEGIN IMMEDIATE")
                # Only now: who gave up while another process had its turn is not served.
                taken += [job for job in jobs if job.claim()]
                for job in taken:
                    apply(self._connection, job)
                self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the writer outlives whatever fails in a batch
            _log.warning("commit failed: %s", error)
            self._undo()
            taken += [job for job in jobs if job.claim()]
            for job in taken:
                job.result, job.error = None, storage_problem(error)
        finally:
            for job in taken:
                job.finish()

    def _undo(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                _log.error("rollback failed: %s", error)


def apply(connection: sqlite3.Connection, job: Job[object]) -> None:
    """Run one job inside a savepoint and keep its result or its error.

    Raises sqlite3.Error only when the whole transaction is lost.
    """
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.action(connection)
    except Problem as problem:
        connection.execute("ROLLBACK TO job")
        job.error = problem
        if job.refused is not None:
            job.refused(connection, problem)
    except Exception as error:
        if not connection.in_transaction or is_storage_error(error):
            raise
        connection.execute("ROLLBACK TO job")
        job.error = error
    connection.execute("RELEASE job")


def is_storage_error(error: Exception) -> bool:
    """Tell trouble with the file (disk full, I/O, locked) from a defect in one action."""
    return isinstance(error, sqlite3.OperationalError)


def storage_problem(error: Exception) -> Problem:
    """Answer for everyone in a batch that could not be committed."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return busy()
    return Problem("busy", "The write could not be stored; nothing was done.")


def busy() -> Problem:
    """Answer when the server has more writes waiting than it takes on."""
    return Problem("busy", "Too many writes are waiting; try again with the same key.")


@contextmanager
def locked(file_descriptor: int) -> Iterator[None]:
    """Hold the lock that the writers of all processes share."""
    fcntl.flock(file_descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file_descriptor, fcntl.LOCK_UN)
