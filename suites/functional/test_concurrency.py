"""Bursts: whatever arrives at once ends as if it had come one after the other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from certification import bursts
from certification.checks import check
from certification.model import Json, Severity, Veto
from certification.retrying import REPLAYED, deposit_body, expect_entries, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certification.context import Context
    from certification.target.reply import Reply

RIVALS = 10


def _accepted(ctx: Context, replies: Sequence[Reply]) -> list[Reply]:
    """Return the accepted answers; fail on any that neither accepts nor refuses (4xx).

    Which problem a refusal names is asked by the sequential checks: here only money counts.
    """
    for reply in replies:
        ctx.expect(
            reply.status < 500,
            "An answer to the burst neither accepts nor refuses",
            expected="2xx or 4xx",
            observed=reply.status,
            on=[reply],
        )
    return [reply for reply in replies if reply.status < 300]


def _post(ctx: Context, body: Json) -> Callable[[], Reply]:
    return partial(ctx.customer.call, "createTransaction", body=body)


def _one_winner(ctx: Context, replies: Sequence[Reply], what: str) -> Reply:
    """Return the only accepted answer; fail if there is none or more than one."""
    winners = _accepted(ctx, replies)
    ctx.equal(len(winners), 1, f"{what}: accepted of {len(replies)}", *winners)
    return winners[0]


@check(
    "functional/concurrency/double-spend",
    title="Of many withdrawals of everything at once, one is taken",
    failure_title="The same money is spent more than once",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount"],
    veto=Veto.DOUBLE_SPEND,
    defects=["funds-checked-before-the-lock"],
)
def check_double_spend(ctx: Context) -> None:
    """Whether ten simultaneous withdrawals of the whole balance pay out once.

    Why: Check-then-write passes every sequential test and pays out ten times under load.
    How: Ten equal withdrawals at once, in rounds on fresh accounts until even and odd senders
        each won.
    Fails when: More or less than one is taken, or the ledger is not 0.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Check funds and book in one serialised database transaction.
    """
    for race in bursts.rounds(ctx, bursts.SENDERS):
        account = ctx.arrange.account(funds=1_000)
        body = ctx.arrange.withdrawal_body(account, 1_000)
        replies = race.together(bursts.equals(_post(ctx, body), RIVALS))
        winner = _one_winner(ctx, replies, "Withdrawals")
        race.came_first(bursts.sender(replies, winner))
        ctx.arrange.expect_balances(account, "After the burst", ledger=0, available=0)


@check(
    "functional/concurrency/double-hold",
    title="Of many holds of everything at once, one is taken",
    failure_title="The same money is held more than once",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getAccount"],
    veto=Veto.DOUBLE_SPEND,
    defects=["funds-checked-before-the-lock"],
)
def check_double_hold(ctx: Context) -> None:
    """Whether five holds and five withdrawals of the whole balance take it once between them.

    Why: Two promises of the same money cannot both be kept.
    How: Five holds and five withdrawals of everything, at once, in rounds until either won.
    Fails when: More or less than one is taken, or available is not 0.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Place holds under the same lock and check as debits.
    """
    for race in bursts.rounds(ctx, ("hold", "withdrawal")):
        account = ctx.arrange.account(funds=1_000)
        hold = _post(ctx, ctx.arrange.withdrawal_body(account, 1_000, hold=True))
        withdraw = _post(ctx, ctx.arrange.withdrawal_body(account, 1_000))
        replies = race.together([("hold", hold), ("withdrawal", withdraw)] * (RIVALS // 2))
        winner = _one_winner(ctx, replies, "Holds and withdrawals")
        race.came_first("hold" if winner.body["hold"] else "withdrawal")
        held = 1_000 if winner.body["hold"] else 0
        ctx.arrange.expect_balances(
            account, "After the burst", ledger=held, holds=held, available=0
        )


@check(
    "functional/concurrency/ring-of-transfers",
    title="Transfers in a ring and against it conserve money",
    failure_title="Transfers at once create, lose or lock up money",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount"],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["lost-update"],
)
def check_ring_of_transfers(ctx: Context) -> None:
    """Whether each balance is exactly what the accepted transfers make it, without a deadlock.

    Why: Opposite transfers lock two rows in opposite order; lost updates lose one of them.
    How: Three accounts; transfers A-B, B-C, C-A and back, 18 at once, in rounds until those with
        the ring and those against it each came first.
    Fails when: A balance differs from start plus in minus out, or an answer is 5xx.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Lock in one order, or write through one writer; never read, compute and store a balance.
    """
    ring = [ctx.arrange.account(funds=500) for _ in range(3)]
    expected = {account["id"]: 500 for account in ring}
    sides = ("with the ring", "against it")
    pairs = [(ring[n], ring[(n + step) % 3]) for n in range(3) for step in (1, 2)]
    for turn, race in enumerate(bursts.rounds(ctx, sides, least=3)):
        moves = [(s, t, 7 + n + turn) for n, (s, t) in enumerate(pairs * 3)]
        bodies = [ctx.arrange.transfer_body(s, t, amount) for s, t, amount in moves]
        rivals = [(sides[n % 2], _post(ctx, body)) for n, body in enumerate(bodies)]
        replies = race.together(rivals)
        race.came_first(_booked_first(rivals, replies, _accepted(ctx, replies)))
        for (source, target, amount), reply in zip(moves, replies, strict=True):
            if reply.status == 201:
                expected[source["id"]] -= amount
                expected[target["id"]] += amount
    for account in ring:
        ledger = expected[account["id"]]
        ctx.arrange.expect_balances(account, "A balance after the ring", ledger=ledger)


def _booked_first(
    rivals: Sequence[bursts.Rival], replies: Sequence[Reply], taken: Sequence[Reply]
) -> str | None:
    """Return the side of the accepted transaction that the book has first."""
    if not taken:
        return None
    first = min(taken, key=lambda reply: reply.body["seq"])
    return rivals[[reply.exchange_number for reply in replies].index(first.exchange_number)][0]


@check(
    "functional/concurrency/every-deposit-counts",
    title="Deposits at once are all counted",
    failure_title="A deposit that was acknowledged is not in the balance",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    veto=Veto.ACKNOWLEDGED_WRITE_LOST,
    defects=["lost-update"],
)
def check_every_deposit_counts(ctx: Context) -> None:
    """Whether sixteen simultaneous deposits of 1, 2, 4, ... add up and each has its entry.

    Why: A balance that is read, raised and stored loses deposits; powers of two name the lost ones.
    How: Sixteen deposits of distinct powers of two on one account, at once, in rounds until even
        and odd senders each came first.
    Fails when: The ledger is not the sum of those taken, or the entries are others.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Add to the balance inside the booking transaction.
    """
    for race in bursts.rounds(ctx, bursts.SENDERS, least=2):
        account = ctx.arrange.account()
        bodies = [
            {
                "kind": "deposit",
                "amount": ctx.arrange.money(2**n, account["currency"]),
                "to_account_id": account["id"],
            }
            for n in range(16)
        ]
        rivals = [(bursts.SENDERS[n % 2], _post(ctx, body)) for n, body in enumerate(bodies)]
        replies = race.together(rivals)
        accepted = _accepted(ctx, replies)
        if not accepted:
            ctx.undecided("no deposit of the burst was taken")
        race.came_first(_booked_first(rivals, replies, accepted))
        taken = [reply.body["amount"]["amount"] for reply in accepted]
        ctx.arrange.expect_balances(account, "The sum of all deposits taken", ledger=sum(taken))
        booked = sorted(row["amount"] for row in ctx.arrange.entries(account))
        ctx.equal(booked, sorted(taken), "The entries of all deposits taken")


@check(
    "functional/concurrency/settle-or-void",
    title="Of settles and voids at once, exactly one ends the hold",
    failure_title="A hold ends twice, or not at all",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["settleTransaction", "voidTransaction", "getTransaction", "getAccount"],
    identities=("customer", "operator"),
    veto=Veto.DOUBLE_SPEND,
    defects=["hold-state-checked-before-the-lock"],
)
def check_settle_or_void(ctx: Context) -> None:
    """Whether four settles and four voids at once have one winner, which the balances show.

    Why: T4: a hold that is settled and voided pays out money that it also gave back.
    How: Eight rivals end one hold, in rounds until either won; status, balances and entries are
        compared.
    Fails when: Not exactly one is taken, or state and balances do not match the winner.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: End a hold with one conditional update in the booking transaction.
    """
    for race in bursts.rounds(ctx, ("settle", "void")):
        account = ctx.arrange.account(funds=1_000)
        path = {"id": ctx.arrange.hold(account, 400)["id"]}
        settle = partial(ctx.operator.call, "settleTransaction", path=path, body={})
        void = partial(ctx.customer.call, "voidTransaction", path=path, body={})
        replies = race.together([("settle", settle), ("void", void)] * 4)
        winner = _one_winner(ctx, replies, "Settles and voids")
        race.came_first("settle" if winner.body["status"] == "settled" else "void")
        state = ctx.arrange.read_transaction(winner.body)["status"]
        ctx.equal(state, winner.body["status"], "The state is not the winner's")
        settled = winner.body["status"] == "settled"
        ledger = 600 if settled else 1_000
        message = f"After a hold was {winner.body['status']}"
        ctx.arrange.expect_balances(account, message, ledger=ledger, holds=0, available=ledger)
        ctx.equal(len(ctx.arrange.entries(account)), 1 + settled, "The entries after the burst")


@check(
    "functional/concurrency/close-or-deposit",
    title="A close and deposits at once never strand money",
    failure_title="Money arrives in an account that is closed",
    severity=Severity.CRITICAL,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["closeAccount", "createTransaction", "getAccount"],
    defects=["close-checks-before-the-lock"],
)
def check_close_or_deposit(ctx: Context) -> None:
    """Whether either the close or the deposits win, never both.

    Why: A deposit between the check for emptiness and the close is gone for its owner.
    How: One close and four deposits on an empty account, at once, in rounds until either came
        first.
    Fails when: A deposit and the close are both taken, an answer is 5xx, or the balance
        differs. INCONCLUSIVE where only one order was ever seen.
    Remedy: Check emptiness and set the status in one transaction; check the status in every
        booking.
    """
    for race in bursts.rounds(ctx, ("close", "deposit")):
        account = ctx.arrange.account()
        etag = ctx.arrange.read_reply(account).etag
        close: Callable[[], Reply] = partial(
            ctx.customer.call,
            "closeAccount",
            path={"id": account["id"]},
            body={},
            if_match=etag,
        )
        money = ctx.arrange.money(100, account["currency"])
        deposit = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
        rivals = [("close", close), *[("deposit", _post(ctx, deposit))] * 4]
        closing, *deposits = race.together(rivals)
        taken = _accepted(ctx, deposits)
        closed = bool(_accepted(ctx, [closing]))
        ctx.equal(
            closed and bool(taken),
            False,
            "The close and a deposit were both taken",
            closing,
            *taken,
        )
        message = f"After {len(taken)} deposits of 100 and a close ({closing.status})"
        ctx.arrange.expect_balances(account, message, ledger=100 * len(taken))
        status = ctx.arrange.read(account)["status"]
        ctx.equal(status, "closed" if closed else "active", message)
        race.came_first("close" if closed else "deposit")


@check(
    "functional/concurrency/reversed-once",
    title="Of many reversals of one transaction at once, one is taken",
    failure_title="A transaction is reversed more than once",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["reverseTransaction", "getAccount"],
    identities=("customer", "manager"),
    veto=Veto.DOUBLE_SPEND,
    defects=["reversal-checked-before-the-lock"],
)
def check_reversed_once(ctx: Context) -> None:
    """Whether eight simultaneous reversals of one withdrawal give the money back once.

    Why: A refund button pressed twice must not refund twice.
    How: Eight reversals under keys of their own, at once, in rounds until even and odd senders
        each won.
    Fails when: Not exactly one is taken, or the ledger is not what it was before the withdrawal.
        INCONCLUSIVE where only one order was ever seen.
    Remedy: Make the reversed transaction's id unique among reversals.
    """
    for race in bursts.rounds(ctx, bursts.SENDERS):
        account = ctx.arrange.account(funds=1_000)
        original = ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 300))
        path = {"id": original["id"]}
        reverse = partial(
            ctx.manager.call, "reverseTransaction", path=path, body={"reason": "pressed twice"}
        )
        replies = race.together(bursts.equals(reverse, 8))
        winner = _one_winner(ctx, replies, "Reversals")
        race.came_first(bursts.sender(replies, winner))
        ctx.arrange.expect_balances(account, "After the reversals", ledger=1_000, available=1_000)


@check(
    "functional/concurrency/one-key-one-effect",
    title="A request sent many times at once under one key is carried out once",
    failure_title="One key is carried out more than once",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    veto=Veto.DOUBLE_SPEND,
    defects=["key-race"],
)
def check_one_key_one_effect(ctx: Context) -> None:
    """Whether of ten equal requests one is carried out, and the others say so or wait.

    Why: Retries of a slow request overlap it.
    How: Ten deposits under one key, at once, in rounds until even and odd senders each were the
        one that was carried out.
    Fails when: An answer is neither the same 201 nor 409 idempotency_in_flight, not one is the
        original, or the entries are more than one. INCONCLUSIVE where only one order was seen.
    Remedy: Insert the key in the transaction of its write.
    """
    for race in bursts.rounds(ctx, bursts.SENDERS):
        account = ctx.arrange.account()
        body, key = deposit_body(ctx, account, 1_000), new_key()
        send = partial(ctx.customer.call, "createTransaction", body=body, key=key)
        replies = race.together(bursts.equals(send, RIVALS))
        done = [reply for reply in replies if reply.status == 201]
        for reply in replies:
            if reply.status != 201:
                ctx.is_problem(reply, "idempotency_in_flight")
        originals = [reply for reply in done if reply.headers.get(REPLAYED) is None]
        ctx.equal(len({reply.body["id"] for reply in done}), 1, "Effects of one key", *done)
        expect_entries(ctx, account, [1_000], *done)
        race.came_first(bursts.sender(replies, originals[0]) if len(originals) == 1 else None)
