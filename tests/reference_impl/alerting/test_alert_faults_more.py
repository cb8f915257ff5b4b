"""More rules made to fire by real faults: several at once on one server, seen over the API."""

import contextlib
import resource
import secrets
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.hosting import Host, Hosting
from certification.counterparties.parties import Counterparties, every
from tests.reference_impl import _faults as faults
from tests.reference_impl.alerting._place import WITHIN_S, Place, running, until
from tests.reference_impl.conftest import Client
from tests.reference_impl.outside.conftest import told

pytestmark = pytest.mark.slow
MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 64 MiB."""
    if not faults.is_root():
        pytest.skip("a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system here: {mounted.stderr.strip()}")
    yield place
    command = ["umount", "-l", str(place)]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def by_threads(number: int, act: Callable[[int], object]) -> Iterator[None]:
    """Do something again and again in so many threads, whatever becomes of it."""
    stop = threading.Event()

    def repeat(which: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, AssertionError):
                act(which)

    threads = [threading.Thread(target=repeat, args=(which,)) for which in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_what_is_wrong_with_the_machine_and_the_file(small_disk: Path) -> None:
    """A disk that is nearly full, few files allowed, tables that cannot be read, a lost sync."""
    with running(small_disk, "--disk-free-min", "0", "--threads", "4") as place:
        runtime = runtime_of(place)
        readers = clients(place, 8)
        with by_threads(8, lambda which: readers[which].get("/v1/alerts")):
            time.sleep(1)  # each thread has opened the book: it opens nothing more below
        (small_disk / "filler").write_bytes(bytes(int(shutil.disk_usage(small_disk).free * 0.93)))
        limits = {}
        for pid in faults.workers(place.server):
            limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, limits[pid][1]))
        (runtime / "disk-lost").touch()
        rename(place, ("event_tallies", "away_tallies"), ("webhooks", "away_webhooks"))
        causes = ("DiskFull", "DiskHigh", "FilesHigh", "IntegrityUnknown")
        effects = ("BackgroundFails", "ErrorsHigh", "ErrorsLogged", "MetricMissing")
        asker = Client(port=place.server.port, token=place.admin.token)
        try:
            with by_threads(1, lambda _: asker.get("/v1/webhooks", check=False)):
                place.all_fire(*causes, *effects)
        finally:
            rename(place, ("away_tallies", "event_tallies"), ("away_webhooks", "webhooks"))
        (small_disk / "filler").unlink()
        (runtime / "disk-lost").unlink()
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        fired = place.fired()
        assert ("BackgroundFails", "delivery") in fired
        assert ("MetricMissing", "ledger_transactions_total") in fired
        assert fired["DiskHigh", ""]["notices"] == []  # DiskFull says as much
        place.all_over(*causes, *effects)


def runtime_of(place: Place) -> Path:
    pids = {f"alive-{pid}" for pid in faults.workers(place.server)}
    notes = until(lambda: [p for p in Path("/tmp").glob("alluse-*/alive-*") if p.name in pids])  # noqa: S108 - where servers keep notes
    return Path(notes[0].parent)


def rename(place: Place, *pairs: tuple[str, str]) -> None:
    with closing(sqlite3.connect(place.database, isolation_level=None, timeout=10)) as other:
        for old, new in pairs:
            other.execute(f"ALTER TABLE {old} RENAME TO {new}")


def clients(place: Place, number: int) -> list[Client]:
    """Return connections of the admin, each for one thread."""
    return [Client(port=place.server.port, token=place.admin.token) for _ in range(number)]


def test_writes_that_wait_for_each_other(tmp_path: Path) -> None:
    """Somebody else locks the file most of the time, while payments come."""
    with running(tmp_path) as place:
        account = place.admin.account()
        payers = clients(place, 8)

        def pay(which: int) -> None:
            payers[which].book("deposit", 1, to_account_id=account["id"])

        names = ("TransactionsSlow", "LatencyHigh", "CommitsSlow")
        with by_threads(8, pay), locking(place, 0.25):
            place.all_fire(*names)
        place.all_over(*names)


@contextlib.contextmanager
def locking(place: Place, hold_s: float) -> Iterator[None]:
    """Hold the lock of the file for most of the time."""
    with closing(
        sqlite3.connect(place.database, isolation_level=None, check_same_thread=False, timeout=10)
    ) as other:

        def hold(_: int) -> None:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(hold_s)
            other.execute("ROLLBACK")
            time.sleep(0.12)

        with by_threads(1, hold):
            yield


def test_writes_that_fill_queue_and_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six threads a worker: one writes, five fill the queue but for a place."""
    monkeypatch.setenv("ALLUSE_QUEUE_SIZE", "6")
    with running(tmp_path, "--threads", "6") as place:
        account = place.admin.account()
        payers = clients(place, 20)

        def pay(which: int) -> None:
            payers[which].book("deposit", 1, to_account_id=account["id"])

        names = ("WriteQueueHigh", "ThreadsBusy", "Overloaded")
        with by_threads(20, pay), locking(place, 0.8):
            place.all_fire(*names, within_s=90)
        place.all_over(*names)


