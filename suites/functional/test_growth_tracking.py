"""Growth tracking: lists, candidates and sums that agree with what grew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity
from certification.oracle import growth

if TYPE_CHECKING:
    from certification.context import Context


def _grown(ctx: Context) -> tuple[Json, list[Json]]:
    """Return an account that forked and then took its own child in, and the two events."""
    parent = growing.ripe(ctx).account
    fork = growing.fork(ctx, parent).body
    account_type, rules = growing.target_type(ctx)
    target = ctx.arrange.account(type=account_type)
    extra = growing.source_count(ctx, rules, 1) - 1
    others = [ctx.arrange.account(type=account_type, funds=3) for _ in range(extra)]
    merge = growing.merge(ctx, [ctx.arrange.read(parent), *others], target).body
    return parent, [fork["event"], merge["event"]]


@check(
    "functional/growth-tracking/event-filters",
    title="The list of growth events keeps to its filters, pages and order",
    failure_title="The list of growth events misses, repeats or mixes events",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["listGrowthEvents", "getGrowthEvent", "forkAccount", "mergeAccounts"],
    modules=(Module.GROWTH,),
    defects=["event-kinds-are-mixed"],
)
def check_event_filters(ctx: Context) -> None:
    """Whether kind, account, from_seq, direction and pages of one show exactly what they name.

    Why: Growth is tracked from this list; a filter that leaks counts somebody else's fork.
    How: Fork an account and merge it; list its events by account, kind, from_seq, backwards and
        one at a time; compare with the two events.
    Fails when: A list shows other events than its filters name, or in another order.
    Remedy: Apply every filter in the query that pages.
    """
    parent, events = _grown(ctx)
    fork, merge = (event["id"] for event in events)
    seq = events[1]["seq"]
    lists: tuple[tuple[Json, list[str]], ...] = (
        ({}, [fork, merge]),
        ({"sort": "-seq"}, [merge, fork]),
        ({"limit": 1}, [fork, merge]),
        ({"kind": "fork"}, [fork]),
        ({"kind": "merge"}, [merge]),
        ({"kind": "reinvest"}, []),
        ({"from_seq": seq}, [merge]),
        ({"from_seq": seq + 1}, []),
        ({"kind": "fork", "from_seq": seq}, []),
    )
    for query, expected in lists:
        rows = ctx.arrange.pages("listGrowthEvents", query={"account_id": parent["id"], **query})
        ctx.equal([row["id"] for row in rows], expected, f"Growth events by {query}")


@check(
    "functional/growth-tracking/candidates-of-every-kind",
    title="Candidates to reinvest and to merge are judged as a request is",
    failure_title="A candidate to reinvest or to merge is judged otherwise than a request",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["listGrowthCandidates", "reinvestAccount", "forkAccount"],
    modules=(Module.GROWTH,),
    defects=["candidates-spend-the-buffer", "candidates-count-the-parent"],
)
@pytest.mark.parametrize("kind", ["reinvest", "merge"])
def check_candidates_of_every_kind(ctx: Context, kind: str) -> None:
    """Whether a candidate's facts, amount and reasons can be computed again.

    Why: An operator acts on this list; a candidate that is refused when asked for misleads.
    How: Bring an account to where it reinvests, and fork another; read their candidates; compare
        facts with the account, a reinvestment with a dry run, a merge's sources with the children.
    Fails when: A fact or source differs, an eligible candidate would be refused, or the refusal of
        one that is not is missing from its reasons.
    Remedy: Judge candidates by the code that judges requests.
    """
    if kind == "reinvest":
        _reinvest_candidate(ctx)
    else:
        _merge_candidate(ctx)


def _candidates(ctx: Context, account: Json, kind: str) -> list[Json]:
    query = {"account_id": account["id"], "kind": kind}
    return ctx.arrange.pages("listGrowthCandidates", query=query)


def _facts_agree(ctx: Context, account: Json, row: Json) -> None:
    facts = growth.facts_of(growing.standing(account))
    shown = {name: row["facts"][name] for name in facts}
    ctx.equal(shown, facts, f"The facts of a candidate to {row['kind']}")
    ref = f"{growing.policy(ctx, account['type'])['name']}@"
    if row["kind"] == "reinvest" and row["policy_ref"] is not None:
        ctx.expect(
            row["policy_ref"].startswith(ref),
            "The policy that a candidate is judged by is not the one in force",
            expected=f"{ref}...",
            observed=row["policy_ref"],
        )


def _reinvest_candidate(ctx: Context) -> None:
    ready = growing.reinvestable(ctx)
    path = {"id": ready.account["id"]}
    for row in _candidates(ctx, ready.account, "reinvest"):
        _facts_agree(ctx, ready.account, row)
        period = row.get("period") or ready.period
        if row["eligible"]:
            body = {"period": period, "amount": row["amount"], "dry_run": True}
            trial = ctx.customer.call("reinvestAccount", path=path, body=body, expect=200)
            most = growth.reinvestable(growing.standing(ready.account))
            legs = sum(leg["amount"] for leg in trial.body["legs"])
            ctx.equal(legs, row["amount"]["amount"], "The legs of a candidate's amount", trial)
            ctx.expect(
                row["amount"]["amount"] <= most,
                "A candidate would reinvest more than its account may",
                expected=f"at most {most}",
                observed=row["amount"]["amount"],
                on=[trial],
            )
            continue
        body = {"period": period, "all_available": True, "dry_run": True}
        trial = ctx.customer.call("reinvestAccount", path=path, body=body)
        ctx.expect(
            trial.problem_code in row["reasons"],
            "The refusal of a request is not among the candidate's reasons",
            expected=trial.problem_code,
            observed=row["reasons"],
            on=[trial],
        )


def _merge_candidate(ctx: Context) -> None:
    ripe = growing.ripe(ctx)
    children = growing.fork(ctx, ripe.account).body["children"]
    parent = ctx.arrange.read(ripe.account)
    rows = _candidates(ctx, parent, "merge")
    rules = growing.policy(ctx, "compounding")
    standings = [growing.standing(child) for child in children]
    kinship = growth.Kinship(whole_family=True)
    reasons = growth.merge_reasons(rules, standings, "compounding", kinship)
    for row in rows:
        _facts_agree(ctx, parent, row)
        ids = sorted(child["id"] for child in children)
        ctx.equal(sorted(row.get("sources", ids)), ids, "The sources of a candidate to merge")
        ctx.equal(row["eligible"], not reasons, "Whether the family of a fork may merge")
        missing = [code for code in reasons if code not in row["reasons"]]
        ctx.equal(missing, [], "Reasons that a candidate to merge lacks")
        value = sum(one.total_value for one in standings)
        total = row["facts"].get("total_value", value)
        ctx.equal(total, value, "What the sources of a candidate are worth together")
    if not reasons:
        ctx.equal(len(rows), 1, "How often a family that may merge is a candidate")


@check(
    "functional/growth-tracking/periods-join",
    title="The growth summary of two adjacent ranges of quarters is that of both together",
    failure_title="The growth summary counts a quarter in none or in two adjacent ranges",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["getGrowthSummary", "forkAccount"],
    modules=(Module.GROWTH,),
    alone=True,
    defects=["summaries-include-the-next-quarter"],
)
def check_periods_join(ctx: Context) -> None:
    """Whether the summary up to a quarter and from the next on add up to the whole.

    Why: A year that is added up from its quarters must come to the year.
    How: Without neighbours: fork; read the summary whole, of the present quarter alone, up to the
        one before it, and from the one after it; join the parts.
    Fails when: The rows of the parts are not the rows of the whole, or the fork stands in another
        quarter than the one of its event.
    Remedy: Include both ends of the range of quarters, and nothing beyond.
    """
    event = growing.fork(ctx, growing.ripe(ctx).account).body["event"]
    year, month = (int(part) for part in event["created_at"].split("-")[:2])
    quarter = growth.quarter(year, month)
    whole = _summary(ctx)
    parts = [
        _summary(ctx, to_period=growth.quarter_before(quarter)),
        _summary(ctx, from_period=quarter, to_period=quarter),
        _summary(ctx, from_period=growth.quarter_after(quarter)),
    ]
    ctx.equal([row for part in parts for row in part], whole, "The parts of the summary, joined")
    forks = sum(row["forks"] for row in parts[1] if row["currency"] == event["currency"])
    ctx.expect(
        forks >= 1,
        "The fork of this quarter is not in the summary of this quarter",
        expected="at least 1",
        observed=forks,
    )


def _summary(ctx: Context, **query: str) -> list[Json]:
    ctx.arrange.let_writes_arrive()
    rows: list[Json] = ctx.customer.call("getGrowthSummary", query=query, expect=200).body[
        "periods"
    ]
    return sorted(rows, key=lambda row: (row["period"], row["currency"]))
