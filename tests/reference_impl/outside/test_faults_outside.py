"""Every fault of the simulators: the ledger goes on, the breaker does its work, in every view."""

import time
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.parties import first
from reference_impl.integration.outbound import IN_FLIGHT_MAX

from .conftest import OPEN_S, TRIALS, Place, at_once

ENGINE = "strategy-engine"
FAILING: list[tuple[FaultKind, dict[str, Any], str]] = [
    (FaultKind.REFUSE, {}, "unreachable"),
    (FaultKind.HANG, {}, "timeout"),
    (FaultKind.RESET, {"at": "request"}, "lost"),
    (FaultKind.RESET, {"at": "response"}, "lost"),
    (FaultKind.STATUS, {"status": 500}, "server_error"),
    (FaultKind.STATUS, {"status": 503}, "server_error"),
    (FaultKind.DRIBBLE, {"bytes_per_s": 20}, "timeout"),
    (FaultKind.TRUNCATED, {}, "lost"),
    (FaultKind.MALFORMED, {"form": "json"}, "invalid"),
    (FaultKind.MALFORMED, {"form": "status_line"}, "lost"),
    (FaultKind.MALFORMED, {"form": "header"}, "lost"),
    (FaultKind.MALFORMED, {"form": "chunk"}, "lost"),
    (FaultKind.MALFORMED, {"form": "noise"}, "lost"),
    (FaultKind.HUGE, {}, "too_large"),
    (FaultKind.WRONG_SCHEMA, {}, "invalid"),
]


@pytest.mark.parametrize(("kind", "options", "reason"), FAILING)
def test_a_system_that_fails_is_called_no_more_and_the_ledger_goes_on(
    place: Place, kind: FaultKind, options: dict[str, Any], reason: str
) -> None:
    market = place.parties.reporting
    with market.fault(kind, **options):
        found = [place.probe("reporting") for _ in range(3)]
        assert [(a.status, a.body["reachable"], a.body["reason"]) for a in found] == [
            (200, False, reason)
        ] * 3
        assert place.breaker("reporting") in {"open", "half_open"}
        mark = market.mark()
        began = time.monotonic()
        answer = place.probe("reporting")
        if place.breaker("reporting") == "open":
            assert (answer.status, answer.code) == (503, "circuit_open")
            assert time.monotonic() - began < 1
            assert market.mark() == mark
        place.ledger_works()
    place.close("reporting")
    assert place.probe("reporting").body["reachable"]
    assert market.violations() == ()


def test_slowness_counts_and_a_refusal_does_not(place: Place) -> None:
    reporting = place.parties.reporting
    with reporting.fault(FaultKind.STATUS, status=422):
        assert [place.probe("reporting").body["reachable"] for _ in range(6)] == [False] * 6
        assert place.breaker("reporting") == "closed"
    with reporting.fault(FaultKind.RATE_LIMIT, retry_after_s=1):
        assert [place.probe("reporting").body["reason"] for _ in range(6)] == ["rate_limited"] * 6
        assert place.breaker("reporting") == "closed"
    with reporting.fault(FaultKind.SLOW, delay_s=0.2):
        found = [place.probe("reporting") for _ in range(4)]
        assert [answer.status for answer in found] == [200, 200, 200, 503]
        assert all(answer.body["reachable"] for answer in found[:3])


def test_opening_half_opening_and_closing_are_seen_everywhere(place: Place) -> None:
    """Two workers, many connections: metrics, the list, health and the simulator agree."""
    name, party = "notification", place.parties.notification
    opened = place.metric(f'integration_breaker_changes_total{{state="open",system="{name}"}}')
    place.operator.get("/health/ready")
    with party.fault(FaultKind.HANG, lease_s=60):
        answers = at_once(12, lambda _: new(place).post(f"/v1/integrations/{name}/probe", {}))
        assert {answer.status for answer in answers} <= {200, 503}
        row = place.rows()[name]
        assert row["breaker"] == "open"
        assert row["last_error"] == "getHealth: timeout"
        assert row["retry_at"] > row["breaker_since"]
        assert place.state_metric(name) == 2
        place.until(name, "half_open")
        assert place.state_metric(name) == 1
        mark = party.mark()
        began_s = time.monotonic()
        answers = at_once(50, lambda _: new(place).post(f"/v1/integrations/{name}/probe", {}))
        arrived = [entry for entry in party.journal(since=mark) if entry.operation == "getHealth"]
        assert 1 <= len(arrived) <= TRIALS * (1 + int((time.monotonic() - began_s) / OPEN_S))
        codes = [answer.code for answer in answers if answer.status == 503]
        assert set(codes) <= {"circuit_open", "integration_unavailable"}
        assert codes.count("circuit_open") >= 50 - 4 * TRIALS - 16
        place.until(name, "half_open")
    place.close(name)
    assert place.state_metric(name) == 0
    assert place.rows()[name]["retry_at"] is None
    after = place.metric(f'integration_breaker_changes_total{{state="open",system="{name}"}}')
    assert after >= opened + 2
    callers = {entry.caller for entry in party.journal() if entry.operation == "getHealth"}
    assert callers
    assert not party.violations()


def new(place: Place) -> Any:
    """Return the operator on a connection of its own, so that any worker may get it."""
    from tests.reference_impl.conftest import Client

    return Client(place.server.port, place.operator.token)


