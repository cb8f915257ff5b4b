"""Passwords: the declared policy is kept, whole, and a change of rights ends what was before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification import guests
from certification.checks import check
from certification.malformed import send_raw
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context
    from certification.guests import Guest
    from certification.model import Json
    from certification.target.reply import Reply

HISTORY_MAX = 8
"""Each former password costs the deployment a hash at every change."""
KNOWN = (
    "password",
    "12345678",
    "1234567890",
    "qwertyuiop",
    "1q2w3e4r",
    "qwerty123",
    "12345678910",
    "Password1",
    "Password123",
    "Qwerty123",
    "Aa123456",
    "P@ssw0rd",
    "Admin@123",
    "Abcd@1234",
    "Welcome@123",
    "Password@123",
    "qwerty123456",
    "administrator",
)
"""Passwords of at least eight characters that were among the two hundred commonest of several of
the years 2023 to 2025, spelt as they stand in those published lists."""
CLASSES: dict[str, Callable[[str], bool]] = {
    "lower": str.islower,
    "upper": str.isupper,
    "digit": str.isdigit,
    "symbol": lambda character: not character.isalnum() and not character.isspace(),
}
"""The classes of `auth.password.complexity`."""


def policy(ctx: Context) -> Json:
    """Return what is declared of passwords."""
    declared: Json = ctx.capabilities["auth"].get("password", {})
    return declared


def create_with(ctx: Context, password: str, **expected: Any) -> Reply:
    """Create a customer with this password."""
    name = expected.pop("username", f"t{uuid4().hex[:24]}")
    body = {"username": name, "password": password, "roles": ["customer"]}
    return ctx.admin.call("createUser", body=body, **expected)


def change_own(guest: Guest, body: Json, **expected: Any) -> Reply:
    """Change the guest as itself, under the present version."""
    path = {"id": guest.id}
    etag = guest.call("getUser", path=path, expect=200).etag
    return guest.call("updateUser", path=path, body=body, if_match=etag, **expected)


def well_known(rules: Json) -> list[str]:
    """Return the well-known passwords that have the declared length and classes as they stand."""
    least, most = rules["min_length"], rules.get("max_length", 64)
    asked = [CLASSES[name] for name in rules.get("complexity", [])]
    return [
        text
        for text in KNOWN
        if least <= len(text) <= most and all(any(map(has, text)) for has in asked)
    ]


@check(
    "functional/passwords/history-is-kept",
    title="None of the declared number of last passwords is taken again",
    failure_title="A former password is taken again",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["updateUser", "createUser"],
    defects=["password-history-is-ignored", "password-history-is-one-short"],
    identities=["admin"],
    standards=["CWE-521"],
)
def check_history_is_kept(ctx: Context) -> None:
    """Change a password as often as the history is long, then go back.

    Why: Who must change a password that leaked changes it back the same day, unless it is refused.
    How: As admin, give a user new passwords until the first one is the oldest that counts; then set
    the oldest and the present one.
    Fails when: a new password is refused, or one of the last `auth.password.history` is not 422
    `password_policy`.
    Remedy: Keep the hashes of as many passwords as declared, the present one among them.
    """
    length = policy(ctx).get("history", 0)
    if not length:
        ctx.not_exercised("the deployment declares no history of passwords")
    if length > HISTORY_MAX:
        ctx.not_exercised(f"a history of {length} passwords costs too many hashes")
    guest, _ = guests.create(ctx)
    present = guest.password
    for _ in range(length - 1):
        present = guests.new_password(ctx)
        guests.update(ctx, guest, {"password": present}, expect=200)
    for former in {guest.password: None, present: None}:
        guests.update(ctx, guest, {"password": former}, problem="password_policy")
    guests.try_log_in(guest, password=present, expect=200)


@check(
    "functional/passwords/well-known-ones-are-refused",
    title="Well-known passwords and those made from the user name are refused",
    failure_title="A password that everybody guesses first is taken",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["createUser", "updateUser"],
    defects=["blocklist-is-ignored", "names-are-passwords", "changes-skip-the-blocklist"],
    identities=["admin"],
    standards=["CWE-521"],
)
@pytest.mark.parametrize("case", ["list", "name", "own change"])
def check_well_known_ones_are_refused(ctx: Context, case: str) -> None:
    """Set what attackers try first.

    Why: Most stolen accounts are opened with one of a few hundred passwords, or with the name.
    How: Create users with passwords that stand in published lists of the commonest and have the
    declared length and classes, until one is refused; with the user name as password; change an own
    password to the user name.
    Fails when: not one of them, or not the user name, is 422 `password_policy`. Which other words
    are on a deployment's list is its own choice.
    Remedy: Compare with a list of common passwords and with the name wherever one is set.
    """
    rules = policy(ctx)
    if not rules.get("blocklist"):
        ctx.not_exercised("the deployment declares no block list")
    if case == "list":
        known = well_known(rules)
        if not known:
            ctx.not_exercised("no well-known password has the declared length and classes")
        replies: list[Reply] = []
        for text in known:
            replies.append(create_with(ctx, text, expect={201, 422}))
            if replies[-1].status == 422:
                ctx.is_problem(replies[-1], "password_policy")
                return
        ctx.fail(
            "Every password is taken that attackers try first",
            expected="422 password_policy for one of them at least",
            observed=f"{len(known)} of {len(known)} taken",
            on=replies[:8],
        )
    least = rules["min_length"]
    # As a name it is allowed; as a password it has the length and every class.
    name = f"Aa1.{uuid4().hex}".ljust(least, "b")[:64]
    if least > len(name):
        ctx.not_exercised("no user name is as long as a password must be")
    if case == "name":
        create_with(ctx, name, username=name, problem="password_policy")
        return
    guest = guests.log_in(guests.create(ctx, username=name)[0])
    body = {"password": name, "current_password": guest.password}
    change_own(guest, body, problem="password_policy")


@check(
    "functional/passwords/every-character-counts",
    title="Passwords count to their last character, up to the declared length",
    failure_title="Long passwords are cut, or their letters folded",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createUser", "login"],
    defects=["long-passwords-are-cut", "letters-of-passwords-are-folded", "passwords-have-no-end"],
    identities=["admin"],
    standards=["CWE-521", "CWE-916"],
)
@pytest.mark.parametrize("case", ["last character", "case", "space", "too long"])
def check_every_character_counts(ctx: Context, case: str) -> None:
    """Log in with a long password that is almost right.

    Why: Some hashes stop at 72 bytes and some forms trim or fold; the rest of a pass phrase then
    protects nothing.
    How: Create a user with a password of `auth.password.max_length` (64 where none is declared,
    256 at most) characters; log in with it, and with its last character, its case or its end
    changed; create one with a character more than declared.
    Fails when: the right one is refused, an altered one is not 401 `bad_credentials`, or one that
    is too long is not refused.
    Remedy: Hash what was sent, all of it; put the limit into the policy.
    """
    longest = policy(ctx).get("max_length")
    length = min(longest or 64, 256)
    password = f"Zx9!{uuid4().hex}"
    password += "".join(ctx.random.choices("abcdefghkmnpqrst", k=length - len(password) - 1)) + "q"
    if case == "too long":
        if longest is None or longest >= 1024:
            ctx.not_exercised("the deployment declares no length that a request can exceed")
        whole = "".join(ctx.random.choices("abcdefghkmnpqrst", k=longest - 4))
        create_with(ctx, f"Zx9!{whole}", expect=201)
        create_with(ctx, f"Zx9!{whole}q", problem=["password_policy", "validation_failed"])
        return
    body = {"username": f"t{uuid4().hex[:24]}", "password": password}
    create_with(ctx, password, username=body["username"], expect=201)
    altered = {
        "last character": f"{password[:-1]}w",
        "case": password.swapcase(),
        "space": f"{password} ",
    }[case]
    refused = ctx.anonymous.call("login", body={**body, "password": altered})
    ctx.is_problem(refused, ["bad_credentials", "locked"])
    if refused.status != 423:
        ctx.anonymous.call("login", body=body, expect=200)


@check(
    "functional/passwords/declared-classes-are-asked-for",
    title="A password needs the declared classes of characters, and no others",
    failure_title="A password without a declared class is taken, or one without any other refused",
    severity=Severity.LOW,
    requirements=["SYS-SEC"],
    operations=["createUser"],
    defects=["declared-classes-are-not-asked-for", "undeclared-class-is-asked-for"],
    identities=["admin"],
    standards=["CWE-521"],
)
def check_declared_classes_are_asked_for(ctx: Context) -> None:
    """Leave out one class of characters at a time.

    Why: People and password managers follow what is declared; a rule beyond it, or one that is not
    kept, makes them fail or feel safe.
    How: Create users with long random passwords, each without one of the classes lower, upper,
    digit and symbol.
    Fails when: one without a class of `auth.password.complexity` is not 422 `password_policy`, or
    one without another class is refused.
    Remedy: Use one list for the document and for the rule.
    """
    asked = policy(ctx).get("complexity", [])
    length = max(policy(ctx).get("min_length", 0), 32)
    letters = {"lower": "bcdfghkm", "upper": "BCDFGHKM", "digit": "2345679", "symbol": "!#%+=?_-"}
    for missing in letters:
        rest = "".join(letters[name] for name in letters if name != missing)
        # One of each for certain, then at random.
        sure = "".join(letters[name][0] for name in letters if name != missing)
        password = sure + "".join(ctx.random.choices(rest, k=length - len(sure)))
        reply = create_with(ctx, password)
        if missing in asked:
            ctx.is_problem(reply, "password_policy")
        else:
            ctx.has_status(reply, 201)


@check(
    "functional/passwords/change-needs-the-current-one",
    title="A user changes the own password with the current one only",
    failure_title="A session alone changes the password",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["updateUser", "login"],
    defects=["any-current-password-will-do", "current-password-may-be-missing"],
    identities=["admin"],
    standards=["OWASP-API:2023-2", "CWE-620"],
)
@pytest.mark.parametrize("current", ["missing", "wrong", "right"])
def check_change_needs_the_current_one(ctx: Context, current: str) -> None:
    """Change the own password without, with a wrong and with the right current one.

    Why: Who finds an open session for a minute must not be able to keep the account.
    How: Send a new password with `current_password` left out, wrong or right; log in with the old
    and with the new one.
    Fails when: left out or wrong it is not 422 `current_password_wrong` or has an effect; right, it
    is refused, the new password does not open, or the old one still does.
    Remedy: Verify the current password in the operation itself, before anything is changed.
    """
    guest = guests.arrive(ctx)
    new = guests.new_password(ctx)
    body = {"password": new}
    if current == "right":
        change_own(guest, {**body, "current_password": guest.password}, expect=200)
        guests.try_log_in(guest, problem="bad_credentials")
        guests.try_log_in(guest, password=new, expect=200)
        return
    if current == "wrong":
        body["current_password"] = f"{guest.password}y"
    refused = change_own(guest, body)
    guests.try_log_in(guest, expect=200)
    ctx.is_problem(refused, "current_password_wrong")


@check(
    "functional/passwords/changes-end-sessions",
    title="A changed password or role, or a disabled user, ends every session of the user",
    failure_title="A session outlives a change of password, role or status",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["updateUser", "login", "refreshSession", "listAccounts"],
    defects=["sessions-outlive-a-new-password", "roles-change-at-the-next-login"],
    identities=["admin"],
    standards=["OWASP-API:2023-2", "CWE-613"],
)
@pytest.mark.parametrize("change", ["own password", "reset password", "roles", "disabled"])
def check_changes_end_sessions(ctx: Context, change: str) -> None:
    """Change a user and use what was issued before.

    Why: A password is changed because somebody else may have it; that somebody has a session, too.
    How: A user with two sessions changes the own password, gets one from an admin, gets another
    role, or is disabled; access and refresh tokens of both are used; a disabled user logs in.
    Fails when: a token still works, or the disabled user is not 401 `bad_credentials`.
    Remedy: End all sessions of the user in the step that changes it.
    """
    guest = guests.arrive(ctx)
    other = guests.log_in(guest)
    new = {"password": guests.new_password(ctx)}
    if change == "own password":
        change_own(guest, {**new, "current_password": guest.password}, expect=200)
    else:
        bodies: dict[str, Json] = {
            "reset password": new,
            "roles": {"roles": ["customer", "operator"]},
            "disabled": {"status": "disabled"},
        }
        guests.update(ctx, guest, bodies[change], expect=200)
    for session in (guest, other):
        refreshed = ctx.anonymous.call(
            "refreshSession", body={"refresh_token": session.refresh_token}
        )
        guests.is_refused_entry(
            ctx,
            "A session from before the change",
            send_raw(session, "GET", "/v1/accounts?limit=1"),
            send_raw(session, "GET", f"/v1/users/{guest.id}"),
            refreshed,
        )
    if change == "disabled":
        guests.try_log_in(guest, problem="bad_credentials")


@check(
    "functional/passwords/locked-users-stay-out",
    title="Who is not active does not enter, and enters again once active",
    failure_title="A user who is locked or disabled is let in, or stays out for ever",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["updateUser", "login", "refreshSession"],
    defects=["status-is-not-looked-at"],
    identities=["admin"],
    veto=Veto.AUTHENTICATION_BYPASS,
    standards=["OWASP-API:2023-2", "CWE-285"],
)
@pytest.mark.parametrize("status", ["locked", "disabled"])
def check_locked_users_stay_out(ctx: Context, status: str) -> None:
    """Set a status as admin, log in, set it back, log in.

    Why: Taking access away is what an operator does first when something is wrong.
    How: Set a user locked or disabled; log in rightly and wrongly; set active; log in.
    Fails when: the right password is answered otherwise than a wrong one, or not taken once active.
    Remedy: Look at the status in the step that gives a session.
    """
    guest, _ = guests.create(ctx)
    guests.update(ctx, guest, {"status": status}, expect=200)
    right = guests.try_log_in(guest)
    guests.is_refused_entry(ctx, "Who may not log in", right)
    also = ["locked"] if status == "locked" else []
    ctx.is_problem(right, ["bad_credentials", *also])
    back = guests.update(ctx, guest, {"status": "active"}, expect=200)
    ctx.equal(back.body["status"], "active", "The status was not set back", back)
    guests.try_log_in(guest, expect=200)
