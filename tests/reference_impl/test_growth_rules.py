"""The rules of growth, for any figures: rounding, forks, merges, reinvestments, policies."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl import ledger
from reference_impl.config import MAX_AMOUNT
from reference_impl.growth import (
    events,
    fork_rules,
    lineage,
    merge_rules,
    policies,
    policy,
    reinvest_rules,
    shares,
)
from reference_impl.growth.lineage import Edges
from reference_impl.growth.standing import Standing
from reference_impl.problems import Problem

PRESETS = {path.stem: policy.read(path.read_bytes()) for path in policies.PRESETS.glob("*.json")}
CLASSIC, HALVING, CONSTITUTION = (
    PRESETS[name] for name in ("classic", "halving", "constitution-1.3")
)
USD = 100
NOW = 1_800_000_000_000
amounts = st.integers(0, MAX_AMOUNT)


@st.composite
def whole_shares(draw: st.DrawFn) -> list[int]:
    """Shares of at least 1 that add up to 10,000."""
    cuts = draw(st.sets(st.integers(1, 9999), max_size=9))
    edges = [0, *sorted(cuts), 10_000]
    return [high - low for low, high in pairwise(edges)]


def standing(**figures: Any) -> Standing:
    number = figures.get("number", 1)
    account = ledger.Account(
        id=f"acc_{number}",
        owner_id=figures.get("owner", "usr_1"),
        status=figures.get("status", "active"),
        min_balance=figures.get("min_balance", 0),
        withdrawal_allowed=True,
        merged_into_id=None,
        version=1,
        cash=ledger.Bucket(
            id=number,
            currency=figures.get("currency", "USD"),
            balance=figures.get("ledger", 0),
            holds=figures.get("holds", 0),
            account_id=f"acc_{number}",
        ),
    )
    return Standing(
        account=account,
        type=figures.get("type", "generation"),
        name="Weekly income",
        base_amount=figures.get("base", 0),
        buffer_bps=500,
        total_value=figures.get("value", figures.get("ledger", 0)),
        depth=figures.get("depth", 0),
        root_id=figures.get("root", f"acc_{number}"),
        policy_ref="classic@1",
    )


def fork_case(rules: policy.Policy, parent: Standing, **more: Any) -> fork_rules.Case:
    plan = more.pop("plan", None) or fork_rules.plan_by_policy(rules.fork, parent)
    past = more.pop("past", fork_rules.Past())
    fork = msgspec.structs.replace(rules.fork, **more)
    return fork_rules.Case(policy=fork, parent=parent, past=past, plan=plan, now_ms=NOW)


def codes(refusals: Any) -> list[str]:
    return [problem.code for problem in refusals]


# Rounding


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


# Forks


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


def forked(**members: Any) -> fork_rules.Forked:
    defaults: dict[str, Any] = {
        "seq": 7,
        "policy_ref": "classic@1",
        "created_at": NOW,
        "amount": 10_000,
        "children": frozenset({"acc_1", "acc_2"}),
        "value": 0,
    }
    return fork_rules.Forked(**{**defaults, **members})


# Merges


def merge_case(sources: list[Standing], target: Standing | None, **more: Any) -> merge_rules.Case:
    rules = more.pop("rules", CLASSIC.merge)
    options = {"by_policy": False, "override": False, **more}
    return merge_rules.Case(policy=rules, sources=sources, target=target, **options)


@pytest.mark.parametrize(
    ("sources", "target", "more", "refused"),
    [
        ([{}], {"number": 2}, {}, []),
        ([{}, {}], {"number": 2}, {}, ["duplicate_source"]),
        ([{"number": 2}], {"number": 2}, {}, ["target_in_sources"]),
        ([{"number": n} for n in range(3, 14)], {}, {}, ["too_many_sources"]),
        ([{}], {"number": 2}, {"rules": HALVING.merge}, ["too_many_sources"]),
        ([{"currency": "EUR"}], {"number": 2}, {}, ["currency_mismatch"]),
        ([{"owner": "usr_2"}], {"number": 2}, {}, ["owner_mismatch"]),
        ([{"owner": "usr_2"}], {"number": 2}, {"override": True}, ["owner_mismatch"]),
        ([{"owner": "usr_2", "root": "r"}], {"number": 2, "root": "r"}, {"override": True}, []),
        ([{"ledger": 0}], {"number": 2}, {}, ["nothing_to_merge"]),
        ([{"status": "suspended"}], {"number": 2}, {}, ["account_not_active"]),
        ([{}], {"number": 2, "status": "closed"}, {}, ["account_not_active"]),
        ([{"status": "merged"}], {"number": 2}, {}, ["account_merged"]),
        ([{}], {"number": 2}, {"held": frozenset({"acc_2"})}, ["pending_holds"]),
        ([{}], {"number": 2}, {"by_policy": True, "origins": [None]}, ["below_merge_threshold"]),
        ([{"ledger": MAX_AMOUNT}], {"number": 2, "ledger": 1}, {}, ["amount_out_of_range"]),
    ],
)
def test_a_merge_is_refused_for_what_is_wrong(
    sources: list[dict[str, Any]], target: dict[str, Any], more: dict[str, Any], refused: list[str]
) -> None:
    accounts = [standing(**{"ledger": 500, **figures}) for figures in sources]
    case = merge_case(accounts, standing(**target), **more)
    assert codes(merge_rules.refusals(case)) == refused


@pytest.mark.parametrize(
    ("value", "children", "refused"),
    [
        (25_000_000, {"acc_1", "acc_2"}, []),
        (24_999_999, {"acc_1", "acc_2"}, ["below_merge_threshold"]),
        (25_000_000, {"acc_1", "acc_2", "acc_3"}, ["below_merge_threshold"]),
    ],
)
def test_classic_merges_a_whole_family_of_enough_value(
    value: int, children: set[str], refused: list[str]
) -> None:
    family = [standing(number=1, ledger=25_000_000), standing(number=2, ledger=value)]
    origin = merge_rules.Origin(fork=forked(children=frozenset(children)), matured=False)
    case = merge_case(family, None, by_policy=True, origins=[origin, origin])
    assert codes(merge_rules.refusals(case)) == refused


@pytest.mark.parametrize("matured", [True, False])
def test_constitution_merges_what_has_matured_into_compounding(matured: bool) -> None:
    origin = merge_rules.Origin(fork=forked(), matured=matured)
    sources = [standing(ledger=5)]
    for target, allowed in (
        (None, matured),
        (standing(number=9, type="compounding"), matured),
        (standing(number=9, type="revenue"), False),
    ):
        case = merge_case(
            sources, target, rules=CONSTITUTION.merge, by_policy=True, origins=[origin]
        )
        assert codes(merge_rules.refusals(case)) == ([] if allowed else ["below_merge_threshold"])


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(("cash", "tax_reserve", "position:leaps")),
            st.integers(0, MAX_AMOUNT // 20),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_a_merge_keeps_every_bucket_whole(holdings: list[dict[str, int]]) -> None:
    def bucket(number: int, kind: str, balance: int) -> ledger.Bucket:
        return ledger.Bucket(
            id=number, currency="USD", balance=balance, account_id=f"acc_{number}", kind=kind
        )

    sources = [
        [bucket(number, kind, balance) for kind, balance in held.items()]
        for number, held in enumerate(holdings)
    ]
    into = {kind: bucket(99, kind, 17) for held in holdings for kind in held}
    lines = merge_rules.lines(sources, into)
    assert sum(line.amount for line in lines) == 0
    for kind, target in into.items():
        moved = sum(held.get(kind, 0) for held in holdings)
        arrived = [line for line in lines if line.bucket.kind == kind and line.amount > 0]
        assert sum(line.amount for line in arrived) == moved
        if moved:
            assert arrived[-1].balance_after == target.balance + moved
    assert all(line.balance_after == 0 for line in lines if line.amount < 0)
    assert merge_rules.merged_cash(lines) == sum(held.get("cash", 0) for held in holdings)


def test_a_new_target_takes_the_common_root_and_the_least_depth() -> None:
    one, two = standing(number=1, root="r", depth=2), standing(number=2, root="r", depth=1)
    other = standing(number=3, root="s", depth=0)
    assert merge_rules.new_target_place([one, two]) == ("r", 1)
    assert merge_rules.new_target_place([one, other]) == (None, 0)


# Reinvestments


def reinvest_case(
    rules: policy.Policy, account: Standing, amount: int | None = None, **more: Any
) -> reinvest_rules.Case:
    options: dict[str, Any] = {
        "period": "2026-Q4",
        "currency": account.currency,
        "legs": [(leg.bucket, leg.bps) for leg in rules.reinvest.legs],
        "done": False,
        "now": datetime(2026, 12, 20, tzinfo=UTC),
        **more,
    }
    if amount is None:
        amount = reinvest_rules.all_available(rules.reinvest, account)
    return reinvest_rules.Case(policy=rules.reinvest, account=account, amount=amount, **options)


@pytest.mark.parametrize(
    ("rules", "amount", "moved"),
    [
        (CLASSIC, 1_000_001, [("position:contracts", 750_001), ("position:leaps", 250_000)]),
        (
            CONSTITUTION,
            1_000_001,
            [
                ("tax_reserve", 300_000),
                ("position:contracts", 525_001),
                ("position:leaps", 175_000),
            ],
        ),
        (
            CONSTITUTION,
            10,
            [("tax_reserve", 3), ("position:contracts", 5), ("position:leaps", 2)],
        ),
    ],
)
def test_presets_reinvest_into_what_they_say(
    rules: policy.Policy, amount: int, moved: list[tuple[str, int]]
) -> None:
    account = standing(type="revenue", ledger=4_000_000, base=3_000_000)
    case = reinvest_case(rules, account, amount)
    assert [(bucket, part) for bucket, _, part in case.moves] == moved
    assert codes(reinvest_rules.refusals(case)) == []


@given(st.integers(1, MAX_AMOUNT), st.integers(0, 9999), whole_shares())
def test_a_reinvestment_moves_all_of_its_amount(amount: int, tax: int, bps: list[int]) -> None:
    legs = [(f"leg {number}", share) for number, share in enumerate(bps)]
    moves = reinvest_rules.moves(amount, tax, legs)
    assert sum(part for _, _, part in moves) == amount
    assert (moves[0][0] == "tax_reserve") == (tax > 0)


@pytest.mark.parametrize(
    ("rules", "figures", "amount", "more", "refused"),
    [
        (CLASSIC, {}, 999_999, {}, ["below_minimum"]),
        (CLASSIC, {}, 1_000_000, {}, []),
        (CLASSIC, {}, 3_850_000, {}, []),
        (CLASSIC, {}, 3_850_001, {}, ["insufficient_available"]),
        (CLASSIC, {"min_balance": 1_000_000}, 3_000_001, {}, ["insufficient_available"]),
        (CLASSIC, {"ledger": 300_000_000}, 100_000_001, {}, ["above_maximum"]),
        (CLASSIC, {"type": "generation"}, 1_000_000, {}, ["not_eligible"]),
        (CLASSIC, {}, 1_000_000, {"period": "2027-Q1"}, ["period_not_open"]),
        (CLASSIC, {}, 1_000_000, {"period": "2026-Q3"}, []),
        (CLASSIC, {}, 1_000_000, {"done": True}, ["already_reinvested"]),
        (CLASSIC, {}, 1_000_000, {"currency": "EUR"}, ["currency_mismatch"]),
        (CLASSIC, {}, 1_000_000, {"legs": [("position:leaps", 9000)]}, ["shares_invalid"]),
        (CLASSIC, {"status": "suspended"}, 1_000_000, {}, ["account_suspended"]),
        (CONSTITUTION, {}, 2, {}, ["amount_too_small"]),
        (HALVING, {}, 2_309_999, {}, ["below_minimum"]),
        (HALVING, {}, 2_310_000, {}, []),
        (HALVING, {}, 3_272_500, {}, []),
        (HALVING, {}, 3_272_501, {}, ["above_maximum"]),
    ],
)
def test_a_reinvestment_is_refused_for_what_is_wrong(
    rules: policy.Policy,
    figures: dict[str, Any],
    amount: int,
    more: dict[str, Any],
    refused: list[str],
) -> None:
    account = standing(**{"type": "revenue", "ledger": 4_000_000, "base": 3_000_000, **figures})
    case = reinvest_case(rules, account, amount, **more)
    assert codes(reinvest_rules.refusals(case)) == refused


@given(st.sampled_from(sorted(PRESETS)), amounts, amounts, amounts, amounts)
def test_all_that_is_available_can_be_reinvested_or_is_too_little(
    name: str, money: int, base: int, holds: int, minimum: int
) -> None:
    account = standing(
        type="revenue", ledger=money, base=base, holds=min(holds, money), min_balance=minimum
    )
    refused = codes(reinvest_rules.refusals(reinvest_case(PRESETS[name], account)))
    assert set(refused) <= {"below_minimum", "amount_too_small"}


@pytest.mark.parametrize(
    ("period", "day", "opened"),
    [
        ("2026-Q4", datetime(2026, 12, 14, tzinfo=UTC), False),
        ("2026-Q4", datetime(2026, 12, 15, tzinfo=UTC), True),
        ("2026-Q1", datetime(2026, 3, 14, tzinfo=UTC), False),
        ("2026-Q1", datetime(2026, 4, 1, tzinfo=UTC), True),
        ("0000-Q1", datetime(2026, 1, 1, tzinfo=UTC), True),
        ("9999-Q4", datetime(2026, 1, 1, tzinfo=UTC), False),
        ("next", datetime(2026, 1, 1, tzinfo=UTC), False),
    ],
)
def test_a_quarter_opens_on_the_day_of_the_policy(period: str, day: datetime, opened: bool) -> None:
    assert reinvest_rules.is_open(period, HALVING.reinvest.opens, day) is opened


@pytest.mark.parametrize(
    ("day", "quarter"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-Q1"),
        (datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), "2026-Q1"),
        (datetime(2026, 4, 1, tzinfo=UTC), "2026-Q2"),
        (datetime(2026, 12, 31, tzinfo=UTC), "2026-Q4"),
    ],
)
def test_quarters_are_those_of_the_calendar(day: datetime, quarter: str) -> None:
    assert events.quarter_of(int(day.timestamp() * 1000)) == quarter
    assert reinvest_rules.is_open(quarter, None, day)


# Policies


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_presets_are_those_of_the_contract(name: str) -> None:
    own, shipped = (
        msgspec.json.decode((folder / f"{name}.json").read_bytes())
        for folder in (policies.PRESETS, Path("certification/contract/presets"))
    )
    assert own == shipped == policy.document(PRESETS[name])
    policy.check_shape(PRESETS[name], "")
    policy.check_rules(PRESETS[name], "")


@pytest.mark.parametrize(
    ("part", "change", "pointer"),
    [
        ("fork", {"legs": [policy.ForkLeg(type="same", bps=1)]}, "/fork/legs"),
        ("merge", {"sources_min": 10, "sources_max": 9}, "/merge/sources_min"),
        ("reinvest", {"amount_min_major": 2_000_000}, "/reinvest/amount_min_major"),
        ("reinvest", {"share_bps_min": 9, "share_bps_max": 8}, "/reinvest/share_bps_min"),
        (
            "reinvest",
            {"legs": [policy.ReinvestLeg(bucket="position:leaps", bps=5000)] * 2},
            "/reinvest/legs",
        ),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(
    part: str, change: dict[str, Any], pointer: str
) -> None:
    changed = msgspec.structs.replace(getattr(CLASSIC, part), **change)
    with pytest.raises(Problem, match="policy_invalid") as caught:
        policy.check_rules(msgspec.structs.replace(CLASSIC, **{part: changed}), "/policy")
    assert caught.value.errors[0]["pointer"] == f"/policy{pointer}"


# Lineage


def edges(births: dict[str, str], ends: dict[str, str]) -> Any:
    return lambda account: Edges(parent_id=births.get(account), merged_into_id=ends.get(account))


@pytest.mark.parametrize(
    ("births", "ends", "expected"),
    [
        ({}, {}, None),
        ({"c": "p"}, {}, "p"),
        ({"c": "p"}, {"p": "x", "x": "y"}, "y"),
        ({"c": "p"}, {"p": "c"}, None),
        ({"c": "p", "p": "g"}, {"p": "c"}, "g"),
        ({"c": "p", "p": "g"}, {"p": "c", "g": "c"}, None),
        ({"c": "p"}, {"c": "p"}, "p"),
    ],
)
def test_who_stands_for_the_parent(
    births: dict[str, str], ends: dict[str, str], expected: str | None
) -> None:
    assert lineage.effective_parent("c", edges(births, ends)) == expected
