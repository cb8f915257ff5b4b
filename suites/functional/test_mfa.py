"""The second factor: enrolled once, asked for at every login, each code good for one entry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from uuid import uuid4

import pytest

from certification import guests, lockouts
from certification.checks import check
from certification.malformed import send_raw
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context
    from certification.guests import Authenticator, Guest
    from certification.target.reply import Reply

STANDARDS = ["RFC 6238", "OWASP-API:2023-2"]


def enter(guest: Guest, authenticator: Authenticator) -> Reply:
    """Log in with password and code."""
    challenge = guests.challenge_of(guest)
    return guests.verify(guest, challenge, authenticator.fresh(), expect=200)


def room_for_failures(ctx: Context, number: int) -> None:
    """End the check where so many wrong codes would lock the user out."""
    threshold = ctx.capabilities["auth"].get("lockout", {}).get("threshold")
    if threshold is not None and threshold <= number:
        ctx.not_exercised(f"{number} wrong codes lock a user out of this deployment")


def read_account_list(ctx: Context, token: str) -> Reply:
    """Read something secured with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    return send_raw(ctx.anonymous, "GET", "/v1/accounts?limit=1", headers=headers)


@check(
    "functional/mfa/enrolled-and-asked-for",
    title="A confirmed second factor is asked for at login, and its code gives a session",
    failure_title="A second factor cannot be enrolled, or its code gives no session",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["enrollMfa", "login", "verifyMfa"],
    defects=["sessions-from-before-the-factor-stay"],
    identities=["admin"],
    standards=STANDARDS,
)
def check_enrolled_and_asked_for(ctx: Context) -> None:
    """Enrol an authenticator, log in with it, and look at the sessions from before.

    Why: A second factor that cannot be used locks its owner out; sessions from before it keep the
    thief in against whom it was switched on.
    How: A user with two sessions begins an enrolment, confirms it with a wrong and then with the
    right code, uses both sessions, logs in with password and code and reads with the new session.
    Fails when: the wrong code is not 401 `mfa_invalid`, the right one does not confirm, the session
    that asked ends or the other one does not, or password and code give no session that works.
    Remedy: Confirm with a code before the factor counts; end the other sessions in that step.
    """
    guest = guests.arrive(ctx)
    other = guests.log_in(guest)
    authenticator, _ = guests.begin_enrolment(guest)
    wrong = {"method": "totp", "code": authenticator.wrong()}
    guest.call("enrollMfa", body=wrong, problem="mfa_invalid")
    other.call("listAccounts", query={"limit": 1}, expect=200)
    right = {"method": "totp", "code": authenticator.fresh()}
    confirmed = guest.call("enrollMfa", body=right, expect=200)
    ctx.equal(confirmed.body["confirmed"], True, "The right code does not confirm", confirmed)
    guest.call("listAccounts", query={"limit": 1}, expect=200)
    after = read_account_list(ctx, other.token)
    guests.is_refused_entry(ctx, "A session from before the second factor", after)
    session = guests.with_session(guest, enter(guest, authenticator).body)
    session.call("getUser", path={"id": guest.id}, expect=200)


@check(
    "functional/mfa/nothing-before-the-code",
    title="Before the code there is no session, and the challenge opens nothing",
    failure_title="A password alone opens the account of a user with a second factor",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["login", "verifyMfa", "listAccounts", "refreshSession", "enrollMfa"],
    defects=["session-before-the-code", "challenge-is-a-token"],
    identities=["admin"],
    veto=Veto.AUTHENTICATION_BYPASS,
    standards=[*STANDARDS, "CWE-308"],
)
def check_nothing_before_the_code(ctx: Context) -> None:
    """Log in with the password alone and try what came back.

    Why: The second factor protects against a stolen password only if the password alone gives
    nothing at all.
    How: Enrol a factor, log in with the password, search the answer for tokens, and send the
    challenge as access token (reading and writing) and as refresh token; a made-up challenge too.
    Fails when: the answer has a token, the challenge is taken for one, or a made-up challenge with
    the right code gives a session.
    Remedy: Issue tokens after the code only; keep challenges in a store of their own.
    """
    guest = guests.arrive(ctx)
    authenticator = guests.enrol(guest)
    reply = guests.try_log_in(guest, expect=200)
    shown = sorted({"access_token", "refresh_token"} & set(reply.body))
    ctx.equal(shown, [], "A login without the code gave tokens", reply)
    challenge = reply.body["challenge"]
    bearer = {"Authorization": f"Bearer {challenge}"}
    refresh = ctx.anonymous.call("refreshSession", body={"refresh_token": challenge})
    opened = {"type": "generation", "currency": ctx.arrange.currency, "name": ctx.name("early")}
    keyed = {**bearer, "Idempotency-Key": uuid4().hex}
    guests.is_refused_entry(
        ctx,
        "Who has given the password alone",
        read_account_list(ctx, challenge),
        send_raw(ctx.anonymous, "GET", f"/v1/users/{guest.id}", headers=bearer),
        send_raw(ctx.anonymous, "POST", "/v1/accounts", headers=keyed, body=opened),
        refresh,
    )
    made_up = challenge[:-6] + ("AAAAAA" if challenge[-6:] != "AAAAAA" else "BBBBBB")
    guests.verify(guest, made_up, authenticator.fresh(), problem="token_invalid")


