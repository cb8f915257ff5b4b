"""Idempotency keys: which are taken, which are refused, and which are the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity
from certification.retrying import deposit_body, expect_entries, is_replay, new_key

if TYPE_CHECKING:
    from certification.context import Context


@check(
    "functional/keys/missing-key-is-refused",
    title="A write without a key is refused",
    failure_title="A write without a key is executed",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createAccount", "createTransaction", "createTransactionBatch", "closeAccount"],
    defects=["missing-key-is-made-up"],
)
@pytest.mark.parametrize("write", ["account", "transaction", "batch", "close"])
def check_missing_key_is_refused(ctx: Context, write: str) -> None:
    """Leave the key out.

    Why: A write that cannot be repeated safely should not be possible by mistake.
    How: Send writes that need an Idempotency-Key without the header.
    Fails when: the answer is not 400 `idempotency_key_missing`, or something happened.
    Remedy: Ask for the header wherever the contract says so.
    """
    account = ctx.arrange.account()
    before = ctx.arrange.picture(account)
    etag = ctx.arrange.read_reply(account).etag or ""
    deposit = deposit_body(ctx, account, 100)
    new = {"type": "generation", "currency": account["currency"], "name": ctx.name("keyless")}
    path, body = {
        "account": ("/v1/accounts", new),
        "transaction": ("/v1/transactions", deposit),
        "batch": ("/v1/transactions/batch", {"items": [deposit]}),
        "close": (f"/v1/accounts/{account['id']}/close", {}),
    }[write]
    headers = {"If-Match": etag} if write == "close" else {}
    reply = send_raw(ctx.customer, "POST", path, headers=headers, body=body)
    is_refused(ctx.customer, reply, "idempotency_key_missing")
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A write without a key had an effect", reply)


ODD_KEYS = {
    "empty": "",
    "too short": "a" * 15,
    "too long": "a" * 129,
    "space inside": "key with spaces inside",
    "slash": "order/2026/000017/payment",
    "latin-1": "schl\xfcssel-schl\xfcssel-1",
    "utf-8": "\U0001f511-key-of-four-bytes".encode().decode("latin-1"),
    "open quote": '"0123456789abcdef0123',
    "empty quotes": '""',
}


@check(
    "functional/keys/odd-keys-are-refused",
    title="A key outside the contract's form is refused",
    failure_title="A key outside the contract's form is accepted or breaks the server",
    severity=Severity.LOW,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    defects=["any-key-will-do"],
)
@pytest.mark.parametrize("form", list(ODD_KEYS))
def check_odd_keys_are_refused(ctx: Context, form: str) -> None:
    """Send keys that are too short, too long, or not of the alphabet.

    Why: A key that is cut or altered on its way to the store no longer tells two payments apart.
    How: Send a deposit with each odd key, and count the entries.
    Fails when: the answer is not 400 `idempotency_key_invalid` (or `idempotency_key_missing` for an
    empty one), or something was booked.
    Remedy: Accept 16 to 128 characters of A-Z a-z 0-9 _ - and refuse all else.
    """
    account = ctx.arrange.account()
    reply = send_raw(
        ctx.customer,
        "POST",
        "/v1/transactions",
        headers={"Idempotency-Key": ODD_KEYS[form]},
        body=deposit_body(ctx, account, 100),
    )
    empty = ["idempotency_key_missing"] if form.startswith("empty") else []
    is_refused(ctx.customer, reply, "idempotency_key_invalid", *empty)
    expect_entries(ctx, account, [], reply)


@check(
    "functional/keys/equal-requests-are-one",
    title="The quoted form of a key and another order of members are the same request",
    failure_title="The same key or payload in another spelling counts as another request",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    defects=["spelling-counts"],
    standards=["RFC 8785"],
)
@pytest.mark.parametrize("spelling", ["quoted key", "member order", "white space", "escapes"])
def check_equal_requests_are_one(ctx: Context, spelling: str) -> None:
    """Spell the same request in another way.

    Why: Clients and proxies rewrite headers and bodies; RFC 8941 strings are quoted, and JSON
    objects have no order. A retry must be known as one all the same: the contract compares
    payloads in canonical form (RFC 8785), and takes a key bare or in quotes.
    How: Send a deposit, then again with the key in quotes, with its members in reverse order, with
    white space between them, or with characters written as escapes.
    Fails when: the second answer is not the replay of the first, or there are two entries.
    Remedy: Strip the quotes of the key; digest the canonical form of the body (RFC 8785).
    """
    account = ctx.arrange.account()
    key = new_key()
    body = deposit_body(ctx, account, 777)
    first = ctx.customer.call("createTransaction", body=body, key=key, expect=201)
    other = dict(reversed(body.items())) if spelling == "member order" else body
    text = json.dumps(other, indent=3 if spelling == "white space" else None)
    if spelling == "escapes":
        text = text.replace("once", r"\u006fnc\u0065")
    second = send_raw(
        ctx.customer,
        "POST",
        "/v1/transactions",
        headers={
            "Idempotency-Key": f'"{key}"' if spelling == "quoted key" else key,
            "Content-Type": "application/json",
        },
        content=text.encode(),
    )
    is_replay(ctx, first, second)
    expect_entries(ctx, account, [777], first, second)
