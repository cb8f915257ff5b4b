"""Idempotency: a write repeated under one key has one effect and one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity
from certification.retrying import REPLAYED, deposit_body, expect_entries, is_replay, new_key

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

BURST = 20


@check(
    "functional/idempotency/repeat-has-one-effect",
    title="A request repeated with its key has one effect and the same answer",
    failure_title="A request repeated with its key is executed again or answered otherwise",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN", "E2E-ERR"],
    operations=[
        "createTransaction",
        "createAccount",
        "voidTransaction",
        "settleTransaction",
        "reverseTransaction",
    ],
    identities=("customer", "operator", "manager"),
    defects=["key-is-forgotten", "replay-is-not-marked", "settle-keys-are-forgotten"],
)
@pytest.mark.parametrize("write", ["deposit", "account", "void", "settle", "reversal"])
def check_repeat_has_one_effect(ctx: Context, write: str) -> None:
    """Ask for the same thing twice with one key.

    Why: A client whose connection breaks cannot know whether the money moved; it must be able to
    ask again without moving it twice.
    How: Send a deposit, an account opening, a void, a settle and a reversal twice each with one key
    and body; compare the answers and count the entries.
    Fails when: the second answer differs, is not marked as a replay, or there are two entries.
    Remedy: Store key, payload digest and answer in the transaction of the change, and answer from
    there when the key comes again.
    """
    account = ctx.arrange.account(funds=0 if write == "deposit" else 5_000)
    actor, operation, request, entries = _write(ctx, account, write)
    request["key"] = new_key()
    first = actor.call(operation, **request)
    if write == "account":
        ctx.created("account", first.body["id"], ctx.customer.role)
    second = actor.call(operation, **request)
    is_replay(ctx, first, second)
    expect_entries(ctx, account, entries, first, second)


def _write(ctx: Context, account: Json, write: str) -> tuple[Actor, str, Json, list[int]]:
    """Return who asks for what, and the amounts of the account's entries after its one effect."""
    if write == "deposit":
        body = deposit_body(ctx, account, 4_321)
        return ctx.customer, "createTransaction", {"body": body, "expect": 201}, [4_321]
    if write == "account":
        body = {"type": "revenue", "currency": account["currency"], "name": ctx.name("repeat")}
        return ctx.customer, "createAccount", {"body": body, "expect": 201}, [5_000]
    if write == "reversal":
        path = {"id": ctx.arrange.deposit(account, 40)["id"]}
        request: Json = {"path": path, "body": {"reason": "booked by mistake"}, "expect": 201}
        return ctx.manager, "reverseTransaction", request, [5_000, 40, -40]
    request = {"path": {"id": ctx.arrange.hold(account, 700)["id"]}, "body": {}, "expect": 200}
    if write == "settle":
        return ctx.operator, "settleTransaction", request, [5_000, -700]
    return ctx.customer, "voidTransaction", request, [5_000]


@check(
    "functional/idempotency/burst-has-one-effect",
    title="Twenty simultaneous requests with one key have one effect",
    failure_title="Simultaneous requests with one key are executed more than once",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN", "E2E-ERR"],
    operations=["createTransaction", "listEntries"],
    defects=["key-race"],
)
def check_burst_has_one_effect(ctx: Context) -> None:
    """Send one deposit twenty times at once.

    Why: Retries race: a load balancer and a client often repeat the same request within the same
    millisecond, and a key that is looked up before it is stored lets several through.
    How: Release twenty equal requests with one key by a barrier, then count the entries.
    Fails when: an answer is neither the one transaction nor 409 `idempotency_in_flight`, more than
    one answer is not marked as a replay, or there is more than one entry.
    Remedy: Insert the key under a unique constraint in the transaction of the change.
    """
    account = ctx.arrange.account()
    body, key = deposit_body(ctx, account, 1_111), new_key()

    def send() -> Reply:
        return ctx.customer.call("createTransaction", body=body, key=key)

    replies = ctx.together([send] * BURST)
    done = [reply for reply in replies if reply.status == 201]
    for reply in replies:
        if reply.status != 201:
            ctx.is_problem(reply, "idempotency_in_flight")
    expect_entries(ctx, account, [1_111], *done)
    ids = {reply.body["id"] for reply in done}
    ctx.equal(len(ids), 1, "The answers to one key name several transactions, or none", *replies)
    fresh = [reply for reply in done if reply.headers.get(REPLAYED) is None]
    ctx.equal(len(fresh), 1, f"Not exactly one answer is without {REPLAYED}", *done)


@check(
    "functional/idempotency/key-with-another-body",
    title="A key that comes with another body is refused and nothing happens",
    failure_title="A key that comes with another body is executed or answered with the old reply",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    defects=["key-ignores-the-body"],
)
def check_key_with_another_body(ctx: Context) -> None:
    """Use a key again for another amount.

    Why: Answering a new payment with an old receipt tells the client that money moved which did
    not.
    How: Deposit 100 with a key, then 200 with the same key, then 100 again.
    Fails when: the second is not 422 `idempotency_payload_mismatch`, has an effect, or spoils the
    key for the first payload.
    Remedy: Compare a digest of the canonical body before anything else.
    """
    account = ctx.arrange.account()
    key = new_key()
    first = ctx.customer.call(
        "createTransaction", body=deposit_body(ctx, account, 100), key=key, expect=201
    )
    second = ctx.customer.call(
        "createTransaction",
        body=deposit_body(ctx, account, 200),
        key=key,
        problem="idempotency_payload_mismatch",
    )
    expect_entries(ctx, account, [100], first, second)
    third = ctx.customer.call(
        "createTransaction", body=deposit_body(ctx, account, 100), key=key, expect=201
    )
    is_replay(ctx, first, third)


