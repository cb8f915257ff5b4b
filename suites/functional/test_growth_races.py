"""Growth under bursts: whatever arrives at once ends as if it had come one after the other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from certification import bursts, growing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import growth, lineage, serial
from certification.retrying import REPLAYED, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certification.bursts import Race
    from certification.context import Context
    from certification.target.reply import Reply

CROSSWISE = ("A into B", "B into A")
SHARING = ("into the first target", "into the second target")

State = TypeVar("State")


def _burst(
    race: Race,
    start: State,
    rivals: Sequence[tuple[str, Callable[[], Reply], Callable[[State], State | None]]],
    read: Callable[[], State],
) -> list[Reply]:
    """Send all at once; fail unless answers and end are those of some order of the requests.

    Each rival is (its side, what sends it, what it does to the state, None where it is refused).
    Which problem a refusal names is for other checks. The side is counted with which every order
    that explains the outcome begins.
    """
    ctx = race.ctx
    replies = race.together([(side, send) for side, send, _ in rivals])
    for reply in replies:
        ctx.expect(
            reply.status < 500,
            "An answer to the burst neither accepts nor refuses",
            expected="2xx or 4xx",
            observed=reply.status,
            on=[reply],
        )
    observed = (tuple(reply.status < 300 for reply in replies), read())
    allowed = serial.firsts(start, [step for _, _, step in rivals])
    ctx.expect(
        observed in allowed,
        "No order of the requests explains which were accepted and what is left",
        expected=" or ".join(sorted(repr(outcome) for outcome in allowed)),
        observed=repr(observed),
        on=replies,
    )
    sides = {rivals[index][0] for index in allowed[observed]}
    race.came_first(sides.pop() if len(sides) == 1 else None)
    return replies


def _withdrawal(ctx: Context, account: Json, amount: int) -> Callable[[], Reply]:
    body = ctx.arrange.withdrawal_body(account, amount)
    return partial(growing.patiently, ctx, "createTransaction", body=body)


Forking = tuple[int, int, int | None]
"""Cash of the parent, how often it forked, and what the last fork left."""


def _fork_step(policy: Json, parent: growth.Standing, state: Forking) -> Forking | None:
    cash, forks, left = state
    history = growth.History(ages_s=(0.0,) * forks, ledger_after=left)
    decision = growth.judge_fork(policy, replace(parent, ledger=cash), history)
    if not decision.eligible:
        return None
    return cash - decision.amount, forks + 1, cash - decision.amount


def _pay_step(amount: int, state: Forking) -> Forking | None:
    cash, forks, left = state
    return (cash - amount, forks, left) if cash >= amount else None


def _read_forking(ctx: Context, account: Json) -> Forking:
    """Return the state as lists and balances show it."""
    events = ctx.arrange.pages("listGrowthEvents", query={"account_id": account["id"]})
    forks = [row for row in events if row["kind"] == "fork" and row["account_id"] == account["id"]]
    cash = ctx.arrange.balances(account)["ledger"]
    last = max(forks, key=lambda row: row["seq"], default=None)
    left = None if last is None else last["facts"]["ledger"] - last["amount"]
    return cash, len(forks), left


@check(
    "functional/growth-races/fork-or-withdrawal",
    title="A fork and withdrawals at once leave what one order of them leaves",
    failure_title="A fork and a withdrawal at once take the same money",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO", "SYS-TXN"],
    operations=["forkAccount", "createTransaction", "getAccount", "listGrowthEvents"],
    modules=(Module.GROWTH,),
    veto=Veto.DOUBLE_SPEND,
    defects=["fork-checked-before-the-lock"],
)
def check_fork_or_withdrawal(ctx: Context) -> None:
    """Whether acceptance and parent's cash are those of some serial order, and never below zero.

    Why: A fork reads the surplus and moves it; money that leaves in between is moved twice.
    How: An account at the edge of its trigger; two forks, withdrawals of one unit and of half,
        in every other round one of everything, at once; all orders computed by the oracle; rounds
        until either side came first.
    Fails when: An answer is 5xx, or no order explains which were accepted and what is left.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Judge and book the fork in one serialised transaction.
    """
    fork, pay = "fork", "withdrawal"
    for number, race in enumerate(bursts.rounds(ctx, (fork, pay))):
        ripe = growing.ripe(ctx)
        parent, cash = growing.standing(ripe.account), ripe.account["balances"]["ledger"]
        amounts = (1, cash // 2, cash)[: 2 + number % 2]
        step = partial(_fork_step, ripe.policy, parent)
        rivals = [
            *[(fork, growing.forking(ctx, ripe.account), step)] * 2,
            *((pay, _withdrawal(ctx, ripe.account, n), partial(_pay_step, n)) for n in amounts),
        ]
        start: Forking = (cash, 0, None)
        _burst(race, start, rivals, partial(_read_forking, ctx, ripe.account))


@check(
    "functional/growth-races/fork-or-fork",
    title="Forks of one account at once open what one order of them opens",
    failure_title="Forks at once move the same surplus twice",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "getAccount", "listGrowthEvents"],
    modules=(Module.GROWTH,),
    veto=Veto.DOUBLE_SPEND,
    defects=["fork-checked-before-the-lock"],
)
def check_fork_or_fork(ctx: Context) -> None:
    """Whether of four forks as many are taken as would be one after the other.

    Why: The button that forks is pressed twice.
    How: Four forks of a ripe account under keys of their own, in rounds until even and odd
        senders each came first.
    Fails when: An answer is 5xx, or more or fewer are taken than some order allows.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Judge trigger, cool-down and daily limit in the transaction that books.
    """
    for race in bursts.rounds(ctx, bursts.SENDERS):
        ripe = growing.ripe(ctx)
        parent, cash = growing.standing(ripe.account), ripe.account["balances"]["ledger"]
        step = partial(_fork_step, ripe.policy, parent)
        forks = bursts.equals(growing.forking(ctx, ripe.account), 4)
        start: Forking = (cash, 0, None)
        rivals = [(side, send, step) for side, send in forks]
        _burst(race, start, rivals, partial(_read_forking, ctx, ripe.account))


@check(
    "functional/growth-races/one-key-one-fork",
    title="A fork sent many times at once under one key happens once",
    failure_title="One key forks more than once",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["forkAccount", "getLineage"],
    modules=(Module.GROWTH,),
    veto=Veto.DOUBLE_SPEND,
    defects=["fork-keys-are-forgotten"],
)
def check_one_key_one_fork(ctx: Context) -> None:
    """Whether every answer is the one fork, or says that it is still running.

    Why: F6: retries of a slow request overlap it.
    How: Six requests with one key at once, in rounds until even and odd senders each came first;
        compare the children.
    Fails when: An answer is neither the same 201 nor 409 idempotency_in_flight, none is 201, or
        the family has more members than one fork opens. INCONCLUSIVE where only one order was seen.
    Remedy: Insert the key in the transaction of the fork.
    """
    for race in bursts.rounds(ctx, bursts.SENDERS):
        account = growing.ripe(ctx).account
        path, key = {"id": account["id"]}, new_key()
        send = partial(ctx.customer.call, "forkAccount", path=path, body={}, key=key)
        sent = race.together(bursts.equals(send, 6))
        replies = [growing.forked(ctx, reply) for reply in sent]
        done = [reply for reply in replies if reply.status == 201]
        for reply in replies:
            if reply.status != 201:
                ctx.is_problem(reply, "idempotency_in_flight")
        ids = {tuple(child["id"] for child in reply.body["children"]) for reply in done}
        ctx.equal(len(ids), 1, "Different forks under one key", *replies)
        family = ctx.arrange.pages("getLineage", path=path)
        ctx.equal(len(family), 1 + len(next(iter(ids))), "The family after the burst", *done)
        originals = [reply for reply in done if reply.headers.get(REPLAYED) is None]
        race.came_first(bursts.sender(sent, originals[0]) if len(originals) == 1 else None)


Merging = tuple[int, int, bool]
"""Cash of the first source, cash of the target, and whether they are merged."""


@check(
    "functional/growth-races/merge-or-deposit",
    title="A merge and deposits into its source at once never leave money behind",
    failure_title="Money arrives in an account that was merged",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "createTransaction", "getAccount"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["deposits-miss-the-merge"],
)
def check_merge_or_deposit(ctx: Context) -> None:
    """Whether each deposit is either part of the merge or refused.

    Why: A deposit between reading the source and ending it is gone for its owner.
    How: A merge and three deposits of distinct amounts into a source, in rounds until either side
        came first.
    Fails when: An answer is 5xx, or no order explains source, target and who was accepted.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Check for merged in every booking, in its own transaction.
    """

    def merge(state: Merging) -> Merging | None:
        source, into, merged = state
        return None if merged else (0, into + source + rest, True)

    def deposit(amount: int, state: Merging) -> Merging | None:
        source, into, merged = state
        return None if merged else (source + amount, into, merged)

    def read() -> Merging:
        source, into = ctx.arrange.read(sources[0]), ctx.arrange.read(target)
        merged = source["status"] == "merged"
        return source["balances"]["ledger"], into["balances"]["ledger"], merged

    for race in bursts.rounds(ctx, ("merge", "deposit")):
        sources, target = growing.mergeable(ctx)
        cash = [source["balances"]["ledger"] for source in sources]
        rest = sum(cash[1:])
        rivals: list[tuple[str, Callable[[], Reply], Callable[[Merging], Merging | None]]]
        rivals = [("merge", growing.merging(ctx, sources, target), merge)]
        for n in (16, 32, 64):
            rivals.append(("deposit", _deposit(ctx, sources[0], n), partial(deposit, n)))
        _burst(race, (cash[0], target["balances"]["ledger"], False), rivals, read)


def _deposit(ctx: Context, account: Json, amount: int) -> Callable[[], Reply]:
    money = ctx.arrange.money(amount, account["currency"])
    body = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
    return partial(growing.patiently, ctx, "createTransaction", body=body)


@check(
    "functional/growth-races/merges-crosswise",
    title="Of two merges in opposite directions at once, one is made",
    failure_title="Two accounts are merged into each other",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "getAccount"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["merge-checked-before-the-lock"],
)
def check_merges_crosswise(ctx: Context) -> None:
    """Whether exactly one of A into B and B into A is taken, and merged_into has no ring.

    Why: M3: both taken, the money of both is in accounts that have ended.
    How: Both merges, twice each, at once, in rounds until either was made; read both accounts.
    Fails when: An answer is 5xx, not exactly one is taken, merged_into runs in a ring, or the
        survivor does not hold everything. INCONCLUSIVE where only one order was ever seen.
    Remedy: Check the states of all accounts in the transaction that merges.
    """
    for race in bursts.rounds(ctx, CROSSWISE):
        sources, other = growing.mergeable(ctx)
        first, rest = sources[0], sources[1:]
        more = [ctx.arrange.account(type=other["type"], funds=7) for _ in rest]
        there = growing.merging(ctx, [first, *rest], other)
        back = growing.merging(ctx, [other, *more], first)
        replies = race.together(list(zip(CROSSWISE, (there, back), strict=True)) * 2)
        won = [reply for reply in replies if reply.status == 201]
        ctx.equal(len(won), 1, "Merges that were made", *replies)
        race.came_first(CROSSWISE[replies.index(won[0]) % 2])
        everyone = [ctx.arrange.read(account) for account in (first, other, *rest, *more)]
        edges = {row["id"]: row["merged_into_id"] for row in everyone}
        rings = [id_ for id_ in edges if lineage.chain(id_, edges) is None]
        ctx.equal(rings, [], "Accounts that were merged in a ring", *won)
        total = sum(row["balances"]["ledger"] for row in everyone)
        start = sum(row["balances"]["ledger"] for row in (first, other, *rest, *more))
        ctx.equal(total, start, "The money of all accounts after the burst", *won)
        left = [row for row in everyone if row["status"] == "merged"]
        ctx.equal(sum(row["balances"]["ledger"] for row in left), 0, "What the merged keep", *won)


@check(
    "functional/growth-races/reinvestment-or-withdrawal",
    title="A reinvestment and withdrawals at once leave what one order of them leaves",
    failure_title="A reinvestment and a withdrawal at once take the same money",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO", "SYS-TXN"],
    operations=["reinvestAccount", "createTransaction", "getAccount"],
    modules=(Module.GROWTH,),
    veto=Veto.DOUBLE_SPEND,
    defects=["reinvestment-checked-before-the-lock"],
)
def check_reinvestment_or_withdrawal(ctx: Context) -> None:
    """Whether reinvestments of one period and withdrawals agree with some order.

    Why: Cash that became a position cannot also be paid out; a period is reinvested once.
    How: Two reinvestments of one period, a withdrawal of one unit and one of everything, at
        once, in every other round with that unit to spare; all orders computed by the oracle;
        rounds until either side came first.
    Fails when: An answer is 5xx, or no order explains cash, positions and who was accepted.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Judge and book the reinvestment in one serialised transaction.
    """

    def reinvest(state: tuple[int, int]) -> tuple[int, int] | None:
        cash, elsewhere = state
        account = replace(start, ledger=cash)
        done = elsewhere > 0
        decision = growth.judge_reinvest(ready.policy, account, ready.amount, done=done)
        return (cash - ready.amount, ready.amount) if decision.eligible else None

    def withdraw(amount: int, state: tuple[int, int]) -> tuple[int, int] | None:
        cash, elsewhere = state
        return (cash - amount, elsewhere) if cash >= amount else None

    def read() -> tuple[int, int]:
        balances = ctx.arrange.balances(ready.account)
        return balances["ledger"], balances["total_value"] - balances["ledger"]

    for number, race in enumerate(bursts.rounds(ctx, ("reinvestment", "withdrawal"))):
        # Without a unit to spare, a first withdrawal of one unit rightly ends the reinvestments;
        # with it, both are still possible when they look, and only one may be booked.
        ready = growing.reinvestable(ctx, spare=number % 2)
        start, path = growing.standing(ready.account), {"id": ready.account["id"]}
        body = ready.body(ctx)
        send = partial(growing.patiently, ctx, "reinvestAccount", path=path, body=body)
        rivals: list[
            tuple[str, Callable[[], Reply], Callable[[tuple[int, int]], tuple[int, int] | None]]
        ]
        rivals = [("reinvestment", send, reinvest)] * 2
        for amount in (1, start.ledger):
            pay = _withdrawal(ctx, ready.account, amount)
            rivals.append(("withdrawal", pay, partial(withdraw, amount)))
        _burst(race, (start.ledger, 0), rivals, read)


@check(
    "functional/growth-races/merges-sharing-a-source",
    title="Of two merges at once that share a source, one is made",
    failure_title="One account is merged into two",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "E2E-GRO"],
    operations=["mergeAccounts", "getAccount"],
    modules=(Module.GROWTH,),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["merge-checked-before-the-lock"],
)
def check_merges_sharing_a_source(ctx: Context) -> None:
    """Whether a source that two merges name goes into one target, with all its money.

    Why: The money of an account that is merged twice is credited twice.
    How: Two merges into two targets, at once, that share their first source; in rounds until
        either was made; all accounts are read.
    Fails when: An answer is 5xx, not exactly one is taken, the source names another target than
        the winner's, or the money of all accounts is not what it was.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Check the states of all sources in the transaction that merges.
    """
    for race in bursts.rounds(ctx, SHARING):
        sources, one = growing.mergeable(ctx)
        fields: Json = {"type": one["type"], "withdrawal_allowed": True}
        rest = [ctx.arrange.account(funds=70_001 + n, **fields) for n in range(len(sources) - 1)]
        other = ctx.arrange.account(funds=7, **fields)
        plans = [(sources, one), ([sources[0], *rest], other)]
        merges = [growing.merging(ctx, which, into) for which, into in plans]
        replies = race.together(list(zip(SHARING, merges, strict=True)))
        won = [number for number, reply in enumerate(replies) if reply.status == 201]
        ctx.equal(len(won), 1, "Merges that were made", *replies)
        race.came_first(SHARING[won[0]])
        before = [*sources, *rest, one, other]
        after = [ctx.arrange.read(account) for account in before]
        ctx.equal(after[0]["merged_into_id"], plans[won[0]][1]["id"], "Where the source went")
        totals = [sum(row["balances"]["ledger"] for row in rows) for rows in (after, before)]
        ctx.equal(totals[0], totals[1], "The money of all accounts after the burst", *replies)
        left = sum(row["balances"]["ledger"] for row in after if row["status"] == "merged")
        ctx.equal(left, 0, "What the merged accounts keep", *replies)
