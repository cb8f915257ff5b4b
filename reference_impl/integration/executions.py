"""Execution reports: taken once, in effect in the order of the market, whatever order they come in.

`take` runs in the writer's transaction. A report that comes before an earlier one is kept and has
its effect right after that one; everything that could refuse it then is checked when it comes.
"""

import sqlite3

from reference_impl.problems import Problem

from . import order_rows, trading
from .order_rows import Tx
from .trading import Order, Report

APPLIED, DUPLICATE, HELD_BACK = "applied", "duplicate", "held_back"


def known(connection: sqlite3.Connection, report: Report) -> str | None:
    """Return the outcome of a report that was taken before; None if it is new.

    Problem `execution_invalid` where the same id stood for something else.
    """
    row = connection.execute(
        "SELECT e.*, o.id AS order_id FROM executions e JOIN orders o ON o.seq = e.order_seq"
        " WHERE e.id = ?",
        (report.id,),
    ).fetchone()
    if row is None:
        return None
    names = ("order_id", "sequence", "kind", "quantity", "price")
    if any(row[name] != getattr(report, name) for name in names):
        raise trading.invalid("This execution_id was another execution.")
    return HELD_BACK if row["applied_at"] is None else DUPLICATE


def take(tx: Tx, report: Report) -> str:
    """Take a report; return its outcome. 404 `not_found` for an order that is not there."""
    outcome = known(tx.connection, report)
    if outcome is not None:
        return outcome
    order = order_rows.find(tx.connection, report.order_id)
    if order is None:
        raise Problem("not_found", "There is no such order.")
    rows = tx.connection.execute(
        "SELECT sequence, quantity FROM executions WHERE order_seq = ? AND applied_at IS NULL",
        (order.seq,),
    ).fetchall()
    trading.check_place(order, report, {row["sequence"] for row in rows})
    waiting = sum(row["quantity"] for row in rows)
    trading.check_report(order, report, known=order.filled + waiting, now_ms=tx.now_ms)
    tx.connection.execute(
        "INSERT INTO executions (id, order_seq, sequence, kind, quantity, price, occurred_at,"
        " received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            report.id,
            order.seq,
            report.sequence,
            report.kind,
            report.quantity,
            report.price,
            report.occurred_at,
            tx.now_ms,
        ),
    )
    if report.sequence > order.last_sequence + 1:
        return HELD_BACK
    apply_ready(tx, order)
    return APPLIED


def apply_ready(tx: Tx, order: Order) -> Order:
    """Give effect to every report whose turn has come."""
    while True:
        row = tx.connection.execute(
            "SELECT * FROM executions WHERE order_seq = ? AND sequence = ?",
            (order.seq, order.last_sequence + 1),
        ).fetchone()
        if row is None:
            return finish(tx, order)
        report = Report(
            id=row["id"],
            order_id=order.id,
            sequence=row["sequence"],
            kind=row["kind"],
            quantity=row["quantity"],
            price=row["price"],
            currency=order.currency,
            occurred_at=row["occurred_at"],
        )
        order = order_rows.change(tx, order, last_sequence=report.sequence)
        order = _apply(tx, order, report)


def _apply(tx: Tx, order: Order, report: Report) -> Order:
    if report.kind in trading.FILLS and order.live:
        return order_rows.fill(tx, order, report)
    if report.kind in trading.FILLS:  # the market ended the order before it, and says so late
        order_rows.note(tx, report, refused="after the end of the order")
        return order
    order_rows.note(tx, report)
    if report.kind in trading.ENDINGS and order.live:
        reason = "rejected by the market" if report.kind == "reject" else None
        return order_rows.end(tx, order, trading.ENDINGS[report.kind], reason)
    return order


def finish(tx: Tx, order: Order) -> Order:
    """End an order that the market has ended, once all that it had executed is booked."""
    if order.live and order.ending is not None and order.filled == order.ending_filled:
        return order_rows.end(tx, order, order.ending)
    return order


def ended_by_market(tx: Tx, order: Order, ending: trading.Ending, filled: int) -> Order:
    """Note what the market answered: ended, with so much filled; reports of that may be on the way.

    What says less than was reported is older than the reports, and is not used.
    """
    if not order.live or filled < order.filled or filled > order.quantity:
        return order
    order = order_rows.change(tx, order, ending=ending, ending_filled=filled)
    return finish(tx, order)
