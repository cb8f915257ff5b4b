"""Arranging growth: amounts come from the declared policy, and a trial policy never stays."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from certification import growing, trial_policy
from certification.cleanup import Created, tidy_up
from certification.contract import document
from certification.oracle import growth
from certification.target.outcomes import ConnectionLost, Lost

CLASSIC: dict[str, Any] = json.loads(
    (Path(document.__file__).with_name("presets") / "classic.json").read_text(encoding="utf-8")
)


class Deployment:
    """Keeps a policy for each type, as GET and PUT of the contract do."""

    def __init__(self) -> None:
        self.in_force = {name: (1, deepcopy(CLASSIC)) for name in growing.TYPES}
        self.booked: list[tuple[str, str, str]] = []
        self.late = 0
        """So many of the next readings show the ETag before."""
        self.lost = 0
        """So many of the next requests have no answer."""

    def call(self, operation: str, **request: Any) -> Any:
        name = request["path"]["type"]
        version, policy = self.in_force[name]
        status = 200
        if self.lost:
            self.lost -= 1
            raise ConnectionLost(number=1, reason=Lost.DEADLINE, detail="nothing came")
        if operation == "putGrowthPolicy" and request["if_match"] != f'"{version}"':
            status = 412
        elif operation == "putGrowthPolicy":
            version, policy = version + 1, deepcopy(request["body"]["policy"])
            self.in_force[name] = (version, policy)
        elif self.late:
            self.late -= 1
            version -= 1
        body = {"policy": policy}
        return SimpleNamespace(status=status, etag=f'"{version}"', body=body, retry_after_s=None)


def context(deployment: Deployment) -> Any:
    actor = SimpleNamespace(call=deployment.call, session=deployment, role="customer")
    return SimpleNamespace(
        customer=actor,
        admin=actor,
        arrange=SimpleNamespace(let_writes_arrive=lambda: None),
        wait=lambda _s: None,
        created=lambda *booked: deployment.booked.append(booked),
        name=lambda what: f"run-{what}",
    )


def policies(deployment: Deployment) -> list[Any]:
    return [policy for _, policy in deployment.in_force.values()]


def change(policy: Any) -> None:
    policy["fork"]["threshold_major"] = 5


def test_a_trial_policy_is_in_force_inside_and_gone_afterwards() -> None:
    deployment = Deployment()
    with trial_policy.under(context(deployment), change) as trial:
        assert policies(deployment) == [trial] * 3
        assert trial["fork"]["threshold_major"] == 5
        assert trial["name"].startswith("trial-")
    assert policies(deployment) == [CLASSIC] * 3


def test_a_trial_policy_is_gone_after_a_check_that_fails() -> None:
    deployment = Deployment()

    def check() -> None:
        with trial_policy.under(context(deployment), change, "revenue"):
            assert deployment.in_force["generation"][1] == CLASSIC
            assert deployment.in_force["revenue"][1] != CLASSIC
            raise RuntimeError

    with pytest.raises(RuntimeError):
        check()
    assert policies(deployment) == [CLASSIC] * 3


@pytest.mark.parametrize(("late", "lost"), [(2, 0), (0, 2)])
def test_a_policy_is_put_back_until_it_is_in_force(late: int, lost: int) -> None:
    deployment = Deployment()
    with trial_policy.under(context(deployment), change, "revenue"):
        deployment.late, deployment.lost = late, lost
    assert policies(deployment) == [CLASSIC] * 3
    assert deployment.booked == []


def test_a_policy_that_cannot_be_put_back_is_left_behind() -> None:
    deployment = Deployment()
    with trial_policy.under(context(deployment), change, "revenue") as trial:
        deployment.late = 1_000
    assert deployment.booked == [("policy", "revenue", "customer")]

    deployment.late = 0
    sessions: Any = {"admin": deployment}
    created = Created(kind="policy", id="revenue", owner="customer")
    (left,) = tidy_up((created,), sessions, let_writes_arrive=lambda: None)
    assert (left.kind, left.id) == ("policy", "revenue")
    assert trial["name"] in left.detail

    deployment.in_force["revenue"] = (9, CLASSIC)
    assert tidy_up((created,), sessions, let_writes_arrive=lambda: None) == ()


def limited(**limits: int) -> Any:
    return SimpleNamespace(declared=lambda _: limits)


@pytest.mark.parametrize(("wanted", "count"), [(1, 2), (2, 2), (3, 3), (9, 4)])
def test_the_number_of_sources_stays_within_the_policy(wanted: int, count: int) -> None:
    rules = {"merge": {"sources_min": 2, "sources_max": 4}}
    assert growing.source_count(limited(), rules, wanted) == count


def test_the_number_of_sources_stays_within_what_the_deployment_takes() -> None:
    rules = {"merge": {"sources_min": 2, "sources_max": 4}}
    assert growing.source_count(limited(merge_sources_max=3), rules, 9) == 3


@pytest.mark.parametrize(
    ("created_at", "opens", "period"),
    [
        ("2026-11-21T03:00:00Z", None, "2026-Q4"),
        ("2026-11-21T03:00:00Z", {"month": 3, "day": 15}, "2026-Q3"),
        ("2026-12-15T00:00:00Z", {"month": 3, "day": 15}, "2026-Q4"),
        ("2026-01-02T03:00:00.123Z", {"month": 3, "day": 15}, "2025-Q4"),
    ],
)
def test_the_period_is_one_that_is_open_by_the_targets_clock(
    created_at: str, opens: Any, period: str
) -> None:
    rules = {"reinvest": {"opens": opens}}
    assert growing.period_now({"created_at": created_at}, rules) == period


def test_buckets_are_those_that_hold_something() -> None:
    balances = {"ledger": 5, "buckets": {"cash": 5, "tax_reserve": 0, "position:leaps": 7}}
    assert growing.buckets({"balances": balances}) == {"cash": 5, "position:leaps": 7}
    assert growing.buckets({"balances": {"ledger": 5}}) == {"cash": 5}
    assert growing.buckets({"balances": {"ledger": 0}}) == {}


def test_a_merge_names_its_target_or_opens_one() -> None:
    sources = [{"id": "a"}, {"id": "b"}]
    assert growing.merge_body(sources, {"id": "t"}) == {
        "mode": "explicit",
        "sources": ["a", "b"],
        "target_id": "t",
    }
    opening = growing.merge_body(sources, None, mode="policy")
    assert opening["create_target"] == {"type": "compounding"}
    assert "target_id" not in opening


@pytest.mark.parametrize("reserve", [0, 1, 3_000, 3_333, 9_999])
def test_the_amount_to_reinvest_has_one_tax_reserve_however_it_is_rounded(reserve: int) -> None:
    rules = cast("Any", {**CLASSIC["reinvest"], "tax_reserve_bps": reserve})
    amount = growing._amount_to_reinvest(rules, 2)
    reserved = growth.reinvest_legs(rules, amount)[0].amount if reserve else 0
    assert amount >= 1_000_000
    assert reserved == amount * reserve // 10_000
