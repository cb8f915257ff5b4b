"""The way of a request: who asks, what it says, how it is written, and how the answer goes out."""

import hmac
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
from flask import Response, current_app, g, request

from . import (
    access,
    audit,
    checkpoints,
    database,
    front,
    idempotency,
    lean,
    metrics,
    outbox,
    principals,
    problems,
    ratelimit,
    requests,
    tokens,
    writer,
)
from .clock import Clock
from .config import BODY_BYTES_MAX, Settings
from .idempotency import Reply
from .integration.outbound import Outbound
from .operations.gate import Gate
from .passwords import Passwords
from .problems import Problem
from .sealed import Sealer
from .spans import Spans

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that requests share in one process."""

    settings: Settings
    clock: Clock
    readers: database.Readers
    writer: writer.Writer
    passwords: Passwords
    sealer: Sealer
    limits: ratelimit.Limits
    pepper: bytes
    token_secret: str
    cursor_secret: bytes
    audit_salt: bytes
    signer: checkpoints.Signer
    instance: str
    build: str
    metrics: metrics.Metrics
    gate: Gate
    outbound: Outbound
    spans: Spans | None = None
    """None: nobody wants them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """What a change works with, inside the writer's transaction."""

    connection: sqlite3.Connection
    now_ms: int
    services: Services


Change = Callable[[Tx], Reply | Problem]
"""A change raises a Problem to undo itself, and returns one to keep what it wrote."""


def services() -> Services:
    """Return what this app was built with."""
    found: Services = current_app.extensions["alluse"]
    return found


def reader() -> sqlite3.Connection:
    """Return this thread's read connection."""
    return services().readers.get()


def now_ms() -> int:
    """Return the server's time."""
    return services().clock.now_ms()


def reading() -> Tx:
    """Return what a single query works with."""
    shared = services()
    connection = shared.readers.get()
    return Tx(connection=connection, now_ms=shared.clock.now_ms(), services=shared)


@contextmanager
def snapshot(*, single: bool = False) -> Iterator[Tx]:
    """Let several queries see one state of the book; a `single` one sees one state by itself."""
    tx = reading()
    began = time.perf_counter()
    if not single:
        tx.connection.execute("BEGIN")
    try:
        yield tx
    finally:
        if not single:
            tx.connection.execute("ROLLBACK")
        tx.services.metrics.observe(metrics.READS, time.perf_counter() - began)


def caller(minimum: access.Rank, *, auditor: bool = False) -> access.Caller:
    """Return who is asking, or refuse: 401 without a live session, 403 below `minimum`."""
    header = request.environ.get("HTTP_AUTHORIZATION")
    if header is None:
        raise Problem("token_missing", "Send Authorization: Bearer <token>.")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("token_invalid", "Send Authorization: Bearer <token>.")
    found = authenticate(token.strip())
    access.check_scope(found)
    access.check_rank(found, minimum, auditor=auditor)
    return found


def authenticate(token: str) -> access.Caller:
    """Return the principal of an access token whose session and user are still good.

    The session is read every time: a logout or a new role counts at once.
    """
    claims = tokens.read(services().token_secret, token)
    now = now_ms()
    tokens.check_fresh(claims, now)
    limit_principal(claims.user_id)
    row = (
        reader()
        .execute(
            "SELECT s.expires_at, s.ended_at, u.roles, u.status,"
            " EXISTS (SELECT 1 FROM grants WHERE principal_id = u.id) AS granted FROM sessions s"
            " JOIN users u ON u.id = s.user_id WHERE s.id = ? AND u.id = ?",
            (claims.session_id, claims.user_id),
        )
        .fetchone()
    )
    if row is None or row["ended_at"] is not None or row["status"] != "active":
        raise Problem("token_invalid", "The session has ended; log in again.")
    if row["expires_at"] <= now:
        raise Problem("token_expired", "The session has expired; log in again.")
    roles = tuple(row["roles"].split())
    g.actor = claims.user_id
    rule = request.url_rule
    return access.Caller(
        user_id=claims.user_id,
        session_id=claims.session_id,
        roles=roles,
        scope="" if rule is None else principals.scope_of(request.method, rule.rule),
        grants=principals.held(reader(), claims.user_id, now) if row["granted"] else (),
    )