@check(
    "functional/idempotency/key-belongs-to-one-user",
    title="Two users may use the same key without touching each other",
    failure_title="A key is shared between users",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "SYS-SEC"],
    operations=["createAccount"],
    defects=["key-is-shared-between-users"],
    identities=["customer", "customer2"],
    standards=["OWASP-API:2023-1"],
)
def check_key_belongs_to_one_user(ctx: Context) -> None:
    """Let two customers send the same body with the same key.

    Why: Keys are chosen by clients. If one user's key answers another user's request, the second
    sees the first one's data, and the own request is silently lost.
    How: Both customers open an account with the same body and key; each must get an own account.
    Fails when: the second gets the first one's account, a replay, or a refusal.
    Remedy: Make the principal part of the key's scope.
    """
    body = {"type": "generation", "currency": ctx.arrange.currency, "name": ctx.name("scope")}
    key = new_key()
    first = ctx.customer.call("createAccount", body=body, key=key, expect=201)
    ctx.created("account", first.body["id"], ctx.customer.role)
    second = ctx.customer2.call("createAccount", body=body, key=key, expect=201)
    owners = (first.body["owner_id"], second.body["owner_id"])
    ctx.equal(
        owners,
        (ctx.customer.user_id, ctx.customer2.user_id),
        "A key of one user answered another user's request",
        first,
        second,
    )
    ctx.created("account", second.body["id"], ctx.customer2.role)


@check(
    "functional/idempotency/key-belongs-to-one-path",
    title="One key can be used on two objects",
    failure_title="A key used on one object answers for another",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["voidTransaction"],
    defects=["key-ignores-the-path"],
)
def check_key_belongs_to_one_path(ctx: Context) -> None:
    """Void two holds with one key.

    Why: Many clients derive the key from their own order number and use it for each step of the
    order.
    How: Void two holds with the same key and body, and read both.
    Fails when: the second answer is the first one's, or a hold is still pending.
    Remedy: Make method and path part of the key's scope.
    """
    account = ctx.arrange.account(funds=2_000)
    holds = [ctx.arrange.hold(account, amount) for amount in (300, 400)]
    key = new_key()
    for hold in holds:
        reply = ctx.customer.call(
            "voidTransaction", path={"id": hold["id"]}, body={}, key=key, expect=200
        )
        ctx.equal(reply.body["id"], hold["id"], "The answer is about another transaction", reply)
        ctx.equal(reply.headers.get(REPLAYED), None, "A first request is called a replay", reply)
    ctx.arrange.expect_balances(account, "A voided hold still holds money", holds=0)


@check(
    "functional/idempotency/refusal-is-kept-as-declared",
    title="A business refusal is kept or evaluated again, as the capability document declares",
    failure_title="A key after a business refusal does not behave as declared",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction", "getCapabilities"],
    defects=["refusals-are-not-kept"],
)
def check_refusal_is_kept_as_declared(ctx: Context) -> None:
    """Repeat a refused withdrawal after money has come in.

    Why: A client that heard "not enough money" has told its user so; if a late retry then succeeds,
    the money is gone without anyone knowing. Where a deployment evaluates anew, it must say so.
    How: Withdraw from an empty account (422), deposit enough, repeat with the same key.
    Fails when: 422 is among `idempotency.stored_statuses` and the retry is not the same refusal
    marked as a replay, or it is not among them and the retry is not executed once.
    Remedy: Keep what `stored_statuses` lists, and list what is kept.
    """
    account = ctx.arrange.account()
    body, key = ctx.arrange.withdrawal_body(account, 500), new_key()
    first = ctx.customer.call(
        "createTransaction", body=body, key=key, problem="insufficient_available"
    )
    ctx.arrange.deposit(account, 800)
    if 422 in ctx.capabilities["idempotency"]["stored_statuses"]:
        second = ctx.customer.call(
            "createTransaction", body=body, key=key, problem="insufficient_available"
        )
        ctx.equal(second.headers.get(REPLAYED), "true", "A kept refusal is not marked", second)
        expect_entries(ctx, account, [800], first, second)
        return
    second = ctx.customer.call("createTransaction", body=body, key=key, expect=201)
    expect_entries(ctx, account, [800, -500], first, second)


@check(
    "functional/idempotency/malformed-request-leaves-the-key",
    title="A request that was malformed does not use up its key",
    failure_title="A malformed request uses up its key",
    severity=Severity.LOW,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction", "getCapabilities"],
    defects=["malformed-request-burns-the-key"],
)
def check_malformed_request_leaves_the_key(ctx: Context) -> None:
    """Correct a malformed request under its key.

    Why: A client that mends its body and repeats with the key of the order must not be locked out
    of it.
    How: Send a deposit without an amount (400), then the whole one with the same key.
    Fails when: the second is not executed, unless 400 is among `idempotency.stored_statuses`.
    Remedy: Validate before the key is stored.
    """
    account = ctx.arrange.account()
    key = new_key()
    body = deposit_body(ctx, account, 250)
    broken = {name: value for name, value in body.items() if name != "amount"}
    first = send_raw(
        ctx.customer,
        "POST",
        "/v1/transactions",
        headers={"Idempotency-Key": key},
        body=broken,
    )
    is_refused(ctx.customer, first, "validation_failed")
    if 400 in ctx.capabilities["idempotency"]["stored_statuses"]:
        ctx.customer.call(
            "createTransaction", body=body, key=key, problem="idempotency_payload_mismatch"
        )
        return
    second = ctx.customer.call("createTransaction", body=body, key=key, expect=201)
    expect_entries(ctx, account, [250], first, second)
