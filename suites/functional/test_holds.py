"""Holds: held money is not free, ends exactly once, and expires when its time has come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from certification.checks import check
from certification.model import Json, Severity
from certification.oracle import members

if TYPE_CHECKING:
    from certification.context import Context

EXPIRY_TRIES_S = (2, 6, 20)
"""Times to live that are tried in turn, should a slow deployment need longer to place the hold."""

PATIENCE_S = 3.0
"""How long after its expiry a hold may still be shown: clocks that answer differ a little."""


def _settle(ctx: Context, hold: Json, amount: int | None = None, **expected: Any) -> Json:
    body = (
        {} if amount is None else {"amount": ctx.arrange.money(amount, hold["amount"]["currency"])}
    )
    path = {"id": hold["id"]}
    answer: Json = ctx.operator.call("settleTransaction", path=path, body=body, **expected).body
    return answer


def _void(ctx: Context, hold: Json, **expected: Any) -> Json:
    path = {"id": hold["id"]}
    answer: Json = ctx.customer.call("voidTransaction", path=path, body={}, **expected).body
    return answer


def _brief_hold(ctx: Context, account: Json, amount: int) -> Json:
    """Place a hold that expires within seconds, by the deployment's own clock."""
    for ttl_s in EXPIRY_TRIES_S:
        now = datetime.fromisoformat(ctx.arrange.deposit(account, 1)["recorded_at"])
        expires_at = (now + timedelta(seconds=ttl_s)).isoformat()
        body = ctx.arrange.withdrawal_body(account, amount, hold=True, expires_at=expires_at)
        reply = ctx.customer.call("createTransaction", body=body)
        if reply.problem_code != "invalid_expiry":
            ctx.has_status(reply, 201)
            hold: Json = reply.body
            return hold
    return ctx.undecided(f"no hold could be placed within {EXPIRY_TRIES_S[-1]} s")


def _expired(ctx: Context, account: Json, hold: Json) -> None:
    """Wait until the hold's time has passed; fail if its money does not come free."""
    ctx.wait(_ttl_s(hold))
    deadline_s = PATIENCE_S + ctx.arrange.lag_s
    ctx.until(lambda: ctx.arrange.balances(account)["holds"] == 0, deadline_s=deadline_s)
    ctx.arrange.expect_balances(account, "A hold past its expiry still holds money", holds=0)


def _ttl_s(hold: Json) -> float:
    until = datetime.fromisoformat(hold["expires_at"])
    return (until - datetime.fromisoformat(hold["recorded_at"])).total_seconds()


