"""Lineage: who was born from whom, who went where, and what growth events say of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity
from certification.oracle import growth, lineage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certification.context import Context


def _nodes(ctx: Context, account: Json) -> dict[str, Json]:
    """Return the lineage of an account by id; no node may stand twice."""
    rows = ctx.arrange.pages("getLineage", path={"id": account["id"]})
    nodes = {row["account_id"]: row for row in rows}
    ctx.equal(len(rows), len(nodes), "An account stands twice in its lineage")
    return nodes


def _edges(nodes: Mapping[str, Json], name: str) -> dict[str, str | None]:
    return {id_: node[name] for id_, node in nodes.items()}


def _two_generations(ctx: Context) -> tuple[Json, list[Json], list[Json]]:
    """Fork an account, then one of its children if the policy lets any; return all three ranks."""
    root = growing.ripe(ctx).account
    children: list[Json] = growing.fork(ctx, root).body["children"]
    for child in children:
        rules = growing.policy(ctx, child["type"])
        most = growing.amount_max(ctx) // 2
        least = growth.least_ledger(rules, growing.standing(child), most=most)
        if least is None:
            continue
        growing.endow(ctx, child, least - child["balances"]["ledger"])
        if growing.judge(ctx, ctx.arrange.read(child)).eligible:
            return root, children, growing.fork(ctx, child).body["children"]
    return root, children, []


@check(
    "functional/lineage/family-is-a-forest",
    title="The lineage of a family is one tree, the same from every member",
    failure_title="The lineage of a family has a ring, a gap, or differs by where one asks",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["getLineage", "forkAccount", "getAccount"],
    modules=(Module.GROWTH,),
    defects=[
        "lineage-runs-in-a-ring",
        "children-forget-their-root",
        "grandchildren-keep-the-depth",
    ],
)
def check_family_is_a_forest(ctx: Context) -> None:
    """Whether parents, roots and depths of two generations are right, and agree both ways.

    Why: F3: reports walk these edges; a ring never ends, a gap loses a branch.
    How: Fork twice; read the lineage from the root and from the youngest; compare every node with
        what the forks opened, and walk the birth edges.
    Fails when: A member is missing, an edge, root or depth differs, or the walk does not end.
    Remedy: Write parent_id, root_id and depth once, at birth, from the parent's row.
    """
    root, children, grandchildren = _two_generations(ctx)
    everyone = [root, *children, *grandchildren]
    for start in (root, everyone[-1]):
        nodes = _nodes(ctx, start)
        missing = [row["id"] for row in everyone if row["id"] not in nodes]
        ctx.equal(missing, [], f"Members that the lineage of {start['id']} lacks")
        parents = _edges(nodes, "parent_id")
        for account in everyone:
            node = nodes[account["id"]]
            expected = {name: account[name] for name in ("type", "parent_id", "depth")}
            expected |= {"root_id": root["id"], "status": "active", "merged_into_id": None}
            ctx.equal({name: node[name] for name in expected}, expected, "A node")
            walk = lineage.chain(account["id"], parents)
            end = None if walk is None else (walk[-1], len(walk) - 1)
            ctx.equal(end, (root["id"], account["depth"]), "Where the birth edges lead, and when")


@check(
    "functional/lineage/merged-accounts-stay",
    title="Merged accounts stay in their family's lineage and lead to a living account",
    failure_title="A merge removes accounts from the lineage, or leads nowhere",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["getLineage", "forkAccount", "mergeAccounts"],
    modules=(Module.GROWTH,),
    defects=["lineage-forgets-merged-accounts", "effective-parent-is-the-birth-parent"],
)
def check_merged_accounts_stay(ctx: Context) -> None:
    """Whether a parent that merged into its own child keeps its edges, and who stands for it now.

    Why: M3, M4: birth and merge edges together can form a ring (a child takes its parent in), so
        they are two forests, and the effective parent follows one at a time.
    How: Fork; merge the parent into a child; compare edges, merged_into and effective_parent_id of
        every member with those that the two forests give.
    Fails when: A member is gone, an edge changed, or an effective parent differs.
    Remedy: Keep parent_id for ever; walk parents, then merged_into, never their union.
    """
    root = growing.ripe(ctx).account
    children: list[Json] = growing.fork(ctx, root).body["children"]
    heir, rules = _heir(ctx, children)
    count = growing.source_count(ctx, rules, 1)
    others = [ctx.arrange.account(type=root["type"], funds=9) for _ in range(count - 1)]
    growing.merge(ctx, [root, *others], heir)
    everyone = [root, *children]
    nodes = _nodes(ctx, heir)
    missing = [row["id"] for row in everyone if row["id"] not in nodes]
    ctx.equal(missing, [], "Members that the lineage lacks after the merge")
    born = {row["id"]: row["parent_id"] for row in everyone}
    gone = {row["id"]: heir["id"] if row is root else None for row in everyone}
    for account in everyone:
        node = nodes[account["id"]]
        expected = {
            "parent_id": born[account["id"]],
            "root_id": root["id"],
            "merged_into_id": gone[account["id"]],
            "status": "merged" if account is root else "active",
            "effective_parent_id": lineage.effective_parent(account["id"], born, gone),
        }
        ctx.equal({name: node[name] for name in expected}, expected, "A node after the merge")


def _heir(ctx: Context, children: list[Json]) -> tuple[Json, Json]:
    """Return a child that may be the target of a merge, the last of them first, and its policy."""
    for child in reversed(children):
        rules = growing.policy(ctx, child["type"])
        if child["type"] in rules["merge"]["target_types"]:
            return child, rules
    return ctx.not_exercised("no child of a fork is a target under the policies in force")


def _events_of(ctx: Context, account: Json) -> dict[str, Json]:
    rows = ctx.arrange.pages("listGrowthEvents", query={"account_id": account["id"]})
    return {row["id"]: row for row in rows}


def _expect_event(ctx: Context, event: Json, parties: list[Json], facts: Mapping[str, int]) -> None:
    """Fail unless the event reads the same everywhere and states these facts."""
    read = growing.get(ctx, "getGrowthEvent", event["id"])
    names = ("id", "seq", "kind", "account_id", "amount", "mode", "facts", "legs", "transaction_id")
    expected = {name: event[name] for name in names}
    ctx.equal({name: read.body[name] for name in names}, expected, "The event, read again", read)
    shown = {name: read.body["facts"][name] for name in facts if name in read.body["facts"]}
    known = {name: facts[name] for name in shown}
    ctx.equal(shown, known, "The facts of the event", read)
    for party in parties:
        listed = _events_of(ctx, party)
        ctx.equal(event["id"] in listed, True, f"Is it among the events of {party['id']}?", read)
    booked = ctx.arrange.read_transaction({"id": event["transaction_id"]})
    ctx.equal(event["seq"], booked["seq"], "The event's seq is its transaction's", read)


@check(
    "functional/lineage/events-state-their-facts",
    title="Each fork, merge and reinvestment leaves an event with the facts it rested on",
    failure_title="A growth event is missing, or states other facts than those it rested on",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["listGrowthEvents", "getGrowthEvent", "forkAccount", "mergeAccounts"],
    modules=(Module.GROWTH,),
    defects=["events-without-facts", "events-miss-the-children"],
)
def check_events_state_their_facts(ctx: Context) -> None:
    """Whether the decision can be computed again from the event, and every party finds it.

    Why: "Why did this fork?" is asked a year later, of balances that have moved on.
    How: Fork and merge; read the event by id and in the lists of every party; compare ledger,
        holds, base, buffer, surplus and trigger with the account before.
    Fails when: A fact that is stated differs, or a party does not find the event.
    Remedy: Write the figures of the decision into the event, in the same transaction.
    """
    ripe = growing.ripe(ctx, extra=7)
    forked = growing.fork(ctx, ripe.account).body
    facts = ripe.decision.facts
    _expect_event(ctx, forked["event"], [ripe.account, *forked["children"]], facts)
    sources, target = growing.mergeable(ctx)
    before = growth.facts_of(growing.standing(ctx.arrange.read(target)))
    merged = growing.merge(ctx, sources, target, reason="fewer accounts").body
    _expect_event(ctx, merged["event"], [target, *sources], before)
    given = {s["id"]: s["balances"]["ledger"] for s in sources}
    legs = Counter[str]()
    for leg in merged["event"]["legs"]:
        legs[leg["account_id"]] += leg["amount"]
    ctx.equal(dict(legs), given, "What each source gave, by the event")
    ctx.equal(merged["event"]["amount"], sum(given.values()), "The amount of the merge's event")


@check(
    "functional/lineage/reinvestments-leave-an-event",
    title="A reinvestment leaves an event with period, legs and facts",
    failure_title="A reinvestment leaves no event, or one with other facts",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["listGrowthEvents", "getGrowthEvent", "reinvestAccount"],
    modules=(Module.GROWTH,),
    defects=["events-without-facts"],
)
def check_reinvestments_leave_an_event(ctx: Context) -> None:
    """Whether the event of a reinvestment can be computed again.

    Why: R4: the lineage shows a reinvestment although no account was born.
    How: Reinvest; compare period, legs and facts of the event with the account before.
    Fails when: Any differs, or the account's list lacks the event.
    Remedy: Write the event in the transaction of the reinvestment.
    """
    ready = growing.reinvestable(ctx)
    path = {"id": ready.account["id"]}
    reply = ctx.customer.call("reinvestAccount", path=path, body=ready.body(ctx), expect=201)
    event = reply.body["event"]
    _expect_event(ctx, event, [ready.account], ready.decision.facts)
    shown = (event["kind"], event["period"], event["amount"])
    ctx.equal(shown, ("reinvest", ready.period, ready.amount), "Kind, period, amount", reply)
    legs = {leg["bucket"]: leg["amount"] for leg in event["legs"] if leg["amount"]}
    known = {leg.to: leg.amount for leg in ready.decision.legs if leg.to in legs}
    ctx.equal(legs, known, "The legs of the event", reply)


COUNTED = ("forks", "merges", "reinvestments", "forked", "merged", "reinvested")


def _totals(ctx: Context) -> dict[str, int]:
    """Return the customer's growth in the currency of the checks, over all periods."""
    ctx.arrange.let_writes_arrive()
    rows = ctx.customer.call("getGrowthSummary", expect=200).body["periods"]
    mine = [row for row in rows if row["currency"] == ctx.arrange.currency]
    return {name: sum(row[name] for row in mine) for name in COUNTED}


@check(
    "functional/lineage/summary-counts-each-once",
    title="The growth summary rises by exactly what grew",
    failure_title="The growth summary counts something twice, or not at all",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["getGrowthSummary", "forkAccount", "mergeAccounts"],
    modules=(Module.GROWTH,),
    alone=True,
    defects=["summary-counts-every-party"],
)
def check_summary_counts_each_once(ctx: Context) -> None:
    """Whether counts and amounts rise by one fork and one merge.

    Why: Growth tracking that counts legs instead of events reports three forks for one.
    How: Without neighbours: read the summary, fork, merge, read it again; compare the rise.
    Fails when: A count or amount rose by anything else.
    Remedy: Sum over events, not over their parties or legs.
    """
    before = _totals(ctx)
    fork = growing.fork(ctx, growing.ripe(ctx).account).body["event"]
    merge = growing.merge(ctx, *growing.mergeable(ctx)).body["event"]
    after = _totals(ctx)
    expected = dict.fromkeys(COUNTED, 0) | {"forks": 1, "merges": 1}
    expected |= {"forked": fork["amount"], "merged": merge["amount"]}
    rise = {name: after[name] - before[name] for name in COUNTED}
    ctx.equal(rise, expected, "What the summary rose by after a fork and a merge")
