"""Arranges growth for checks: accounts that the declared policy lets fork, merge and reinvest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from certification.oracle import growth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

TYPES = ("generation", "revenue", "compounding")
BASE_MAJOR = 1_000
"""The base of an account that shall fork, unless the policy keeps more in it."""

TRANSITION_S = 10.0
"""How long an asynchronous growth operation may take before a check says that it cannot tell."""
REPEATS_MAX = 100
SOURCES_MAX = 10
"""The most accounts that the contract lets a merge take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ripe:
    """An account that the policy lets fork now."""

    account: Json
    policy: Json
    decision: growth.Decision
    history: growth.History = growth.NEVER_FORKED


def policy(ctx: Context, account_type: str) -> Json:
    """Return the policy document in force for an account type."""
    ctx.arrange.let_writes_arrive()
    reply = ctx.customer.call("getGrowthPolicy", path={"type": account_type}, expect=200)
    document: Json = reply.body["policy"]
    return document


def exponent(ctx: Context, currency: str | None = None) -> int:
    """Return how many digits a currency has behind its point, as declared."""
    code = currency or ctx.arrange.currency
    rows = [row for row in ctx.declared("currencies") if row["code"] == code]
    return int(rows[0]["exponent"])


def amount_max(ctx: Context) -> int:
    """Return the largest amount that the deployment takes."""
    return int(ctx.declared("limits", "amount_max"))


def depth_max(ctx: Context) -> int | None:
    """Return the deployment's own limit of depth, None without one."""
    limit = ctx.declared("limits").get("depth_max")
    return None if limit is None else int(limit)


def standing(account: Json) -> growth.Standing:
    """Return what the oracle needs to know of an account, from its wire form."""
    balances = account["balances"]
    return growth.Standing(
        type=account["type"],
        exponent=balances["exponent"],
        ledger=balances["ledger"],
        holds=balances["holds"],
        base_amount=account["base_amount"],
        buffer=balances["buffer"],
        min_balance=account["min_balance"],
        total_value=balances["total_value"],
        depth=account["depth"],
        status=account["status"],
    )


def judge(
    ctx: Context, account: Json, history: growth.History = growth.NEVER_FORKED
) -> growth.Decision:
    """Return what the oracle says of a fork of this account now."""
    rules = policy(ctx, account["type"])
    return growth.judge_fork(rules, standing(account), history, depth_max=depth_max(ctx))


def endow(ctx: Context, account: Json, amount: int) -> None:
    """Bring money into an account in a way that leaves its base alone, whatever `base_mode` is.

    NOT_EXERCISED where the deployment takes no such amount.
    """
    if amount <= 0:
        return
    ctx.arrange.within_limits(amount)
    if policy(ctx, account["type"])["base_mode"] == "opening":
        ctx.arrange.deposit(account, amount)
        return
    feeder = ctx.arrange.account(
        funds=amount, currency=account["currency"], withdrawal_allowed=True
    )
    ctx.arrange.transaction(ctx.arrange.transfer_body(feeder, account, amount))


