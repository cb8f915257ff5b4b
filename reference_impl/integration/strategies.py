"""Resources under /v1/accounts/{id}/strategy: which strategy an account follows, and executions."""

import contextlib
import json
import sqlite3
from typing import Any

import flask
from flask import g

from reference_impl import (
    accounts,
    booking,
    clock,
    idempotency,
    ids,
    ledger,
    listing,
    requests,
    web,
)
from reference_impl.access import Caller, Rank, not_found
from reference_impl.growth import standing
from reference_impl.problems import Problem, invalid

from . import strategy_runs
from .outbound import CallFailedError
from .registry import STRATEGY_ENGINE
from .strategy_engine import StrategyCalls

blueprint = flask.Blueprint("strategies", __name__)

CHANGE_EXTRA_MS = 5_000
"""A change that takes longer than its calls and this was cut off."""
_PATH = "/v1/accounts/<account_id>/strategy"


class PutStrategy(requests.Body):
    """PUT /v1/accounts/{id}/strategy."""

    name: requests.Line1
    parameters: requests.Metadata


class Execute(requests.Body):
    """POST /v1/accounts/{id}/strategy/executions."""


@blueprint.get(_PATH)
def get_strategy(account_id: str) -> flask.Response:
    """Return the strategy of an account, whether the engine can be reached or not."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    tx = web.reading()
    accounts.need_row(tx, caller, account_id)
    row = _row(tx.connection, account_id)
    if row is None or not row["version"]:
        raise not_found(f"strategy of {account_id}")
    tag = web.etag(row["version"])
    return web.not_modified(tag) or web.respond_json(view(row), {"ETag": tag})


def check_parameters(parameters: requests.Metadata) -> None:
    """Refuse parameters beyond the bounds of free members."""
    try:
        requests.check_metadata(parameters, "")
    except Problem as problem:
        detail = problem.detail.replace("metadata", "parameters")
        raise invalid("/parameters", problem.errors[0]["code"], detail) from None


def _row(connection: sqlite3.Connection, account_id: str) -> Any:
    return connection.execute(
        "SELECT * FROM strategies WHERE account_id = ?", (account_id,)
    ).fetchone()


def view(row: Any) -> dict[str, Any]:
    """Return an association as the contract shows it."""
    return {
        "account_id": row["account_id"],
        "name": row["name"],
        "parameters": json.loads(row["parameters"]),
        "version": row["version"],
        "updated_at": clock.text(row["updated_at"]),
    }


@blueprint.put(_PATH)
def put_strategy(account_id: str) -> flask.Response:
    """Associate a strategy: announced here, made at the engine, then kept."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(PutStrategy)
    check_parameters(body.parameters)
    tag, shared = web.if_match(), web.services()
    claim = _announce(shared, caller, (account_id, tag))
    problem, in_doubt = _associate(shared, account_id, body)
    try:
        if problem is not None:
            raise problem
        return web.write(caller, "putStrategy", _keep(caller, (account_id, tag), body), once=False)
    except Problem:
        with contextlib.suppress(Problem):  # the announcement ends by itself
            _withdraw(shared, account_id, claim, in_doubt=in_doubt)
        raise


def _associate(
    shared: web.Services, account_id: str, body: PutStrategy
) -> tuple[Problem | None, bool]:
    """Tell the engine; return why it did not take it, and whether it may have taken it."""
    engine = StrategyCalls(shared=shared, traceparent=g.trace.parent)
    try:
        # A key of its own: the same strategy again, after another one, is another effect.
        key = ids.new_id("str", web.now_ms())
        answer = engine.associate(account_id, key, body.name, body.parameters)
    except CallFailedError as failed:
        return failed.problem(), failed.unknown
    return (refusal(answer.code), False) if answer.status >= 400 else (None, True)


def refusal(code: str) -> Problem:
    """Return what a client is told when the engine refuses a strategy."""
    if code == "unknown_strategy":
        return Problem("strategy_refused", "The strategy engine knows no such strategy.")
    return Problem("strategy_refused", "The strategy engine does not take these parameters.")


