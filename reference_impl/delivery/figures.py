"""How delivery goes, for metrics and health: read from the database, the same in every worker."""

import sqlite3
from collections.abc import Iterator
from typing import Any

LATE_S = 300
"""With an event waiting for longer the health check warns."""
FAMILIES = (
    ("delivery_waiting_events", "gauge", "Events that wait for a further attempt.", ("system",)),
    (
        "delivery_oldest_event_age_seconds",
        "gauge",
        "Age of the oldest event that is still to be delivered.",
        ("system",),
    ),
    ("delivery_paused", "gauge", "Receivers that are left alone for a while.", ("system",)),
    ("delivery_webhooks", "gauge", "Webhooks, by status.", ("status",)),
    ("delivery_unpushed_reports", "gauge", "Reports whose push failed or is put off.", ("status",)),
)
"""Families that are read at a scrape: name, kind, help, labels."""
MEANINGS = {
    "deliveries": "delivery_events_total",
    "deliveries_waiting": "delivery_waiting_events",
    "deliveries_oldest": "delivery_oldest_event_age_seconds",
    "deliveries_paused": "delivery_paused",
    "webhooks": "delivery_webhooks",
}
"""What the capability document says: meaning -> name."""
_OLDEST = """
SELECT o.created_at FROM outbox o WHERE o.seq = (SELECT min(seq) FROM (
  SELECT min(seq) AS seq FROM delivery_waiting WHERE consumer = :consumer
  UNION ALL SELECT min(seq) FROM outbox WHERE seq > :position))"""


def system(consumer: str) -> str:
    """Return the label of a consumer: ids are none."""
    return "webhook" if consumer.startswith("whk_") else consumer


def oldest_age_s(connection: sqlite3.Connection, consumer: str, now_ms: int) -> float:
    """Return how long the oldest event of a consumer has waited, 0 where none waits."""
    place = connection.execute(
        "SELECT seq FROM outbox_consumers WHERE name = ?", (consumer,)
    ).fetchone()
    if place is None:
        return 0.0
    row = connection.execute(_OLDEST, {"consumer": consumer, "position": place["seq"]}).fetchone()
    return 0.0 if row is None else max(now_ms - row["created_at"], 0) / 1000


def gauges(
    connection: sqlite3.Connection, now_ms: int
) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield every figure that is read: of several webhooks the sum, of ages the highest."""
    states = connection.execute("SELECT consumer, paused_until FROM delivery_states").fetchall()
    for name in sorted({"webhook", *(system(row["consumer"]) for row in states)}):
        mine = [row for row in states if system(row["consumer"]) == name]
        waiting = sum(_waiting(connection, row["consumer"]) for row in mine)
        ages = [oldest_age_s(connection, row["consumer"], now_ms) for row in mine]
        paused = sum((row["paused_until"] or 0) > now_ms for row in mine)
        yield "delivery_waiting_events", (name,), waiting
        yield "delivery_oldest_event_age_seconds", (name,), max(ages, default=0.0)
        yield "delivery_paused", (name,), paused
    for status in ("active", "disabled"):
        yield "delivery_webhooks", (status,), _count(connection, "webhooks", status)
    for status in ("pending", "failed"):
        yield "delivery_unpushed_reports", (status,), _count(connection, "report_pushes", status)


def _waiting(connection: sqlite3.Connection, consumer: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM delivery_waiting WHERE consumer = ?", (consumer,)
    ).fetchone()
    return int(row[0])


def _count(connection: sqlite3.Connection, table: str, status: str) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM {table} WHERE status = ?",  # noqa: S608 - two constants
        (status,),
    ).fetchone()
    return int(row[0])


def finding(connection: sqlite3.Connection, now_ms: int) -> dict[str, Any]:
    """Return the health check: how long the oldest event of any subscriber has waited."""
    states = connection.execute("SELECT consumer FROM delivery_states").fetchall()
    ages = [oldest_age_s(connection, row["consumer"], now_ms) for row in states]
    age_s = int(max(ages, default=0.0))
    status = "warn" if age_s > LATE_S else "pass"
    return {"status": status, "observedValue": age_s, "observedUnit": "s"}
