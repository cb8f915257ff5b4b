"""Taking turns: one thread of a process runs Python at a time, and the others wait asleep.

The interpreter lets one thread run at a time anyway. But threads that all want to run take its lock
from each other at every database call, and the writer, which has one call after another while
all processes wait for it, came last each time. A thread that has its turn keeps it until it has
to wait (for a commit, a password hash, a slow client), and the writer goes before the requests.

A turn is a courtesy: whoever has waited for `PATIENCE_S` goes on without one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 0.05


class Turns:
    """Whose turn it is among the threads of this process."""

    def __init__(self) -> None:
        """Begin with nobody's turn."""
        self._running = threading.Lock()
        self._queue = threading.Lock()
        self._own = threading.local()

    def take(self) -> bool:
        """Wait for the turn behind the other requests; False if it did not come in time."""
        if not self._queue.acquire(timeout=PATIENCE_S):
            return False
        try:
            return self.take_next()
        finally:
            self._queue.release()

    def take_next(self) -> bool:
        """Wait for the turn ahead of all requests but one; False if it did not come in time."""
        taken = self._running.acquire(timeout=PATIENCE_S)
        self._own.taken = taken
        return taken

    def give_back(self) -> bool:
        """Let the next one run; False if this thread had no turn."""
        taken = getattr(self._own, "taken", False)
        if taken:
            self._own.taken = False
            self._running.release()
        return taken

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let others run while this thread waits for something; afterwards wait for a new turn."""
        taken = self.give_back()
        try:
            yield
        finally:
            if taken:
                self.take()


TURNS = Turns()
"""Of this process, since the lock of the interpreter is the process's as well."""
