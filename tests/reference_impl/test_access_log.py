"""The access log from outside: a line a request, joined by its ids, and nothing that is private."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reference_impl import access_log
from reference_impl.access_log import AccessLog, Entry

CANARY = "canary-91ce"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def logged(
    tmp_path: Path,
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
) -> Callable[..., tuple[Any, Callable[[], list[dict[str, Any]]]]]:
    """Start a server whose standard error is a file; give it and how to read its lines."""

    def start(*options: str) -> tuple[Any, Callable[[], list[dict[str, Any]]]]:
        path = tmp_path / "stderr"
        with path.open("wb") as stderr:
            server = run_server(make_database(tmp_path / "b.db"), *options, stderr=stderr.fileno())

        def lines() -> list[dict[str, Any]]:
            return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

        return server, lines

    return start


def test_each_request_has_its_line_and_nothing_private_is_in_one(
    logged: Any, log_in_as: Callable[[int, str, str], Any], admin_password: str
) -> None:
    server, lines = logged("--log-level", "info", "--workers", "2")
    client = log_in_as(server.port, "admin", admin_password)
    account = client.account(name=f"{CANARY} name", metadata={"k": CANARY})
    wanted: dict[str, tuple[str, str, int]] = {}

    def ask(method: str, path: str, route: str, status: int, body: Any = None) -> None:
        name = uuid.uuid4().hex
        headers = {"X-Request-Id": name, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        headers["Idempotency-Key"] = uuid.uuid4().hex
        answer = client.send(method, path, body, headers=headers, check=False)
        assert answer.status == status, answer.body
        wanted[name] = (method, route, status)

    for _ in range(20):
        ask("GET", f"/v1/accounts/{account['id']}", "/v1/accounts/{id}", 200)
    ask("GET", f"/v1/accounts?owner_id={CANARY}", "/v1/accounts", 200)
    ask("GET", f"/{CANARY}", "none", 404)
    ask("POST", "/v1/transactions", "/v1/transactions", 400, {"memo": CANARY})
    wrong = {"username": f"{CANARY}-user", "password": f"{CANARY} password"}
    ask("POST", "/v1/auth/login", "/v1/auth/login", 401, wrong)
    for _ in range(100):
        text = json.dumps(found := [line for line in lines() if line["logger"] == "access"])
        if wanted.keys() <= {line["request_id"] for line in found}:
            break
        time.sleep(0.1)
    by_id = {line["request_id"]: line for line in found}
    assert len(by_id) == len(found), "a request twice"
    for name, (method, route, status) in wanted.items():
        line = by_id[name]
        assert (line["method"], line["route"], line["status"]) == (method, route, status)
        assert line["level"] == "info"
        assert line["trace_id"] == TRACE
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
        assert 0 < line["duration_ms"] < 10_000
        if route == "/v1/accounts/{id}":
            assert line["principal"] == client.user_id
    for private in (CANARY, client.token, client.session["refresh_token"], admin_password):
        assert private not in text
    assert "127.0.0.1" not in text
    assert server.stop() == 0
    assert CANARY not in json.dumps(lines())


@pytest.mark.parametrize("options", [[], ["--log-level", "info", "--no-access-log"]])
def test_it_is_not_written_where_it_is_not_wanted(
    logged: Any, log_in_as: Any, admin_password: str, options: list[str]
) -> None:
    server, lines = logged(*options)
    client = log_in_as(server.port, "admin", admin_password)
    assert client.get("/v1/accounts").status == 200
    assert server.stop() == 0
    assert not [line for line in lines() if line.get("logger") == "access"]


def entry(status: str = "200") -> Entry:
    return Entry(1.0, "GET", "/v1/accounts", status, 0.001, "r", "t", "s", "usr_1")


def test_a_readiness_that_says_no_before_a_stop_is_no_error() -> None:
    stopping = msgspec.structs.replace(entry("503"), expected=True)
    for everything, levels in ((True, ["error", "info"]), (False, ["error"])):
        lines: list[bytes] = []
        log = AccessLog(lines.append, everything=everything)
        for one in (entry("503"), stopping):
            log.put(one)
        log.close()
        found = [json.loads(line)["level"] for line in b"".join(lines).splitlines()]
        assert found == levels


def test_a_reader_that_is_too_slow_costs_lines_and_not_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_log, "WAITING_MAX", 10)
    free, lost = threading.Event(), []
    written: list[bytes] = []

    def write(content: bytes) -> None:
        free.wait(10)
        written.append(content)

    log = AccessLog(write, everything=True, dropped=lambda: lost.append(1))
    began = time.monotonic()
    for _ in range(100):
        log.put(entry())
    assert time.monotonic() - began < 5
    assert lost
    free.set()
    log.close()
    assert b"".join(written).count(b"\n") + len(lost) == 100


def test_chunks_are_whole_lines_short_enough_for_a_shared_pipe() -> None:
    chunks: list[bytes] = []
    log = AccessLog(chunks.append, everything=True)
    for _ in range(200):
        log.put(entry("503"))
    log.close()
    assert all(len(chunk) <= access_log.CHUNK_BYTES for chunk in chunks)
    found = [json.loads(line) for chunk in chunks for line in chunk.splitlines()]
    assert len(found) == 200
    assert {line["level"] for line in found} == {"error"}
