"""The outbox: what has happened, in the order in which it was committed, for whoever passes it on.

The rows are written by the triggers of schema_outbox.sql, in the transaction of the change. This
module gives the running change its time and trace context, and reads: the rows behind a place,
how far each consumer has come, and how many events of each kind there have ever been.
"""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from . import clock

SPECVERSION = "1.0"
_64_BITS = (1 << 64) - 1
COLUMNS = "seq, salt, type, subject, kind, amount, currency, data, traceparent, created_at"


def begin(connection: sqlite3.Connection, now_ms: int, traceparent: str) -> None:
    """Tell the database the time and the trace context of the events that follow.

    Call it inside the transaction, before the change.
    """
    connection.execute(
        "UPDATE outbox_state SET now_ms = ?, traceparent = ?", (now_ms, traceparent or None)
    )


def pending(connection: sqlite3.Connection, after_seq: int, limit: int) -> list[Any]:
    """Return up to `limit` rows behind `after_seq`, in order; a later one never comes before.

    A gap at the beginning means that events have passed their retention.
    """
    return connection.execute(
        f"SELECT {COLUMNS} FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - own names
        (after_seq, limit),
    ).fetchall()


def advance(connection: sqlite3.Connection, consumer: str, seq: int) -> None:
    """Remember, inside the writer's transaction, that a consumer is done up to `seq`."""
    connection.execute(
        "INSERT INTO outbox_consumers VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET seq = max(seq, excluded.seq)",
        (consumer, seq),
    )


def position(connection: sqlite3.Connection, consumer: str) -> int:
    """Return how far a consumer has come, 0 for a new one."""
    row = connection.execute(
        "SELECT seq FROM outbox_consumers WHERE name = ?", (consumer,)
    ).fetchone()
    return int(row[0]) if row else 0


def backlog(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many events each consumer has before it."""
    rows = connection.execute(
        "SELECT name, max((SELECT coalesce(max(seq), 0) FROM outbox) - seq, 0)"
        " FROM outbox_consumers"
    )
    return {row[0]: row[1] for row in rows}


def kept(connection: sqlite3.Connection) -> int:
    """Return how many events are kept."""
    row = connection.execute(
        "SELECT (SELECT max(seq) FROM outbox) - (SELECT min(seq) FROM outbox) + 1"
    ).fetchone()
    return int(row[0] or 0)


def tallied(connection: sqlite3.Connection) -> list[tuple[str, str, str, int, float]]:
    """Return (type, kind, currency, events, sum of amounts) of all events that have ever been.

    Exact at one place of the book, and at most 255 rows are looked at beside the sums.
    """
    rows = connection.execute(
        "SELECT type, kind, currency, sum(events), sum(amount) FROM ("
        " SELECT type, kind, currency, events, amount FROM event_tallies UNION ALL"
        " SELECT type, coalesce(kind, ''), coalesce(currency, ''), count(*), total(amount)"
        " FROM outbox WHERE seq > (SELECT folded FROM outbox_state) GROUP BY 1, 2, 3"
        ") GROUP BY 1, 2, 3"
    )
    return [tuple(row) for row in rows]


def source(public_key: str) -> str:
    """Return the CloudEvents source of a deployment: its name is that of its audit key."""
    return f"urn:alluse:deployment:{hashlib.sha256(public_key.encode()).hexdigest()[:32]}"


def event_id(row: Any) -> str:
    """Return the id of an event."""
    return f"evt_{row['seq']}_{row['salt'] & _64_BITS:016x}"


def document(row: Any, origin: str) -> dict[str, Any]:
    """Return a row as a CloudEvent 1.0 in structured form."""
    data = json.loads(row["data"])
    if row["kind"] is not None:
        data["kind"] = row["kind"]
    if row["amount"] is not None:
        data["amount"] = {"amount": row["amount"], "currency": row["currency"]}
    data["account_ids"] = account_ids(data)
    event = {
        "specversion": SPECVERSION,
        "id": event_id(row),
        "source": origin,
        "type": row["type"],
        "subject": row["subject"],
        "time": clock.text(row["created_at"]),
        "datacontenttype": "application/json",
        "seq": row["seq"],
        "data": data,
    }
    if row["traceparent"]:
        event["traceparent"] = row["traceparent"]
    return event


def account_ids(data: dict[str, Any]) -> Sequence[str]:
    """Return the accounts that an event is about; events of one account come in their order."""
    named = [data.get(name) for name in ("account_id", "from_account_id", "to_account_id")]
    named += [leg.get("account_id") for leg in data.get("legs", ())]
    return list(dict.fromkeys(name for name in named if name))
