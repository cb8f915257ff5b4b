"""Readiness tells the truth of each dependency; each is hurt here in turn."""

import http.client
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import audit, config, health

from ._desk import Desk, opened


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(health, "KEPT_S", 0.0)
    with opened(tmp_path) as made:
        yield made


def status(desk: Desk, name: str) -> str:
    checks = desk.get("/health/ready").json["checks"]
    return str(checks[name][0]["status"])


def test_every_component_of_the_capability_document_has_its_check(desk: Desk) -> None:
    components = desk.get("/.well-known/alluse").json["components"]
    answer = desk.get("/health/ready")
    assert answer.status_code == 200
    assert {one["health"] for one in components} == set(answer.json["checks"])
    assert answer.json["status"] == "pass"
    assert "checks" not in desk.other().get("/health/ready").json
    customer = desk.new_user("customer")
    assert "checks" not in customer.get("/health/ready").json


def test_a_writer_that_has_stopped_is_not_ready(desk: Desk) -> None:
    desk.services.writer.close()
    assert desk.get("/health/ready").status_code == 503
    assert status(desk, "database:writer") == "fail"
    assert desk.get("/health/live").status_code == 200


def test_a_locked_book_is_not_ready_and_the_answer_comes_soon(desk: Desk) -> None:
    other = sqlite3.connect(desk.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert status(desk, "database:writer") == "fail"
    assert time.monotonic() - began < 2
    other.execute("ROLLBACK")
    other.close()
    deadline = time.monotonic() + 10
    while desk.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("free", "expected"),
    [(config.DISK_FREE_MIN_BYTES, "warn"), (config.DISK_FREE_MIN_BYTES - 1, "fail")],
)
def test_a_disk_that_runs_full_shows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, free: int, expected: str
) -> None:
    usage: Callable[[Any], Any] = lambda _: type("Usage", (), {"free": free})  # noqa: E731
    monkeypatch.setattr("reference_impl.health.shutil.disk_usage", usage)
    assert status(desk, "disk:space") == expected
    answer = desk.get("/health/ready")
    assert answer.status_code == (503 if expected == "fail" else 200)
    assert answer.json["status"] == expected


def test_the_limit_of_the_disk_is_a_setting(
    tmp_path: Path, make_database: Callable[[Path], Path], run_server: Callable[..., Any]
) -> None:
    server = run_server(make_database(tmp_path / "b.db"), "--disk-free-min", str(1 << 60))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        assert answer.status == 503
        assert answer.getheader("Retry-After")
        assert json.loads(answer.read()) == {"status": "fail"}
    finally:
        connection.close()


def test_a_consumer_that_lags_is_a_warning(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "OUTBOX_BACKLOG_MAX", 3)
    assert status(desk, "outbox:backlog") == "pass"
    with sqlite3.connect(desk.database) as connection:
        connection.execute("INSERT INTO outbox_consumers VALUES ('mail', 0)")
    connection.close()
    for _ in range(3):
        desk.post("/v1/accounts", {"type": "generation", "currency": "USD", "name": "n"})
    assert status(desk, "outbox:backlog") == "warn"
    assert desk.get("/health/ready").status_code == 200


def test_an_audit_tree_with_a_hole_is_a_failure(desk: Desk) -> None:
    assert status(desk, "audit:checkpoint") == "pass"
    with sqlite3.connect(desk.database) as connection:
        connection.execute("DROP TRIGGER audit_nodes_no_delete")
        hashes = [
            (seq, 0, "x", "x", "x", "done", "r", "", bytes(32), bytes(32))
            for seq in range(1_000, 1_000 + audit.CHUNK)
        ]
        connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", hashes)
    connection.close()
    assert status(desk, "audit:checkpoint") == "fail"
