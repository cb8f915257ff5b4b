"""The rows of orders, and what moves money for them; every function runs in a transaction.

A buy holds cash for what is not filled, at its limit. A fill settles the hold with what was paid,
and what is left is held anew in the same transaction: so every hold of the book ends exactly once.
A sell holds nothing in the book; what it may sell is kept back by the order itself.
"""

import sqlite3
from dataclasses import fields
from typing import Any, Protocol

from reference_impl import clock, ids, journal, ledger
from reference_impl.problems import Problem

from . import trading
from .trading import Ending, Order, Report

KIND = "trade"
ACTOR = "market"
NAMES = tuple(field.name for field in fields(Order))
SELECT = f"SELECT {', '.join(NAMES)} FROM orders"  # noqa: S608 - own column names
_SHOWN = ("id", "account_id", "bucket", "instrument", "side", "quantity", "filled", "status")


class Tx(Protocol):
    """What a change needs of its transaction."""

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the transaction."""

    @property
    def now_ms(self) -> int:
        """The time of the transaction."""


def order_of(row: Any) -> Order:
    """Turn a row into an order."""
    return Order(**dict(row))


def find(connection: sqlite3.Connection, order_id: str) -> Order | None:
    """Return an order by its id."""
    row = connection.execute(f"{SELECT} WHERE id = ?", (order_id,)).fetchone()
    return None if row is None else order_of(row)


def need(connection: sqlite3.Connection, order_id: str) -> Order:
    """Return an order that is there."""
    order = find(connection, order_id)
    if order is None:
        raise LookupError(order_id)
    return order


def shown(connection: sqlite3.Connection, order: Order) -> dict[str, Any]:
    """Return an order's wire form."""
    held = connection.execute(
        "SELECT id FROM transactions WHERE seq = ?", (order.hold_seq,)
    ).fetchone()
    return {
        **{name: getattr(order, name) for name in _SHOWN},
        "limit_price": {"amount": order.limit_price, "currency": order.currency},
        "hold_transaction_id": held["id"] if held else None,
        "reason": order.reason,
        "cancel_requested_at": clock.maybe(order.cancel_at),
        "created_at": clock.text(order.created_at),
        "created_by": order.created_by,
        "updated_at": clock.text(order.updated_at),
    }


def insert(tx: Tx, terms: dict[str, Any]) -> Order:
    """Write an order with its hold; `terms` are what was ordered, by whom, and its trace."""
    terms = {"id": ids.new_id("ord", tx.now_ms), **terms}
    if terms["side"] == "buy":
        terms["hold_seq"] = _hold(tx, terms, terms["quantity"], terms["created_by"])
    terms |= {"created_at": tx.now_ms, "updated_at": tx.now_ms}
    marks = ", ".join(f":{name}" for name in terms)
    tx.connection.execute(
        f"INSERT INTO orders ({', '.join(terms)}) VALUES ({marks})",  # noqa: S608 - own column names
        terms,
    )
    return need(tx.connection, terms["id"])


def _hold(tx: Tx, terms: dict[str, Any], quantity: int, actor: str) -> int:
    connection, account_id = tx.connection, terms["account_id"]
    cash = journal.own_bucket(connection, account_id, "cash", terms["currency"])
    into = journal.own_bucket(connection, account_id, terms["bucket"], terms["currency"])
    amount = trading.worth(terms["limit_price"], quantity)
    journal.hold(connection, _draft(tx, terms, amount, actor), cash, into)
    return journal.tip(connection)


def _draft(
    tx: Tx, terms: dict[str, Any], amount: int, actor: str, report: Report | None = None
) -> journal.Draft:
    more = "" if report is None else f',"execution_id":"{report.id}"'
    buys = terms["side"] == "buy"
    return journal.Draft(
        kind=KIND,
        amount=amount,
        currency=terms["currency"],
        from_account_id=terms["account_id"] if buys else None,
        to_account_id=None if buys else terms["account_id"],
        actor=actor,
        now_ms=tx.now_ms,
        effective_at=None if report is None else min(report.occurred_at, tx.now_ms),
        metadata=f'{{"order_id":"{terms["id"]}"{more}}}',
    )


def _terms(order: Order) -> dict[str, Any]:
    names = ("id", "account_id", "bucket", "side", "quantity", "limit_price", "currency")
    return {name: getattr(order, name) for name in names}


def change(tx: Tx, order: Order, **members: Any) -> Order:
    """Set columns of an order; return it as it is then."""
    names = ", ".join(f"{name} = :{name}" for name in members)
    tx.connection.execute(
        f"UPDATE orders SET {names}, updated_at = :now WHERE seq = :seq",  # noqa: S608 - own names
        {**members, "now": tx.now_ms, "seq": order.seq},
    )
    return need(tx.connection, order.id)


