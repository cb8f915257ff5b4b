"""Spans of calls to outside systems: below the request, one for each attempt, however it ended."""

import contextlib
import secrets
from collections.abc import Iterator

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.hosting import Host
from certification.counterparties.parties import Counterparties, first
from tests.reference_impl._collector import CLIENT, SERVER, Collector, Seen
from tests.reference_impl.conftest import ADMIN_PASSWORD, init_database, log_in, start_server

from .conftest import TIMING, Place, a_user, told

CALLER = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def watched(
    collector: Collector, outside: tuple[Host, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    host, token = outside
    database = init_database(tmp_path_factory.mktemp("spans") / "book.db")
    with told(host, token):
        server = start_server(database, *TIMING, "--otlp-endpoint", collector.url)
    with contextlib.closing(Counterparties.attach(host.control_url, token)) as parties:
        admin = log_in(server.port, "admin", ADMIN_PASSWORD)
        operator, customer = (a_user(server, admin, role) for role in ("operator", "customer"))
        yield Place(server, parties, admin, operator, customer)
        for party in parties:
            party.clear()
    assert server.stop() == 0


def spans(collector: Collector, trace_id: str, number: int) -> tuple[Seen, list[Seen]]:
    """Return the span of the request, and those of its calls in the order of their beginning."""
    assert collector.wait(lambda held: len(held.of(trace_id)) >= number), collector.of(trace_id)
    found = sorted(collector.of(trace_id), key=lambda span: span.began_ns)
    (request,) = (span for span in found if span.kind == SERVER)
    calls = [span for span in found if span.kind == CLIENT]
    assert len(found) == number == len(calls) + 1
    assert request.parent_id == CALLER
    assert {call.parent_id for call in calls} == {request.span_id}
    return request, calls


def test_a_call_is_a_span_below_its_request(collector: Collector, watched: Place) -> None:
    mark, trace_id = watched.parties.market.mark(), secrets.token_hex(16)
    sent = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
    assert watched.operator.post("/v1/integrations/market/probe", {}, headers=sent).status == 200
    request, (call,) = spans(collector, trace_id, 2)
    assert request.attributes["http.route"] == "/v1/integrations/{name}/probe"
    assert call.name == "GET getHealth"
    assert call.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "service.peer.name": "market",
        "alluse.outcome": "ok",
    }
    assert not call.failed
    (entry,) = watched.parties.market.journal(since=mark, operation="getHealth")
    assert entry.traceparent == f"00-{trace_id}-{call.span_id}-01"


def test_each_attempt_is_a_span(collector: Collector, watched: Place) -> None:
    account, trace_id = watched.customer.funded(10_000), secrets.token_hex(16)
    engine = watched.parties.strategy_engine
    mark = engine.mark()
    body = {"name": "premium", "parameters": {"contracts": 2, "premium": 15_000}}
    headers = {"If-Match": '"0"', "traceparent": f"00-{trace_id}-{CALLER}-01"}
    with engine.fault(FaultKind.RESET, at="response", effect=True, when=first(1, per_key=True)):
        path = f"/v1/accounts/{account['id']}/strategy"
        assert watched.customer.send("PUT", path, body, headers=headers).status == 200
    sent = [str(entry.traceparent) for entry in engine.journal(since=mark)]
    _, calls = spans(collector, trace_id, len(sent) + 1)
    assert {f"00-{trace_id}-{call.span_id}-01" for call in calls} == set(sent)
    (lost,) = [call for call in calls if call.failed]
    assert lost.attributes["alluse.outcome"] == lost.attributes["error.type"] == "lost"
    assert "http.response.status_code" not in lost.attributes
    (again,) = [call for call in calls if "http.request.resend_count" in call.attributes]
    assert again.attributes["http.request.resend_count"] == 1
    assert again.name == lost.name
    assert str(account["id"]).encode() not in b"".join(collector.bodies)


def test_calls_of_what_is_not_sampled_are_not_exported(
    collector: Collector, watched: Place
) -> None:
    unsampled, sampled = secrets.token_hex(16), secrets.token_hex(16)
    for trace_id, flags in ((unsampled, "00"), (sampled, "01")):
        sent = {"traceparent": f"00-{trace_id}-{CALLER}-{flags}"}
        watched.operator.post("/v1/integrations/market/probe", {}, headers=sent)
    spans(collector, sampled, 2)
    assert collector.of(unsampled) == []
