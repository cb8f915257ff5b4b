"""Liveness and readiness in the form of draft-inadarei-api-health-check-06."""

import sqlite3
from typing import Any

import flask
import msgspec

from . import access, clock, web
from .problems import RETRY_AFTER_S, Problem

blueprint = flask.Blueprint("health", __name__)

MEDIA_TYPE = "application/health+json"


@blueprint.get("/health/live")
def live() -> flask.Response:
    """Tell that this process answers."""
    return _respond(200, {"status": "pass"})


@blueprint.get("/health/ready")
def ready() -> flask.Response:
    """Tell whether this process can read and write the book; the detail is for operators."""
    checks = {"database:read": [_read()], "database:writer": [_writer()]}
    passed = all(found["status"] == "pass" for found, *_ in checks.values())
    document: dict[str, Any] = {"status": "pass" if passed else "fail"}
    if _shows_detail():
        document["checks"] = checks
    return _respond(200 if passed else 503, document)


def _read() -> dict[str, Any]:
    try:
        web.reader().execute("SELECT 1 FROM meta").fetchone()
    except sqlite3.Error as error:
        return _check("fail", type(error).__name__)
    return _check("pass")


def _writer() -> dict[str, Any]:
    return _check("pass" if web.services().writer.alive() else "fail")


def _check(status: str, output: str = "") -> dict[str, Any]:
    found = {"status": status, "componentType": "datastore", "time": clock.text(web.now_ms())}
    return {**found, "output": output} if output else found


def _shows_detail() -> bool:
    try:
        web.caller(access.Rank.OPERATOR, auditor=True)
    except Problem:
        return False
    return True


def _respond(status: int, document: dict[str, Any]) -> flask.Response:
    headers = {"Content-Type": MEDIA_TYPE}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return flask.Response(msgspec.json.encode(document), status=status, headers=headers)
