"""The rows of delivery: who subscribes, how far each one is, and what a round has changed."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reference_impl import audit, database, outbox

NOTIFICATION = "notification"
SET_ASIDE_KEPT = 1000
"""Of each subscriber; the count goes on."""
ALL_TYPES = "*"
DISABLE = audit.Act(actor="system", action="disableWebhook", request_id="-", payload_digest="")
Fence = Callable[[sqlite3.Connection], bool]
"""Tells, inside a transaction, whether this process still is the one that delivers."""


class LostError(Exception):
    """Another process delivers now, or the subscriber has ended: what was done here is void."""


@dataclass(slots=True, kw_only=True)
class Waiting:
    """An event that waits for an attempt."""

    attempts: int
    next_at: int
    failed_at: int | None
    keys: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class State:
    """How far a subscriber is, as kept in memory by the one that delivers."""

    position: int
    waiting: dict[int, Waiting]
    epoch: str
    """Of the book: after a restore what is in memory here is about another one."""
    in_a_row: int = 0
    paused_until: int = 0
    last_taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An event that was given up."""

    seq: int
    event_id: str
    attempts: int
    reason: str


@dataclass(slots=True, kw_only=True)
class Round:
    """What changed in one round of deliveries to one subscriber."""

    consumer: str
    position: int
    epoch: str
    taken: int = 0
    failures: int = 0
    missed: int = 0
    last_error: str | None = None
    in_a_row: int = 0
    paused_until: int = 0
    ended: list[int] = field(default_factory=list)
    """Events that wait no more."""
    waiting: dict[int, Waiting] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)
    gone: bool = False


def begin(connection: sqlite3.Connection, consumer: str, position: int) -> None:
    """Let a subscriber begin behind `position`; one that is there goes on where it is."""
    connection.execute("INSERT OR IGNORE INTO outbox_consumers VALUES (?, ?)", (consumer, position))
    connection.execute("INSERT OR IGNORE INTO delivery_states (consumer) VALUES (?)", (consumer,))


def load(connection: sqlite3.Connection, consumer: str) -> State:
    """Return where a subscriber is. Raises LostError if there is none of the name."""
    row = connection.execute(
        "SELECT * FROM delivery_states WHERE consumer = ?", (consumer,)
    ).fetchone()
    if row is None:
        raise LostError(consumer)
    waiting = connection.execute(
        "SELECT w.seq, attempts, next_at, failed_at, subject, data FROM delivery_waiting w"
        " LEFT JOIN outbox o ON o.seq = w.seq WHERE consumer = ? ORDER BY w.seq",
        (consumer,),
    )
    return State(
        position=outbox.position(connection, consumer),
        epoch=database.meta(connection, "epoch"),
        waiting={
            each["seq"]: Waiting(
                attempts=each["attempts"],
                next_at=each["next_at"],
                failed_at=each["failed_at"],
                keys=() if each["data"] is None else keys(each),
            )
            for each in waiting
        },
        in_a_row=row["in_a_row"],
        paused_until=row["paused_until"] or 0,
        last_taken=row["last_taken"] or 0,
    )


def begun(consumer: str, state: State) -> Round:
    """Return a round in which nothing has happened yet."""
    return Round(
        consumer=consumer, position=state.position, epoch=state.epoch, in_a_row=state.in_a_row
    )


def forget(connection: sqlite3.Connection, consumer: str) -> None:
    """Let go of a subscriber that is there no more; should it come back it begins anew."""
    connection.execute("DELETE FROM outbox_consumers WHERE name = ?", (consumer,))
    for table in ("delivery_states", "delivery_waiting"):
        connection.execute(f"DELETE FROM {table} WHERE consumer = ?", (consumer,))  # noqa: S608 - two constants


def keys(row: Any) -> tuple[str, ...]:
    """Return what an event is about; two events that share a key keep their order."""
    return tuple(outbox.account_ids(json.loads(row["data"]))) or (row["subject"],)


def rows_of(connection: sqlite3.Connection, seqs: Iterable[int]) -> dict[int, Any]:
    """Return the events with these numbers, as far as they are still kept."""
    found = connection.execute(
        f"SELECT {outbox.COLUMNS} FROM outbox"  # noqa: S608 - own names
        " WHERE seq IN (SELECT value FROM json_each(?))",
        (json.dumps(list(seqs)),),
    )
    return {row["seq"]: row for row in found}


def oldest(connection: sqlite3.Connection) -> int:
    """Return the number of the oldest event that is kept, 0 where there is none."""
    return int(connection.execute("SELECT coalesce(min(seq), 0) FROM outbox").fetchone()[0])


