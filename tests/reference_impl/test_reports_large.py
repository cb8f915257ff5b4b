"""A report of 200,000 entries: bounded memory on the way, and none of it lost to a kill."""

import hashlib
import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from reference_impl import database, journal, ledger, setup

from ._desk import ADMIN_PASSWORD

ENTRIES = 200_000
GROWTH_KIB_MAX = 16 * 1024
"""The files are 95 MiB together: who gathers rows or a body in memory shows it."""
TIMEOUT_S = 120.0
NOW = 1_750_000_000_000


def fill(path: Path) -> None:
    """Book half as many transfers between two accounts of the admin as there shall be entries."""
    setup.create(path, "admin", ADMIN_PASSWORD)
    connection = database.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    admin = connection.execute("SELECT id FROM users").fetchone()["id"]
    for name in ("one", "two"):
        connection.execute(
            "INSERT INTO accounts (id, owner_id, type, currency, name, status, base_amount,"
            " min_balance, buffer_bps, withdrawal_allowed, root_id, depth, created_at, metadata)"
            " VALUES (?, ?, 'revenue', 'USD', ?, 'active', 0, 0, 0, 1, ?, 0, 0, '{}')",
            (f"acc_{name}", admin, name, f"acc_{name}"),
        )
    buckets = [
        journal.own_bucket(connection, f"acc_{name}", "cash", "USD") for name in ("one", "two")
    ]
    outside = journal.system_bucket(connection, "external", "USD")
    book(connection, admin, "deposit", ledger.move(outside, buckets[0], 2 * ENTRIES))
    for number in range(ENTRIES // 2):
        ends = [journal.bucket(connection, bucket.id) for bucket in buckets]
        source, target = ends if number % 2 == 0 else ends[::-1]
        book(connection, admin, "transfer", ledger.move(source, target, 1))
    connection.execute("COMMIT")
    connection.close()


def book(connection: Any, actor: str, kind: str, lines: Any) -> None:
    source, target = (line.bucket.account_id for line in lines)
    draft = journal.Draft(
        kind=kind,
        amount=lines[1].amount,
        currency="USD",
        from_account_id=source,
        to_account_id=target,
        actor=actor,
        now_ms=NOW,
        memo="a transfer of one cent",
    )
    journal.post(connection, draft, lines)


@pytest.fixture(scope="module")
def book_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "book.db"
    fill(path)
    return path


def family(pid: int) -> list[int]:
    """Return a process and everything below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        below = [int(one) for one in children.read_text().split()]
    except OSError:
        return []
    return [pid, *(found for child in below for found in family(child))]


def resident_kib(pid: int) -> int:
    """Return the anonymous memory of a process: the mapped pages of the database do not count."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


class Watch:
    """The largest growth of any of the processes while it runs."""

    def __init__(self, pids: list[int]) -> None:
        self._before = {pid: resident_kib(pid) for pid in pids}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.growth_kib = 0
        self.samples = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for pid, before in self._before.items():
                self.growth_kib = max(self.growth_kib, resident_kib(pid) - before)
            self.samples += 1


def wait_for(client: Any, path: str, *statuses: str) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        shown = client.get(path).body
        if shown["status"] in statuses:
            return dict(shown)
        time.sleep(0.02)
    raise AssertionError(f"the report was never {statuses}")


def download(port: int, token: str, path: str) -> tuple[str, int, int]:
    """Read an export piece by piece; return its digest, length and number of lines."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    assert response.status == 200
    digest, size, lines = hashlib.sha256(), 0, 0
    while piece := response.read(65536):
        digest.update(piece)
        size += len(piece)
        lines += piece.count(b"\n")
    connection.close()
    return digest.hexdigest(), size, lines


def test_two_hundred_thousand_entries_take_bounded_memory(
    book_path: Path, run_server: Callable[..., Any], log_in_as: Callable[..., Any]
) -> None:
    server = run_server(book_path, "--workers", "1")
    client = log_in_as(server.port, "admin", ADMIN_PASSWORD)
    client.get("/v1/accounts/acc_one/analytics/performance")
    warm = client.post("/v1/reports", {"report": "portfolio"})
    assert wait_for(client, warm.headers["location"], "done", "failed")["rows"] == 2
    with Watch(family(server.process.pid)) as watch:
        asked = client.post("/v1/reports", {"report": "entries"})
        answered = []
        path = asked.headers["location"]
        while client.get(path).body["status"] != "done":
            started = time.monotonic()
            assert client.get("/v1/accounts/acc_one").status == 200
            answered.append(time.monotonic() - started)
        shown = client.get(path).body
        results = [
            download(server.port, client.token, f"{path}/export?format={name}")
            for name in ("csv", "json")
        ]
    assert watch.samples > 20
    assert shown["rows"] == ENTRIES + 1
    for (digest, size, lines), export in zip(results, shown["exports"], strict=True):
        assert (digest, size) == (export["sha256"], export["bytes"])
        assert size > 1.5 * GROWTH_KIB_MAX * 1024
        assert lines > ENTRIES
    assert len(answered) > 5, "requests are answered while a report is built"
    assert watch.growth_kib < GROWTH_KIB_MAX, f"{watch.growth_kib} KiB more"


def test_a_report_survives_the_kill_of_every_process(
    book_path: Path, run_server: Callable[..., Any], log_in_as: Callable[..., Any]
) -> None:
    server = run_server(book_path)
    client = log_in_as(server.port, "admin", ADMIN_PASSWORD)
    path = client.post("/v1/reports", {"report": "entries"}).headers["location"]
    wait_for(client, path, "running")
    for pid in reversed(family(server.process.pid)):
        os.kill(pid, signal.SIGKILL)
    server.process.wait(10)
    again = run_server(book_path)
    client = log_in_as(again.port, "admin", ADMIN_PASSWORD)
    assert client.get(path).body["status"] in {"queued", "running"}
    shown = wait_for(client, path, "done", "failed")
    assert (shown["status"], shown["rows"]) == ("done", ENTRIES + 1)
    digest, size, _ = download(again.port, client.token, f"{path}/export?format=csv")
    assert (digest, size) == (shown["exports"][0]["sha256"], shown["exports"][0]["bytes"])
