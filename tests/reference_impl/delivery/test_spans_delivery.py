"""Spans of webhooks: each delivery that is tried, below the request that caused its event."""

import secrets
from pathlib import Path

from tests.reference_impl._collector import CLIENT, SERVER, collecting
from tests.reference_impl.conftest import ADMIN_PASSWORD, init_database, log_in, start_server

from ._receiver import Receiver
from .conftest import QUICK


def test_each_attempt_of_a_webhook_is_a_span(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda _event, attempt: 204 if attempt > 1 else 500
    trace_id = secrets.token_hex(16)
    with collecting() as held:
        database = init_database(tmp_path / "book.db")
        running = start_server(database, *QUICK, "--otlp-endpoint", held.url)
        try:
            boss = log_in(running.port, "admin", ADMIN_PASSWORD)
            types = ["alluse.account.opened"]
            hook = boss.post("/v1/webhooks", {"url": receiver.url, "event_types": types}).body
            body = {"type": "generation", "currency": "USD", "name": "Weekly income"}
            caller = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
            assert boss.post("/v1/accounts", body, headers=caller).status == 201
            assert receiver.wait(lambda found: len(found.taken()) == 1)
            assert held.wait(lambda found: len(found.of(trace_id)) >= 3), held.of(trace_id)
        finally:
            assert running.stop() == 0
        (request,) = (span for span in held.of(trace_id) if span.kind == SERVER)
        tried = [span for span in held.of(trace_id) if span.kind == CLIENT]
        assert {span.parent_id for span in tried} == {request.span_id}
        assert {span.attributes["alluse.webhook_id"] for span in tried} == {hook["id"]}
        ids = {f"00-{trace_id}-{span.span_id}-01" for span in tried}
        assert ids == {got.headers["traceparent"] for got in receiver.got}
        first, second = sorted(tried, key=lambda span: span.began_ns)
        assert (first.failed, second.failed) == (True, False)
        assert first.attributes["error.type"] == "500"
        assert second.attributes["http.response.status_code"] == 204
        assert second.attributes["http.request.resend_count"] == 1
        assert str(receiver.port).encode() not in b"".join(held.bodies)
