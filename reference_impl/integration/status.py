"""Resources under /v1/integrations, and what health and the capability document say of them."""

import time
from collections.abc import Mapping
from typing import Any, Literal

import flask
import msgspec
from flask import g

from reference_impl import clock, idempotency, listing, metrics, requests, web
from reference_impl.access import Rank, not_found

from . import breakers
from .outbound import Call, CallFailedError, Reason
from .registry import LATENCY_BUDGET_MS, Point

blueprint = flask.Blueprint("integrations", __name__)

MEANINGS = {
    "breakers": "integration_breaker_state",
    "outside_calls": "integration_call_duration_seconds",
    "outside_calls_active": "integration_calls_active",
    "outside_retries": "integration_retries_total",
    "outside_rejections": "integration_rejected_total",
    "breaker_changes": "integration_breaker_changes_total",
}
"""Of metrics, where a system is configured."""
_REJECTIONS = frozenset({Reason.OPEN.value, Reason.FULL.value})


class Probe(requests.Body):
    """POST /v1/integrations/{name}/probe."""


class _Health(msgspec.Struct):
    status: Literal["pass"]


@blueprint.get("/v1/integrations")
def list_integrations() -> flask.Response:
    """Return every outside system with its breaker."""
    caller = web.caller(Rank.OPERATOR, auditor=True)
    asked = listing.page("listIntegrations", caller.user_id, ("seq",), {})
    shared = web.services()
    numbered = list(enumerate(shared.outbound.registry, 1))
    if asked.descending:
        numbered.reverse()
    if asked.after is not None:
        last = int(asked.after[0])
        numbered = [
            row for row in numbered if (row[0] < last if asked.descending else row[0] > last)
        ]
    rows = numbered[: asked.limit + 1]
    counts = counted(shared)
    return web.respond_json(
        listing.answer(asked, rows, lambda row: [row[0]], lambda row: view(shared, row[1], counts))
    )


def view(
    shared: web.Services, point: Point, counts: Mapping[str, dict[str, int]] | None
) -> dict[str, Any]:
    """Return a system as operators see it."""
    row = breakers.load(shared.readers.get(), point.name)
    standing, now_ms = row.standing, shared.clock.now_ms()
    state = breakers.judge(standing, point.rules, now_ms)
    until_ms = standing.since_ms + point.timing.open_s * 1000
    since_ms = standing.since_ms or None
    if standing.state is breakers.State.OPEN and state is breakers.State.HALF_OPEN:
        since_ms = min(until_ms, now_ms)
    zero = {"made": 0, "failed": 0, "rejected": 0}
    return {
        "name": point.name,
        "kind": "external",
        "configured": point.configured,
        "critical": point.kind.critical,
        "breaker": state.value,
        "breaker_since": clock.maybe(since_ms),
        "retry_at": clock.text(until_ms) if state is breakers.State.OPEN else None,
        "last_success_at": clock.maybe(row.last_success_ms),
        "last_failure_at": clock.maybe(row.last_failure_ms),
        "last_error": row.last_error or None,
        "calls": None if counts is None else counts.get(point.name, zero),
        "fallback": point.kind.fallback,
    }


def counted(shared: web.Services) -> dict[str, dict[str, int]] | None:
    """Return the calls of all workers by system; None where nothing is counted."""
    if not shared.settings.metrics:
        return None
    found: dict[str, dict[str, int]] = {}
    for series in shared.metrics.store.everything():
        if series.family not in {metrics.CALLS.name, metrics.REJECTED.name}:
            continue
        system, outcome = series.labels
        row = found.setdefault(system, {"made": 0, "failed": 0, "rejected": 0})
        if series.family == metrics.CALLS.name:
            number = int(sum(series.values[:-1]))  # the last value is the sum of seconds
            row["made"] += number
            row["failed"] += number if outcome != "ok" else 0
        elif outcome in _REJECTIONS:
            row["rejected"] += int(series.values[0])
    return found


@blueprint.post("/v1/integrations/<name>/probe")
def probe(name: str) -> flask.Response:
    """Call the health operation of a system once."""
    caller = web.caller(Rank.OPERATOR)
    web.body(Probe)
    shared = web.services()
    point = shared.outbound.registry.get(name)
    if point is None:
        raise not_found(f"integration {name}")
    stored = web.recalled(caller, "probeIntegration")
    if stored is not None:
        return web.respond(stored)
    began, reason = time.monotonic(), None
    call = Call(
        operation="getHealth",
        method="GET",
        target="/v1/health",
        needs=_Health,
        traceparent=g.trace.parent,
    )
    try:
        answer = shared.outbound.call(point.name, call, once=True)
        if answer.status != 200:
            reason = f"answered {answer.status}"
    except CallFailedError as failed:
        if failed.reason in {Reason.OPEN, Reason.FULL, Reason.NOT_CONFIGURED}:
            raise failed.problem() from failed
        reason = failed.reason.value
    took_ms = round((time.monotonic() - began) * 1000)

    def change(tx: web.Tx) -> idempotency.Reply:
        standing = breakers.load(tx.connection, point.name).standing
        document = {
            "name": point.name,
            "reachable": reason is None,
            "latency_ms": took_ms,
            "breaker": breakers.judge(standing, point.rules, tx.now_ms).value,
            "reason": reason,
        }
        return web.json_reply(200, document, target=point.name)

    return web.write(caller, "probeIntegration", change)


def declared(shared: web.Services) -> list[dict[str, Any]]:
    """Return what the capability document says of the systems that are configured."""
    return [
        {
            "name": point.name,
            "kind": "external",
            "critical": point.kind.critical,
            "timeout_ms": point.timing.timeout_ms,
            "retries_max": point.timing.retries_max,
            "latency_budget_ms": LATENCY_BUDGET_MS,
            "fallback": point.kind.fallback,
            "breaker": {
                "failure_threshold": point.rules.failure_threshold,
                "window_s": point.rules.window_s,
                "slow_ms": point.rules.slow_ms,
                "open_s": point.rules.open_s,
                "half_open_max": point.rules.half_open_max,
            },
        }
        for point in shared.outbound.registry
        if point.configured
    ]


def health(point: Point, shared: web.Services) -> dict[str, Any]:
    """Return the finding about one system: without it degraded; not ready if it is critical."""
    row = breakers.load(shared.readers.get(), point.name)
    state = breakers.judge(row.standing, point.rules, shared.clock.now_ms())
    if state is breakers.State.CLOSED:
        return {"status": "pass", "observedValue": 0}
    status, number = "fail" if point.kind.critical else "warn", breakers.STATE_NUMBERS[state]
    return {"status": status, "observedValue": number, "output": f"{state.value}; {row.last_error}"}


def check_name(point: Point) -> str:
    """Return the key of that finding."""
    return f"{point.name}:breaker"