@check(
    "functional/holds/held-money-is-not-available",
    title="Held money is not available and not yet gone",
    failure_title="Held money can be spent again, or is gone already",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    defects=["held-money-is-free"],
)
@pytest.mark.parametrize("kind", ["withdrawal", "transfer"])
def check_held_money_is_not_available(ctx: Context, kind: str) -> None:
    """Whether a hold lowers available, leaves the ledger, books nothing, and cannot be spent.

    Why: A card authorisation that leaves its money free is an overdraft when it settles.
    How: Hold 400 of 1,000; read the balances; spend 601, then 600.
    Fails when: A balance differs, an entry was booked, 601 is taken or 600 refused.
    Remedy: available = ledger - holds - min_balance, in reads and in every debit.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()
    if kind == "withdrawal":
        hold = ctx.arrange.hold(account, 400)
    else:
        hold = ctx.arrange.transaction(ctx.arrange.transfer_body(account, other, 400, hold=True))
    ctx.equal((hold["status"], hold["lines"]), ("pending", []), "A hold is not pending, or booked")
    message = "After a hold of 400 on 1,000"
    ctx.arrange.expect_balances(account, message, ledger=1_000, holds=400, available=600)
    ctx.equal(len(ctx.arrange.entries(account)), 1, "A pending hold shows as an entry")
    body = ctx.arrange.withdrawal_body(account, 601)
    ctx.customer.call("createTransaction", body=body, problem="insufficient_available")
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 600))
    message = "After spending the rest"
    ctx.arrange.expect_balances(account, message, ledger=400, holds=400, available=0)


@check(
    "functional/holds/settle-books-the-amount",
    title="Settling books the amount asked for and releases the rest",
    failure_title="Settling books another amount, or keeps the rest",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["settleTransaction", "getTransaction", "getAccount"],
    identities=("customer", "operator"),
    defects=["settle-ignores-its-amount"],
)
@pytest.mark.parametrize(("asked", "booked"), [(None, 400), (400, 400), (150, 150), (1, 1)])
@pytest.mark.parametrize("kind", ["withdrawal", "transfer"])
def check_settle_books_the_amount(ctx: Context, kind: str, asked: int | None, booked: int) -> None:
    """Whether a full and a partial settle move exactly the amount and free the remainder.

    Why: Taking the whole hold for a smaller bill takes money that nobody agreed to.
    How: Hold 400, settle all or less, compare both balances, status, settled amount and lines.
    Fails when: Any of them differs.
    Remedy: Book the settled amount, end the hold whole, in one transaction.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()
    if kind == "withdrawal":
        hold = ctx.arrange.hold(account, 400)
    else:
        hold = ctx.arrange.transaction(ctx.arrange.transfer_body(account, other, 400, hold=True))
    settled = _settle(ctx, hold, asked, expect=200)
    ctx.equal(settled["id"], hold["id"], "Settling made another transaction")
    ctx.equal(settled["status"], "settled", "A settled hold has another status")
    ctx.equal(settled["settled_amount"]["amount"], booked, "The settled amount")
    amounts = sorted(line["amount"] for line in settled["lines"])
    ctx.equal(amounts, [-booked, booked], "The lines of the settled hold")
    left = 1_000 - booked
    message = f"After settling {booked} of a hold of 400"
    ctx.arrange.expect_balances(account, message, ledger=left, holds=0, available=left)
    ctx.arrange.expect_balances(other, message, ledger=booked if kind == "transfer" else 0)
    read = members.transaction(ctx.arrange.read_transaction(hold))
    ctx.equal(read, members.transaction(settled), "The settled hold reads back otherwise")


@check(
    "functional/holds/settle-at-most-the-hold",
    title="No more than the held amount is settled",
    failure_title="More than the held amount is settled",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["settleTransaction"],
    identities=("customer", "operator"),
    defects=["settle-more-than-held"],
)
def check_settle_at_most_the_hold(ctx: Context) -> None:
    """Whether one unit more is refused even where the account could pay it, and nothing changes.

    Why: The hold is what the owner agreed to.
    How: Hold 400 of 1,000, settle 401, then 400.
    Fails when: The first is not 422 exceeds_hold, changed something, or ended the hold.
    Remedy: Compare the amount with the hold before booking.
    """
    account = ctx.arrange.account(funds=1_000)
    hold = ctx.arrange.hold(account, 400)
    before = ctx.arrange.picture(account)
    _settle(ctx, hold, 401, problem="exceeds_hold")
    ctx.arrange.expect_same(before, "A refused settle changed the account")
    _settle(ctx, hold, 400, expect=200)


@check(
    "functional/holds/void-releases-the-money",
    title="Voiding a hold releases its money and books nothing",
    failure_title="Voiding a hold keeps its money or books something",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["voidTransaction", "getAccount", "listEntries"],
    defects=["void-keeps-the-money"],
)
def check_void_releases_the_money(ctx: Context) -> None:
    """Whether available is back, the ledger untouched, the transaction voided without lines.

    Why: Money that stays held after a void is gone for its owner.
    How: Hold, void as the owner, compare balances and entries, spend everything.
    Fails when: A balance differs, an entry was booked, or the money cannot be spent.
    Remedy: End the hold in the void; book no lines.
    """
    account = ctx.arrange.account(funds=1_000)
    hold = ctx.arrange.hold(account, 400)
    voided = _void(ctx, hold, expect=200)
    ctx.equal((voided["status"], voided["lines"]), ("voided", []), "The voided transaction")
    message = "After voiding the only hold"
    ctx.arrange.expect_balances(account, message, ledger=1_000, holds=0, available=1_000)
    ctx.equal(len(ctx.arrange.entries(account)), 1, "A voided hold shows as an entry")
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 1_000))


