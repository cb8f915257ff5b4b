"""The moment at which a hold expires: a settle or void comes before it or after it, never both."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from certification.bursts import Race
from certification.checks import check
from certification.model import Json, Severity, Veto

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context
    from certification.target.reply import Reply

WAVES_MAX = 6
HOLDS = 6
SPREAD_S = 0.08
SHIFT_S = 0.15
LEAD_S = 0.8
"""How long before the expiry its hold is placed, besides what six holds take."""
EXPIRED_WITHIN_S = 3.0
FUNDS = 700
CLOCK_READS = 3
SLOW_S = 0.3
"""A slower deposit was kept waiting, and says little of how long a hold takes."""


@check(
    "functional/expiry-races/settle-or-expiry",
    title="A hold that is settled as it expires is one or the other",
    failure_title="A hold expires, its money is spent, and it is settled all the same",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["settleTransaction", "createTransaction", "getTransaction", "getAccount"],
    identities=("customer", "operator"),
    veto=Veto.DOUBLE_SPEND,
    defects=["expiry-is-judged-on-arrival"],
)
def check_settle_or_expiry(ctx: Context) -> None:
    """Whether around the expiry either the settle or a withdrawal of the same money is taken.

    Why: T4: a settle that looked before the expiry and books after it pays out what was free.
    How: Six accounts, each with all its money held until one moment; around that moment a settle
        and a withdrawal of everything are sent to each; in waves until settles and expiries were
        both seen.
    Fails when: A settle and the withdrawal of its money are both taken, or state and balances
        do not match what was taken. INCONCLUSIVE where only one order was ever seen.
    Remedy: Judge the expiry inside the transaction that settles.
    """
    _waves(Race(ctx, ("settle", "expiry")), _settle_wave)


@check(
    "functional/expiry-races/void-or-expiry",
    title="A hold that is voided as it expires is one or the other",
    failure_title="A hold expires and is voided all the same, or its money is released twice",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["voidTransaction", "createTransaction", "getTransaction", "getAccount"],
    defects=["void-is-judged-on-arrival"],
)
def check_void_or_expiry(ctx: Context) -> None:
    """Whether around the expiry a void is taken and the hold voided, or refused and it expired.

    Why: T4: a hold that ends twice tells its owner and the merchant different things, and money
        that both ends release is there twice.
    How: Six accounts, each with all its money held until one moment; around that moment each hold
        is voided; in waves until voids and expiries were both seen.
    Fails when: A void is taken and the hold has expired, or it is refused and the hold is voided,
        or afterwards the free money is not exactly what was held. INCONCLUSIVE where only one
        order was ever seen.
    Remedy: Judge the expiry inside the transaction that voids; let whichever ends the hold release
        its money.
    """
    _waves(Race(ctx, ("void", "expiry")), _void_wave)


def _waves(race: Race, wave: Callable[[Race, float], None]) -> None:
    """Send waves until both orders were seen, each nearer to the order that was not."""
    shift_s, (request, _) = 0.0, race.sides
    race.overlapped = True
    for _ in range(WAVES_MAX):
        before = race.first[request]
        wave(race, shift_s)
        if race.seen:
            break
        shift_s += SHIFT_S if race.first[request] > before else -SHIFT_S
    race.report()


def _settle_wave(race: Race, shift_s: float) -> None:
    ctx = race.ctx
    at_s, placed = _placed(ctx)
    actions: list[Callable[[], Reply]] = []
    for moment_s, (account, hold) in zip(_moments(at_s + shift_s), placed, strict=True):
        body = ctx.arrange.withdrawal_body(account, hold["amount"]["amount"])
        path = {"id": hold["id"]}
        settle = partial(ctx.operator.call, "settleTransaction", path=path, body={})
        spend = partial(ctx.customer.call, "createTransaction", body=body)
        actions += [_at(ctx, moment_s, settle), _at(ctx, max(moment_s, at_s), spend)]
    replies = ctx.together(actions)
    for number, (account, hold) in enumerate(placed):
        settling, spending = replies[2 * number : 2 * number + 2]
        _judge(ctx, account, hold, (settling, spending))
        race.came_first("settle" if settling.status == 200 else "expiry")


def _void_wave(race: Race, shift_s: float) -> None:
    ctx = race.ctx
    at_s, placed = _placed(ctx)
    actions: list[Callable[[], Reply]] = []
    for moment_s, (_, hold) in zip(_moments(at_s + shift_s), placed, strict=True):
        path = {"id": hold["id"]}
        void = partial(ctx.customer.call, "voidTransaction", path=path, body={})
        actions.append(_at(ctx, moment_s, void))
    for (account, hold), reply in zip(placed, ctx.together(actions), strict=True):
        _has_decided(ctx, reply)
        voided = reply.status < 300
        state = ctx.until(partial(_ended, ctx, hold), deadline_s=EXPIRED_WITHIN_S)
        ctx.equal(state, "voided" if voided else "expired", "The state of the hold", reply)
        amount, message = hold["amount"]["amount"], f"After void {reply.status} of an expiring hold"
        ctx.arrange.expect_balances(account, message, ledger=amount, holds=0, available=amount)
        race.came_first("void" if voided else "expiry")


def _placed(ctx: Context) -> tuple[float, list[tuple[Json, Json]]]:
    """Return a moment to come, and accounts with the holds of all their money until then."""
    accounts = [ctx.arrange.account(funds=FUNDS, withdrawal_allowed=True) for _ in range(HOLDS)]
    at_s, stated = _expiry(ctx, accounts[0])
    amounts = [ctx.arrange.balances(accounts[0])["ledger"], *[FUNDS] * (HOLDS - 1)]
    pairs = zip(accounts, amounts, strict=True)
    return at_s, [(account, _hold(ctx, account, amount, stated)) for account, amount in pairs]


def _moments(middle_s: float) -> list[float]:
    """Return when each hold's request is sent: spread evenly around the middle."""
    return [middle_s + SPREAD_S * (2 * number / (HOLDS - 1) - 1) for number in range(HOLDS)]


