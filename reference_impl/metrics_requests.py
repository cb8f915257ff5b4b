"""What every request leaves behind: a measurement, and a line of the access log."""

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import flask
import msgspec
from flask import g, request

from . import metrics, problems
from .access_log import AccessLog, Entry
from .metrics import Metrics

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

TOLD = "alluse.told"
"""Key of the WSGI environment under which the application tells what it knows of the request."""
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


def install(app: flask.Flask, counted: Metrics, log: AccessLog | None) -> None:
    """Watch all requests of an application; an access log of None writes no lines."""
    routes = {rule.rule: template(rule.rule) for rule in app.url_map.iter_rules()}

    def tell(response: flask.Response) -> flask.Response:
        rule = request.url_rule
        route = UNKNOWN if rule is None else routes.get(rule.rule, UNKNOWN)
        request.environ[TOLD] = (
            route,
            g.get("request_id", ""),
            g.get("trace_id", ""),
            g.get("span_id", ""),
            g.get("actor", ""),
        )
        if response.status_code >= 400 and response.mimetype == problems.MEDIA_TYPE:
            count_problem(counted, response)
        return response

    app.after_request(tell)
    app.wsgi_app = watched(app.wsgi_app, counted, log)  # type: ignore[assignment,method-assign]  # as Flask says


def count_problem(counted: Metrics, response: flask.Response) -> None:
    """Count a refusal by its code, replayed ones too."""
    try:
        code = msgspec.json.decode(response.get_data(), type=_Code).code
    except msgspec.DecodeError:
        return
    if code in problems.CATALOGUE:
        counted.count(metrics.PROBLEMS, (code,))


def watched(application: Application, counted: Metrics, log: AccessLog | None) -> Application:
    """Return the application with each request counted once, however it ends."""

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
            told = environ.get(TOLD) or (UNKNOWN, "", "", "", "")
            counted.observe(metrics.REQUESTS, took, (method, told[0], status))
            if log is not None and (log.everything or status[0] == "5"):
                log.put(Entry(time.time(), method, told[0], status, took, *told[1:]))

    return run
