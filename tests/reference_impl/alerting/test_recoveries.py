"""What the watcher takes for healed, by notes, checks and rows of the test."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_impl import background, health, metrics, recoveries, runtime_dir
from tests.reference_impl._desk import Desk, opened


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's runtime directory."""
    found = tmp_path / "runtime"
    found.mkdir()
    monkeypatch.setenv(runtime_dir.VARIABLE, str(found))
    return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        found.app.extensions["alluse.background"].tend()
        yield found


def shown(desk: Desk) -> list[tuple[str, int]]:
    rows = desk.get("/v1/recoveries").json["data"]
    return [(row["component"], row["duration_ms"]) for row in rows]


def a_dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def note(path: Path, text: str, at_ms: int) -> None:
    path.write_text(text)
    os.utime(path, ns=(at_ms * 1_000_000, at_ms * 1_000_000))


def test_a_worker_is_replaced_when_a_younger_one_lives(folder: Path) -> None:
    pid, known = a_dead_pid(), set[Path]()
    note(folder / f"alive-{pid}", "one", 10_000)
    assert list(recoveries.workers(folder, 20_000, known)) == []
    note(folder / f"alive-{os.getpid()}", "two", 19_000)
    note(folder / f"worker-{os.getpid()}", "two", 9_000)
    assert list(recoveries.workers(folder, 20_000, known)) == []  # lived already
    note(folder / f"worker-{os.getpid()}", "two", 11_500)
    (found,) = recoveries.workers(folder, 20_000, known)
    assert (found.component, found.started_at, found.ended_at) == ("worker", 10_000, 11_500)
    assert list(recoveries.workers(folder, 21_000, known)) == []


def test_two_dead_workers_need_two_younger_ones(folder: Path) -> None:
    for at_ms in (10_000, 10_500):
        note(folder / f"alive-{a_dead_pid()}", "dead", at_ms)
    note(folder / f"alive-{os.getpid()}", "young", 19_000)
    note(folder / f"worker-{os.getpid()}", "young", 11_500)
    known: set[Path] = set()
    assert len(list(recoveries.workers(folder, 20_000, known))) == 1
    assert list(recoveries.workers(folder, 21_000, known)) == []


def test_a_component_that_works_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = recoveries.Watch(desk.services)
    watch.step()
    assert shown(desk) == []
    with monkeypatch.context() as hurt:
        bad = ("system", lambda _: {"status": "warn", "observedValue": 3})
        hurt.setitem(health.CHECKS, "disk:space", bad)
        watch.step()
        desk.hands.advance(2)
        watch.step()
        assert shown(desk) == []
    desk.hands.advance(1)
    desk.app.extensions["alluse.background"].tend()
    watch.step()
    assert shown(desk) == [("disk", 3000)]
    watch.step()
    assert len(shown(desk)) == 1


def test_a_queue_that_was_full_and_drained(desk: Desk) -> None:
    watch, counted = recoveries.Watch(desk.services), desk.services.metrics
    counted.put(metrics.QUEUE_MAX, 100)
    for waiting in (50, 90, 50, 20):
        counted.put(metrics.QUEUE, waiting)
        watch.step()
        desk.hands.advance(1)
        desk.app.extensions["alluse.background"].tend()
        assert shown(desk) == []
    counted.put(metrics.QUEUE, 3)
    watch.step()
    assert shown(desk) == [("queue", 3000)]


def test_a_breaker_that_closed_again_is_told_once(desk: Desk) -> None:
    rows = [
        ("market", "closed", "open", 1000, "getHealth: timeout"),
        ("market", "open", "half_open", 2000, ""),
        ("market", "half_open", "open", 2100, "getHealth: timeout"),
        ("market", "open", "half_open", 3100, ""),
        ("market", "half_open", "closed", 3200, ""),
    ]
    insert = (
        "INSERT INTO breaker_changes (name, before, after, at_ms, reason) VALUES (?, ?, ?, ?, ?)"
    )
    desk.services.writer.submit(lambda connection: connection.executemany(insert, rows))
    watch = recoveries.Watch(desk.services)
    for _ in range(2):
        watch.step()
    assert shown(desk) == [("integration:market", 2200)]
    recoveries.Watch(desk.services).step()  # the next owner goes on where this one was
    assert len(shown(desk)) == 1


def test_the_check_after_a_failed_sync(folder: Path, desk: Desk) -> None:
    lost = folder / "disk-lost"
    note(lost, "", 1_000_000)
    recoveries.note_synced(folder, lost)
    recoveries.Watch(desk.services).step()
    ((component, took_ms),) = shown(desk)
    assert component == "database"
    assert took_ms > 0
    assert list(folder.glob("*synced-*")) == []


def test_what_could_not_be_written_is_written_later(folder: Path, desk: Desk) -> None:
    watch = recoveries.Watch(desk.services)
    (folder / "synced-1").write_text(json.dumps([1000, 3000]))
    desk.hands.advance(60)  # the lease has run out
    with pytest.raises(background.LostLeaseError):
        watch.step()
    desk.app.extensions["alluse.background"].tend()
    watch.step()
    assert shown(desk) == [("database", 2000)]


def test_the_server_before_is_missed_only_by_a_new_one(folder: Path, desk: Desk) -> None:
    now = desk.hands.now
    note(folder / "started", str(now / 1000 - 5), now)
    note(folder / "alive-1", "here", now)
    watch = recoveries.Watch(desk.services)
    watch.taken_over("recoveries", "here", now)
    watch.taken_over("housekeeping", "elsewhere", now)
    watch.step()
    assert shown(desk) == []
    watch.taken_over("recoveries", "elsewhere", now - 1000)
    watch.step()
    assert shown(desk) == [("server", background.LEASE_MS + 1000)]
    note(folder / "started", str(now / 1000 - 5000), now)
    watch.taken_over("recoveries", "elsewhere", now - 1000)
    watch.step()
    assert len(shown(desk)) == 1
