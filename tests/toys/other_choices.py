"""A correct deployment that made other legal choices than the reference, which it wraps.

Ids of another form, small pages, times with an offset, absolute Locations, indented bodies, more
members than the contract lists, refusals of load with Retry-After, slow answers; no dollars,
tighter limits, tokens of half a minute, refusals that are evaluated again under their key; no
module operations and no reports, whose digests the other form of ids and times would break. Started
as `python -m tests.toys.other_choices init|serve ...` with the options of the reference's command.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlencode

from certification.contract import load_contract

FACTORY = "tests.toys.other_choices:application"
PAGE_ROWS_MAX = 7
WRITES_MAX = 4
"""Writes at a time in one process; the next one is answered 503."""
DELAY_S_MAX = 0.02
BODY_READ_MAX = 2 * 1024 * 1024
ZONE = timezone(timedelta(hours=5, minutes=45))
CURRENCIES = {"CLF": 4, "EUR": 2, "JPY": 0, "KWD": 3}
LIMITS = {
    "MAX_AMOUNT": 10**14,
    "PAGE_MAX": 200,
    "BODY_BYTES_MAX": 32 * 1024,
    "BATCH_ITEMS_MAX": 60,
    "METADATA_BYTES_MAX": 2_000,
    "HOLD_TTL_S_MAX": 3 * 24 * 3_600,
    "PASSWORD_LENGTH_MIN": 20,
    "ACCESS_TTL_S": 30,
}
REPORTS = ("createReport", "getReport", "exportReport")
INSTANTS = {"created_at", "closed_at", "expires_at", "effective_at", "recorded_at"}

_INNER = re.compile(r"\b(acc|txn|usr)_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
_OUTER = re.compile(r"\b([0-9a-f]{12}(?:_[0-9a-f]{4}){3}_[0-9a-f]{8})-(ACC|TXN|USR)\b")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def outward(text: str) -> str:
    """Write the reference's ids in this deployment's form, of the same length."""
    return _INNER.sub(lambda m: f"{m[2][::-1].replace('-', '_')}-{m[1].upper()}", text)


def inward(text: str) -> str:
    """Write this deployment's ids in the reference's form."""
    return _OUTER.sub(lambda m: f"{m[2].lower()}_{m[1][::-1].replace('_', '-')}", text)


def small_pages(query: str) -> str:
    """Ask the reference for fewer rows than the client allows: a limit is a maximum."""
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if "limit" not in names and "cursor" not in names:
        pairs.append(("limit", str(PAGE_ROWS_MAX)))
    changed = [
        (name, str(min(int(value), PAGE_ROWS_MAX)))
        if name == "limit"
        and re.fullmatch(r"[0-9]{1,3}", value)
        and 1 <= int(value) <= LIMITS["PAGE_MAX"]
        else (name, value)
        for name, value in pairs
    ]
    return urlencode(changed)


def decorate(value: Any) -> Any:
    """Show instants with an offset and objects with one member more."""
    if isinstance(value, list):
        return [decorate(item) for item in value]
    if not isinstance(value, dict):
        return value
    shown = {
        name: _shift(member) if name in INSTANTS else _inside(name, member)
        for name, member in value.items()
    }
    return {**shown, "x_region": "other"} if "id" in value else shown


def _inside(name: str, member: Any) -> Any:
    return member if name == "metadata" else decorate(member)


def _shift(instant: Any) -> Any:
    if not isinstance(instant, str):
        return instant
    return datetime.fromisoformat(instant).astimezone(ZONE).isoformat(timespec="microseconds")


def declared(document: Any) -> Any:
    """Return the capability document of what is left."""
    deviations = [{"operationId": name, "reason": "not offered"} for name in REPORTS]
    modules = [
        {**row, "level": "partial", "deviations": deviations} if row["id"] == "analytics" else row
        for row in document["modules"]
        if row["id"] not in {"operations", "integration"}
    ]
    kept = {k: v for k, v in document.items() if k not in {"audit", "observability", "events"}}
    return {**kept, "modules": modules}


class OtherChoices:
    """The WSGI application around the reference's; a variant writes other ids and documents."""

    outward = staticmethod(outward)
    inward = staticmethod(inward)
    declared = staticmethod(declared)
    lacks: Collection[str] = REPORTS
    """Operations that are not there, besides those of whole modules."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        """Wrap an application."""
        self._inner = inner
        self._writes = threading.BoundedSemaphore(WRITES_MAX)
        self._hidden = hidden(self.lacks)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, late, or refuse a write for now."""
        if environ["REQUEST_METHOD"] == "GET":
            return self._answer(environ, start_response)
        if not self._writes.acquire(blocking=False):
            return self._shed(environ, start_response)
        try:
            return self._answer(environ, start_response)
        finally:
            self._writes.release()

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        time.sleep(random.uniform(0, DELAY_S_MAX))  # noqa: S311  not a secret
        environ["PATH_INFO"] = self.inward(environ["PATH_INFO"])
        if self._hidden.fullmatch(environ["PATH_INFO"]):
            environ["PATH_INFO"] = "/v1/not-here"
        environ["QUERY_STRING"] = self.inward(environ.get("QUERY_STRING", ""))
        if environ["REQUEST_METHOD"] == "GET" and is_list(environ["PATH_INFO"]):
            environ["QUERY_STRING"] = small_pages(environ["QUERY_STRING"])
        self._translate_body(environ)
        told: list[Any] = []
        parts = self._inner(environ, lambda *head, **_: told.extend(head))
        try:
            content = b"".join(parts)
        finally:
            getattr(parts, "close", lambda: None)()
        status, headers = told[0], dict(told[1])
        content = self._rewrite(content, headers.get("Content-Type", ""))
        if "Location" in headers:
            base = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}"
            headers["Location"] = base + self.outward(headers["Location"])
        if "Content-Length" in headers:
            headers["Content-Length"] = str(len(content))
        start_response(status, list(headers.items()))
        return [content]

    def _translate_body(self, environ: Environ) -> None:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if 0 < length <= LIMITS["BODY_BYTES_MAX"]:
            raw = environ["wsgi.input"].read(length)
            # latin-1 keeps every byte, and ids are ASCII.
            content = self.inward(raw.decode("latin-1")).encode("latin-1")
            environ["wsgi.input"] = io.BytesIO(content)
            environ["CONTENT_LENGTH"] = str(len(content))

    def _rewrite(self, content: bytes, media_type: str) -> bytes:
        """Translate a JSON body and indent it."""
        if not content or "json" not in media_type:
            return content
        document = decorate(json.loads(self.outward(content.decode())))
        if "contract_version" in document:
            document = self.declared(document)
        return json.dumps(document, ensure_ascii=False, indent=1).encode()

    def _shed(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length <= BODY_READ_MAX:
            environ["wsgi.input"].read(length)
        problem = {
            "type": "urn:alluse:problem:busy",
            "title": "Come back later",
            "status": 503,
            "detail": "This deployment takes few writes at a time.",
            "code": "busy",
            "retryable": True,
        }
        content = json.dumps(problem).encode()
        headers = [
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(content))),
            ("Retry-After", "1"),
            ("X-Request-Id", environ.get("HTTP_X_REQUEST_ID", "shed")),
        ]
        start_response("503 Service Unavailable", headers)
        return [content]


