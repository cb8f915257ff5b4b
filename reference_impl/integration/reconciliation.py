"""Resources under /v1/reconciliations: positions compared with the market, nothing booked.

The request that asks for one goes on with it after its commit; what the market leaves open is done
in the background. What the market says about a time that is long over is not compared.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import flask
import msgspec
from flask import g

from reference_impl import (
    access,
    accounts,
    audit,
    booking,
    clock,
    idempotency,
    ids,
    outbox,
    requests,
    web,
)
from reference_impl.access import Rank
from reference_impl.problems import Problem

from . import positions, trading
from .desk import LATER
from .market import Market, check_way
from .outbound import CallFailedError

blueprint = flask.Blueprint("reconciliations", __name__)

STALE_MS = 60_000
"""An answer about an earlier time than so long ago is not used."""
ATTEMPTS_MAX = 8
NAMES_MAX = 100
"""Accounts that the market is asked about for one reconciliation."""
DUE_ROWS = 5
GRACE_MS = 2_000
_log = logging.getLogger(__name__)


class CreateReconciliation(requests.Body):
    """POST /v1/reconciliations."""

    account_id: requests.Id


class StaleError(Exception):
    """The market answered about a time that is over, or one that has not come."""


@blueprint.post("/v1/reconciliations")
def create_reconciliation() -> flask.Response:
    """Record that positions are to be compared, and compare them."""
    caller = web.caller(Rank.OPERATOR)
    body = web.body(CreateReconciliation)
    trace, made = g.trace.parent, []

    def change(tx: web.Tx) -> idempotency.Reply:
        booking.need_account(tx, caller, body.account_id)
        check_way(tx.services)
        name = ids.new_id("rec", tx.now_ms)
        tx.connection.execute(
            "INSERT INTO reconciliations (id, account_id, due_at, traceparent, created_at,"
            " created_by) VALUES (?, ?, ?, ?, ?, ?)",
            (name, body.account_id, tx.now_ms + GRACE_MS, trace, tx.now_ms, caller.user_id),
        )
        made.append(name)
        headers = {"Location": f"/v1/reconciliations/{name}"}
        return web.json_reply(201, shown(_row(tx.connection, name)), target=name, headers=headers)

    response = web.write(caller, "createReconciliation", change)
    for name in made[-1:]:
        compare(web.services(), name)
    return response


@blueprint.get("/v1/reconciliations/<reconciliation_id>")
def get_reconciliation(reconciliation_id: str) -> flask.Response:
    """Return one reconciliation."""
    caller = web.caller(Rank.OPERATOR, auditor=True)
    with web.snapshot() as tx:
        row = _row(tx.connection, reconciliation_id)
        if row is None:
            raise access.not_found(f"reconciliation {reconciliation_id}")
        accounts.need_row(tx, caller, row["account_id"])
        return web.respond_json(shown(row))


def _row(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute("SELECT * FROM reconciliations WHERE id = ?", (name,)).fetchone()


def shown(row: Any) -> dict[str, Any]:
    """Return a reconciliation's wire form."""
    return {
        "id": row["id"],
        "account_id": row["account_id"],
        "status": row["status"],
        "differences": msgspec.Raw(row["differences"].encode()),
        "reason": row["reason"],
        "as_of": clock.maybe(row["as_of"]),
        "created_at": clock.text(row["created_at"]),
        "created_by": row["created_by"],
        "finished_at": clock.maybe(row["finished_at"]),
    }