def limit_principal(user_id: str) -> None:
    """Count a request of a principal; 429 `rate_limited` beyond the declared rate."""
    shared = services()
    chosen = shared.settings
    rate = ratelimit.Rate(requests=chosen.rate_requests, window_s=chosen.rate_window_s)
    shared.limits.take("principal", user_id, rate)


def limit_address() -> None:
    """Count an attempt to get a session; 429 `rate_limited` beyond the rate of an address."""
    shared = services()
    chosen = shared.settings
    rate = ratelimit.Rate(requests=chosen.login_requests, window_s=chosen.login_window_s)
    shared.limits.take("address", request.remote_addr or "-", rate)


def body(kind: type[T], *, optional: bool = False) -> T:
    """Return the request's body as its struct; 400, 413 or 415 if it is not one.

    The decoded document stays in `g.document` for the fingerprint.
    """
    environ = request.environ
    raw = environ.get(front.READ)
    if raw is None:
        if (request.content_length or 0) > BODY_BYTES_MAX:
            raise too_large()
        raw = request.get_data(cache=False)
    if optional and not raw:
        return requests.decode({}, kind)
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0]
    if media_type.strip().lower() != "application/json" or "HTTP_CONTENT_ENCODING" in environ:
        raise Problem("unsupported_media_type", "Send the body as plain application/json.")
    g.document = requests.parse(raw)
    return requests.decode(g.document, kind)


def too_large() -> Problem:
    """Return the 413."""
    return Problem("body_too_large", f"A body has at most {BODY_BYTES_MAX} bytes.")


def write(who: access.Caller, action: str, change: Change, *, once: bool = True) -> Response:
    """Run a change in the writer's transaction with its audit record, and answer.

    `once`: the operation needs an Idempotency-Key; the key's row is part of the transaction.
    """
    act, scope = prepare(who, action, once=once)
    services().gate.check(action)
    return respond(commit(act, scope, change))


def prepare(
    who: access.Caller, action: str, *, once: bool = True
) -> tuple[audit.Act, idempotency.Scope | None]:
    """Return what the audit trail says of this request, and what its key is unique within."""
    environ = request.environ
    key = idempotency.parse_key(environ.get("HTTP_IDEMPOTENCY_KEY")) if once else None
    document = g.get("document")
    scope = None
    if key is not None:
        scope = idempotency.Scope(
            principal=who.user_id,
            method=request.method,
            path=request.path,
            key=key,
            fingerprint=keyed(services().pepper, idempotency.fingerprint(document)),
        )
    act = audit.Act(
        actor=who.user_id,
        action=action,
        request_id=g.request_id,
        payload_digest=digest(services(), document),
    )
    return act, scope


def recalled(who: access.Caller, action: str) -> Reply | None:
    """Return the stored answer of this request's key, for what cannot wait for the writer's turn.

    The change itself looks again: two requests with one key may both find nothing here.
    """
    return known(prepare(who, action)[1])


def known(scope: idempotency.Scope | None) -> Reply | None:
    """Return the stored answer of a key as a reader sees it; None past its retention."""
    if scope is None:
        return None
    try:
        stored = idempotency.recall(reader(), scope, now_ms())
    except sqlite3.OperationalError:  # past its retention: a reader cannot forget it
        return None
    return None if stored is None else services().sealer.reveal(stored)


def keyed(pepper: bytes, value: bytes) -> bytes:
    """Return a digest that gives nothing to try guesses of a payload's password on."""
    return hmac.digest(pepper, value, "sha256")


def digest(shared: Services, document: Any) -> str:
    """Return the keyed digest that stands for a payload in the audit trail."""
    payload = idempotency.canonical(document)
    return hmac.digest(shared.audit_salt, payload, "sha256").hex()


