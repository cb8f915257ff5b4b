"""Rounding and forks, rule by rule."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.config import MAX_AMOUNT
from reference_impl.growth import (
    fork_rules,
    policy,
    shares,
)
from tests.reference_impl.growth.cases import (
    CLASSIC,
    CONSTITUTION,
    HALVING,
    NOW,
    PRESETS,
    USD,
    amounts,
    codes,
    fork_case,
    forked,
    standing,
    whole_shares,
)


@pytest.mark.parametrize(
    ("amount", "bps", "legs"),
    [
        (5_000_001, (5000, 5000), (2_500_001, 2_500_000)),
        (250, (5000, 4500, 500), (125, 113, 12)),
        (10_000_000, (4000, 3000, 3000), (4_000_000, 3_000_000, 3_000_000)),
        (10_000_001, (4000, 3000, 3000), (4_000_001, 3_000_000, 3_000_000)),
        (10_000_002, (4000, 3000, 3000), (4_000_001, 3_000_001, 3_000_000)),
        (100, (3334, 3333, 3333), (34, 33, 33)),
        (1_000_001, (7500, 2500), (750_001, 250_000)),
        (1, (3000, 7000), (0, 1)),
        (MAX_AMOUNT, (1, 9999), (900_719_925_474, 9_006_298_534_815_517)),
    ],
)
def test_amounts_are_split_as_the_contract_says(
    amount: int, bps: tuple[int, ...], legs: tuple[int, ...]
) -> None:
    assert shares.split(amount, bps) == legs


@given(amounts, whole_shares())
def test_no_unit_is_lost_or_made(amount: int, bps: list[int]) -> None:
    legs = shares.split(amount, bps)
    assert sum(legs) == amount
    floors = [amount * share // 10_000 for share in bps]
    extras = [leg - low for leg, low in zip(legs, floors, strict=True)]
    assert set(extras) <= {0, 1}
    remainders = [amount * share % 10_000 for share in bps]
    ranked = sorted(range(len(bps)), key=lambda index: (-remainders[index], index))
    assert [extras[index] for index in ranked] == sorted(extras, reverse=True)


@given(amounts, whole_shares())
def test_a_larger_amount_takes_nothing_from_a_whole(amount: int, bps: list[int]) -> None:
    problem = shares.check_legs(shares.split(amount, bps))
    assert (problem is None) == all(leg > 0 for leg in shares.split(amount, bps))


def test_shares_are_a_whole_and_buckets_differ() -> None:
    assert shares.check_shares([5000, 5000]) is None
    for wrong in (shares.check_shares([5000, 4999]), shares.check_shares([1] * 2, ["a", "a"])):
        assert wrong is not None
        assert wrong.code == "shares_invalid"
    twice = shares.check_shares([5000, 5000], ["position:leaps", "position:leaps"])
    assert twice is not None


@pytest.mark.parametrize(("currency", "minor"), [("JPY", 50), ("USD", 5000), ("BHD", 50_000)])
def test_a_major_unit_depends_on_the_currency(currency: str, minor: int) -> None:
    assert shares.minor(50, currency) == minor


@pytest.mark.parametrize(
    ("rules", "figures", "forks"),
    [
        (CLASSIC, {"ledger": 15_000_001, "base": 10_000_000}, (2_500_001, 2_500_000)),
        (CLASSIC, {"ledger": 15_000_000, "base": 10_000_000}, (2_500_000, 2_500_000)),
        (CLASSIC, {"ledger": 14_999_999, "base": 10_000_000}, None),
        (CLASSIC, {"ledger": 15_000_000, "base": 10_000_000, "holds": 1}, None),
        (HALVING, {"ledger": 5_000_000}, None),
        (HALVING, {"ledger": 5_000_001, "base": 1}, (2_500_000,)),
        (HALVING, {"ledger": 6_000_003, "base": 6_000_000}, (3_000_001,)),
        (
            CONSTITUTION,
            {"ledger": 24_000_000, "base": 10_000_000},
            (4_000_000, 3_000_000, 3_000_000),
        ),
        (CONSTITUTION, {"ledger": 19_999_999, "base": 10_000_000}, None),
    ],
)
def test_presets_fork_what_they_say(
    rules: policy.Policy, figures: dict[str, int], forks: tuple[int, ...] | None
) -> None:
    case = fork_case(rules, standing(**figures))
    if forks is None:
        assert codes(fork_rules.refusals(case)) == ["not_eligible"]
        return
    assert codes(fork_rules.refusals(case)) == []
    assert case.plan.amounts == forks


def test_the_same_type_is_that_of_the_parent() -> None:
    parent = standing(type="revenue", ledger=6_000_000)
    assert fork_rules.plan_by_policy(HALVING.fork, parent).legs == (("revenue", 10_000),)


@given(
    st.sampled_from(sorted(PRESETS)),
    amounts,
    amounts,
    st.integers(0, MAX_AMOUNT),
    st.integers(0, MAX_AMOUNT),
)
def test_whatever_forks_leaves_the_parent_its_floor(
    name: str, money: int, base: int, holds: int, minimum: int
) -> None:
    rules = PRESETS[name]
    parent = standing(ledger=money, base=base, holds=min(holds, money), min_balance=minimum)
    case = fork_case(rules, parent)
    if codes(fork_rules.refusals(case)):
        return
    amount = case.plan.amount
    assert amount > 0
    assert sum(case.plan.amounts) == amount
    assert money - amount >= max(parent.buffer, rules.fork.min_remaining_major * USD)
    assert parent.available - amount >= 0


@given(amounts, amounts, st.integers(1, MAX_AMOUNT), st.booleans())
def test_an_explicit_fork_is_bounded_by_the_surplus(
    money: int, base: int, amount: int, override: bool
) -> None:
    legs = (("generation", 5000), ("compounding", 5000))
    plan = fork_rules.Plan(
        amount=amount, currency="USD", legs=legs, explicit=True, override=override
    )
    parent = standing(ledger=money, base=base)
    refused = codes(fork_rules.refusals(fork_case(CLASSIC, parent, plan=plan)))
    fits = money - amount >= parent.buffer and (override or amount <= parent.surplus)
    assert ("not_eligible" not in refused) == fits
    assert ("amount_too_small" in refused) == (fits and amount < 2)


def test_the_gain_is_counted_from_the_last_fork() -> None:
    rules = msgspec.structs.replace(CLASSIC.fork, trigger="gain_since_last_fork")
    parent = standing(ledger=9_000_000, base=5_000_000)
    assert fork_rules.trigger_value(rules, parent, fork_rules.Past()) == 4_000_000
    past = fork_rules.Past(instants=(NOW,), ledger_after=7_500_000)
    assert fork_rules.trigger_value(rules, parent, past) == 1_500_000


@pytest.mark.parametrize(
    ("ages_s", "wait_s"),
    [([], 0), ([0], 86_400), ([86_399], 1), ([86_400], 0), ([3600, 7200], 82_800)],
)
def test_the_cool_down_ends(ages_s: list[int], wait_s: int) -> None:
    past = fork_rules.Past(instants=tuple(NOW - age * 1000 for age in ages_s), ledger_after=0)
    assert fork_rules.wait_ms(HALVING.fork, past, NOW) == wait_s * 1000
    case = fork_case(HALVING, standing(ledger=6_000_000), past=past)
    problems = [p for p in fork_rules.refusals(case) if p.code == "fork_cooldown_active"]
    assert [p.headers["Retry-After"] for p in problems] == ([str(wait_s)] if wait_s else [])


def test_a_day_takes_only_so_many_forks() -> None:
    rules = msgspec.structs.replace(HALVING.fork, cool_down_s=0, per_day_max=2)
    hours = [NOW - hour * 3_600_000 for hour in (1, 5, 9)]
    assert fork_rules.wait_ms(rules, fork_rules.Past(instants=tuple(hours)), NOW) == 19 * 3_600_000
    assert fork_rules.wait_ms(rules, fork_rules.Past(instants=tuple(hours[:1])), NOW) == 0


def test_depth_currency_shares_and_state_are_named() -> None:
    parent = standing(ledger=15_000_000, base=10_000_000, depth=3, status="suspended")
    plan = fork_rules.Plan(amount=100, currency="EUR", legs=(("revenue", 9999),), explicit=True)
    case = fork_case(CLASSIC, parent, plan=plan, max_depth=3)
    assert codes(fork_rules.refusals(case)) == [
        "account_suspended",
        "currency_mismatch",
        "shares_invalid",
        "lineage_depth_exceeded",
    ]


@given(st.lists(st.integers(1, MAX_AMOUNT // 10), min_size=1, max_size=10))
def test_the_entry_of_a_fork_adds_up_to_zero(legs: list[int]) -> None:
    parent = standing(ledger=MAX_AMOUNT).account.cash
    children = [(replace(parent, id=n + 2, balance=0), leg) for n, leg in enumerate(legs)]
    lines = fork_rules.lines(parent, children)
    assert sum(line.amount for line in lines) == 0
    assert len(lines) == len(legs) + 1


@pytest.mark.parametrize(
    ("age_s", "value", "matured"),
    [
        (94_607_999, 29_999, False),
        (94_608_000, 1, True),
        (0, 30_000, True),
    ],
)
def test_a_fork_matures_by_age_or_by_value(age_s: int, value: int, matured: bool) -> None:
    fork = forked(created_at=NOW - age_s * 1000, amount=10_000, value=value)
    assert fork_rules.matured(CONSTITUTION.fork, fork, NOW) is matured
    assert fork_rules.matured(CLASSIC.fork, fork, NOW) is False