def newest(connection: sqlite3.Connection) -> int:
    """Return the number of the newest event, 0 where there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM outbox").fetchone()[0])


def record(connection: sqlite3.Connection, done: Round, now_ms: int, fence: Fence) -> None:
    """Write what a round has changed, in the writer's transaction.

    Raises LostError, before anything is written, if this process delivers no more, the subscriber
    has ended or the book was restored.
    """
    there = connection.execute(
        "SELECT 1 FROM delivery_states WHERE consumer = ?", (done.consumer,)
    ).fetchone()
    same = database.meta(connection, "epoch") == done.epoch
    if there is None or not same or not fence(connection):
        raise LostError(done.consumer)
    outbox.advance(connection, done.consumer, done.position)
    connection.executemany(
        "DELETE FROM delivery_waiting WHERE consumer = ? AND seq = ?",
        [(done.consumer, seq) for seq in done.ended],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO delivery_waiting VALUES (?, ?, ?, ?, ?)",
        [
            (done.consumer, seq, each.attempts, each.next_at, each.failed_at)
            for seq, each in done.waiting.items()
        ],
    )
    _set_aside(connection, done, now_ms)
    connection.execute(
        "UPDATE delivery_states SET taken = taken + :taken, set_aside = set_aside + :set_aside,"
        " missed = missed + :missed, failures = failures + :failures, in_a_row = :in_a_row,"
        " paused_until = nullif(:paused_until, 0),"
        " last_taken = CASE WHEN :taken THEN :now ELSE last_taken END,"
        " last_failure = CASE WHEN :failures THEN :now ELSE last_failure END,"
        " last_error = coalesce(:last_error, last_error) WHERE consumer = :consumer",
        {
            "taken": done.taken,
            "set_aside": len(done.set_aside),
            "missed": done.missed,
            "failures": done.failures,
            "in_a_row": done.in_a_row,
            "paused_until": done.paused_until,
            "last_error": done.last_error,
            "consumer": done.consumer,
            "now": now_ms,
        },
    )
    if done.gone:
        disable(connection, done.consumer, "gone", now_ms)


def _set_aside(connection: sqlite3.Connection, done: Round, now_ms: int) -> None:
    if not done.set_aside:
        return
    connection.executemany(
        "INSERT OR REPLACE INTO delivery_set_aside VALUES (?, ?, ?, ?, ?, ?)",
        [
            (done.consumer, each.seq, each.event_id, each.attempts, each.reason, now_ms)
            for each in done.set_aside
        ],
    )
    connection.execute(
        "DELETE FROM delivery_set_aside WHERE consumer = ?1 AND seq IN (SELECT seq FROM"
        " delivery_set_aside WHERE consumer = ?1 ORDER BY seq DESC LIMIT -1 OFFSET ?2)",
        (done.consumer, SET_ASIDE_KEPT),
    )


def disable(connection: sqlite3.Connection, webhook_id: str, reason: str, now_ms: int) -> None:
    """Send a webhook nothing more; what waited for it is let go."""
    changed = connection.execute(
        "UPDATE webhooks SET status = 'disabled', reason = ?, version = version + 1"
        " WHERE id = ? AND status = 'active'",
        (reason, webhook_id),
    ).rowcount
    if changed:
        connection.execute("DELETE FROM delivery_waiting WHERE consumer = ?", (webhook_id,))
        connection.execute("DELETE FROM outbox_consumers WHERE name = ?", (webhook_id,))
        audit.append(connection, DISABLE, target=webhook_id, outcome=reason, now_ms=now_ms)


def figures(connection: sqlite3.Connection, row: Any) -> dict[str, Any]:
    """Return the delivery figures of a webhook, as it is shown."""
    state = connection.execute(
        "SELECT * FROM delivery_states WHERE consumer = ?", (row["id"],)
    ).fetchone()
    waiting = connection.execute(
        "SELECT count(*) FROM delivery_waiting WHERE consumer = ?", (row["id"],)
    ).fetchone()[0]
    before = 0 if row["status"] == "disabled" else _before(connection, row)
    return {
        "succeeded": state["taken"],
        "failed": state["set_aside"],
        "missed": state["missed"],
        "pending": waiting + before,
        "attempts_failed": state["failures"],
        "paused_until": state["paused_until"],
        "last_success_at": state["last_taken"],
        "last_failure_at": state["last_failure"],
        "last_error": state["last_error"],
    }


PENDING_COUNTED_MAX = 10_000


def _before(connection: sqlite3.Connection, row: Any) -> int:
    types = json.loads(row["event_types"])
    wanted = "TRUE" if ALL_TYPES in types else "type IN (SELECT value FROM json_each(:types))"
    query = (
        "SELECT count(*) FROM (SELECT 1 FROM outbox WHERE seq > (SELECT seq FROM outbox_consumers"  # noqa: S608 - own text
        f" WHERE name = :id) AND {wanted} LIMIT {PENDING_COUNTED_MAX})"
    )
    values = {"id": row["id"], "types": row["event_types"]}
    return int(connection.execute(query, values).fetchone()[0])


def set_aside(
    connection: sqlite3.Connection, consumer: str, most: int
) -> Sequence[Mapping[str, Any]]:
    """Return the newest events that were given up, newest first."""
    return connection.execute(
        "SELECT * FROM delivery_set_aside WHERE consumer = ? ORDER BY seq DESC LIMIT ?",
        (consumer, most),
    ).fetchall()
