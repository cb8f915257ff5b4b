"""Throw-away users: what a check locks out, limits or erases must be nobody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from certification import one_time_codes
from certification.context import Actor

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

EDGE_S = 2.0
"""So close to the change of a step nobody can say which codes are those of now."""
WAIT_MAX_S = 40.0
"""Longer than one period of common authenticators; a longer wait is not worth a check."""
CLOCK_OFF_MAX_S = 2.5
"""How far `ahead_s` may be off: what it calls no difference, its rounding, and the way there."""


@dataclass(slots=True)
class Renewal:
    """The tokens that replaced a guest's own when those had expired."""

    lock: Lock = field(default_factory=Lock)
    token: str = ""
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Guest(Actor):
    """A user of a check's own, acting with a token that the check obtained."""

    id: str = ""
    username: str = ""
    password: str = ""
    token: str = ""
    refresh_token: str = ""
    renewal: Renewal = field(init=False, default_factory=Renewal, compare=False, repr=False)

    @property
    def role(self) -> str:
        """Who a run's clean-up takes the guest's objects for."""
        return "customer"

    @property
    def user_id(self) -> str:
        """The id that the target gave this user."""
        return self.id

    @property
    def credentials(self) -> dict[str, str]:
        """The body of a login."""
        return {"username": self.username, "password": self.password}

    def raw(self, method: str, path: str, **request: Any) -> Reply:
        """Send bytes with the guest's token; nothing is checked."""
        headers = {"Authorization": f"Bearer {self._present()}", **request.pop("headers", {})}
        return Actor.raw(self, method, path, headers=headers, **request)

    def _send(self, operation: str, **request: Any) -> Reply:
        """Send with the guest's token; one that has expired is renewed, as a session's is."""
        headers = request.pop("headers", {})

        def send(token: str) -> Reply:
            bearer = {"Authorization": f"Bearer {token}", **headers}
            return self.session.call(operation, headers=bearer, **request)

        token = self._present()
        reply = send(token)
        if reply.status == 401 and reply.problem_code == "token_expired" and self.refresh_token:
            return send(self._renewed(token))
        return reply

    def _present(self) -> str:
        return self.renewal.token or self.token

    def _renewed(self, expired: str) -> str:
        """Return a token in place of an expired one; the same where there is none to be had."""
        renewal = self.renewal
        with renewal.lock:
            if self._present() == expired:
                body = {"refresh_token": renewal.refresh_token or self.refresh_token}
                reply = self.session.call("refreshSession", body=body)
                if reply.status == 200:
                    renewal.token = reply.body["access_token"]
                    renewal.refresh_token = reply.body["refresh_token"]
            return self._present()


def new_password(ctx: Context) -> str:
    """Return a password that every declared policy takes: long, random, of all classes."""
    rules = ctx.capabilities["auth"].get("password", {})
    return f"Zx9!{uuid4().hex}".ljust(rules.get("min_length", 0), "x")


def create(ctx: Context, *roles: str, **fields: Any) -> tuple[Guest, Reply]:
    """Create a user as admin (a customer unless roles are named); nobody has logged in yet."""
    body = {
        "username": f"t{uuid4().hex[:24]}",
        "password": new_password(ctx),
        "roles": list(roles or ("customer",)),
        **fields,
    }
    made = ctx.admin.call("createUser", body=body, expect=201)
    guest = Guest(
        ctx.anonymous.session,
        ctx,
        id=made.body["id"],
        username=str(body["username"]),
        password=str(body["password"]),
    )
    return guest, made


def arrive(ctx: Context, *roles: str, **fields: Any) -> Guest:
    """Create a user as admin and log in."""
    return log_in(create(ctx, *roles, **fields)[0])


def log_in(guest: Guest, **changed: str) -> Guest:
    """Return the guest with a new session, `changed` (a new password, say) taken over."""
    known = {"id": guest.id, "username": guest.username, "password": guest.password, **changed}
    fresh = Guest(guest.session, guest.context, **known)
    reply = try_log_in(fresh, expect=200)
    if "access_token" not in reply.body:
        guest.context.not_exercised("a new user must enrol a second factor first")
    return with_session(fresh, reply.body)


def try_log_in(guest: Guest, **expected: Any) -> Reply:
    """Send a login of the guest; `password` replaces the right one."""
    password = expected.pop("password", guest.password)
    body = {"username": guest.username, "password": password}
    return guest.context.anonymous.call("login", body=body, **expected)


def with_session(guest: Guest, session: Mapping[str, Any]) -> Guest:
    """Return the guest with the tokens of an answer to login, refresh or verifyMfa."""
    return Guest(
        guest.session,
        guest.context,
        id=guest.id,
        username=guest.username,
        password=guest.password,
        token=session["access_token"],
        refresh_token=session["refresh_token"],
    )