def seedling(ctx: Context) -> tuple[Json, Json, int]:
    """Return an empty account of a type that forks, its policy, and the least cash for a fork.

    NOT_EXERCISED where the policy in force lets no account fork within the deployment's limits.
    """
    for account_type in TYPES:
        rules = policy(ctx, account_type)
        least_base = growth.minor(BASE_MAJOR, exponent(ctx))
        kept = growth.minor(rules["fork"]["min_remaining_major"], exponent(ctx))
        base = max(least_base, kept)
        planned = growth.Standing(
            type=account_type,
            exponent=exponent(ctx),
            ledger=0,
            base_amount=base,
            buffer=base * 500 // 10_000,
        )
        least = growth.least_ledger(rules, planned, most=amount_max(ctx) // 2)
        if least is not None:
            fields: Json = {"base_amount": base, "buffer_bps": 500, "withdrawal_allowed": True}
            account = ctx.arrange.account(type=account_type, **fields)
            return account, rules, least
    return ctx.not_exercised("no account forks under the policies in force")


def ripe(ctx: Context, *, extra: int = 0) -> Ripe:
    """Return an account with the least cash for a fork, and `extra` minor units on top."""
    account, rules, least = seedling(ctx)
    endow(ctx, account, least + extra)
    fresh = ctx.arrange.read(account)
    decision = judge(ctx, fresh)
    if not decision.eligible:
        ctx.undecided(f"the account is not what the policy asks for: {', '.join(decision.reasons)}")
    return Ripe(account=fresh, policy=rules, decision=decision)


def fork(
    ctx: Context, account: Json, body: Json | None = None, *, by: Actor | None = None
) -> Reply:
    """Fork an account that must fork; book the children for sweep and clean-up."""
    actor = by or ctx.customer
    reply = actor.call("forkAccount", path={"id": account["id"]}, body=body or {})
    return forked(ctx, _made(ctx, reply))


def _made(ctx: Context, reply: Reply) -> Reply:
    """Fail unless the answer is 201; where a second person must approve, nothing can be tried."""
    if reply.problem_code == "approval_required":
        ctx.not_exercised("the deployment asks a second person to approve growth")
    ctx.has_status(reply, 201)
    return reply


def forked(ctx: Context, reply: Reply) -> Reply:
    """Book what a fork or a merge opened, if the answer is one that did; return the answer.

    Where growth is declared asynchronous, wait until its accounts are out of their transition.
    """
    if reply.status == 201:
        opened = list(reply.body.get("children", []))
        if reply.body.get("target_created"):
            opened = [reply.body["target"]]
        for account in opened:
            ctx.created("account", account["id"], ctx.customer.role)
        if ctx.capabilities.get("consistency", {}).get("growth") == "async":
            ends = [reply.body[name] for name in ("parent", "target") if name in reply.body]
            for account in ends + opened:
                _out_of_transition(ctx, account)
    return reply


def _out_of_transition(ctx: Context, account: Json) -> None:
    def steady() -> bool:
        read = ctx.manager if "manager" in ctx.sessions else ctx.customer
        return ctx.arrange.read(account, by=read).get("transition") is None

    if not ctx.until(steady, deadline_s=TRANSITION_S):
        ctx.undecided(f"{account['id']} is in transition for more than {TRANSITION_S:g} s")


def patiently(ctx: Context, operation: str, **request: Any) -> Reply:
    """Send as the customer; repeat while an account is in the transition of another request."""
    for _ in range(REPEATS_MAX):
        reply = ctx.customer.call(operation, **request)
        if reply.problem_code == "approval_required":
            ctx.not_exercised("the deployment asks a second person to approve growth")
        if reply.problem_code != "account_in_transition":
            return reply
        ctx.wait(TRANSITION_S / REPEATS_MAX)
    return ctx.undecided(f"an account is in transition for more than {TRANSITION_S:g} s")


def get(ctx: Context, operation: str, id_: str) -> Reply:
    """Read one object as the customer, once earlier writes can be read."""
    ctx.arrange.let_writes_arrive()
    return ctx.customer.call(operation, path={"id": id_}, expect=200)


def forking(ctx: Context, account: Json) -> Callable[[], Reply]:
    """Return an action that asks for a fork by the policy, for a burst."""
    path = {"id": account["id"]}
    return lambda: forked(ctx, patiently(ctx, "forkAccount", path=path, body={}))


def merge_body(
    sources: list[Json], target: Json | None, *, mode: str = "explicit", **fields: Any
) -> Json:
    """Return the body of a merge; without a target it opens a compounding account."""
    to: Json = {"create_target": {"type": "compounding"}}
    if target is not None:
        to = {"target_id": target["id"]}
    return {"mode": mode, "sources": [source["id"] for source in sources], **to, **fields}


def merging(ctx: Context, sources: list[Json], target: Json | None) -> Callable[[], Reply]:
    """Return an action that asks for a merge, for a burst."""
    body = merge_body(sources, target)
    return lambda: forked(ctx, patiently(ctx, "mergeAccounts", body=body))


def merge(ctx: Context, sources: list[Json], target: Json | None, **fields: Any) -> Reply:
    """Merge accounts that must merge; NOT_EXERCISED for more than the deployment takes at once."""
    most = sources_max(ctx)
    if len(sources) > most:
        ctx.not_exercised(f"limits.merge_sources_max is {most}")
    body = merge_body(sources, target, **fields)
    return forked(ctx, _made(ctx, ctx.customer.call("mergeAccounts", body=body)))


def target_type(ctx: Context) -> tuple[str, Json]:
    """Return an account type that accounts merge into, and its policy."""
    for account_type in reversed(TYPES):
        rules = policy(ctx, account_type)
        if account_type in rules["merge"]["target_types"]:
            return account_type, rules
    return ctx.not_exercised("no account is a target under the policies in force")


def sources_max(ctx: Context) -> int:
    """Return how many accounts the deployment merges at a time, whatever the policy says."""
    return int(ctx.declared("limits").get("merge_sources_max", SOURCES_MAX))


def source_count(ctx: Context, rules: Json, wanted: int) -> int:
    """Return how many sources policy and deployment take, as near to what is wanted as they allow.

    NOT_EXERCISED where the policy asks for more than the deployment takes.
    """
    least, most = int(rules["merge"]["sources_min"]), int(rules["merge"]["sources_max"])
    limit = sources_max(ctx)
    if limit < least:
        ctx.not_exercised(f"limits.merge_sources_max is {limit}, the policy asks for {least}")
    return max(least, min(wanted, most, limit))


def mergeable(ctx: Context, *, wanted: int = 2, funds: int = 1_001) -> tuple[list[Json], Json]:
    """Return sources with distinct cash and a target with some of its own."""
    account_type, rules = target_type(ctx)
    fields: Json = {"type": account_type, "base_amount": 500, "withdrawal_allowed": True}
    count = source_count(ctx, rules, wanted)
    sources = [ctx.arrange.account(funds=funds * 2**number, **fields) for number in range(count)]
    return sources, ctx.arrange.account(funds=77, **fields)


def period_now(account: Json, rules: Json) -> str:
    """Return a quarter that may be reinvested by now, on the target's own clock."""
    now = datetime.fromisoformat(account["created_at"])
    current = growth.quarter(now.year, now.month)
    is_open = growth.opened(rules, month=now.month, day=now.day)
    return current if is_open else growth.quarter_before(current)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reinvestable:
    """An account whose policy lets it reinvest this amount of this period."""

    account: Json
    policy: Json
    period: str
    amount: int
    decision: growth.Decision

    def body(self, ctx: Context, amount: int | None = None, **fields: Any) -> Json:
        """Return the body that reinvests the amount, or another."""
        money = ctx.arrange.money(amount or self.amount, self.account["currency"])
        return {"period": self.period, "amount": money, **fields}


def reinvestable(ctx: Context, *, spare: int = 0) -> Reinvestable:
    """Return an account that can reinvest, with about as little cash as its policy asks for.

    The amount is one whose legs need rounding, but whose tax reserve is the same rounded down or
    to the nearest unit. `spare` is cash beyond, as far as the policy's least share leaves room.
    """
    for account_type in TYPES:
        rules = policy(ctx, account_type)
        amount = _amount_to_reinvest(rules["reinvest"], exponent(ctx))
        if account_type not in rules["reinvest"]["account_types"] or amount > amount_max(ctx) // 4:
            continue
        return _endowed(ctx, account_type, (rules, amount, spare))
    return ctx.not_exercised("no account reinvests under the policies in force")


def _amount_to_reinvest(rules: Mapping[str, Any], digits: int) -> int:
    amount = max(growth.minor(rules["amount_min_major"], digits), 1_000) + 1
    while amount * rules["tax_reserve_bps"] % 10_000 >= 5_000:
        amount += 1
    return amount


def _endowed(ctx: Context, account_type: str, terms: tuple[Json, int, int]) -> Reinvestable:
    rules, amount, spare = terms
    most, least = (rules["reinvest"][f"share_bps_{end}"] for end in ("max", "min"))
    free = -(-amount * 10_000 // max(most, 1)) + spare
    if least:
        free = min(free, amount * 10_000 // least)
    fields: Json = {"base_amount": 20_000, "buffer_bps": 500, "withdrawal_allowed": True}
    account = ctx.arrange.account(type=account_type, **fields)
    endow(ctx, account, free + 1_000)
    account = ctx.arrange.read(account)
    decision = growth.judge_reinvest(rules, standing(account), amount, done=False)
    if not decision.eligible:
        ctx.undecided(f"the account is not what the policy asks for: {', '.join(decision.reasons)}")
    return Reinvestable(
        account=account,
        policy=rules,
        period=period_now(account, rules),
        amount=amount,
        decision=decision,
    )


def buckets(account: Json) -> dict[str, int]:
    """Return what is in each bucket of an account that is not empty."""
    shown = account["balances"].get("buckets", {"cash": account["balances"]["ledger"]})
    return {name: amount for name, amount in shown.items() if amount}


def with_cash(account: growth.Standing, ledger: int) -> growth.Standing:
    """Return the standing with other cash, everything else as it was."""
    return replace(
        account, ledger=ledger, total_value=account.total_value + ledger - account.ledger
    )
