"""Authentication: no valid token, no entry; what ends a session ends it."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

TOKEN_PROBLEMS = ("token_missing", "token_invalid", "token_expired")


def secured_reads(ctx: Context) -> list[str]:
    """Return the path of every secured GET of the declared modules; ids are those of nobody."""
    declared = {row["id"] for row in ctx.capabilities["modules"]}
    return [
        re.sub(r"\{\w+\}", "nobody", operation.path)
        for operation in ctx.contract.operations.values()
        if operation.method == "GET"
        and operation.module in declared
        and "public" not in operation.roles
        and not operation.draft
    ]


def is_no_entry(ctx: Context, reply: Reply) -> None:
    """Fail unless the request was refused; how, is the question of another check."""
    ctx.expect(
        reply.status >= 300,
        "A request without valid credentials was executed",
        expected="a refusal",
        observed=reply.status,
        on=[reply],
    )


def forged(token: str, kind: str, user_id: str) -> dict[str, str]:
    """Return the headers of a request whose credentials are no good."""
    parts = token.split(".")
    claims = {"sub": user_id, "exp": 4_102_444_800, "iat": 0, "roles": ["admin"], "role": "admin"}
    if kind == "no signature" and len(parts) == 3:
        # The real claims under a header that says the token needs no signature.
        unsigned = f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{parts[1]}."
    else:
        unsigned = f"{_segment({'alg': 'None', 'typ': 'JWT'})}.{_segment(claims)}."
    middle = len(token) // 2
    flipped = "A" if token[middle] != "A" else "B"
    header = {
        "empty": "",
        "scheme only": "Bearer",
        "empty bearer": "Bearer ",
        "garbage": "Bearer not-a-token",
        "basic": "Basic " + base64.b64encode(b"admin:admin").decode(),
        "token without scheme": token,
        "no signature": f"Bearer {unsigned}",
        "made-up claims": f"Bearer {unsigned}",
        "changed": f"Bearer {token[:middle]}{flipped}{token[middle + 1 :]}",
        "cut": f"Bearer {token[: len(token) - 12]}",
        "empty signature": f"Bearer {'.'.join(parts[:-1])}.",
    }
    return {"Authorization": header[kind]}


def _segment(claims: Json) -> str:
    encoded = json.dumps(claims, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


FORGERIES = (
    "empty",
    "scheme only",
    "garbage",
    "basic",
    "no signature",
    "made-up claims",
    "changed",
    "cut",
    "empty signature",
)
"""Credentials that nobody was given."""


@check(
    "functional/authentication/no-token-no-entry",
    title="Every secured read is refused without a token",
    failure_title="A secured read is answered without a token",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["listAccounts", "getAccount", "listTransactions", "getTransaction", "listUsers"],
    defects=["a-read-without-token"],
    veto=Veto.AUTHENTICATION_BYPASS,
    standards=["OWASP-API:2023-2", "CWE-306"],
)
def check_no_token_no_entry(ctx: Context) -> None:
    """Ask for everything without a token.

    Why: One handler that forgot the check opens the book to everybody who finds its address.
    How: Send every secured GET of the declared modules, and reads of an existing account and
    transaction, without Authorization.
    Fails when: an answer is anything but a refusal.
    Remedy: Check the token before routing to a handler, with public routes as the exception.
    """
    account = ctx.arrange.account(funds=100)
    booked = ctx.arrange.deposit(account, 1)
    known = [
        f"/v1/accounts/{account['id']}",
        f"/v1/accounts/{account['id']}/entries",
        f"/v1/transactions/{booked['id']}",
    ]
    for path in (*known, *secured_reads(ctx)):
        reply = send_raw(ctx.anonymous, "GET", path)
        is_no_entry(ctx, reply)


@check(
    "functional/authentication/no-token-no-write",
    title="A write without a valid token is refused and has no effect",
    failure_title="A write without a valid token is executed",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["createTransaction", "updateAccount", "closeAccount", "voidTransaction"],
    defects=["a-write-without-token"],
    veto=Veto.AUTHENTICATION_BYPASS,
    standards=["OWASP-API:2023-2", "CWE-306"],
)
@pytest.mark.parametrize("credentials", ["none", "garbage"])
@pytest.mark.parametrize("write", ["withdraw", "deposit", "rename", "close", "void", "open"])
def check_no_token_no_write(ctx: Context, write: str, credentials: str) -> None:
    """Write without a token, then let the owner look.

    Why: The refusal must come before the effect, not after it.
    How: Send each kind of write about a real account without Authorization and with a made-up
    token; the owner compares the account.
    Fails when: the answer is anything but a refusal, or something has changed.
    Remedy: Check the token before routing to a handler.
    """
    account = ctx.arrange.account(funds=1_000)
    pending = ctx.arrange.hold(account, 10)
    seen = ctx.arrange.read_reply(account)
    before = ctx.arrange.picture(account)
    one = f"/v1/accounts/{account['id']}"
    new = {"type": "generation", "currency": account["currency"], "name": ctx.name("nobody")}
    deposit = {
        "kind": "deposit",
        "amount": ctx.arrange.money(5, account["currency"]),
        "to_account_id": account["id"],
    }
    method, path, body = {
        "withdraw": ("POST", "/v1/transactions", ctx.arrange.withdrawal_body(account, 10)),
        "deposit": ("POST", "/v1/transactions", deposit),
        "rename": ("PATCH", one, {"name": ctx.name("nobody")}),
        "close": ("POST", f"{one}/close", {}),
        "void": ("POST", f"/v1/transactions/{pending['id']}/void", {}),
        "open": ("POST", "/v1/accounts", new),
    }[write]
    headers = {"Idempotency-Key": uuid4().hex, "If-Match": seen.etag or ""}
    if credentials == "garbage":
        headers["Authorization"] = f"Bearer {uuid4().hex}"
    reply = send_raw(ctx.anonymous, method, path, headers=headers, body=body)
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A write of nobody changed the account", reply)
    is_no_entry(ctx, reply)


@check(
    "functional/authentication/forged-tokens",
    title="A token that was made up, changed or stripped of its signature is refused",
    failure_title="A token that the deployment did not make is accepted",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["listAccounts"],
    defects=["signatures-are-not-checked"],
    veto=Veto.AUTHENTICATION_BYPASS,
    standards=["OWASP-API:2023-2", "RFC 8725", "CWE-347"],
)
@pytest.mark.parametrize("kind", FORGERIES)
def check_forged_tokens(ctx: Context, kind: str) -> None:
    """Send tokens that are almost right.

    Why: Libraries have accepted `alg: none`, changed claims and empty signatures; each makes every
    user everybody.
    How: Take a real token; change a character, cut it, drop its signature with alg none; make one
    up.
    Fails when: the answer is anything but a refusal.
    Remedy: Verify with one fixed algorithm and key before reading any claim.
    """
    session = ctx.customer.session
    headers = forged(session.token, kind, ctx.customer.user_id)
    reply = send_raw(ctx.anonymous, "GET", "/v1/accounts?limit=1", headers=headers)
    is_no_entry(ctx, reply)


@check(
    "functional/authentication/refusals-are-401",
    title="A request without valid credentials is answered 401 and told how to authenticate",
    failure_title="A request without valid credentials is refused otherwise than with 401",
    severity=Severity.LOW,
    requirements=["SYS-SEC", "E2E-ERR"],
    operations=["listAccounts", "createTransaction"],
    defects=["token-refusals-are-403"],
    standards=["RFC 9110"],
)
@pytest.mark.parametrize("kind", ["none", "token without scheme", *FORGERIES])
def check_refusals_are_401(ctx: Context, kind: str) -> None:
    """Read how requests without valid credentials are refused.

    Why: A client logs in again on 401 and gives up on 403; without the scheme it cannot know how.
    How: Send a read and a write without a token, and with each forged one.
    Fails when: the answer is not 401 with a token problem and WWW-Authenticate: Bearer.
    Remedy: Answer from one place, before the request reaches a handler.
    """
    session = ctx.customer.session
    headers = {} if kind == "none" else forged(session.token, kind, ctx.customer.user_id)
    write = {"headers": {**headers, "Idempotency-Key": uuid4().hex}, "body": {}}
    for reply in (
        send_raw(ctx.anonymous, "GET", "/v1/accounts?limit=1", headers=headers),
        send_raw(ctx.anonymous, "POST", "/v1/transactions", **write),
    ):
        is_refused(ctx.anonymous, reply, *TOKEN_PROBLEMS)
        ctx.expect(
            "bearer" in (reply.headers.get("WWW-Authenticate") or "").lower(),
            "A 401 does not say how to authenticate",
            expected="WWW-Authenticate: Bearer",
            observed=reply.headers.get("WWW-Authenticate"),
            on=[reply],
        )
