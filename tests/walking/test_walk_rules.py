"""What the walk's book says of requests: refusals by their order, edges, and ids in scripts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from certification.contract import load_contract
from certification.walking import rules
from certification.walking.book import Account, Book, Booking

STATUS = {code: row.status for code, row in load_contract().problems.items()}


def account(name: str, cash: int, **more: Any) -> Account:
    fields: dict[str, Any] = {
        "type": "generation",
        "currency": "USD",
        "exponent": 2,
        "base": 0,
        "min_balance": 0,
        "buffer_bps": 500,
        "withdrawal_allowed": True,
        "root": name,
        "buckets": {"cash": cash},
    }
    return Account(id=name, **{**fields, **more})


def book(*accounts: Account) -> Book:
    return Book(policies={}, accounts={each.id: each for each in accounts})


def withdrawal(amount: int, **more: object) -> dict[str, object]:
    money = {"amount": amount, "currency": "USD"}
    return {"kind": "withdrawal", "amount": money, "from_account_id": "a", **more}


def test_a_held_unit_cannot_be_spent_and_the_edge_can() -> None:
    kept = book(account("a", 100))
    kept.request("t1", withdrawal(40, hold=True))
    assert rules.transaction(kept, withdrawal(60)) == []
    assert rules.transaction(kept, withdrawal(61)) == ["insufficient_available"]


def test_a_state_is_refused_before_a_rule() -> None:
    kept = book(account("a", 10, status="suspended"))
    codes = rules.transaction(kept, withdrawal(11))
    assert rules.first(codes, STATUS) == {"account_suspended"}


def test_a_settled_hold_moves_its_part_and_frees_the_rest() -> None:
    kept = book(account("a", 100))
    hold = kept.request("t1", withdrawal(40, hold=True))
    kept.settle(hold, 15)
    assert (kept.accounts["a"].cash, kept.holds("a")) == (85, 0)
    assert rules.settle(kept, hold, None) == ["not_pending"]
    reversal = kept.reverse("t2", hold)
    assert (kept.accounts["a"].cash, reversal.amount) == (100, 15)
    assert "already_reversed" in rules.reverse(kept, hold)


def test_the_catalogue_is_read_without_the_libraries_of_the_walk() -> None:
    code = (
        "import sys; from certification.checks import load_catalogue; load_catalogue();"
        "print([n for n in ('hypothesis', 'schemathesis') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_merge_may_stand_in_the_list_of_a_source_that_had_nothing() -> None:
    kept = book(account("a", 70), account("b", 0), account("c", 5))
    merge = Booking(id="m", kind="merge", status="posted", currency="USD", amount=70)
    kept.move_all(merge, [kept.accounts["a"], kept.accounts["b"]], kept.accounts["c"])
    posted = {"m": "posted"}
    assert kept.listed("a") == (posted, {})
    assert kept.listed("b") == ({}, posted)
    assert kept.listed("c") == (posted, {})