def test_an_open_breaker_degrades_health_and_not_readiness(place: Place) -> None:
    shown = {row["name"] for row in place.operator.get("/.well-known/alluse").body["components"]}
    assert shown >= {"market", ENGINE}
    with place.parties.reporting.fault(FaultKind.REFUSE):
        for _ in range(3):
            place.probe("reporting")
        time.sleep(1.1)  # a finding is kept for a second
        ready = place.operator.get("/health/ready")
        assert (ready.status, ready.body["status"]) == (200, "warn")
        assert ready.body["checks"]["reporting:breaker"][0]["status"] == "warn"
        assert ready.body["checks"]["market:breaker"][0]["status"] == "pass"
    place.close("reporting")


def test_every_system_is_listed_and_paged_and_only_operators_see_it(place: Place) -> None:
    first_page = place.operator.get("/v1/integrations?limit=2&sort=-seq").body
    assert [row["name"] for row in first_page["data"]] == ["reporting", "notification"]
    rest = place.operator.get(f"/v1/integrations?cursor={first_page['next_cursor']}").body
    assert [row["name"] for row in rest["data"]] == ["user-management", "market"]
    last = place.operator.get(f"/v1/integrations?cursor={rest['next_cursor']}").body
    assert ([row["name"] for row in last["data"]], last["next_cursor"]) == ([ENGINE], None)
    assert place.customer.get("/v1/integrations").status == 403
    assert place.customer.post(f"/v1/integrations/{ENGINE}/probe", {}).status == 403
    assert place.operator.post("/v1/integrations/nobody/probe", {}).status == 404
    declared = place.operator.get("/.well-known/alluse").body["integrations"]
    assert [(row["name"], row["timeout_ms"], row["breaker"]["open_s"]) for row in declared] == [
        (name, 300, 1) for name in place.rows()
    ]


def test_a_probe_with_the_same_key_is_made_once(place: Place) -> None:
    mark = place.parties.market.mark()
    key = "probe-key-0123456789"
    answers = [place.operator.post("/v1/integrations/market/probe", {}, key=key) for _ in range(3)]
    assert answers[1].raw == answers[0].raw
    assert answers[2].headers["idempotency-replayed"] == "true"
    probes = place.parties.market.journal(since=mark, operation="getHealth")
    assert len(probes) == 1
    assert probes[0].traceparent


def test_the_trace_of_the_request_goes_on(place: Place) -> None:
    mark = place.parties.market.mark()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    place.operator.post("/v1/integrations/market/probe", {}, headers=sent)
    (entry,) = place.parties.market.journal(since=mark, operation="getHealth")
    assert str(entry.traceparent).split("-")[1] == trace_id
    assert not str(entry.traceparent).endswith("00f067aa0ba902b7-01")


def test_attempts_carry_one_key_and_have_one_effect(place: Place) -> None:
    account = place.customer.funded(10_000)
    engine = place.parties.strategy_engine
    mark = engine.mark()
    with engine.fault(FaultKind.RESET, at="response", effect=True, when=first(1, per_key=True)):
        answer = place.put_strategy(account["id"], "premium", '"0"')
    assert answer.status == 200
    (attempts,) = engine.attempts(since=mark, operation="associateStrategy")
    assert (len(attempts.statuses), attempts.effects, attempts.payloads) == (2, 1, 1)


def test_a_pause_that_is_asked_for_is_kept(place: Place) -> None:
    account = place.on_a_strategy()
    engine = place.parties.strategy_engine
    mark = engine.mark()
    with engine.fault(
        FaultKind.STATUS, status=503, operations=("executeStrategy",), when=first(1, per_key=True)
    ):
        answer = place.execute(account)
        assert answer.status == 201
        assert place.ended(answer.headers["location"])["status"] == "done"
    (attempts,) = engine.attempts(since=mark, operation="executeStrategy")
    assert attempts.effects == 1
    assert all(gap_s >= 1 for gap_s in attempts.gaps_s)


def test_no_more_than_so_many_calls_are_under_way_at_a_time(place: Place) -> None:
    reporting = place.parties.reporting
    mark = reporting.mark()
    with reporting.fault(FaultKind.SLOW, delay_s=0.1):
        at_once(60, lambda _: new(place).post("/v1/integrations/reporting/probe", {}))
    entries = reporting.journal(since=mark, operation="getHealth")
    assert 2 <= max(entry.in_flight for entry in entries) <= 2 * IN_FLIGHT_MAX
    assert place.metric('integration_calls_active{system="reporting"}') == 0


def test_the_ledger_works_while_all_five_hang(place: Place) -> None:
    for party in place.parties:
        party.fault(FaultKind.HANG, lease_s=20)
    account = place.customer.funded(100)
    names = list(place.rows())
    at_once(40, lambda i: new(place).post(f"/v1/integrations/{names[i % 5]}/probe", {}))
    for _ in range(20):
        began_s = time.monotonic()
        answer = place.customer.book("deposit", 1, to_account_id=account["id"])
        assert answer.status == 201
        assert time.monotonic() - began_s < 2
    for party in place.parties:
        party.clear()


def test_every_metric_of_calls_is_there_before_the_first_one(place: Place) -> None:
    shown = place.operator.get("/.well-known/alluse").body["observability"]["metrics"]
    text = str(place.operator.get("/metrics").body)
    meanings = ("breakers", "outside_calls", "outside_retries", "outside_rejections")
    for meaning in meanings:
        for name in place.rows():
            assert any(
                row.startswith(shown[meaning]) and f'system="{name}"' in row
                for row in text.splitlines()
            ), (meaning, name)
