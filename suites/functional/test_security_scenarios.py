"""A user's whole way through security: created, trusted, locked out, let back in, and on record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from certification import guests, lockouts, offered
from certification.checks import check
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.guests import Authenticator, Guest
    from certification.model import Json
    from certification.target.reply import Reply

THRESHOLD_MAX = 20
WAIT_MAX_S = 12
SCOPES = {
    "accounts:read": "getAccount",
    "transactions:read": "listEntries",
    "transactions:write": "createTransaction",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One variation."""

    role: str = "customer"
    first_change: str = "own"
    """Who changes the first password: the user itself (own) or an admin (reset)."""
    factor: bool = False
    guess: str = "passwords"
    """What is guessed until the lock-out: passwords or codes."""
    back: str = "admin"
    """Who ends the lock: an admin, or time."""
    scope: str = "accounts:read"
    end: str = "taken back"
    """How it ends: the grant is taken back, or the user is disabled."""


WAYS = {
    "customer": Way(),
    "customer, by time": Way(back="time"),
    "customer with a factor": Way(factor=True),
    "customer, guessed codes": Way(factor=True, guess="codes"),
    "bookkeeper": Way(scope="transactions:read", end="disabled"),
    "payer with a factor": Way(factor=True, scope="transactions:write", first_change="reset"),
    "operator": Way(role="operator", end="disabled"),
    "manager with a factor": Way(role="manager", factor=True, end="disabled"),
    "auditor": Way(role="auditor", first_change="reset", end="disabled"),
    "auditor, guessed codes": Way(role="auditor", factor=True, guess="codes", end="disabled"),
}


@dataclass(slots=True, kw_only=True)
class Story:
    """What has happened so far, for the trail to be compared with."""

    ctx: Context
    guest: Guest
    authenticator: Authenticator | None = None
    acts: list[tuple[str, Reply]] = field(default_factory=list)
    """Action and answer of everything that must be on record."""

    def note(self, action: str, reply: Reply) -> Reply:
        """Remember an answer that the trail must know."""
        self.acts.append((action, reply))
        return reply

    def enter(self) -> Reply:
        """Log in with everything that is needed; the guest has the new session."""
        if self.authenticator is None:
            reply = self.note("login", guests.try_log_in(self.guest, expect=200))
            if "access_token" not in reply.body:
                self.ctx.not_exercised("a new user must enrol a second factor first")
        else:
            challenge = guests.challenge_of(self.guest)
            code = self.authenticator.fresh()
            reply = guests.verify(self.guest, challenge, code, expect=200)
            self.note("verifyMfa", reply)
        self.guest = guests.with_session(self.guest, reply.body)
        return reply


def change_password(story: Story, way: Way) -> None:
    """Change the first password; what it opened is closed."""
    ctx, old = story.ctx, story.guest
    new = guests.new_password(ctx)
    if way.first_change == "own":
        path = {"id": old.id}
        etag = old.call("getUser", path=path, expect=200).etag
        body = {"password": new, "current_password": old.password}
        reply = old.call("updateUser", path=path, body=body, if_match=etag, expect=200)
    else:
        reply = guests.update(ctx, old, {"password": new}, expect=200)
    story.note("updateUser", reply)
    refused = guests.try_log_in(old, problem="bad_credentials")
    story.note("", refused)
    story.guest = guests.Guest(
        old.session, ctx, id=old.id, username=old.username, password=new, token=old.token
    )
    ended = story.guest.call("listAccounts", query={"limit": 1})
    guests.is_refused_entry(ctx, "A session of the first password", ended)
    story.enter()


def enrol(story: Story, way: Way) -> None:
    """Add a second factor where the way has one and the deployment offers it."""
    if way.factor:
        story.authenticator = guests.enrol(story.guest)
        story.enter()


def lock_out(story: Story, way: Way) -> Reply | None:
    """Guess until the user is locked out; None where nothing is declared."""
    ctx, guest = story.ctx, story.guest
    threshold = ctx.capabilities["auth"].get("lockout", {}).get("threshold")
    if threshold is None or threshold > THRESHOLD_MAX:
        return None
    challenge, tried, since_s = "", 0, 0.0
    for _ in range(3 * threshold):
        since_s = ctx.clock() if tried < threshold else since_s
        if way.guess == "codes" and story.authenticator is not None:
            challenge = challenge or guests.challenge_of(guest)
            reply = guests.verify(guest, challenge, story.authenticator.wrong())
            if reply.problem_code in {"token_invalid", "token_expired"}:
                entered = guests.try_log_in(guest)
                if entered.status == 423:
                    return entered
                challenge = str(entered.body.get("challenge", ""))
                continue
            wrong = "mfa_invalid"
        else:
            reply = guests.try_log_in(guest, password=f"{guest.password}y")
            wrong = "bad_credentials"
        if reply.status == 423:
            break
        ctx.is_problem(reply, wrong)
        tried += 1
        story.note("", reply)
    locked = guests.try_log_in(guest)
    lockouts.is_locked(ctx, locked, since_s, reply)
    return locked