def differences(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the instruments whose units differ, by name."""
    return [
        {"instrument": name, "ours": ours.get(name, 0), "theirs": theirs.get(name, 0)}
        for name in sorted({*ours, *theirs})
        if ours.get(name, 0) != theirs.get(name, 0)
    ]


def check_fresh(as_of: str, now_ms: int) -> int:
    """Return the time of an answer in ms; StaleError where it is not about now."""
    try:
        instant = datetime.fromisoformat(as_of)
        said_ms = clock.milliseconds(instant) if instant.tzinfo else None
    except (ValueError, OverflowError):
        said_ms = None
    if said_ms is None:
        raise StaleError("the market gave no time")
    if not now_ms - STALE_MS <= said_ms <= now_ms + trading.CLOCKS_APART_MS:
        raise StaleError("what the market said is old")
    return said_ms


def compare(shared: web.Services, name: str, *, patient: bool = False) -> bool:
    """Do one attempt; False where the market was not asked. Raises nothing for its sake."""
    connection = shared.readers.get()
    row = _row(connection, name)
    if row["status"] != "running":
        return True
    refs = positions.names_at_market(connection, row["account_id"])
    try:
        if len(refs) > NAMES_MAX:
            end(shared, row, "failed", reason="too many accounts were merged into this one")
            return True
        theirs, as_of = ask(Market(shared=shared, patient=patient), refs, row["traceparent"])
        ours = positions.quantities(shared.readers.get(), row["account_id"])
        found = differences(ours, theirs)
        end(shared, row, "different" if found else "equal", found=(found, as_of))
    except CallFailedError as failed:
        _log.info("%s waits: %s", name, failed)
        if failed.reason in LATER:
            return False
        again(shared, row, f"the market: {failed.reason.value}", failed.retry_after_s)
    except StaleError as stale:
        again(shared, row, str(stale), 0)
    except Problem as busy:
        _log.info("%s stays due: %s", name, busy.code)
    return True


def ask(market: Market, refs: Sequence[str], traceparent: str) -> tuple[Counter[str], int]:
    """Return the market's units of each instrument, and the time of its oldest answer."""
    theirs: Counter[str] = Counter()
    times = []
    for ref in refs:
        answer = market.positions(ref, traceparent)
        times.append(check_fresh(answer.as_of, market.shared.clock.now_ms()))
        for held in answer.data:
            theirs[held.instrument] += held.quantity
    return theirs, min(times)


def end(
    shared: web.Services,
    row: Any,
    status: str,
    *,
    found: tuple[Sequence[Mapping[str, Any]], int | None] = ((), None),
    reason: str | None = None,
) -> None:
    """Write the result, once; `found` are the differences and the time that they are about."""
    encoded, as_of = msgspec.json.encode(list(found[0])).decode(), found[1]

    def run(connection: sqlite3.Connection) -> None:
        shared.gate.check("reconcile")
        now = shared.clock.now_ms()
        outbox.begin(connection, now, row["traceparent"])
        done = connection.execute(
            "UPDATE reconciliations SET status = ?, differences = ?, differing = ?, reason = ?,"
            " as_of = ?, finished_at = ?, due_at = NULL WHERE id = ? AND status = 'running'",
            (status, encoded, len(found[0]), reason, as_of, now, row["id"]),
        ).rowcount
        if done:
            act = audit.Act(actor="market", action="reconcile", request_id="-", payload_digest="")
            audit.append(connection, act, target=row["id"], outcome=status, now_ms=now)

    shared.writer.submit(run)


def again(shared: web.Services, row: Any, reason: str, retry_after_s: int) -> None:
    """Come back later, or give up."""
    attempts = row["attempts"] + 1
    try:
        if attempts >= ATTEMPTS_MAX:
            end(shared, row, "failed", reason=reason)
            return
        wait_ms = trading.backoff_ms(attempts, retry_after_s=retry_after_s)

        def run(connection: sqlite3.Connection) -> None:
            shared.gate.check("reconcile")
            connection.execute(
                "UPDATE reconciliations SET attempts = ?, due_at = ?"
                " WHERE id = ? AND status = 'running'",
                (attempts, shared.clock.now_ms() + wait_ms, row["id"]),
            )

        shared.writer.submit(run)
    except Problem as busy:
        _log.info("%s stays due: %s", row["id"], busy.code)


def step(shared: web.Services) -> bool:
    """Go on with what is due; True if there may be more. One worker at a time."""
    try:
        check_way(shared)
    except Problem:
        return False
    rows = shared.readers.get().execute(
        "SELECT id FROM reconciliations WHERE due_at <= ? ORDER BY due_at LIMIT ?",
        (shared.clock.now_ms(), DUE_ROWS),
    )
    names = [row["id"] for row in rows.fetchall()]
    asked = all(compare(shared, name, patient=True) for name in names)
    return asked and len(names) == DUE_ROWS