def _checked(tx: web.Tx, caller: Caller, asked: tuple[str, str | None]) -> Any:
    """Return the association as it is, if it may be changed: 404, 428 or 412, then 409."""
    account_id, tag = asked
    account = booking.need_account(tx, caller, account_id)
    row = _row(tx.connection, account_id)
    web.check_if_match(tag, row["version"] if row else 0)
    ledger.check_not_ended(account)
    return row


def _announce(shared: web.Services, caller: Caller, asked: tuple[str, str | None]) -> int:
    """Keep others from changing the same association for the time of the call."""
    last_ms = shared.outbound.registry[STRATEGY_ENGINE].budget_ms + CHANGE_EXTRA_MS

    def write(connection: sqlite3.Connection) -> int:
        shared.gate.check("putStrategy")
        now_ms = shared.clock.now_ms()
        row = _checked(web.Tx(connection=connection, now_ms=now_ms, services=shared), caller, asked)
        if row is not None and now_ms < row["changing_until"] <= now_ms + last_ms:
            raise Problem("busy", "The strategy of this account is being changed.")
        connection.execute(
            "INSERT INTO strategies VALUES (?, '', '{}', 0, ?, ?, 1) ON CONFLICT (account_id)"
            " DO UPDATE SET changing_until = excluded.changing_until, in_doubt = 1",
            (asked[0], now_ms, now_ms + last_ms),
        )
        return now_ms + last_ms

    return shared.writer.submit(write)


def _withdraw(shared: web.Services, account_id: str, claim: int, *, in_doubt: bool) -> None:
    now_ms = shared.clock.now_ms()
    shared.writer.submit(
        lambda connection: connection.execute(
            "UPDATE strategies SET changing_until = ?, in_doubt = ?"
            " WHERE account_id = ? AND changing_until = ?",
            (now_ms, int(in_doubt), account_id, claim),
        )
    )


def _keep(caller: Caller, asked: tuple[str, str | None], body: PutStrategy) -> web.Change:
    def change(tx: web.Tx) -> idempotency.Reply:
        _checked(tx, caller, asked)
        tx.connection.execute(
            "UPDATE strategies SET name = ?, parameters = ?, version = version + 1,"
            " updated_at = ?, changing_until = 0, in_doubt = 0 WHERE account_id = ?",
            (body.name, strategy_runs.parameters_text(body.parameters), tx.now_ms, asked[0]),
        )
        row = _row(tx.connection, asked[0])
        headers = {"ETag": web.etag(row["version"])}
        return web.json_reply(200, view(row), target=asked[0], headers=headers)

    return change


@blueprint.post(f"{_PATH}/executions")
def execute(account_id: str) -> flask.Response:
    """Keep that the strategy is to be executed, then have it done."""
    caller = web.caller(Rank.CUSTOMER)
    web.body(Execute)
    stored = web.recalled(caller, "executeStrategy")
    if stored is not None:
        return web.respond(stored)
    shared, traceparent = web.services(), g.trace.parent
    tx = web.reading()
    _executable(tx, standing.of(accounts.need_row(tx, caller, account_id)).account)
    away = shared.outbound.away(STRATEGY_ENGINE)
    if away is not None:
        raise away.problem()
    made: list[str] = []

    def change(tx: web.Tx) -> idempotency.Reply:
        account = booking.need_account(tx, caller, account_id)
        row = _executable(tx, account)
        execution_id = _insert(tx, (caller.user_id, traceparent), row, account)
        made.append(execution_id)
        where = {"Location": f"/v1/accounts/{account_id}/strategy/executions/{execution_id}"}
        document = execution_view(tx.connection, _execution(tx.connection, execution_id))
        return web.json_reply(201, document, target=execution_id, headers=where)

    answer = web.write(caller, "executeStrategy", change)
    if made and answer.status_code == 201 and "Idempotency-Replayed" not in answer.headers:
        strategy_runs.advance(shared, strategy_runs.run_of(_execution(web.reader(), made[-1])))
    return answer


