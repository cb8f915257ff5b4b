"""Resources under /v1/auth: login, refresh with rotation, logout."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import flask
from flask import g, request

from . import audit, factors, idempotency, ids, lockout, requests, tokens, users, web
from .access import Rank
from .config import ACCESS_TTL_S, MFA_CHALLENGE_TTL_S, REFRESH_TTL_S, SESSION_TTL_S
from .problems import Problem

blueprint = flask.Blueprint("sessions", __name__)


@blueprint.post("/v1/auth/login")
def login() -> flask.Response:
    """Begin a session, or ask for the second factor; whoever may not is answered alike.

    A name that no user has costs the same work and counts towards the lock-out as any other.
    """
    web.limit_address()
    body = web.body(requests.Login)
    shared = web.services()
    attempt = attempt_of(shared, users.name_key(body.username), origin())
    lockout.check(web.reader(), attempt, web.now_ms())
    row = _credentials(web.reader(), "u.username_key = ?", users.name_key(body.username))
    right = shared.passwords.verify(row["password_hash"] if row else None, body.password)
    renewed = None
    if row and right:
        renewed = shared.passwords.rehash(row["password_hash"], body.password)

    def change(tx: web.Tx) -> idempotency.Reply | Problem:
        lockout.check(tx.connection, attempt, tx.now_ms)
        now_row: Any = _credentials(tx.connection, "u.id = ?", row["id"]) if row else None
        if row is None or not right or not _may_enter(row, now_row):
            count_failure(tx, attempt, row["id"] if row else "-")
            return Problem("bad_credentials", "Wrong name or password.")
        if renewed:
            tx.connection.execute(
                "UPDATE credentials SET password_hash = ? WHERE user_id = ?", (renewed, row["id"])
            )
        if factors.find(tx.connection, row["id"], confirmed=True) is not None:
            return challenge_reply(tx, row["id"])
        lockout.clear(tx.connection, attempt)
        return reply(tx, (row["id"], begin(tx, row["id"])), now_row["roles"].split())

    return web.respond(web.commit(act(row["id"] if row else "-", "login"), None, change))


def _credentials(connection: sqlite3.Connection, condition: str, value: str) -> Any:
    return connection.execute(
        "SELECT u.id, u.roles, u.status, c.password_hash FROM users u"  # noqa: S608 - own text
        f" JOIN credentials c ON c.user_id = u.id WHERE {condition}",
        (value,),
    ).fetchone()


def _may_enter(seen: Any, now: Any) -> bool:
    """Tell whether the user is active and the password still the one that was verified."""
    return bool(now and now["status"] == "active" and now["password_hash"] == seen["password_hash"])


def challenge_reply(tx: web.Tx, user_id: str) -> idempotency.Reply:
    """Ask for the second factor; the failures so far count until its code is right."""
    document = {
        "mfa_required": True,
        "challenge": factors.challenge(tx, user_id),
        "expires_in": MFA_CHALLENGE_TTL_S,
    }
    return web.json_reply(200, document, target=user_id)


def origin() -> tuple[str, str]:
    """Return the address and the name of this request; only the peer's own address counts."""
    return request.remote_addr or "-", str(g.request_id)


def attempt_of(shared: web.Services, name_key: str, origin: tuple[str, str]) -> lockout.Attempt:
    """Return what the lock-out counts of an attempt to enter."""
    source, request_id = origin
    name = lockout.name_digest(shared.audit_salt, name_key)
    return lockout.Attempt(name=name, source=source, request_id=request_id)


def count_failure(tx: web.Tx, attempt: lockout.Attempt, user_id: str) -> None:
    """Count a failed attempt; one that locks leaves an audit record of its own."""
    if lockout.fail(tx.connection, attempt, tx.now_ms):
        lock = audit.Act(
            actor=user_id, action="lockOut", request_id=attempt.request_id, payload_digest=""
        )
        audit.append(tx.connection, lock, target=user_id, outcome="locked", now_ms=tx.now_ms)


def act(user_id: str, action: str) -> audit.Act:
    """Return what the audit trail says of a request without a token."""
    return audit.Act(actor=user_id, action=action, request_id=g.request_id, payload_digest="")


def begin(tx: web.Tx, user_id: str, *, mfa: bool = False) -> str:
    """Write a new session; return its id."""
    session_id = ids.new_id("ses", tx.now_ms)
    tx.connection.execute(
        "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (session_id, user_id, tx.now_ms, tx.now_ms + SESSION_TTL_S * 1000),
    )
    if mfa:
        mark_mfa(tx, session_id)
    return session_id


