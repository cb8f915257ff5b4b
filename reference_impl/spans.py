"""Spans: what is told of a request and of each call that it makes, where a collector is named.

Off unless the operator sets `otlp_endpoint`. Then every worker exports its own spans in the
background (`spans_otlp`); a request hands one over when it is answered and never waits. Without it
nothing of OpenTelemetry is imported.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from . import metrics
from .config import Settings, StartRefusedError
from .tracing import Trace

EXTRA = "alluse-certification[otel]"
TRACES_PATH = "v1/traces"
"""Of traces, below the endpoint of a collector (specification of OTLP exporters)."""
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""Variables with headers for the collector, which may be secrets; the exporter reads them."""
DISABLED = "OTEL_SDK_DISABLED"
_FORMS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "HEADERS": (re.compile(r"(\s*[^=,\s]+\s*=[^,]*(,|$))+").fullmatch, "give name=value,..."),
    "TIMEOUT": (re.compile(r"(?=.*[1-9])[0-9]{1,6}(\.[0-9]+)?").fullmatch, "give seconds"),
    "COMPRESSION": (("none", "gzip", "deflate").__contains__, "choose none, gzip, deflate"),
    "CERTIFICATE": (os.path.isfile, "name a PEM file that is there"),
    "CLIENT_CERTIFICATE": (os.path.isfile, "name a PEM file that is there"),
    "CLIENT_KEY": (os.path.isfile, "name a PEM file that is there"),
}
_READ = {
    f"OTEL_EXPORTER_OTLP_{of}{name}": form
    for name, form in _FORMS.items()
    for of in ("", "TRACES_")
}
"""What the exporter reads by itself; it would pass over what it does not understand."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_FIX = "give a URL such as http://127.0.0.1:4318"

Times = tuple[int, int]
"""Beginning and end, in nanoseconds since 1970."""


def just_ended(took_s: float) -> Times:
    """Return the times of what took so long and ended at this moment."""
    ended_ns = time.time_ns()
    return ended_ns - int(took_s * 1e9), ended_ns


class Kind(StrEnum):
    """Which side of an exchange this server was."""

    SERVER = "server"
    CLIENT = "client"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work of a trace, when it is over."""

    trace: Trace
    """Names the span, and the one that it is part of."""
    kind: Kind
    name: str
    times: Times
    attributes: Mapping[str, str | int]
    """By the semantic conventions of OpenTelemetry; no path, query, header, body or address."""
    failed: bool


class Spans(Protocol):
    """Where spans go."""

    def put(self, span: Span) -> None:
        """Take a span without waiting; one that is not sampled goes no further."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to have something done by another system."""

    system: str
    method: str
    operation: str
    number: int
    """1, 2, ..."""
    outcome: str
    """In one word: ok, or why nothing usable came."""
    status: int | None
    """Of the answer, if one came."""


def called(
    trace: Trace, attempt: Attempt, times: Times, more: Mapping[str, str] | None = None
) -> Span:
    """Return the span of an attempt; an answer of 4xx or 5xx is an error of its client."""
    attributes: dict[str, str | int] = {
        "http.request.method": attempt.method,
        "service.peer.name": attempt.system,
        "alluse.outcome": attempt.outcome,
        **(more or {}),
    }
    refused = attempt.status is not None and attempt.status >= 400
    failed = refused or attempt.outcome != "ok"
    if attempt.number > 1:
        attributes["http.request.resend_count"] = attempt.number - 1
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    if failed:
        attributes["error.type"] = str(attempt.status) if refused else attempt.outcome
    return Span(
        trace=trace,
        kind=Kind.CLIENT,
        name=f"{attempt.method} {attempt.operation}",
        times=times,
        attributes=attributes,
        failed=failed,
    )


def traces_url(endpoint: str) -> str:
    """Return where spans are sent: below the endpoint, whatever path that has."""
    return f"{endpoint.rstrip('/')}/{TRACES_PATH}"


def wrong(endpoint: str) -> str | None:
    """Return what is wrong with an endpoint and the way out, None if it may stand."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:  # its text shows what stands there
        return f"is not a URL that can be read; {_FIX}"
    if not endpoint:
        return None
    if parts.username is not None or parts.password is not None:
        return f"has a user or password; put secrets into headers, by {HEADERS[0]}"
    refused = {
        f"is not an http or https URL with a host; {_FIX}": (
            parts.scheme not in {"http", "https"} or not parts.hostname or port == 0
        ),
        f"has a query, fragment, blank or character beyond ASCII; {_FIX}": (
            parts.query or parts.fragment or any(not "!" <= one <= "~" for one in endpoint)
        ),
        f"has the path of traces already; leave /{TRACES_PATH} out": (
            parts.path.rstrip("/").endswith(f"/{TRACES_PATH}")
        ),
    }
    return next((f"{endpoint!r} {reason}" for reason, found in refused.items() if found), None)


def check(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to start where spans could not be exported: packages, or what the exporter reads.

    Raises StartRefusedError with one line; never the value of a header.
    """
    endpoint = settings.otlp_endpoint
    if not endpoint:
        return
    parts = urlsplit(endpoint)
    clear = parts.scheme == "http" and parts.hostname not in _LOOPBACK
    for name, (fits, fix) in _READ.items():
        if not (given := environment.get(name, "").strip()):
            continue
        if not fits(given):
            raise StartRefusedError(f"{name}: the exporter cannot use it; {fix}")
        if clear and name in HEADERS:
            raise StartRefusedError(
                f"otlp_endpoint: {endpoint}: {name} would cross the network in the clear; use https"
            )
    try:
        from . import spans_otlp  # noqa: F401 - the workers, which are forked later, share it
    except ImportError as error:
        raise StartRefusedError(
            f"otlp_endpoint: {endpoint}: exporting spans needs packages that are not installed"
            f" ({error.name}); run pip install '{EXTRA}', or leave the endpoint out"
        ) from error


def start(settings: Settings, instance: str, counted: metrics.Metrics) -> Spans | None:
    """Begin to export in this worker, after its fork; None where nothing is exported."""
    if not settings.otlp_endpoint or os.environ.get(DISABLED, "").strip().lower() == "true":
        return None
    from . import spans_otlp

    metrics.begin_spans(counted)
    exported = spans_otlp.Exported(traces_url(settings.otlp_endpoint), instance, counted)
    exported.stop_at_exit()
    return exported
