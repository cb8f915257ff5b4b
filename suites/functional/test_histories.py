"""Histories: what many clients did and saw at once has an order that explains every answer."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from certification import histories
from certification.checks import check
from certification.histories import Recorder, Write
from certification.model import Json, Severity, Veto

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context
    from certification.target.reply import Reply

CLIENTS = 10
STEPS = 6
WAVES = 4
WAITING_S_MAX = 6.0
"""How long a session's waits for a declared bound may take together."""
GIVE_UPS = 24


def _funded(ctx: Context, recorder: Recorder, amount: int) -> Json:
    """Return a new account with one recorded deposit."""
    account = ctx.arrange.account(withdrawal_allowed=True)
    recorder.write("opening", recorder.deposit(account, amount))
    return account


def _drawn(amounts: list[int]) -> Callable[[], int]:
    """Return what gives each client an amount of its own, in the order of asking."""
    lock, left = threading.Lock(), iter(amounts)

    def following() -> int:
        with lock:
            return next(left)

    return following


@check(
    "functional/histories/one-account",
    title="What clients see of one account has one order that explains it",
    failure_title="No order of what clients did to one account explains what they saw",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=[
        "createTransaction",
        "settleTransaction",
        "voidTransaction",
        "getAccount",
        "listEntries",
    ],
    identities=("customer", "operator"),
    defects=["available-is-cached", "refused-money-is-shown"],
)
def check_one_account(ctx: Context) -> None:
    """Whether deposits, withdrawals, holds, settles, voids and reads at once are linearizable.

    Why: A balance that was never true, or a hold that is free for a moment, passes every test
        that looks only at the end.
    How: Ten clients mix writes of amounts that name them with reads of balances and statements,
        in four waves; a graph of what must come before what, and a search over all orders,
        judge the recorded answers. A declared bound of old reads is respected.
    Fails when: No order by the clock explains every answer. The finding tells the shortest story.
    Remedy: Read balances and holds in one snapshot, and write under one lock or version.
    """
    amounts = histories.amounts(ctx, CLIENTS * STEPS * WAVES + 1)
    recorder = Recorder(ctx)
    account = _funded(ctx, recorder, amounts.pop())
    take, holds = _drawn(amounts), []

    def place(client: str) -> None:
        reply = recorder.write(client, recorder.hold(account, take() // 8 + 1))
        if reply is not None and reply.status == 201:
            holds.append(reply.body)

    def end(client: str, of: Callable[[Json, Json], Write]) -> None:
        if holds:
            recorder.write(client, of(account, holds[-1]))
        else:
            recorder.balance(client, account)

    def steps(client: str) -> list[Callable[[], object]]:
        choices: list[Callable[[], object]] = [
            lambda: recorder.write(client, recorder.deposit(account, take())),
            lambda: recorder.write(client, recorder.withdrawal(account, take())),
            partial(place, client),
            partial(end, client, recorder.settle),
            partial(end, client, recorder.void),
            partial(recorder.statement, client, account),
            *[partial(recorder.balance, client, account)] * 3,
        ]
        return ctx.random.choices(choices, k=STEPS)

    for _ in range(WAVES):
        histories.waves(ctx, [steps(f"client-{n}") for n in range(1, CLIENTS + 1)])
    history = recorder.history([account])
    histories.judge(ctx, history, searched=[account["id"]])


@check(
    "functional/histories/ring-storm",
    title="A storm of transfers in a ring leaves no reader with a sum that never was",
    failure_title="A storm of transfers shows or leaves what no order of them gives",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["lost-update"],
)
def check_ring_storm(ctx: Context) -> None:
    """Whether transfers round five accounts and back, read meanwhile, have one order in all books.

    Why: Two accounts that disagree on which transfer was first have been written without a lock.
    How: Twelve clients send transfers of amounts that name them, and read balances and
        statements between; the statements at rest, both sides of each transfer and every read
        are put in one order.
    Fails when: A transfer is lost, doubled or torn, a balance never was, or the orders disagree.
    Remedy: Book both sides in one transaction, locked in one order.
    """
    clients, steps = 12, 14
    amounts = histories.amounts(ctx, clients * steps + 5)
    recorder = Recorder(ctx)
    ring = [_funded(ctx, recorder, amounts.pop()) for _ in range(5)]
    take = _drawn(amounts)

    def work(client: str) -> list[Callable[[], object]]:
        done: list[Callable[[], object]] = []
        for _ in range(steps):
            place, way = ctx.random.randrange(5), ctx.random.choice((-1, 1))
            source, target = ring[place], ring[(place + way) % 5]
            done.append(
                ctx.random.choice(
                    (
                        *[partial(_transfer, recorder, client, source, target, take)] * 5,
                        *[partial(recorder.balance, client, target)] * 3,
                        partial(recorder.statement, client, source),
                    )
                )
            )
        return done

    histories.waves(ctx, [work(f"client-{n}") for n in range(1, clients + 1)])
    histories.judge(ctx, recorder.history(ring))


def _transfer(
    recorder: Recorder, client: str, source: Json, target: Json, take: Callable[[], int]
) -> None:
    recorder.write(client, recorder.transfer(source, target, take()))


@check(
    "functional/histories/hot-account",
    title="An account that everybody pays into loses and invents nothing",
    failure_title="An account that everybody pays into loses or invents writes",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    veto=Veto.ACKNOWLEDGED_WRITE_LOST,
    defects=["failed-commits-are-acknowledged"],
)
def check_hot_account(ctx: Context) -> None:
    """Whether every acknowledged write of a hot account is in its statement, once and in order.

    Why: Under contention writes are batched and retried, and a batch that fails may have been
        acknowledged.
    How: Sixteen clients pay in and out of one account at once, ten times each, and read it now
        and then; every acknowledgement, refusal and read is held against the statement at rest.
    Fails when: An acknowledged write is missing, a refused one is there, one is there twice, or
        a read shows what no order explains.
    Remedy: Acknowledge after the commit has returned, and answer a failed one with a refusal.
    """
    clients, steps = 16, 10
    amounts = histories.amounts(ctx, clients * steps + 1)
    recorder = Recorder(ctx)
    account = _funded(ctx, recorder, amounts.pop())
    take = _drawn(amounts)

    def work(client: str) -> list[Callable[[], object]]:
        choices: list[Callable[[], object]] = [
            *[lambda: recorder.write(client, recorder.deposit(account, take()))] * 4,
            *[lambda: recorder.write(client, recorder.withdrawal(account, take()))] * 3,
            partial(recorder.balance, client, account),
            partial(recorder.statement, client, account),
        ]
        return ctx.random.choices(choices, k=steps)

    histories.waves(ctx, [work(f"client-{n}") for n in range(1, clients + 1)])
    histories.judge(ctx, recorder.history([account]))


@check(
    "functional/histories/reads-follow-writes",
    title="A session reads what it wrote, and never less than it has read, within the bound",
    failure_title="A session does not read what it wrote, or reads less than before",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "SYS-ACC"],
    operations=["createTransaction", "getAccount", "listEntries"],
    defects=["replica-lags", "acknowledged-before-the-commit"],
)
def check_reads_follow_writes(ctx: Context) -> None:
    """Whether each session's reads follow its acknowledged writes and its own earlier reads.

    Why: A client that pays and then reads its old balance pays again.
    How: Four sessions on accounts of their own deposit, read balance and statement at once, wait
        for the declared bound where there is one, and read both again, up to twelve times.
    Fails when: A read misses a write that was acknowledged before it, or shows less than an
        earlier read, by more than the declared bound.
    Remedy: Read from where was written, or declare the bound that the replicas keep.
    """
    lag_s = ctx.arrange.lag_s
    turns = max(1, min(12, int(WAITING_S_MAX / lag_s))) if lag_s else 12
    sessions = 4
    amounts = histories.amounts(ctx, sessions * turns)
    recorder, take = Recorder(ctx), _drawn(amounts)

    def session(client: str) -> list[Callable[[], object]]:
        account = ctx.arrange.account()
        accounts.append(account)
        look: list[Callable[[], object]] = [
            partial(recorder.balance, client, account),
            partial(recorder.statement, client, account),
        ]
        turn: list[Callable[[], object]] = [
            lambda: recorder.write(client, recorder.deposit(account, take())),
            *look,
            ctx.arrange.let_writes_arrive,
            *look,
        ]
        return turn * turns

    accounts: list[Json] = []
    histories.waves(ctx, [session(f"session-{n}") for n in range(1, sessions + 1)])
    histories.judge(ctx, recorder.history(accounts))


@check(
    "functional/histories/giving-up-and-repeating",
    title="A client that gives up and repeats its key pays once",
    failure_title="A client that gives up and repeats its key pays twice, or never",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    veto=Veto.DOUBLE_SPEND,
    defects=["key-is-kept-late"],
)
def check_giving_up_and_repeating(ctx: Context) -> None:
    """Whether a request whose answer nobody waited for takes effect exactly once.

    Why: Time-outs are when keys are needed: the client does not know, and must ask again.
    How: Twenty-four deposits by six clients, each given up after a fraction of the usual time
        and repeated at once under its key until it is answered; the statement is compared.
    Fails when: A deposit is in the statement twice, or not at all though its key says so.
        INCONCLUSIVE where no given-up request had reached the deployment.
    Remedy: Keep the key in the transaction of its write, whether or not the client still listens.
    """
    amounts = histories.amounts(ctx, GIVE_UPS + 1)
    recorder = Recorder(ctx)
    account = ctx.arrange.account()
    usual = recorder.write("opening", recorder.deposit(account, amounts.pop()))
    usual_s = 0.02 if usual is None else usual.elapsed_ms / 1000
    take = _drawn(amounts)
    replayed: list[Reply] = []

    def give_up(client: str, share: float) -> None:
        write = recorder.deposit(account, take())
        answered = recorder.insist(client, write, deadline_s=max(usual_s * share, 0.001))
        if answered.headers.get("Idempotency-Replayed") == "true":
            replayed.append(answered)

    work: list[list[Callable[[], object]]] = [
        [partial(give_up, f"client-{n}", 0.2 + 0.15 * ((n + turn) % 6)) for turn in range(4)]
        for n in range(GIVE_UPS // 4)
    ]
    histories.waves(ctx, work)
    histories.judge(ctx, recorder.history([account]))
    if not replayed:
        ctx.undecided(f"none of {GIVE_UPS} requests that were given up had been carried out")
