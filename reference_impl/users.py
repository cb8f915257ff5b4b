"""Resources under /v1/users."""

import sqlite3
import unicodedata
from collections.abc import Sequence
from typing import Any

import flask
from msgspec import UNSET

from . import (
    access,
    config,
    idempotency,
    ids,
    listing,
    lockout,
    passwords,
    requests,
    sessions,
    views,
    web,
)
from .access import Caller, Rank
from .config import PASSWORD_HISTORY
from .problems import Problem
from .requests import given

ERASED = "erased-"
"""How the name of an erased user begins; the id follows."""
blueprint = flask.Blueprint("users", __name__)

ROLES = ("customer", "operator", "manager", "admin", "auditor", "service")
STATUSES = ("active", "locked", "disabled")


def name_key(username: str) -> str:
    """Return what makes a user name unique: without regard to case or Unicode form."""
    return unicodedata.normalize("NFKC", username).casefold()


def _reply(tx: web.Tx, caller: Caller, user_id: str, status: int) -> idempotency.Reply:
    row = _row(tx.connection, user_id)
    headers = {"ETag": web.etag(row["version"])}
    if status == 201:
        headers["Location"] = f"/v1/users/{user_id}"
    shown = views.user(row, reads=(caller, tx.services.sealer))
    return web.json_reply(status, shown, target=user_id, headers=headers)


def _row(connection: sqlite3.Connection, user_id: str) -> Any:
    return connection.execute("SELECT * FROM users WHERE id = ?", (user_id,)).fetchone()


def need(connection: sqlite3.Connection, user_id: str) -> Any:
    """Return a user's row; 404 if there is no such user."""
    row = _row(connection, user_id)
    if row is None:
        raise access.not_found(f"user {user_id}")
    return row


def insert(  # noqa: PLR0913 - one name for each column
    connection: sqlite3.Connection,
    *,
    username: str,
    roles: Sequence[str],
    password_hash: str,
    now_ms: int,
    private: tuple[bytes | None, bytes | None] = (None, None),
) -> str:
    """Write a new user with the sealed email and legal name; return the id."""
    user_id = ids.new_id("usr", now_ms)
    try:
        connection.execute(
            "INSERT INTO users (id, username, username_key, email, legal_name, roles, status,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, 'active', ?)",
            (user_id, username, name_key(username), *private, " ".join(sorted(roles)), now_ms),
        )
    except sqlite3.IntegrityError:
        raise Problem("username_taken", "The user name is taken.") from None
    connection.execute("INSERT INTO credentials VALUES (?, ?, ?)", (user_id, password_hash, now_ms))
    return user_id


def is_taken(connection: sqlite3.Connection, key: str) -> bool:
    """Tell whether a user has this name, or will have it once erased."""
    query = "SELECT 1 FROM users WHERE username_key = ? OR id = ?"
    erased = key.removeprefix(ERASED) if key.startswith(ERASED) else ""
    return connection.execute(query, (key, erased)).fetchone() is not None


@blueprint.post("/v1/users")
def create_user() -> flask.Response:
    """Create a user."""
    caller = web.caller(Rank.ADMIN)
    body = web.body(requests.CreateUser)
    access.check_grant(caller, None, body.roles)
    hashed = hash_for(web.services(), body.username, body.password)

    def change(tx: web.Tx) -> idempotency.Reply:
        if is_taken(tx.connection, name_key(body.username)):
            raise Problem("username_taken", "The user name is taken.")
        if isinstance(hashed, Problem):
            raise hashed
        sealer = tx.services.sealer
        user_id = insert(
            tx.connection,
            username=body.username,
            roles=body.roles,
            password_hash=hashed,
            now_ms=tx.now_ms,
            private=(sealer.seal(given(body.email)), sealer.seal(given(body.legal_name))),
        )
        return _reply(tx, caller, user_id, 201)

    return web.write(caller, "createUser", change)


def hash_for(
    shared: web.Services, username: str, password: str, former: Sequence[str] = ()
) -> str | Problem:
    """Return the hash, or the policy's refusal: the writer raises it in the order of refusals.

    Hashing is slow and happens before the writer's turn.
    """
    try:
        passwords.check_policy(password, username, config.complexity(shared.settings))
    except Problem as problem:
        return problem
    if former and shared.passwords.was_used(former, password):
        return passwords.weak(f"It is one of the last {PASSWORD_HISTORY} passwords.")
    return shared.passwords.hash(password)


def former_hashes(connection: sqlite3.Connection, user_id: str) -> list[str]:
    """Return the hashes of the present password and of those before it that still count."""
    rows = connection.execute(
        "SELECT password_hash FROM credentials WHERE user_id = ?1 UNION ALL SELECT * FROM"
        " (SELECT password_hash FROM password_history WHERE user_id = ?1"
        " ORDER BY seq DESC LIMIT ?2)",
        (user_id, PASSWORD_HISTORY - 1),
    )
    return [row[0] for row in rows]


def keep_former(tx: web.Tx, user_id: str) -> None:
    """Move the present hash to the former ones, and drop those that count no more."""
    tx.connection.execute(
        "INSERT INTO password_history (user_id, password_hash, replaced_at)"
        " SELECT user_id, password_hash, ? FROM credentials WHERE user_id = ?",
        (tx.now_ms, user_id),
    )
    tx.connection.execute(
        "DELETE FROM password_history WHERE user_id = ?1 AND seq NOT IN (SELECT seq"
        " FROM password_history WHERE user_id = ?1 ORDER BY seq DESC LIMIT ?2)",
        (user_id, PASSWORD_HISTORY - 1),
    )


