"""The gate before every write: one byte that all workers map, so that closing it counts at once.

The truth is the row of the table `maintenance`; the byte saves the write path a query. It is set
inside the writer's turn (which all processes take one after the other), and looked at inside the
turn of every write: after the answer to `PUT /v1/maintenance` no write can still slip through.
"""

import mmap
import os
import sqlite3
from pathlib import Path

from reference_impl.problems import Problem

RETRY_AFTER_S = 5
OPEN_ACTIONS = frozenset(
    {
        "login",
        "logout",
        "refreshSession",
        "exchangeToken",
        "verifyMfa",
        "enrollMfa",
        "disableMfa",
        "putMaintenance",
        "createBackup",
        "verifyBackup",
        "restoreBackup",
        "acknowledgeAlert",
        "createSilence",
        "deleteSilence",
    }
)
"""What an operator needs in maintenance; none of it changes the book."""


class Gate:
    """Whether writes may pass."""

    def __init__(self, path: Path) -> None:
        """Map the file, and make it, open, if it is not there."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < 1:
                os.ftruncate(descriptor, 1)
            self._byte = mmap.mmap(descriptor, 1)
        finally:
            os.close(descriptor)

    @property
    def closed(self) -> bool:
        """Whether maintenance is on."""
        return self._byte[0] != 0

    def set(self, *, closed: bool) -> None:
        """Open or close it for every worker; call it inside the writer's turn."""
        self._byte[0] = 1 if closed else 0

    def follow(self, connection: sqlite3.Connection) -> None:
        """Set it to what the book says: at start, and after a restore."""
        row = connection.execute("SELECT read_only FROM maintenance").fetchone()
        self.set(closed=bool(row[0]))

    def check(self, action: str) -> None:
        """Refuse an operation that maintenance does not allow: 503 `read_only`."""
        if self._byte[0] and action not in OPEN_ACTIONS:
            raise read_only()


def read_only() -> Problem:
    """Return the refusal of a write in maintenance."""
    return Problem(
        "read_only",
        "Maintenance is on: nothing was done; repeat it later with the same key.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