def fill(tx: Tx, order: Order, report: Report) -> Order:
    """Book one execution: cash against the position, and the hold of what is left."""
    assert report.price is not None  # noqa: S101 - checked when it was taken
    amount = trading.worth(report.price, report.quantity)
    if order.side == "buy":
        seq, hold_seq = _bought(tx, order, report, amount)
    else:
        seq, hold_seq = _sold(tx, order, report, amount), None
    _applied(tx, report, seq)
    filled = order.filled + report.quantity
    status = trading.status_after(order, filled)
    more = {"due_at": None} if status == "filled" else {}
    return change(tx, order, filled=filled, status=status, hold_seq=hold_seq, **more)


def _bought(tx: Tx, order: Order, report: Report, amount: int) -> tuple[int, int | None]:
    """Settle the hold; return its transaction and the hold of what is left."""
    connection = tx.connection
    held = journal.find_hold(connection, order.hold_seq or 0)
    if held is None:
        raise LookupError(f"the hold of {order.id}")
    source = journal.bucket(connection, held.bucket_id)
    target = journal.bucket(connection, held.to_bucket_id)
    journal.settle(connection, held, ledger.move(source, target, amount), (ACTOR, tx.now_ms))
    connection.execute(
        "INSERT INTO positions (account_id, bucket, instrument, quantity, cost)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (account_id, bucket, instrument)"
        " DO UPDATE SET quantity = quantity + excluded.quantity, cost = cost + excluded.cost",
        (order.account_id, order.bucket, order.instrument, report.quantity, amount),
    )
    left = order.left - report.quantity
    return held.seq, _hold(tx, _terms(order), left, ACTOR) if left else None


def _sold(tx: Tx, order: Order, report: Report, amount: int) -> int:
    """Take the units at their cost; what they brought beyond it comes from outside."""
    connection = tx.connection
    position = connection.execute(
        "SELECT * FROM positions WHERE account_id = ? AND bucket = ? AND instrument = ?",
        (order.account_id, order.bucket, order.instrument),
    ).fetchone()
    if position is None or position["quantity"] < report.quantity:
        raise trading.invalid("More was sold than there is.")
    cost = trading.cost_of(
        quantity=position["quantity"], cost=position["cost"], sold=report.quantity
    )
    connection.execute(
        "UPDATE positions SET quantity = quantity - ?, cost = cost - ? WHERE seq = ?",
        (report.quantity, cost, position["seq"]),
    )
    place = journal.own_bucket(connection, order.account_id, order.bucket, order.currency)
    cash = journal.own_bucket(connection, order.account_id, "cash", order.currency)
    lines = [ledger.line(place, -cost), ledger.line(cash, amount)]
    if amount != cost:
        outside = journal.system_bucket(connection, "external", order.currency)
        lines.append(ledger.line(outside, cost - amount))
    draft = _draft(tx, _terms(order), amount, ACTOR, report)
    journal.post(connection, draft, lines)
    return journal.tip(connection)


def _applied(
    tx: Tx, report: Report, transaction_seq: int | None, refused: str | None = None
) -> None:
    tx.connection.execute(
        "UPDATE executions SET applied_at = ?, transaction_seq = ?, refused = ? WHERE id = ?",
        (tx.now_ms, transaction_seq, refused, report.id),
    )


def note(tx: Tx, report: Report, *, refused: str | None = None) -> None:
    """Say that a report's turn has come and gone without money moving."""
    _applied(tx, report, None, refused)


def end(tx: Tx, order: Order, status: Ending, reason: str | None = None) -> Order:
    """End an order with what was filled so far, and release its hold."""
    if order.hold_seq is not None:
        journal.release(tx.connection, order.hold_seq, "void", (ACTOR, tx.now_ms))
    return change(
        tx, order, status=status, hold_seq=None, due_at=None, reason=reason or order.reason
    )


def reserved(connection: sqlite3.Connection, account_id: str, bucket: str, instrument: str) -> int:
    """Return how many units the open sells of an account have before them."""
    row = connection.execute(
        "SELECT coalesce(sum(quantity - filled), 0) AS kept FROM orders WHERE account_id = ?"
        " AND instrument = ? AND bucket = ? AND side = 'sell'"
        " AND status IN ('pending', 'open', 'partially_filled')",
        (account_id, instrument, bucket),
    ).fetchone()
    return int(row["kept"])


def held_quantity(
    connection: sqlite3.Connection, account_id: str, bucket: str, instrument: str
) -> int:
    """Return how many units an account has."""
    row = connection.execute(
        "SELECT quantity FROM positions WHERE account_id = ? AND bucket = ? AND instrument = ?",
        (account_id, bucket, instrument),
    ).fetchone()
    return 0 if row is None else int(row["quantity"])


def check_own_hold(connection: sqlite3.Connection, transaction_id: str) -> None:
    """Refuse to end the hold of an order from beside it: 409 `hold_of_order`."""
    found = connection.execute(
        "SELECT o.id FROM transactions t JOIN orders o ON o.hold_seq = t.seq WHERE t.id = ?",
        (transaction_id,),
    ).fetchone()
    if found is not None:
        raise Problem("hold_of_order", f"It belongs to {found['id']}; cancel that.")
