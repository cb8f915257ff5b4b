"""Execution reports in any order, any number of times: what is booked, and what never."""

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reference_impl import ids, journal, ledger, setup
from reference_impl.database import connect
from reference_impl.integration import executions, order_rows, trading
from reference_impl.integration.trading import Order, Report
from reference_impl.problems import Problem

NOW = 1_800_000_000_000
OPENING = 1_000_000
SHARES = "position:shares"
numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Moment:
    connection: sqlite3.Connection
    now_ms: int = NOW


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("market") / "b.db"
    setup.create(path, "admin", "an admin's long password")
    connection = connect(path)
    yield connection
    connection.close()


def open_account(tx: Moment, amount: int) -> str:
    connection, name = tx.connection, ids.new_id("acc", NOW)
    owner = connection.execute("SELECT id FROM users").fetchone()["id"]
    connection.execute(
        "INSERT INTO accounts (id, owner_id, type, currency, name, status, base_amount,"
        " min_balance, buffer_bps, withdrawal_allowed, root_id, depth, created_at, metadata)"
        " VALUES (?, ?, 'generation', 'USD', 'one', 'active', 0, 0, 500, 1, ?, 0, ?, '{}')",
        (name, owner, name, NOW),
    )
    cash = journal.own_bucket(connection, name, "cash", "USD")
    outside = journal.system_bucket(connection, "external", "USD")
    draft = journal.Draft(
        kind="deposit",
        amount=amount,
        currency="USD",
        from_account_id=None,
        to_account_id=name,
        actor=owner,
        now_ms=NOW,
    )
    journal.post(connection, draft, ledger.move(outside, cash, amount))
    return name


def place(tx: Moment, account_id: str, side: str, quantity: int, price: int) -> Order:
    terms: dict[str, Any] = {
        "account_id": account_id,
        "bucket": SHARES,
        "instrument": "SPY",
        "side": side,
        "quantity": quantity,
        "limit_price": price,
        "currency": "USD",
        "traceparent": "",
        "created_by": "usr_1",
    }
    return order_rows.insert(tx, terms)


def said(order: Order, sequence: int, kind: str, **members: Any) -> Report:
    made = Report(
        id=f"mkt-{order.seq}-{sequence}",
        order_id=order.id,
        sequence=sequence,
        kind=kind,
        quantity=0,
        price=None,
        currency=None,
        occurred_at=NOW,
    )
    return replace(made, **members)


def filled(order: Order, sequence: int, quantity: int, price: int, **members: Any) -> Report:
    money = {"quantity": quantity, "price": price, "currency": "USD"}
    return said(order, sequence, "partial_fill", **{**money, **members})


def send(tx: Moment, report: Report) -> str:
    """Deliver as the writer does: a refusal undoes what it wrote."""
    tx.connection.execute("SAVEPOINT job")
    try:
        return executions.take(tx, report)
    except Problem as problem:
        tx.connection.execute("ROLLBACK TO job")
        return problem.code
    finally:
        tx.connection.execute("RELEASE job")


def sums(tx: Moment, account_id: str) -> dict[str, int]:
    rows = tx.connection.execute(
        "SELECT kind, balance, holds FROM buckets WHERE account_id = ?", (account_id,)
    ).fetchall()
    found = {row["kind"]: row["balance"] for row in rows}
    return {**found, "holds": sum(row["holds"] for row in rows)}


def position(tx: Moment, account_id: str) -> tuple[int, int]:
    row = tx.connection.execute(
        "SELECT coalesce(sum(quantity), 0), coalesce(sum(cost), 0) FROM positions"
        " WHERE account_id = ?",
        (account_id,),
    ).fetchone()
    return tuple(row)


@dataclass(frozen=True, slots=True)
class Story:
    """What the market does with one order, and in which order it is told."""

    side: str
    quantity: int
    limit: int
    fills: tuple[tuple[int, int], ...]
    ending: str | None
    told: tuple[int, ...]
    """Indexes of the reports, repeated and reordered; every one is there at least once."""
    noise: tuple[str, ...] = field(default=())


