"""The way back in time: what takes each change back, kept for restores to a moment.

Journal, audit trail, outbox and stored answers only grow and carry their time: going back cuts
them off. What else is part of the book (accounts and people, rights and rules) changes in place;
triggers keep the statement that takes each change back, under the number of its audit record. No
trigger lies on the path of a transfer. A table that is in no list below is not touched: after a
restore to a moment it is as in the backup that the restore began from.
"""

import sqlite3
from collections.abc import Iterable

TRACKED = (
    "accounts",
    "credentials",
    "executions",
    "grants",
    "growth_in_force",
    "growth_policies",
    "identities",
    "orders",
    "password_history",
    "position_origins",
    "positions",
    "reconciliations",
    "strategies",
    "strategy_executions",
    "strategy_results",
    "totp",
    "users",
    "webhooks",
)
"""Rows that change in place."""
CUT = frozenset(
    {
        "audit",
        "audit_nodes",
        "buckets",
        "closings",
        "event_tallies",
        "growth_events",
        "holds",
        "idempotency",
        "lines",
        "outbox",
        "outbox_consumers",
        "outbox_state",
        "parties",
        "report_pushes",
        "reports",
        "systems",
        "transactions",
    }
)
"""Rows that only grow, and what is made of them (`moment` cuts them off)."""
LIVE = (
    "alerts",
    "alert_notices",  # after what it refers to
    "backups",
    "breaker_changes",
    "breakers",
    "identity_keys",
    "identity_tokens",
    "leases",
    "login_failures",
    "maintenance",
    "recoveries",
    "recovery_marks",
    "silences",
)
"""How the deployment is run, not what is in the book: every restore leaves it as it is."""
AS_BACKED_UP = frozenset(
    {
        "delivery_set_aside",
        "delivery_states",
        "delivery_waiting",
        "meta",
        "undo_log",
        "undo_state",
    }
)
"""Of the state that a restore begins from, but for webhooks that are gone or back (`moment`)."""
FLEETING = ("refresh_tokens", "mfa_challenges", "sessions")
"""Ended by every restore, in this order. Every table is in one list."""
WITHOUT_INSERT = frozenset({"accounts"})
"""Their rows carry the time they were made, and are cut off by it."""
PREFIX = "undo_"
ROWS_MAX = 1_000_000
"""So many statements are kept at most."""
NEXT_RECORD = "SELECT coalesce(max(seq), 0) + 1, {} FROM audit"


def triggers(connection: sqlite3.Connection, tables: Iterable[str] = TRACKED) -> list[str]:
    """Return the CREATE TRIGGER statements for the tables, from their columns."""
    made: list[str] = []
    for table in tables:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        names = [column[1] for column in columns]
        keys = [column[1] for column in sorted(columns, key=lambda one: one[5]) if column[5]]
        where = " || ' AND ' || ".join(f"'{key} IS ' || quote(NEW.{key})" for key in keys)
        sets = " || ', ' || ".join(f"'{name} = ' || quote(OLD.{name})" for name in names)
        values = " || ', ' || ".join(f"quote(OLD.{name})" for name in names)
        shown = ", ".join(names)
        texts = {  # of names out of the schema itself
            "INSERT": f"'DELETE FROM {table} WHERE ' || {where}",  # noqa: S608 - see above
            "UPDATE": f"'UPDATE {table} SET ' || {sets} || ' WHERE ' || {where}",  # noqa: S608 - see above
            "DELETE": f"'INSERT INTO {table} ({shown}) VALUES (' || {values} || ')'",  # noqa: S608 - see above
        }
        if table in WITHOUT_INSERT:
            del texts["INSERT"]
        made += [
            f"CREATE TRIGGER {PREFIX}{table}_{event.lower()} AFTER {event} ON {table} BEGIN"
            f" INSERT INTO undo_log (audit_seq, statement) {NEXT_RECORD.format(text)}; END"
            for event, text in texts.items()
        ]
    return made


def forget(connection: sqlite3.Connection) -> None:
    """Drop the way back to before now: after an erasure, a change of keys, a restore."""
    connection.execute(
        "UPDATE undo_state SET audit_seq = (SELECT coalesce(max(seq), 0) FROM audit)"
    )
    connection.execute("DELETE FROM undo_log")


def prune(connection: sqlite3.Connection, rows_max: int = ROWS_MAX) -> int:
    """Drop the oldest statements beyond `rows_max`; return how many."""
    row = connection.execute(
        "SELECT audit_seq FROM undo_log WHERE seq <= (SELECT max(seq) FROM undo_log) - ?"
        " ORDER BY seq DESC LIMIT 1",
        (rows_max,),
    ).fetchone()
    if row is None:
        return 0
    connection.execute("UPDATE undo_state SET audit_seq = max(audit_seq, ?)", (row[0],))
    return connection.execute("DELETE FROM undo_log WHERE audit_seq <= ?", (row[0],)).rowcount