def mark_mfa(tx: web.Tx, session_id: str) -> None:
    """Note that a code of the second factor was given in this session now."""
    tx.connection.execute("UPDATE sessions SET mfa_at = ? WHERE id = ?", (tx.now_ms, session_id))


def reply(tx: web.Tx, session: tuple[str, str], roles: Sequence[str]) -> idempotency.Reply:
    """Issue a pair of tokens for (user, session)."""
    user_id, session_id = session
    refresh_token = tokens.new_refresh_token()
    end_ms = tx.connection.execute(
        "SELECT expires_at FROM sessions WHERE id = ?", (session_id,)
    ).fetchone()[0]
    refresh_end_ms = min(tx.now_ms + REFRESH_TTL_S * 1000, end_ms)
    tx.connection.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, expires_at) VALUES (?, ?, ?)",
        (tokens.digest(refresh_token), session_id, refresh_end_ms),
    )
    secret = tx.services.token_secret
    document = {
        "access_token": tokens.issue(
            secret, user_id=user_id, session_id=session_id, now_ms=tx.now_ms
        ),
        "token_type": "Bearer",
        "expires_in": max(min(ACCESS_TTL_S, (end_ms - tx.now_ms) // 1000), 1),
        "refresh_token": refresh_token,
        "refresh_expires_in": max((refresh_end_ms - tx.now_ms) // 1000, 1),
        "user": {"id": user_id, "roles": list(roles)},
    }
    return web.json_reply(200, document, target=session_id)


@blueprint.post("/v1/auth/refresh")
def refresh() -> flask.Response:
    """Exchange a refresh token; its second use ends the session."""
    web.limit_address()
    body = web.body(requests.Refresh)
    hashed = tokens.digest(body.refresh_token)

    def change(tx: web.Tx) -> idempotency.Reply | Problem:
        row = tx.connection.execute(
            "SELECT r.used_at, r.expires_at, r.session_id, s.ended_at, s.expires_at AS session_end,"
            " u.id AS user_id, u.roles, u.status FROM refresh_tokens r"
            " JOIN sessions s ON s.id = r.session_id JOIN users u ON u.id = s.user_id"
            " WHERE r.token_hash = ?",
            (hashed,),
        ).fetchone()
        refusal = judge(row, tx.now_ms)
        if refusal is None:
            tx.connection.execute(
                "UPDATE refresh_tokens SET used_at = ? WHERE token_hash = ?", (tx.now_ms, hashed)
            )
            session = (row["user_id"], row["session_id"])
            return reply(tx, session, row["roles"].split())
        if refusal.code == "token_reused":
            end(tx, row["session_id"], "reuse")
        return refusal

    return web.respond(web.commit(act("-", "refreshSession"), None, change))


def judge(row: Any, now_ms: int) -> Problem | None:
    """Return why a refresh token is refused, None if it is good. Reuse counts before all else."""
    if row is None:
        return Problem("token_invalid", "The refresh token is not valid.")
    if row["used_at"] is not None:
        return Problem("token_reused", "The token was used before; the session has ended.")
    if row["ended_at"] is not None or row["status"] != "active":
        return Problem("token_invalid", "The session has ended; log in again.")
    if min(row["expires_at"], row["session_end"]) <= now_ms:
        return Problem("token_expired", "The refresh token has expired; log in again.")
    return None


@blueprint.post("/v1/auth/logout")
def logout() -> flask.Response:
    """End the session of this access token."""
    caller = web.caller(Rank.NONE)
    web.body(requests.Logout, optional=True)

    def change(tx: web.Tx) -> idempotency.Reply:
        end(tx, caller.session_id, "logout")
        return idempotency.Reply(status=204, body=b"", headers={}, target=caller.session_id)

    return web.write(caller, "logout", change, once=False)


def end(tx: web.Tx, session_id: str, why: str) -> None:
    """End one session: its access and refresh tokens are refused from the next request on."""
    tx.connection.execute(
        "UPDATE sessions SET ended_at = ?, ended_by = ? WHERE id = ? AND ended_at IS NULL",
        (tx.now_ms, why, session_id),
    )


def end_all(tx: web.Tx, user_id: str, why: str, *, but: str = "") -> None:
    """End every session of a user, but for one that is named."""
    tx.connection.execute(
        "UPDATE sessions SET ended_at = ?, ended_by = ?"
        " WHERE user_id = ? AND ended_at IS NULL AND id <> ?",
        (tx.now_ms, why, user_id, but),
    )
