"""Alerts and silences over HTTP; the alerts also as Alertmanager's v2 interface shows them."""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Annotated, Any

import flask
from msgspec import UNSET, Meta, UnsetType

from reference_impl import access, clock, idempotency, ids, listing, requests, web
from reference_impl.access import Caller, Rank
from reference_impl.problems import Problem

from . import rules, store
from .machine import Silence, inhibitors, silenced_by
from .rule import ROUTES

blueprint = flask.Blueprint("alerting", __name__)

ALERTMANAGER_RESOLVE_MS = 5 * 60 * 1000
"""Alertmanager names an end also for what goes on: the time at which it would give it up."""
STATES = ("active", "silenced", "inhibited", "unprocessed")


class AcknowledgeAlert(requests.Body):
    """POST /v1/alerts/{id}/acknowledge."""

    note: requests.Text | UnsetType = UNSET


class Matcher(requests.Body):
    """One label that must have one value."""

    name: requests.Line1
    value: Annotated[str, Meta(max_length=200)]


class CreateSilence(requests.Body):
    """POST /v1/silences."""

    matchers: Annotated[list[Matcher], Meta(min_length=1, max_length=20)]
    ends_at: requests.Instant
    reason: requests.Reason


class Muting:
    """What mutes alerts at one moment of the book."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Read the silences in force and the alerts that stand."""
        self.silences: Sequence[Silence] = store.silences(connection, now_ms)
        self.standing = store.standing(connection)

    def silenced_by(self, row: sqlite3.Row) -> list[str]:
        """Return the silences that keep an alert quiet."""
        return silenced_by(json.loads(row["labels"]), self.silences)

    def inhibited_by(self, row: sqlite3.Row) -> list[str]:
        """Return the alerts that explain an alert."""
        return sorted(inhibitors(store.key_of(row), self.standing, rules.RULES))


def annotations(row: sqlite3.Row) -> dict[str, str]:
    """Return what a person needs to know of an alert."""
    rule = rules.BY_NAME.get(row["name"])
    text = {"summary": rule.summary, "remedy": rule.remedy} if rule else {}
    return {**text, "value": f"{row['value']:.6g}"}


def view(row: sqlite3.Row, muting: Muting, connection: sqlite3.Connection) -> dict[str, Any]:
    """Return an alert's wire form."""
    over = row["ended_at"] is not None
    return {
        "id": row["id"],
        "name": row["name"],
        "severity": row["severity"],
        "status": row["status"],
        "labels": json.loads(row["labels"]),
        "annotations": annotations(row),
        "pending_at": clock.text(row["pending_at"]),
        "started_at": clock.text(row["started_at"]),
        "ended_at": clock.maybe(row["ended_at"]),
        "acknowledged_at": clock.maybe(row["acknowledged_at"]),
        "acknowledged_by": row["acknowledged_by"],
        "note": row["note"],
        "escalation": row["escalation"],
        "silenced_by": [] if over else muting.silenced_by(row),
        "inhibited_by": [] if over else muting.inhibited_by(row),
        "notices": store.notices(connection, row["id"]),
    }


@blueprint.get("/v1/alerts")
def list_alerts() -> flask.Response:
    """Return a page of the alerts that are not over."""
    return _listed("listAlerts", "ended_at IS NULL")


@blueprint.get("/v1/alerts/history")
def list_alert_history() -> flask.Response:
    """Return a page of the alerts that are over."""
    return _listed("listAlertHistory", "ended_at IS NOT NULL")


def _listed(operation: str, condition: str) -> flask.Response:
    caller = web.caller(Rank.OPERATOR, auditor=True)
    asked = listing.page(operation, caller.user_id, ("seq",), {})
    after, values, order = listing.keyset(asked, ("seq",))
    query = (
        f"SELECT * FROM alerts WHERE {condition} AND {after}"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {asked.limit + 1}"
    )
    with web.snapshot() as tx:
        rows = tx.connection.execute(query, values).fetchall()
        muting = Muting(tx.connection, tx.now_ms)
        document = listing.answer(
            asked, rows, lambda row: [row["seq"]], lambda row: view(row, muting, tx.connection)
        )
    return web.respond_json(document)


@blueprint.post("/v1/alerts/<alert_id>/acknowledge")
def acknowledge_alert(alert_id: str) -> flask.Response:
    """Take an alert: it is escalated no more. The first one to take it is named."""
    caller = web.caller(Rank.OPERATOR)
    note = requests.given(web.body(AcknowledgeAlert).note)

    def change(tx: web.Tx) -> idempotency.Reply:
        row = _need(tx.connection, "alerts", alert_id)
        if row["status"] == "resolved":
            raise Problem("invalid_transition", "The alert is over.")
        if row["status"] == "firing":
            _acknowledge(tx, caller, row, note)
        row = _need(tx.connection, "alerts", alert_id)
        shown = view(row, Muting(tx.connection, tx.now_ms), tx.connection)
        return web.json_reply(200, shown, target=alert_id)

    return web.write(caller, "acknowledgeAlert", change)


