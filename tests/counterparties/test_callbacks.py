"""Callbacks: signed as an independent library verifies, repeated, duplicated, reordered, forged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from certification.counterparties.callbacks import ATTEMPTS_MAX, Tamper
from certification.counterparties.faults import FaultKind
from certification.counterparties.outbound import execution_report_violations
from certification.counterparties.parties import Counterparties
from certification.errors import UsageError
from tests.counterparties.raw_client import Raw


class Deployment:
    """Takes callbacks, verifies each with the library, answers as told."""

    def __init__(self, secret: str) -> None:
        self.webhook = Webhook(secret)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        deployment = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/callbacks/market"
                deployment.got.append((dict(self.headers), body))
                self.send_response(deployment.answers.pop(0) if deployment.answers else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def verified(self, number: int = -1) -> Any:
        headers, body = self.got[number]
        return self.webhook.verify(body, headers)

    def reports(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def deployment(parties: Counterparties) -> Iterator[Deployment]:
    made = Deployment(parties.callback_secret)
    made.thread.start()
    parties.point_at(made.url)
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def wait_for(predicate: Callable[[], Any], deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while not predicate() and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert predicate()


def report(number: int, order: str = "o1") -> dict[str, Any]:
    return {
        "execution_id": f"x-{number}",
        "order_id": order,
        "kind": "market_event",
        "occurred_at": "2026-11-21T10:00:00Z",
        "sequence": number,
    }


def test_executions_of_an_order_arrive_signed_and_add_up(
    market: Raw, deployment: Deployment
) -> None:
    market.party.act("fills", mode="manual")
    market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key())
    market.party.act("fill", client_order_id="o1", quantity=4)
    market.party.act("fill", client_order_id="o1")
    wait_for(lambda: len(deployment.got) == 2)
    seen = [deployment.verified(0), deployment.verified(1)]
    assert [row["kind"] for row in seen] == ["partial_fill", "fill"]
    assert [row["quantity"] for row in seen] == [4, 6]
    assert [row["sequence"] for row in seen] == [1, 2]
    assert all(not execution_report_violations(row) for row in seen)
    headers, _ = deployment.got[0]
    assert headers["webhook-id"] == seen[0]["execution_id"]
    sent = [row for row in market.party.journal() if row.direction == "callback"]
    assert [(row.key, row.status) for row in sent] == [(r["execution_id"], 200) for r in seen]


def test_orders_are_filled_by_themselves_unless_told_otherwise(
    market: Raw, deployment: Deployment
) -> None:
    market.call("POST", "/v1/orders", market.order("o1", instrument="SPY"), key=market.fresh_key())
    wait_for(lambda: market.party.state()["orders"][0]["status"] == "filled")
    wait_for(lambda: deployment.reports() and deployment.reports()[-1]["kind"] == "fill")
    assert sum(row["quantity"] for row in deployment.reports()) == 10


def test_what_is_not_taken_is_repeated_with_the_same_id(
    market: Raw, deployment: Deployment
) -> None:
    deployment.answers = [503, 404, 200]
    market.party.act("send", report=report(1))
    wait_for(lambda: len(deployment.got) == 3)
    assert {headers["webhook-id"] for headers, _ in deployment.got} == {"x-1"}
    assert deployment.verified()["execution_id"] == "x-1"
    sent = [row.status for row in market.party.journal()]
    assert sent == [503, 404, 200]
    assert ATTEMPTS_MAX == 6


def test_a_refused_signature_is_not_repeated(market: Raw, deployment: Deployment) -> None:
    deployment.answers = [401]
    market.party.act("send", report=report(1))
    wait_for(lambda: market.party.journal() and market.party.journal()[-1].status == 401)
    threading.Event().wait(0.4)
    assert len(deployment.got) == 1


@pytest.mark.parametrize("tamper", [kind for kind in Tamper if kind is not Tamper.NONE])
def test_every_tampered_callback_is_refused_by_the_library(
    market: Raw, deployment: Deployment, tamper: Tamper
) -> None:
    market.party.act("send", report=report(1), tamper=tamper.value)
    wait_for(lambda: deployment.got)
    with pytest.raises(WebhookVerificationError):
        deployment.verified()


def test_duplicated_callbacks_are_the_same_twice(market: Raw, deployment: Deployment) -> None:
    with market.party.fault(FaultKind.DUPLICATED, times=3):
        market.party.act("send", report=report(1))
        wait_for(lambda: len(deployment.got) == 3)
    assert len({body for _, body in deployment.got}) == 1
    assert {row.fault for row in market.party.journal()} == {"duplicated"}


def test_reordered_callbacks_come_the_other_way_round(market: Raw, deployment: Deployment) -> None:
    with market.party.fault(FaultKind.REORDERED, held=3):
        for number in (1, 2, 3):
            market.party.act("send", report=report(number))
        wait_for(lambda: len(deployment.got) == 3)
    assert [row["sequence"] for row in deployment.reports()] == [3, 2, 1]


def test_what_waits_to_be_reordered_is_sent_at_last(market: Raw, deployment: Deployment) -> None:
    with market.party.fault(FaultKind.REORDERED, held=5, wait_s=0.1):
        market.party.act("send", report=report(1))
        wait_for(lambda: len(deployment.got) == 1)


def test_a_report_that_the_contract_refuses_goes_out_only_when_asked(
    market: Raw, deployment: Deployment
) -> None:
    broken = {**report(1), "kind": "explosion"}
    with pytest.raises(UsageError, match="report/kind"):
        market.party.act("send", report=broken)
    market.party.act("send", report=broken, raw=True)
    wait_for(lambda: deployment.got)
    assert deployment.verified()["kind"] == "explosion"


def test_without_a_deployment_nothing_is_sent() -> None:
    with Counterparties.start() as parties:
        parties.market.act("send", report=report(1))
        assert parties.overview()["callbacks_dropped"] == 1


def test_a_deployment_that_is_gone_is_tried_again(market: Raw, parties: Counterparties) -> None:
    parties.point_at("http://127.0.0.1:1")
    market.party.act("send", report=report(1))
    wait_for(lambda: len(market.party.journal()) >= 2)
    assert {row.end for row in market.party.journal()[:1]} == {"caller_gone"}
