"""The operator's limits on traffic, shared by all worker processes of a run."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from certification.errors import HarnessError

Wait = Callable[[float], None]
"""Waits so many seconds; injected, so that tests do not."""
Clock = Callable[[], float]
"""Monotonic seconds, the same in every process of the machine."""


def wait(seconds: float) -> None:
    """Wait on an event that nobody sets: interruptible by Ctrl-C, unlike a lock held elsewhere."""
    Event().wait(seconds)


class BudgetSpent(HarnessError):  # noqa: N818  says what happened
    """The target file's `limits.requests_max` is used up; what was not asked stays unknown."""


class Limiter:
    """Counts every request and spaces them evenly, over all processes that share `path`.

    The state is one small file under an exclusive lock: requests so far, and the moment before
    which the next one may not start. Strict spacing, no bursts: an operator who sets a rate for a
    staging system means it. Thread-safe, because each call opens the file anew.
    """

    def __init__(
        self,
        path: Path,
        *,
        per_second: float | None = None,
        requests_max: int | None = None,
        wait: Wait = wait,
        clock: Clock = time.monotonic,
    ) -> None:
        """Share the count in `path`, which is created where it is missing."""
        self._path = path
        self._interval_s = 1 / per_second if per_second else 0.0
        self._requests_max = requests_max
        self._wait = wait
        self._clock = clock

    @property
    def sent(self) -> int:
        """Requests taken so far by all processes."""
        try:
            return _parse(self._path.read_bytes())[0]
        except FileNotFoundError:
            return 0

    def take(self) -> None:
        """Take one request and wait for its turn; `BudgetSpent` if none is left."""
        try:
            slot = self._reserve()
        except OSError as error:
            raise HarnessError(
                f"the request count {self._path} cannot be kept: {error.strerror}",
                hint="make the run directory writable and free space",
            ) from error
        delay = slot - self._clock()
        if delay > 0:
            self._wait(delay)

    def _reserve(self) -> float:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            sent, earliest = _parse(os.pread(descriptor, 128, 0))
            if self._requests_max is not None and sent >= self._requests_max:
                raise BudgetSpent(
                    f"the budget of {self._requests_max} requests is spent",
                    hint="raise requests_max in the target file or profile, or run fewer checks",
                )
            slot = max(self._clock(), earliest)
            # Fixed width: a shorter text never leaves the tail of a longer one behind.
            state = f"{sent + 1:020d} {slot + self._interval_s:030.6f}\n"
            os.pwrite(descriptor, state.encode(), 0)
            return slot
        finally:
            os.close(descriptor)


def _parse(content: bytes) -> tuple[int, float]:
    if not content:
        return 0, 0.0
    sent, earliest = content.split()
    return int(sent), float(earliest)
