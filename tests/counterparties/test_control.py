"""The control API and the journal: who may use it, what it says, and that it stays in bounds."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpcore
import pytest

from certification.counterparties import journal as journal_module
from certification.counterparties.faults import FaultKind
from certification.counterparties.hosting import Host, Hosting
from certification.counterparties.journal import Entry, Journal
from certification.counterparties.parties import Counterparties
from certification.errors import HarnessError, UsageError
from tests.counterparties.raw_client import TRACE, Raw


def entry(**changed: Any) -> Entry:
    given = {
        "n": 0,
        "counterparty": "market",
        "caller": "node-1",
        "peer": "127.0.0.1:1",
        "method": "GET",
        "path": "/v1/health",
        "operation": "getHealth",
        "key": None,
        "traceparent": None,
        "arrived_at": "2026-11-21T10:00:00Z",
        "arrived_s": 1.0,
    }
    return Entry(**{**given, **changed})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/counterparties"),
        ("GET", "/v1/counterparties/market/journal"),
        ("PUT", "/v1/counterparties/market/faults"),
        ("POST", "/v1/counterparties/market/actions/fill"),
        ("PUT", "/v1/deployment"),
        ("POST", "/v1/reset"),
        ("GET", "/anything"),
    ],
)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic eDp5", "Bearer"])
def test_without_the_token_nothing_is_told_or_done(
    parties: Counterparties, method: str, path: str, authorization: str | None
) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answer = httpcore.request(
        method, parties.wire.control_url + path, headers=list(headers.items())
    )
    assert answer.status == 401
    assert b"counterparties" not in answer.content


def test_a_counterparty_token_does_not_open_the_control_api(parties: Counterparties) -> None:
    with pytest.raises(HarnessError, match="401"):
        Counterparties.attach(parties.wire.control_url, parties.market.token)


def test_the_control_api_listens_on_the_loopback_only() -> None:
    host = Host(Hosting(token="t", host="0.0.0.0"))  # noqa: S104  what is being tested
    try:
        assert host.control_guard.getsockname()[0] == "127.0.0.1"
        assert host.control_url.startswith("http://127.0.0.1:")
    finally:
        host.stop()


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("PUT", "/v1/counterparties/market/faults", {"faults": {}}, "faults"),
        ("PUT", "/v1/deployment", {"base_url": "ftp://x"}, "base_url"),
        ("PUT", "/v1/deployment", [], "base_url"),
        ("GET", "/v1/counterparties/market/journal?since=x", None, "since"),
        ("POST", "/v1/counterparties/market/actions/fly", {}, "fly"),
        ("POST", "/v1/counterparties/market/actions/fill", {}, "client_order_id"),
        ("POST", "/v1/counterparties/market/actions/fills", {"mode": "x"}, "mode"),
        ("POST", "/v1/counterparties/market/actions/send", {"report": {}}, "report"),
        ("POST", "/v1/counterparties/user-management/actions/issue", {}, "username"),
    ],
)
def test_a_wrong_request_is_named(
    parties: Counterparties, method: str, path: str, body: Any, named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        parties.wire.call(method, path, body)


def test_a_counterparty_that_does_not_exist(parties: Counterparties) -> None:
    with pytest.raises(HarnessError, match="404"):
        parties.wire.call("GET", "/v1/counterparties/bank/faults")


def test_faults_can_be_replaced_read_and_cleared(parties: Counterparties, market: Raw) -> None:
    given = {"faults": [{"kind": "status", "status": 500}, {"kind": "slow", "delay_s": 0.5}]}
    parties.market.call("PUT", "faults", given)
    assert [row["kind"] for row in parties.market.faults()] == ["status", "slow"]
    assert market.health().status == 500
    parties.market.clear()
    assert parties.market.faults() == []
    assert market.health().status == 200


def test_a_reset_forgets_faults_state_and_journal(parties: Counterparties, market: Raw) -> None:
    market.call("POST", "/v1/orders", market.order("o1"), key="k" * 16)
    market.party.fault(FaultKind.STATUS)
    mark = market.party.mark()
    parties.reset()
    assert market.party.faults() == []
    assert market.party.journal() == ()
    assert market.party.state()["orders"] == []
    again = market.call("POST", "/v1/orders", market.order("o1"), key="k" * 16)
    assert "idempotency-replayed" not in again.headers
    assert [row.n for row in market.party.journal(since=mark)] == [mark + 1]


# -- the journal -----------------------------------------------------------------------------


def test_the_journal_says_what_was_sent_and_answered(market: Raw) -> None:
    body = market.order("o1")
    key = market.fresh_key()
    for _ in range(3):
        market.call("POST", "/v1/orders", body, key=key)
    entries = market.party.journal(operation="placeOrder")
    assert [row.status for row in entries] == [201, 201, 201]
    assert [row.replayed for row in entries] == [False, True, True]
    assert [row.effect for row in entries] == [True, False, False]
    for row in entries:
        assert (row.caller, row.key, row.traceparent) == ("node-1", key, TRACE)
        assert row.body == body
        assert row.done_s is not None
        assert row.done_s >= row.arrived_s
    assert [row.n for row in entries] == sorted(row.n for row in entries)
    (attempts,) = market.party.attempts()
    assert (attempts.payloads, attempts.effects, len(attempts.gaps_s)) == (1, 1, 2)
    assert all(gap >= 0 for gap in attempts.gaps_s)


def test_callers_are_told_apart_and_requests_at_once_are_counted(
    parties: Counterparties, market: Raw
) -> None:
    other = Raw(parties.market, instance="node-2")
    with market.party.fault(FaultKind.SLOW, delay_s=0.3), ThreadPoolExecutor(4) as pool:
        for made in [pool.submit(market.health) for _ in range(3)] + [pool.submit(other.health)]:
            assert made.result().status == 200
    found = {row.name: row for row in market.party.callers()}
    assert set(found) == {"node-1", "node-2"}
    assert (found["node-1"].requests, found["node-1"].max_in_flight) == (3, 3)
    assert found["node-2"].max_in_flight == 1
    assert len(found["node-1"].gaps_s) == 2


def test_the_files_hold_what_the_journal_says(tmp_path: Path) -> None:
    with Counterparties.start(Hosting(token="t", folder=tmp_path)) as parties:
        raw = Raw(parties.market)
        for _ in range(5):
            raw.health()
        told = parties.market.journal()
    rows = [json.loads(line) for line in (tmp_path / "market.jsonl").read_text().splitlines()]
    assert [Entry(**row) for row in rows] == list(told)
    assert len(rows) == 5


def test_a_journal_stays_within_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "ENTRIES_MAX", 50)
    journal = Journal(tmp_path / "j.jsonl", disk_max_bytes=20_000)
    for _ in range(500):
        row = entry(body_bytes=100)
        journal.open(row)
        journal.close(row, "answered")
    journal.end()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["j.jsonl", "j.jsonl.1"]
    assert sum(file.stat().st_size for file in files) <= 20_000
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert max(row["n"] for row in lines) == 500
    assert journal.first_kept == 451
    assert [row.n for row in journal.since(497)] == [498, 499, 500]


def test_a_full_disk_loses_lines_but_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "missing" / "j.jsonl")
    row = entry()
    journal.open(row)
    journal.close(row, "answered")
    assert journal.lost_on_disk == 1
    assert [kept.n for kept in journal.since(0)] == [1]


def test_a_journal_that_was_overrun_says_so_instead_of_less(
    market: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.health()
    mark = market.party.mark()
    monkeypatch.setattr(journal_module, "ENTRIES_MAX", 3)
    for _ in range(6):
        market.health()
    with pytest.raises(HarnessError, match="begins at"):
        market.party.journal(since=mark)


# -- starting and stopping -------------------------------------------------------------------


def test_ports_are_taken_before_they_are_served() -> None:
    before = set(threading.enumerate())
    host = Host(Hosting(token="t"))
    try:
        url = host.control_url
        with pytest.raises(HarnessError):
            Counterparties.attach(url, "t")
        host.serve()
        host.serve()
        parties = Counterparties.attach(url, "t")
        assert parties.overview()["broken"] == []
        parties.close()
    finally:
        host.stop()
    with pytest.raises(HarnessError):
        Counterparties.attach(url, "t")
    assert set(threading.enumerate()) <= before


def test_a_port_in_use_is_named() -> None:
    with Counterparties.start() as parties:
        port = int(parties.wire.control_url.rpartition(":")[2])
        with pytest.raises(UsageError, match=f"{port} cannot be used"):
            Host(Hosting(token="t", ports_from=port))


def test_secrets_depend_on_the_token_alone() -> None:
    def secrets_of(token: str) -> set[str]:
        with Counterparties.start(Hosting(token=token)) as parties:
            return {parties.callback_secret, *(party.token for party in parties)}

    assert secrets_of("one") == secrets_of("one")
    assert not secrets_of("one") & secrets_of("two")
    with Counterparties.start(Hosting(token="one")) as parties:
        assert "one" not in repr(parties.wire)
        assert parties.market.token not in repr(parties.market)
