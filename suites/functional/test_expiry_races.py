"""The moment at which a hold expires: a settle comes before it or after it, never both."""

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
    race, shift_s = Race(ctx, ("settle", "expiry")), 0.0
    race.overlapped = True
    for _ in range(WAVES_MAX):
        before = dict(race.first)
        _wave(race, shift_s)
        settled = race.first["settle"] - before.get("settle", 0)
        if race.seen:
            break
        shift_s += SHIFT_S if settled else -SHIFT_S
    race.report()


def _wave(race: Race, shift_s: float) -> None:
    ctx = race.ctx
    accounts = [ctx.arrange.account(funds=FUNDS, withdrawal_allowed=True) for _ in range(HOLDS)]
    at_s, stated = _expiry(ctx, accounts[0])
    amounts = [ctx.arrange.balances(accounts[0])["ledger"], *[FUNDS] * (HOLDS - 1)]
    holds = [
        _hold(ctx, account, amount, stated)
        for account, amount in zip(accounts, amounts, strict=True)
    ]
    actions: list[Callable[[], Reply]] = []
    for number, (account, hold) in enumerate(zip(accounts, holds, strict=True)):
        moment_s = at_s + shift_s + SPREAD_S * (2 * number / (HOLDS - 1) - 1)
        path, body = {"id": hold["id"]}, ctx.arrange.withdrawal_body(account, amounts[number])
        settle = partial(ctx.operator.call, "settleTransaction", path=path, body={})
        spend = partial(ctx.customer.call, "createTransaction", body=body)
        actions += [_at(ctx, moment_s, settle), _at(ctx, max(moment_s, at_s), spend)]
    replies = ctx.together(actions)
    for number, (account, hold) in enumerate(zip(accounts, holds, strict=True)):
        settling, spending = replies[2 * number : 2 * number + 2]
        _judge(ctx, account, hold, (settling, spending))
        race.came_first("settle" if settling.status == 200 else "expiry")


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
        ctx.expect(
            reply.status < 500,
            "An answer neither accepts nor refuses",
            expected="2xx or 4xx",
            observed=reply.status,
            on=[reply],
        )
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