@blueprint.get("/v1/users")
def list_users() -> flask.Response:
    """Return a page of users."""
    caller = web.caller(Rank.ADMIN, auditor=True)
    filters = {"status": listing.one_of(*STATUSES), "role": listing.one_of(*ROLES)}
    asked = listing.page("listUsers", caller.user_id, ("seq", "username"), filters)
    columns = ("seq",) if asked.sort == "seq" else ("username_key", "seq")
    after, values, order = listing.keyset(asked, columns)
    conditions = [after]
    if asked.filter("status"):
        conditions.append("status = ?")
        values.append(asked.filter("status"))
    if asked.filter("role"):
        conditions.append("instr(' ' || roles || ' ', ?)")
        values.append(f" {asked.filter('role')} ")
    query = (
        f"SELECT * FROM users WHERE {' AND '.join(conditions)}"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {asked.limit + 1}"
    )
    rows = web.reader().execute(query, values).fetchall()
    reads = (caller, web.services().sealer)
    return web.respond_json(
        listing.answer(
            asked,
            rows,
            lambda row: [row[column] for column in columns],
            lambda row: views.user(row, reads=reads),
        )
    )


@blueprint.get("/v1/users/<user_id>")
def get_user(user_id: str) -> flask.Response:
    """Return one user: oneself, or any for admin and auditor."""
    caller = web.caller(Rank.NONE, auditor=True)
    row = _visible(web.reader(), caller, user_id, reading=True)
    tag = web.etag(row["version"])
    if unchanged := web.not_modified(tag):
        return unchanged
    shown = views.user(row, reads=(caller, web.services().sealer))
    return web.respond_json(shown, {"ETag": tag})


def _visible(connection: sqlite3.Connection, caller: Caller, user_id: str, *, reading: bool) -> Any:
    """Return a user's row; 404 for anyone but oneself, admin and (to read) auditor."""
    row = _row(connection, user_id)
    everyone = caller.rank >= Rank.ADMIN or (reading and caller.auditor)
    if row is None or not (everyone or access.owns(caller, user_id)):
        raise access.not_found(f"user {user_id}")
    return row


@blueprint.patch("/v1/users/<user_id>")
def update_user(user_id: str) -> flask.Response:
    """Change the own password; as an admin also roles, status and password of others."""
    caller = web.caller(Rank.NONE)
    body = web.body(requests.UpdateUser)
    if_match = web.if_match()
    shared = web.services()
    row = _visible(web.reader(), caller, user_id, reading=False)
    own = access.owns(caller, user_id)
    if body.roles is not UNSET:
        access.check_grant(caller, user_id, body.roles)
    if own and body.status is not UNSET:
        raise Problem("forbidden", "Nobody changes the own status.")
    web.check_if_match(if_match, row["version"])
    attempt, wrong, hashed = None, None, None
    if own and body.password is not UNSET:
        attempt = sessions.attempt_of(shared, row["username_key"], sessions.origin())
        lockout.check(web.reader(), attempt, web.now_ms())
        wrong = _wrong_current(shared, user_id, given(body.current_password))
    if body.password is not UNSET and wrong is None:
        former = former_hashes(web.reader(), user_id)
        hashed = hash_for(shared, row["username"], body.password, former)
    if isinstance(hashed, Problem):
        raise hashed

    def change(tx: web.Tx) -> idempotency.Reply | Problem:
        web.check_if_match(if_match, _row(tx.connection, user_id)["version"])
        if attempt is not None:
            lockout.check(tx.connection, attempt, tx.now_ms)
            if wrong is not None:
                if body.current_password is not UNSET:
                    sessions.count_failure(tx, attempt, user_id)
                return wrong
        update(tx, user_id, body, hashed)
        return _reply(tx, caller, user_id, 200)

    return web.write(caller, action_of(body), change, once=False)


def action_of(body: requests.UpdateUser) -> str:
    """Return what the audit trail calls a change: an auditor looks for changes of rights."""
    changed = [name for name in ("password", "roles", "status") if given(getattr(body, name))]
    return " ".join(["updateUser", *changed])


def _wrong_current(shared: web.Services, user_id: str, password: str | None) -> Problem | None:
    """Return the refusal of a current password; it is counted and recorded in the writer's turn."""
    try:
        check_current(shared, user_id, password)
    except Problem as problem:
        return problem
    return None


def check_current(shared: web.Services, user_id: str, password: str | None) -> None:
    """Refuse to change the own password without the one of now."""
    stored = (
        shared.readers.get()
        .execute("SELECT password_hash FROM credentials WHERE user_id = ?", (user_id,))
        .fetchone()
    )
    if password is None or not shared.passwords.verify(stored["password_hash"], password):
        raise Problem("current_password_wrong", "current_password is missing or wrong.")


def update(tx: web.Tx, user_id: str, body: requests.UpdateUser, password_hash: str | None) -> None:
    """Write the changes and the next version, and end the sessions of the user.

    The status active, given by an admin, also lifts a lock-out after failed logins.
    """
    roles, status = given(body.roles), given(body.status)
    tx.connection.execute(
        "UPDATE users SET version = version + 1, roles = coalesce(?, roles),"
        " status = coalesce(?, status) WHERE id = ?",
        (None if roles is None else " ".join(sorted(roles)), status, user_id),
    )
    if password_hash is not None:
        keep_former(tx, user_id)
        tx.connection.execute(
            "UPDATE credentials SET password_hash = ?, changed_at = ? WHERE user_id = ?",
            (password_hash, tx.now_ms, user_id),
        )
    if password_hash is not None or roles is not None or status not in {None, "active"}:
        sessions.end_all(tx, user_id, "changed")
    if status == "active":
        name_key = need(tx.connection, user_id)["username_key"]
        lockout.lift(tx.connection, lockout.name_digest(tx.services.audit_salt, name_key))
