"""Jobs beside the requests: one owner at a time, another when it dies, and small errors."""

import dataclasses
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import background, housekeeping, metrics
from reference_impl.problems import Problem

from ._desk import Desk, opened

LEASE_S = background.LEASE_MS / 1000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def worker(desk: Desk, name: str, step: background.Step) -> background.Background:
    """Return the jobs of another worker over the same database."""
    shared = dataclasses.replace(desk.services, instance=name)
    jobs = background.Background(shared)
    jobs.run_when_owner("sweep", 1.0, step)
    return jobs


def value(desk: Desk, family: metrics.Family, job: str) -> float:
    rows = desk.services.metrics.store.everything()
    return sum(r.values[0] for r in rows if r.family == family.name and r.labels == (job,))


def test_one_owner_and_another_one_when_its_lease_runs_out(desk: Desk) -> None:
    done: list[str] = []
    one = worker(desk, "one", lambda: done.append("one"))
    two = worker(desk, "two", lambda: done.append("two"))
    lost: list[tuple[str, str, int]] = []
    two.on_taken_over = lambda *what: lost.append(what)
    for jobs in (one, two):
        jobs.tend()
    for jobs in (one, two):
        jobs.turn("sweep")
    assert done == ["one"]
    ran_out = desk.hands.now + background.LEASE_MS
    desk.hands.advance(LEASE_S - 1)
    two.tend()
    assert not two.owns("sweep")
    desk.hands.advance(1)  # the first one is dead, or hangs: it does not renew
    assert not one.owns("sweep")
    two.tend()
    for jobs in (one, two):
        jobs.turn("sweep")
    assert done == ["one", "two"]
    assert lost == [("sweep", "one", ran_out)]
    one.tend()
    assert not one.owns("sweep")


def test_a_living_owner_keeps_its_job_for_ever(desk: Desk) -> None:
    one, two = (worker(desk, name, lambda: None) for name in ("one", "two"))
    for _ in range(60):
        desk.hands.advance(1)
        for jobs in (one, two):
            jobs.tend()
        assert (one.owns("sweep"), two.owns("sweep")) == (True, False)


def test_a_lease_that_was_given_back_is_taken_at_once_and_nobody_was_lost(desk: Desk) -> None:
    one, two = (worker(desk, name, lambda: None) for name in ("one", "two"))
    lost: list[object] = []
    two.on_taken_over = lambda *what: lost.append(what)
    one.tend()
    one.stop()
    two.tend()
    assert (one.owns("sweep"), two.owns("sweep")) == (False, True)
    assert lost == []


def test_a_stop_that_comes_as_a_thread_is_about_to_start_gives_the_leases_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(desk, "one", lambda: None)
    with monkeypatch.context() as hurt:
        hurt.setattr(threading.Thread, "start", lambda _: one.stop())
        one._keep()
    held = background.owner(desk.services.readers.get(), "sweep")
    assert held == ("one", 0)


def test_a_worker_that_stops_takes_no_lease_any_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was about to take some when the stop came, and its turn to write is after that."""
    one, submit = worker(desk, "one", lambda: None), desk.services.writer.submit
    with monkeypatch.context() as hurt:

        def stop_first(change: Callable[[sqlite3.Connection], Any]) -> Any:
            hurt.setattr(desk.services.writer, "submit", submit)
            one.stop()
            return submit(change)

        hurt.setattr(desk.services.writer, "submit", stop_first)
        one.tend()
    held = background.owner(desk.services.readers.get(), "sweep")
    assert held is None or held[1] == 0


def test_a_lease_of_a_clock_gone_wrong_is_free(desk: Desk) -> None:
    one, two = (worker(desk, name, lambda: None) for name in ("one", "two"))
    desk.hands.advance(3600)
    one.tend()
    desk.hands.advance(-3600)
    two.tend()
    assert two.owns("sweep")


def test_a_write_of_an_owner_that_lost_its_lease_is_refused(desk: Desk) -> None:
    shared = dataclasses.replace(desk.services, instance="one")
    check = background.check_owner

    def step() -> None:
        desk.hands.advance(LEASE_S + 1)  # stopped in the middle of a step
        two.tend()
        shared.writer.submit(lambda connection: check(connection, "sweep", shared))
        raise AssertionError("it wrote")

    one, two = worker(desk, "one", step), worker(desk, "two", lambda: None)
    one.tend()
    assert one.turn("sweep")
    assert (one.owns("sweep"), two.owns("sweep")) == (False, True)


@pytest.mark.parametrize("error", [ValueError("a bug"), Problem("busy")])
def test_an_error_is_counted_and_the_next_step_comes(desk: Desk, error: Exception) -> None:
    left = [error]

    def step() -> None:
        if left:
            raise left.pop()

    one = worker(desk, "one", step)
    one.tend()
    assert one.turn("sweep") is False
    assert one.turn("sweep") is True
    assert value(desk, metrics.JOB_RUNS, "sweep") == 2
    assert value(desk, metrics.JOB_FAILURES, "sweep") == 1


def test_a_step_that_has_more_to_do_is_called_again(desk: Desk) -> None:
    left = [True, True, False]
    one = worker(desk, "one", lambda: left.pop(0))
    one.tend()
    one.turn("sweep")
    assert left == []


def test_pauses_grow_with_failures_up_to_half_a_minute() -> None:
    assert [background.pause_s(1.0, n) for n in (0, 1, 3, 20)] == [1.0, 2.0, 8.0, 30.0]
    assert background.pause_s(60.0, 5) == 60.0


def test_the_names_are_a_closed_set(desk: Desk) -> None:
    with pytest.raises(ValueError, match="sweep"):
        worker(desk, "one", lambda: None).run_when_owner("sweep", 1.0, lambda: None)


def test_clearing_up_is_such_a_job(desk: Desk) -> None:
    jobs: background.Background = desk.app.extensions["alluse.background"]
    jobs.tend()
    assert jobs.owns("housekeeping")
    assert jobs.turn("housekeeping")
    assert value(desk, metrics.JOB_RUNS, "housekeeping") == 1
    assert housekeeping.rounds(desk.services) == {"stored_answers": 0, "sessions": 0}
