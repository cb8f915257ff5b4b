"""Resources of the second factor: enrol, answer a challenge, switch off, reset by an admin."""

import flask

from . import access, factors, idempotency, lockout, requests, sessions, totp, users, web
from .access import Rank
from .problems import Problem
from .requests import given

blueprint = flask.Blueprint("mfa", __name__)


@blueprint.post("/v1/auth/mfa/verify")
def verify() -> flask.Response:
    """Answer the challenge of a login with a code; wrong ones count towards the lock-out."""
    web.limit_address()
    body = web.body(requests.MfaVerify)
    origin = sessions.origin()

    def change(tx: web.Tx) -> idempotency.Reply | Problem:
        row = factors.find_challenge(tx.connection, body.challenge)
        refusal = factors.judge_challenge(row, tx.now_ms)
        if refusal:
            return refusal
        attempt = sessions.attempt_of(tx.services, row["username_key"], origin)
        lockout.check(tx.connection, attempt, tx.now_ms)
        refusal = factors.accept(tx, row, body.code)
        if refusal:
            factors.count_attempt(tx.connection, row["digest"])
            sessions.count_failure(tx, attempt, row["user_id"])
            return refusal
        factors.use_challenge(tx, row["digest"])
        lockout.clear(tx.connection, attempt)
        session_id = sessions.begin(tx, row["user_id"], mfa=True)
        return sessions.reply(tx, (row["user_id"], session_id), row["roles"].split())

    return web.respond(web.commit(sessions.act("-", "verifyMfa"), None, change))


@blueprint.post("/v1/auth/mfa/enroll")
def enroll() -> flask.Response:
    """Begin an enrolment (the secret is shown this once), or confirm it with a first code."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    body = web.body(requests.MfaEnroll)

    def change(tx: web.Tx) -> idempotency.Reply | Problem:
        if factors.find(tx.connection, caller.user_id, confirmed=True) is not None:
            raise Problem("mfa_already_enrolled", "Switch the present factor off first.")
        code = given(body.code)
        return _begin(tx, caller) if code is None else _confirm(tx, caller, code)

    return web.write(caller, "enrollMfa", change, once=False)


def _begin(tx: web.Tx, caller: access.Caller) -> idempotency.Reply:
    name = tx.connection.execute(
        "SELECT username FROM users WHERE id = ?", (caller.user_id,)
    ).fetchone()[0]
    secret = factors.begin(tx, caller.user_id)
    document = {
        "method": "totp",
        "confirmed": False,
        "secret": secret,
        "otpauth_uri": totp.uri(secret, name),
    }
    return web.json_reply(200, document, target=caller.user_id)


def _confirm(tx: web.Tx, caller: access.Caller, code: str) -> idempotency.Reply | Problem:
    """Prove the factor; sessions that began without it end, but for the one that asks."""
    row = factors.find(tx.connection, caller.user_id, confirmed=False)
    if row is None:
        return Problem("mfa_invalid", "There is no enrolment to confirm; begin one.")
    refusal = factors.accept(tx, row, code)
    if refusal:
        return refusal
    factors.confirm(tx, caller.user_id)
    sessions.end_all(tx, caller.user_id, "changed", but=caller.session_id)
    sessions.mark_mfa(tx, caller.session_id)
    return web.json_reply(200, {"method": "totp", "confirmed": True}, target=caller.user_id)


@blueprint.post("/v1/auth/mfa/disable")
def disable() -> flask.Response:
    """Switch the own factor off with a code of it; wrong ones count towards the lock-out."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    body = web.body(requests.MfaDisable)
    origin = sessions.origin()

    def change(tx: web.Tx) -> idempotency.Reply | Problem:
        row = factors.find(tx.connection, caller.user_id, confirmed=True)
        if row is None:
            raise access.not_found("second factor")
        name_key = tx.connection.execute(
            "SELECT username_key FROM users WHERE id = ?", (caller.user_id,)
        ).fetchone()[0]
        attempt = sessions.attempt_of(tx.services, name_key, origin)
        lockout.check(tx.connection, attempt, tx.now_ms)
        refusal = factors.accept(tx, row, body.code)
        if refusal:
            sessions.count_failure(tx, attempt, caller.user_id)
            return refusal
        factors.remove(tx.connection, caller.user_id)
        lockout.clear(tx.connection, attempt)
        return idempotency.Reply(status=204, body=b"", headers={}, target=caller.user_id)

    return web.write(caller, "disableMfa", change, once=False)


@blueprint.delete("/v1/users/<user_id>/mfa")
def reset(user_id: str) -> flask.Response:
    """Remove the factor of a user who has lost it, and end that user's sessions."""
    caller = web.caller(Rank.ADMIN)
    if access.owns(caller, user_id):
        raise Problem("forbidden", "Switch the own factor off with a code.")

    def change(tx: web.Tx) -> idempotency.Reply:
        users.need(tx.connection, user_id)
        if not factors.remove(tx.connection, user_id):
            raise access.not_found("second factor")
        sessions.end_all(tx, user_id, "changed")
        return idempotency.Reply(status=204, body=b"", headers={}, target=user_id)

    return web.write(caller, "resetMfa", change, once=False)
