"""Second factors and the challenges that ask for them, as rows; `mfa` has the resources."""

import secrets
import sqlite3
from typing import Any

from . import tokens, totp, web
from .config import MFA_ATTEMPTS_MAX, MFA_CHALLENGE_TTL_S
from .problems import Problem

PURGE_ROWS = 20


def find(connection: sqlite3.Connection, user_id: str, *, confirmed: bool) -> Any:
    """Return the row of a user's factor, or None if there is none of this state."""
    row = connection.execute("SELECT * FROM totp WHERE user_id = ?", (user_id,)).fetchone()
    if row is None or (row["confirmed_at"] is not None) != confirmed:
        return None
    return row


def accept(tx: web.Tx, row: Any, code: str) -> Problem | None:
    """Take a code, so that it is never taken again; return why it is refused otherwise."""
    secret = tx.services.sealer.open(row["secret"])
    step = totp.matching_step(str(secret), code, tx.now_ms)
    if step is None:
        return Problem("mfa_invalid", "The code is not the one of now.")
    if step <= row["last_step"]:
        return Problem("mfa_replayed", "The code was used before; wait for the next one.")
    tx.connection.execute("UPDATE totp SET last_step = ? WHERE user_id = ?", (step, row["user_id"]))
    return None


def begin(tx: web.Tx, user_id: str) -> str:
    """Write a new factor that a first code has yet to prove; return its secret."""
    secret = totp.new_secret()
    tx.connection.execute("DELETE FROM totp WHERE user_id = ?", (user_id,))
    tx.connection.execute(
        "INSERT INTO totp (user_id, secret) VALUES (?, ?)",
        (user_id, tx.services.sealer.seal(secret)),
    )
    return secret


def confirm(tx: web.Tx, user_id: str) -> None:
    """Let the factor be asked for from the next login on."""
    tx.connection.execute(
        "UPDATE totp SET confirmed_at = ? WHERE user_id = ?", (tx.now_ms, user_id)
    )


def remove(connection: sqlite3.Connection, user_id: str) -> bool:
    """Delete a confirmed factor; tell whether there was one."""
    done = connection.execute(
        "DELETE FROM totp WHERE user_id = ? AND confirmed_at IS NOT NULL", (user_id,)
    )
    return done.rowcount > 0


def challenge(tx: web.Tx, user_id: str) -> str:
    """Write a challenge and return its token: good for one session, for a short time."""
    token = f"ch_{secrets.token_urlsafe(32)}"
    tx.connection.execute(
        "DELETE FROM mfa_challenges WHERE digest IN"
        " (SELECT digest FROM mfa_challenges WHERE expires_at < ? LIMIT ?)",
        (tx.now_ms - MFA_CHALLENGE_TTL_S * 1000, PURGE_ROWS),
    )
    tx.connection.execute(
        "INSERT INTO mfa_challenges (digest, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        (tokens.digest(token), user_id, tx.now_ms, tx.now_ms + MFA_CHALLENGE_TTL_S * 1000),
    )
    return token


def find_challenge(connection: sqlite3.Connection, token: str) -> Any:
    """Return a challenge with its user and that user's factor, or None."""
    return connection.execute(
        "SELECT h.digest, h.created_at, h.expires_at, h.attempts, h.used_at, u.username_key,"
        " u.status, u.roles, c.changed_at, t.user_id, t.secret, t.last_step, t.confirmed_at"
        " FROM mfa_challenges h JOIN users u ON u.id = h.user_id"
        " JOIN credentials c ON c.user_id = u.id JOIN totp t ON t.user_id = u.id"
        " WHERE h.digest = ?",
        (tokens.digest(token),),
    ).fetchone()


def judge_challenge(row: Any, now_ms: int) -> Problem | None:
    """Return why a challenge is refused, None if it may be answered."""
    if row is None or row["confirmed_at"] is None:
        return Problem("token_invalid", "The challenge is not valid; log in again.")
    spent = row["used_at"] is not None or row["attempts"] >= MFA_ATTEMPTS_MAX
    if spent or row["status"] != "active" or row["changed_at"] > row["created_at"]:
        return Problem("token_invalid", "The challenge is not valid any more; log in again.")
    if row["expires_at"] <= now_ms:
        return Problem("token_expired", "The challenge has expired; log in again.")
    return None


def count_attempt(connection: sqlite3.Connection, digest: bytes) -> None:
    """Count a wrong code."""
    connection.execute(
        "UPDATE mfa_challenges SET attempts = attempts + 1 WHERE digest = ?", (digest,)
    )


def use_challenge(tx: web.Tx, digest: bytes) -> None:
    """Use a challenge up."""
    tx.connection.execute(
        "UPDATE mfa_challenges SET used_at = ? WHERE digest = ?", (tx.now_ms, digest)
    )
