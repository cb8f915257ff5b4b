"""The WSGI application: puts the parts together and turns every refusal into a problem document.

A request comes in here, goes to a resource (accounts, transactions, users, sessions), from there
through `web.write` to the writer (idempotency, change, audit: one transaction), where `booking`
and `journal` apply the rules of `ledger` to rows; `views` gives the rows their wire form.
"""

import functools
import gc
import logging
import os
import re
import secrets
from pathlib import Path

import flask
from flask import g, request
from werkzeug.exceptions import HTTPException

from . import (
    access_log,
    accounts,
    audit_api,
    background,
    capability,
    checkpoints,
    config,
    database,
    erasure,
    events,
    front,
    grants,
    health,
    housekeeping,
    ids,
    lean,
    metrics,
    metrics_requests,
    metrics_scrape,
    mfa,
    passwords,
    ratelimit,
    recoveries,
    reports,
    reports_builder,
    runtime_dir,
    sealed,
    serving,
    sessions,
    spans,
    tracing,
    transactions,
    users,
    web,
    writer,
)
from .alerting import evaluator
from .alerting import resources as alerting
from .analytics import resources as analytics
from .clock import Clock, SystemClock
from .dashboards import resources as dashboards
from .delivery import dispatcher, webhooks
from .growth import resources as growth
from .integration import breakers, market_resources, outbound, registry
from .integration import resources as integrations
from .operations import gate, maintenance, testing
from .operations import resources as backups
from .problems import Problem

PARTS = (
    accounts,
    audit_api,
    capability,
    erasure,
    events,
    grants,
    health,
    maintenance,
    mfa,
    recoveries,
    reports,
    sessions,
    transactions,
    users,
)
"""Modules with a blueprint; analytics and growth bring their own."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STRICT_TRANSPORT = "max-age=31536000; includeSubDomains"
"""Sent over TLS only: over plain HTTP nobody may believe it (RFC 6797, section 7.2)."""
DRAIN_BYTES_MAX = 8 * config.BODY_BYTES_MAX
DRAIN_CHUNK_BYTES = 64 * 1024
_log = logging.getLogger(__name__)


def create_app(settings: config.Settings | None = None, clock: Clock | None = None) -> flask.Flask:
    """Build the application; without settings they come from the environment (as in a worker).

    Registers the instance in the runtime directory, if the server named one, when it is complete.
    """
    settings = settings or config.from_environment()
    app = lean.App("reference_impl", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = config.BODY_BYTES_MAX
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    clock = clock or SystemClock()
    if settings.testability:
        clock = testing.TurnedClock(Path(f"{settings.database}.clock"), clock)
        app.register_blueprint(testing.blueprint)
    app.extensions["alluse"] = shared = build_services(settings, clock)
    app.before_request(begin_request)
    app.after_request(finish_response)
    app.register_error_handler(Problem, on_problem)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_defect)
    for part in PARTS:
        app.register_blueprint(part.blueprint)
    for blueprint in (
        alerting.blueprint,
        analytics.blueprint,
        backups.blueprint,
        *growth.BLUEPRINTS,
        webhooks.blueprint,
    ):
        app.register_blueprint(blueprint)
    for blueprint in (*integrations.BLUEPRINTS, *market_resources.BLUEPRINTS):
        app.register_blueprint(blueprint)
    reports_builder.install(app)
    jobs = app.extensions["alluse.background"] = background.Background(shared)
    housekeeping.install(jobs, shared)
    recoveries.install(jobs, shared)
    app.extensions["alluse.alerts"] = evaluator.install(jobs, shared)
    dispatcher.install(jobs, shared)
    integrations.install(jobs, shared)
    market_resources.install(jobs, shared)
    app.wsgi_app = front.in_turns(app.wsgi_app)  # type: ignore[assignment,method-assign]  # as Flask says
    observe(app, shared)
    jobs.start_in_server()
    register_instance(shared.instance)
    return app


def observe(app: flask.Flask, shared: web.Services) -> None:
    """Count and log every request, and serve the counts if the operator wants them."""
    counted, log = shared.metrics, None
    if shared.settings.access_log:
        log = access_log.AccessLog(
            everything=logging.getLogger().isEnabledFor(logging.INFO),
            dropped=functools.partial(counted.count, metrics.LOG_DROPPED),
        )
    if shared.settings.metrics:
        metrics.count_lines(counted)
        app.extensions["alluse.sample"] = metrics_scrape.start(shared)
        app.register_blueprint(metrics_scrape.blueprint)
        dashboards.install(app, shared)
    metrics_requests.install(app, counted, log, shared.spans)


def build_services(settings: config.Settings, clock: Clock) -> web.Services:
    """Open the database and start the writer."""
    readers = database.Readers(settings.database)
    connection = readers.get()
    keys = sealed.read_keys(settings.database)
    pepper = sealed.peppered(keys, b"payload")
    counted = metrics.Metrics(runtime_dir.current()) if settings.metrics else metrics.Nothing()
    instance = ids.new_id("ins", clock.now_ms())[4:]
    traced = spans.start(settings, instance, counted)
    writing = writer.Writer(
        settings.database,
        queue_size=settings.queue_size,
        wait_s=settings.write_wait_s,
        on_lost_disk=serving.leave,
        on_commit=counted.committed,
    )
    guard = gate.Gate(Path(f"{settings.database}.gate"))
    guard.follow(connection)
    return web.Services(
        settings=settings,
        clock=clock,
        readers=readers,
        writer=writing,
        passwords=passwords.Passwords(wait_s=settings.password_wait_s),
        sealer=sealed.Sealer(settings.database),
        limits=ratelimit.Limits(Path(f"{settings.database}.rates"), clock.now_ms),
        pepper=pepper,
        token_secret=sealed.peppered(
            keys, bytes.fromhex(database.meta(connection, "token_secret"))
        ).hex(),
        cursor_secret=bytes.fromhex(database.meta(connection, "cursor_secret")),
        audit_salt=sealed.peppered(keys, bytes.fromhex(database.meta(connection, "audit_salt"))),
        signer=checkpoints.Signer(
            sealed.peppered(keys, bytes.fromhex(database.meta(connection, "audit_seed")))
        ),
        instance=instance,
        build=capability.build_digest(),
        metrics=counted,
        gate=guard,
        outbound=outbound.Outbound(
            registry=registry.load(os.environ, registry.timing(settings)),
            breakers=breakers.Breakers(
                read=readers.get,
                write=writing.submit,
                now_ms=clock.now_ms,
                changed=functools.partial(outbound.on_change, counted),
            ),
            instance=instance,
            counted=counted,
            waiting_max=settings.threads // 2,
            spans=traced,
        ),
        spans=traced,
    )


def register_instance(instance: str) -> None:
    """Leave a note for the parent process that this worker is complete."""
    folder = runtime_dir.current()
    if folder is not None:
        gc.collect()
        gc.freeze()  # what was loaded stays: looking through it again would stop every request
        (folder / f"worker-{os.getpid()}").write_text(instance, "ascii")


def begin_request() -> None:
    """Name the request: the client's X-Request-Id and trace id, or new ones."""
    held, now = g._get_current_object(), request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - a proxy looks it up at each use
    environ = now.environ
    given = environ.get("HTTP_X_REQUEST_ID", "")
    held.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
    held.trace = trace = tracing.accept(environ.get("HTTP_TRACEPARENT"))
    held.trace_id = trace.trace_id
    held.rule = now.url_rule
    environ[metrics_requests.HELD] = held


