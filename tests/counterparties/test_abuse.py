"""Garbage, floods, half-open and slow connections: the simulators stay up and within bounds."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading

import pytest

from certification.counterparties import connections, hosting
from certification.counterparties.parties import Counterparties
from tests.counterparties.raw_client import Raw

GARBAGE = {
    "tls": bytes.fromhex("16030100a5010000a1030352"),
    "zeros": b"\x00" * 5000,
    "no http": b"hello\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "connect": b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "wrong chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "long header": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n"
    + b"".join(b"x%d: 1\r\n" % n for n in range(300))
    + b"\r\n",
    "long target": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_booked_and_harms_nobody(
    parties: Counterparties, market: Raw, name: str
) -> None:
    with contextlib.suppress(ConnectionError):
        assert b"HTTP/1.1 200" not in market.raw(GARBAGE[name])
    assert market.health().status == 200
    entries = market.party.journal()
    assert entries[0].violations
    assert parties.overview()["broken"] == []


def test_a_body_over_the_cap_is_refused_and_not_kept(parties: Counterparties) -> None:
    raw = Raw(parties.notification)
    size = hosting.BODY_MAX_BYTES + 1
    answer = raw.call("POST", "/v1/events", b"[" + b" " * size, key=raw.fresh_key())
    assert answer.status == 413
    assert answer.json["code"] == "batch_too_large"
    (entry,) = raw.party.violations()
    assert entry.body is None


def test_an_endless_body_is_cut(parties: Counterparties) -> None:
    raw = Raw(parties.market)
    head = b"POST /v1/orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw.connect() as held, contextlib.suppress(ConnectionError):
        held.sendall(head)
        for _ in range(1000):
            held.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        pytest.fail("64 MB were taken")
    assert raw.health().status == 200


def test_pipelined_requests_are_answered_in_order(market: Raw) -> None:
    paths = [f"/v1/quotes/I{number}" for number in range(20)]
    with market.connect() as held:
        held.sendall(b"".join(market.request("GET", path) for path in paths))
        data = b""
        while data.count(b"HTTP/1.1 200") < 20:
            data += held.recv(65536)
    found = [data.index(f'"I{number}"'.encode()) for number in range(20)]
    assert found == sorted(found)


def test_half_open_and_slow_senders_are_cut(market: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    monkeypatch.setattr(connections, "IDLE_S", 0.3)
    with market.connect() as silent, market.connect() as slow, market.connect() as idle:
        idle.sendall(market.request("GET", "/v1/health"))
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /v1/health HTTP/1.1\r\nX-Slow: " + b"a" * 100:
                slow.sendall(bytes([byte]))
                threading.Event().wait(0.03)
            pytest.fail("a request may take for ever")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        for held in (silent, idle):
            with pytest.raises(ConnectionResetError):
                held.recv(1)


def test_a_caller_that_does_not_read_is_cut(
    parties: Counterparties, market: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WRITE_S", 0.3)
    request = market.request("GET", "/v1/strategies?" + "a=b&" * 100)

    def waiting() -> int:
        rows = {row["name"]: row for row in parties.overview()["counterparties"]}
        return int(rows["market"]["in_flight"])

    with market.connect() as held:
        held.settimeout(0.2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:
                held.sendall(request)
        assert [waiting() == 0 or threading.Event().wait(0.05) for _ in range(60)][-1] is True
    assert market.health().status == 200


def test_connections_over_the_cap_are_turned_away_and_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosting, "_connections_max", lambda: 20)
    with Counterparties.start() as parties, contextlib.ExitStack() as stack:
        raw = Raw(parties.market)
        held = [stack.enter_context(raw.connect()) for _ in range(30)]
        away = 0
        for connection in held:
            connection.settimeout(0.05)
            try:
                away += connection.recv(1) == b""
            except ConnectionResetError:
                away += 1
            except TimeoutError:
                pass
        assert away == 10
        assert parties.overview()["broken"] == []
        for connection in held:
            connection.close()
        threading.Event().wait(0.1)
        assert raw.health().status == 200


def test_a_flood_leaves_memory_and_connections_in_bounds(
    parties: Counterparties, market: Raw
) -> None:
    def peak_mb() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    for _ in range(50):
        market.raw(GARBAGE["no http"])
    before_mb = peak_mb()
    for number in range(500):
        with contextlib.suppress(ConnectionError), market.connect() as held:
            held.sendall(list(GARBAGE.values())[number % len(GARBAGE)])
            if number % 3:
                held.shutdown(socket.SHUT_WR)
    assert market.health().status == 200
    assert peak_mb() - before_mb < 50
    assert parties.overview()["broken"] == []