def recover(story: Story, way: Way, locked: Reply | None) -> None:
    """End the lock and enter again."""
    ctx = story.ctx
    if locked is not None:
        wait_s = locked.retry_after_s
        if way.back == "time" and wait_s is not None and wait_s <= WAIT_MAX_S:
            ctx.wait(wait_s + 0.3)
        else:
            change = guests.update(ctx, story.guest, {"status": "active"}, expect=200)
            story.note("updateUser", change)
    story.enter()


def ask(story: Story, account: Json, scope: str) -> Reply:
    """Ask for what the scope opens on the account."""
    operation = SCOPES[scope]
    if operation == "createTransaction":
        body = story.ctx.arrange.withdrawal_body(account, 1)
        return story.guest.call(operation, body=body)
    return story.guest.call(operation, path={"id": account["id"]})


def is_closed(story: Story, account: Json, scope: str) -> None:
    """Fail unless the account is closed to the user."""
    reply = ask(story, account, scope)
    story.ctx.is_problem(reply, ["not_found", "forbidden"])


def is_open(story: Story, account: Json, scope: str) -> None:
    """Fail unless the account is open to the user."""
    story.ctx.has_status(ask(story, account, scope), [200, 201])


def is_on_record(story: Story, started: str) -> None:
    """Fail unless the trail has every act, under its request id and with its outcome."""
    ctx = story.ctx
    ctx.arrange.let_writes_arrive()
    queries: list[Json] = [{"actor": story.guest.id}, {"object": story.guest.id}]
    codes = {reply.problem_code for _, reply in story.acts if reply.problem_code}
    queries += [{"outcome": code, "from": started} for code in sorted(codes)]
    # Who answers a challenge is nobody yet, so its record may name no user.
    queries += [{"action": "verifyMfa", "from": started}] if story.authenticator else []
    rows: dict[str, Json] = {}
    for query in queries:
        page = {"limit": ctx.capabilities["limits"]["page_max"], **query}
        for row in ctx.arrange.pages("listAudit", by=ctx.admin, query=page):
            rows[row["request_id"]] = row
    for action, reply in story.acts:
        request_id = reply.headers.get("X-Request-Id") or ""
        row = rows.get(request_id, {})
        wanted = reply.problem_code or "done"
        holds = row.get("outcome") == wanted and str(row.get("action")).startswith(action)
        ctx.expect(
            holds,
            "The audit trail does not show what happened to a user",
            expected=f"a record of request {request_id}: {action or reply.operation}, {wanted}",
            observed=f"{row.get('action', 'no record')}, {row.get('outcome', '-')}",
            on=[reply],
        )


@check(
    "functional/security-scenarios/a-users-whole-way",
    title="A user is created, trusted, locked out and let back in, and the audit trail shows it",
    failure_title="A step of a user's way through security fails, or is not on record",
    severity=Severity.HIGH,
    requirements=["E2E-SEC", "SYS-SEC"],
    operations=[
        "createUser",
        "login",
        "updateUser",
        "enrollMfa",
        "verifyMfa",
        "createGrant",
        "deleteGrant",
        "listAudit",
    ],
    defects=["refusals-leave-no-record", "lifting-a-lock-drops-the-factor"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "admin"],
    standards=["OWASP-API:2023-2", "OWASP-API:2023-5"],
    budget_s=120,
)
@pytest.mark.parametrize("way", list(WAYS))
def check_a_users_whole_way(ctx: Context, way: str) -> None:
    """Go with one user from the first login to the last.

    Why: Each feature may work and the way through them may not: a lock that is lifted and takes the
    second factor with it, a grant that survives a new password, a step that nobody can find later.
    How: Ten variations of role, second factor, what is guessed, who ends the lock and how trust
    ends: an admin creates the user, the first password is changed, a factor enrolled, a scope on
    another's account given and used, the user locked out by guesses and let back in, the grant used
    again and taken back or the user disabled; the admin finds every step in the audit trail by its
    request id.
    Fails when: a step is answered otherwise than the contract says, something is open before or
    after its time, or a step has no record or another outcome there.
    Remedy: See which step it is; the checks of its area show it alone.
    """
    chosen = WAYS[way]
    if chosen.factor:
        guests.declared_totp(ctx)
    guest, made = guests.create(ctx, chosen.role)
    story = Story(ctx=ctx, guest=guest)
    story.note("createUser", made)
    started: str = made.body["created_at"]
    story.enter()
    change_password(story, chosen)
    enrol(story, chosen)
    account = ctx.arrange.account(funds=1_000)
    grant: Json | None = None
    if chosen.role == "customer":
        is_closed(story, account, chosen.scope)
        body = {"principal_id": guest.id, "scope": chosen.scope, "object_id": account["id"]}
        grant = ctx.customer.call("createGrant", body=body, expect=201).body
    is_open(story, account, chosen.scope)
    locked = lock_out(story, chosen)
    recover(story, chosen, locked)
    is_open(story, account, chosen.scope)
    if grant is not None and chosen.end == "taken back":
        ctx.customer.call("deleteGrant", path={"id": grant["id"]}, expect=204)
        is_closed(story, account, chosen.scope)
    else:
        story.note("updateUser", guests.update(ctx, guest, {"status": "disabled"}, expect=200))
        guests.is_refused_entry(ctx, "A disabled user", ask(story, account, chosen.scope))
        guests.try_log_in(story.guest, problem="bad_credentials")
    if offered.offers(ctx, "listAudit"):
        is_on_record(story, started)
