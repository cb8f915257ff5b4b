"""The identities of a run: those of the target file, and those that an admin lets us create."""

import base64
import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from certification.errors import UsageError
from certification.target.model import CREATED_ROLES, Role, Target
from certification.target.secret import Secret
from certification.target.session import ANONYMOUS, Access, Session
from certification.target.tokens import Credentials, LoginRefused

CONTRACT_ROLE = {
    Role.CUSTOMER: "customer",
    Role.CUSTOMER2: "customer",
    Role.OPERATOR: "operator",
    Role.MANAGER: "manager",
    Role.AUDITOR: "auditor",
}
"""The role of the contract that a created identity is given."""
PASSWORD_CHARS = 44
BUSY_TRIES_MAX = 20
BUSY_WAIT_MAX_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSecret:
    """What identities of one run are derived from, the same in each of its processes."""

    prefix: str
    """Begins the name of everything the run creates."""
    value: Secret
    """Drawn once per run; hands out passwords without a file."""
    password_chars_min: int = PASSWORD_CHARS
    """Raised where the target declares a longer minimum."""

    def username(self, role: Role) -> str:
        """Return `<prefix>-<role>`."""
        return f"{self.prefix}-{role.value}"

    def password(self, role: Role) -> Secret:
        """Derive the role's password: both cases, digits and a sign, as a strict rule asks."""
        text, block = "Aa1!", 0
        while len(text) < max(self.password_chars_min, PASSWORD_CHARS):
            message = f"{self.prefix}/{role.value}/{block}".encode()
            digest = hmac.new(self.value.reveal().encode(), message, hashlib.sha256).digest()
            text += base64.urlsafe_b64encode(digest).decode().rstrip("=")
            block += 1
        return Secret.generated(text[: max(self.password_chars_min, PASSWORD_CHARS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Who can be sent as, and who cannot."""

    sessions: Mapping[str, Session]
    """By role name, `anonymous` always among them."""
    created: Mapping[str, str]
    """User ids by role of the users that this run created and somebody has to disable."""
    missing: Mapping[str, str]
    """Why a role has no session, by role; for NOT_EXERCISED and for `doctor`."""

    def roles(self) -> tuple[str, ...]:
        """Return the roles with a session, without `anonymous`."""
        return tuple(role for role in self.sessions if role != ANONYMOUS)


def prepare_identities(access: Access, target: Target, run: RunSecret) -> Identities:
    """Log in what the target file gives and create what is missing, once per run.

    `UsageError` where the deployment refuses a given user name and password. A role that cannot be
    created or used is reported in `missing`. Raises `ConnectionLost` where nothing answers.
    """
    known = access.client.surroundings.known
    known.add(run.value.reveal())
    sessions = {ANONYMOUS: Session(access, role=ANONYMOUS, credentials=None)}
    missing: dict[str, str] = {}
    created: dict[str, str] = {}
    for role, identity in target.identities.items():
        session = _given(access, target, role)
        try:
            session.log_in()
        except LoginRefused as refused:
            if refused.wrong_credentials:
                raise UsageError(
                    f"identities.{role.value}: the deployment knows no {identity.username} with "
                    f"this password ({identity.password.source})",
                    hint="correct username or password in the target file",
                ) from refused
            missing[role.value] = refused.message
        else:
            sessions[role.value] = session
    for role in CREATED_ROLES:
        if role not in target.identities:
            outcome = _create(sessions.get(Role.ADMIN.value), access, run, role)
            if isinstance(outcome, str):
                missing[role.value] = outcome
            else:
                created[role.value], sessions[role.value] = outcome
    if Role.SERVICE not in target.identities:
        missing[Role.SERVICE.value] = "the target file gives no identities.service"
    if Role.ADMIN not in target.identities:
        missing[Role.ADMIN.value] = "the target file gives no identities.admin"
    return Identities(sessions=sessions, created=created, missing=missing)


def attach_identities(
    access: Access, target: Target, run: RunSecret, *, roles: Collection[str]
) -> dict[str, Session]:
    """Return the sessions of a run that another process prepared; sends nothing.

    `roles` are those that `Identities.roles` of the preparing process named.
    """
    sessions = {ANONYMOUS: Session(access, role=ANONYMOUS, credentials=None)}
    for role in Role:
        if role.value in roles:
            given = role in target.identities
            sessions[role.value] = (
                _given(access, target, role) if given else _derived(access, run, role)
            )
    return sessions


def _given(access: Access, target: Target, role: Role) -> Session:
    identity = target.identities[role]
    credentials = Credentials(
        role=role.value, username=identity.username, password=identity.password
    )
    return Session(access, role=role.value, credentials=credentials)


def _derived(access: Access, run: RunSecret, role: Role) -> Session:
    credentials = Credentials(
        role=role.value, username=run.username(role), password=run.password(role)
    )
    return Session(access, role=role.value, credentials=credentials)


def _create(
    admin: Session | None, access: Access, run: RunSecret, role: Role
) -> tuple[str, Session] | str:
    """Create a user; return its id and session, or why there is none."""
    if admin is None:
        return "there is no admin session that could create it"
    body: dict[str, Any] = {
        "username": run.username(role),
        "password": run.password(role).reveal(),
        "roles": [CONTRACT_ROLE[role]],
    }
    access.client.surroundings.known.add(body["password"])
    key = access.new_key()
    reply = admin.call("createUser", body=body, key=key)
    for _ in range(BUSY_TRIES_MAX):
        if reply.status != 503 or reply.retry_after_s is None:
            break
        access.client.surroundings.wait(min(reply.retry_after_s, BUSY_WAIT_MAX_S))
        reply = admin.call("createUser", body=body, key=key)
    if reply.status != 201 or not isinstance(reply.body, Mapping):
        what = reply.problem_code or "without a problem document"
        return f"createUser answered {reply.status} ({what})"
    user_id = reply.body.get("id")
    session = _derived(access, run, role)
    try:
        session.log_in()
    except LoginRefused as refused:
        return refused.message
    return str(user_id), session
