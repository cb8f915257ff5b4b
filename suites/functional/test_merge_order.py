"""Order of merges: however accounts come together, they come to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.context import Context

ORDERS = {
    "together": (("a", "b", "c"),),
    "one-by-one": (("a",), ("b",), ("c",)),
    "pair-first": (("a", "b"), ("c",)),
    "pair-last": (("a",), ("b", "c")),
}


def _enough(ctx: Context, rules: Json, sources: list[Json]) -> list[Json]:
    """Add empty accounts, up to as many sources as the policy asks for."""
    missing = rules["merge"]["sources_min"] - len(sources)
    return sources + [ctx.arrange.account() for _ in range(missing)]


def _merge_in(ctx: Context, order: str) -> tuple[Json, list[Json]]:
    """Merge three sources into a target in this order; return the target and the sources."""
    account_type, rules = growing.target_type(ctx)
    most = rules["merge"]["sources_max"]
    if any(len(part) > most for part in ORDERS[order]):
        ctx.not_exercised(f"the policy merges at most {most} accounts at a time")
    fields: Json = {"type": account_type, "withdrawal_allowed": True}
    cash = {"a": 1_001, "b": 20_003, "c": 300_007}
    sources = {
        name: ctx.arrange.account(funds=amount, base_amount=amount // 3, **fields)
        for name, amount in cash.items()
    }
    target = ctx.arrange.account(funds=77, base_amount=500, **fields)
    for part in ORDERS[order]:
        growing.merge(ctx, _enough(ctx, rules, [sources[name] for name in part]), target)
    return ctx.arrange.read(target), [ctx.arrange.read(row) for row in sources.values()]


@check(
    "functional/merge-order/order-does-not-matter",
    title="Three accounts merged in any order give the same target",
    failure_title="What a target holds depends on the order of the merges",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "getAccount", "getLineage"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["only-the-last-merge-counts"],
)
@pytest.mark.parametrize("order", sorted(ORDERS))
def check_order_does_not_matter(ctx: Context, order: str) -> None:
    """Whether cash, base, total and the ends of the sources are the sum, however they came.

    Why: Merging is adding; if (A + B) + C is not A + (B + C), one of them lost something.
    How: Merge the same three amounts together, one by one and in pairs; compare the target with
        the sum, and each source's end.
    Fails when: A balance or the base differs from the sum, or a source is not merged into it.
    Remedy: Add to base and buckets; never set them.
    """
    target, sources = _merge_in(ctx, order)
    shown = [target["balances"][name] for name in ("ledger", "available", "total_value")]
    ctx.equal(shown, [321_088] * 3, f"The balances of a target merged {order}")
    known = growing.policy(ctx, target["type"])["base_mode"] == "opening"
    if known:
        ctx.equal(target["base_amount"], 500 + 321_011, f"The base of a target merged {order}")
    ends = {(row["status"], row["merged_into_id"]) for row in sources}
    ctx.equal(ends, {("merged", target["id"])}, "The ends of the sources")
    for source in sources:
        nodes = ctx.arrange.pages("getLineage", path={"id": source["id"]})
        into = [row["merged_into_id"] for row in nodes if row["account_id"] == source["id"]]
        ctx.equal(into, [target["id"]], "Where a source went, by its lineage")


def _reunited(ctx: Context, parent: Json, children: Sequence[Json]) -> tuple[list[Json], Json]:
    """Return what to merge into what, so that a forked family is one account again."""
    fitting = growing.target_type(ctx)[1]["merge"]["target_types"]
    family = [ctx.arrange.read(row) for row in (parent, *children)]
    target = next((row for row in family if row["type"] in fitting), None)
    if target is None:
        ctx.not_exercised("no member of a forked family is a target under the policy in force")
    sources = [row for row in family if row["id"] != target["id"]]
    rules = growing.policy(ctx, target["type"])
    if len(sources) > rules["merge"]["sources_max"]:
        ctx.not_exercised("a fork leaves more accounts than the policy merges")
    return _enough(ctx, rules, sources), target


@check(
    "functional/merge-order/fork-and-merge-back",
    title="A fork that is merged back leaves the total that was there before",
    failure_title="Forking and merging back creates or loses money",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "mergeAccounts", "getAccount"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["reunions-cost-a-unit"],
)
@pytest.mark.parametrize("extra", [0, 1, 7])
def check_fork_and_merge_back(ctx: Context, extra: int) -> None:
    """Whether a family that comes together again has what its root had, under other ids.

    Why: A ratio that rounds on the way out and again on the way back loses a unit each round.
    How: Fork an account with an odd amount; merge everybody into one of the family; compare the
        total with the one before, and the ids.
    Fails when: The total differs, another member keeps anything, or an id was used twice.
    Remedy: Move whole buckets in a merge; compute shares once, at the fork.
    """
    parent = growing.ripe(ctx, extra=extra).account
    before = parent["balances"]["total_value"]
    children = growing.fork(ctx, parent).body["children"]
    ids = [parent["id"], *(child["id"] for child in children)]
    ctx.equal(len(set(ids)), len(ids), "How many ids the family has")
    sources, target = _reunited(ctx, parent, children)
    reply = growing.merge(ctx, sources, target)
    after = ctx.arrange.read(target)["balances"]["total_value"]
    ctx.equal(after, before, "The total after fork and merge back", reply)
    left = [ctx.arrange.read(row)["balances"]["total_value"] for row in sources]
    ctx.equal(left, [0] * len(sources), "What the other members keep", reply)
