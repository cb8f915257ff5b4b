"""Sessions: they begin with the right password, are renewed once a token, and end when told to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

from certification.checks import check
from certification.malformed import send_raw
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply


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
    "functional/sessions/wrong-password",
    title="A wrong password is refused and does not tell whether the user exists",
    failure_title="A wrong password is accepted, or tells whether the user exists",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
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
    "functional/sessions/refresh-rotates",
    title="A refresh token works once, and its second use ends the session",
    failure_title="A refresh token works twice, or its second use leaves the session alive",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
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
    "functional/sessions/logout-ends-access",
    title="After a logout neither the access token nor the refresh token works",
    failure_title="A token works after the logout",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
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
    for what, reply in (
        ("access token", read_with(ctx, first.body["access_token"])),
        ("refresh token", refresh(ctx, first.body["refresh_token"])),
    ):
        ctx.expect(
            reply.status >= 300,
            f"The {what} works after the logout",
            expected="a refusal",
            observed=reply.status,
            on=[ended, reply],
        )
    other = read_with(ctx, second.body["access_token"])
    ctx.equal(other.status, 200, "Another session of the user ended too", other)


@check(
    "functional/sessions/password-policy",
    title="A password below the declared policy is refused, and no password is ever shown",
    failure_title="A password below the declared policy is accepted, or a password is shown",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
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
