"""Forks: part of an account goes into new ones, exactly by the policy in force and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import growth

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply


def _opened(reply: Reply) -> list[tuple[str, int]]:
    """Return type and cash of each child."""
    return [(row["type"], row["balances"]["ledger"]) for row in reply.body["children"]]


@check(
    "functional/forks/split-by-the-policy",
    title="A fork opens exactly the accounts that the policy in force says, to the unit",
    failure_title="A fork splits another amount, or splits it otherwise, than the policy says",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "getGrowthPolicy", "getAccount"],
    modules=(Module.GROWTH,),
    defects=["legs-lose-the-remainder", "fork-takes-half-the-surplus"],
)
@pytest.mark.parametrize("extra", [0, 1, 12_345], ids=["edge", "one-more", "more"])
def check_split_by_the_policy(ctx: Context, extra: int) -> None:
    """Whether amount, types and amounts of all children are those that the declared policy gives.

    Why: A split by percentages creates or loses units unless the left-over ones have a rule.
    How: Bring an account to the least cash that forks, and beyond; fork; compute F and legs from
        the policy document: floors, then one unit each to the largest remainders.
    Fails when: The fork is refused, or F, the number, order, types or amounts of children differ.
    Remedy: floor(F*bps/10000) for each leg, left-over units to the largest remainders, ties to
        the lower index; integers only.
    """
    ripe = growing.ripe(ctx, extra=extra)
    reply = growing.fork(ctx, ripe.account)
    ctx.equal(reply.body["event"]["amount"], ripe.decision.amount, "The amount that forked", reply)
    expected = [(leg.to, leg.amount) for leg in ripe.decision.legs]
    ctx.equal(_opened(reply), expected, "The children", reply)
    legs = [(leg["type"], leg["amount"]) for leg in reply.body["event"]["legs"]]
    ctx.equal(legs, expected, "The legs of the event", reply)
    for child in reply.body["children"]:
        cash = child["balances"]["ledger"]
        ctx.arrange.expect_balances(child, "A child, read again", ledger=cash, total_value=cash)


@check(
    "functional/forks/conserves-money",
    title="A fork moves money from the parent to its children and nowhere else",
    failure_title="A fork creates, loses or diverts money",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO", "SYS-TXN"],
    operations=["forkAccount", "getTransaction", "listEntries", "getAccount"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["fork-pays-a-fee", "legs-lose-the-remainder"],
)
def check_conserves_money(ctx: Context) -> None:
    """Whether parent and children together hold what the parent held, in one balanced entry.

    Why: F1: growth must not change what a customer owns.
    How: Fork; add up parent and children; compare lines of the transaction with the entries.
    Fails when: The sum differs, the transaction is not one debit and a credit for each child, or
        the parent's base moved.
    Remedy: Book the fork as one entry whose lines sum to zero, children and parent only.
    """
    ripe = growing.ripe(ctx, extra=3)
    reply = growing.fork(ctx, ripe.account)
    parent = ctx.arrange.read(ripe.account)
    children = [ctx.arrange.read(child) for child in reply.body["children"]]
    cash = [account["balances"]["ledger"] for account in (parent, *children)]
    before = ripe.account["balances"]["ledger"]
    ctx.equal(sum(cash), before, "Parent and children together after the fork", reply)
    ctx.equal(cash[0], before - ripe.decision.amount, "What the parent keeps", reply)
    booked = ctx.arrange.read_transaction({"id": reply.body["event"]["transaction_id"]})
    expected = [(parent["id"], -ripe.decision.amount)]
    expected += [(row["id"], row["balances"]["ledger"]) for row in children]
    lines = [(line["account_id"], line["amount"]) for line in booked["lines"]]
    shown = ("fork", sorted(expected))
    ctx.equal((booked["kind"], sorted(lines)), shown, "Kind and lines of the entry", reply)
    for account, amount in expected:
        last = ctx.arrange.entries({"id": account})[-1]
        ctx.equal(last["amount"], amount, "The newest entry of parent and children", reply)


@check(
    "functional/forks/children-are-of-the-family",
    title="A child has owner and currency of its parent, its root, the next depth, and its base",
    failure_title="A child is born into another family, or with another base",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "getAccount"],
    modules=(Module.GROWTH,),
    defects=["children-forget-their-root", "child-base-is-zero", "fork-moves-the-base"],
)
def check_children_are_of_the_family(ctx: Context) -> None:
    """Whether every inherited member of each child is right, and the parent's base is unchanged.

    Why: F3, F4: lineage, merges and the next fork are all decided by these members.
    How: Fork and read each child: owner, currency, status, parent, root, depth, base, buffer.
    Fails when: Any differs, or the parent's base_amount or place in the family changed.
    Remedy: Copy owner, currency, root and buffer from the parent; base_amount is the opening
        amount; depth is the parent's plus 1.
    """
    parent = growing.ripe(ctx).account
    reply = growing.fork(ctx, parent)
    inherited = ("owner_id", "currency", "root_id", "buffer_bps")
    for born in reply.body["children"]:
        child = ctx.arrange.read(born)
        expected = {name: parent[name] for name in inherited} | {
            "parent_id": parent["id"],
            "depth": parent["depth"] + 1,
            "base_amount": child["balances"]["ledger"],
            "status": "active",
            "merged_into_id": None,
        }
        ctx.equal({name: child[name] for name in expected}, expected, "A child", reply)
    after = ctx.arrange.read(parent)
    kept = {name: parent[name] for name in (*inherited, "parent_id", "depth", "base_amount")}
    ctx.equal({name: after[name] for name in kept}, kept, "The parent after the fork", reply)


@check(
    "functional/forks/not-eligible-is-refused",
    title="An account that the policy does not let fork is refused and unchanged",
    failure_title="An account forks that the policy does not let fork",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "getGrowthPolicy"],
    modules=(Module.GROWTH,),
    defects=["fork-threshold-off-by-one", "fork-forgets-holds", "any-type-forks"],
)
@pytest.mark.parametrize("case", ["below", "held", "type"])
def check_not_eligible_is_refused(ctx: Context, case: str) -> None:
    """Whether one unit below the edge, one unit on hold, and another type are not_eligible.

    Why: The threshold is the promise of growth; off by one, or blind to holds, it is another one.
    How: Least cash less 1; least cash with a hold of 1; a rich account of a type outside the
        policy's list. Compare the account before and after.
    Fails when: The answer is not 422 not_eligible, or anything changed.
    Remedy: Evaluate type, trigger and what remains on ledger - holds inside the transaction.
    """
    if case == "type":
        account = _of_a_type_that_does_not_fork(ctx)
    else:
        account, _, least = growing.seedling(ctx)
        growing.endow(ctx, account, least - (case == "below"))
        if case == "held":
            ctx.arrange.hold(account, 1)
    decision = growing.judge(ctx, ctx.arrange.read(account))
    if decision.reasons != ("not_eligible",):
        ctx.not_exercised(f"the policy says {decision.reasons or 'eligible'} of case {case}")
    before = ctx.arrange.picture(account)
    path = {"id": account["id"]}
    reply = ctx.customer.call("forkAccount", path=path, body={}, problem="not_eligible")
    ctx.arrange.expect_same(before, f"A refused fork ({case}) changed the account", reply)


def _of_a_type_that_does_not_fork(ctx: Context) -> Json:
    for name in growing.TYPES:
        rules = growing.policy(ctx, name)
        if name not in rules["fork"]["account_types"]:
            account = ctx.arrange.account(type=name, base_amount=1_000)
            threshold = growth.minor(rules["fork"]["threshold_major"], growing.exponent(ctx))
            kept = growth.minor(rules["fork"]["min_remaining_major"], growing.exponent(ctx))
            growing.endow(ctx, account, 2 * (threshold + kept) + 5_000)
            return account
    return ctx.not_exercised("every type of account forks under the policies in force")


@check(
    "functional/forks/ended-holds-are-past",
    title="A hold that was settled or voided plays no part in a fork, before it or after it",
    failure_title="An account that forks counts a hold that had ended",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "SYS-TXN", "E2E-GRO"],
    operations=["forkAccount", "settleTransaction", "voidTransaction", "getAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "operator"),
    defects=["void-after-fork-keeps-the-hold"],
)
@pytest.mark.parametrize("end", ["settled", "voided"])
def check_ended_holds_are_past(ctx: Context, end: str) -> None:
    """Whether amount and balances are those of an account that never had the hold.

    Why: A fork reads ledger less holds; one that remembers ended holds forks too little, or leaves
        the parent with money that it cannot use.
    How: Place and end a hold on a ripe account; fork; place and end another one; compare amount,
        ledger, holds and available with what the policy gives for what was left.
    Fails when: The fork is refused, moves another amount, or a balance of the parent differs.
    Remedy: Add up pending holds only, wherever they are read.
    """
    spare = 40
    account = growing.ripe(ctx, extra=spare).account
    _end_a_hold(ctx, account, end)
    fresh = ctx.arrange.read(account)
    decision = growing.judge(ctx, fresh)
    if not decision.eligible:
        ctx.undecided(f"the account is not what the policy asks for: {', '.join(decision.reasons)}")
    reply = growing.fork(ctx, account)
    ctx.equal(reply.body["event"]["amount"], decision.amount, f"A fork, a hold {end}", reply)
    left = fresh["balances"]["ledger"] - decision.amount
    whole = {"ledger": left, "holds": 0, "available": left - account["min_balance"]}
    ctx.arrange.expect_balances(account, f"A parent whose hold was {end} before it forked", **whole)
    ctx.arrange.deposit(account, spare)  # a policy may have left nothing to hold
    left += spare - _end_a_hold(ctx, account, end)
    whole = {"ledger": left, "holds": 0, "available": left - account["min_balance"]}
    ctx.arrange.expect_balances(account, f"A parent whose hold was {end} after it forked", **whole)


def _end_a_hold(ctx: Context, account: Json, end: str) -> int:
    """Place a hold of some units and end it; return what has left the account."""
    amount = 13
    path = {"id": ctx.arrange.hold(account, amount)["id"]}
    if end == "voided":
        ctx.customer.call("voidTransaction", path=path, body={}, expect=200)
        return 0
    ctx.operator.call("settleTransaction", path=path, body={}, expect=200)
    return amount


@check(
    "functional/forks/only-active-accounts-fork",
    title="A suspended or closed account does not fork",
    failure_title="An account that is not active forks",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "SYS-ACC"],
    operations=["forkAccount", "updateAccount", "closeAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager"),
    defects=["suspended-may-fork"],
)
@pytest.mark.parametrize("status", ["suspended", "closed"])
def check_only_active_accounts_fork(ctx: Context, status: str) -> None:
    """Whether the fork is 409 with the problem of the state and changes nothing.

    Why: A suspension that lets the money out into fresh accounts is none.
    How: Make a ripe account suspended, an empty one closed; fork; compare.
    Fails when: The answer is another, or anything changed.
    Remedy: Check the state where every debit is checked.
    """
    if status == "suspended":
        account = growing.ripe(ctx).account
        ctx.arrange.suspend(account)
    else:
        account = growing.seedling(ctx)[0]
        ctx.arrange.close(account, expect=200)
    before = ctx.arrange.picture(account)
    path = {"id": account["id"]}
    # A closed account is always empty as well, and the contract names no order of the two.
    problem = {f"account_{status}"} | ({"not_eligible"} if status == "closed" else set())
    reply = ctx.customer.call("forkAccount", path=path, body={}, problem=problem)
    ctx.arrange.expect_same(before, f"A refused fork of a {status} account changed it", reply)


@check(
    "functional/forks/trial-changes-nothing",
    title="A dry run says what the fork would do, and does nothing",
    failure_title="A dry run books, or says something else than the fork then does",
    severity=Severity.HIGH,
    requirements=["SYS-GRO"],
    operations=["forkAccount", "getLineage"],
    modules=(Module.GROWTH,),
    defects=["fork-trial-books"],
)
def check_trial_changes_nothing(ctx: Context) -> None:
    """Whether dry_run answers 200 with amount, legs and facts, and leaves money and family alone.

    Why: A preview that books is the most surprising way to lose an account.
    How: Dry run; compare account, entries and family; then fork and compare with the preview.
    Fails when: Anything changed, the preview differs from policy or fork, or an account that is not
        eligible gets a preview.
    Remedy: End the dry run before the first write.
    """
    ripe = growing.ripe(ctx, extra=1)
    path = {"id": ripe.account["id"]}
    before = ctx.arrange.picture(ripe.account)
    trial = ctx.customer.call("forkAccount", path=path, body={"dry_run": True}, expect=200)
    ctx.arrange.expect_same(before, "A dry run changed the account", trial)
    family = ctx.arrange.pages("getLineage", path=path)
    ctx.equal(len(family), 1, "The family after a dry run", trial)
    shown = [(leg["type"], leg["amount"]) for leg in trial.body["legs"]]
    expected = [(leg.to, leg.amount) for leg in ripe.decision.legs]
    ctx.equal(shown, expected, "The legs of the preview", trial)
    amount = trial.body["amount"]["amount"]
    ctx.equal(amount, ripe.decision.amount, "The amount of the preview", trial)
    stated = trial.body["facts"]
    facts = {name: ripe.decision.facts[name] for name in stated if name in ripe.decision.facts}
    ctx.equal({name: stated[name] for name in facts}, facts, "The facts of the preview", trial)
    reply = growing.fork(ctx, ripe.account)
    ctx.equal(_opened(reply), expected, "The fork differs from its preview", trial, reply)
    poor = growing.seedling(ctx)[0]
    body = {"dry_run": True}
    ctx.customer.call("forkAccount", path={"id": poor["id"]}, body=body, problem="not_eligible")


@check(
    "functional/forks/repeated-key-forks-once",
    title="A fork repeated under its key answers the same children and opens no more",
    failure_title="A repeated fork opens more children, or answers otherwise",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "getLineage"],
    modules=(Module.GROWTH,),
    veto=Veto.DOUBLE_SPEND,
    defects=["fork-keys-are-forgotten"],
)
def check_repeated_key_forks_once(ctx: Context) -> None:
    """Whether the repetition has one effect, also when the account would be ripe again.

    Why: F6: the client whose connection broke asks again.
    How: Fork; bring the account to the edge again; repeat under the first key; count the family.
    Fails when: The answer is not 201 with the same event and children, or the family grew.
    Remedy: Store key and answer in the transaction of the fork.
    """
    ripe = growing.ripe(ctx)
    first = growing.fork(ctx, ripe.account)
    growing.endow(ctx, ripe.account, ripe.decision.amount)
    path = {"id": ripe.account["id"]}
    again = ctx.customer.call("forkAccount", path=path, body={}, key=first.sent_key)
    growing.forked(ctx, again)
    ctx.has_status(again, 201)
    ids = [[row["id"] for row in reply.body["children"]] for reply in (first, again)]
    ctx.equal(ids[1], ids[0], "The children of the repetition", first, again)
    ctx.equal(again.body["event"]["id"], first.body["event"]["id"], "The event", first, again)
    family = ctx.arrange.pages("getLineage", path=path)
    ctx.equal(len(family), 1 + len(ids[0]), "The family after the repetition", again)
