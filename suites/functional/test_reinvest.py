"""Reinvestment: cash becomes positions of the same account, exactly and once a period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import growth

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply


def _send(ctx: Context, ready: growing.Reinvestable, body: Json, **expected: Any) -> Reply:
    path = {"id": ready.account["id"]}
    return ctx.customer.call("reinvestAccount", path=path, body=body, **expected)


def _expect_moved(ctx: Context, ready: growing.Reinvestable, reply: Reply) -> None:
    """Fail unless cash and buckets are what the policy makes of the amount."""
    before, after = ready.account, ctx.arrange.read(ready.account)
    expected = growing.buckets(before)
    expected["cash"] -= ready.amount
    for leg in ready.decision.legs:
        expected[leg.to] = expected.get(leg.to, 0) + leg.amount
    ctx.equal(growing.buckets(after), expected, "The buckets after the reinvestment", reply)
    total = (before["balances"]["total_value"], before["base_amount"])
    shown = (after["balances"]["total_value"], after["base_amount"])
    ctx.equal(shown, total, "Total value and base after the reinvestment", reply)


@check(
    "functional/reinvest/moves-cash-to-positions",
    title="A reinvestment moves exactly the amount from cash to the policy's buckets",
    failure_title="A reinvestment changes the value of the account, or fills other buckets",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["reinvestAccount", "getGrowthPolicy", "getAccount", "getTransaction", "getLineage"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["reinvest-lets-the-money-out", "legs-lose-the-remainder"],
)
def check_moves_cash_to_positions(ctx: Context) -> None:
    """Whether cash falls by the amount, the buckets rise by it, and the total stays.

    Why: R1, R2: the original lowered only the available balance and posted a withdrawal.
    How: Reinvest an amount that needs rounding; compare each bucket with tax reserve and legs of
        the policy; compare total value, kind and lines of the transaction, and the family.
    Fails when: A bucket, the total or the base differs, the entry is no `reinvest` or does not
        sum to zero, or an account was opened.
    Remedy: One entry inside the account: a debit of cash, a credit of each bucket.
    """
    ready = growing.reinvestable(ctx)
    reply = _send(ctx, ready, ready.body(ctx), expect=201)
    _expect_moved(ctx, ready, reply)
    booked = ctx.arrange.read_transaction({"id": reply.body["event"]["transaction_id"]})
    lines = sum(line["amount"] for line in booked["lines"])
    ctx.equal((booked["kind"], lines), ("reinvest", 0), "Kind and sum of the entry", reply)
    where = {line["account_id"] for line in booked["lines"]}
    ctx.equal(where, {ready.account["id"]}, "The accounts of the entry", reply)
    family = ctx.arrange.pages("getLineage", path={"id": ready.account["id"]})
    ctx.equal(len(family), 1, "The family after a reinvestment", reply)


@check(
    "functional/reinvest/once-a-period",
    title="A period is reinvested once, whatever the key",
    failure_title="A period is reinvested twice",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["reinvestAccount"],
    modules=(Module.GROWTH,),
    defects=["reinvest-twice-a-period"],
)
def check_once_a_period(ctx: Context) -> None:
    """Whether the second reinvestment of one period is refused and changes nothing.

    Why: R3: the job that runs at the end of a quarter runs twice one day.
    How: Reinvest, bring the same cash again, reinvest the same period under another key; compare.
    Fails when: The second is not 409 already_reinvested, or changed anything.
    Remedy: Make (account, period) unique in the database.
    """
    ready = growing.reinvestable(ctx)
    _send(ctx, ready, ready.body(ctx), expect=201)
    growing.endow(ctx, ready.account, ready.amount)
    before = ctx.arrange.picture(ready.account)
    reply = _send(ctx, ready, ready.body(ctx), problem="already_reinvested")
    ctx.arrange.expect_same(before, "A second reinvestment changed the account", reply)


@check(
    "functional/reinvest/keeps-the-reserve",
    title="A reinvestment leaves the buffer, holds and the future alone",
    failure_title="A reinvestment takes what is kept, promised or not yet due",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["reinvestAccount", "getGrowthPolicy"],
    modules=(Module.GROWTH,),
    defects=["reinvest-ignores-the-buffer", "future-periods-reinvest"],
)
@pytest.mark.parametrize("case", ["buffer", "held", "future", "currency"])
def check_keeps_the_reserve(ctx: Context, case: str) -> None:
    """Whether one unit too much, a period to come and another currency are refused.

    Why: The buffer is the reserve of the account; a period in the future reinvests money ahead.
    How: One unit into the buffer, by balance and by a hold; the quarter after the next; another
        currency. Compare the account.
    Fails when: The answer is not a problem that the rules give for the case, or anything changed.
    Remedy: Check period, currency and ledger - holds - buffer inside the transaction.
    """
    _expect_refusal(ctx, case)


@check(
    "functional/reinvest/keeps-to-its-bounds",
    title="A reinvestment below the least or above the greatest amount is refused",
    failure_title="A reinvestment goes beyond the bounds of the policy",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["reinvestAccount", "getGrowthPolicy"],
    modules=(Module.GROWTH,),
    defects=["reinvest-ignores-the-minimum"],
)
@pytest.mark.parametrize("case", ["minimum", "maximum"])
def check_keeps_to_its_bounds(ctx: Context, case: str) -> None:
    """Whether the bounds of the declared policy are kept to the unit.

    Why: The bounds are what the owner agreed to; off by one, or unasked, they are others.
    How: One unit below amount_min_major and above amount_max_major; compare the account.
    Fails when: The answer is not a problem that the rules give for the case, or anything changed.
    Remedy: Compare the amount with both bounds in minor units of the account's currency.
    """
    _expect_refusal(ctx, case)


def _expect_refusal(ctx: Context, case: str) -> None:
    ready = growing.reinvestable(ctx)
    body, problems = _beyond(ctx, ready, case)
    before = ctx.arrange.picture(ready.account)
    reply = _send(ctx, ready, body, problem=problems)
    ctx.arrange.expect_same(before, f"A refused reinvestment ({case}) changed it", reply)


def _beyond(ctx: Context, ready: growing.Reinvestable, case: str) -> tuple[Json, set[str]]:
    """Return a body beyond the bound of the case, and the problems that the rules give for it."""
    if case == "future":
        after_next = growth.quarter_after(growth.quarter_after(ready.period))
        return ready.body(ctx) | {"period": after_next}, {"period_not_open"}
    if case == "currency":
        codes = [row["code"] for row in ctx.declared("currencies")]
        other = next((code for code in codes if code != ready.account["currency"]), None)
        if other is None:
            ctx.not_exercised("the deployment declares one currency only")
        return ready.body(ctx) | {"amount": ctx.arrange.money(ready.amount, other)}, {
            "currency_mismatch"
        }
    amount = _amount_beyond(ctx, ready, case)
    account = growing.standing(ctx.arrange.read(ready.account))
    decision = growth.judge_reinvest(ready.policy, account, amount, done=False)
    aim = {"minimum": "below_minimum", "maximum": "above_maximum"}
    if aim.get(case, "insufficient_available") not in decision.reasons:
        ctx.not_exercised(f"the policy in force has no bound for the case {case}")
    return ready.body(ctx, amount), set(decision.reasons)


def _amount_beyond(ctx: Context, ready: growing.Reinvestable, case: str) -> int:
    rules, digits = ready.policy["reinvest"], growing.exponent(ctx)
    if case == "minimum":
        least = growth.minor(rules["amount_min_major"], digits)
        if least < 2:
            ctx.not_exercised("the policy asks for no least amount")
        return least - 1
    if case == "maximum":
        most = growth.minor(rules["amount_max_major"], digits)
        if most >= growing.amount_max(ctx) // 2:
            ctx.not_exercised("the greatest amount of the policy is beyond the deployment's")
        growing.endow(ctx, ready.account, 2 * most)
        return most + 1
    if case == "held":
        ctx.arrange.hold(ready.account, 1)
    account = growing.standing(ctx.arrange.read(ready.account))
    return growth.reinvestable(account) + 1


@check(
    "functional/reinvest/all-that-is-available",
    title="all_available is ledger less holds and buffer, at most the policy's maximum",
    failure_title="all_available is another amount",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["reinvestAccount", "getGrowthPolicy"],
    modules=(Module.GROWTH,),
    defects=["all-available-forgets-holds"],
)
def check_all_that_is_available(ctx: Context) -> None:
    """Whether the amount leaves exactly holds and buffer in cash.

    Why: "Everything" is the request that people make; it must not touch what is promised.
    How: With a hold in place, ask for all_available as a dry run and for real; compare.
    Fails when: The amount is not ledger - holds - buffer, or the two differ.
    Remedy: Compute it from the balances of the transaction that books it.
    """
    ready = growing.reinvestable(ctx, spare=5_000)
    if ready.policy["reinvest"]["share_bps_max"] < 10_000:
        ctx.not_exercised("the policy lets only a share of it be reinvested")
    ctx.arrange.hold(ready.account, 321)
    account = growing.standing(ctx.arrange.read(ready.account))
    body: Json = {"period": ready.period, "all_available": True}
    trial = _send(ctx, ready, body | {"dry_run": True}, expect=200)
    reply = _send(ctx, ready, body, expect=201)
    amount = growth.reinvestable(account)
    ctx.equal(trial.body["amount"]["amount"], amount, "all_available, tried", trial)
    ctx.equal(reply.body["event"]["amount"], amount, "all_available", reply)
    kept = account.buffer + account.holds
    ctx.arrange.expect_balances(ready.account, "After everything", ledger=kept)


@check(
    "functional/reinvest/trial-changes-nothing",
    title="A dry run of a reinvestment says what it would do, and does nothing",
    failure_title="A dry run of a reinvestment books, or says something else",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["reinvestAccount"],
    modules=(Module.GROWTH,),
    defects=["reinvest-trial-books"],
)
def check_trial_changes_nothing(ctx: Context) -> None:
    """Whether dry_run answers 200, changes nothing, and does not use the period up.

    Why: A preview that books moves money that nobody decided on.
    How: Dry run; compare account and entries; reinvest the same period for real; compare both.
    Fails when: Anything changed, the period is used up, or amount, legs or facts differ.
    Remedy: End the dry run before the first write.
    """
    ready = growing.reinvestable(ctx)
    before = ctx.arrange.picture(ready.account)
    trial = _send(ctx, ready, ready.body(ctx, dry_run=True), expect=200)
    ctx.arrange.expect_same(before, "A dry run changed the account", trial)
    ctx.equal(trial.body["amount"]["amount"], ready.amount, "The amount of the preview", trial)
    facts = {name: trial.body["facts"][name] for name in ready.decision.facts}
    ctx.equal(facts, dict(ready.decision.facts), "The facts of the preview", trial)
    shown = {leg["bucket"]: leg["amount"] for leg in trial.body["legs"] if "bucket" in leg}
    legs = {leg.to: leg.amount for leg in ready.decision.legs if leg.to in shown}
    ctx.equal(shown, legs, "The legs of the preview", trial)
    reply = _send(ctx, ready, ready.body(ctx), expect=201)
    _expect_moved(ctx, ready, reply)
