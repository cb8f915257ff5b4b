"""Forks in mode explicit: a manager's own amount and shares, split exactly and within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity
from certification.oracle import growth, rounding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.context import Context
    from certification.target.reply import Reply

HALVES = [("generation", 5_000), ("compounding", 5_000)]
SPLITS = {
    # Amounts whose left-over units do not go to the last leg; the second is worked by hand in
    # the contract's design: 250 at 50/45/5 is 125 + 113 + 12.
    "halves": (1_001, HALVES),
    "tie": (250, [("generation", 5_000), ("revenue", 4_500), ("compounding", 500)]),
    "thirds": (
        1_000_001,
        [("revenue", 3_333), ("revenue", 3_333), ("generation", 3_334)],
    ),
    "last": (1_009, [("generation", 1_000), ("generation", 4_500), ("compounding", 4_500)]),
    "alone": (777, [("compounding", 10_000)]),
}


def _explicit(ctx: Context, amount: int, legs: Sequence[tuple[str, int]], **fields: object) -> Json:
    shares = [{"type": name, "bps": bps} for name, bps in legs]
    return {"mode": "explicit", "amount": ctx.arrange.money(amount), "legs": shares, **fields}


def _opened(reply: Reply) -> list[tuple[str, int]]:
    """Return type and cash of each child."""
    return [(row["type"], row["balances"]["ledger"]) for row in reply.body["children"]]


@check(
    "functional/explicit-forks/shares-are-split-exactly",
    title="A manager's own shares are split exactly, left-over units by the largest remainder",
    failure_title="A manager's shares lose a unit, or give it to another leg",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO"],
    operations=["forkAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager"),
    defects=["remainder-to-the-last-leg", "legs-lose-the-remainder"],
)
@pytest.mark.parametrize("case", sorted(SPLITS))
def check_shares_are_split_exactly(ctx: Context, case: str) -> None:
    """Whether amounts that do not divide evenly come out as the rounding rule says.

    Why: F8: two systems that round differently never reconcile.
    How: Fork amounts with ties, thirds and many legs in mode explicit; compare every leg with the
        rule, worked out from amount and basis points alone.
    Fails when: A leg differs, the legs do not add up, or the event does not say explicit.
    Remedy: Largest remainder, ties to the lower index, in integers.
    """
    amount, legs = SPLITS[case]
    ripe = growing.ripe(ctx)
    if growing.standing(ripe.account).surplus < amount:
        growing.endow(ctx, ripe.account, amount)
    body = _explicit(ctx, amount, legs, reason="agreed")
    reply = growing.fork(ctx, ripe.account, body, by=ctx.manager)
    parts = rounding.split(amount, [bps for _, bps in legs])
    expected = [(name, part) for (name, _), part in zip(legs, parts, strict=True)]
    ctx.equal(_opened(reply), expected, f"{amount} in shares of {legs}", reply)
    event = reply.body["event"]
    ctx.equal((event["mode"], event["amount"]), ("explicit", amount), "Mode and amount", reply)
    ledger = ctx.arrange.read(ripe.account)["balances"]["ledger"]
    moved = ctx.arrange.entries(ripe.account)[-1]["amount"]
    ctx.equal(moved, -amount, "What left the parent", reply)
    ctx.equal(reply.body["parent"]["balances"]["ledger"], ledger, "The parent, read again", reply)


@check(
    "functional/explicit-forks/bounds-are-kept",
    title="A fork with own shares keeps to the surplus, the whole, the unit and the currency",
    failure_title="A fork with own shares goes beyond what it may",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["forkAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager"),
    defects=["explicit-takes-more-than-the-surplus", "shares-need-not-add-up", "empty-legs-open"],
)
@pytest.mark.parametrize("case", ["surplus", "more-shares", "fewer-shares", "unit", "currency"])
def check_bounds_are_kept(ctx: Context, case: str) -> None:
    """Whether each way to ask for too much is refused with its problem and changes nothing.

    Why: Shares of 101 % create money; a leg of nothing is an account without any.
    How: One unit beyond the surplus; shares of 9,999 and 10,001; one unit in two legs; another
        currency; compare the account each time.
    Fails when: The answer is not the problem of the case, or anything changed.
    Remedy: Check sum of shares, currency, surplus and each leg before booking.
    """
    ripe = growing.ripe(ctx)
    surplus = growing.standing(ripe.account).surplus
    bodies = {
        "surplus": (_explicit(ctx, surplus + 1, HALVES), "not_eligible"),
        "more-shares": (_explicit(ctx, 100, [HALVES[0], ("revenue", 5_001)]), "shares_invalid"),
        "fewer-shares": (_explicit(ctx, 100, [HALVES[0], ("revenue", 4_999)]), "shares_invalid"),
        "unit": (_explicit(ctx, 1, HALVES), "amount_too_small"),
        "currency": (_explicit(ctx, 100, HALVES), "currency_mismatch"),
    }
    body, problem = bodies[case]
    if case == "currency":
        codes = [row["code"] for row in ctx.declared("currencies")]
        others = [code for code in codes if code != ripe.account["currency"]]
        if not others:
            ctx.not_exercised("the deployment declares one currency only")
        body["amount"]["currency"] = others[0]
    before = ctx.arrange.picture(ripe.account)
    path = {"id": ripe.account["id"]}
    reply = ctx.manager.call("forkAccount", path=path, body=body, problem=problem)
    ctx.arrange.expect_same(before, f"A refused fork ({case}) changed the account", reply)


@check(
    "functional/explicit-forks/parent-keeps-its-floor",
    title="The parent of a fork keeps the greater of its buffer and the policy's remainder",
    failure_title="A fork takes what the parent must keep",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["forkAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager"),
    defects=["fork-ignores-the-floor"],
)
def check_parent_keeps_its_floor(ctx: Context) -> None:
    """Whether a manager's override stops at the floor: one unit less is refused, the floor is kept.

    Why: F2: the override lifts the bound of the surplus, not the reserve of the account.
    How: With override, ask for everything but floor - 1, compare; then for everything but floor.
    Fails when: The first is not 422 not_eligible or changed something, or the second leaves another
        ledger than the floor.
    Remedy: Check ledger - F >= max(buffer, min_remaining) in every mode.
    """
    ripe = growing.ripe(ctx)
    now = growing.standing(ripe.account)
    floor = growth.floor_of(ripe.policy["fork"], now)
    if floor == 0:
        ctx.not_exercised("the policy asks for no floor")
    path = {"id": ripe.account["id"]}
    before = ctx.arrange.picture(ripe.account)
    body = _explicit(ctx, now.ledger - floor + 1, HALVES, override=True, reason="trial")
    reply = ctx.manager.call("forkAccount", path=path, body=body, problem="not_eligible")
    ctx.arrange.expect_same(before, "A fork below the floor changed the account", reply)
    body = _explicit(ctx, now.ledger - floor, HALVES, override=True, reason="trial")
    growing.fork(ctx, ripe.account, body, by=ctx.manager)
    ctx.arrange.expect_balances(ripe.account, "At the floor", ledger=floor, available=floor)
