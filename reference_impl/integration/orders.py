"""Resources under /v1/orders: placing, reading, listing and cancelling orders."""

from typing import Annotated, Any, Literal

import flask
from flask import g
from msgspec import Meta

from reference_impl import access, booking, idempotency, ledger, listing, requests, web
from reference_impl.access import Caller, Rank
from reference_impl.problems import Problem

from . import desk, market, order_rows, trading
from .trading import Order

blueprint = flask.Blueprint("orders", __name__)

STATUSES = (*trading.LIVE, *trading.ENDED)
GRACE_MS = 2_000
"""The request that placed an order asks the market itself; after so long somebody else does."""


class CreateOrder(requests.Body):
    """POST /v1/orders."""

    account_id: requests.Id
    instrument: requests.Line1
    side: trading.Side
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]
    limit_price: requests.Money
    bucket: Literal["position:contracts", "position:leaps", "position:shares"] = "position:shares"


@blueprint.post("/v1/orders")
def create_order() -> flask.Response:
    """Record an order with its hold, and then ask the market for it."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(CreateOrder)
    trace, made = g.trace.parent, []

    def change(tx: web.Tx) -> idempotency.Reply:
        account = booking.need_account(tx, caller, body.account_id)
        check_terms(tx, account, body)
        market.check_way(tx.services)
        order = order_rows.insert(tx, terms(caller, body, trace, tx.now_ms + GRACE_MS))
        made.append(order)
        shown = order_rows.shown(tx.connection, order)
        headers = {"Location": f"/v1/orders/{order.id}"}
        return web.json_reply(201, shown, target=order.id, headers=headers)

    response = web.write(caller, "createOrder", change)
    for order in made[-1:]:
        desk.advance(web.services(), order)
    return response


def check_terms(tx: web.Tx, account: ledger.Account, body: CreateOrder) -> None:
    """Refuse an order that the state (409) or the rules (422) of an account do not allow."""
    ledger.check_debit_allowed(account)
    ledger.check_currency(body.limit_price.currency, account.cash)
    amount = trading.worth(body.limit_price.amount, body.quantity)
    if body.side == "buy":
        ledger.check_funds(account, amount)
        return
    place = (account.id, body.bucket, body.instrument)
    there = order_rows.held_quantity(tx.connection, *place)
    free = there - order_rows.reserved(tx.connection, *place)
    if body.quantity > free:
        detail = f"{free} of {body.instrument} are free, {body.quantity} are to be sold."
        raise Problem("insufficient_position", detail)


def terms(caller: Caller, body: CreateOrder, trace: str, due_at: int) -> dict[str, Any]:
    """Return the columns that a request fixes."""
    return {
        "account_id": body.account_id,
        "bucket": body.bucket,
        "instrument": body.instrument,
        "side": body.side,
        "quantity": body.quantity,
        "limit_price": body.limit_price.amount,
        "currency": body.limit_price.currency,
        "traceparent": trace,
        "created_by": caller.user_id,
        "due_at": due_at,
    }


def need_order(tx: web.Tx, caller: Caller, order_id: str) -> Order:
    """Return an order that the caller may touch; 404 otherwise."""
    order = order_rows.find(tx.connection, order_id)
    if order is None:
        raise access.not_found(f"order {order_id}")
    owner = tx.connection.execute(
        "SELECT owner_id FROM accounts WHERE id = ?", (order.account_id,)
    ).fetchone()
    objects = [order.account_id]
    access.check_visible(caller, f"order {order_id}", owner["owner_id"], objects=objects)
    return order


@blueprint.get("/v1/orders/<order_id>")
def get_order(order_id: str) -> flask.Response:
    """Return one order."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    with web.snapshot() as tx:
        order = need_order(tx, caller, order_id)
        return web.respond_json(order_rows.shown(tx.connection, order))


@blueprint.delete("/v1/orders/<order_id>")
def cancel_order(order_id: str) -> flask.Response:
    """Record the wish to cancel, and carry it out as far as the market lets know at once."""
    caller = web.caller(Rank.CUSTOMER)

    def change(tx: web.Tx) -> idempotency.Reply:
        order = need_order(tx, caller, order_id)
        if not order.live:
            raise Problem("order_not_open", f"The order is {order.status}.")
        market.check_way(tx.services)
        if order.cancel_at is None:
            due_at = tx.now_ms + GRACE_MS
            order_rows.change(tx, order, cancel_at=tx.now_ms, attempts=0, due_at=due_at)
        return web.json_reply(200, {}, target=order_id)

    web.write(caller, "cancelOrder", change, once=False)
    shared = web.services()
    desk.advance(shared, order_rows.need(web.reader(), order_id))
    with web.snapshot() as tx:
        order = order_rows.need(tx.connection, order_id)
        if order.live and order.cancel_at is None:
            raise Problem("order_not_open", "The market has ended it; its report is on the way.")
        return web.respond_json(order_rows.shown(tx.connection, order))


@blueprint.get("/v1/orders")
def list_orders() -> flask.Response:
    """Return a page of orders; a customer's are those of own accounts."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    filters = {"account_id": listing.identifier, "status": listing.one_of(*STATUSES)}
    asked = listing.page("listOrders", caller.user_id, ("seq",), filters)
    after, values, order = listing.keyset(asked, ("o.seq",))
    conditions, more = listing.confined(caller, "a.owner_id", "o.account_id")
    conditions.append(after)
    values = [*more, *values]
    for name in ("account_id", "status"):
        if asked.filter(name) is not None:
            conditions.append(f"o.{name} = ?")
            values.append(asked.filter(name))
    columns = ", ".join(f"o.{name}" for name in order_rows.NAMES)
    with web.snapshot() as tx:
        rows = tx.connection.execute(
            f"SELECT {columns} FROM orders o JOIN accounts a ON a.id = o.account_id"  # noqa: S608 - names and marks only
            f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {asked.limit + 1}",
            values,
        ).fetchall()
        document = listing.answer(
            asked,
            rows,
            lambda row: [row["seq"]],
            lambda row: order_rows.shown(tx.connection, order_rows.order_of(row)),
        )
    return web.respond_json(document)