def _acknowledge(tx: web.Tx, caller: Caller, row: sqlite3.Row, note: str | None) -> None:
    tx.connection.execute(
        "UPDATE alerts SET status = 'acknowledged', acknowledged_at = ?1, acknowledged_by = ?2,"
        " note = ?3, changed_at = ?1 WHERE id = ?4",
        (tx.now_ms, caller.user_id, note, row["id"]),
    )
    receivers = ROUTES[row["severity"]].receivers
    store.notice(tx.connection, row["id"], "acknowledged", receivers, tx.now_ms)


@blueprint.get("/api/v2/alerts")
def list_alertmanager_alerts() -> flask.Response:
    """Return the alerts that are not over in the form of Alertmanager's v2 interface."""
    web.caller(Rank.OPERATOR, auditor=True)
    truth = listing.one_of("true", "false")
    asked = listing.parameters(dict.fromkeys(STATES, truth))
    wanted = {name: asked.get(name, "true") == "true" for name in STATES}
    with web.snapshot() as tx:
        query = "SELECT * FROM alerts WHERE ended_at IS NULL ORDER BY seq"
        rows = tx.connection.execute(query).fetchall()
        muting = Muting(tx.connection, tx.now_ms)
    every = [alertmanager_view(row, muting, tx.now_ms) for row in rows]
    return web.respond_json([shown for shown in every if chosen(shown["status"], wanted)])


def chosen(status: dict[str, Any], wanted: dict[str, bool]) -> bool:
    """Tell whether an alert is among those asked for, as Alertmanager reads its parameters."""
    if status["state"] == "active":
        return wanted["active"]
    silenced, inhibited = bool(status["silencedBy"]), bool(status["inhibitedBy"])
    return (wanted["silenced"] or not silenced) and (wanted["inhibited"] or not inhibited)


def alertmanager_view(row: sqlite3.Row, muting: Muting, now_ms: int) -> dict[str, Any]:
    """Return an alert as Alertmanager's gettableAlert."""
    labels = json.loads(row["labels"])
    receivers = ROUTES[row["severity"]].reached(row["escalation"])
    silenced, inhibited = muting.silenced_by(row), muting.inhibited_by(row)
    text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
    return {
        "labels": labels,
        "annotations": annotations(row),
        "receivers": [{"name": name} for name in receivers],
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
        "startsAt": clock.text(row["started_at"]),
        "updatedAt": clock.text(row["changed_at"]),
        "endsAt": clock.text(now_ms + ALERTMANAGER_RESOLVE_MS),
        "status": {
            "state": "suppressed" if silenced or inhibited else "active",
            "silencedBy": silenced,
            "inhibitedBy": inhibited,
        },
    }


def silence_view(row: sqlite3.Row) -> dict[str, Any]:
    """Return a silence's wire form."""
    return {
        "id": row["id"],
        "matchers": json.loads(row["matchers"]),
        "starts_at": clock.text(row["starts_at"]),
        "ends_at": clock.text(row["ends_at"]),
        "reason": row["reason"],
        "created_by": row["created_by"],
    }


@blueprint.post("/v1/silences")
def create_silence() -> flask.Response:
    """Keep matching alerts quiet from now on until a time."""
    caller = web.caller(Rank.OPERATOR)
    body = web.body(CreateSilence)
    ends = clock.milliseconds(body.ends_at)
    matchers = [{"name": item.name, "value": item.value} for item in body.matchers]

    def change(tx: web.Tx) -> idempotency.Reply:
        if ends <= tx.now_ms:
            raise Problem("invalid_expiry", "ends_at is in the past.")
        silence_id = ids.new_id("sil", tx.now_ms)
        tx.connection.execute(
            "INSERT INTO silences (id, matchers, starts_at, ends_at, reason, created_by)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (silence_id, json.dumps(matchers), tx.now_ms, ends, body.reason, caller.user_id),
        )
        shown = silence_view(_need(tx.connection, "silences", silence_id))
        headers = {"Location": f"/v1/silences/{silence_id}"}
        return web.json_reply(201, shown, target=silence_id, headers=headers)

    return web.write(caller, "createSilence", change)


@blueprint.get("/v1/silences/<silence_id>")
def get_silence(silence_id: str) -> flask.Response:
    """Return one silence, also one that is over."""
    web.caller(Rank.OPERATOR, auditor=True)
    return web.respond_json(silence_view(_need(web.reader(), "silences", silence_id)))


@blueprint.delete("/v1/silences/<silence_id>")
def delete_silence(silence_id: str) -> flask.Response:
    """End a silence now; one that is over stays as it is."""
    caller = web.caller(Rank.OPERATOR)

    def change(tx: web.Tx) -> idempotency.Reply:
        _need(tx.connection, "silences", silence_id)
        tx.connection.execute(
            "UPDATE silences SET ends_at = max(starts_at, min(ends_at, ?)) WHERE id = ?",
            (tx.now_ms, silence_id),
        )
        return idempotency.Reply(status=204, body=b"", headers={}, target=silence_id)

    return web.write(caller, "deleteSilence", change, once=False)


def _need(connection: sqlite3.Connection, table: str, object_id: str) -> sqlite3.Row:
    query = f"SELECT * FROM {table} WHERE id = ?"  # noqa: S608 - a name of this file
    row: sqlite3.Row | None = connection.execute(query, (object_id,)).fetchone()
    if row is None:
        raise access.not_found(f"{table.removesuffix('s')} {object_id}")
    return row
