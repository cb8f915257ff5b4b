"""The growth oracle against figures worked by hand; each rule has a mutant that they kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certification.contract import document
from certification.oracle import growth, lineage, rounding, serial

PRESETS = ("classic", "halving", "constitution-1.3")


def preset(name: str) -> dict[str, Any]:
    path = Path(document.__file__).with_name("presets") / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


CLASSIC, HALVING, CONSTITUTION = (preset(name) for name in PRESETS)


def usd(ledger: int, base: int = 0, **members: Any) -> growth.Standing:
    """An account in cents with a buffer of 5 %."""
    named: dict[str, Any] = {"type": "generation", "exponent": 2, "buffer": base * 5 // 100}
    return growth.Standing(ledger=ledger, base_amount=base, **(named | members))


def forked(policy: dict[str, Any], account: growth.Standing, *history: Any) -> growth.Decision:
    return growth.judge_fork(policy, account, *history)


def amounts(decision: growth.Decision) -> list[tuple[str, int]]:
    return [(leg.to, leg.amount) for leg in decision.legs]


# -- golden vectors: worked by hand from the contract's text -------------------------------------


def golden_rounding() -> None:
    assert rounding.split(5_000_001, [5_000, 5_000]) == (2_500_001, 2_500_000)
    assert rounding.split(250, [5_000, 4_500, 500]) == (125, 113, 12)
    assert rounding.split(100, [3_333, 3_333, 3_334]) == (33, 33, 34)
    assert rounding.split(10_000_001, [4_000, 3_000, 3_000]) == (4_000_001, 3_000_000, 3_000_000)
    assert rounding.split(1_009, [1_000, 4_500, 4_500]) == (101, 454, 454)
    assert rounding.split(3, [2_500] * 4) == (1, 1, 1, 0)


def golden_classic() -> None:
    # Base 100,000.00; the surplus is 50,000.01, the threshold 50,000.00.
    ripe = forked(CLASSIC, usd(15_000_001, 10_000_000))
    assert ripe.eligible
    assert ripe.amount == 5_000_001
    assert amounts(ripe) == [("generation", 2_500_001), ("compounding", 2_500_000)]
    assert ripe.facts == {
        "ledger": 15_000_001,
        "holds": 0,
        "base_amount": 10_000_000,
        "buffer": 500_000,
        "surplus": 5_000_001,
        "trigger_value": 5_000_001,
        "threshold": 5_000_000,
    }
    assert forked(CLASSIC, usd(15_000_000, 10_000_000)).eligible
    assert forked(CLASSIC, usd(14_999_999, 10_000_000)).reasons == ("not_eligible",)
    assert forked(CLASSIC, usd(15_000_000, 10_000_000, holds=1)).reasons == ("not_eligible",)
    revenue = usd(90_000_000, 10_000_000, type="revenue")
    assert forked(CLASSIC, revenue).reasons == ("not_eligible",)
    yen = replace(usd(60_000, 10_000), exponent=0)
    assert (forked(CLASSIC, yen).eligible, forked(CLASSIC, yen).amount) == (True, 50_000)
    # Base 0: everything would go, and nothing is the buffer of nothing.
    assert forked(CLASSIC, usd(5_000_000)).eligible


def golden_halving() -> None:
    # More than 50,000.00; half goes into one child of the same type.
    assert forked(HALVING, usd(5_000_000, 100)).reasons == ("not_eligible",)
    ripe = forked(HALVING, usd(5_000_001, 100))
    assert (ripe.reasons, amounts(ripe)) == ((), [("generation", 2_500_000)])
    # Holds lower the half as well: floor((50,000.03 - 0.02) / 2), and 25,000.00 must stay.
    held = forked(HALVING, usd(5_000_003, 100, holds=2))
    assert (held.reasons, held.amount) == ((), 2_500_000)
    day = growth.DAY_S
    rich = usd(9_000_000, 100)
    assert forked(HALVING, rich, growth.History(ages_s=(day - 1,))).reasons == (
        "fork_cooldown_active",
    )
    assert forked(HALVING, rich, growth.History(ages_s=(day,))).eligible
    often = growth.History(ages_s=(10, 20, 30, 40, 50))
    quick = {**HALVING, "fork": {**HALVING["fork"], "cool_down_s": 0}}
    assert forked(quick, rich, often).reasons == ("fork_cooldown_active",)
    assert forked(quick, rich, growth.History(ages_s=(10, 20, 30, 40, day))).eligible
    # The buffer is above the least that remains: base 600,000.00, buffer 30,000.00.
    assert forked(HALVING, usd(5_999_998, 60_000_000)).reasons == ("not_eligible",)
    assert forked(HALVING, usd(6_000_000, 60_000_000)).eligible
    # Nine tenths of 90,000.00 leave 9,000.00: above the buffer, below the least that remains.
    most = {**HALVING, "fork": {**HALVING["fork"], "fraction_bps": 9_000}}
    assert forked(most, rich).reasons == ("not_eligible",)


def golden_constitution() -> None:
    # Every 100,000.00 over the base; whatever is above stays.
    ripe = forked(CONSTITUTION, usd(12_345_678, 1_000_000))
    assert ripe.amount == 10_000_000
    assert amounts(ripe) == [
        ("generation", 4_000_000),
        ("revenue", 3_000_000),
        ("compounding", 3_000_000),
    ]
    assert forked(CONSTITUTION, usd(10_999_999, 1_000_000)).reasons == ("not_eligible",)


def golden_other_rules() -> None:
    gain = {**CLASSIC, "fork": {**CLASSIC["fork"], "trigger": "gain_since_last_fork"}}
    rich = usd(21_000_000, 10_000_000)
    assert forked(gain, rich).facts["trigger_value"] == 11_000_000
    since = growth.History(ages_s=(0,), ledger_after=17_000_000)
    assert forked(gain, rich, since).facts["trigger_value"] == 4_000_000
    assert forked(gain, rich, since).reasons == ("not_eligible",)
    deep = {**CLASSIC, "fork": {**CLASSIC["fork"], "max_depth": 2}}
    ripe = usd(15_000_000, 10_000_000)
    assert forked(deep, replace(ripe, depth=1)).eligible
    assert forked(deep, replace(ripe, depth=2)).reasons == ("lineage_depth_exceeded",)
    limited = growth.judge_fork(CLASSIC, replace(ripe, depth=3), depth_max=3)
    assert limited.reasons == ("lineage_depth_exceeded",)
    assert forked(CLASSIC, replace(ripe, status="suspended")).reasons == ("account_suspended",)
    assert forked(CLASSIC, replace(ripe, min_balance=10_000_001)).reasons == ("not_eligible",)
    tiny = {**CLASSIC, "fork": {**CLASSIC["fork"], "threshold_major": 0}}
    assert forked(tiny, usd(101, 100)).reasons == ("amount_too_small",)
    assert forked(tiny, usd(100, 100)).reasons == ("not_eligible",)
    least = growth.least_ledger(CLASSIC, usd(0, 10_000_000), most=10**12)
    assert least == 15_000_000
    assert growth.least_ledger(CLASSIC, usd(0, 10_000_000), most=10**6) is None


def golden_merges() -> None:
    family = growth.Kinship(whole_family=True)
    half = [replace(usd(0), total_value=25_000_000)] * 2
    less = [half[0], replace(half[1], total_value=24_999_999)]
    asked = growth.merge_reasons
    assert asked(CLASSIC, half, "compounding", family) == ()
    assert asked(CLASSIC, less, "compounding", family) == ("below_merge_threshold",)
    assert asked(CLASSIC, half, "compounding", growth.Kinship()) == ("below_merge_threshold",)
    assert asked(CLASSIC, half, "revenue", family) == ("below_merge_threshold",)
    assert asked(HALVING, half, "generation", growth.Kinship()) == ()
    assert asked(HALVING, half[:1], "generation", family) == ("too_many_sources",)
    assert asked(HALVING, half * 6, "generation", family) == ("too_many_sources",)
    assert asked(HALVING, [usd(0)] * 2, "generation", family) == ("nothing_to_merge",)
    assert asked(CONSTITUTION, half, "compounding", family) == ("below_merge_threshold",)
    assert asked(CONSTITUTION, half, "compounding", growth.Kinship(matured=True)) == ()
    assert growth.base_after_merge(10_000_000, 2_500_001) == 12_500_001


def reinvested(
    policy: dict[str, Any], account: growth.Standing, amount: int, *, done: bool = False
) -> growth.Decision:
    return growth.judge_reinvest(policy, account, amount, done=done)


def golden_reinvestments() -> None:
    # The contract's example: 40,000.00, base 30,000.00, buffer 1,500.00; 10,000.01 at 75/25.
    account = usd(4_000_000, 3_000_000, type="revenue")
    ready = reinvested(CLASSIC, account, 1_000_001)
    assert ready.reasons == ()
    assert amounts(ready) == [("position:contracts", 750_001), ("position:leaps", 250_000)]
    assert growth.reinvestable(account) == 3_850_000
    assert reinvested(CLASSIC, account, 3_850_000).reasons == ()
    # One unit of the buffer: more than there is, and so more than any share of it.
    beyond = ("insufficient_available", "above_maximum")
    assert reinvested(CLASSIC, account, 3_850_001).reasons == beyond
    assert reinvested(CLASSIC, replace(account, holds=1), 3_850_000).reasons == beyond
    assert reinvested(CLASSIC, account, 999_999).reasons == ("below_minimum",)
    rich = replace(account, ledger=200_000_000)
    assert reinvested(CLASSIC, rich, 100_000_000).reasons == ()
    assert reinvested(CLASSIC, rich, 100_000_001).reasons == ("above_maximum",)
    assert reinvested(CLASSIC, account, 1_000_001, done=True).reasons == ("already_reinvested",)
    other = replace(account, type="generation")
    assert reinvested(CLASSIC, other, 1_000_001).reasons == ("not_eligible",)
    shut = replace(account, status="closed")
    assert reinvested(CLASSIC, shut, 1_000_001).reasons == ("account_closed",)
    # 60 to 85 % of 38,500.00: 23,100.00 to 32,725.00.
    assert reinvested(HALVING, account, 2_310_000).reasons == ()
    assert reinvested(HALVING, account, 2_309_999).reasons == ("below_minimum",)
    assert reinvested(HALVING, account, 3_272_500).reasons == ()
    assert reinvested(HALVING, account, 3_272_501).reasons == ("above_maximum",)
    # 30 % of 10,000.01 is 3,000.003: reserve 3,000.00, and 75/25 of 7,000.01.
    assert amounts(reinvested(CONSTITUTION, account, 1_000_001)) == [
        ("tax_reserve", 300_000),
        ("position:contracts", 525_001),
        ("position:leaps", 175_000),
    ]
    assert reinvested(CONSTITUTION, account, 1).reasons == ("amount_too_small",)


def golden_periods() -> None:
    assert [growth.quarter(2026, month) for month in (1, 3, 4, 12)] == [
        "2026-Q1",
        "2026-Q1",
        "2026-Q2",
        "2026-Q4",
    ]
    assert growth.quarter_before("2026-Q1") == "2025-Q4"
    assert growth.quarter_before("2026-Q3") == "2026-Q2"
    assert growth.quarter_after("2026-Q4") == "2027-Q1"
    assert growth.quarter_after("2026-Q1") == "2026-Q2"
    assert not growth.opened(HALVING, month=12, day=14)
    assert growth.opened(HALVING, month=12, day=15)
    assert not growth.opened(HALVING, month=11, day=30)
    assert growth.opened(CLASSIC, month=10, day=1)


def golden_lineage() -> None:
    # P forked A and B; P then merged into B. B stands for P, and nobody for B's parent.
    born = {"P": None, "A": "P", "B": "P", "C": "A"}
    gone = {"P": "B", "A": None, "B": None, "C": None}
    found = {name: lineage.effective_parent(name, born, gone) for name in born}
    assert found == {"P": None, "A": "B", "B": None, "C": "A"}
    # C takes its parent A in: on with the grandparent P, for whom B stands.
    assert lineage.effective_parent("C", born, {**gone, "A": "C"}) == "B"
    assert lineage.chain("C", born) == ["C", "A", "P"]
    assert lineage.chain("x", {"x": "y", "y": "x"}) is None


def golden_orders() -> None:
    def pay(cash: int) -> int | None:
        return cash - 7 if cash >= 7 else None

    def earn(cash: int) -> int:
        return cash + 5

    assert serial.outcomes(3, [pay, earn]) == {((True, True), 1), ((False, True), 8)}
    with pytest.raises(ValueError, match="orders"):
        serial.outcomes(0, [earn] * 8)


GOLDEN = {name: value for name, value in globals().items() if name.startswith("golden_")}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_oracle_gives_the_figures_worked_by_hand(name: str) -> None:
    GOLDEN[name]()


# -- each rule has a mutant ------------------------------------------------------------------------


def _floors_only(amount: int, shares: Any) -> tuple[int, ...]:
    return tuple(amount * bps // 10_000 for bps in shares)


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_args, **_named: value


TRIGGER_VALUE = growth.trigger_value

MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "floors without the rest": (rounding, "split", _floors_only),
    "rest to the last legs": (rounding, "remainder_order", lambda _a, s: [*range(len(s))][::-1]),
    "rest to the first legs": (rounding, "remainder_order", lambda _a, s: [*range(len(s))]),
    "ties to the higher index": (
        rounding,
        "remainder_order",
        lambda a, s: sorted(range(len(s)), key=lambda i: (-(a * s[i] % 10_000), -i)),
    ),
    "shares rounded up": (rounding, "share", lambda a, b: -(-a * b // 10_000)),
    "minor units by two digits": (growth, "minor", lambda major, _: major * 100),
    "always the surplus forks": (growth, "fork_amount", lambda _r, a: a.surplus),
    "always the threshold forks": (
        growth,
        "fork_amount",
        lambda r, a: growth.minor(r["threshold_major"], a.exponent),
    ),
    "trigger is the surplus": (growth, "trigger_value", lambda _r, a, _h: a.surplus),
    "trigger is the balance": (growth, "trigger_value", lambda _r, a, _h: a.free),
    "trigger forgets holds": (
        growth,
        "trigger_value",
        lambda r, a, h: TRIGGER_VALUE(r, replace(a, holds=0), h),
    ),
    "at least is more than": (growth, "triggered", lambda _r, v, t: v > t),
    "more than is at least": (growth, "triggered", lambda _r, v, t: v >= t),
    "no floor": (growth, "floor_of", _constant(0)),
    "floor is the buffer": (growth, "floor_of", lambda _r, a: a.buffer),
    "floor is the remainder": (
        growth,
        "floor_of",
        lambda r, a: growth.minor(r["min_remaining_major"], a.exponent),
    ),
    "no waiting": (growth, "cooling", _constant(False)),
    "no daily limit": (
        growth,
        "cooling",
        lambda r, h: bool(h.ages_s) and h.ages_s[0] < r["cool_down_s"],
    ),
    "cool-down one second longer": (
        growth,
        "cooling",
        lambda r, h: bool(h.ages_s) and h.ages_s[0] <= r["cool_down_s"],
    ),
    "no depth": (growth, "too_deep", _constant(False)),
    "depth of the policy only": (
        growth,
        "too_deep",
        lambda r, a, _: r["max_depth"] is not None and a.depth >= r["max_depth"],
    ),
    "depth one further": (
        growth,
        "too_deep",
        lambda r, a, _: r["max_depth"] is not None and a.depth > r["max_depth"],
    ),
    "any state": (growth, "ended", _constant(())),
    "empty legs": (growth, "too_small", _constant(False)),
    "anything may fork": (growth, "may_fork", _constant(True)),
    "merge asks nothing": (growth, "merge_asked", _constant(True)),
    "merge asks for value only": (
        growth,
        "merge_asked",
        lambda r, s, _k: sum(x.total_value for x in s) >= (r["threshold_major"] or 0) * 100,
    ),
    "base stays at a merge": (growth, "base_after_merge", lambda base, _: base),
    "buffer is reinvested": (growth, "reinvestable", lambda a: a.free),
    "holds are reinvested": (growth, "reinvestable", lambda a: a.ledger - a.buffer),
    "no bounds of the amount": (growth, "amount_reasons", _constant([])),
    "no tax reserve": (
        growth,
        "reinvest_legs",
        lambda r, n: growth.legs_of(
            n, [x["bucket"] for x in r["legs"]], [x["bps"] for x in r["legs"]]
        ),
    ),
    "quarters of four months": (growth, "quarter", lambda y, m: f"{y:04d}-Q{(m + 3) // 4}"),
    "quarter before ends a year late": (
        growth,
        "quarter_before",
        lambda p: f"{p[:4]}-Q{int(p[-1]) - 1 or 4}",
    ),
    "quarter after ends a year late": (
        growth,
        "quarter_after",
        lambda p: f"{p[:4]}-Q{int(p[-1]) % 4 + 1}",
    ),
    "always open": (growth, "opened", _constant(True)),
    "facts without holds": (
        growth,
        "facts_of",
        lambda a: {"ledger": a.ledger, "base_amount": a.base_amount, "buffer": a.buffer},
    ),
    "same is generation again": (
        growth,
        "fork_legs",
        lambda r, _a, n: growth.legs_of(n, ["x"] * len(r["legs"]), [x["bps"] for x in r["legs"]]),
    ),
    "the parent stands for itself": (
        lineage,
        "effective_parent",
        lambda account, parents, _merged: parents.get(account),
    ),
    "rings end": (lineage, "chain", lambda start, _edges: [start]),
    "one order only": (serial, "permutations", lambda rows: [tuple(rows)]),
}


def _run_all_golden() -> None:
    for vector in GOLDEN.values():
        vector()


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_wrong_rule_does_not_pass_the_figures_worked_by_hand(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, attribute, mutant = MUTANTS[name]
    _run_all_golden()
    monkeypatch.setattr(module, attribute, mutant)
    with pytest.raises((AssertionError, ValueError)):
        _run_all_golden()
