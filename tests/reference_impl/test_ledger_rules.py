"""The rules of the book, for any amounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl import ledger
from reference_impl.config import MAX_AMOUNT
from reference_impl.problems import Problem

amounts = st.integers(1, MAX_AMOUNT)
balances = st.integers(0, MAX_AMOUNT)


def bucket(balance: int, *, number: int = 1, holds: int = 0) -> ledger.Bucket:
    return ledger.Bucket(
        id=number, currency="USD", balance=balance, holds=holds, account_id=f"acc_{number}"
    )


def account(balance: int, *, holds: int = 0, min_balance: int = 0) -> ledger.Account:
    return ledger.Account(
        id="acc_1",
        owner_id="usr_1",
        status="active",
        min_balance=min_balance,
        withdrawal_allowed=True,
        merged_into_id=None,
        version=1,
        cash=bucket(balance, holds=holds),
    )


@given(balances, balances, amounts)
def test_a_move_adds_up_to_zero_or_is_refused(source: int, target: int, amount: int) -> None:
    ends = bucket(source), bucket(target, number=2)
    if target + amount > MAX_AMOUNT:
        with pytest.raises(Problem, match="amount_out_of_range"):
            ledger.move(*ends, amount)
        return
    lines = ledger.move(*ends, amount)
    assert sum(line.amount for line in lines) == 0
    assert [line.balance_after for line in lines] == [source - amount, target + amount]


@given(balances, balances, balances, amounts)
def test_no_debit_leaves_less_than_nothing_available(
    balance: int, holds: int, minimum: int, amount: int
) -> None:
    owner = account(balance, holds=holds, min_balance=minimum)
    if balance - holds - minimum < amount:
        with pytest.raises(Problem, match="insufficient_available"):
            ledger.check_funds(owner, amount)
        return
    ledger.check_funds(owner, amount)
    assert ledger.available(ledger=balance - amount, holds=holds, min_balance=minimum) >= 0


@given(st.lists(st.tuples(balances, st.integers(-1000, 1000).filter(bool)), max_size=6))
def test_a_reversal_cancels_every_line(then: list[tuple[int, int]]) -> None:
    booked = [(bucket(2000 + at % 1000, number=n), amount) for n, (at, amount) in enumerate(then)]
    undone = ledger.reversal_lines(booked)
    assert [line.amount for line in undone] == [-amount for _, amount in booked]


@given(balances, st.integers(0, 10_000))
def test_the_buffer_is_the_floor_of_its_share(base: int, bps: int) -> None:
    kept = ledger.buffer(base, bps)
    assert kept * 10_000 <= base * bps < (kept + 1) * 10_000


@given(st.none() | st.integers(0, 100), st.integers(0, 100))
def test_a_hold_ends_at_its_instant(expires_at: int | None, now: int) -> None:
    assert ledger.expired(expires_at, now) == (expires_at is not None and now >= expires_at)


def state(**given_: object) -> str:
    rows = {"phase": "hold", "outcome": None, "reversed_by": None, "expires_at": 50, "now_ms": 49}
    return ledger.status(**{**rows, **given_})  # type: ignore[arg-type]  # members of several types


def test_a_transaction_has_the_state_of_what_followed_it() -> None:
    assert state(phase="post") == "posted"
    assert state() == "pending"
    assert state(now_ms=50) == "expired"
    assert state(outcome="settle", now_ms=99) == "settled"
    assert state(outcome="void") == "voided"
    assert state(outcome="settle", reversed_by="txn_2") == "reversed"


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("deposit", "reversed", "already_reversed"),
        ("reversal", "posted", "not_reversible"),
        ("sweep", "posted", "not_reversible"),
        ("withdrawal", "pending", "not_reversible"),
        ("withdrawal", "voided", "not_reversible"),
        ("withdrawal", "expired", "not_reversible"),
    ],
)
def test_what_cannot_be_reversed(kind: str, status: str, code: str) -> None:
    with pytest.raises(Problem) as refusal:
        ledger.check_reversible(kind=kind, status=status)
    assert refusal.value.code == code