def update(ctx: Context, guest: Guest, body: Json, **expected: Any) -> Reply:
    """Change the guest as admin, under the present version."""
    path = {"id": guest.id}
    etag = ctx.admin.call("getUser", path=path, expect=200).etag
    return ctx.admin.call("updateUser", path=path, body=body, if_match=etag, **expected)


def is_refused_entry(ctx: Context, what: str, *replies: Reply) -> None:
    """Fail if one of these answers let somebody in."""
    for reply in replies:
        ctx.expect(
            reply.status >= 300,
            f"{what} is let in",
            expected="a refusal",
            observed=reply.status,
            on=[reply],
        )


@dataclass(slots=True, kw_only=True)
class Authenticator:
    """What a person holds beside the password: makes codes at the deployment's time."""

    ctx: Context
    secret: str
    digits: int
    period_s: int
    skew: int
    ahead_s: float
    """The deployment's clock minus ours, as its Date header tells it."""
    used: int = field(default=-1)
    """The latest step whose code was handed out."""

    def now_s(self) -> float:
        """Return Unix time as the deployment counts it."""
        return datetime.now(UTC).timestamp() + self.ahead_s

    def settled_step(self) -> int:
        """Return the present step, once its change is neither just past nor near."""
        into = self.now_s() % self.period_s
        if self.period_s > 4 * EDGE_S and not EDGE_S <= into <= self.period_s - EDGE_S:
            self.ctx.wait((EDGE_S - into) % self.period_s)
        return one_time_codes.step_of(self.now_s(), self.period_s)

    def of(self, step: int) -> str:
        """Return the code of one step."""
        return one_time_codes.code(self.secret, step, self.digits)

    def wrong(self) -> str:
        """Return a code that is none of now."""
        return one_time_codes.wrong_code(self.secret, self.settled_step(), self.digits)

    def fresh(self) -> str:
        """Return a code that the deployment has to take and that was not handed out yet.

        A code counts once, so they come from the earliest step of the declared skew on; where the
        skew holds no further one, this waits for the next step.
        """
        step = max(self.settled_step() - self.skew, self.used + 1)
        early_s = (step - self.skew) * self.period_s - self.now_s()
        if early_s > WAIT_MAX_S:
            self.ctx.not_exercised(f"the next code is {early_s:.0f} s away")
        if early_s > 0:
            self.ctx.wait(early_s + EDGE_S)
        self.used = step
        return self.of(step)


def declared_totp(ctx: Context) -> Json:
    """Return what is declared of one-time codes; NOT_EXERCISED where nothing is."""
    methods: Sequence[Json] = ctx.capabilities["auth"].get("mfa", [])
    found = next((row for row in methods if row["method"] == "totp"), None)
    if found is None:
        ctx.not_exercised("the deployment declares no second factor")
    return found


def begin_enrolment(guest: Guest) -> tuple[Authenticator, Reply]:
    """Begin an enrolment; return what makes its codes, and the answer."""
    ctx, declared = guest.context, declared_totp(guest.context)
    reply = guest.call("enrollMfa", body={"method": "totp"}, expect=200)
    secret = reply.body.get("secret")
    ctx.expect(
        isinstance(secret, str) and bool(secret) and reply.body["confirmed"] is False,
        "The answer to the beginning of an enrolment has no secret, or calls it confirmed",
        expected="a secret, confirmed: false",
        observed=sorted(reply.body),
        on=[reply],
    )
    made = Authenticator(
        ctx=ctx,
        secret=str(secret),
        digits=declared["digits"],
        period_s=declared["period"],
        skew=declared["skew"],
        ahead_s=ahead_s(reply),
    )
    return made, reply


def enrol(guest: Guest) -> Authenticator:
    """Enrol a second factor and confirm it with its first code."""
    authenticator, _ = begin_enrolment(guest)
    body = {"method": "totp", "code": authenticator.fresh()}
    guest.call("enrollMfa", body=body, expect=200)
    return authenticator


def challenge_of(guest: Guest) -> str:
    """Log in with the password of a guest who has a second factor; return the challenge."""
    reply = try_log_in(guest, expect=200)
    guest.context.expect(
        isinstance(reply.body.get("challenge"), str) and "access_token" not in reply.body,
        "A login without the second factor gave a session",
        expected="a challenge and no tokens",
        observed=sorted(reply.body),
        on=[reply],
    )
    return str(reply.body["challenge"])


def verify(guest: Guest, challenge: str, code: str, **expected: Any) -> Reply:
    """Answer a challenge."""
    body = {"challenge": challenge, "code": code}
    return guest.context.anonymous.call("verifyMfa", body=body, **expected)


def ahead_s(reply: Reply) -> float:
    """Read the deployment's clock from an answer; ours where it does not say."""
    try:
        theirs = parsedate_to_datetime(reply.headers.get("Date") or "")
    except (TypeError, ValueError):
        return 0.0
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    # The header has whole seconds: what is below one says nothing.
    ahead = (theirs - datetime.now(UTC)).total_seconds() + 0.5
    return ahead if abs(ahead) > 1.5 else 0.0
