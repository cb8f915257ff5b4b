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
ENTRY = ("SYS-SEC", "SEC-API-2", "SEC-VULN-AUTH", "SEC-OWASP-A07")


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
        "twice": f"Bearer {token} {token}",
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
    "token without scheme",
    "no signature",
    "made-up claims",
    "changed",
    "cut",
    "empty signature",
    "twice",
)


@check(
    "functional/authentication/no-token-no-entry",
    title="Every secured read is refused without a token",
    failure_title="A secured read is answered without a token",
    severity=Severity.CRITICAL,
    requirements=ENTRY,
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
    Fails when: an answer is not 401 `token_missing` with WWW-Authenticate.
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
        is_refused(ctx.anonymous, reply, "token_missing")
        ctx.expect(
            "bearer" in (reply.headers.get("WWW-Authenticate") or "").lower(),
            "A 401 does not say how to authenticate",
            expected="WWW-Authenticate: Bearer",
            observed=reply.headers.get("WWW-Authenticate"),
            on=[reply],
        )


@check(
    "functional/authentication/no-token-no-write",
    title="A write without a valid token is refused and has no effect",
    failure_title="A write without a valid token is executed",
    severity=Severity.CRITICAL,
    requirements=ENTRY,
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
    Fails when: the answer is not 401, or anything has changed.
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
    is_refused(ctx.anonymous, reply, *TOKEN_PROBLEMS)


@check(
    "functional/authentication/forged-tokens",
    title="A token that was made up, changed or stripped of its signature is refused",
    failure_title="A token that the deployment did not make is accepted",
    severity=Severity.CRITICAL,
    requirements=ENTRY,
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
    Fails when: the answer is not 401 with a token problem.
    Remedy: Verify with one fixed algorithm and key before reading any claim.
    """
    session = ctx.customer.session
    headers = forged(session.token, kind, ctx.customer.user_id)
    reply = send_raw(ctx.anonymous, "GET", "/v1/accounts?limit=1", headers=headers)
    is_refused(ctx.anonymous, reply, *TOKEN_PROBLEMS)


def new_login(ctx: Context) -> tuple[Json, Reply]:
    """Create a throw-away customer; return its credentials and the answer to a login."""
    rules = ctx.capabilities["auth"].get("password", {})
    password = f"Zx9!{uuid4().hex}".ljust(rules.get("min_length", 0), "x")
    credentials = {"username": f"t{uuid4().hex[:24]}", "password": password}
    ctx.admin.call("createUser", body={**credentials, "roles": ["customer"]}, expect=201)
    login = ctx.anonymous.call("login", body=credentials, expect=200)
    if "access_token" not in login.body:
        ctx.not_exercised("a new user must enrol a second factor first")
    return credentials, login


def read_with(ctx: Context, access_token: str) -> Reply:
    """Read something secured with this token."""
    headers = {"Authorization": f"Bearer {access_token}"}
    return send_raw(ctx.anonymous, "GET", "/v1/accounts?limit=1", headers=headers)


def refresh(ctx: Context, refresh_token: str, **expected: str | int) -> Reply:
    """Exchange a refresh token."""
    body = {"refresh_token": refresh_token}
    return ctx.anonymous.call("refreshSession", body=body, **expected)  # type: ignore[arg-type]  # expect or problem


@check(
    "functional/authentication/wrong-password",
    title="A wrong password is refused and does not tell whether the user exists",
    failure_title="A wrong password is accepted, or tells whether the user exists",
    severity=Severity.HIGH,
    requirements=[*ENTRY, "SEC-VULN-EXPOSE"],
    operations=["login", "createUser"],
    defects=["unknown-users-are-named", "any-password-will-do"],
    identities=["admin"],
    standards=["OWASP-API:2023-2", "CWE-204"],
)
def check_wrong_password(ctx: Context) -> None:
    """Log in with the right, a wrong and an empty pair.

    Why: An answer that differs for unknown users hands out the list of customers, name by name.
    How: Create a user; log in rightly, with the password changed, with another user's name of the
    same form, and with the name in capitals and a wrong password; compare the refusals.
    Fails when: the right pair is refused, a wrong one is not 401 `bad_credentials`, or the refusals
    differ in more than ids and instants, or the session lives longer than declared.
    Remedy: Answer both cases from one place, after the same work.
    """
    credentials, login = new_login(ctx)
    ttl = ctx.capabilities["auth"]["token_ttl"]
    ctx.expect(
        login.body["expires_in"] <= ttl,
        "An access token lives longer than declared",
        expected=f"at most {ttl} s",
        observed=f"{login.body['expires_in']} s",
        on=[login],
    )
    wrong = {**credentials, "password": credentials["password"] + "y"}
    unknown = {**wrong, "username": f"t{uuid4().hex[:24]}"}
    known_refusal = ctx.anonymous.call("login", body=wrong, problem="bad_credentials")
    unknown_refusal = ctx.anonymous.call("login", body=unknown, problem="bad_credentials")
    told = [
        {name: reply.body.get(name) for name in ("type", "title", "status", "detail", "code")}
        for reply in (known_refusal, unknown_refusal)
    ]
    ctx.equal(told[1], told[0], "The refusals differ", known_refusal, unknown_refusal)
    ctx.anonymous.call("login", body=credentials, expect=200)


@check(
    "functional/authentication/refresh-rotates",
    title="A refresh token works once, and its second use ends the session",
    failure_title="A refresh token works twice, or its second use leaves the session alive",
    severity=Severity.HIGH,
    requirements=[*ENTRY, "SEC-AUTHN-SESSION"],
    operations=["refreshSession", "login"],
    defects=["refresh-tokens-live-on", "reuse-leaves-the-family"],
    identities=["admin"],
    standards=["OWASP-API:2023-2", "RFC 9700"],
)
def check_refresh_rotates(ctx: Context) -> None:
    """Use a refresh token twice, then its successor.

    Why: A stolen refresh token is a stolen account until somebody notices; its second use is the
    only sign of the theft, and must end what the thief has, too.
    How: Log in, refresh, use the new access token, use the old refresh token again, then the new
    one.
    Fails when: refreshing does not give a new pair that works, the second use is not 401
    `token_reused`, or the new refresh token works after it.
    Remedy: Rotate at every use; keep used tokens, and end the family when one comes back.
    """
    _, login = new_login(ctx)
    old = login.body["refresh_token"]
    renewed = refresh(ctx, old, expect=200)
    ctx.expect(
        renewed.body["refresh_token"] != old,
        "Refreshing gave the same refresh token again",
        expected="another refresh token",
        observed="the same",
        on=[login, renewed],
    )
    works = read_with(ctx, renewed.body["access_token"])
    ctx.equal(works.status, 200, "The new access token does not work", renewed, works)
    refresh(ctx, old, problem="token_reused")
    reply = refresh(ctx, renewed.body["refresh_token"])
    ctx.is_problem(reply, ("token_invalid", "token_reused", "token_expired"))


@check(
    "functional/authentication/logout-ends-access",
    title="After a logout neither the access token nor the refresh token works",
    failure_title="A token works after the logout",
    severity=Severity.HIGH,
    requirements=[*ENTRY, "SEC-AUTHN-SESSION"],
    operations=["logout", "refreshSession", "listAccounts"],
    defects=["logout-is-a-gesture"],
    identities=["admin"],
    veto=Veto.AUTHENTICATION_BYPASS,
    standards=["OWASP-API:2023-2", "CWE-613"],
)
def check_logout_ends_access(ctx: Context) -> None:
    """Log out and go on.

    Why: "Log out" on a shared computer must mean it; a token that lives on for an hour is a door
    left open.
    How: Log in twice, log the first session out, use its access token and its refresh token; use
    the second session.
    Fails when: a token of the ended session is accepted, or the other session ended too.
    Remedy: Look the session up at every request, or keep a list of ended ones.
    """
    credentials, first = new_login(ctx)
    second = ctx.anonymous.call("login", body=credentials, expect=200)
    ctx.equal(read_with(ctx, first.body["access_token"]).status, 200, "A fresh token is refused")
    ended = send_raw(
        ctx.anonymous,
        "POST",
        "/v1/auth/logout",
        headers={"Authorization": f"Bearer {first.body['access_token']}"},
    )
    ctx.equal(ended.status, 204, "The logout was not answered with 204", ended)
    is_refused(ctx.anonymous, read_with(ctx, first.body["access_token"]), "token_invalid")
    refused = refresh(ctx, first.body["refresh_token"])
    ctx.is_problem(refused, ("token_invalid", "token_expired", "token_reused"))
    other = read_with(ctx, second.body["access_token"])
    ctx.equal(other.status, 200, "Another session of the user ended too", other)


@check(
    "functional/authentication/password-policy",
    title="A password below the declared policy is refused, and no password is ever shown",
    failure_title="A password below the declared policy is accepted, or a password is shown",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC", "SEC-AUTHN-POLICY", "SEC-VULN-EXPOSE"],
    operations=["createUser", "getUser"],
    defects=["short-passwords-are-taken"],
    identities=["admin"],
)
def check_password_policy(ctx: Context) -> None:
    """Create users with passwords just below and at the declared minimum.

    Why: A policy that is declared and not kept is worse than none: somebody relies on it.
    How: Create a user with a password one character below `auth.password.min_length`, then with a
    good one; search the answers for the password.
    Fails when: the short one is not 422 `password_policy`, the good one is refused, or an answer
    shows a password or anything called password or hash.
    Remedy: Check the policy where passwords are set; never serialise credentials.
    """
    minimum = ctx.capabilities["auth"].get("password", {}).get("min_length")
    if minimum is None:
        ctx.not_exercised("the deployment declares no minimum length of passwords")
    good = f"Zx9!{uuid4().hex}".ljust(minimum, "x")
    body: Json = {"username": f"t{uuid4().hex[:24]}", "roles": ["customer"]}
    short = good[: minimum - 1]
    ctx.admin.call("createUser", body={**body, "password": short}, problem="password_policy")
    made = ctx.admin.call("createUser", body={**body, "password": good}, expect=201)
    read = ctx.admin.call("getUser", path={"id": made.body["id"]}, expect=200)
    for reply in (made, read):
        text = json.dumps(reply.body).lower()
        shown = [word for word in (good.lower(), '"password', "argon2", "bcrypt") if word in text]
        ctx.equal(shown, [], "An answer shows a password or its hash", reply)