def _has_decided(ctx: Context, reply: Reply) -> None:
    ctx.expect(
        reply.status < 500,
        "An answer neither accepts nor refuses",
        expected="2xx or 4xx",
        observed=reply.status,
        on=[reply],
    )


def _expiry(ctx: Context, account: Json) -> tuple[float, str]:
    """Return a moment to come on our clock, and the same on the target's.

    The quickest of a few deposits tells best what the target's clock says at a moment of ours.
    """
    reads: list[tuple[float, float, datetime]] = []
    for _ in range(CLOCK_READS):
        began_s = ctx.clock()
        recorded = ctx.arrange.deposit(account, 1)["recorded_at"]
        took_s = ctx.clock() - began_s
        reads.append((took_s, began_s + took_s / 2, datetime.fromisoformat(recorded)))
    best = min(reads)
    ahead_s = ctx.clock() - best[1] + LEAD_S + 2 * HOLDS * min(best[0], SLOW_S)
    expires = best[2] + timedelta(seconds=ahead_s)
    return best[1] + ahead_s, expires.isoformat(timespec="milliseconds")


def _hold(ctx: Context, account: Json, amount: int, expires_at: str) -> Json:
    body = ctx.arrange.withdrawal_body(account, amount, hold=True, expires_at=expires_at)
    reply = ctx.customer.call("createTransaction", body=body, expect={201, 422})
    if reply.status == 422:
        ctx.undecided("holds are placed too slowly to expire together")
    placed: Json = reply.body
    return placed


def _at(ctx: Context, moment_s: float, send: Callable[[], Reply]) -> Callable[[], Reply]:
    def later() -> Reply:
        ctx.wait(max(0.0, moment_s - ctx.clock()))
        return send()

    return later


def _judge(ctx: Context, account: Json, hold: Json, replies: tuple[Reply, Reply]) -> None:
    settled, spent = (reply.status < 300 for reply in replies)
    for reply in replies:
        _has_decided(ctx, reply)
    both = "The settle and the withdrawal of the same money were both taken"
    ctx.equal(settled and spent, False, both, *replies)
    state = ctx.until(partial(_ended, ctx, hold), deadline_s=EXPIRED_WITHIN_S)
    ctx.equal(state, "settled" if settled else "expired", "The state of the hold", *replies)
    amount = hold["amount"]["amount"]
    left = 0 if settled or spent else amount
    message = f"After settle {replies[0].status} and withdrawal {replies[1].status}"
    ctx.arrange.expect_balances(account, message, ledger=left, holds=0, available=left)


def _ended(ctx: Context, hold: Json) -> str | None:
    status = str(ctx.arrange.read_transaction(hold)["status"])
    return None if status == "pending" else status
