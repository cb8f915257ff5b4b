"""Rate limits shared by all workers: token buckets in a file that every worker maps.

A bucket is one number, the instant at which it will be full again (GCRA): a request moves it
forward by one interval and is refused if it would lie further ahead than the burst. Nothing is
written to the disk for a request, and there is no transaction; an update takes a lock of the file
for about a microsecond, and a worker that is killed gives it back.

Keys are hashed to a set of eight places. A new key takes the place of the bucket that is fullest,
which forgets least. The file may be deleted at any time while the server is stopped.
"""

import fcntl
import hashlib
import mmap
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .problems import Problem

SETS = 2048
WAYS = 8
_SET = struct.Struct(f"={2 * WAYS}Q")
"""Of each place the key's hash, then of each place the instant in microseconds."""
_NUMBER = struct.Struct("=Q")
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many requests at once, and again so many in each window."""

    requests: int
    window_s: int

    @property
    def window_us(self) -> int:
        """The window in microseconds."""
        return self.window_s * 1_000_000


def advance(full_at_us: int, now_us: int, rate: Rate) -> tuple[int, int]:
    """Return (the bucket after one more request, how long to wait in microseconds).

    0: the request may pass. Otherwise the bucket is as it was. An instant further ahead than any
    bucket can be is of another clock, and counts as full.
    """
    start = full_at_us if now_us < full_at_us <= now_us + rate.window_us else now_us
    after = start + max(rate.window_us // rate.requests, 1)
    ahead = after - now_us
    if ahead > rate.window_us:
        return full_at_us, ahead - rate.window_us
    return after, 0


class Limits:
    """The buckets of one server, for principals and for addresses."""

    def __init__(self, path: Path, now_ms: Callable[[], int]) -> None:
        """Map the file, and make it if it is not there."""
        self._now_ms = now_ms
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = SETS * _SET.size
        if os.fstat(self._descriptor).st_size != size:
            os.ftruncate(self._descriptor, size)
        self._buckets = mmap.mmap(self._descriptor, size)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the file back."""
        self._buckets.close()
        os.close(self._descriptor)

    def take(self, kind: str, name: str, rate: Rate) -> None:
        """Count a request of (kind, name), or refuse it with 429 and Retry-After."""
        wait_us = self.wait_us(kind, name, rate)
        if wait_us:
            seconds = -(-wait_us // 1_000_000)
            raise Problem(
                "rate_limited",
                f"Try again in {seconds} seconds.",
                headers={"Retry-After": str(seconds)},
            )

    def wait_us(self, kind: str, name: str, rate: Rate) -> int:
        """Count a request and return 0, or return how long to wait and count nothing."""
        digest = hashlib.blake2b(f"{kind}\0{name}".encode(), digest_size=_HASH_BYTES).digest()
        key = int.from_bytes(digest, "big") or 1
        offset = key % SETS * _SET.size
        now_us = self._now_ms() * 1000
        with self._lock:  # the file's lock belongs to the process, not to a thread
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                values = _SET.unpack_from(self._buckets, offset)
                place = _place(values, key)
                known = values[place] == key
                after, wait_us = advance(values[WAYS + place] if known else 0, now_us, rate)
                _NUMBER.pack_into(self._buckets, offset + (WAYS + place) * _NUMBER.size, after)
                if not known:
                    _NUMBER.pack_into(self._buckets, offset + place * _NUMBER.size, key)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return wait_us


def _place(values: tuple[int, ...], key: int) -> int:
    """Return where the key stands in its set, or the place that it takes over."""
    keys = values[:WAYS]
    if key in keys:
        return keys.index(key)
    instants = values[WAYS:]
    return instants.index(min(instants))
