"""Merges: accounts end in another with everything they hold, once and for ever."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import growth, members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.context import Context
    from certification.target.reply import Reply


def _with_positions(ctx: Context, sources: Sequence[Json]) -> list[Json]:
    """Move part of the cash of each source into position:shares; return them as they read."""
    for number, source in enumerate(sources):
        body = {
            "kind": "assignment",
            "amount": ctx.arrange.money(300 + number, source["currency"]),
            "from_account_id": source["id"],
        }
        ctx.arrange.transaction(body, by=ctx.operator)
    return [ctx.arrange.read(source) for source in sources]


def _sum_of_buckets(accounts: Sequence[Json]) -> Counter[str]:
    total: Counter[str] = Counter()
    for account in accounts:
        total.update(growing.buckets(account))
    return total


@check(
    "functional/merges/conserve-every-bucket",
    title="A merge moves every bucket of every source to the target, to the unit",
    failure_title="A merge creates, loses or leaves value",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "createTransaction", "getAccount", "getTransaction"],
    modules=(Module.GROWTH,),
    identities=("customer", "operator"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["merge-credits-twice", "merge-forgets-positions"],
)
def check_conserve_every_bucket(ctx: Context) -> None:
    """Whether the target holds, bucket by bucket, what sources and target held together.

    Why: M1: the public code of the original credited a merge twice: 1,100,000 became 2,200,000.
    How: Fill cash and a position of each source with distinct amounts; merge; compare each bucket,
        the sources' zeros, and the lines of the transaction.
    Fails when: A bucket of the target differs, a source keeps anything, or the lines do not add up.
    Remedy: Move every bucket in one entry: a debit and a credit of the same amount for each.
    """
    sources, target = growing.mergeable(ctx, wanted=3)
    sources = _with_positions(ctx, sources)
    expected = _sum_of_buckets([*sources, target])
    reply = growing.merge(ctx, sources, target)
    after = ctx.arrange.read(target)
    ctx.equal(growing.buckets(after), dict(expected), "The buckets of the target", reply)
    total = sum(expected.values())
    ctx.equal(after["balances"]["total_value"], total, "The target's total value", reply)
    left = [growing.buckets(ctx.arrange.read(source)) for source in sources]
    ctx.equal(left, [{}] * len(sources), "What the sources keep", reply)
    booked = ctx.arrange.read_transaction({"id": reply.body["event"]["transaction_id"]})
    moved = Counter[tuple[str, str]]()
    for line in booked["lines"]:
        moved[line["account_id"], line["bucket"]] += line["amount"]
    gone = {(s["id"], name): -n for s in sources for name, n in growing.buckets(s).items()}
    came = {(target["id"], name): n for name, n in _sum_of_buckets(sources).items()}
    ctx.equal({k: n for k, n in moved.items() if n}, gone | came, "The lines by bucket", reply)


def _ended_hold(ctx: Context, account: Json, amount: int, end: str) -> tuple[Json, int]:
    """Place a hold and end it; return it as it reads then, and what has left the account."""
    hold = ctx.arrange.hold(account, amount)
    path, body = {"id": hold["id"]}, dict[str, Json]()
    if end == "voided":
        ctx.customer.call("voidTransaction", path=path, body=body, expect=200)
        return ctx.arrange.read_transaction(hold), 0
    if end == "settled-in-part":
        amount -= 1
        body = {"amount": ctx.arrange.money(amount, account["currency"])}
    ctx.operator.call("settleTransaction", path=path, body=body, expect=200)
    return ctx.arrange.read_transaction(hold), amount


@check(
    "functional/merges/ended-holds-are-past",
    title="A hold that was settled or voided before a merge plays no part in it",
    failure_title="A merge counts a hold that had ended before",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "SYS-TXN", "E2E-GRO"],
    operations=[
        "mergeAccounts",
        "createTransaction",
        "settleTransaction",
        "voidTransaction",
        "getAccount",
        "getLineage",
    ],
    modules=(Module.GROWTH,),
    identities=("customer", "operator"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["merge-counts-settled-holds-again"],
)
@pytest.mark.parametrize("end", ["settled", "settled-in-part", "voided"])
def check_ended_holds_are_past(ctx: Context, end: str) -> None:
    """Whether sources and target merge with what is left after their holds ended, exactly once.

    Why: What was held and paid has left; a merge that adds up holds, or reserves, pays it again.
    How: Place a hold on a source and on the target and end both; merge; compare balances and holds
        of every account, the ended holds, and the place of each source in its lineage.
    Fails when: Ledger, holds, available or total value of an account is not what was left, an
        ended hold reads otherwise than before, or a source stands in its lineage twice or not at
        all, or leads elsewhere.
    Remedy: Merge the balances of the journal; ask holds only whether one is still pending.
    """
    sources, target = growing.mergeable(ctx)
    held = [_ended_hold(ctx, sources[0], 31, end), _ended_hold(ctx, target, 17, end)]
    left = sum(row["balances"]["ledger"] for row in [*sources, target])
    left -= sum(gone for _, gone in held)
    reply = growing.merge(ctx, sources, target)
    whole = {"ledger": left, "holds": 0, "available": left, "total_value": left}
    ctx.arrange.expect_balances(target, f"A target whose holds were {end}", by=None, **whole)
    empty = {"ledger": 0, "holds": 0, "available": 0, "total_value": 0}
    for source in sources:
        ctx.arrange.expect_balances(source, f"A source whose hold was {end}", by=None, **empty)
        nodes = ctx.arrange.pages("getLineage", path={"id": source["id"]})
        ends = [row["merged_into_id"] for row in nodes if row["account_id"] == source["id"]]
        ctx.equal(ends, [target["id"]], "Where a source went, by its lineage", reply)
    for hold, _ in held:
        shown = members.transaction(ctx.arrange.read_transaction(hold))
        ctx.equal(shown, members.transaction(hold), "An ended hold, after the merge", reply)


@check(
    "functional/merges/base-rises-by-the-cash",
    title="The target's base rises by the cash that was merged into it",
    failure_title="A merge counts as growth: the target's base is not raised by the merged cash",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["mergeAccounts", "getAccount"],
    modules=(Module.GROWTH,),
    defects=["base-is-not-raised"],
)
def check_base_rises_by_the_cash(ctx: Context) -> None:
    """Whether a merge leaves the surplus of the target as it was.

    Why: Otherwise a merge triggers a fork, and the fork the next merge.
    How: Merge sources of known cash; compare base_amount and ledger of the target.
    Fails when: base_amount is not the former one plus the sources' cash.
    Remedy: Add the merged cash to base_amount in the transaction of the merge.
    """
    sources, target = growing.mergeable(ctx)
    cash = sum(source["balances"]["ledger"] for source in sources)
    base = growth.base_after_merge(ctx.arrange.read(target)["base_amount"], cash)
    reply = growing.merge(ctx, sources, target)
    after = ctx.arrange.read(target)
    ctx.equal(after["base_amount"], base, "The target's base after the merge", reply)
    ledger = cash + target["balances"]["ledger"]
    ctx.equal(after["balances"]["ledger"], ledger, "The target's ledger", reply)


@check(
    "functional/merges/sources-end",
    title="A merged account is empty, says where it went, and stays readable",
    failure_title="A merged account still shows money, or its history is gone",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "SYS-ACC", "E2E-GRO"],
    operations=["mergeAccounts", "getAccount", "listEntries", "getMerge"],
    modules=(Module.GROWTH,),
    defects=["merged-available-is-stale", "merge-reads-without-its-sources"],
)
def check_sources_end(ctx: Context) -> None:
    """Whether each source reads as merged, into the target, with zero in every balance.

    Why: M2, M4: a stale available balance on a merged account is money that exists twice.
    How: Merge; read sources, their earlier entries, and the merge itself.
    Fails when: A status, merged_into_id or balance differs, an entry is lost, or getMerge shows
        other sources or another target.
    Remedy: Set status and merged_into_id with the entry; derive balances from the journal.
    """
    sources, target = growing.mergeable(ctx)
    history = [[members.entry(row) for row in ctx.arrange.entries(s)] for s in sources]
    reply = growing.merge(ctx, sources, target)
    for source, known in zip(sources, history, strict=True):
        after = ctx.arrange.read(source)
        shown = (after["status"], after["merged_into_id"])
        ctx.equal(shown, ("merged", target["id"]), "State of a source", reply)
        message = "A merged account"
        ctx.arrange.expect_balances(source, message, ledger=0, holds=0, available=0, total_value=0)
        entries = [members.entry(row) for row in ctx.arrange.entries(source)]
        ctx.equal(entries[: len(known)], known, "The earlier entries of a source", reply)
    read = growing.get(ctx, "getMerge", reply.body["id"])
    ids = sorted(row["id"] for row in read.body["sources"])
    expected = sorted(source["id"] for source in sources)
    ctx.equal(ids, expected, "The sources of the merge, read again", read)
    ctx.equal(read.body["target"]["id"], target["id"], "Its target", read)


WRITES = ("deposit", "withdrawal", "transfer-into", "fork", "reinvest", "merge", "rename", "close")


@check(
    "functional/merges/merged-is-final",
    title="A merged account takes no write, and the refusal names its successor",
    failure_title="A merged account takes a write",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "SYS-ACC", "E2E-GRO"],
    operations=[
        "mergeAccounts",
        "createTransaction",
        "forkAccount",
        "reinvestAccount",
        "updateAccount",
        "closeAccount",
    ],
    modules=(Module.GROWTH,),
    defects=["merged-takes-deposits"],
)
@pytest.mark.parametrize("write", WRITES)
def check_merged_is_final(ctx: Context, write: str) -> None:
    """Whether each write is 409 account_merged and leaves both accounts alone.

    Why: Money that arrives in an account that has ended belongs to nobody.
    How: Merge; send every write to a source; compare source and target.
    Fails when: The answer is not 409 account_merged (a patch or close may be 409
        invalid_transition), a named successor is not the target, or anything changed.
    Remedy: Check for merged in every write, before any other rule.
    """
    sources, target = growing.mergeable(ctx)
    growing.merge(ctx, sources, target)
    source = ctx.arrange.read(sources[0])
    before = ctx.arrange.picture(source, target)
    reply = _write(ctx, write, source, target)
    problem = {"account_merged"}
    if write in ("rename", "close"):
        problem.add("invalid_transition")
    ctx.is_problem(reply, problem)
    if reply.problem_code == "account_merged":
        named = reply.body.get("merged_into_id", target["id"])
        ctx.equal(named, target["id"], "The successor that the refusal names", reply)
    ctx.arrange.expect_same(before, f"A refused {write} changed an account", reply)


def _write(ctx: Context, write: str, source: Json, target: Json) -> Reply:
    path, customer = {"id": source["id"]}, ctx.customer
    money = ctx.arrange.money(10, source["currency"])
    transactions = {
        "deposit": {"kind": "deposit", "amount": money, "to_account_id": source["id"]},
        "withdrawal": ctx.arrange.withdrawal_body(source, 10),
        "transfer-into": ctx.arrange.transfer_body(target, source, 10),
    }
    if write in transactions:
        return customer.call("createTransaction", body=transactions[write])
    if write == "fork":
        return growing.forked(ctx, customer.call("forkAccount", path=path, body={}))
    if write == "reinvest":
        period = growing.period_now(source, growing.policy(ctx, source["type"]))
        body: Json = {"period": period, "amount": money}
        return customer.call("reinvestAccount", path=path, body=body)
    if write == "merge":
        others = growing.source_count(ctx, growing.policy(ctx, target["type"]), 1) - 1
        more = [ctx.arrange.account(type=target["type"], funds=9) for _ in range(others)]
        merge_body = growing.merge_body([source, *more], target)
        return customer.call("mergeAccounts", body=merge_body)
    if write == "close":
        return ctx.arrange.close(source)
    etag = ctx.arrange.read_reply(source).etag
    body = {"name": ctx.name("x")}
    return customer.call("updateAccount", path=path, body=body, if_match=etag)


@check(
    "functional/merges/new-target",
    title="A merge can open its target: a compounding account at the right place of the family",
    failure_title="The target that a merge opens has a wrong place, type or value",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO"],
    operations=["mergeAccounts", "forkAccount", "getAccount"],
    modules=(Module.GROWTH,),
    defects=["new-target-forgets-the-root"],
)
@pytest.mark.parametrize("family", ["one-root", "two-roots"])
def check_new_target(ctx: Context, family: str) -> None:
    """Whether the new account has no parent, the least depth, and the common root or its own.

    Why: M3: the place decides what lineage and the next merge see.
    How: Merge children of one fork, then accounts of different roots, into a new target.
    Fails when: Type, parent, depth, root, value or base of the new account differ.
    Remedy: parent_id null, depth the least of the sources, root theirs if they share one.
    """
    rules = growing.policy(ctx, "compounding")
    if "compounding" not in rules["merge"]["target_types"]:
        ctx.not_exercised("no compounding account is a target under the policy in force")
    count = growing.source_count(ctx, rules, 2)
    if family == "one-root":
        parent = growing.ripe(ctx).account
        children = growing.fork(ctx, parent).body["children"]
        sources = [*children, ctx.arrange.read(parent)][: max(count, len(children))]
        if len(sources) > rules["merge"]["sources_max"]:
            ctx.not_exercised("the policy forks more accounts than it merges")
        root, depth = parent["id"], min(source["depth"] for source in sources)
    else:
        sources = [ctx.arrange.account(funds=1_000 + n) for n in range(count)]
        root, depth = None if count > 1 else sources[0]["root_id"], 0
    cash = sum(source["balances"]["ledger"] for source in sources)
    reply = growing.merge(ctx, sources, None)
    target = ctx.arrange.read(reply.body["target"])
    expected = {
        "type": "compounding",
        "parent_id": None,
        "depth": depth,
        "root_id": root or target["id"],
        "base_amount": cash,
        "owner_id": sources[0]["owner_id"],
        "status": "active",
    }
    ctx.equal({name: target[name] for name in expected}, expected, "The new target", reply)
    ctx.arrange.expect_balances(target, "The new target", ledger=cash, total_value=cash)


@check(
    "functional/merges/policy-mode-asks-the-policy",
    title="A merge in mode policy is refused below what the policy asks, and made at it",
    failure_title="A merge in mode policy does not ask what the policy asks",
    severity=Severity.MEDIUM,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "forkAccount", "getGrowthPolicy"],
    modules=(Module.GROWTH,),
    defects=["merge-asks-nothing", "merge-threshold-off-by-one"],
)
def check_policy_mode_asks_the_policy(ctx: Context) -> None:
    """Whether a fork family one unit below the threshold stays, and merges with that unit.

    Why: The threshold is when growth is gathered in; a rule that is not asked is none.
    How: Fork; top the family up to the threshold less 1; merge in mode policy; add 1; merge again.
        Where the policy asks for no family, accounts of any origin merge at once.
    Fails when: The first is not 422 below_merge_threshold or changed something, or the second
        is refused.
    Remedy: Evaluate family and total value inside the transaction.
    """
    account_type, rules = growing.target_type(ctx)
    if rules["merge"]["eligible"] == "matured":
        ctx.not_exercised("the policy in force merges what has matured: tried with its own policy")
    if rules["merge"]["eligible"] == "any":
        sources, target = growing.mergeable(ctx)
        growing.merge(ctx, sources, target, mode="policy")
        return
    target = ctx.arrange.account(type=account_type)
    sources = growing.fork(ctx, growing.ripe(ctx).account).body["children"]
    threshold = growth.minor(rules["merge"]["threshold_major"], growing.exponent(ctx))
    missing = threshold - sum(source["balances"]["total_value"] for source in sources)
    if missing <= 1 or threshold > growing.amount_max(ctx):
        ctx.not_exercised("the smallest fork of the policy is above the merge threshold")
    growing.endow(ctx, sources[0], missing - 1)
    body = growing.merge_body(sources, target, mode="policy")
    before = ctx.arrange.picture(target, *sources)
    reply = ctx.customer.call("mergeAccounts", body=body, problem="below_merge_threshold")
    ctx.arrange.expect_same(before, "A refused merge changed an account", reply)
    growing.endow(ctx, sources[0], 1)
    growing.merge(ctx, sources, target, mode="policy")
    ctx.arrange.expect_balances(target, "The family in the target", ledger=threshold)
