"""Growth policies: sound documents, guarded, and what systems and candidates make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.contract.policy import policy_rule_violations
from certification.model import Json, Module, Severity
from certification.oracle import rounding

if TYPE_CHECKING:
    from certification.context import Context


@check(
    "functional/growth-policies/documents-are-sound",
    title="Each policy in force is a sound document and the one that is declared",
    failure_title="A policy contradicts itself, or another is in force than is declared",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["getGrowthPolicy", "getCapabilities"],
    modules=(Module.GROWTH,),
    defects=["policy-shares-do-not-add-up", "policy-ref-is-stale"],
)
@pytest.mark.parametrize("account_type", growing.TYPES)
def check_documents_are_sound(ctx: Context, account_type: str) -> None:
    """Whether the document follows its schema and rules, and ref, ETag and capabilities agree.

    Why: The policy is the oracle of every growth check; one that cannot be computed tests nothing.
    How: Read it; add up its shares, compare its bounds; compare policy_ref with name@version, the
        ETag with its version, and the capability document's entry; read it again conditionally.
    Fails when: Any of these differs, or the second read is not 304.
    Remedy: Validate a policy before it is stored; derive ref and ETag from it.
    """
    path = {"type": account_type}
    reply = ctx.customer.call("getGrowthPolicy", path=path, expect=200)
    shown, document = reply.body, reply.body["policy"]
    wrong = [f"{found.pointer}: {found.message}" for found in policy_rule_violations(document)]
    ctx.equal(wrong, [], "Rules that the policy breaks", reply)
    ref = f"{document['name']}@{document['version']}"
    stated = (shown["account_type"], shown["policy_ref"], reply.etag)
    ctx.equal(stated, (account_type, ref, f'"{shown["version"]}"'), "Type, ref and ETag", reply)
    declared = {
        row.get("account_type"): row.get("policy_ref")
        for row in ctx.capabilities.get("growth_policy", [])
    }
    if account_type in declared:
        fresh = ctx.anonymous.call("getCapabilities", expect=200).body["growth_policy"]
        refs = [row["policy_ref"] for row in fresh if row.get("account_type") == account_type]
        ctx.equal(refs, [ref], "The ref that the capability document declares", reply)
    headers = {"If-None-Match": reply.etag}
    ctx.customer.call("getGrowthPolicy", path=path, headers=headers, expect=304)


@check(
    "functional/growth-policies/changes-are-guarded",
    title="Only an admin who has seen the policy in force puts another in its place",
    failure_title="A policy is replaced by someone who may not, or who has not seen it",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["putGrowthPolicy", "getGrowthPolicy"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager", "admin"),
    alone=True,
    defects=["policies-change-without-if-match", "managers-change-policies"],
)
def check_changes_are_guarded(ctx: Context) -> None:
    """Whether customer, manager, a missing and a stale If-Match are refused.

    Why: The policy decides over everyone's money; two admins must not overwrite each other.
    How: Send the policy that is already in force, so that nothing can change: as a customer and a
        manager, as the admin without If-Match and with another version's.
    Fails when: An answer is not 403, 403, 428 precondition_required, 412 precondition_failed, or
        the version rose.
    Remedy: Check role and If-Match before the document is stored.
    """
    path = {"type": "revenue"}
    seen = ctx.admin.call("getGrowthPolicy", path=path, expect=200)
    body = {"policy": seen.body["policy"]}
    for actor in (ctx.customer, ctx.manager):
        actor.call("putGrowthPolicy", path=path, body=body, if_match=seen.etag, problem="forbidden")
    ctx.admin.call("putGrowthPolicy", path=path, body=body, problem="precondition_required")
    stale = f'"{seen.body["version"] + 1_000}"'
    ctx.admin.call(
        "putGrowthPolicy", path=path, body=body, if_match=stale, problem="precondition_failed"
    )
    after = ctx.admin.call("getGrowthPolicy", path=path, expect=200)
    ctx.equal(after.etag, seen.etag, "The ETag after refused changes", seen, after)


@check(
    "functional/growth-policies/systems-are-split",
    title="A new system is split by the policy, to the unit, from money of outside",
    failure_title="Opening a system splits otherwise, or creates or loses money",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["openSystem", "getSystem", "getAccount", "getTransaction"],
    modules=(Module.GROWTH,),
    defects=["legs-lose-the-remainder", "system-base-is-zero"],
)
@pytest.mark.parametrize("amount", [1_000, 10_000_001, 1_234_567_899])
def check_systems_are_split(ctx: Context, amount: int) -> None:
    """Whether each account opens with its share, its base and itself as root.

    Why: The first split of a life's savings must not lose a cent.
    How: Open systems with amounts that do not divide evenly; compare type, cash, base, root of each
        account with initial_split of the policy of type generation, and the opening entry.
    Fails when: An account differs, the shares do not add up to the amount, or it reads otherwise.
    Remedy: One `opening` entry, external to all accounts, by the largest-remainder rule.
    """
    rules = growing.policy(ctx, "generation")["initial_split"]
    parts = rounding.split(amount, [leg["bps"] for leg in rules])
    if 0 in parts or amount > growing.amount_max(ctx):
        ctx.not_exercised(f"{amount} cannot be split by the policy in force")
    body = {"name": ctx.name("system"), "amount": ctx.arrange.money(amount)}
    reply = ctx.customer.call("openSystem", body=body, expect=201)
    for account in reply.body["accounts"]:
        ctx.created("account", account["id"], ctx.customer.role)
    expected = [(leg["type"], part, part, part) for leg, part in zip(rules, parts, strict=True)]
    read = growing.get(ctx, "getSystem", reply.body["id"])
    for shown in (reply, read):
        opened = shown.body["accounts"]
        figures = [
            (
                row["type"],
                row["balances"]["ledger"],
                row["base_amount"],
                row["balances"]["available"],
            )
            for row in opened
        ]
        ctx.equal(figures, expected, "Type, ledger, base and available of each account", shown)
        place = [(row["parent_id"], row["root_id"], row["depth"]) for row in opened]
        ctx.equal(place, [(None, row["id"], 0) for row in opened], "Parent, root, depth", shown)
    booked = ctx.arrange.read_transaction({"id": reply.body["transaction_id"]})
    ctx.equal(booked["kind"], "opening", "The kind of the opening", reply)
    lines = {line["account_id"]: line["amount"] for line in booked["lines"]}
    accounts = {row["id"]: row["balances"]["ledger"] for row in reply.body["accounts"]}
    mine = {id_: lines.get(id_) for id_ in accounts}
    ctx.equal(mine, accounts, "The lines of the opening", reply)


def _candidate(ctx: Context, account: Json, kind: str) -> list[Json]:
    query = {"account_id": account["id"], "kind": kind}
    return ctx.arrange.pages("listGrowthCandidates", query=query)


@check(
    "functional/growth-policies/candidates-agree-with-the-rules",
    title="Growth candidates are exactly those that a request would be accepted for",
    failure_title="A candidate is listed wrongly, or with other facts or reasons",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["listGrowthCandidates", "forkAccount"],
    modules=(Module.GROWTH,),
    defects=["candidates-ignore-holds", "candidates-forget-their-reasons"],
)
@pytest.mark.parametrize("state", ["ripe", "below", "held", "suspended", "forked"])
def check_candidates_agree_with_the_rules(ctx: Context, state: str) -> None:
    """Whether the list, the policy's arithmetic and a dry run of the request say the same.

    Why: Candidates are what an operator acts on; a list of its own opinion misleads.
    How: Bring accounts to the edge, below it, with a hold, suspended and just forked; compare
        eligible, amount and facts with the policy; send a dry run and compare its refusal.
    Fails when: A ripe account is missing, or eligible, amount, a fact or a reason differs.
    Remedy: Judge candidates by the code that judges requests.
    """
    account = _in_state(ctx, state)
    decision = growing.judge(ctx, account)
    listed = _candidate(ctx, account, "fork")
    if decision.eligible:
        ctx.equal(len(listed), 1, "How often a ripe account is listed as a candidate")
    path = {"id": account["id"]}
    trial = ctx.customer.call("forkAccount", path=path, body={"dry_run": True})
    may = trial.status == 200
    for candidate in listed:
        ctx.equal(candidate["eligible"], may, "The candidate and a dry run", trial)
        known = {n: v for n, v in candidate["facts"].items() if n in decision.facts}
        facts = {name: decision.facts[name] for name in known}
        ctx.equal(known, facts, f"The facts of an account that is {state}", trial)
        if may:
            shown = (candidate["amount"] or {}).get("amount"), candidate["reasons"]
            ctx.equal(shown, (decision.amount, []), "Amount and reasons of a ripe account", trial)
        else:
            ctx.expect(
                trial.problem_code in candidate["reasons"],
                "The refusal of a request is not among the candidate's reasons",
                expected=trial.problem_code,
                observed=candidate["reasons"],
                on=[trial],
            )
    if state != "forked":
        # Just forked: cool-down and daily limit depend on the policy; the dry run has judged.
        ctx.equal(may, decision.eligible, f"A dry run of an account that is {state}", trial)


def _in_state(ctx: Context, state: str) -> Json:
    if state in ("below", "held"):
        account, _, least = growing.seedling(ctx)
        growing.endow(ctx, account, least - (state == "below"))
        if state == "held":
            ctx.arrange.hold(account, 1)
        return ctx.arrange.read(account)
    account = growing.ripe(ctx).account
    if state == "suspended":
        if "manager" not in ctx.sessions:
            ctx.not_exercised("no identity with the role manager")
        ctx.arrange.suspend(account)
    if state == "forked":
        growing.fork(ctx, account)
    return ctx.arrange.read(account)