@st.composite
def stories(draw: st.DrawFn) -> Story:
    side = draw(st.sampled_from(["buy", "sell"]))
    quantity, limit = draw(st.integers(1, 60)), draw(st.integers(5, 900))
    fills, left = [], quantity
    while left and draw(st.integers(0, 3)):
        part = draw(st.integers(1, left))
        better = draw(st.integers(0, 4))
        fills.append((part, limit - better if side == "buy" else limit + better))
        left -= part
    ending = None if not left else draw(st.sampled_from([None, "cancel", "reject"]))
    count = len(fills) + (ending is not None)
    once = draw(st.permutations(range(count)))
    again = draw(st.lists(st.sampled_from(range(count)), max_size=6)) if count else []
    told = draw(st.permutations([*once, *again]))
    noise = draw(st.lists(st.sampled_from(sorted(NOISE)), max_size=4))
    return Story(side, quantity, limit, tuple(fills), ending, tuple(told), tuple(noise))


def reports_of(order: Order, story: Story) -> list[Report]:
    rows = [filled(order, n, *part) for n, part in enumerate(story.fills, 1)]
    if story.ending:
        rows.append(said(order, len(rows) + 1, story.ending))
    return rows


def too_much(order: Order) -> Report:
    return filled(order, 900, order.quantity + 1, order.limit_price, id=f"big-{order.seq}")


def too_dear(order: Order) -> Report:
    worse = order.limit_price + (1 if order.side == "buy" else -1)
    return filled(order, 901, 1, worse, id=f"dear-{order.seq}")


def other_money(order: Order) -> Report:
    return filled(order, 902, 1, order.limit_price, id=f"eur-{order.seq}", currency="EUR")


def too_old(order: Order) -> Report:
    old = order.created_at - 10 * trading.CLOCKS_APART_MS
    return filled(order, 903, 1, order.limit_price, id=f"old-{order.seq}", occurred_at=old)


def not_yet(order: Order) -> Report:
    late = NOW + 10 * trading.CLOCKS_APART_MS
    return filled(order, 904, 1, order.limit_price, id=f"late-{order.seq}", occurred_at=late)


def foreign(order: Order) -> Report:
    return filled(order, 1, 1, order.limit_price, id=f"for-{order.seq}", order_id="ord_none")


NOISE = {
    "too_much": too_much,
    "too_dear": too_dear,
    "other_money": other_money,
    "too_old": too_old,
    "not_yet": not_yet,
    "foreign": foreign,
}


def tell(tx: Moment, order: Order, story: Story) -> list[str]:
    """Deliver the story with its noise in between; return the outcomes of the true reports."""
    rows, outcomes = reports_of(order, story), []
    for number, index in enumerate(story.told):
        if number < len(story.noise):
            refused = send(tx, NOISE[story.noise[number]](order))
            assert refused in {"execution_invalid", "not_found"}
        outcomes.append(send(tx, rows[index]))
        check_always(tx, order)
    return outcomes


def check_always(tx: Moment, order: Order) -> None:
    """What holds after every single report, whatever came so far."""
    now = order_rows.need(tx.connection, order.id)
    owned = sums(tx, order.account_id)
    kept = now.left * now.limit_price if now.live and now.side == "buy" else 0
    assert owned["holds"] == kept
    assert owned[SHARES] == position(tx, order.account_id)[1]
    assert owned["cash"] - owned["holds"] >= 0
    trial = "SELECT sum(amount) FROM lines"
    assert tx.connection.execute(trial).fetchone()[0] == 0


