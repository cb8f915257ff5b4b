"""The book of a scenario: what it predicts and refuses, and how it reads a target's entries."""

from __future__ import annotations

from typing import Any

import pytest

from certification.scenario_book import (
    SHARES,
    UNNAMED,
    Ask,
    Page,
    book,
    emptying,
    in_groups,
)

LARGEST = 1_000_000


def page(name: str, cash: int = 0, **configured: Any) -> Page:
    """An account with cash that came in one deposit."""
    members = {
        "status": "active",
        "currency": "USD",
        "base_amount": 199,
        "buffer_bps": 500,
        "min_balance": 0,
        "withdrawal_allowed": True,
    }
    opened = Page(id=name, configured=members | configured, version=1, balance_version=1)
    if cash:
        book("t0", "deposit", Ask(kind="deposit", amount=cash, target=opened).moves())
    return opened


def test_what_may_be_spent_leaves_out_holds_and_the_minimum() -> None:
    account = page("a", 100, min_balance=30)
    account.holds["h"] = 25
    read = account.reading()
    assert (read["balances.ledger"], read["balances.holds"]) == (100, 25)
    assert read["balances.available"] == 45
    assert read["balances.buffer"] == 9
    assert not Ask(kind="withdrawal", amount=45, source=account).refusals(LARGEST)
    refused = Ask(kind="withdrawal", amount=46, source=account).refusals(LARGEST)
    assert refused == {"insufficient_available"}


@pytest.mark.parametrize(
    ("status", "as_source", "as_target"),
    [
        ("suspended", {"account_suspended"}, set()),
        ("closed", {"account_closed"}, {"account_closed"}),
        ("merged", {"account_merged"}, {"account_merged"}),
    ],
)
def test_state_goes_before_every_rule(
    status: str, as_source: set[str], as_target: set[str]
) -> None:
    account = page("a", 10, status=status)
    assert Ask(kind="withdrawal", amount=99, source=account).refusals(LARGEST) == as_source
    assert Ask(kind="deposit", amount=1, target=account).refusals(LARGEST) == as_target


def test_each_rule_has_its_code_and_any_of_several_may_be_named() -> None:
    account, other = page("a", 10, withdrawal_allowed=False), page("b", LARGEST)
    transfer = Ask(kind="transfer", amount=11, source=account, target=other)
    assert transfer.refusals(LARGEST) == {"insufficient_available", "amount_out_of_range"}
    itself = Ask(kind="transfer", amount=1, source=account, target=account)
    assert itself.refusals(LARGEST) == {"same_account"}
    withdrawal = Ask(kind="withdrawal", amount=1, source=account)
    assert withdrawal.refusals(LARGEST) == {"withdrawal_not_allowed"}
    assert not Ask(kind="fee", amount=1, source=account).refusals(LARGEST)
    foreign = Ask(kind="deposit", amount=1, target=account, currency="EUR")
    assert foreign.refusals(LARGEST) == {"currency_mismatch"}


def test_an_assignment_keeps_the_total_and_a_sweep_moves_every_bucket() -> None:
    account, other = page("a", 100), page("b", 1)
    book("t1", "assignment", Ask(kind="assignment", amount=40, source=account).moves())
    assert (account.cash, account.buckets[SHARES], account.total) == (60, 40, 100)
    book(f"{UNNAMED}a", "sweep", emptying(account, other))
    assert (account.total, other.cash, other.buckets[SHARES]) == (0, 61, 40)


def test_a_settle_of_a_part_books_the_part() -> None:
    account, other = page("a", 100), page("b")
    held = Ask(kind="transfer", amount=70, source=account, target=other, hold=True)
    book("t1", "transfer", held.moves(31))
    assert (account.cash, other.cash) == (69, 31)


def row(transaction: str, amount: int, running: int, bucket: str = "cash") -> dict[str, Any]:
    """An entry as a target shows it."""
    return {
        "transaction_id": transaction,
        "kind": "deposit" if transaction == "t0" else "sweep",
        "bucket": bucket,
        "amount": amount,
        "running_balance": running,
    }


def test_lines_of_one_transaction_may_come_as_one_or_as_many() -> None:
    account = page("a", 100)
    book(f"{UNNAMED}z", "sweep", emptying(page("b", 7), account)[1:])
    known = frozenset({"t0"})
    one = [row("t0", 100, 100), row("t9", 7, 107)]
    many = [row("t0", 100, 100), row("t9", 3, 103), row("t9", 4, 107)]
    assert in_groups(one, known) == in_groups(many, known) == account.statement()


@pytest.mark.parametrize(
    "wrong",
    [
        [row("t0", 100, 100), row("t9", 6, 106)],
        [row("t0", 100, 100), row("t9", 7, 106)],
        [row("t9", 7, 7), row("t0", 100, 107)],
        [row("t0", 100, 100)],
        [row("t0", 100, 100), row("t9", 7, 107), row("t8", 7, 114)],
        [row("t0", 100, 100), row("t9", 7, 7, SHARES)],
    ],
    ids=["amount", "running", "order", "missing", "twice", "bucket"],
)
def test_every_difference_of_a_statement_shows(wrong: list[dict[str, Any]]) -> None:
    account = page("a", 100)
    book(f"{UNNAMED}z", "sweep", emptying(page("b", 7), account)[1:])
    assert in_groups(wrong, frozenset({"t0"})) != account.statement()
