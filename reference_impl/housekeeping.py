"""Clearing up off the request path: one worker deletes what has served its purpose.

Stored answers past their retention, and sessions that ended long ago with their refresh tokens.
Each round is a few short writes among those of the requests, and finds its rows by an index.
Longer periods, and what only an operator decides, are for `retention apply`.
"""

import sqlite3
from collections.abc import Callable

from . import audit, background, idempotency, web
from .operations import undo
from .retention import DAY_MS, Periods

ROUND_S = 30.0
ROWS = 200
"""So many rows go in one write; a round goes on while its writes are full."""
ACT = audit.operator("clearUp")
_ENDED = """
SELECT id FROM sessions WHERE coalesce(ended_at, expires_at) < ?
ORDER BY coalesce(ended_at, expires_at) LIMIT ?"""


def ended_sessions(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete some sessions that ended before an instant, and their tokens; return how many."""
    rows = connection.execute(_ENDED, (before_ms, ROWS)).fetchall()
    names = [(row["id"],) for row in rows]
    connection.executemany("DELETE FROM refresh_tokens WHERE session_id = ?", names)
    connection.executemany("DELETE FROM sessions WHERE id = ?", names)
    return len(names)


def rounds(shared: web.Services) -> dict[str, int]:
    """Delete what is due now; return the number of rows by kind."""
    return {
        "stored_answers": _until_done(shared, idempotency.purge, idempotency.PURGE_ROWS),
        "sessions": _until_done(shared, _old_sessions, ROWS),
    }


def _old_sessions(connection: sqlite3.Connection, now_ms: int) -> int:
    done = ended_sessions(connection, now_ms - Periods().sessions_days * DAY_MS)
    if done:
        audit.append(connection, ACT, target="sessions", outcome="done", now_ms=now_ms)
    return done


def _until_done(
    shared: web.Services, some: Callable[[sqlite3.Connection, int], int], full: int
) -> int:
    total = 0
    while True:
        done = shared.writer.submit(lambda connection: some(connection, shared.clock.now_ms()))
        total += done
        if done < full:
            return total


def install(jobs: background.Background, shared: web.Services) -> None:
    """Let one worker clear up every `ROUND_S` seconds."""

    def step() -> None:
        rounds(shared)
        shared.writer.submit(undo.prune)

    jobs.run_when_owner("housekeeping", ROUND_S, step)
