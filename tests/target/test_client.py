"""The client against servers that misbehave: every outcome named, in bounded time and size."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from certification.errors import HarnessError, UsageError
from certification.target.client import Request
from certification.target.limits import BudgetSpent, Limiter
from certification.target.outcomes import Answer, Lost, NoAnswer
from tests.target import servers
from tests.target.servers import Behaviour, answer, serving

if TYPE_CHECKING:
    from pathlib import Path

    from certification.model import Exchange
    from certification.target.session import Access
    from tests.target.conftest import MakeAccess

BOUND_S = 5.0
"""Ten times the deadline of 0.5 s: generous, and far below what a stretched one takes."""
GET = Request(method="GET", target="/v1/accounts")


def send(access: Access, request: Request = GET) -> Answer | NoAnswer:
    return access.client.send(request, access.sink)


def answered(outcome: Answer | NoAnswer) -> Answer:
    assert isinstance(outcome, Answer), outcome
    return outcome


def unanswered(outcome: Answer | NoAnswer) -> NoAnswer:
    assert isinstance(outcome, NoAnswer), outcome
    return outcome


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(servers.never_answers, Lost.DEADLINE, id="never answers"),
        pytest.param(servers.resets, Lost.CONNECTION_LOST, id="accepts and resets"),
        pytest.param(servers.says_and_closes(b""), Lost.CONNECTION_LOST, id="accepts and closes"),
        pytest.param(
            servers.says_and_closes(answer(b"{}", length=500)),
            Lost.CONNECTION_LOST,
            id="body shorter than its Content-Length",
        ),
        pytest.param(servers.dribbles(HEAD), Lost.DEADLINE, id="dribbles headers"),
        pytest.param(
            servers.dribbles(HEAD + b"Content-Length: 100000\r\n\r\n"),
            Lost.DEADLINE,
            id="dribbles a body",
        ),
        pytest.param(
            servers.dribbles(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            Lost.DEADLINE,
            id="dribbles chunks",
        ),
        pytest.param(
            servers.dribbles(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            Lost.DEADLINE,
            id="dribbles interim answers",
        ),
        pytest.param(
            servers.floods(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
            Lost.TOO_LARGE,
            id="flood of interim answers",
        ),
        pytest.param(
            servers.floods(HEAD, b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 100),
            Lost.TOO_LARGE,
            id="endless headers",
        ),
        pytest.param(
            servers.floods(HEAD + b"X-Long: ", b"a" * 65536), Lost.TOO_LARGE, id="endless header"
        ),
        pytest.param(
            servers.floods(HEAD + b"\r\n", b"a" * 65536), Lost.TOO_LARGE, id="endless body"
        ),
        pytest.param(
            servers.floods(
                HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"a" * 4096 + b"\r\n"
            ),
            Lost.TOO_LARGE,
            id="endless chunks",
        ),
        pytest.param(
            servers.says(HEAD + b"Content-Length: 99999999999\r\n\r\n"),
            Lost.TOO_LARGE,
            id="declares more than the cap",
        ),
        pytest.param(
            servers.says_and_closes(b"SSH-2.0-OpenSSH_9.6\r\n" * 3),
            Lost.PROTOCOL_ERROR,
            id="another protocol",
        ),
        pytest.param(
            servers.says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
            Lost.PROTOCOL_ERROR,
            id="negative length",
        ),
    ],
)
def test_no_answer_has_a_reason_in_bounded_time(
    behaviour: Behaviour, reason: Lost, access_to: MakeAccess, recorded: list[Exchange]
) -> None:
    with serving(behaviour) as server:
        access = access_to(server.url, body_max_bytes=1_000_000)
        started = time.monotonic()
        outcome = unanswered(send(access))
        assert time.monotonic() - started < BOUND_S
    assert outcome.reason is reason
    assert [exchange.error for exchange in recorded] == [f"{reason.value}: {outcome.detail}"]


@pytest.mark.parametrize(
    "behaviour",
    [
        servers.floods(HEAD, b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 100),
        servers.floods(HEAD + b"\r\n", b"a" * 65536),
        servers.says(
            answer(gzip.compress(b"\0" * 100_000_000), headers=("Content-Encoding: gzip",))
        ),
    ],
    ids=["headers", "body", "bomb"],
)
def test_memory_is_bounded_by_the_cap(behaviour: Behaviour, access_to: MakeAccess) -> None:
    with serving(behaviour) as server:
        access = access_to(server.url, body_max_bytes=1_000_000, deadline_s=3.0)
        tracemalloc.start()
        try:
            outcome = unanswered(send(access))
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert outcome.reason is Lost.TOO_LARGE
    assert peak_bytes < 10_000_000


def test_nobody_listens(access_to: MakeAccess) -> None:
    with serving(servers.says(answer())) as server:
        url = server.url
    assert unanswered(send(access_to(url))).reason is Lost.REFUSED


def test_unknown_name_is_refused_in_bounded_time(access_to: MakeAccess) -> None:
    started = time.monotonic()
    outcome = unanswered(send(access_to("http://no-such-host.invalid:9")))
    assert outcome.reason in (Lost.REFUSED, Lost.DEADLINE)
    assert time.monotonic() - started < BOUND_S


def test_redirect_is_an_answer_and_not_followed(access_to: MakeAccess) -> None:
    with serving(servers.says(answer())) as elsewhere:
        location = f"Location: {elsewhere.url}/"
        redirect = servers.says(answer(b"", status="302 Found", headers=(location,)))
        with serving(redirect) as server:
            assert answered(send(access_to(server.url))).status == 302
        assert elsewhere.connections == 0


def test_no_host_outside_the_allow_list(access_to: MakeAccess) -> None:
    with serving(servers.says(answer())) as server, serving(servers.says(answer())) as other:
        access = access_to(server.url, allow_hosts=(f"127.0.0.1:{server.port}",))
        with pytest.raises(UsageError, match="allow_hosts"):
            send(access, Request(method="GET", target=f"{other.url}/metrics"))
        assert other.connections == 0
        granted = access_to(server.url, allow_hosts=("127.0.0.1",))
        there = Request(method="GET", target=f"{other.url}/metrics?name=x")
        assert answered(send(granted, there)).status == 200
        assert other.requests[0].startswith(b"GET /metrics?name=x HTTP/1.1\r\n")


def test_gzip_is_read_up_to_the_cap(access_to: MakeAccess) -> None:
    encoded = ("Content-Encoding: gzip",)
    replies = [
        answer(gzip.compress(b'{"a": 1}'), headers=encoded),
        answer(gzip.compress(b"\0" * 50_000_000), headers=encoded),
        answer(gzip.compress(b'{"a": 1}')[:-9], headers=encoded),
        answer(zlib.compress(b"{}"), headers=("Content-Encoding: deflate",)),
        answer(b"{}", headers=("Content-Encoding: br",)),
    ]
    with serving(servers.says(*replies)) as server:
        access = access_to(server.url, body_max_bytes=100_000)
        assert answered(send(access)).body == b'{"a": 1}'
        bomb = unanswered(send(access))
        assert (bomb.reason, bomb.status) == (Lost.TOO_LARGE, 200)
        assert answered(send(access)).violations
        assert answered(send(access)).body == b"{}"
        unknown = answered(send(access))
        assert (unknown.body, len(unknown.violations)) == (b"", 1)
        assert all(b"Accept-Encoding: identity\r\n" in request for request in server.requests)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_base_path_and_ipv6(host: str, access_to: MakeAccess) -> None:
    try:
        server = servers.Server(servers.says(answer()), host=host)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    try:
        answered(send(access_to(f"{server.url}/base/path/")))
        head = server.requests[0].decode()
    finally:
        server.close()
    assert head.startswith("GET /base/path/v1/accounts HTTP/1.1\r\n")
    name = f"[{host}]" if ":" in host else host
    assert f"\r\nHost: {name}:{server.port}\r\n" in head


def test_connection_is_kept_and_replaced_when_the_server_closed_it(access_to: MakeAccess) -> None:
    closed = threading.Semaphore(0)

    def closing(connection: socket.socket, request: bytes) -> None:
        servers.says_and_closes(answer())(connection, request)
        closed.release()

    with serving(servers.says(answer())) as keeping, serving(closing) as server:
        access = access_to(keeping.url)
        for _ in range(5):
            answered(send(access))
        assert keeping.connections == 1
        access = access_to(server.url)
        for _ in range(20):
            answered(send(access))
            assert closed.acquire(timeout=5)
        assert server.connections == 20


def test_a_lost_request_is_not_repeated(access_to: MakeAccess) -> None:
    """The server took the request on a kept connection and closed: it may have been done."""
    seen: list[bytes] = []

    def behave(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        if len(seen) == 1:
            connection.sendall(answer())
        else:
            connection.shutdown(socket.SHUT_RDWR)

    with serving(behave) as server:
        access = access_to(server.url)
        post = Request(method="POST", target="/v1/transactions", body=b"{}")
        answered(send(access, post))
        assert unanswered(send(access, post)).reason is Lost.CONNECTION_LOST
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("advice", "waited", "tries"),
    [("1", [1.0], 2), ("99999999999999", [], 1), ("soon", [], 1), ("-1", [], 1), (None, [], 1)],
)
def test_429_is_waited_for_within_reason(  # noqa: PLR0917  pytest gives them by name
    advice: str | None,
    waited: list[float],
    tries: int,
    access_to: MakeAccess,
    waits: list[float],
    recorded: list[Exchange],
) -> None:
    headers = () if advice is None else (f"Retry-After: {advice}",)
    full = answer(status="429 Too Many Requests", headers=headers)
    with serving(servers.says(full, answer())) as server:
        outcome = answered(send(access_to(server.url)))
    assert outcome.status == (200 if waited else 429)
    assert waits == waited
    assert [exchange.number for exchange in recorded] == list(range(1, tries + 1))


def test_429_for_ever_ends_and_rate_checks_see_the_first(
    access_to: MakeAccess, waits: list[float]
) -> None:
    full = answer(status="429 Too Many Requests", headers=("Retry-After: 2",))
    with serving(servers.says(full)) as server:
        access = access_to(server.url)
        assert answered(send(access)).status == 429
        assert waits == [2.0] * 4
        plain = Request(method="GET", target="/", back_pressure=False)
        assert answered(send(access, plain)).status == 429
        assert len(server.requests) == 6


def test_burst_of_threads_each_gets_its_own_answer(
    access_to: MakeAccess, recorded: list[Exchange]
) -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        connection.sendall(answer(request.partition(b"\r\n\r\n")[2]))

    with serving(echo) as server:
        access = access_to(server.url, deadline_s=10.0)

        def one(n: int) -> bytes:
            request = Request(method="POST", target="/", body=str(n).encode())
            return answered(send(access, request)).body

        with ThreadPoolExecutor(32) as pool:
            bodies = list(pool.map(one, range(200)))
    assert bodies == [str(n).encode() for n in range(200)]
    assert sorted(exchange.number for exchange in recorded) == list(range(1, 201))
    assert all(exchange.request_body == exchange.response_body for exchange in recorded)


def test_budget_is_kept(access_to: MakeAccess, tmp_path: Path) -> None:
    with serving(servers.says(answer())) as server:
        access = access_to(server.url, limiter=Limiter(tmp_path / "count", requests_max=2))
        answered(send(access))
        answered(send(access))
        with pytest.raises(BudgetSpent, match="2 requests"):
            send(access)
        assert len(server.requests) == 2


def test_request_that_is_not_http_is_the_harness_fault(access_to: MakeAccess) -> None:
    with serving(servers.says(answer())) as server, pytest.raises(HarnessError, match="not HTTP"):
        send(access_to(server.url), Request(method="GET", target="/a b"))


def test_forward_proxy_is_used_and_environment_is_not(
    access_to: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certification.target.address import parse_base_url

    with serving(servers.says(answer(b'"by proxy"'))) as proxy:
        access = access_to(
            "http://target.invalid:8080", proxy=parse_base_url(proxy.url), deadline_s=5.0
        )
        assert answered(send(access)).body == b'"by proxy"'
        line = proxy.requests[0].partition(b"\r\n")[0]
        assert line == b"GET http://target.invalid:8080/v1/accounts HTTP/1.1"
        with serving(servers.says(answer(b'"direct"'))) as server:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            assert answered(send(access_to(server.url))).body == b'"direct"'