@given(story=stories())
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(Story("buy", 10, 100, ((4, 100), (6, 99)), None, (1, 0, 1, 0)))
@example(Story("buy", 10, 100, ((4, 100),), "cancel", (1, 1, 0)))
@example(Story("sell", 10, 100, ((4, 107),), "reject", (1, 0, 0)))
def test_any_order_of_reports_books_the_same(book: sqlite3.Connection, story: Story) -> None:
    book.execute("BEGIN")
    try:
        tx = Moment(book)
        account_id = open_account(tx, OPENING)
        start = OPENING
        if story.side == "sell":
            bought = place(tx, account_id, "buy", story.quantity, 7)
            assert send(tx, filled(bought, 1, story.quantity, 7)) == "applied"
            start -= story.quantity * 7
        order = place(tx, account_id, story.side, story.quantity, story.limit)
        outcomes = tell(tx, order, story)
        after = order_rows.need(book, order.id)
        sold = sum(part for part, _ in story.fills)
        money = sum(part * price for part, price in story.fills)
        assert set(outcomes) <= {"applied", "held_back", "duplicate"}
        assert after.filled == sold
        assert sums(tx, account_id)["cash"] == start + (money if story.side == "sell" else -money)
        expected = "filled" if sold == story.quantity else "partially_filled" if sold else "pending"
        if story.ending:
            expected = {"cancel": "cancelled", "reject": "rejected"}[story.ending]
        assert after.status == expected
        check_book(tx, order, story)
        for index in set(story.told):
            assert send(tx, reports_of(order, story)[index]) == "duplicate"
    finally:
        book.execute("ROLLBACK")


def check_book(tx: Moment, order: Order, story: Story) -> None:
    """Each execution one transaction; each hold of the order ended at most once; quantity kept."""
    rows = tx.connection.execute(
        "SELECT count(*) AS n, count(DISTINCT transaction_seq) AS t FROM executions"
        " WHERE order_seq = ? AND quantity > 0",
        (order.seq,),
    ).fetchone()
    assert (rows["n"], rows["t"]) == (len(story.fills), len(story.fills))
    held = tx.connection.execute(
        "SELECT count(*) AS holds, sum(closed) AS closed FROM holds h JOIN transactions t"
        " ON t.seq = h.seq WHERE json_extract(t.metadata, '$.order_id') = ?",
        (order.id,),
    ).fetchone()
    now = order_rows.need(tx.connection, order.id)
    if story.side == "buy":
        assert held["holds"] - held["closed"] == (1 if now.live else 0)
    part = sum(quantity for quantity, _ in story.fills)
    quantity, _ = position(tx, order.account_id)
    assert quantity == (part if story.side == "buy" else story.quantity - part)


@pytest.fixture
def tx(book: sqlite3.Connection) -> Iterator[Moment]:
    book.execute("BEGIN")
    yield Moment(book)
    book.execute("ROLLBACK")


def test_an_order_ended_by_the_market_waits_for_what_it_had_executed(tx: Moment) -> None:
    account_id = open_account(tx, 1000)
    order = place(tx, account_id, "buy", 10, 100)
    waiting = executions.ended_by_market(tx, order, "cancelled", 4)
    assert waiting.status == "pending"
    assert sums(tx, account_id)["holds"] == 1000
    assert send(tx, filled(order, 1, 4, 90)) == "applied"
    assert order_rows.need(tx.connection, order.id).status == "cancelled"
    assert sums(tx, account_id) == {"cash": 640, SHARES: 360, "holds": 0}
    assert send(tx, said(order, 2, "cancel")) == "applied"  # tells what is known
    assert send(tx, filled(order, 3, 1, 90)) == "execution_invalid"


def test_what_the_market_says_about_less_than_it_reported_is_old(tx: Moment) -> None:
    account_id = open_account(tx, 1000)
    order = place(tx, account_id, "buy", 10, 100)
    send(tx, filled(order, 1, 4, 90))
    order = order_rows.need(tx.connection, order.id)
    assert executions.ended_by_market(tx, order, "cancelled", 3).live
    assert executions.ended_by_market(tx, order, "cancelled", 11).live
    assert order_rows.need(tx.connection, order.id).ending is None


