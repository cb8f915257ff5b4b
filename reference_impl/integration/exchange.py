"""POST /v1/auth/exchange: an identity token of user management becomes a session.

What a token says counts only after its signature was checked with a key that the issuer publishes,
by the one algorithm that is allowed here; where it says that a key may be found is not looked at.
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from typing import Annotated, Any

import flask
import jwt
from flask import g
from msgspec import Meta

from reference_impl import factors, idempotency, requests, sessions, users, web
from reference_impl.problems import Problem

from . import identity_keys
from .outbound import CallFailedError, Reason
from .registry import USER_MANAGEMENT

blueprint = flask.Blueprint("exchange", __name__)

AUDIENCE = "account-system"
LEEWAY_S = 5
KID_LENGTH_MAX = 100
REQUIRED = ("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "preferred_username")
PURGE_ROWS = 20
_CHECKED_HERE = {
    "require": list(REQUIRED),
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
"""Times are judged by this server's clock, not by the library's."""


class Exchange(requests.Body):
    """POST /v1/auth/exchange."""

    identity_token: Annotated[str, Meta(min_length=1, max_length=16_384)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom a good token is about."""

    issuer: str
    subject: str
    username: str
    token_hash: bytes
    """Stands for the token: it is exchanged once."""
    expires_ms: int


@blueprint.post("/v1/auth/exchange")
def exchange() -> flask.Response:
    """Begin a session for the user that a person of user management is here."""
    web.limit_address()
    body = web.body(Exchange)
    shared = web.services()
    try:
        person = verified(shared, body.identity_token, g.trace.parent)
    except Problem as refused:
        if refused.code == "token_invalid":
            web.record_denied(refused)
        raise
    found = _user(web.reader(), person)

    def change(tx: web.Tx) -> idempotency.Reply:
        row = _user(tx.connection, person)
        if row is None or row["status"] != "active":
            raise invalid("Nobody here may enter with it.")
        _use_once(tx, person)
        tx.connection.execute(
            "INSERT INTO identities VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (person.issuer, person.subject, row["id"], tx.now_ms),
        )
        if factors.find(tx.connection, row["id"], confirmed=True) is not None:
            return sessions.challenge_reply(tx, row["id"])
        return sessions.reply(tx, (row["id"], sessions.begin(tx, row["id"])), row["roles"].split())

    act = sessions.act("-" if found is None else found["id"], "exchangeToken")
    return web.respond(web.commit(act, None, change))


def invalid(detail: str) -> Problem:
    """Return the refusal of a token; which part of it is wrong is told, whose it is not."""
    return Problem("token_invalid", f"The identity token is not taken. {detail}")


def verified(shared: web.Services, token: str, traceparent: str) -> Person:
    """Return whom a token is about; 401 unless all of it holds, 503 if its key cannot be had."""
    point = shared.outbound.registry[USER_MANAGEMENT]
    if not point.configured:
        raise CallFailedError(USER_MANAGEMENT, Reason.NOT_CONFIGURED).problem()
    kid = key_id(token)
    try:
        key = identity_keys.key_of(shared, kid, traceparent)
    except CallFailedError as failed:
        raise failed.problem() from failed
    if key is None:
        raise invalid("Its key is not one of the issuer's.")
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[identity_keys.ALGORITHM],
            audience=AUDIENCE,
            issuer=point.url,
            options=_CHECKED_HERE,  # type: ignore[arg-type]  # a plain dict of the library's names
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise invalid("Its signature, issuer, audience or form does not hold.") from error
    return person_of(claims, point.url, shared.clock.now_ms())


def key_id(token: str) -> str:
    """Return the kid of a token's header; 401 for another algorithm than the one allowed."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise invalid("It is not a signed JSON Web Token.") from error
    kid = header.get("kid")
    if header.get("alg") != identity_keys.ALGORITHM or "crit" in header:
        raise invalid(f"It is not signed with {identity_keys.ALGORITHM}.")
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_LENGTH_MAX:
        raise invalid("It does not name its key.")
    return kid


def person_of(claims: dict[str, Any], issuer: str, now_ms: int) -> Person:
    """Judge the claims of a token whose signature holds."""
    texts = {"sub": 255, "jti": 100, "preferred_username": 200}
    for name, longest in texts.items():
        if not isinstance(claims[name], str) or not 1 <= len(claims[name]) <= longest:
            raise invalid(f"Its {name} is not a short text.")
    for name in ("exp", "nbf", "iat"):
        if type(claims[name]) is not int or not 0 <= claims[name] <= 2**40:
            raise invalid(f"Its {name} is not an instant.")
    now_s = now_ms // 1000
    if claims["nbf"] > now_s + LEEWAY_S or claims["iat"] > now_s + LEEWAY_S:
        raise invalid("It is not good yet.")
    if claims["exp"] <= now_s - LEEWAY_S:
        raise Problem("token_expired", "The identity token has expired.")
    return Person(
        issuer=issuer,
        subject=claims["sub"],
        username=claims["preferred_username"],
        token_hash=hashlib.sha256(f"{issuer}\0{claims['jti']}".encode()).digest(),
        expires_ms=(claims["exp"] + LEEWAY_S) * 1000,
    )


def _user(connection: sqlite3.Connection, person: Person) -> Any:
    """Return the user that a person is: the one bound to it, else the unbound one of that name."""
    bound = connection.execute(
        "SELECT u.id, u.roles, u.status FROM identities i JOIN users u ON u.id = i.user_id"
        " WHERE i.issuer = ? AND i.subject = ?",
        (person.issuer, person.subject),
    ).fetchone()
    if bound is not None:
        return bound
    return connection.execute(
        "SELECT id, roles, status FROM users u WHERE username_key = ? AND NOT EXISTS"
        " (SELECT 1 FROM identities i WHERE i.issuer = ? AND i.user_id = u.id)",
        (users.name_key(person.username), person.issuer),
    ).fetchone()


def _use_once(tx: web.Tx, person: Person) -> None:
    tx.connection.execute(
        "DELETE FROM identity_tokens WHERE jti_hash IN (SELECT jti_hash FROM identity_tokens"
        " WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (tx.now_ms, PURGE_ROWS),
    )
    try:
        tx.connection.execute(
            "INSERT INTO identity_tokens VALUES (?, ?)", (person.token_hash, person.expires_ms)
        )
    except sqlite3.IntegrityError:
        raise invalid("It was exchanged before.") from None
