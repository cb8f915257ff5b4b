"""Resources under /v1/auth: login, refresh with rotation, logout."""

from collections.abc import Sequence
from typing import Any

import flask
from flask import g

from . import audit, idempotency, ids, requests, tokens, users, web
from .access import Rank
from .config import ACCESS_TTL_S, REFRESH_TTL_S, SESSION_TTL_S
from .problems import Problem

blueprint = flask.Blueprint("sessions", __name__)


@blueprint.post("/v1/auth/login")
def login() -> flask.Response:
    """Begin a session; an unknown or inactive user is answered like a wrong password."""
    body = web.body(requests.Login)
    shared = web.services()
    row = (
        web.reader()
        .execute(
            "SELECT u.id, u.roles, u.status, c.password_hash FROM users u"
            " JOIN credentials c ON c.user_id = u.id WHERE u.username_key = ?",
            (users.name_key(body.username),),
        )
        .fetchone()
    )
    right = shared.passwords.verify(row["password_hash"] if row else None, body.password)
    if not right or row["status"] != "active":
        raise Problem("bad_credentials", "Wrong name or password.")

    def change(tx: web.Tx) -> idempotency.Reply:
        now_row = tx.connection.execute(
            "SELECT u.status, u.roles, c.password_hash FROM users u"
            " JOIN credentials c ON c.user_id = u.id WHERE u.id = ?",
            (row["id"],),
        ).fetchone()
        if now_row["status"] != "active" or now_row["password_hash"] != row["password_hash"]:
            raise Problem("bad_credentials", "Wrong name or password.")
        session_id = begin(tx, row["id"])
        return _session_reply(tx, (row["id"], session_id), now_row["roles"].split())

    return web.respond(web.commit(_act(row["id"], "login"), None, change))


def _act(user_id: str, action: str) -> audit.Act:
    return audit.Act(actor=user_id, action=action, request_id=g.request_id, payload_digest="")


def begin(tx: web.Tx, user_id: str) -> str:
    """Write a new session; return its id."""
    session_id = ids.new_id("ses", tx.now_ms)
    tx.connection.execute(
        "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (session_id, user_id, tx.now_ms, tx.now_ms + SESSION_TTL_S * 1000),
    )
    return session_id


def _session_reply(tx: web.Tx, session: tuple[str, str], roles: Sequence[str]) -> idempotency.Reply:
    """Issue a pair of tokens for (user, session)."""
    user_id, session_id = session
    refresh_token = tokens.new_refresh_token()
    tx.connection.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, expires_at) VALUES (?, ?, ?)",
        (tokens.digest(refresh_token), session_id, tx.now_ms + REFRESH_TTL_S * 1000),
    )
    secret = tx.services.token_secret
    document = {
        "access_token": tokens.issue(
            secret, user_id=user_id, session_id=session_id, now_ms=tx.now_ms
        ),
        "token_type": "Bearer",
        "expires_in": ACCESS_TTL_S,
        "refresh_token": refresh_token,
        "refresh_expires_in": REFRESH_TTL_S,
        "user": {"id": user_id, "roles": list(roles)},
    }
    return web.json_reply(200, document, target=session_id)


@blueprint.post("/v1/auth/refresh")
def refresh() -> flask.Response:
    """Exchange a refresh token; its second use ends the session."""
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
            return _session_reply(tx, session, row["roles"].split())
        if refusal.code == "token_reused":
            end(tx, row["session_id"], "reuse")
        return refusal

    return web.respond(web.commit(_act("-", "refreshSession"), None, change))


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


def end_all(tx: web.Tx, user_id: str, why: str) -> None:
    """End every session of a user."""
    tx.connection.execute(
        "UPDATE sessions SET ended_at = ?, ended_by = ? WHERE user_id = ? AND ended_at IS NULL",
        (tx.now_ms, why, user_id),
    )
