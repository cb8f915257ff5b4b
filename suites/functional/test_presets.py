"""The policies that come with the contract, each put in force and held to its own arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing, trial_policy
from certification.checks import check
from certification.contract.document import read_schema
from certification.model import Json, Module, Severity
from certification.oracle import growth

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context

PRESETS = ("classic", "constitution-1.3", "halving")


def _as_shipped(name: str) -> Callable[[Json], None]:
    """Return a change that turns a policy into a preset, under the name that it already has."""

    def change(document: Json) -> None:
        preset: Json = read_schema(f"presets/{name}.json")
        preset.pop("description", None)
        document |= preset | {member: document[member] for member in ("name", "version")}

    return change


@check(
    "functional/presets/each-is-worked-out",
    title="Under each policy of the contract accounts fork, merge and reinvest as it says",
    failure_title="Under a policy of the contract accounts grow otherwise than it says",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=[
        "putGrowthPolicy",
        "openSystem",
        "forkAccount",
        "mergeAccounts",
        "reinvestAccount",
        "listGrowthCandidates",
    ],
    modules=(Module.GROWTH,),
    identities=("customer", "admin"),
    grants=("configuration",),
    alone=True,
    defects=["halves-are-rounded-up"],
)
@pytest.mark.parametrize("preset", PRESETS)
def check_each_is_worked_out(ctx: Context, preset: str) -> None:
    """Whether edge, legs, merge and reinvestment follow the preset, with odd amounts.

    Why: The rules that accounts were promised are these three; a deployment that can carry only
        the one it was tried with cannot change its policy.
    How: Put the preset in force. Fork one unit below the edge, then above it by odd units; merge
        accounts in mode policy; reinvest as much as the bounds allow; compare with the arithmetic.
    Fails when: A refusal, an amount or a leg differs from what the preset gives.
    Remedy: Evaluate every member of the policy document; assume none of them.
    """
    with trial_policy.under(ctx, _as_shipped(preset)):
        _fork(ctx, preset)
        _merge(ctx, preset)
        _reinvest(ctx, preset)


def _fork(ctx: Context, preset: str) -> None:
    poor, _, least = growing.seedling(ctx)
    growing.endow(ctx, poor, least - 1)
    before = ctx.arrange.picture(poor)
    reply = ctx.customer.call(
        "forkAccount", path={"id": poor["id"]}, body={}, problem="not_eligible"
    )
    ctx.arrange.expect_same(before, "A refused fork changed the account", reply)
    # An amount that the shares of the preset do not divide evenly.
    ripe = growing.ripe(ctx, extra=4 if preset == "halving" else 3)
    reply = growing.fork(ctx, ripe.account)
    shown = [(row["type"], row["balances"]["ledger"]) for row in reply.body["children"]]
    expected = [(leg.to, leg.amount) for leg in ripe.decision.legs]
    ctx.equal(shown, expected, f"The children under {preset}", reply)
    left = ripe.account["balances"]["ledger"] - ripe.decision.amount
    ctx.arrange.expect_balances(ripe.account, f"The parent under {preset}", ledger=left)


def _merge(ctx: Context, preset: str) -> None:
    """Ask in mode policy for a merge of accounts of no family: only some presets let them."""
    account_type, rules = growing.target_type(ctx)
    count = growing.source_count(ctx, rules, 2)
    sources = [ctx.arrange.account(funds=1_000 + n) for n in range(count)]
    target = ctx.arrange.account(type=account_type)
    standings = [growing.standing(source) for source in sources]
    reasons = growth.merge_reasons(rules, standings, account_type, growth.Kinship())
    body = growing.merge_body(sources, target, mode="policy")
    reply = ctx.customer.call("mergeAccounts", body=body)
    if reasons:
        ctx.is_problem(reply, reasons)
        return
    ctx.has_status(growing.forked(ctx, reply), 201)
    cash = sum(source["balances"]["ledger"] for source in sources)
    ctx.arrange.expect_balances(target, f"The target under {preset}", ledger=cash)


def _reinvest(ctx: Context, preset: str) -> None:
    ready = growing.reinvestable(ctx)
    path = {"id": ready.account["id"]}
    reply = ctx.customer.call("reinvestAccount", path=path, body=ready.body(ctx), expect=201)
    held = growing.buckets(ctx.arrange.read(ready.account))
    expected = {leg.to: leg.amount for leg in ready.decision.legs if leg.amount}
    left = ready.account["balances"]["ledger"] - ready.amount
    expected |= {"cash": left} if left else {}
    ctx.equal(held, expected, f"The buckets after a reinvestment under {preset}", reply)
    least = growth.minor(ready.policy["reinvest"]["amount_min_major"], growing.exponent(ctx))
    if least > 1:
        earlier = growth.quarter_before(ready.period)
        body = ready.body(ctx, least - 1) | {"period": earlier}
        problems = {"below_minimum", "insufficient_available", "amount_too_small"}
        ctx.customer.call("reinvestAccount", path=path, body=body, problem=problems)
