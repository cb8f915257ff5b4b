"""Liveness and readiness in the form of draft-inadarei-api-health-check-06.

Each check asks the dependency itself, and its finding is kept for a second: so the answer is
true, and asking often costs nothing. Who waits for the writer waits for a bounded time.
"""

import functools
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import flask
import msgspec

from . import access, audit, clock, merkle, outbox, web
from .config import OUTBOX_BACKLOG_MAX
from .delivery import figures as delivery
from .integration import status
from .operations import stopping
from .problems import RETRY_AFTER_S, Problem

blueprint = flask.Blueprint("health", __name__)

MEDIA_TYPE = "application/health+json"
KEPT_S = 1.0
WRITER_WAIT_S = 0.4
"""An empty write that takes longer than this means that writes do not get through."""
_finding = threading.Lock()
Check = tuple[str, Callable[[web.Services], dict[str, Any]]]
"""Component type, and how to look."""


@blueprint.get("/health/live")
def live() -> flask.Response:
    """Tell that this process answers."""
    return _respond(200, {"status": "pass"})


@blueprint.get("/health/ready")
def ready() -> flask.Response:
    """Tell whether this process can read and write the book; the detail is for operators."""
    if stopping.draining():
        flask.g.expected = True  # no fault, whoever asks and however often
        return _respond(503, {"status": "fail", "output": "the server is stopping"})
    checks = findings(web.services())
    statuses = {found["status"] for found, *_ in checks.values()}
    status = next(name for name in ("fail", "warn", "pass") if name in statuses)
    document: dict[str, Any] = {"status": status}
    if _shows_detail():
        document["checks"] = checks
    return _respond(503 if status == "fail" else 200, document)


def findings(shared: web.Services) -> dict[str, list[dict[str, Any]]]:
    """Return what was found at most a second ago."""
    kept = flask.current_app.extensions.get("alluse.health")
    if kept is None or time.monotonic() - kept[0] > KEPT_S:
        with _finding:
            kept = flask.current_app.extensions.get("alluse.health")
            if kept is None or time.monotonic() - kept[0] > KEPT_S:
                looks = {**CHECKS, **_outside(shared)}
                found = {name: [_checked(look, shared)] for name, look in looks.items()}
                kept = flask.current_app.extensions["alluse.health"] = (time.monotonic(), found)
    checks: dict[str, list[dict[str, Any]]] = kept[1]
    return checks


def _checked(check: Check, shared: web.Services) -> dict[str, Any]:
    kind, look = check
    try:
        found = look(shared)
    except (sqlite3.Error, LookupError, OSError) as error:
        found = {"status": "fail", "output": type(error).__name__}
    return {"componentType": kind, "time": clock.text(shared.clock.now_ms()), **found}


def _read(shared: web.Services) -> dict[str, Any]:
    shared.readers.get().execute("SELECT 1 FROM meta").fetchone()
    return {"status": "pass"}


def _writer(shared: web.Services) -> dict[str, Any]:
    if not shared.writer.alive():
        return {"status": "fail", "output": "the writer has stopped"}
    if not shared.writer.responds(WRITER_WAIT_S):
        return {"status": "fail", "output": "writes do not get through"}
    return {"status": "pass"}


def _disk(shared: web.Services) -> dict[str, Any]:
    free, needed = shutil.disk_usage(shared.settings.database.parent).free, shared.settings
    status = "pass" if free >= 4 * needed.disk_free_min else "warn"
    status = "fail" if free < needed.disk_free_min else status
    return {"status": status, "observedValue": free, "observedUnit": "By"}


def _outbox(shared: web.Services) -> dict[str, Any]:
    """Events that the slowest consumer has before it; without a consumer there is no backlog."""
    waiting = max(outbox.backlog(shared.readers.get()).values(), default=0)
    status = "warn" if waiting > OUTBOX_BACKLOG_MAX else "pass"
    return {"status": status, "observedValue": waiting, "observedUnit": "events"}


def _delivery(shared: web.Services) -> dict[str, Any]:
    return delivery.finding(shared.readers.get(), shared.clock.now_ms())


def _audit(shared: web.Services) -> dict[str, Any]:
    """Whether a checkpoint can be made of what is stored, and how old its last record is."""
    connection = shared.readers.get()
    connection.execute("BEGIN")
    try:
        merkle.root(audit.subtrees(connection), audit.size(connection))
        row = connection.execute("SELECT ts FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    finally:
        connection.execute("ROLLBACK")
    age_s = 0 if row is None else max(shared.clock.now_ms() - row["ts"], 0) // 1000
    return {"status": "pass", "observedValue": age_s, "observedUnit": "s"}


CHECKS: dict[str, Check] = {
    "database:read": ("datastore", _read),
    "database:writer": ("datastore", _writer),
    "disk:space": ("system", _disk),
    "outbox:backlog": ("component", _outbox),
    "delivery:age": ("component", _delivery),
    "audit:checkpoint": ("component", _audit),
}
COMPONENTS = {
    "database": "database:read",
    "writer": "database:writer",
    "disk": "disk:space",
    "outbox": "outbox:backlog",
    "delivery": "delivery:age",
    "audit": "audit:checkpoint",
}
"""Component -> its check, as the capability document names them."""


def _outside(shared: web.Services) -> dict[str, Check]:
    """Return the breakers of the outside systems: what waits for them is degraded, no more."""
    return {
        status.check_name(point): ("system", functools.partial(status.health, point))
        for point in shared.outbound.registry
        if point.configured
    }


def components(shared: web.Services) -> dict[str, str]:
    """Return the components with their checks, outside systems by their names."""
    points = [point for point in shared.outbound.registry if point.configured]
    return {**COMPONENTS, **{point.name: status.check_name(point) for point in points}}


def _shows_detail() -> bool:
    try:
        web.caller(access.Rank.OPERATOR, auditor=True)
    except (Problem, sqlite3.Error):
        return False
    return True


def _respond(status: int, document: dict[str, Any]) -> flask.Response:
    headers = {"Content-Type": MEDIA_TYPE}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return flask.Response(msgspec.json.encode(document), status=status, headers=headers)
