"""What a merge refuses: wrong sources, wrong targets, and accounts that are not free to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.context import Actor, Context


def _refused(
    ctx: Context,
    ends: tuple[Sequence[Json], Json],
    problem: str,
    *,
    by: Actor | None = None,
) -> None:
    """Merge sources into a target; it must be this problem and change none of the accounts."""
    sources, target = ends
    accounts = list({account["id"]: account for account in (*sources, target)}.values())
    reader = None if by is None else ctx.manager
    before = ctx.arrange.picture(*accounts, by=reader)
    body = growing.merge_body(list(sources), target)
    reply = growing.forked(ctx, (by or ctx.customer).call("mergeAccounts", body=body))
    ctx.is_problem(reply, problem)
    ctx.arrange.expect_same(before, f"A merge refused as {problem} changed an account", reply)


@check(
    "functional/merge-rules/no-source-counts-twice",
    title="A source named twice, or a target among its sources, is refused",
    failure_title="A merge counts an account twice or merges it into itself",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "getAccount"],
    modules=(Module.GROWTH,),
    defects=["merge-takes-a-source-twice", "merge-into-itself"],
)
@pytest.mark.parametrize("case", ["duplicate", "target"])
def check_no_source_counts_twice(ctx: Context, case: str) -> None:
    """Whether each is 422 with its problem and changes nothing.

    Why: Both stood in the public code of the original; each credits money that was never there.
    How: Name one source twice; name the target among the sources; compare all accounts.
    Fails when: The answer is not duplicate_source or target_in_sources, or anything changed.
    Remedy: Compare ids before anything is read into sums.
    """
    sources, target = growing.mergeable(ctx, wanted=2)
    if case == "target":
        _refused(ctx, ([*sources[:-1], target], target), "target_in_sources")
        return
    if growing.policy(ctx, target["type"])["merge"]["sources_max"] < 2:
        ctx.not_exercised("the policy merges one source at a time")
    _refused(ctx, ([sources[0], *sources[:-1]], target), "duplicate_source")


@check(
    "functional/merge-rules/one-owner-one-currency",
    title="Accounts of different owners or currencies do not merge",
    failure_title="A merge mixes owners or currencies",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO"],
    operations=["mergeAccounts"],
    modules=(Module.GROWTH,),
    identities=("customer", "customer2", "manager"),
    defects=["merge-mixes-owners", "merge-mixes-currencies"],
)
@pytest.mark.parametrize("case", ["owner", "currency"])
def check_one_owner_one_currency(ctx: Context, case: str) -> None:
    """Whether each is 422 with its problem and changes nothing.

    Why: A merge across owners is theft, one across currencies an exchange without a rate.
    How: As a manager, merge accounts of two customers; as the customer, of two currencies.
    Fails when: The answer is not owner_mismatch or currency_mismatch, or anything changed.
    Remedy: Compare owner and currency of every source with the target's.
    """
    sources, target = growing.mergeable(ctx)
    if case == "owner":
        foreign = ctx.arrange.account(owner=ctx.customer2, type=target["type"], funds=50)
        _refused(ctx, (sources, foreign), "owner_mismatch", by=ctx.manager)
        return
    codes = [row["code"] for row in ctx.declared("currencies")]
    other = next((code for code in codes if code != target["currency"]), None)
    if other is None:
        ctx.not_exercised("the deployment declares one currency only")
    _refused(
        ctx,
        (sources, ctx.arrange.account(type=target["type"], currency=other)),
        "currency_mismatch",
    )


@check(
    "functional/merge-rules/only-free-accounts-merge",
    title="An account that is suspended, closed or has a pending hold does not merge",
    failure_title="A merge ends an account that is not free to go",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "SYS-ACC"],
    operations=["mergeAccounts", "updateAccount", "closeAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager"),
    defects=["merges-in-steps", "merge-ignores-holds", "suspended-may-merge"],
)
@pytest.mark.parametrize("case", ["hold", "suspended-source", "suspended-target", "closed-target"])
def check_only_free_accounts_merge(ctx: Context, case: str) -> None:
    """Whether each is 409 with its problem and changes nothing.

    Why: A hold that settles after the merge books money on an account that has ended.
    How: Place a hold on a source; suspend a source, then the target; close the target; merge.
    Fails when: The answer is not pending_holds or account_not_active, or anything changed.
    Remedy: Check state and holds of all accounts in the transaction that merges.
    """
    sources, target = growing.mergeable(ctx)
    problem = "account_not_active"
    if case == "hold":
        ctx.arrange.hold(sources[0], 5)
        problem = "pending_holds"
    elif case == "suspended-source":
        ctx.arrange.suspend(sources[0])
    elif case == "suspended-target":
        ctx.arrange.suspend(target)
    else:
        target = ctx.arrange.account(type=target["type"])
        ctx.arrange.close(target, expect=200)
    _refused(ctx, (sources, target), problem)


@check(
    "functional/merge-rules/number-and-value-of-sources",
    title="Too many sources, and sources without any value, are refused",
    failure_title="A merge takes more sources than the policy allows, or merges nothing",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["mergeAccounts"],
    modules=(Module.GROWTH,),
    defects=["merge-takes-any-number", "empty-accounts-merge"],
)
@pytest.mark.parametrize("case", ["too-many", "empty"])
def check_number_and_value_of_sources(ctx: Context, case: str) -> None:
    """Whether the bounds of the policy hold, and empty accounts are told to close instead.

    Why: A bound that is not kept is no bound; a merge of nothing ends accounts for nothing.
    How: One source more than sources_max or the declared limit; sources with zero.
    Fails when: The answer is not too_many_sources or nothing_to_merge, or anything changed.
    Remedy: Count the sources against policy and limits; add their total values.
    """
    account_type, rules = growing.target_type(ctx)
    target = ctx.arrange.account(type=account_type, funds=10)
    limit = ctx.declared("limits").get("merge_sources_max", 10)
    counts = {
        "too-many": min(rules["merge"]["sources_max"], limit) + 1,
        "empty": growing.source_count(ctx, rules, 2),
    }
    funds = 0 if case == "empty" else 10
    sources = [ctx.arrange.account(type=account_type, funds=funds) for _ in range(counts[case])]
    problem = "nothing_to_merge" if case == "empty" else "too_many_sources"
    _refused(ctx, (sources, target), problem)
