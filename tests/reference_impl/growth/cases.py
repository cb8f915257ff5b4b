"""Policies and standings that the tests of the rules are made of."""

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from reference_impl import ledger
from reference_impl.config import MAX_AMOUNT
from reference_impl.growth import (
    fork_rules,
    policies,
    policy,
)
from reference_impl.growth.standing import Standing

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