def commit(act: audit.Act, scope: idempotency.Scope | None, change: Change) -> Reply:
    """Hand a change to the writer: recall, do, record, remember, all in one transaction."""
    shared, instance, trace_id = services(), request.path, g.trace_id
    traceparent = g.trace.parent

    def run(connection: sqlite3.Connection) -> Reply:
        now = shared.clock.now_ms()
        shared.gate.check(act.action)
        if scope and (stored := idempotency.recall(connection, scope, now)):
            return shared.sealer.reveal(stored)
        outbox.begin(connection, now, traceparent)
        done = change(Tx(connection=connection, now_ms=now, services=shared))
        if isinstance(done, Problem):
            refused(connection, done)
            return problem_reply(done, instance=instance, trace_id=trace_id)
        reply = done
        audit.append(connection, act, target=reply.target, outcome="done", now_ms=now)
        if scope:
            idempotency.remember(connection, scope, shared.sealer.conceal(reply), now)
        return reply

    def refused(connection: sqlite3.Connection, problem: Problem) -> None:
        now = shared.clock.now_ms()
        problem.audited = True
        target = audit.named(shared.audit_salt, instance)
        audit.append(connection, act, target=target, outcome=problem.code, now_ms=now)
        if scope and idempotency.is_stored(problem):
            reply = problem_reply(problem, instance=instance, trace_id=trace_id)
            idempotency.remember(connection, scope, reply, now)

    return shared.writer.submit(run, refused)


def record_denied(problem: Problem) -> None:
    """Leave an audit record of an attempt that was denied before it reached the writer."""
    shared = services()
    now, target = shared.clock.now_ms(), audit.named(shared.audit_salt, request.path)
    act = audit.Act(
        actor=g.get("actor", "-"),
        action=f"{request.method} {target}",
        request_id=g.request_id,
        payload_digest="",
    )

    def run(connection: sqlite3.Connection) -> None:
        audit.append(connection, act, target=target, outcome=problem.code, now_ms=now)

    shared.writer.submit(run)


def record_export(who: access.Caller, action: str, target: str) -> None:
    """Leave an audit record of data that leaves in bulk; 503 `busy` where none can be written."""
    shared = services()
    act = audit.Act(actor=who.user_id, action=action, request_id=g.request_id, payload_digest="")
    now = shared.clock.now_ms()

    def run(connection: sqlite3.Connection) -> None:
        audit.append(connection, act, target=target, outcome="done", now_ms=now)

    shared.writer.submit(run)


def json_reply(
    status: int, document: Any, *, target: str, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return an answer with a JSON body."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    return Reply(status=status, body=msgspec.json.encode(document), headers=sent, target=target)


def problem_reply(problem: Problem, *, instance: str, trace_id: str) -> Reply:
    """Return a refusal in its stored form."""
    headers = {"Content-Type": problems.MEDIA_TYPE, **problem.headers}
    encoded = problem.body(instance=instance, trace_id=trace_id)
    return Reply(status=problem.kind.status, body=encoded, headers=headers)


def respond(reply: Reply) -> Response:
    """Send an answer; a replayed one says so."""
    if reply.replayed:
        headers = {**reply.headers, "Idempotency-Replayed": "true"}
        reply = replace(reply, headers=headers)
    return lean.Answer(reply.body, status=reply.status, headers=reply.headers)


def respond_json(document: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Send a document that was read."""
    return respond(json_reply(200, document, target="-", headers=headers))


def etag(version: int) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def if_match() -> str | None:
    """Return the If-Match header; a change runs outside the request and is given it."""
    return request.headers.get("If-Match")


def check_if_match(header: str | None, version: int, *, required: bool = True) -> None:
    """Compare If-Match with the current version: 428 if it is missing, 412 if it differs."""
    if header is None:
        if required:
            raise Problem("precondition_required", "Send If-Match with the ETag of the object.")
        return
    tags = [tag.strip() for tag in header.split(",")]
    if "*" not in tags and etag(version) not in tags:
        raise Problem("precondition_failed", f"The current version is {etag(version)}.")


def not_modified(tag: str) -> Response | None:
    """Return the 304 if the client has this version already (weak comparison, RFC 9110)."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return None
    tags = [given.strip().removeprefix("W/") for given in header.split(",")]
    if "*" in tags or tag in tags:
        return Response(status=304, headers={"ETag": tag})
    return None
