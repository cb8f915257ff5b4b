"""Merges, reinvestments, policies and lineage, rule by rule."""

from datetime import UTC, datetime
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
    lineage,
    merge_rules,
    policies,
    policy,
    reinvest_rules,
)
from reference_impl.growth.lineage import Edges
from reference_impl.growth.standing import Standing
from reference_impl.problems import Problem
from tests.reference_impl.growth.cases import (
    CLASSIC,
    CONSTITUTION,
    HALVING,
    PRESETS,
    amounts,
    codes,
    forked,
    standing,
    whole_shares,
)


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