@check(
    "functional/holds/expiry-frees-the-money",
    title="A hold past its expiry is free at once",
    failure_title="A hold past its expiry still holds money",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getAccount", "getTransaction"],
    defects=["holds-never-expire"],
)
def check_expiry_frees_the_money(ctx: Context) -> None:
    """Whether the money of an expired hold is available and spendable without anybody's doing.

    Why: A hold that outlives its time until some job runs locks money for no reason.
    How: Place a hold that ends in seconds by the deployment's clock; wait; read; spend everything.
    Fails when: The money stays held seconds after expiry, the status is not expired, or the debit
        is refused.
    Remedy: Leave expired holds out of every sum when reading; do not wait for a job.
    """
    account = ctx.arrange.account(funds=1_000)
    hold = _brief_hold(ctx, account, 400)
    _expired(ctx, account, hold)
    read = ctx.arrange.read_transaction(hold)
    ctx.equal((read["status"], read["lines"]), ("expired", []), "The expired hold")
    free = ctx.arrange.balances(account)["available"]
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, free))
    ctx.arrange.expect_balances(account, "After spending it", ledger=0, holds=0, available=0)


@check(
    "functional/holds/hold-ends-once",
    title="A hold that has ended cannot be settled or voided",
    failure_title="A hold ends twice",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["settleTransaction", "voidTransaction"],
    identities=("customer", "operator"),
    defects=["hold-settles-again"],
)
@pytest.mark.parametrize("second", ["settle", "void"])
@pytest.mark.parametrize("first", ["settle", "void", "expiry", "posted"])
def check_hold_ends_once(ctx: Context, first: str, second: str) -> None:
    """Whether settle and void are refused after settle, void and expiry, and without a hold.

    Why: T4: a pending item ends exactly once; settling twice pays twice.
    How: End a hold each way, then settle or void it under a new key; compare the account.
    Fails when: The second is not 409 not_pending, or anything changed.
    Remedy: Make the end of a hold unique and check it in the booking transaction.
    """
    account = ctx.arrange.account(funds=1_000)
    if first == "expiry":
        hold = _brief_hold(ctx, account, 400)
        _expired(ctx, account, hold)
    elif first == "posted":
        hold = ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 400))
    else:
        hold = ctx.arrange.hold(account, 400)
        (_settle if first == "settle" else _void)(ctx, hold, expect=200)
    before = ctx.arrange.picture(account)
    (_settle if second == "settle" else _void)(ctx, hold, problem="not_pending")
    ctx.arrange.expect_same(before, f"A refused {second} after {first} changed the account")


@check(
    "functional/holds/expiry-must-be-ahead",
    title="An expiry in the past is refused",
    failure_title="An expiry in the past is taken",
    severity=Severity.LOW,
    requirements=["SYS-TXN"],
    operations=["createTransaction"],
    defects=["any-expiry-taken"],
)
@pytest.mark.parametrize("case", ["past", "too-far"])
def check_expiry_must_be_ahead(ctx: Context, case: str) -> None:
    """Whether an expiry before now, or beyond the declared longest, is 422 invalid_expiry.

    Why: A hold that is born expired tells the caller that money is kept when it is not.
    How: Ask for holds that end an hour ago, and a day after limits.hold_ttl_s_max.
    Fails when: The answer is not 422 invalid_expiry, or anything changed.
    Remedy: Compare expires_at with the clock and the limit before placing the hold.
    """
    account = ctx.arrange.account()
    now = datetime.fromisoformat(ctx.arrange.deposit(account, 1_000)["recorded_at"])
    # A deployment that declares no longest time has none that could be exceeded.
    longest_s = ctx.capabilities["limits"].get("hold_ttl_s_max")
    if case == "too-far" and longest_s is None:
        return
    ahead = timedelta(hours=-1) if case == "past" else timedelta(seconds=longest_s or 0, days=1)
    before = ctx.arrange.picture(account)
    expires_at = (now + ahead).isoformat()
    body = ctx.arrange.withdrawal_body(account, 400, hold=True, expires_at=expires_at)
    reply = ctx.customer.call("createTransaction", body=body, problem="invalid_expiry")
    ctx.arrange.expect_same(before, "A refused hold changed the account", reply)