def finish_response(response: flask.Response) -> flask.Response:
    """Add what every answer carries."""
    present = {name.lower() for name, _ in response.headers}
    more = [("X-Request-Id", g.get("request_id", ""))]
    more += [pair for pair in _SECURITY_HEADERS.items() if pair[0].lower() not in present]
    if web.services().settings.certificate:
        more.append(("Strict-Transport-Security", STRICT_TRANSPORT))
    if not drain_body():
        more.append(("Connection", "close"))
    assert isinstance(response, lean.Answer)  # noqa: S101 - Flask makes it one
    response.more = more
    if response.status_code >= 400:
        metrics_requests.count_problem(web.services().metrics, response)
    return response


def drain_body() -> bool:
    """Read what a refusal left of the body; False where that is more than is worth reading.

    The server closes a connection whose request was not read to its end, without saying so, and
    the client's next request on it is lost.
    """
    environ = request.environ
    if front.READ in environ:
        return True
    if (request.content_length or 0) > DRAIN_BYTES_MAX:
        return False
    stream, left = environ["wsgi.input"], DRAIN_BYTES_MAX
    while left > 0:
        chunk = stream.read(DRAIN_CHUNK_BYTES)
        if not chunk:
            return True
        left -= len(chunk)
    return False


def on_problem(problem: Problem) -> flask.Response:
    """Answer with a problem document; a denied attempt leaves an audit record."""
    denied = problem.kind.status == 403 or problem.code in {"bad_credentials", "locked"}
    if denied and not problem.audited:
        try:
            web.record_denied(problem)
        except Problem as full:
            _log.warning("an audit record of a denied attempt was lost: %s", full.code)
    reply = web.problem_reply(problem, instance=request.path, trace_id=g.trace_id)
    return web.respond(reply)


def on_http_error(error: HTTPException) -> flask.Response:
    """Turn what routing and reading refuse into the contract's problems."""
    match error.code:
        case 404 | 308:
            problem = Problem("not_found", "There is no such resource.")
        case 405:
            methods = sorted(getattr(error, "valid_methods", None) or ())
            allow = {"Allow": ", ".join(methods)}
            problem = Problem("method_not_allowed", "The path has other methods.", headers=allow)
        case 413:
            problem = web.too_large()
        case _ if error.code is not None and error.code >= 500:
            return on_defect(error)
        case _:
            problem = Problem("malformed_json", "The request could not be read.")
    return on_problem(problem)


def on_defect(error: Exception) -> flask.Response:
    """Log a defect of this program with its trace, and tell the client nothing of it."""
    names = {"request_id": g.get("request_id"), "trace_id": g.get("trace_id")}
    _log.error("unhandled error", exc_info=error, extra=names)
    return on_problem(Problem("internal_error", "The error was recorded."))
