"""The sweep's arithmetic: what a right book passes and a wrong one does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from certification.oracle import ledger
from certification.oracle.ledger import Entry, Line, Transaction

if TYPE_CHECKING:
    from random import Random

HOME = frozenset({"a", "b"})


def booked(kind: str, amount: int, **fields: Any) -> Transaction:
    lines = (
        Line(account=fields.get("source"), bucket="cash", amount=-amount),
        Line(account=fields.get("target"), bucket="cash", amount=amount),
    )
    given: dict[str, Any] = {"id": f"{kind}-{amount}", "status": "posted", "currency": "USD"}
    given |= {"settled": None, "source": None, "target": None, "reverses": None}
    given |= {"held": False, "lines": lines}
    return Transaction(kind=kind, amount=amount, **{**given, **fields})


def entry(amount: int, running: int = 0, *, account: str = "a", transaction: str = "t") -> Entry:
    return Entry(
        account=account,
        transaction=transaction,
        bucket="cash",
        currency="USD",
        amount=amount,
        running=running,
    )


def test_a_running_balance_that_does_not_add_up_is_named() -> None:
    assert ledger.first_running_break([(100, 100), (-30, 70)]) is None
    broken = ledger.first_running_break([(100, 100), (-30, 100), (5, 105)])
    assert broken == "line 2: amount -30 gives 70, stated is 100"


@given(st.lists(st.integers(-5, 5).filter(bool), max_size=12), st.randoms())
def test_any_order_of_a_true_chain_is_a_chain(amounts: list[int], rng: Random) -> None:
    total, rows = 0, []
    for amount in amounts:
        total += amount
        rows.append((amount, total))
    rng.shuffle(rows)
    assert ledger.chains(rows)


def test_rows_that_no_order_can_chain_are_refused() -> None:
    assert not ledger.chains([(100, 100), (-30, 100)])
    assert not ledger.chains([(100, 200)]), "the chain begins at 0"
    assert not ledger.chains([(10, 10), (5, 55), (-5, 50)]), "a loop that is never reached"


def test_a_changed_running_balance_breaks_the_chain() -> None:
    rows = [(100, 100), (-30, 70), (5, 75)]
    assert ledger.chains(rows)
    for number, (amount, running) in enumerate(rows):
        changed = [*rows[:number], (amount, running + 1), *rows[number + 1 :]]
        assert not ledger.chains(changed)


def test_inflow_counts_only_what_crosses_the_border() -> None:
    book = [
        booked("deposit", 1_000, target="a"),
        booked("transfer", 300, source="a", target="b"),
        booked("transfer", 50, source="b", target="elsewhere"),
        booked("fee", 7, source="a"),
        booked("adjustment", 2, target="b"),
        booked("assignment", 90, source="a"),
    ]
    assert ledger.inflow_by_currency(book, HOME) == {"USD": 1_000 - 50 - 7 + 2}


def test_a_hold_counts_what_was_settled_and_nothing_before() -> None:
    hold = booked("withdrawal", 400, source="a", held=True, status="pending", lines=())
    assert ledger.inflow_by_currency([hold], HOME) == {"USD": 0}
    settled = replace(hold, status="settled", settled=150)
    assert ledger.inflow_by_currency([settled], HOME) == {"USD": -150}


def test_a_reversal_takes_back_what_its_original_brought() -> None:
    original = booked("deposit", 40, target="a", status="reversed")
    reversal = booked("reversal", 40, source="a", id="r", reverses=original.id)
    assert ledger.inflow_by_currency([original, reversal], HOME) == {"USD": 0}


def test_what_no_request_names_is_counted_from_its_lines() -> None:
    sweep = booked("sweep", 60, source="a", target="elsewhere")
    inside = booked("fork", 60, source="a", target="b")
    assert ledger.inflow_by_currency([sweep, inside], HOME) == {"USD": -60}


def test_lines_and_entries_are_compared_both_ways_and_by_count() -> None:
    row = booked("transfer", 30, source="a", target="b", id="t")
    right = [entry(-30, account="a"), entry(30, account="b")]
    assert ledger.line_differences(right, [row], HOME) == []
    assert len(ledger.line_differences(right[:1], [row], HOME)) == 1
    assert len(ledger.line_differences([*right, right[0]], [row], HOME)) == 1
    assert ledger.line_differences([right[0], entry(31, account="b")], [row], HOME) != []


def test_a_transaction_that_does_not_add_up_is_seen() -> None:
    row = booked("transfer", 30, source="a", target="b")
    assert ledger.unbalanced(row) == 0
    short = replace(row, lines=(row.lines[0], Line(account="b", bucket="cash", amount=29)))
    assert ledger.unbalanced(short) == -1