def _executable(tx: web.Tx, account: ledger.Account) -> Any:
    """Return the association, if a strategy may be executed; 409 otherwise."""
    ledger.check_debit_allowed(account)
    row = _row(tx.connection, account.id)
    if row is None or not row["version"]:
        raise Problem("no_strategy", "Associate a strategy first.")
    return row


def _insert(tx: web.Tx, by: tuple[str, str], row: Any, account: ledger.Account) -> str:
    """Write an execution; `by` is who asked for it and the trace of the request."""
    user_id, traceparent = by
    cash = account.cash
    free = ledger.available(ledger=cash.balance, holds=cash.holds, min_balance=account.min_balance)
    execution_id = ids.new_id("exe", tx.now_ms)
    due_ms = tx.now_ms + tx.services.outbound.registry[STRATEGY_ENGINE].budget_ms + CHANGE_EXTRA_MS
    tx.connection.execute(
        "INSERT INTO strategy_executions (id, account_id, strategy, parameters, available,"
        " currency, status, due_at, traceparent, created_at, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?, 'requested', ?, ?, ?, ?)",
        (
            execution_id,
            account.id,
            row["name"],
            row["parameters"],
            max(free, 0),
            cash.currency,
            due_ms,
            traceparent,
            tx.now_ms,
            user_id,
        ),
    )
    return execution_id


def _execution(connection: sqlite3.Connection, execution_id: str) -> Any:
    return connection.execute(
        "SELECT * FROM strategy_executions WHERE id = ?", (execution_id,)
    ).fetchone()


def execution_view(connection: sqlite3.Connection, row: Any) -> dict[str, Any]:
    """Return an execution as the contract shows it."""
    booked = connection.execute(
        "SELECT transaction_id FROM strategy_results WHERE execution_id = ?"
        " AND transaction_id IS NOT NULL ORDER BY seq",
        (row["id"],),
    ).fetchall()
    return {
        "id": row["id"],
        "account_id": row["account_id"],
        "strategy": row["strategy"],
        "status": row["status"],
        "created_at": clock.text(row["created_at"]),
        "ended_at": clock.maybe(row["ended_at"]),
        "failure": row["failure"],
        "transaction_ids": [found["transaction_id"] for found in booked],
    }


@blueprint.get(f"{_PATH}/executions/<execution_id>")
def get_execution(account_id: str, execution_id: str) -> flask.Response:
    """Return one execution of an account."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    with web.snapshot() as tx:
        accounts.need_row(tx, caller, account_id)
        row = _execution(tx.connection, execution_id)
        if row is None or row["account_id"] != account_id:
            raise not_found(f"execution {execution_id}")
        document = execution_view(tx.connection, row)
    return web.respond_json(document)


@blueprint.get(f"{_PATH}/results")
def list_results(account_id: str) -> flask.Response:
    """Return a page of what the executions of an account brought."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    tx = web.reading()
    accounts.need_row(tx, caller, account_id)
    asked = listing.page(f"listStrategyResults:{account_id}", caller.user_id, ("seq",), {})
    after, values, order = listing.keyset(asked, ("seq",))
    rows = tx.connection.execute(
        f"SELECT * FROM strategy_results WHERE account_id = ? AND {after}"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {asked.limit + 1}",
        (account_id, *values),
    ).fetchall()
    return web.respond_json(listing.answer(asked, rows, lambda row: [row["seq"]], result_view))


def result_view(row: Any) -> dict[str, Any]:
    """Return a result as the contract shows it."""
    return {
        "seq": row["seq"],
        "id": row["id"],
        "execution_id": row["execution_id"],
        "kind": row["kind"],
        "amount": {"amount": row["amount"], "currency": row["currency"]},
        "instrument": row["instrument"],
        "quantity": row["quantity"],
        "transaction_id": row["transaction_id"],
        "refusal": row["refusal"],
        "created_at": clock.text(row["created_at"]),
    }
