"""Properties of the growth oracle: exact sums, the order of left-over units, edges of rules."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certification.contract import document
from certification.oracle import growth, rounding

FOLDER = Path(document.__file__).with_name("presets")
POLICIES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")
}


def usd(ledger: int, base: int, **members: Any) -> growth.Standing:
    """A generation account in cents with a buffer of 5 %."""
    named: dict[str, Any] = {"type": "generation", "exponent": 2, "buffer": base * 5 // 100}
    return growth.Standing(ledger=ledger, base_amount=base, **(named | members))


@st.composite
def whole_shares(draw: st.DrawFn) -> list[int]:
    cuts = draw(st.lists(st.integers(1, 9_999), max_size=9, unique=True))
    edges = [0, *sorted(cuts), 10_000]
    return [after - before for before, after in pairwise(edges)]


@given(amount=st.integers(0, 2**53 - 1), shares=whole_shares())
def test_a_split_loses_nothing_and_is_never_a_unit_off(amount: int, shares: list[int]) -> None:
    legs = rounding.split(amount, shares)
    assert sum(legs) == amount
    for leg, bps in zip(legs, shares, strict=True):
        assert 0 <= leg - amount * bps // 10_000 <= 1
    assert rounding.split(amount, shares) == legs


@given(amount=st.integers(0, 2**53 - 1), shares=whole_shares())
def test_left_over_units_go_by_remainder_and_then_by_index(amount: int, shares: list[int]) -> None:
    legs = rounding.split(amount, shares)
    got = [leg - amount * bps // 10_000 for leg, bps in zip(legs, shares, strict=True)]
    ranks = [(-(amount * bps % 10_000), index) for index, bps in enumerate(shares)]
    with_unit = [rank for rank, unit in zip(ranks, got, strict=True) if unit]
    without = [rank for rank, unit in zip(ranks, got, strict=True) if not unit]
    assert not with_unit or not without or max(with_unit) < min(without)


@given(shares=st.lists(st.integers(1, 9_998), min_size=1).filter(lambda row: sum(row) != 10_000))
def test_shares_that_are_not_a_whole_are_refused(shares: list[int]) -> None:
    with pytest.raises(ValueError, match="not 10000"):
        rounding.split(100, shares)


@given(
    name=st.sampled_from(sorted(POLICIES)),
    ledger=st.integers(0, 10**11),
    base=st.integers(0, 10**10),
    holds=st.integers(0, 10**9),
)
def test_a_fork_that_is_allowed_keeps_floor_and_sum(
    name: str, ledger: int, base: int, holds: int
) -> None:
    policy = POLICIES[name]
    account = usd(ledger, base, holds=min(holds, ledger))
    decision = growth.judge_fork(policy, account)
    if decision.eligible:
        assert sum(leg.amount for leg in decision.legs) == decision.amount
        assert all(leg.amount > 0 for leg in decision.legs)
        assert ledger - decision.amount >= max(account.buffer, 0)
        assert account.free - decision.amount >= 0


@given(name=st.sampled_from(sorted(POLICIES)), base=st.integers(0, 10**10))
def test_the_least_cash_for_a_fork_is_the_edge(name: str, base: int) -> None:
    policy, account = POLICIES[name], usd(0, base)
    least = growth.least_ledger(policy, account, most=10**14)
    assert least is not None
    assert growth.judge_fork(policy, replace(account, ledger=least)).eligible
    assert not growth.judge_fork(policy, replace(account, ledger=least - 1)).eligible
