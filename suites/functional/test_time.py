"""Time: every instant has an offset and keeps its meaning, and holds end in the future."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json

AHEAD_S = 3_600


def instant(text: str) -> datetime:
    """Parse RFC 3339; the contract's pattern has been checked, so only fractions need care."""
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        # More than microseconds is legal in RFC 3339, and more than datetime holds.
        text = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    return datetime.fromisoformat(text)


def now(ctx: Context, account: Json) -> datetime:
    """Return the deployment's own time: its clock need not be ours."""
    return instant(ctx.arrange.deposit(account, 1)["recorded_at"]).replace(microsecond=0)


@check(
    "functional/time/instants-have-offsets",
    title="Every instant is RFC 3339 with an offset, the same wherever it is read",
    failure_title="An instant has no offset, or an entry another one than its transaction",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-TXN"],
    operations=["createAccount", "createTransaction", "listEntries"],
    defects=["local-time"],
)
def check_instants_have_offsets(ctx: Context) -> None:
    """Read the instants of an account, its transactions and its entries.

    Why: "2026-03-29T02:30:00" is no instant in half of the world; and an entry that is dated
    otherwise than its transaction cannot be found by the receipt. (The order of the book is `seq`;
    several hosts may date neighbours a little out of it.)
    How: Book six deposits and read everything back.
    Fails when: an instant has no offset, or `recorded_at` of an entry is not its transaction's.
    Remedy: Store instants in UTC, render them with Z or an offset, and store `recorded_at` once.
    """
    account = ctx.arrange.account()
    booked = [ctx.arrange.deposit(account, 10 + number) for number in range(6)]
    ctx.wait(ctx.arrange.lag_s)
    entries = ctx.arrange.entries(account)
    texts = [account["created_at"]]
    texts += [row[name] for row in (*booked, *entries) for name in ("recorded_at", "effective_at")]
    naive = [text for text in texts if instant(text).tzinfo is None]
    ctx.equal(naive, [], "An instant has no offset")
    shown = {row["transaction_id"]: instant(row["recorded_at"]) for row in entries}
    told = {row["id"]: instant(row["recorded_at"]) for row in booked}
    ctx.equal(shown, told, "An entry has another recorded_at than its transaction")


OFFSETS = ("Z", "+00:00", "-00:00", "+05:30", "+14:00", "-12:00", "-03:30")


@check(
    "functional/time/effective-at-keeps-the-instant",
    title="effective_at keeps its instant, whatever offset it was sent with",
    failure_title="effective_at changes its instant on the way",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getTransaction", "listEntries"],
    defects=["offsets-are-dropped"],
)
@pytest.mark.parametrize("offset", OFFSETS)
def check_effective_at_keeps_the_instant(ctx: Context, offset: str) -> None:
    """Send one instant in several offsets.

    Why: A dropped offset moves a booking by hours, and at midnight into another day, month or tax
    year.
    How: Book with an `effective_at` of one hour ago written in each offset; read it from the
    answer, the transaction and the entry.
    Fails when: what is read is another instant.
    Remedy: Convert to UTC when parsing; never store the text's local part.
    """
    account = ctx.arrange.account()
    wanted = now(ctx, account) - timedelta(seconds=AHEAD_S)
    sign = -1 if offset.startswith("-") else 1
    hours, minutes = (0, 0) if offset == "Z" else (int(offset[1:3]), int(offset[4:6]))
    zone = timezone(sign * timedelta(hours=hours, minutes=minutes))
    text = wanted.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S") + offset
    body = {
        "kind": "deposit",
        "amount": ctx.arrange.money(25, account["currency"]),
        "to_account_id": account["id"],
        "effective_at": text,
    }
    reply = ctx.customer.call("createTransaction", body=body, expect=201)
    ctx.wait(ctx.arrange.lag_s)
    read = ctx.customer.call("getTransaction", path={"id": reply.body["id"]}, expect=200)
    entry = next(
        row for row in ctx.arrange.entries(account) if row["transaction_id"] == reply.body["id"]
    )
    found = [instant(row["effective_at"]) for row in (reply.body, read.body, entry)]
    ctx.equal(found, [wanted] * 3, f"effective_at {text} became another instant", reply, read)


@check(
    "functional/time/impossible-instants",
    title="An instant that does not exist or has no offset is refused",
    failure_title="An instant that does not exist or has no offset is accepted",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    defects=["instants-are-guessed"],
)
@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30T10:00:00Z",
        "2025-02-29T10:00:00Z",
        "2026-04-01T24:30:00Z",
        "2026-04-01T10:00:00",
        "2026-04-01",
        "yesterday",
        "",
        1_790_000_000,
    ],
)
def check_impossible_instants(ctx: Context, value: str | int) -> None:
    """Send dates that the calendar does not have, and texts without offset.

    Why: A parser that guesses books 30 February on 2 March, and nobody asked for that.
    How: Book with each value as `effective_at`; count the entries.
    Fails when: the answer is not 400 `validation_failed`, or something was booked.
    Remedy: Parse strictly by RFC 3339, and refuse instead of guessing.
    """
    account = ctx.arrange.account()
    body = {
        "kind": "deposit",
        "amount": ctx.arrange.money(25, account["currency"]),
        "to_account_id": account["id"],
        "effective_at": value,
    }
    reply = ctx.customer.call("createTransaction", body=body, problem="validation_failed")
    ctx.wait(ctx.arrange.lag_s)
    ctx.equal(ctx.arrange.entries(account), [], "A refused booking left an entry", reply)


@check(
    "functional/time/holds-expire-in-the-future",
    title="A hold expires in the future and within the declared time",
    failure_title="A hold may expire in the past or later than declared",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    defects=["expiry-is-not-checked"],
)
@pytest.mark.parametrize("case", ["past", "year 1970", "beyond the limit", "allowed"])
def check_holds_expire_in_the_future(ctx: Context, case: str) -> None:
    """Place holds with an expiry in the past, too far ahead, and allowed.

    Why: A hold that has expired when it begins reserves nothing, though its receipt says so; one
    without end blocks money for ever.
    How: Place holds that end an hour ago, in 1970, an hour past `limits.hold_ttl_s_max` and in an
    hour.
    Fails when: the first three are not 422 `invalid_expiry` or change a balance, or the last is not
    placed with the instant asked for.
    Remedy: Compare with the server's clock inside the transaction.
    """
    account = ctx.arrange.account(funds=1_000)
    ttl_s = ctx.capabilities["limits"].get("hold_ttl_s_max")
    if case == "beyond the limit" and ttl_s is None:
        ctx.not_exercised("the deployment declares no limit for the time of a hold")
    today = now(ctx, account)
    ends = {
        "past": today - timedelta(seconds=AHEAD_S),
        "year 1970": instant("1970-01-02T00:00:00Z"),
        "beyond the limit": today + timedelta(seconds=(ttl_s or 0) + AHEAD_S),
        "allowed": today + timedelta(seconds=min(AHEAD_S, (ttl_s or AHEAD_S) // 2 or 1)),
    }[case]
    body = ctx.arrange.withdrawal_body(account, 100, hold=True, expires_at=ends.isoformat())
    if case == "allowed":
        reply = ctx.customer.call("createTransaction", body=body, expect=201)
        ctx.equal(instant(reply.body["expires_at"]), ends, "The hold ends at another time", reply)
        return
    reply = ctx.customer.call("createTransaction", body=body, problem="invalid_expiry")
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_balances(account, "A refused hold holds money", holds=0, available=1_001)
