"""Stopping in good order: readiness says no first, and what is being answered is answered."""

import contextlib
import sqlite3
import time
from pathlib import Path

from reference_impl import database, metrics, metrics_store, runtime_dir, writer

DRAINING = "draining"
"""Note in the runtime directory: the server is about to stop."""
TURN_S = 1.0
"""How long the server waits for its turn to write when all its workers have ended."""


def drain(runtime: Path, seconds: float) -> None:
    """Say in every worker's readiness that this server is about to stop, and go on for a while."""
    (runtime / DRAINING).touch()
    time.sleep(seconds)


def draining() -> bool:
    """Tell, in a worker, whether its server is about to stop."""
    folder = runtime_dir.current()
    return folder is not None and (folder / DRAINING).exists()


def busy(runtime: Path) -> bool:
    """Tell whether a worker is still answering a request; without any count it may be."""
    if not any(runtime.glob("metrics-*")):
        return True
    return any(
        series.live and series.family == metrics.ACTIVE.name and series.values[0] > 0
        for series in metrics_store.read(runtime)
    )


def give_back(database_file: Path, runtime: Path) -> None:
    """Give back the leases of workers that were killed before they did: a stop is no crash.

    Call it when a stop was asked for and all have ended. If it is not its turn in bounded time, the
    leases run out by themselves, and the next server takes that for a crash.
    """
    if not any(runtime.glob("alive-*")):
        return
    notes = [*runtime.glob("alive-*"), *runtime.glob("worker-*")]
    with contextlib.suppress(OSError, sqlite3.Error):
        holders = {note.read_text("ascii") for note in notes}
        with Path(f"{database_file}.lock").open("ab") as turn:
            deadline_s = time.monotonic() + TURN_S
            while not writer.lock_at_once(turn.fileno()):
                if time.monotonic() > deadline_s:
                    return
                time.sleep(TURN_S / 50)
            with contextlib.closing(database.connect(database_file)) as book:
                book.executemany(
                    "UPDATE leases SET until = 0 WHERE holder = ?", [(one,) for one in holders]
                )
