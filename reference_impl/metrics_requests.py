"""What every request leaves behind: a measurement, a line of the access log, and a span."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flask
import msgspec

from . import metrics, problems
from .access_log import AccessLog, Entry
from .metrics import Metrics
from .spans import Kind, Span, Spans, just_ended

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

HELD = "alluse.held"
"""Key of the WSGI environment under which the application leaves what it knows of the request."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNKNOWN = "none"
"""Route of a request that led nowhere, method of one that is none of HTTP's own."""
_PLACE = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_CONTRACT_NAMES = {"account_type": "type"}


class _Code(msgspec.Struct):
    code: str = ""


def template(rule: str) -> str:
    """Return a route as the contract writes it: /v1/accounts/<account_id> is /v1/accounts/{id}."""
    names = _PLACE.findall(rule)
    for number, name in enumerate(names):
        short = "id" if number == 0 and name.endswith("_id") else _CONTRACT_NAMES.get(name, name)
        rule = _PLACE.sub(f"{{{short}}}", rule, count=1)
    return rule


def install(app: flask.Flask, counted: Metrics, log: AccessLog | None, spans: Spans | None) -> None:
    """Watch all requests of an application; None for what is not wanted of lines and spans."""
    routes = {rule.rule: template(rule.rule) for rule in app.url_map.iter_rules()}
    inner: Application = app.wsgi_app
    app.wsgi_app = watched(inner, counted, (log, spans), routes)  # type: ignore[assignment,method-assign]  # as Flask says


def count_problem(counted: Metrics, response: flask.Response) -> None:
    """Count a refusal by its code, replayed ones too."""
    if response.mimetype != problems.MEDIA_TYPE:
        return
    try:
        code = msgspec.json.decode(response.get_data(), type=_Code).code
    except msgspec.DecodeError:
        return
    if code in problems.CATALOGUE:
        counted.count(metrics.PROBLEMS, (code,))


def watched(
    application: Application,
    counted: Metrics,
    told: tuple[AccessLog | None, Spans | None],
    routes: Mapping[str, str],
) -> Application:
    """Return the application with each request counted once, however it ends."""
    log, spans = told

    def run(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        began = time.perf_counter()
        status = "500"

        def begin(line: str, *rest: Any) -> Any:
            nonlocal status
            status = line[:3]
            return start_response(line, *rest)

        counted.count(metrics.ACTIVE)
        try:
            return application(environ, begin)
        finally:
            took = time.perf_counter() - began
            counted.count(metrics.ACTIVE, (), -1)
            method = environ["REQUEST_METHOD"]
            method = method if method in METHODS else UNKNOWN
            held = environ.get(HELD)
            rule = None if held is None else held.rule
            route = UNKNOWN if rule is None else routes.get(rule.rule, UNKNOWN)
            counted.observe(metrics.REQUESTS, took, (method, route, status))
            if log is not None:
                log.put(entry((method, route, status), took, held))
            if spans is not None and held is not None:
                spans.put(served((method, route, status), took, environ))

    return run


def entry(labels: tuple[str, str, str], seconds: float, held: Any) -> Entry:
    """Return the line of a request; `held` is what Flask kept of it, if it came so far."""
    known = {} if held is None else vars(held)
    trace = known.get("trace")
    return Entry(
        time.time(),
        *labels,
        seconds,
        known.get("request_id", ""),
        "" if trace is None else trace.trace_id,
        "" if trace is None else trace.span_id,
        known.get("actor", ""),
        known.get("expected", False),
    )


def served(labels: tuple[str, str, str], seconds: float, environ: Mapping[str, Any]) -> Span:
    """Return the span of a request that has just ended, by the conventions for HTTP servers.

    The path is left out: it holds ids, and whatever a client makes up.
    """
    method, route, status = labels
    attributes: dict[str, str | int] = {
        "http.request.method": "_OTHER" if method == UNKNOWN else method,
        "http.response.status_code": int(status),
        "url.scheme": environ["wsgi.url_scheme"],
    }
    name = "HTTP" if method == UNKNOWN else method
    if route != UNKNOWN:
        attributes["http.route"] = route
        name = f"{name} {route}"
    failed = status[0] == "5"
    if failed:
        attributes["error.type"] = status
    return Span(
        trace=environ[HELD].trace,
        kind=Kind.SERVER,
        name=name,
        times=just_ended(seconds),
        attributes=attributes,
        failed=failed,
    )
