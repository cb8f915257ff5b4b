"""Passwords: argon2id in two threads, so that a burst of logins stays small.

m = 19 MiB, t = 2, p = 1. Hashing only ever happens in the pool's two threads, so at most two
blocks of 19 MiB exist in a process (hashing in the request threads leaves one in each of their
heaps). The queue before the pool is bounded; beyond it a login is answered 503 `busy`.
"""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import argon2

from . import password_policy
from .problems import Problem
from .turns import TURNS

IN_FLIGHT_MAX = 2
WAITING_MAX = 64
TIME_COST = 2
MEMORY_KIB = 19 * 1024

T = TypeVar("T")


def check_policy(password: str, username: str = "", complexity: Sequence[str] = ()) -> None:
    """Refuse a password that breaks the rules with Problem `password_policy`."""
    reason = password_policy.fault(password, username, complexity)
    if reason:
        raise weak(reason)


def weak(reason: str) -> Problem:
    """Return the refusal of a password."""
    errors = [{"pointer": "/password", "code": "password_policy"}]
    return Problem("password_policy", reason, errors=errors)


class Passwords:
    """Hashes and verifies in bounded time and memory."""

    def __init__(
        self, *, wait_s: float, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB
    ) -> None:
        """Start no thread yet; the pool does when it is needed."""
        self._hasher = argon2.PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=1
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(IN_FLIGHT_MAX, "argon2")
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._wait_s = wait_s
        self._nobody = self._hasher.hash("no user has this password")

    def hash(self, password: str) -> str:
        """Return the argon2id string to store."""
        return self._run(lambda: self._hasher.hash(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether the password is right; for no stored hash it takes as long and is False."""
        return self._run(lambda: self._matches(stored or self._nobody, password)) and bool(stored)

    def rehash(self, stored: str, password: str) -> str | None:
        """Return a new hash of a right password if the stored one has other parameters."""
        return self.hash(password) if self._hasher.check_needs_rehash(stored) else None

    def was_used(self, former: Sequence[str], password: str) -> bool:
        """Tell whether the password is one of those that these hashes stand for."""
        return self._run(lambda: any(self._matches(stored, password) for stored in former))

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    def _run(self, work: Callable[[], T]) -> T:
        if not self._waiting.acquire(blocking=False):
            raise Problem("busy", "Too many logins are waiting; try again.")
        try:
            with TURNS.away():
                return self._pool.submit(work).result(self._wait_s)
        except concurrent.futures.TimeoutError:
            raise Problem("busy", "The login took too long to get its turn; try again.") from None
        finally:
            self._waiting.release()