@check(
    "functional/mfa/code-works-once",
    title="A code of the second factor works once",
    failure_title="A code of the second factor works a second time",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["enrollMfa", "login", "verifyMfa"],
    defects=["codes-work-twice", "confirming-code-works-again"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-294"],
)
@pytest.mark.parametrize("first_use", ["confirming", "entering"])
def check_code_works_once(ctx: Context, first_use: str) -> None:
    """Use a code a second time, under another challenge.

    Why: Whoever looks over a shoulder has the code for half a minute; one use makes that worthless.
    How: Use a code to confirm an enrolment, or to enter; log in again and answer the new challenge
    with the same code, then with a fresh one.
    Fails when: the second use is not 401 `mfa_replayed`, or the fresh code is refused.
    Remedy: Keep the latest step that was accepted, per user, and take later ones only.
    """
    guest = guests.arrive(ctx)
    room_for_failures(ctx, 1)
    authenticator = guests.enrol(guest)
    if first_use == "entering":
        enter(guest, authenticator)
    again = authenticator.of(authenticator.used)
    challenge = guests.challenge_of(guest)
    guests.verify(guest, challenge, again, problem="mfa_replayed")
    guests.verify(guest, challenge, authenticator.fresh(), expect=200)


@check(
    "functional/mfa/codes-of-the-declared-steps",
    title="Codes of the declared steps around now are taken, and no others",
    failure_title="Codes are taken from other steps than declared",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["enrollMfa", "login", "verifyMfa"],
    defects=["old-codes-are-taken", "early-codes-are-taken", "skew-is-not-given"],
    identities=["admin"],
    standards=STANDARDS,
)
@pytest.mark.parametrize("side", ["behind", "ahead"])
def check_codes_of_the_declared_steps(ctx: Context, side: str) -> None:
    """Confirm an enrolment with codes just outside and just inside the declared skew.

    Why: Every step more is another half minute for a stolen code; a step less locks out people
    whose clocks differ.
    How: In the middle of a step, answer with the code one step beyond `skew`, then with the one at
    it.
    Fails when: the code beyond is not 401 `mfa_invalid`, or the one at the edge is refused.
    Remedy: Compare with the steps of the declared skew and with no others.
    """
    guest = guests.arrive(ctx)
    authenticator, _ = guests.begin_enrolment(guest)
    if authenticator.period_s <= 4 * guests.EDGE_S:
        ctx.not_exercised("the period is too short to know which step it is at the deployment")
    direction = -1 if side == "behind" else 1
    now = authenticator.settled_step()
    edge, beyond = (now + direction * (authenticator.skew + more) for more in (0, 1))
    outside = {"method": "totp", "code": authenticator.of(beyond)}
    inside = {"method": "totp", "code": authenticator.of(edge)}
    refused = guest.call("enrollMfa", body=outside)
    taken = guest.call("enrollMfa", body=inside) if refused.status != 200 else refused
    if authenticator.settled_step() != now:
        ctx.undecided("the step changed while codes of it were tried")
    ctx.is_problem(refused, "mfa_invalid")
    ctx.has_status(taken, 200)


@check(
    "functional/mfa/challenge-is-of-one-login",
    title="A challenge is good for one session of one user",
    failure_title="A challenge is good for a second session or for another user's code",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["login", "verifyMfa", "enrollMfa"],
    defects=["challenges-live-on", "anybodys-code-will-do"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-287"],
)
@pytest.mark.parametrize("case", ["used", "of another"])
def check_challenge_is_of_one_login(ctx: Context, case: str) -> None:
    """Answer a challenge twice, and with the code of another user.

    Why: A challenge that lives on is a password that never changes; one that takes anybody's code
    makes one authenticator the key to every account.
    How: Answer a challenge rightly, then again with a fresh code; or answer it with the present
    code of another user who has a factor.
    Fails when: the second session is given (401 `token_invalid` is right), or the other's code is
    not 401 `mfa_invalid`.
    Remedy: Bind the challenge to its user and mark it used in the step that gives the session.
    """
    guest = guests.arrive(ctx)
    authenticator = guests.enrol(guest)
    challenge = guests.challenge_of(guest)
    if case == "used":
        guests.verify(guest, challenge, authenticator.fresh(), expect=200)
        guests.verify(guest, challenge, authenticator.fresh(), problem="token_invalid")
        return
    room_for_failures(ctx, 1)
    stranger = guests.arrive(ctx)
    other = guests.enrol(stranger)
    guests.verify(guest, challenge, other.fresh(), problem="mfa_invalid")


@check(
    "functional/mfa/wrong-codes-lock",
    title="Wrong codes count towards the declared lock-out",
    failure_title="Codes of the second factor can be guessed without end",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["login", "verifyMfa", "enrollMfa"],
    defects=["codes-can-be-guessed"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-307"],
)
def check_wrong_codes_lock(ctx: Context) -> None:
    """Guess codes until the declared threshold.

    Why: Six digits are a million tries; only the lock-out makes that long.
    How: Log in with the right password and answer with wrong codes, with a new challenge where one
    is used up, `auth.lockout.threshold` times; then send the right code and the right password.
    Fails when: more wrong codes than the threshold are tried, or afterwards the answer to code or
    password is not 423 `locked` with Retry-After. INCONCLUSIVE where the lock may be over by then.
    Remedy: Count wrong codes like wrong passwords; a right password alone forgets nothing.
    """
    threshold = ctx.capabilities["auth"].get("lockout", {}).get("threshold", 0)
    if not 1 <= threshold <= 20:
        ctx.not_exercised("the deployment declares no lock-out that twenty wrong codes reach")
    guest = guests.arrive(ctx)
    authenticator = guests.enrol(guest)
    wrong, used_up = authenticator.wrong(), ("token_invalid", "token_expired")
    challenge, tried, since_s = guests.challenge_of(guest), 0, 0.0
    for _ in range(3 * threshold):
        since_s = ctx.clock() if tried < threshold else since_s
        reply = guests.verify(guest, challenge, wrong)
        if reply.status == 423 or tried == threshold:
            break
        if reply.problem_code in used_up:
            challenge = guests.challenge_of(guest)
        else:
            ctx.is_problem(reply, "mfa_invalid")
            tried += 1
    entered = guests.try_log_in(guest)
    challenge = str(entered.body.get("challenge", challenge))
    answered = guests.verify(guest, challenge, authenticator.fresh())
    lockouts.is_locked(ctx, entered, since_s, reply)
    lockouts.is_locked(ctx, answered, since_s, entered, others=used_up)


@check(
    "functional/mfa/switched-off-with-a-code",
    title="A second factor is switched off with a code of it and not without",
    failure_title="A second factor can be switched off without its code, or not at all",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["disableMfa", "enrollMfa", "login"],
    defects=["factor-goes-without-a-code"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-306"],
)
def check_switched_off_with_a_code(ctx: Context) -> None:
    """Switch a factor off with a wrong and a right code.

    Why: A stolen session must not be able to take the factor away that protects the next one.
    How: Enrol; disable with a wrong code and log in; disable with the code that was used already;
    with a fresh one; log in; disable again.
    Fails when: a wrong or used code switches it off, the fresh one does not, the login afterwards
    asks for a code, or disabling nothing is not 404.
    Remedy: Judge the code as at login, the used ones included, before the factor is removed.
    """
    guest = guests.arrive(ctx)
    room_for_failures(ctx, 2)
    authenticator = guests.enrol(guest)
    guest.call("disableMfa", body={"code": authenticator.wrong()}, problem="mfa_invalid")
    used = authenticator.of(authenticator.used)
    guest.call("disableMfa", body={"code": used}, problem="mfa_replayed")
    guests.challenge_of(guest)
    guest.call("disableMfa", body={"code": authenticator.fresh()}, expect=204)
    again = guests.try_log_in(guest, expect=200)
    ctx.expect(
        "access_token" in again.body,
        "A login asks for a second factor that was switched off",
        expected="a session",
        observed=sorted(again.body),
        on=[again],
    )
    guest.call("disableMfa", body={"code": authenticator.wrong()}, problem="not_found")


@check(
    "functional/mfa/reset-by-an-admin",
    title="An admin removes a lost factor of somebody else, and its sessions end",
    failure_title="A lost factor cannot be removed, or the wrong one can remove it",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["resetMfa", "login", "enrollMfa"],
    defects=["anybody-resets-factors"],
    identities=["admin", "manager"],
    standards=STANDARDS,
)
def check_reset_by_an_admin(ctx: Context) -> None:
    """Remove a factor as nobody may, then as an admin.

    Why: Phones get lost; the way back must be open to the desk and closed to everybody else.
    How: The owner, a manager and another customer ask for the removal; then an admin; the user's
    session is used and a login sent; the admin asks again.
    Fails when: anybody but the admin is not refused, the admin is, the old session lives on,
    the login still asks for a code, or a second removal is not 404.
    Remedy: Ask for the role admin, refuse the own user, and end the sessions in the same step.
    """
    guest = guests.arrive(ctx)
    guests.enrol(guest)
    path = {"id": guest.id}
    for actor in (guest, ctx.manager, guests.arrive(ctx)):
        actor.call("resetMfa", path=path, problem=["forbidden", "not_found"])
    guests.challenge_of(guest)
    ctx.admin.call("resetMfa", path=path, expect=204)
    kept = read_account_list(ctx, guest.token)
    guests.is_refused_entry(ctx, "A session from before the removal", kept)
    guests.log_in(guest)
    ctx.admin.call("resetMfa", path=path, problem="not_found")


@check(
    "functional/mfa/secret-is-shown-once",
    title="The secret of a second factor is shown once, when its enrolment begins",
    failure_title="The secret of a second factor is shown again, or used again",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["enrollMfa", "getUser"],
    defects=["factor-secret-is-shown-again", "factor-secret-stays-the-same"],
    identities=["admin"],
    standards=[*STANDARDS, "CWE-522"],
)
def check_secret_is_shown_once(ctx: Context) -> None:
    """Look for the secret wherever the user is shown afterwards.

    Why: Who reads the secret once has every code to come; a session must not be enough for that.
    How: Begin an enrolment twice, confirm the second one, try to begin a third; read the user as
    itself and as admin; search every answer for the secrets. The URI, if any, must carry the
    secret.
    Fails when: an answer shows a secret again, both enrolments share one, or a third enrolment
    beside a confirmed factor is not 409 `mfa_already_enrolled`.
    Remedy: Draw a secret per enrolment, keep it encrypted, and have no operation that reads it.
    """
    guest = guests.arrive(ctx)
    first, _ = guests.begin_enrolment(guest)
    second, begun = guests.begin_enrolment(guest)
    ctx.expect(
        first.secret != second.secret,
        "Two enrolments have the same secret",
        expected="another secret",
        observed="the same",
        on=[begun],
    )
    uri = begun.body.get("otpauth_uri")
    if uri is not None:
        told = urlparse(uri)
        carries = (told.scheme, told.netloc, f"secret={second.secret}" in uri.replace("%3D", "="))
        ctx.equal(carries, ("otpauth", "totp", True), "The URI is not that of the secret", begun)
    confirm = {"method": "totp", "code": second.fresh()}
    answers = (
        guest.call("enrollMfa", body=confirm, expect=200),
        guest.call("enrollMfa", body={"method": "totp"}, problem="mfa_already_enrolled"),
        guest.call("getUser", path={"id": guest.id}, expect=200),
        ctx.admin.call("getUser", path={"id": guest.id}, expect=200),
    )
    for reply in answers:
        text = json.dumps(reply.body)
        shown = first.secret in text or second.secret in text
        ctx.equal(shown, False, "An answer shows the secret of a second factor again", reply)