@contextlib.contextmanager
def beside_others(folder: Path, *options: str) -> Iterator[tuple[Place, Counterparties]]:
    """Serve beside simulated outside systems."""
    token = secrets.token_urlsafe(32)
    host = Host(Hosting(token=token))
    host.serve()
    try:
        with (
            told(host, token),
            running(folder, *options) as place,
            closing(Counterparties.attach(host.control_url, token)) as parties,
        ):
            yield place, parties
    finally:
        host.stop()


def test_calls_that_fail_beside_a_system_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open breaker of one system does not keep the failures of another from anybody."""
    monkeypatch.setenv("ALLUSE_CALL_RETRIES", "0")
    with beside_others(tmp_path, "--call-timing", "300/1/1") as (place, parties):

        def probe(system: str) -> None:
            place.admin.post(f"/v1/integrations/{system}/probe", {})

        with parties.reporting.fault(FaultKind.REFUSE):
            for _ in range(4):
                probe("reporting")
            place.all_fire("BreakerOpen")
            # Too seldom for a breaker of its own, which opens at the third failure in a second.
            with parties.market.fault(FaultKind.STATUS, when=every(6)):
                end = time.monotonic() + WITHIN_S
                while ("CallsFail", "market") not in place.fired():
                    assert time.monotonic() < end
                    probe("market")
                    time.sleep(0.1)
            calls = place.fired()["CallsFail", "market"]
            assert calls["notices"][0]["receivers"] == ["email", "chat"]
        for _ in range(1000):
            probe("market")
        place.all_fire("IntegrationUnreliable")
        place.all_over("CallsFail")


def test_traffic_that_ends_a_disk_that_fills_and_events_that_nobody_takes(
    small_disk: Path,
) -> None:
    """Among them the rules that look back for an hour, which is six seconds here."""
    names = ("EventsWait", "TransactionsFallen", "ThroughputFallen", "DiskRunsOut")
    options = ("--disk-free-min", "0", "--alert-scale", "600")
    with beside_others(small_disk, *options) as (place, parties):
        account = place.admin.account()
        money = {"amount": 1, "currency": "USD"}
        item = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
        with parties.notification.fault(FaultKind.REFUSE):
            for _ in range(11):
                sent = place.admin.post("/v1/transactions/batch", {"items": [item] * 1000})
                assert sent.status == 200, sent.body
            readers = clients(place, 4)
            path = f"/v1/accounts/{account['id']}"
            with by_threads(4, lambda which: readers[which].get(path)):
                time.sleep(7)
            with (small_disk / "filler").open("wb", buffering=0) as filler:

                def fill(_: int) -> None:
                    filler.write(bytes(MIB // 4))
                    time.sleep(0.2)

                with by_threads(1, fill):
                    place.all_fire(*names)
        assert ("EventsWait", "notification") in place.fired()
        (small_disk / "filler").unlink()
        place.all_over(*names)
