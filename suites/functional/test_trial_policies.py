"""Rules that the policy in force may not have, tried under policies of the suite's own.

Each check runs without neighbours, puts a policy of its own in force as the admin, and puts the
former ones back at its end, whatever came out.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING

import pytest

from certification import growing, trial_policy
from certification.checks import check
from certification.model import Json, Module, Severity
from certification.oracle import growth

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context

trial = partial(
    check,
    modules=(Module.GROWTH,),
    identities=("customer", "admin"),
    grants=("configuration",),
    alone=True,
)
SMALL_SYSTEM = [("generation", 4_000), ("revenue", 3_000), ("compounding", 3_000)]


def _plain(document: Json) -> None:
    """Make a policy that forks the surplus from 5 major units on, half and half."""
    legs = [{"type": "generation", "bps": 5_000}, {"type": "compounding", "bps": 5_000}]
    document["base_mode"] = "opening"
    document["fork"] = {
        "account_types": ["generation"],
        "trigger": "surplus",
        "comparison": "at_least",
        "threshold_major": 5,
        "fork_amount": "surplus",
        "fraction_bps": None,
        "legs": legs,
        "min_remaining_major": 0,
        "cool_down_s": 0,
        "per_day_max": None,
        "max_depth": None,
        "matures": None,
    }


def _with_fork(**rules: object) -> Callable[[Json], None]:
    def change(document: Json) -> None:
        _plain(document)
        document["fork"] |= rules

    return change


RULES = {
    "halving": _with_fork(
        trigger="balance",
        comparison="more_than",
        threshold_major=7,
        fork_amount="fraction_of_balance",
        fraction_bps=5_000,
        legs=[{"type": "same", "bps": 10_000}],
        min_remaining_major=2,
    ),
    "small-systems": _with_fork(
        fork_amount="threshold",
        threshold_major=10,
        legs=[{"type": name, "bps": bps} for name, bps in SMALL_SYSTEM],
    ),
    "gain": _with_fork(
        trigger="gain_since_last_fork",
        comparison="more_than",
        threshold_major=3,
        fork_amount="fraction_of_balance",
        fraction_bps=1_111,
    ),
}


@trial(
    "functional/trial-policies/every-trigger",
    title="Every trigger, comparison and fork amount of the contract works as its policy says",
    failure_title="A policy that is put in force is not the one that forks are decided by",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["putGrowthPolicy", "forkAccount", "getGrowthPolicy"],
    defects=["policy-in-force-is-ignored"],
)
@pytest.mark.parametrize("rules", sorted(RULES))
def check_every_trigger(ctx: Context, rules: str) -> None:
    """Whether the edge, the amount, the legs and the second fork follow the policy just put.

    Why: A deployment that declares one policy and forks by another passes under its default only.
    How: Put a policy in force; try one unit below its edge, then at it with an odd unit; then once
        more right after; compare with the policy's arithmetic.
    Fails when: A refusal, an amount or a leg differs from what the policy gives.
    Remedy: Read the policy in force in the transaction of every fork.
    """
    with trial_policy.under(ctx, RULES[rules]):
        poor, _, least = growing.seedling(ctx)
        growing.endow(ctx, poor, least - 1)
        path = {"id": poor["id"]}
        ctx.customer.call("forkAccount", path=path, body={}, problem="not_eligible")
        ripe = growing.ripe(ctx, extra=1)
        reply = growing.fork(ctx, ripe.account)
        shown = [(row["type"], row["balances"]["ledger"]) for row in reply.body["children"]]
        expected = [(leg.to, leg.amount) for leg in ripe.decision.legs]
        ctx.equal(shown, expected, f"The children under the policy {rules}", reply)
        left = ctx.arrange.read(ripe.account)
        history = growth.History(ages_s=(0.0,), ledger_after=left["balances"]["ledger"])
        again = growing.judge(ctx, left, history)
        path, body = {"id": left["id"]}, {"dry_run": True}
        if again.eligible:
            ctx.customer.call("forkAccount", path=path, body=body, expect=200)
        else:
            ctx.customer.call("forkAccount", path=path, body=body, problem=again.reasons)


@trial(
    "functional/trial-policies/waiting-times",
    title="Cool-down and daily limit hold an account back, and say for how long",
    failure_title="An account forks during its cool-down or beyond its daily limit",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "forkAccount"],
    defects=["cool-down-is-ignored"],
)
@pytest.mark.parametrize("rule", ["cool-down", "per-day"])
def check_waiting_times(ctx: Context, rule: str) -> None:
    """Whether the fork that is too early is 409 with Retry-After, and changes nothing.

    Why: The limits are there to keep a runaway job from splitting an account to dust.
    How: A cool-down of an hour, then two forks a day; fork, bring the money again, fork.
    Fails when: The early fork is not 409 fork_cooldown_active with a Retry-After within the
        limit, or changed anything, or another account is held back too.
    Remedy: Compare with the account's own earlier forks in the transaction.
    """
    rules = {"cool_down_s": 3_600} if rule == "cool-down" else {"per_day_max": 2}
    limit_s = 3_600 if rule == "cool-down" else growth.DAY_S
    with trial_policy.under(ctx, _with_fork(**rules)):
        ripe = growing.ripe(ctx)
        growing.fork(ctx, ripe.account)
        growing.endow(ctx, ripe.account, ripe.decision.amount)
        if rule == "per-day":
            growing.fork(ctx, ripe.account)
            growing.endow(ctx, ripe.account, ripe.decision.amount)
        before = ctx.arrange.picture(ripe.account)
        path = {"id": ripe.account["id"]}
        early = ctx.customer.call("forkAccount", path=path, body={}, problem="fork_cooldown_active")
        wait_s = early.retry_after_s
        ctx.expect(
            wait_s is not None and 0 < wait_s <= limit_s,
            "The refusal does not say when the account may fork again",
            expected=f"Retry-After of 1 to {limit_s} s",
            observed=wait_s,
            on=[early],
        )
        ctx.arrange.expect_same(before, "An early fork changed the account", early)
        growing.fork(ctx, growing.ripe(ctx).account)


@trial(
    "functional/trial-policies/depth-ends",
    title="No account at the greatest depth of the policy forks",
    failure_title="A lineage grows deeper than the policy allows",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "forkAccount"],
    defects=["depth-has-no-end"],
)
def check_depth_ends(ctx: Context) -> None:
    """Whether a ripe child is refused where max_depth is 1, and its parent was not.

    Why: Without an end, dust accounts multiply for ever.
    How: max_depth 1: fork a root; bring the money to its child; fork the child; compare.
    Fails when: The child's fork is not 422 lineage_depth_exceeded, or changed anything.
    Remedy: Compare the parent's depth with max_depth before anything else is decided.
    """
    with trial_policy.under(ctx, _with_fork(max_depth=1)):
        child = growing.fork(ctx, growing.ripe(ctx).account).body["children"][0]
        growing.endow(ctx, child, 10 * growth.minor(5, growing.exponent(ctx)))
        before = ctx.arrange.picture(child)
        path = {"id": child["id"]}
        reply = ctx.customer.call(
            "forkAccount", path=path, body={}, problem="lineage_depth_exceeded"
        )
        ctx.arrange.expect_same(before, "A refused fork changed the child", reply)


def _taxed(document: Json) -> None:
    document["base_mode"] = "opening"
    document["reinvest"] |= {
        "account_types": ["revenue"],
        "opens": None,
        "amount_min_major": 0,
        "amount_max_major": 1_000_000,
        "share_bps_min": 0,
        "share_bps_max": 10_000,
        "tax_reserve_bps": 3_000,
        "legs": [
            {"bucket": "position:contracts", "bps": 7_500},
            {"bucket": "position:leaps", "bps": 2_500},
        ],
    }


@trial(
    "functional/trial-policies/tax-reserve-first",
    title="The tax reserve is set aside first, and the rest goes to the legs",
    failure_title="A reinvestment leaves the tax reserve out, or takes it from the legs twice",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "reinvestAccount", "getAccount"],
    defects=["tax-reserve-is-skipped"],
)
def check_tax_reserve_first(ctx: Context) -> None:
    """Whether 30 % go to tax_reserve and 75/25 of what is left to the positions.

    Why: Money that is owed in tax must not be invested.
    How: Reinvest under a policy with a reserve of 30 %; compare every bucket.
    Fails when: A bucket differs from the policy's arithmetic, or the total changed.
    Remedy: Split amount into reserve and rest, then the rest by the legs.
    """
    with trial_policy.under(ctx, _taxed):
        ready = growing.reinvestable(ctx)
        path, body = {"id": ready.account["id"]}, ready.body(ctx)
        reply = ctx.customer.call("reinvestAccount", path=path, body=body, expect=201)
        expected = {leg.to: leg.amount for leg in ready.decision.legs}
        expected["cash"] = ready.account["balances"]["ledger"] - ready.amount
        after = growing.buckets(ctx.arrange.read(ready.account))
        ctx.equal(after, expected, f"The buckets after reinvesting {ready.amount}", reply)


def _maturing(document: Json) -> None:
    _plain(document)
    document["fork"]["matures"] = {"age_s": 94_608_000, "multiple_bps": 20_000}
    document["merge"] = {
        "sources_min": 1,
        "sources_max": 10,
        "target_types": ["compounding"],
        "eligible": "matured",
        "threshold_major": None,
    }


@trial(
    "functional/trial-policies/only-the-matured-merge",
    title="Children of a fork merge by the policy once they have matured, not before",
    failure_title="Children merge before they have matured, or cannot afterwards",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "forkAccount", "mergeAccounts"],
    defects=["merge-asks-nothing"],
)
def check_only_the_matured_merge(ctx: Context) -> None:
    """Whether doubling every child is what it takes where the policy says 20,000 basis points.

    Why: The small systems of a fork are meant to grow before they are gathered in.
    How: Fork; merge the children in mode policy; double each child; merge again.
    Fails when: The first is not 422 below_merge_threshold or changed anything, or the second is
        refused.
    Remedy: Compare the children's total value with what they opened with, and age with age_s.
    """
    with trial_policy.under(ctx, _maturing):
        children = growing.fork(ctx, growing.ripe(ctx).account).body["children"]
        target = ctx.arrange.account(type="compounding")
        body = growing.merge_body(children, target, mode="policy")
        before = ctx.arrange.picture(target, *children)
        reply = ctx.customer.call("mergeAccounts", body=body, problem="below_merge_threshold")
        ctx.arrange.expect_same(before, "A refused merge changed an account", reply)
        for child in children:
            growing.endow(ctx, child, child["balances"]["ledger"])
        growing.merge(ctx, children, target, mode="policy")


def _contributed(document: Json) -> None:
    _plain(document)
    document["base_mode"] = "contributed"


@trial(
    "functional/trial-policies/contributions-are-base",
    title="Under base_mode contributed, deposits raise the base and withdrawals lower it",
    failure_title="Own contributions count as growth",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "createTransaction", "forkAccount"],
    defects=["contributions-count-as-growth"],
)
def check_contributions_are_base(ctx: Context) -> None:
    """Whether the base follows deposits and withdrawals, never below 0, and nothing else.

    Why: Money that was paid in has not grown; a fork of it would only shuffle savings.
    How: Deposit, withdraw, transfer in; compare base_amount; fork what was transferred in.
    Fails when: base_amount differs after a step, or the fork takes another amount.
    Remedy: Move base_amount with every deposit and withdrawal, in its transaction.
    """
    with trial_policy.under(ctx, _contributed):
        unit = growth.minor(1, growing.exponent(ctx))
        account = ctx.arrange.account(base_amount=10 * unit)
        steps: list[tuple[Callable[[], object], int]] = [
            (lambda: ctx.arrange.deposit(account, 30 * unit), 40 * unit),
            (
                lambda: ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, unit)),
                39 * unit,
            ),
            (lambda: growing.endow(ctx, account, 25 * unit), 39 * unit),
        ]
        for number, (step, base) in enumerate(steps, start=1):
            step()
            shown = ctx.arrange.read(account)["base_amount"]
            ctx.equal(shown, base, f"base_amount after step {number}")
        reply = growing.fork(ctx, account)
        surplus = (30 - 1 + 25 - 39) * unit
        ctx.equal(reply.body["event"]["amount"], surplus, "What forked: the surplus", reply)


@trial(
    "functional/trial-policies/policies-are-versioned",
    title="A policy never changes: another needs another version, and past events keep theirs",
    failure_title="A policy is rewritten in place, or past events change theirs",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "getGrowthPolicy", "forkAccount", "getGrowthEvent"],
    defects=["policies-can-be-rewritten", "policies-need-not-add-up"],
)
def check_policies_are_versioned(ctx: Context) -> None:
    """Whether version and ETag rise, other types keep theirs, and a used name stays its document.

    Why: An event that names a policy must lead to the document it was decided by.
    How: Put a policy, fork, put version 2; read the event; send other rules under version 2; send
        shares that do not add up, and a wrong shape.
    Fails when: Version or ETag do not rise, another type or the event changed, or the last three
        are not 422 policy_invalid twice and 400 validation_failed.
    Remedy: Store policies under name and version for ever; keep a row of what is in force.
    """
    other = ctx.customer.call("getGrowthPolicy", path={"type": "revenue"}, expect=200)
    with trial_policy.under(ctx, _plain, "generation") as first:
        second = deepcopy(first)
        before = trial_policy.put_policy(ctx, "generation", first)
        event = growing.fork(ctx, growing.ripe(ctx).account).body["event"]
        second["version"] = 2
        second["fork"]["threshold_major"] = 6
        after = trial_policy.put_policy(ctx, "generation", second)
        ctx.expect(
            after.body["version"] > before.body["version"] and after.etag != before.etag,
            "Version and ETag after another policy",
            expected=f"more than {before.body['version']}",
            observed=(after.body["version"], after.etag),
            on=[before, after],
        )
        read = growing.get(ctx, "getGrowthEvent", event["id"])
        refs = (read.body["policy_ref"], after.body["policy_ref"])
        named = tuple(f"{first['name']}@{number}" for number in (1, 2))
        ctx.equal(refs, named, "The refs of the past event and of the policy in force", read, after)
        ctx.arrange.let_writes_arrive()
        still = ctx.customer.call("getGrowthPolicy", path={"type": "revenue"}, expect=200)
        ctx.equal(still.etag, other.etag, "The policy of another type", other, still)
        for broken, problem in _broken(second):
            reply = trial_policy.put_policy(ctx, "generation", broken, problem=problem)
            now = ctx.customer.call("getGrowthPolicy", path={"type": "generation"}, expect=200)
            ctx.equal(now.etag, after.etag, "The policy after a refused one", reply, now)


def _broken(document: Json) -> list[tuple[Json, str]]:
    rewritten, unequal, shapeless = (deepcopy(document) for _ in range(3))
    rewritten["fork"]["threshold_major"] = 8
    unequal["version"] = shapeless["version"] = 3
    unequal["fork"]["legs"][0]["bps"] -= 1
    shapeless["fork"]["trigger"] = "when it feels right"
    return [
        (rewritten, "policy_invalid"),
        (unequal, "policy_invalid"),
        (shapeless, "validation_failed"),
    ]