def test_one_execution_id_is_one_execution(tx: Moment) -> None:
    account_id = open_account(tx, 1000)
    order = place(tx, account_id, "buy", 10, 100)
    assert send(tx, filled(order, 1, 4, 90)) == "applied"
    assert send(tx, filled(order, 1, 5, 90)) == "execution_invalid"
    assert send(tx, filled(order, 1, 1, 90, id="another")) == "execution_invalid"
    assert sums(tx, account_id)[SHARES] == 360


def test_reports_that_wait_are_bounded(tx: Moment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading, "HELD_BACK_MAX", 3)
    order = place(tx, open_account(tx, 1000), "buy", 10, 100)
    outcomes = [send(tx, filled(order, n, 1, 100)) for n in range(2, 7)]
    assert outcomes == ["held_back"] * 3 + ["busy"] * 2
    assert send(tx, filled(order, 1, 1, 100)) == "applied"
    assert order_rows.need(tx.connection, order.id).filled == 4


def test_a_fill_after_the_end_that_had_come_too_early_moves_nothing(tx: Moment) -> None:
    account_id = open_account(tx, 1000)
    order = place(tx, account_id, "buy", 10, 100)
    assert send(tx, filled(order, 2, 4, 90)) == "held_back"
    assert send(tx, said(order, 1, "cancel")) == "applied"
    assert sums(tx, account_id) == {"cash": 1000, SHARES: 0, "holds": 0}


def test_a_loss_and_a_gain_come_from_outside(tx: Moment) -> None:
    account_id = open_account(tx, 1000)
    send(tx, filled(place(tx, account_id, "buy", 3, 100), 1, 3, 100))
    send(tx, filled(place(tx, account_id, "sell", 2, 90), 1, 2, 90))
    assert (sums(tx, account_id)["cash"], position(tx, account_id)) == (880, (1, 100))
    send(tx, filled(place(tx, account_id, "sell", 1, 90), 1, 1, 150))
    assert (sums(tx, account_id)["cash"], position(tx, account_id)) == (1030, (0, 0))


@given(
    bought=st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 10**6)), min_size=1, max_size=5),
    sales=st.lists(st.integers(1, 2000), max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_the_cost_of_a_position_is_used_up_with_its_last_unit(
    bought: list[tuple[int, int]], sales: list[int]
) -> None:
    quantity = sum(units for units, _ in bought)
    cost = sum(units * price for units, price in bought)
    for wanted in (*sales, quantity):
        if sold := min(wanted, quantity):
            part = trading.cost_of(quantity=quantity, cost=cost, sold=sold)
            assert sold <= part <= cost
            quantity, cost = quantity - sold, cost - part
    assert (quantity, cost) == (0, 0)


GUARDS = {
    "a second end": "UPDATE orders SET status = 'cancelled', hold_seq = NULL",
    "filled by hand": "UPDATE orders SET filled = 5",
    "a hold let go of": "UPDATE orders SET hold_seq = NULL, status = 'rejected'",
    "another price": "UPDATE orders SET limit_price = 1",
    "an order gone": "DELETE FROM orders",
    "an effect twice": "UPDATE executions SET applied_at = NULL, transaction_seq = NULL",
    "another execution": "UPDATE executions SET quantity = 1",
    "an execution gone": "DELETE FROM executions",
    "a position from nothing": "UPDATE positions SET cost = cost + 1, quantity = quantity + 1",
    "a position below zero": "UPDATE positions SET quantity = -1",
}


@pytest.mark.parametrize("wrong", GUARDS.values(), ids=GUARDS)
def test_the_database_refuses(tx: Moment, wrong: str) -> None:
    order = place(tx, open_account(tx, 1000), "buy", 10, 100)
    send(tx, filled(order, 1, 4, 100))
    with pytest.raises(sqlite3.IntegrityError):
        tx.connection.execute(wrong)


def test_waits_grow_and_respect_what_the_market_asks_for() -> None:
    waits = [trading.backoff_ms(n) for n in range(12)]
    assert all(250 <= wait <= 30_000 for wait in waits)
    assert min(waits[8:]) >= 15_000
    assert trading.backoff_ms(0, retry_after_s=40) == 40_000
