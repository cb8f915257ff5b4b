"""The one writer of this process: drains a bounded queue and commits many requests at once.

One connection writes, in the hands of one thread at a time: the writer's own, which commits in
groups what waits, or, while nothing waits and no other process writes, that of the request itself,
which saves handing the work over and back. A refusal or a bug in one job is undone alone and leaves
its neighbours as they are; nobody is answered before COMMIT has returned. Processes take turns by a
file lock around BEGIN..COMMIT, which is fair where SQLite's own retrying is not.

After a sync that failed nobody knows what is on the disk, and asking again would be told that all
is well: so the process must end, and the next one looks at the whole file before it serves.
"""

import contextlib
import fcntl
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import database
from .problems import Problem
from .turns import TURNS

BATCH_MAX = 256
LOST_DISK = frozenset(
    {
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_CLOSE,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)

T = TypeVar("T")
Action = Callable[[sqlite3.Connection], T]
Refusal = Callable[[sqlite3.Connection, Problem], None]

_log = logging.getLogger(__name__)


class Job(Generic[T]):
    """One request's write: what to do, what to record if it is refused, and its outcome."""

    __slots__ = ("_claim", "_done", "action", "error", "queued", "refused", "result")

    def __init__(self, action: Action[T], refused: Refusal | None) -> None:
        """Prepare a job that nobody has taken yet."""
        self.action = action
        self.refused = refused
        self.queued = False
        """Whether it came through the queue."""
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

    def __init__(
        self,
        path: Path,
        *,
        queue_size: int,
        wait_s: float,
        on_lost_disk: Callable[[], None] = lambda: None,
        on_commit: Callable[[int, float, str | None], None] = lambda *_: None,
    ) -> None:
        """Open the write connection and the lock file, and start the thread.

        `on_lost_disk` is called when a sync has failed and its requests are answered; `on_commit`
        after each group, with its size, its seconds and, if it failed, why (`failure_reason`).
        """
        self._on_commit = on_commit
        self._on_lost_disk = on_lost_disk
        self._queue: queue.Queue[Job[object] | None] = queue.Queue(queue_size)
        self._wait_s = wait_s
        self._connection = database.connect(path)
        self._pen = threading.Lock()
        """Held by the thread that uses the connection."""
        self._gate = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - lives with the writer
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, action: Action[T], refused: Refusal | None = None) -> T:
        """Run `action` in the next group, or at once, and return its result after the commit.

        Raises what the action raised; Problem `busy` when the queue is full or its turn did not
        come in time. `refused` is called, after the action's own work was undone, to record a
        Problem in the same commit.
        """
        job = Job(action, refused)
        with TURNS.away():
            if not self._at_once(job) and not self._queued(job, self._wait_s):
                raise busy()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # set before finish()

    def close(self) -> None:
        """Finish what is queued, stop the thread and close the connection."""
        self._queue.put(None)
        self._thread.join(timeout=self._wait_s)
        if self._pen.acquire(timeout=self._wait_s):  # who still holds it is stuck: it keeps it
            self._connection.close()
        self._gate.close()

    def alive(self) -> bool:
        """Tell whether the writer thread still runs."""
        return self._thread.is_alive()

    def queue_length(self) -> int:
        """Return how many writes wait for a group."""
        return self._queue.qsize()

    def responds(self, wait_s: float) -> bool:
        """Tell whether an empty write gets through to the database in time."""
        job: Job[None] = Job(lambda _: None, None)
        with TURNS.away():
            return self._queued(job, wait_s) and job.error is None

    def _queued(self, job: Job[T], wait_s: float) -> bool:
        """Leave the job to the writer's thread; False if the queue is full or the wait too long."""
        job.queued = True
        try:
            self._queue.put_nowait(job)  # type: ignore[arg-type]  # the queue forgets T
        except queue.Full:
            return False
        return job.wait(wait_s) or (not job.claim() and job.wait(wait_s))

    def _at_once(self, job: Job[Any]) -> bool:
        """Commit the job in this thread if no other write waits or is under way; else False."""
        if self._queue.unfinished_tasks or not self._pen.acquire(blocking=False):
            return False
        if not lock_at_once(self._gate.fileno()):
            self._pen.release()
            return False
        self._commit([job])
        return True

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._pen.acquire()
            self._commit([job])
        self._queue.task_done()

    def _waiting(self, most: int) -> list[Job[Any]]:
        """Take what waits; more of it has come while another process had its turn."""
        jobs: list[Job[Any]] = []
        while len(jobs) < most:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:  # the end: it comes again when these are done
                self._queue.put_nowait(None)
                self._queue.task_done()
                break
            jobs.append(job)
        return jobs

    def _commit(self, jobs: list[Job[Any]]) -> None:
        """Commit the jobs and what comes meanwhile; afterwards the connection is free again."""
        taken: list[Job[Any]] = []
        lost, failure, began = False, None, time.perf_counter()
        try:
            with locked(self._gate.fileno()):
                self._connection.execute("BEGIN IMMEDIATE")
                TURNS.take_next()
                jobs += self._waiting(BATCH_MAX - len(jobs))
                # Only now: who gave up while another process had its turn is not served.
                taken += [job for job in jobs if job.claim()]
                apply_all(self._connection, taken)
                TURNS.give_back()
                self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the writer outlives whatever fails in a batch
            _log.warning("commit failed: %s", error)
            lost, failure = is_lost_disk(error), failure_reason(error)
            self._undo()
            taken += [job for job in jobs if job.claim()]
            for job in taken:
                job.result, job.error = None, storage_problem(error)
        finally:
            TURNS.give_back()
            self._on_commit(len(taken), time.perf_counter() - began, failure)
            for job in taken:
                job.finish()
            self._lay_down(sum(job.queued for job in jobs), lost=lost)

    def _lay_down(self, queued: int, *, lost: bool) -> None:
        """Let the next thread write; after a lost disk only when the owner was told of it."""
        for _ in range(queued):
            self._queue.task_done()
        if lost:  # in a thread of its own: the requests of this group can be answered meanwhile
            threading.Thread(target=self._tell_of_loss, name="lost-disk", daemon=True).start()
        else:
            self._pen.release()

    def _tell_of_loss(self) -> None:
        try:
            self._on_lost_disk()
        finally:
            self._pen.release()

    def _undo(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                _log.error("rollback failed: %s", error)


def apply_all(connection: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
    """Run the jobs; where one fails halfway, begin again with a savepoint around each.

    Savepoints cost a copy of every page that a job touches: a batch in which nothing is refused
    needs none. A request's change has the time and trace of its events written before it
    (`outbox.begin`), so a refusal among them is found out by running the batch once more.
    """
    if all(apply(connection, job, savepoint=False) for job in jobs):
        return
    connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    for job in jobs:
        apply(connection, job)


def apply(connection: sqlite3.Connection, job: Job[object], *, savepoint: bool = True) -> bool:
    """Run one job and keep its result or its error.

    Without a savepoint: False if it failed after it had written, which is then still there.
    Raises sqlite3.Error only when the whole transaction is lost.
    """
    job.result = job.error = None
    written = connection.total_changes
    if savepoint:
        connection.execute("SAVEPOINT job")
    try:
        job.result = job.action(connection)
    except Exception as error:
        if not connection.in_transaction or is_storage_error(error):
            raise
        if savepoint:
            connection.execute("ROLLBACK TO job")
        elif connection.total_changes != written:
            return False
        job.error = error
        if isinstance(error, Problem) and job.refused is not None:
            job.refused(connection, error)
    if savepoint:
        connection.execute("RELEASE job")
    return True


def is_storage_error(error: Exception) -> bool:
    """Tell trouble with the file (disk full, I/O, locked) from a defect in one action."""
    return isinstance(error, sqlite3.OperationalError)


def is_lost_disk(error: Exception) -> bool:
    """Tell an error after which this process cannot know what the file holds."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in LOST_DISK


def failure_reason(error: Exception) -> str:
    """Return why a group could not be committed: lost_disk, busy, full or other."""
    if is_lost_disk(error):
        return "lost_disk"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return {sqlite3.SQLITE_BUSY: "busy", sqlite3.SQLITE_LOCKED: "busy"}.get(
        code, "full" if code == sqlite3.SQLITE_FULL else "other"
    )


def make_durable(path: Path) -> bool:
    """Write all of the log into the database anew and sync it; False if that failed.

    The log may hold a commit whose sync failed. Whoever opens the file after a crash of all
    processes finds it there, and would confirm it to a client that asks again.
    """
    with Path(f"{path}.lock").open("ab") as gate, locked(gate.fileno()):
        try:
            with contextlib.closing(database.connect(path)) as connection:
                refused = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                return not refused
        except sqlite3.OperationalError:
            return False


def storage_problem(error: Exception) -> Problem:
    """Answer for everyone in a batch that could not be committed."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return busy()
    if is_lost_disk(error):
        return Problem("busy", "Whether it was stored is not known; send it again with its key.")
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


def lock_at_once(file_descriptor: int) -> bool:
    """Take that lock if nobody has it; the next `locked` in this process gives it back."""
    try:
        fcntl.flock(file_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
