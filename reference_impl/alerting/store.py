"""Alerts, silences and notices as rows."""

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from reference_impl import clock, ids

from .machine import Fire, Key, Silence, Standing, Tell, label_map
from .rules import BY_NAME

KEPT_MAX = 10_000
"""So many alerts that are over are kept, with what was told of them."""


def labels_text(key: Key) -> str:
    """Return the stored form of an alert's labels; its events have them as they are here."""
    name, values = key
    return json.dumps(label_map(BY_NAME[name], values), sort_keys=True, separators=(",", ":"))


def key_of(row: sqlite3.Row) -> Key:
    """Return the key of a row; of a rule that is there no more, one that nothing equals."""
    labels, rule = json.loads(row["labels"]), BY_NAME.get(row["name"])
    values = tuple(labels.get(name, "") for name in rule.labels) if rule else ()
    if rule is None or label_map(rule, values).keys() != labels.keys():
        return f"{row['name']} {row['id']}", ()
    return row["name"], values


def standing(connection: sqlite3.Connection) -> list[Standing]:
    """Return the alerts that are not over."""
    rows = connection.execute(
        "SELECT a.*, CASE told WHEN 1 THEN (SELECT max(at) FROM alert_notices"
        " WHERE alert_id = a.id AND kind IN ('firing', 'escalated')) END AS told_at"
        " FROM alerts a WHERE ended_at IS NULL ORDER BY seq"
    )
    return [
        Standing(
            id=row["id"],
            key=key_of(row),
            acknowledged=row["status"] == "acknowledged",
            told_at=row["told_at"],
            escalation=row["escalation"],
        )
        for row in rows
    ]


def silences(connection: sqlite3.Connection, now_ms: int) -> list[Silence]:
    """Return the silences in force."""
    rows = connection.execute(
        "SELECT id, matchers FROM silences WHERE starts_at <= ?1 AND ends_at > ?1", (now_ms,)
    )
    return [
        Silence(
            id=row["id"],
            matchers=tuple((item["name"], item["value"]) for item in json.loads(row["matchers"])),
        )
        for row in rows
    ]


def write(connection: sqlite3.Connection, changes: Iterable[Fire | Tell], now_ms: int) -> None:
    """Write what changed, and what is told of it."""
    for change in changes:
        if isinstance(change, Fire):
            _fire(connection, change, now_ms)
        else:
            _tell(connection, change, now_ms)


def _fire(connection: sqlite3.Connection, change: Fire, now_ms: int) -> None:
    alert_id, rule = ids.new_id("alr", now_ms), BY_NAME[change.key[0]]
    made = connection.execute(
        "INSERT INTO alerts (id, name, labels, severity, value, status, pending_at, started_at,"
        " changed_at, told) VALUES (?, ?, ?, ?, ?, 'firing', ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            alert_id,
            rule.name,
            labels_text(change.key),
            rule.severity,
            change.value,
            min(change.pending_at, now_ms),
            now_ms,
            now_ms,
            bool(change.receivers),
        ),
    )
    if made.rowcount and change.receivers:
        notice(connection, alert_id, "firing", change.receivers, now_ms)


def _tell(connection: sqlite3.Connection, change: Tell, now_ms: int) -> None:
    where = "id = ? AND ended_at IS NULL"
    values: tuple[int, ...]
    match change.kind:
        case "firing":
            sets, values = "told = 1", ()
        case "escalated":
            sets, values = "escalation = ?, escalated_at = ?", (change.escalation, now_ms)
            where += " AND status = 'firing'"  # not if somebody took it a moment ago
        case _:
            sets, values = "status = 'resolved', ended_at = max(?, started_at)", (now_ms,)
    done = connection.execute(
        f"UPDATE alerts SET {sets}, changed_at = ? WHERE {where}",  # noqa: S608 - of this function
        (*values, now_ms, change.id),
    )
    if done.rowcount and change.receivers:
        notice(connection, change.id, change.kind, change.receivers, now_ms)


def notice(
    connection: sqlite3.Connection, alert_id: str, kind: str, receivers: Iterable[str], now_ms: int
) -> None:
    """Tell somebody: a row that the database makes an event of."""
    connection.execute(
        "INSERT INTO alert_notices (alert_id, kind, receivers, at) VALUES (?, ?, ?, ?)",
        (alert_id, kind, json.dumps(list(receivers)), now_ms),
    )


def forget(connection: sqlite3.Connection) -> None:
    """Delete the oldest alerts that are over, beyond those that are kept."""
    gone = [
        (row["id"],)
        for row in connection.execute(
            "SELECT id FROM alerts WHERE ended_at IS NOT NULL"
            " AND seq <= (SELECT max(seq) FROM alerts) - ?",
            (KEPT_MAX,),
        )
    ]
    connection.executemany("DELETE FROM alert_notices WHERE alert_id = ?", gone)
    connection.executemany("DELETE FROM alerts WHERE id = ?", gone)


def notices(connection: sqlite3.Connection, alert_id: str) -> list[dict[str, Any]]:
    """Return what was told of an alert."""
    rows = connection.execute(
        "SELECT kind, receivers, at FROM alert_notices WHERE alert_id = ? ORDER BY seq", (alert_id,)
    )
    return [
        {"kind": r["kind"], "receivers": json.loads(r["receivers"]), "at": clock.text(r["at"])}
        for r in rows
    ]
