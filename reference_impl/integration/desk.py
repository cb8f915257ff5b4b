"""Going on with an order: the one place that asks the market and writes down what it said.

`advance` does the next step for one order, in a request right after the commit or in the
background until it is settled. No transaction is open while the market is asked; what comes of it
is written in one, under the order as it is then. A step that is done twice has one effect.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from reference_impl import audit, outbox, web
from reference_impl.problems import Problem

from . import executions, order_rows, trading
from .market import Market, Placed, Refusal, Standing, check_way
from .outbound import CallFailedError, Reason
from .trading import Order, Report

DUE_ROWS = 20
"""So many orders are gone on with before others have a turn."""
LATER = frozenset({Reason.NOT_CONFIGURED, Reason.OPEN, Reason.FULL})
"""The market was not asked: what is known of it holds for the other orders as well."""
_log = logging.getLogger(__name__)
T = TypeVar("T")


def record(
    shared: web.Services,
    order: Order,
    change: Callable[[order_rows.Tx, Order], T],
    action: str = "",
) -> T:
    """Write what came of a step, under the order as it is now; audited where it has a name."""

    def run(connection: sqlite3.Connection) -> T:
        shared.gate.check(action or "postponeOrder")
        now = shared.clock.now_ms()
        outbox.begin(connection, now, order.traceparent)
        tx = web.Tx(connection=connection, now_ms=now, services=shared)
        before = order_rows.need(connection, order.id)
        done = change(tx, before)
        after = order_rows.need(connection, order.id)
        if action and (after.status, after.filled) != (before.status, before.filled):
            act = audit.Act(actor="market", action=action, request_id="-", payload_digest="")
            audit.append(connection, act, target=order.id, outcome=after.status, now_ms=now)
        return done

    return shared.writer.submit(run)


def advance(shared: web.Services, order: Order, *, patient: bool = False) -> bool:
    """Do the next step: place it, cancel it, or look at it; False where the market was not asked.

    Never raises for the market's sake, nor where nothing can be written now: it stays due.
    """
    market = Market(shared=shared, patient=patient)
    try:
        if order.live:
            _step(shared, market, order)
    except CallFailedError as failed:
        _log.info("%s waits: %s", order.id, failed)
        if failed.reason in LATER:
            return False
        postpone(shared, order, failed)
    except Problem as busy:
        _log.info("%s stays due: %s", order.id, busy.code)
    return True


def _step(shared: web.Services, market: Market, order: Order) -> None:
    if order.market_id is None:
        order = placed(shared, order, _place(market, order))
        if order.market_id is None or not order.live or order.cancel_at is None:
            return
    if order.cancel_at is not None and order.ending is None:
        cancelled(shared, order, market.cancel(order))
    else:
        standing = market.get(order)
        watched(shared, order, standing)
        if standing is not None and standing.sequence > order.last_sequence:
            missed(shared, order, market.executions(order))


def _place(market: Market, order: Order) -> Placed:
    """Place it; after an attempt whose end is not known the market is asked first."""
    if order.attempts:
        found = market.find(order)
        if found is not None:
            return found
    return market.place(order)


def placed(shared: web.Services, order: Order, answer: Placed) -> Order:
    """Write down that the market has the order, or does not take it."""

    def change(tx: order_rows.Tx, now: Order) -> Order:
        if isinstance(answer, Refusal):
            if not now.live or now.market_id is not None or now.filled or now.last_sequence:
                return now
            return order_rows.end(tx, now, "rejected", answer.reason)
        members = {"market_id": answer.order_id, "attempts": 0}
        if now.live:
            members["due_at"] = tx.now_ms + (0 if now.cancel_at else trading.watch_ms(0))
            members["status"] = "open" if now.status == "pending" else now.status
        now = order_rows.change(tx, now, **members)
        return _seen(tx, now, answer)

    return record(shared, order, change, "placeOrder")


def _seen(tx: order_rows.Tx, now: Order, answer: Standing) -> Order:
    """Take over that the market has ended an order without filling it."""
    if answer.status in {"cancelled", "rejected"}:
        return executions.ended_by_market(tx, now, answer.status, answer.filled)
    return now


def cancelled(shared: web.Services, order: Order, answer: Standing | None) -> Order:
    """Write down what became of the wish to cancel; None: the market had ended it otherwise."""

    def change(tx: order_rows.Tx, now: Order) -> Order:
        if not now.live:
            return now
        due_at = tx.now_ms + trading.watch_ms(0)
        if answer is None:
            return order_rows.change(tx, now, cancel_at=None, attempts=0, due_at=due_at)
        now = order_rows.change(tx, now, attempts=0, due_at=due_at)
        return _seen(tx, now, answer)

    return record(shared, order, change, "cancelOrder")


def watched(shared: web.Services, order: Order, answer: Standing | None) -> Order:
    """Write down what a look at an open order showed."""

    def change(tx: order_rows.Tx, now: Order) -> Order:
        if not now.live:
            return now
        due_at = tx.now_ms + trading.watch_ms(now.attempts + 1)
        now = order_rows.change(tx, now, attempts=now.attempts + 1, due_at=due_at)
        return now if answer is None else _seen(tx, now, answer)

    return record(shared, order, change, "watchOrder")


def missed(shared: web.Services, order: Order, reports: Sequence[Report]) -> None:
    """Take reports that were sent and did not arrive, as if they came now."""
    for report in sorted(reports, key=lambda report: report.sequence):

        def change(tx: order_rows.Tx, _: Order, told: Report = report) -> str:
            return executions.take(tx, told)

        try:
            record(shared, order, change, "fetchReport")
        except Problem as refused:
            _log.warning("report %s of %s: %s", report.id, order.id, refused.code)
            return


def postpone(shared: web.Services, order: Order, failed: CallFailedError) -> None:
    """Say when the market is asked again."""

    def change(tx: order_rows.Tx, now: Order) -> Order:
        if not now.live:
            return now
        attempts = now.attempts + 1
        wait_ms = trading.backoff_ms(attempts, retry_after_s=failed.retry_after_s)
        return order_rows.change(tx, now, attempts=attempts, due_at=tx.now_ms + wait_ms)

    try:
        record(shared, order, change)
    except Problem as busy:
        _log.info("%s stays due: %s", order.id, busy.code)


def step(shared: web.Services) -> bool:
    """Go on with the orders that are due; True if there may be more. One worker at a time."""
    try:
        check_way(shared)
    except Problem:
        return False
    now_ms = shared.clock.now_ms()
    rows = shared.readers.get().execute(
        f"{order_rows.SELECT} WHERE due_at <= ? ORDER BY due_at LIMIT ?", (now_ms, DUE_ROWS)
    )
    orders = [order_rows.order_of(row) for row in rows.fetchall()]
    asked = all(advance(shared, order, patient=True) for order in orders)
    return asked and len(orders) == DUE_ROWS
