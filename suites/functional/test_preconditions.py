"""Preconditions: nobody overwrites what they have not seen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

WRITERS = 12
NEVER_GIVEN = '"987654321987"'


def rename(ctx: Context, account: Json, etag: str | None, **expected: Any) -> Reply:
    """Give the account a new name if it still has the ETag."""
    return ctx.customer.call(
        "updateAccount",
        path={"id": account["id"]},
        body={"name": ctx.name("renamed")},
        if_match=etag,
        **expected,
    )


@check(
    "functional/preconditions/etag-follows-configuration",
    title="The ETag of an account changes with its configuration and only then",
    failure_title="The ETag of an account changes without, or stays despite, a change",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=["getAccount", "updateAccount", "createTransaction"],
    defects=["etag-counts-money", "etag-never-changes"],
)
def check_etag_follows_configuration(ctx: Context) -> None:
    """Read the ETag before and after changes of name and money.

    Why: An ETag that stays lets two editors overwrite each other; one that moves with every payment
    makes a busy account impossible to configure.
    How: Read twice, deposit, read, rename, read; compare the ETags and `version`.
    Fails when: the ETag is weak, differs between two reads or after a deposit, or is the same after
    a change of name.
    Remedy: Raise `version` with state and configuration, `balance_version` with money, and send
    `version` as the ETag.
    """
    account = ctx.arrange.account()
    first = ctx.arrange.read_reply(account)
    second = ctx.arrange.read_reply(account)
    ctx.equal(second.etag, first.etag, "The ETag differs between two reads", first, second)
    ctx.arrange.deposit(account, 900)
    ctx.arrange.expect_balances(account, "The deposit cannot be read", ledger=900)
    paid = ctx.arrange.read_reply(account)
    ctx.equal(paid.etag, first.etag, "The ETag changed when money moved", first, paid)
    ctx.expect(
        paid.body["balance_version"] > first.body["balance_version"],
        "balance_version did not rise when money moved",
        expected=f"more than {first.body['balance_version']}",
        observed=paid.body["balance_version"],
        on=[first, paid],
    )
    changed = rename(ctx, account, first.etag, expect=200)
    ctx.wait(ctx.arrange.lag_s)
    third = ctx.arrange.read_reply(account)
    ctx.equal(third.etag, changed.etag, "PATCH and GET give different ETags", changed, third)
    ctx.expect(
        third.etag != first.etag and third.body["version"] > first.body["version"],
        "The ETag or the version stayed though the name changed",
        expected=f"another ETag than {first.etag}",
        observed=f"{third.etag}, version {third.body['version']}",
        on=[first, third],
    )


@check(
    "functional/preconditions/stale-if-match-is-refused",
    title="A write with a stale ETag is refused and changes nothing",
    failure_title="A write with a stale ETag is executed",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-ERR"],
    operations=["updateAccount", "closeAccount", "createTransaction"],
    defects=["if-match-is-ignored"],
)
@pytest.mark.parametrize("write", ["update", "close", "transaction"])
@pytest.mark.parametrize("etag", ["stale", "never given"])
def check_stale_if_match_is_refused(ctx: Context, etag: str, write: str) -> None:
    """Write with an ETag that is no longer, or never was, the account's.

    Why: The second of two editors must not undo the first one's change without having seen it.
    How: Rename the account, then rename, close or withdraw with the ETag of before, or with an ETag
    that was never given; read the account.
    Fails when: the answer is not 412 `precondition_failed` or the account has changed.
    Remedy: Compare If-Match with the stored version inside the transaction of the change.
    """
    account = ctx.arrange.account(funds=600 if write == "transaction" else 0)
    old = ctx.arrange.read_reply(account).etag
    rename(ctx, account, old, expect=200)
    ctx.wait(ctx.arrange.lag_s)
    before = ctx.arrange.picture(account)
    if_match = old if etag == "stale" else NEVER_GIVEN
    request: Json = {"if_match": if_match, "problem": "precondition_failed"}
    if write == "transaction":
        body = ctx.arrange.withdrawal_body(account, 100)
        reply = ctx.customer.call("createTransaction", body=body, **request)
    elif write == "close":
        reply = ctx.customer.call("closeAccount", path={"id": account["id"]}, body={}, **request)
    else:
        reply = rename(ctx, account, if_match, problem="precondition_failed")
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A refused write changed the account", reply)


@check(
    "functional/preconditions/if-match-is-required",
    title="A change of configuration without If-Match is refused",
    failure_title="A change of configuration without If-Match is executed",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "E2E-ERR"],
    operations=["updateAccount", "closeAccount"],
    defects=["if-match-is-optional"],
)
@pytest.mark.parametrize("write", ["update", "close"])
def check_if_match_is_required(ctx: Context, write: str) -> None:
    """Leave If-Match out.

    Why: A client that forgets the header would overwrite blindly, and nobody would notice in a test
    with one user.
    How: Rename and close an account without If-Match; read it.
    Fails when: the answer is not 428 `precondition_required` or the account has changed.
    Remedy: Ask for If-Match wherever the contract says `x-alluse-if-match: required`.
    """
    account = ctx.arrange.account()
    before = ctx.arrange.picture(account)
    path = f"/v1/accounts/{account['id']}"
    if write == "close":
        headers = {"Idempotency-Key": uuid4().hex}
        reply = send_raw(ctx.customer, "POST", f"{path}/close", headers=headers, body={})
    else:
        reply = send_raw(ctx.customer, "PATCH", path, body={"name": ctx.name("blind")})
    is_refused(ctx.customer, reply, "precondition_required")
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A refused write changed the account", reply)


@check(
    "functional/preconditions/if-none-match-saves-the-body",
    title="A read with the current ETag is answered 304 without a body",
    failure_title="A read with the current ETag is answered with something else than an empty 304",
    severity=Severity.LOW,
    requirements=["SYS-ACC"],
    operations=["getAccount", "getCapabilities", "updateAccount"],
    defects=["if-none-match-is-ignored"],
)
def check_if_none_match_saves_the_body(ctx: Context) -> None:
    """Read again with If-None-Match.

    Why: Clients poll; a 304 costs neither a body nor its making. A 304 after a change would hide
    it.
    How: Read an account and the capability document with their ETag, with another one, and after a
    change.
    Fails when: the current ETag does not give 304, a 304 has a body or another ETag, or another
    ETag does not give 200.
    Remedy: Compare If-None-Match with the current ETag as RFC 9110 section 13.1.2 says.
    """
    account = ctx.arrange.account()
    path = {"id": account["id"]}
    first = ctx.arrange.read_reply(account)
    current = {"If-None-Match": first.etag}
    same = ctx.customer.call("getAccount", path=path, headers=current, expect=304)
    ctx.equal(same.body or None, None, "A 304 has a body", same)
    ctx.equal(same.etag, first.etag, "A 304 has another ETag", first, same)
    ctx.customer.call("getAccount", path=path, headers={"If-None-Match": NEVER_GIVEN}, expect=200)
    rename(ctx, account, first.etag, expect=200)
    ctx.wait(ctx.arrange.lag_s)
    ctx.customer.call("getAccount", path=path, headers=current, expect=200)
    document = ctx.anonymous.call("getCapabilities", expect=200)
    # Several instances may answer, each with its own document and ETag; then 200 is right.
    again = ctx.anonymous.call(
        "getCapabilities", headers={"If-None-Match": document.etag}, expect=(200, 304)
    )
    if again.status == 200:
        ctx.expect(
            again.etag != document.etag,
            "The capability document with its current ETag is sent again",
            expected="304",
            observed=f"200 with ETag {again.etag}",
            on=[document, again],
        )


@check(
    "functional/preconditions/one-writer-wins",
    title="Of several writers with one ETag exactly one succeeds",
    failure_title="Of several writers with one ETag none or more than one succeeds",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=["updateAccount", "getAccount"],
    defects=["version-race"],
)
def check_one_writer_wins(ctx: Context) -> None:
    """Let twelve writers change one account with the same ETag.

    Why: A version that is compared before the transaction begins protects against slow editors, but
    not against fast ones: the last writer silently wins.
    How: Release twelve renames with one ETag by a barrier, then read the account.
    Fails when: not exactly one is 200 and the others 412, or the account does not have the winner's
    name.
    Remedy: Compare and raise the version in one statement: UPDATE ... WHERE version = ?.
    """
    account = ctx.arrange.account()
    etag = ctx.arrange.read_reply(account).etag
    names = [ctx.name(f"writer-{number}") for number in range(WRITERS)]

    def writer(name: str) -> Reply:
        return ctx.customer.call(
            "updateAccount", path={"id": account["id"]}, body={"name": name}, if_match=etag
        )

    replies = ctx.together([partial(writer, name) for name in names])
    won = [reply for reply in replies if reply.status == 200]
    for reply in replies:
        if reply.status != 200:
            ctx.is_problem(reply, "precondition_failed")
    ctx.equal(len(won), 1, "Not exactly one writer succeeded", *replies)
    ctx.wait(ctx.arrange.lag_s)
    final = ctx.arrange.read_reply(account)
    winner = names[replies.index(won[0])]
    ctx.equal(final.body["name"], winner, "The account does not show the winner's change", final)
    ctx.equal(final.etag, won[0].etag, "The account has another ETag than the winner", final)


@check(
    "functional/preconditions/booking-conditions-hold",
    title="A transaction is booked exactly when all of its preconditions hold",
    failure_title="A transaction is booked against its preconditions, or refused though they hold",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction"],
    defects=["conditions-are-not-evaluated"],
)
@pytest.mark.parametrize(
    ("member", "good", "bad"),
    [("version", 0, 1), ("available_gte", 0, 1), ("ledger_eq", 0, 1), ("ledger_eq", 0, -1)],
)
def check_booking_conditions_hold(ctx: Context, member: str, good: int, bad: int) -> None:
    """Book with preconditions that hold and that just do not hold.

    Why: "Pay only if 5,000 stay" must be decided together with the payment; a check beforehand is
    out of date when the money moves.
    How: Withdraw with a precondition one unit beyond the truth, and with the true one.
    Fails when: the first is not 422 `precondition_unmet` or has an effect, or the second is not
    booked.
    Remedy: Evaluate `preconditions` inside the transaction that books.
    """
    account = ctx.arrange.account(funds=1_000)
    fresh = ctx.arrange.read(account)
    truth = {"version": fresh["version"], "available_gte": 1_000, "ledger_eq": 1_000}[member]
    body = ctx.arrange.withdrawal_body(account, 100)

    def condition(offset: int) -> Json:
        return body | {"preconditions": [{"account_id": account["id"], member: truth + offset}]}

    before = ctx.arrange.picture(account)
    refused = ctx.customer.call(
        "createTransaction", body=condition(bad), problem="precondition_unmet"
    )
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A refused booking changed the account", refused)
    ctx.customer.call("createTransaction", body=condition(good), expect=201)
    ctx.arrange.expect_balances(account, "The booking cannot be read", ledger=900, available=900)
