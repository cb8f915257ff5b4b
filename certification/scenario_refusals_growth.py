"""How each problem code of growth is provoked, under any policy or under one of the check's own."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from certification import growing
from certification.oracle import growth
from certification.scenario_refusals import Provoke, Trial, deposit_body, on, post

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json

SOURCES_MAX = 20
"""The most accounts that are opened to have one too many."""


def _merge(ctx: Context, sources: list[Json], target: Json, **fields: Any) -> Trial:
    body = growing.merge_body(sources, target, **fields)
    send = partial(ctx.customer.call, "mergeAccounts", body=body)
    distinct = {account["id"]: account for account in (*sources, target)}
    return Trial(send=send, accounts=list(distinct.values()))


def _reinvest(ctx: Context, account: Json, body: Json) -> Trial:
    return on(ctx, "reinvestAccount", account, body, account)


def _account_merged(ctx: Context) -> Trial:
    sources, target = growing.mergeable(ctx, wanted=1)
    growing.merge(ctx, sources, target)
    return post(ctx, deposit_body(sources[0]), sources[0], target)


def _account_not_active(ctx: Context) -> Trial:
    sources, target = growing.mergeable(ctx, wanted=1)
    ctx.arrange.suspend(sources[0])
    return _merge(ctx, sources, target)


def _duplicate_source(ctx: Context) -> Trial:
    sources, target = growing.mergeable(ctx, wanted=1)
    return _merge(ctx, [*sources, sources[0]], target)


def _target_in_sources(ctx: Context) -> Trial:
    sources, target = growing.mergeable(ctx, wanted=1)
    return _merge(ctx, [*sources, target], target)


def _nothing_to_merge(ctx: Context) -> Trial:
    account_type, rules = growing.target_type(ctx)
    count = growing.source_count(ctx, rules, 1)
    sources = [ctx.arrange.account(type=account_type) for _ in range(count)]
    return _merge(ctx, sources, ctx.arrange.account(type=account_type, funds=5))


def _too_many_sources(ctx: Context) -> Trial:
    account_type, rules = growing.target_type(ctx)
    count = int(rules["merge"]["sources_max"]) + 1
    if count > SOURCES_MAX:
        ctx.not_exercised(f"the policy takes {count - 1} sources")
    sources = [ctx.arrange.account(type=account_type) for _ in range(count - 1)]
    sources.append(ctx.arrange.account(type=account_type, funds=5))
    trial = _merge(ctx, sources, ctx.arrange.account(type=account_type))
    return Trial(send=trial.send, accounts=[sources[-1], trial.accounts[-1]])


def _not_eligible(ctx: Context) -> Trial:
    account, _, least = growing.seedling(ctx)
    growing.endow(ctx, account, least - 1)
    return on(ctx, "forkAccount", account, {}, account)


def _explicit(ctx: Context, *, amount: int, shares_bps: tuple[int, ...]) -> Trial:
    account = growing.ripe(ctx).account
    legs = [{"type": "generation", "bps": bps} for bps in shares_bps]
    money = ctx.arrange.money(amount, account["currency"])
    body = {"mode": "explicit", "amount": money, "legs": legs}
    return on(ctx, "forkAccount", account, body, account, by=ctx.manager)


def _already_reinvested(ctx: Context) -> Trial:
    ready = growing.reinvestable(ctx)
    path = {"id": ready.account["id"]}
    ctx.customer.call("reinvestAccount", path=path, body=ready.body(ctx), expect=201)
    return _reinvest(ctx, ready.account, ready.body(ctx))


def _period_not_open(ctx: Context) -> Trial:
    ready = growing.reinvestable(ctx)
    later = growth.quarter_after(growth.quarter_after(ready.period))
    return _reinvest(ctx, ready.account, ready.body(ctx) | {"period": later})


GROWTH: Mapping[str, Provoke] = {
    "account_merged": _account_merged,
    "account_not_active": _account_not_active,
    "already_reinvested": _already_reinvested,
    "amount_too_small": partial(_explicit, amount=1, shares_bps=(5_000, 5_000)),
    "duplicate_source": _duplicate_source,
    "not_eligible": _not_eligible,
    "nothing_to_merge": _nothing_to_merge,
    "period_not_open": _period_not_open,
    "shares_invalid": partial(_explicit, amount=100, shares_bps=(5_000, 4_999)),
    "target_in_sources": _target_in_sources,
    "too_many_sources": _too_many_sources,
}
"""Codes that every policy knows."""


# -- codes that a policy may do without --------------------------------------------------------


def own_rules(document: Json) -> None:
    """Change a policy in place into one under which each of its codes can be provoked."""
    document["base_mode"] = "opening"
    document["fork"] = {
        "account_types": ["generation"],
        "trigger": "surplus",
        "comparison": "at_least",
        "threshold_major": 5,
        "fork_amount": "surplus",
        "fraction_bps": None,
        "legs": [{"type": "generation", "bps": 10_000}],
        "min_remaining_major": 0,
        "cool_down_s": 3_600,
        "per_day_max": None,
        "max_depth": 1,
        "matures": None,
    }
    document["merge"] |= {
        "sources_min": 1,
        "target_types": ["compounding"],
        "eligible": "fork_family",
        "threshold_major": 1_000,
    }
    document["reinvest"] |= {
        "account_types": ["revenue"],
        "opens": None,
        "amount_min_major": 10,
        "amount_max_major": 20,
        "share_bps_min": 0,
        "share_bps_max": 10_000,
    }


def _fork_cooldown_active(ctx: Context) -> Trial:
    ripe = growing.ripe(ctx)
    growing.fork(ctx, ripe.account)
    growing.endow(ctx, ripe.account, ripe.decision.amount)
    return on(ctx, "forkAccount", ripe.account, {}, ripe.account)


def _lineage_depth_exceeded(ctx: Context) -> Trial:
    ripe = growing.ripe(ctx)
    child = growing.fork(ctx, ripe.account).body["children"][0]
    growing.endow(ctx, child, ripe.decision.amount)
    return on(ctx, "forkAccount", child, {}, child)


def _below_merge_threshold(ctx: Context) -> Trial:
    sources = [ctx.arrange.account(funds=500)]
    return _merge(ctx, sources, ctx.arrange.account(type="compounding"), mode="policy")


def _out_of_bounds(ctx: Context, major: int) -> Trial:
    digits = growing.exponent(ctx)
    account = ctx.arrange.account(type="revenue", funds=growth.minor(100, digits))
    rules = growing.policy(ctx, "revenue")
    money = ctx.arrange.money(growth.minor(major, digits), account["currency"])
    return _reinvest(ctx, account, {"period": growing.period_now(account, rules), "amount": money})


def _policy_invalid(ctx: Context) -> Trial:
    path = {"type": "generation"}
    shown = ctx.admin.call("getGrowthPolicy", path=path, expect=200)
    document = deepcopy(shown.body["policy"])
    document["version"] += 1
    document["initial_split"] = [{"type": "generation", "bps": 9_999}]
    send = partial(ctx.admin.call, "putGrowthPolicy", path=path, if_match=shown.etag)
    return Trial(send=partial(send, body={"policy": document}))


UNDER_OWN_RULES: Mapping[str, Provoke] = {
    "above_maximum": partial(_out_of_bounds, major=21),
    "below_merge_threshold": _below_merge_threshold,
    "below_minimum": partial(_out_of_bounds, major=9),
    "fork_cooldown_active": _fork_cooldown_active,
    "lineage_depth_exceeded": _lineage_depth_exceeded,
    "policy_invalid": _policy_invalid,
}
"""Codes that a policy need not know: provoked under `own_rules`."""
