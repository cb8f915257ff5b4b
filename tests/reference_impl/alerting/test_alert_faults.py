"""Real faults from outside: alerts seen over the API, and recoveries that nobody made by hand."""

import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.hosting import Host, Hosting
from certification.counterparties.parties import Counterparties
from tests.reference_impl import _faults as faults
from tests.reference_impl.alerting._place import SCALE, Place, opened, running, until
from tests.reference_impl.conftest import ADMIN_PASSWORD, log_in, start_server
from tests.reference_impl.outside.conftest import told

QUIET_S = 60.0
HOST_RULES = {"DiskHigh", "DiskFull", "DiskRunsOut", "MemoryHigh", "CpuHigh", "CommitsSlow"}
"""What the machine that runs the tests may truly suffer from."""


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, float]]:
    """A deployment that nobody hurts while the others are hurt."""
    place = opened(tmp_path_factory.mktemp("quiet"))
    yield place, time.monotonic()
    place.server.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running(tmp_path) as made:
        yield made


def test_a_killed_worker_is_an_alert_and_a_recovery(place: Place) -> None:
    time.sleep(8)  # a start is no replacement: the rule looks away for its first seconds
    killed_s = time.time()
    victim = faults.workers(place.server)[0]
    os.kill(victim, signal.SIGKILL)
    found = until(lambda: place.recovery("worker"))
    assert 0 <= found["duration_ms"] < 10_000
    assert found["ended_at"] >= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(killed_s))
    place.seen_taken_and_over("WorkerReplaced", lambda: None)
    assert victim not in faults.workers(place.server)
    assert len(faults.workers(place.server)) == 2


def test_a_locked_database_is_an_alert_and_a_recovery(place: Place) -> None:
    place.admin.account()
    time.sleep(3)
    with closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            body = {"type": "generation", "currency": "USD", "name": "Not now"}
            answer = place.admin.post("/v1/accounts", body)
            assert answer.status == 503
        other.execute("ROLLBACK")
    place.seen_taken_and_over("WritesFail", lambda: None)
    found = until(lambda: place.recovery("writer"))
    assert found["duration_ms"] >= 1000
    assert place.admin.post("/v1/accounts", body).status == 201


def test_an_outside_system_that_is_away_is_an_alert_and_a_recovery(tmp_path: Path) -> None:
    token = secrets.token_urlsafe(32)
    host = Host(Hosting(token=token))
    host.serve()
    with told(host, token):
        place = opened(tmp_path, "--call-timing", "300/1/1")
    try:
        with closing(Counterparties.attach(host.control_url, token)) as parties:
            lease = parties.reporting.fault(FaultKind.REFUSE)
            lease.__enter__()

            def probe() -> None:
                place.admin.post("/v1/integrations/reporting/probe", {})

            def healed() -> Any:
                probe()
                return place.recovery("integration:reporting")

            def heal() -> None:
                lease.__exit__(None, None, None)
                until(healed)

            for _ in range(4):
                probe()
            over = place.seen_taken_and_over("BreakerOpen", heal)
            assert over["labels"]["system"] == "reporting"
            found = place.recovery("integration:reporting")
            assert found is not None
            assert "getHealth" in found["cause"]
    finally:
        place.server.stop(signal.SIGKILL)
        host.stop()


def test_locked_logins_are_an_alert(place: Place) -> None:
    time.sleep(2)
    for number in range(4):
        for _ in range(5):
            wrong = {"username": f"nobody-{number}", "password": "not the password"}
            place.admin.post("/v1/auth/login", wrong, key="")
    place.seen_taken_and_over("LoginsAttacked", lambda: None)


def test_the_jobs_go_on_in_another_worker_when_their_owner_dies(place: Place) -> None:
    def holders() -> set[str]:
        with closing(sqlite3.connect(f"file:{place.database}?mode=ro", uri=True)) as book:
            rows = book.execute("SELECT holder, until FROM leases WHERE until > 0").fetchall()
        now = time.time() * 1000
        return {holder for holder, until_ms in rows if until_ms > now}

    until(lambda: len(holders()) == 1)
    (before,) = holders()
    runtime = next(
        path.parent
        for path in Path("/tmp").glob("alluse-*/alive-*")  # noqa: S108 - where servers keep notes
        if path.read_text() == before
    )
    owner = next(p for p in runtime.glob("alive-*") if p.read_text() == before)
    os.kill(int(owner.name.partition("-")[2]), signal.SIGKILL)
    until(lambda: holders() and before not in holders(), 15)
    until(lambda: place.recovery("worker"))


def test_a_server_that_was_killed_is_a_recovery_of_the_next_one(place: Place) -> None:
    time.sleep(2)
    place.server.stop(signal.SIGKILL)
    again = start_server(place.database, *SCALE)
    later = Place(again, place.database, log_in(again.port, "admin", ADMIN_PASSWORD))
    found = until(lambda: later.recovery("server"))
    assert found["duration_ms"] < 60_000
    assert again.stop() == 0
    third = start_server(place.database, *SCALE)  # stopped in good order: nothing to recover from
    calm = Place(third, place.database, log_in(third.port, "admin", ADMIN_PASSWORD))
    time.sleep(3)
    servers = [r for r in calm.rows("/v1/recoveries") if r["component"] == "server"]
    assert len(servers) == 1
    assert third.stop() == 0


def test_nothing_fires_where_nothing_is_wrong(quiet: tuple[Place, float]) -> None:
    """Comes last: the quiet deployment has stood beside all the faults above."""
    place, since_s = quiet
    time.sleep(max(QUIET_S - (time.monotonic() - since_s), 0))
    place.admin = log_in(place.server.port, "admin", ADMIN_PASSWORD)
    fired = [*place.rows("/v1/alerts"), *place.rows("/v1/alerts/history")]
    assert {row["name"] for row in fired} - HOST_RULES == set()
    assert place.rows("/v1/recoveries") == []
    runs = place.admin.get("/metrics").body.splitlines()
    looks = next(row for row in runs if row.startswith('background_runs_total{job="alerts"}'))
    assert float(looks.rpartition(" ")[2]) > QUIET_S / 3
