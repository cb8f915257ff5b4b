"""Lock-out after failed logins: for a user name from one source, and for a name from anywhere.

The rows are in the database, so all workers count together, and a name is kept as a keyed digest:
people type passwords into the name's field. A name that no user has is counted alike, so a lock
does not tell who exists. What counts is a row of failures without a success between them; while a
lock lasts nothing is tried and nothing counted.
"""

import hashlib
import hmac
import sqlite3
from dataclasses import dataclass

from .config import (
    LOCKOUT_DELAYS_S,
    LOCKOUT_MEMORY_S,
    LOCKOUT_NAME_THRESHOLD,
    LOCKOUT_THRESHOLD,
)
from .problems import Problem

ANYWHERE = "*"
PURGE_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who tries, and from where."""

    name: bytes
    source: str
    request_id: str

    def counters(self) -> tuple[tuple[str, int], ...]:
        """Return the sources that count this attempt, each with its threshold."""
        return ((self.source, LOCKOUT_THRESHOLD), (ANYWHERE, LOCKOUT_NAME_THRESHOLD))


def name_digest(salt: bytes, name_key: str) -> bytes:
    """Return what stands for a user name."""
    message = b"login\0" + name_key.encode("utf-8", "surrogatepass")
    return hmac.new(salt, message, hashlib.sha256).digest()


def delay_s(failures: int, threshold: int) -> int:
    """Return how long the failure with this number locks: growing, the last delay for ever."""
    if failures < threshold:
        return 0
    return LOCKOUT_DELAYS_S[min(failures - threshold, len(LOCKOUT_DELAYS_S) - 1)]


def left_ms(connection: sqlite3.Connection, attempt: Attempt, now_ms: int) -> int:
    """Return how long this attempt is still locked out, 0 if it is not."""
    row = connection.execute(
        "SELECT max(locked_until) FROM login_failures WHERE name = ? AND source IN (?, ?)",
        (attempt.name, attempt.source, ANYWHERE),
    ).fetchone()
    return max((row[0] or 0) - now_ms, 0)


def check(connection: sqlite3.Connection, attempt: Attempt, now_ms: int) -> None:
    """Refuse an attempt that is locked out: 423 with Retry-After, whatever the password is."""
    left = left_ms(connection, attempt, now_ms)
    if left:
        seconds = -(-left // 1000)
        raise Problem(
            "locked",
            f"Try again in {seconds} seconds.",
            headers={"Retry-After": str(seconds)},
        )


def fail(connection: sqlite3.Connection, attempt: Attempt, now_ms: int) -> bool:
    """Count a failure; tell whether it locks. Failures of long ago are forgotten first."""
    connection.execute(
        "DELETE FROM login_failures WHERE (name, source) IN"
        " (SELECT name, source FROM login_failures WHERE last_at < ? LIMIT ?)",
        (now_ms - LOCKOUT_MEMORY_S * 1000, PURGE_ROWS),
    )
    locks = False
    for source, threshold in attempt.counters():
        failures = connection.execute(
            "INSERT INTO login_failures (name, source, failures, last_at) VALUES (?, ?, 1, ?)"
            " ON CONFLICT (name, source) DO UPDATE SET last_at = excluded.last_at,"
            " failures = CASE WHEN last_at < ? THEN 1 ELSE failures + 1 END RETURNING failures",
            (attempt.name, source, now_ms, now_ms - LOCKOUT_MEMORY_S * 1000),
        ).fetchone()[0]
        seconds = delay_s(failures, threshold)
        if seconds:
            locks = True
            connection.execute(
                "UPDATE login_failures SET locked_until = ? WHERE name = ? AND source = ?",
                (now_ms + seconds * 1000, attempt.name, source),
            )
    return locks


def clear(connection: sqlite3.Connection, attempt: Attempt) -> None:
    """Forget the failures after a success."""
    connection.execute(
        "DELETE FROM login_failures WHERE name = ? AND source IN (?, ?)",
        (attempt.name, attempt.source, ANYWHERE),
    )


def lift(connection: sqlite3.Connection, name: bytes) -> None:
    """Forget the failures of a name from every source: an admin unlocks it."""
    connection.execute("DELETE FROM login_failures WHERE name = ?", (name,))
