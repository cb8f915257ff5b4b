"""POST /v1/callbacks/market: execution reports, signed as Standard Webhooks ask.

The signature covers the bytes as they came and is checked before anything is decoded. A forged
one leaves a record in the audit trail; an address that goes on with them is told to slow down.
"""

import base64
import binascii
import hmac
import re
import sqlite3

import flask
from flask import g, request
from werkzeug.datastructures import Headers

from reference_impl import audit, front, outbox, ratelimit, web
from reference_impl.config import BODY_BYTES_MAX
from reference_impl.problems import Problem, invalid

from . import executions, registry, trading
from .reports import MarketCallback, report_of

blueprint = flask.Blueprint("market_callbacks", __name__)

ACTION = "receiveMarketCallback"
TOLERANCE_S = 300
SIGNATURES_MAX = 10
FORGED = ratelimit.Rate(requests=100, window_s=10)
"""So many forged reports of one address are recorded; more are turned away."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@blueprint.post("/v1/callbacks/market")
def receive_market_callback() -> flask.Response:
    """Take a report once; its effect is in the answer's transaction."""
    raw = raw_body()
    secret = web.services().outbound.registry[registry.MARKET].secret
    message_id = request.headers.get("webhook-id", "")
    if not verified(secret, request.headers, raw, web.now_ms() // 1000):
        raise forged()
    g.actor = "market"
    body = web.body(MarketCallback)
    if body.execution_id != message_id:
        raise invalid("/execution_id", "signed", "webhook-id is the execution_id")
    report = report_of(body)
    outcome = repeated(report) or commit(report)
    return web.respond_json({"execution_id": report.id, "outcome": outcome})


def repeated(report: trading.Report) -> str | None:
    """Return the outcome of a report that was taken before; `commit` says what is wrong."""
    try:
        return executions.known(web.reader(), report)
    except Problem:
        return None


def raw_body() -> bytes:
    """Return the bytes of the body; 413 beyond the bound."""
    raw = request.environ.get(front.READ)
    if raw is None:
        if (request.content_length or 0) > BODY_BYTES_MAX:
            raise web.too_large()
        raw = request.get_data(cache=False)
        request.environ[front.READ] = raw
    found: bytes = raw
    return found


def verified(secret: bytes, headers: Headers, raw: bytes, now_s: int) -> bool:
    """Tell whether one of the signatures is the secret's, over these bytes, of about now."""
    message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not secret or not _ID.fullmatch(message_id) or not re.fullmatch(r"[0-9]{1,12}", sent_at):
        return False
    if abs(int(sent_at) - now_s) > TOLERANCE_S:
        return False
    expected = hmac.digest(secret, f"{message_id}.{sent_at}.".encode() + raw, "sha256")
    given = headers.get("webhook-signature", "").split(" ")[:SIGNATURES_MAX]
    return any(hmac.compare_digest(expected, found) for found in map(_decoded, given))


def _decoded(signature: str) -> bytes:
    version, _, text = signature.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def forged() -> Problem:
    """Return the 401, recorded; 429 for an address that has sent too many."""
    web.services().limits.take("callback", request.remote_addr or "-", FORGED)
    problem = Problem("signature_invalid", "Send a signature of the shared secret, made now.")
    web.record_denied(problem)
    problem.audited = True
    return problem


def commit(report: trading.Report) -> str:
    """Take a report in one transaction with its audit record; a repetition leaves none."""
    shared, traceparent = web.services(), g.trace.parent
    act = audit.Act(
        actor="market",
        action=ACTION,
        request_id=g.request_id,
        payload_digest=web.digest(shared, g.document),
    )

    def run(connection: sqlite3.Connection) -> str:
        now = shared.clock.now_ms()
        shared.gate.check(ACTION)
        outbox.begin(connection, now, traceparent)
        outcome = executions.take(
            web.Tx(connection=connection, now_ms=now, services=shared), report
        )
        if outcome != executions.DUPLICATE:
            audit.append(connection, act, target=report.order_id, outcome="done", now_ms=now)
        return outcome

    def refused(connection: sqlite3.Connection, problem: Problem) -> None:
        if problem.kind.status < 500:
            problem.audited = True
            now = shared.clock.now_ms()
            audit.append(connection, act, target=report.order_id, outcome=problem.code, now_ms=now)

    return shared.writer.submit(run, refused)