def hidden(lacks: Collection[str]) -> re.Pattern[str]:
    """Return what the paths of operations look like that this deployment does not have."""
    operations = load_contract().operations.values()
    paths = {
        each.path
        for each in operations
        if each.id in lacks or each.module in {"operations", "integration"}
    }
    shown = {each.path for each in operations} - paths
    assert not paths & shown
    return re.compile("|".join(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) for path in paths))


def is_list(path: str) -> bool:
    """Tell whether a path is one of the collections."""
    return path.endswith("/entries") or path in {"/v1/accounts", "/v1/transactions", "/v1/users"}


def choose() -> None:
    """Set what the reference would declare otherwise, before its other modules are imported."""
    config: Any = importlib.import_module("reference_impl.config")
    config.CURRENCIES = CURRENCIES
    for name, value in LIMITS.items():
        setattr(config, name, value)
    idempotency: Any = importlib.import_module("reference_impl.idempotency")
    idempotency.is_stored = lambda _problem: False
    capability: Any = importlib.import_module("reference_impl.capability")
    capability.STORED_STATUSES = (200, 201)


def application() -> OtherChoices:
    """Build the application in a worker."""
    choose()
    app: Any = importlib.import_module("reference_impl.app")
    return OtherChoices(app.create_app())


def command(factory: str) -> None:
    """Run the reference's command with the application that a factory makes."""
    serving: Any = importlib.import_module("reference_impl.serving")
    reference: Any = importlib.import_module("reference_impl.__main__")
    serving.serve = functools.partial(serving.serve, factory=factory)
    reference.main(sys.argv[1:])


def main() -> None:
    """Run the reference's command with this application."""
    choose()
    command(FACTORY)


if __name__ == "__main__":
    main()
