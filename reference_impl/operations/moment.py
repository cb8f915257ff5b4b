"""A copy of the book as it was at a moment: cut off what came later, take back what changed.

Works on a copy that nobody else has open, with its triggers and foreign keys set aside; the caller
verifies the whole book afterwards. The moment is inclusive: what was recorded in that very
millisecond is kept.
"""

import sqlite3

from .refused import BackupRefusedError

CUTS = (
    "DELETE FROM outbox WHERE created_at > :until",
    "DELETE FROM idempotency WHERE created_at > :until",
    "DELETE FROM reports WHERE created_at > :until OR as_of_seq > :last",
    "DELETE FROM growth_events WHERE seq > :last",
    "DELETE FROM parties WHERE seq > :last",
    "DELETE FROM systems WHERE seq > :last",
    """DELETE FROM lines WHERE seq > :last OR closing_seq IN
       (SELECT hold_seq FROM closings WHERE closed_at > :until)""",
    "DELETE FROM closings WHERE closed_at > :until",
    "DELETE FROM holds WHERE seq > :last",
    "UPDATE holds SET closed = 0 WHERE closed = 1 AND seq NOT IN (SELECT hold_seq FROM closings)",
    "DELETE FROM transactions WHERE seq > :last",
    "DELETE FROM accounts WHERE created_at > :until",
    """DELETE FROM buckets WHERE account_id IS NOT NULL
       AND account_id NOT IN (SELECT id FROM accounts)""",
    "DELETE FROM audit WHERE seq > :audit",
    "DELETE FROM audit_nodes WHERE ((position + 1) << level) > :audit",
)
"""What only grows, in an order that no later statement needs what an earlier one took."""
TALLIES = """
INSERT INTO event_tallies
  SELECT type, coalesce(kind, ''), coalesce(currency, ''), -count(*), -total(amount) FROM outbox
  WHERE created_at > :until AND seq <= (SELECT folded FROM outbox_state) GROUP BY 1, 2, 3
  ON CONFLICT DO UPDATE SET events = events + excluded.events, amount = amount + excluded.amount
"""
PLACES = (
    "DELETE FROM report_pushes WHERE report_id NOT IN (SELECT id FROM reports)",
    """DELETE FROM outbox_consumers WHERE name <> 'notification'
       AND name NOT IN (SELECT id FROM webhooks)""",
    """DELETE FROM delivery_states WHERE consumer <> 'notification'
       AND consumer NOT IN (SELECT id FROM webhooks)""",
    """DELETE FROM delivery_waiting WHERE seq > coalesce((SELECT max(seq) FROM outbox), 0)
       OR (consumer <> 'notification' AND consumer NOT IN (SELECT id FROM webhooks))""",
    """DELETE FROM delivery_set_aside WHERE seq > coalesce((SELECT max(seq) FROM outbox), 0)
       OR (consumer <> 'notification' AND consumer NOT IN (SELECT id FROM webhooks))""",
    """UPDATE outbox_state SET folded = min(folded, coalesce(
       (SELECT max(seq) FROM outbox), 0)), now_ms = NULL, traceparent = NULL""",
    """UPDATE outbox_consumers SET seq = min(seq, coalesce((SELECT max(seq) FROM outbox), 0))""",
    """INSERT OR IGNORE INTO outbox_consumers
       SELECT id, coalesce((SELECT max(seq) FROM outbox), 0) FROM webhooks
       WHERE status = 'active'""",
    "INSERT OR IGNORE INTO delivery_states (consumer) SELECT id FROM webhooks",
)
"""How far who reads the outbox has come. A webhook that ended later is there again; how far it was
then is forgotten: it begins at the moment, and never gets again what it has taken before."""
BALANCES = (
    """CREATE TEMP TABLE moved AS
       SELECT bucket_id AS id, sum(amount) AS amount, count(*) AS n FROM lines GROUP BY 1""",
    """CREATE TEMP TABLE held AS
       SELECT bucket_id AS id, sum(CASE closed WHEN 0 THEN amount ELSE 0 END) AS amount,
       count(*) + sum(closed) AS n FROM holds GROUP BY 1""",
    "CREATE UNIQUE INDEX temp.moved_by_id ON moved (id)",
    "CREATE UNIQUE INDEX temp.held_by_id ON held (id)",
    """UPDATE buckets SET
       balance = coalesce((SELECT amount FROM moved WHERE moved.id = buckets.id), 0),
       holds = coalesce((SELECT amount FROM held WHERE held.id = buckets.id), 0),
       version = coalesce((SELECT n FROM moved WHERE moved.id = buckets.id), 0)
               + coalesce((SELECT n FROM held WHERE held.id = buckets.id), 0)""",
    "DROP TABLE temp.moved",
    "DROP TABLE temp.held",
)
"""Caches of the journal, made anew."""


def go_back(connection: sqlite3.Connection, until_ms: int) -> None:
    """Take a copy of the book back to a moment.

    Raises BackupRefusedError if the copy does not remember that far, or begins later.
    """
    audit_seq = reach(connection, until_ms)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN")
    guards = set_aside(connection)
    later = connection.execute(
        "SELECT statement FROM undo_log WHERE audit_seq > ? ORDER BY seq DESC", (audit_seq,)
    ).fetchall()
    for row in later:
        connection.execute(row[0])
    connection.execute("DELETE FROM undo_log WHERE audit_seq > ?", (audit_seq,))
    last = connection.execute(
        "SELECT coalesce(min(seq) - 1, (SELECT max(seq) FROM transactions), 0)"
        " FROM transactions WHERE recorded_at > ?",
        (until_ms,),
    ).fetchone()[0]
    values = {"until": until_ms, "audit": audit_seq, "last": last}
    for statement in (TALLIES, *CUTS):
        connection.execute(statement, values)
    for statement in (*PLACES, *BALANCES):
        connection.execute(statement)
    for guard in guards:
        connection.execute(guard)
    connection.execute("COMMIT")
    connection.execute("PRAGMA foreign_keys = ON")


def set_aside(connection: sqlite3.Connection) -> list[str]:
    """Drop every trigger; return the statements that make them again."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP TRIGGER {name}")
    return [text for _, text in found]


def reach(connection: sqlite3.Connection, until_ms: int) -> int:
    """Return the number of the last audit record up to a moment, or refuse what is out of reach."""
    row = connection.execute(
        "SELECT coalesce(min(seq) - 1, (SELECT max(seq) FROM audit), 0) FROM audit WHERE ts > ?",
        (until_ms,),
    ).fetchone()
    floor = connection.execute("SELECT audit_seq FROM undo_state").fetchone()[0]
    if row[0] == 0:
        raise BackupRefusedError("the book begins later than `until`")
    if row[0] < floor:
        raise BackupRefusedError(
            "`until` lies before an erasure, a change of keys, a restore or the limit of what is"
            " kept, and what was before is not kept; restore a backup from before it"
        )
    return int(row[0])
