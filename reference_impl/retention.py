"""Retention: what has served its purpose is deleted after its period, and overwritten.

Deleted: sessions that ended and their refresh tokens, grants that expired, challenges of the
second factor, counters of failed logins, stored answers past their time, former passwords that no
session could still need. Kept for good: journal, accounts, growth events and the audit trail;
users until they are erased.
"""

import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path

from . import database, erasure, rotation
from .clock import SystemClock
from .config import IDEMPOTENCY_RETENTION_S, LOCKOUT_MEMORY_S

BATCH_ROWS = 500
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """For how many days each kind is kept after its end."""

    sessions_days: int = 30
    grants_days: int = 90
    passwords_days: int = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of rows: those for which `where` holds at the cut-off `:before` are deleted."""

    kind: str
    table: str
    key: str
    where: str


RULES = (
    Rule(
        kind="refresh_tokens",
        table="refresh_tokens",
        key="token_hash",
        where="session_id IN (SELECT id FROM sessions"
        " WHERE coalesce(ended_at, expires_at) < :before)",
    ),
    Rule(
        kind="sessions",
        table="sessions",
        key="id",
        where="coalesce(ended_at, expires_at) < :before",
    ),
    Rule(kind="grants", table="grants", key="id", where="expires_at < :before"),
    Rule(kind="challenges", table="mfa_challenges", key="digest", where="expires_at < :before"),
    Rule(kind="passwords", table="password_history", key="seq", where="replaced_at < :before"),
    Rule(
        kind="login_failures",
        table="login_failures",
        key="name || source",
        where="last_at < :before",
    ),
    Rule(kind="stored_answers", table="idempotency", key="n", where="created_at < :before"),
)


def cut_offs(periods: Periods, now_ms: int) -> dict[str, int]:
    """Return the instant before which each kind is deleted."""
    sessions = now_ms - periods.sessions_days * DAY_MS
    return {
        "refresh_tokens": sessions,
        "sessions": sessions,
        "grants": now_ms - periods.grants_days * DAY_MS,
        "challenges": now_ms - DAY_MS,
        "passwords": now_ms - periods.passwords_days * DAY_MS,
        "login_failures": now_ms - LOCKOUT_MEMORY_S * 1000,
        "stored_answers": now_ms - IDEMPOTENCY_RETENTION_S * 1000,
    }


def apply(path: Path, periods: Periods, now_ms: int | None = None) -> dict[str, int]:
    """Delete what is past its period; return the number of rows by kind.

    Works in small transactions beside a running server, leaves an audit record, and empties the
    write-ahead log. Raises StartRefusedError if the file is no database of this program.
    """
    database.check(path)
    now = SystemClock().now_ms() if now_ms is None else now_ms
    before = cut_offs(periods, now)
    deleted = {rule.kind: _delete(path, rule, before[rule.kind]) for rule in RULES}
    kept = " ".join(f"{name}={days}" for name, days in asdict(periods).items())
    rotation.record(path, "applyRetention", kept)
    erasure.empty_log(path)
    return deleted


def _delete(path: Path, rule: Rule, before_ms: int) -> int:
    total = 0
    while True:
        with rotation.writing(path) as connection:
            done = _delete_some(connection, rule, before_ms)
        total += done
        if done < BATCH_ROWS:
            return total


def _delete_some(connection: sqlite3.Connection, rule: Rule, before_ms: int) -> int:
    return connection.execute(
        f"DELETE FROM {rule.table} WHERE {rule.key} IN (SELECT {rule.key}"  # noqa: S608 - own names
        f" FROM {rule.table} WHERE {rule.where} LIMIT {BATCH_ROWS})",
        {"before": before_ms},
    ).rowcount
