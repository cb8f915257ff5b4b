"""Passwords: the policy, and argon2id in two threads so that a burst of logins stays small.

m = 19 MiB, t = 2, p = 1. Hashing only ever happens in the pool's two threads, so at most two
blocks of 19 MiB exist in a process (hashing in the request threads leaves one in each of their
heaps). The queue before the pool is bounded; beyond it a login is answered 503 `busy`.
"""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

import argon2

from .config import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN
from .problems import Problem

IN_FLIGHT_MAX = 2
WAITING_MAX = 64

BLOCKLIST = frozenset(
    {
        "000000000000",
        "111111111111",
        "123456789012",
        "1234567890123",
        "abc123abc123",
        "abcdefghijkl",
        "adminadminadmin",
        "administrator",
        "changemechangeme",
        "correcthorsebatterystaple",
        "iloveyou1234",
        "letmeinletmein",
        "passw0rd1234",
        "password1234",
        "password12345",
        "passwordpassword",
        "qwertyuiop12",
        "qwertyuiopas",
        "welcome12345",
    }
)

T = TypeVar("T")


def check_policy(password: str, username: str = "") -> None:
    """Refuse a password that is short, endless, well known or the user's own name."""
    reason = ""
    if len(password) < PASSWORD_LENGTH_MIN:
        reason = f"It needs at least {PASSWORD_LENGTH_MIN} characters."
    elif len(password) > PASSWORD_LENGTH_MAX:
        reason = f"It may have at most {PASSWORD_LENGTH_MAX} characters."
    elif password.casefold() in BLOCKLIST or password.casefold() == username.casefold():
        reason = "It is one of the first that an attacker tries."
    if reason:
        errors = [{"pointer": "/password", "code": "password_policy"}]
        raise Problem("password_policy", reason, errors=errors)


class Passwords:
    """Hashes and verifies in bounded time and memory."""

    def __init__(self, *, wait_s: float) -> None:
        """Start no thread yet; the pool does when it is needed."""
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
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

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except argon2.exceptions.VerificationError:
            return False

    def _run(self, work: Callable[[], T]) -> T:
        if not self._waiting.acquire(blocking=False):
            raise Problem("busy", "Too many logins are waiting; try again.")
        try:
            return self._pool.submit(work).result(self._wait_s)
        except concurrent.futures.TimeoutError:
            raise Problem("busy", "The login took too long to get its turn; try again.") from None
        finally:
            self._waiting.release()
