"""Every fault of the vocabulary, as a raw client meets it, and what the journal says of it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from certification.counterparties.faults import PARAMETERS, FaultKind
from certification.counterparties.journal import Entry
from certification.counterparties.outbound import load_outbound
from certification.counterparties.parties import (
    Counterparties,
    SimulatedParty,
    every,
    first,
    ramp,
    window,
)
from certification.errors import UsageError
from tests.counterparties.raw_client import Raw


def last(party: SimulatedParty) -> Entry:
    entry = party.journal()[-1]
    assert entry.direction == "in"
    return entry


def wait_for(predicate: Callable[[], Any], deadline_s: float = 5.0) -> Any:
    end = time.monotonic() + deadline_s
    while not (found := predicate()) and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert found
    return found


def test_refuse_closes_the_port_and_cuts_what_is_open(market: Raw) -> None:
    with market.connect() as before:
        before.sendall(market.request("GET", "/v1/health"))
        assert before.recv(65536).startswith(b"HTTP/1.1 200")
        with market.party.fault(FaultKind.REFUSE):
            with pytest.raises(ConnectionRefusedError):
                market.connect()
            with pytest.raises(ConnectionResetError):
                before.recv(1)
    assert market.health().status == 200


def test_refuse_keeps_the_port_for_its_return(parties: Counterparties, market: Raw) -> None:
    url = parties.market.url
    for _ in range(3):
        with market.party.fault(FaultKind.REFUSE), pytest.raises(ConnectionRefusedError):
            market.connect()
        assert market.health().status == 200
    assert parties.market.url == url


def test_hang_never_answers_and_the_journal_knows_when_the_caller_gave_up(market: Raw) -> None:
    with market.party.fault(FaultKind.HANG), market.connect() as held:
        held.settimeout(0.3)
        held.sendall(market.request("GET", "/v1/health"))
        with pytest.raises(TimeoutError):
            held.recv(1)
        assert last(market.party).end == "open"
        assert last(market.party).fault == "hang"
        held.close()
        entry = wait_for(lambda: last(market.party).done_s and last(market.party))
    assert entry.end == "caller_gone"
    assert entry.status is None
    assert 0.25 < entry.done_s - entry.arrived_s < 5


def test_a_hanging_connection_is_cut_when_the_fault_ends(market: Raw) -> None:
    armed = market.party.fault(FaultKind.HANG)
    with market.connect() as held:
        held.sendall(market.request("GET", "/v1/health"))
        wait_for(market.party.journal)
        armed.clear()
        with pytest.raises(ConnectionResetError):
            held.recv(1)
    assert last(market.party).end == "cut"


def test_reset_after_the_request_is_a_rst(market: Raw) -> None:
    with market.party.fault(FaultKind.RESET), market.connect() as held:
        held.sendall(market.request("GET", "/v1/health"))
        with pytest.raises(ConnectionResetError):
            held.recv(1)
    assert last(market.party).status is None


def test_reset_in_the_middle_of_an_answer(market: Raw) -> None:
    seen = b""
    with market.party.fault(FaultKind.RESET, at="response"), market.connect() as held:
        held.sendall(market.request("GET", "/v1/health"))
        with contextlib.suppress(ConnectionResetError):
            while piece := held.recv(1):
                seen += piece
            pytest.fail("the connection ended without a RST")
    # Linux may drop what was not read yet when a RST comes; what was read is of a right answer.
    assert b"HTTP/1.1 200 OK\r\n".startswith(seen[:17])
    assert b'{"status":"pass"}' not in seen


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 502, 503, 504])
def test_status_is_a_problem_document(market: Raw, status: int) -> None:
    with market.party.fault(FaultKind.STATUS, status=status):
        answer = market.health()
    assert answer.status == answer.json["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) is (status == 503)
    schemas = load_outbound(market.party.party)
    assert not schemas.violations("openapi.yaml#/components/schemas/Problem", answer.json)


def test_rate_limit_says_when_to_come_back(market: Raw) -> None:
    with market.party.fault(FaultKind.RATE_LIMIT, retry_after_s=7):
        answer = market.health()
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert answer.json["code"] == "rate_limited"


def test_slow_answers_right_but_late(market: Raw) -> None:
    with market.party.fault(FaultKind.SLOW, delay_s=0.3):
        answer = market.health()
    assert answer.status == 200
    assert answer.first_byte_s >= 0.3


def test_dribble_comes_bit_by_bit(market: Raw) -> None:
    with (
        market.party.fault(FaultKind.DRIBBLE, bytes_per_s=200),
        market.connect() as held,
    ):
        held.sendall(market.request("GET", "/v1/health"))
        pieces = [held.recv(65536) for _ in range(3)]
        assert all(0 < len(piece) <= 30 for piece in pieces)


def test_truncated_ends_before_its_length(market: Raw) -> None:
    with market.party.fault(FaultKind.TRUNCATED, share=0.5):
        answer = market.health()
    assert answer.status == 200
    assert not answer.whole
    assert 0 < len(answer.body) < int(answer.headers["content-length"])


@pytest.mark.parametrize(
    ("form", "shows"),
    [
        ("status_line", b"HTTP/9.9"),
        ("header", b"\r\nthis is no header\r\n"),
        ("chunk", b"\r\nzz\r\n"),
        ("noise", bytes([13, 210])),
    ],
)
def test_malformed_is_not_http(market: Raw, form: str, shows: bytes) -> None:
    with market.party.fault(FaultKind.MALFORMED, form=form):
        assert shows in market.raw(market.request("GET", "/v1/health"))


def test_malformed_json_has_the_right_length_and_is_no_json(market: Raw) -> None:
    with market.party.fault(FaultKind.MALFORMED):
        answer = market.health()
    assert answer.whole
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


def test_huge_is_streamed(market: Raw) -> None:
    size = 30_000_000
    read = 0
    with market.party.fault(FaultKind.HUGE, bytes=size), market.connect() as held:
        held.sendall(market.request("GET", "/v1/health"))
        while piece := held.recv(1 << 20):
            read += len(piece)
    assert size < read < size + 1000
    assert PARAMETERS[FaultKind.HUGE]["bytes"].default == 100_000_000


def test_wrong_schema_is_json_that_the_contract_refuses(market: Raw) -> None:
    outbound = load_outbound(market.party.party)
    with market.party.fault(FaultKind.WRONG_SCHEMA):
        placed = market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key())
        quote = market.call("GET", "/v1/quotes/SPY")
    for answer, operation in ((placed, "placeOrder"), (quote, "getQuote")):
        reference = outbound.operations[operation].answers[answer.status]
        assert outbound.violations(reference, answer.json)
    found = market.call("GET", "/v1/orders?client_order_id=o1")
    reference = outbound.operations["findOrders"].answers[200]
    assert not outbound.violations(reference, found.json)
    assert len(found.json["data"]) == 1


def test_stale_shows_what_was_read_first(market: Raw) -> None:
    placed = market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key()).json
    path = f"/v1/orders/{placed['order_id']}"
    assert market.call("GET", path).json["status"] == "open"
    market.call("DELETE", path, key=market.fresh_key())
    with market.party.fault(FaultKind.STALE):
        assert market.call("GET", path).json["status"] == "open"
    assert market.call("GET", path).json["status"] == "cancelled"


def test_a_stale_quote_is_old_and_its_sequence_low(market: Raw) -> None:
    fresh = [market.call("GET", "/v1/quotes/SPY").json for _ in range(3)][-1]
    with market.party.fault(FaultKind.STALE, age_s=600):
        stale = market.call("GET", "/v1/quotes/SPY").json
    assert stale["sequence"] < fresh["sequence"]
    assert stale["as_of"] < fresh["as_of"]


# -- when ------------------------------------------------------------------------------------


def statuses(market: Raw, count: int) -> list[int]:
    return [market.health().status for _ in range(count)]


def test_first_n_requests(market: Raw) -> None:
    with market.party.fault(FaultKind.STATUS, status=500, when=first(2)):
        assert statuses(market, 4) == [500, 500, 200, 200]


def test_first_n_attempts_of_each_key(market: Raw) -> None:
    keys = [market.fresh_key(), market.fresh_key()]
    with market.party.fault(FaultKind.STATUS, when=first(1, per_key=True)):
        seen = [
            market.call("POST", "/v1/orders", market.order(f"o{key[-1]}"), key=key).status
            for key in (*keys, *keys)
        ]
    assert seen == [503, 503, 201, 201]


def test_every_nth_request(market: Raw) -> None:
    with market.party.fault(FaultKind.STATUS, status=502, when=every(3)):
        assert statuses(market, 6) == [200, 200, 502, 200, 200, 502]


def test_an_outage_begins_and_ends_by_itself(market: Raw) -> None:
    with market.party.fault(FaultKind.STATUS, when=window(after_s=0.2, for_s=0.3)):
        assert market.health().status == 200
        wait_for(lambda: market.health().status == 503)
        wait_for(lambda: market.health().status == 200)


def test_an_outage_of_the_port_opens_it_again(market: Raw) -> None:
    with market.party.fault(FaultKind.REFUSE, when=window(for_s=0.3)):
        with pytest.raises(ConnectionRefusedError):
            market.connect()

        def back() -> bool:
            with contextlib.suppress(ConnectionRefusedError):
                return market.health().status == 200
            return False

        wait_for(back)


def test_a_ramp_goes_from_none_to_all(market: Raw) -> None:
    with market.party.fault(FaultKind.STATUS, when=ramp(over_s=0.3)):
        assert market.health().status == 200
        threading.Event().wait(0.4)
        assert statuses(market, 5) == [503] * 5


def test_a_fault_applies_to_its_operations_only(market: Raw) -> None:
    with market.party.fault(FaultKind.STATUS, operations=("getQuote",)):
        assert market.health().status == 200
        assert market.call("GET", "/v1/quotes/SPY").status == 503


def test_a_lease_ends_a_fault_that_nobody_clears(market: Raw) -> None:
    market.party.fault(FaultKind.STATUS, lease_s=0.3)
    market.party.fault(FaultKind.REFUSE, lease_s=0.2)
    with pytest.raises(ConnectionRefusedError):
        market.connect()
    wait_for(lambda: not market.party.faults())
    assert market.health().status == 200


def test_an_effect_may_happen_although_its_answer_is_lost(market: Raw) -> None:
    key = market.fresh_key()
    body = market.order("o1")
    with (
        market.party.fault(FaultKind.RESET, effect=True, when=first(1)),
        contextlib.suppress(ConnectionResetError),
    ):
        market.call("POST", "/v1/orders", body, key=key)
    again = market.call("POST", "/v1/orders", body, key=key)
    assert again.status == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert len(market.party.state()["orders"]) == 1
    (attempts,) = market.party.attempts()
    assert attempts.effects == 1
    assert attempts.faults == ("reset", None)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "status", "status": 200}, "status"),
        ({"kind": "status", "state": 500}, "state"),
        ({"kind": "slow", "delay_s": True}, "delay_s"),
        ({"kind": "hang", "lease_s": 0}, "lease_s"),
        ({"kind": "hang", "lease_s": 1e9}, "lease_s"),
        ({"kind": "hang", "operations": ["fly"]}, "operations"),
        ({"kind": "hang", "when": {"kind": "first", "n": 0}}, "when.n"),
        ({"kind": "hang", "when": "always"}, "when"),
        ({"kind": "refuse", "when": {"kind": "first", "n": 1}}, "when.kind"),
        ({"kind": "duplicated", "operations": ["getQuote"]}, "operations"),
        ([], "fault"),
    ],
)
def test_a_fault_that_cannot_be_played_is_refused_by_name(
    market: Raw, given: object, named: str
) -> None:
    with pytest.raises(UsageError, match=rf"^{named}:"):
        market.party.call("POST", "faults", given)


def test_only_the_market_sends_callbacks(parties: Counterparties) -> None:
    with pytest.raises(UsageError, match="callbacks"):
        parties.reporting.fault(FaultKind.DUPLICATED)


def test_faults_of_one_counterparty_leave_the_others_alone(parties: Counterparties) -> None:
    with parties.market.fault(FaultKind.REFUSE):
        assert Raw(parties.reporting).health().status == 200


def test_sockets_of_a_finished_fault_are_closed(market: Raw) -> None:
    with market.party.fault(FaultKind.TRUNCATED), market.connect() as held:
        held.sendall(market.request("GET", "/v1/health"))
        held.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while held.recv(65536):
                pass
        assert held.family is socket.AF_INET


def test_what_was_not_found_at_first_is_not_shown_as_stale(market: Raw) -> None:
    before = market.call("POST", "/v1/orders", market.order("o0"), key=market.fresh_key())
    following = before.json["order_id"].removesuffix("-1") + "-2"
    path = f"/v1/orders/{following}"
    assert market.call("GET", path).status == 404
    market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key())
    with market.party.fault(FaultKind.STALE):
        assert market.call("GET", path).json["order_id"] == following


def test_ids_are_not_given_again_after_a_reset(market: Raw, parties: Counterparties) -> None:
    first = market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key())
    parties.reset()
    again = market.call("POST", "/v1/orders", market.order("o1"), key=market.fresh_key())
    assert first.json["order_id"] != again.json["order_id"]
