"""The rules of breakers with a clock that the test moves, and the rows that workers share."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl import database
from reference_impl.integration import breakers
from reference_impl.integration.breakers import (
    CLOSED,
    Breakers,
    Permit,
    Refused,
    Rules,
    Standing,
    State,
    admit,
    judge,
    report,
)
from reference_impl.problems import Problem

RULES = Rules(
    failure_threshold=3, window_s=1, slow_ms=150, open_s=1, half_open_max=2, lease_ms=1_300
)
T = 1_800_000_000_000


def failed(standing: Standing, at_ms: int) -> Standing:
    return report(standing, RULES, at_ms, good=False, lease_ms=None)


def test_failures_open_it_only_when_they_come_within_the_window() -> None:
    apart = failed(failed(failed(CLOSED, T), T + 600), T + 1_200)
    assert apart.state is State.CLOSED
    together = failed(failed(failed(CLOSED, T), T + 400), T + 999)
    assert (together.state, together.since_ms) == (State.OPEN, T + 999)


def test_a_success_does_not_wipe_out_failures_and_4xx_adds_none() -> None:
    standing = failed(failed(CLOSED, T), T + 1)
    for good in (True, None):
        standing = report(standing, RULES, T + 2, good=good, lease_ms=None)
    assert failed(standing, T + 3).state is State.OPEN


def test_an_open_breaker_is_half_open_when_its_time_is_over_and_lets_few_try() -> None:
    standing = Standing(state=State.OPEN, since_ms=T)
    assert judge(standing, RULES, T + 999) is State.OPEN
    assert admit(standing, RULES, T + 999) is None
    assert judge(standing, RULES, T + 1_000) is State.HALF_OPEN
    first = admit(standing, RULES, T + 1_000)
    assert first is not None
    second = admit(first, RULES, T + 1_000)
    assert second is not None
    assert admit(second, RULES, T + 1_000) is None


def test_trials_close_it_or_open_it_again() -> None:
    lease_ms = T + RULES.lease_ms
    trying = Standing(state=State.HALF_OPEN, since_ms=T, trials_ms=(lease_ms, lease_ms))
    once = report(trying, RULES, T + 5, good=True, lease_ms=lease_ms)
    assert (once.state, once.trials_ms) == (State.HALF_OPEN, (lease_ms,))
    assert report(once, RULES, T + 6, good=True, lease_ms=lease_ms).state is State.CLOSED
    again = report(once, RULES, T + 6, good=False, lease_ms=lease_ms)
    assert (again.state, again.since_ms) == (State.OPEN, T + 6)


def test_a_trial_that_hangs_loses_its_place() -> None:
    taken = admit(Standing(state=State.OPEN, since_ms=T), RULES, T + 1_000)
    assert taken is not None
    taken = admit(taken, RULES, T + 1_000)
    assert taken is not None
    over_ms = T + 1_000 + RULES.lease_ms
    assert admit(taken, RULES, over_ms - 1) is None
    freed = admit(taken, RULES, over_ms)
    assert freed is not None
    late = report(freed, RULES, over_ms + 1, good=False, lease_ms=taken.trials_ms[0])
    assert late == freed


def test_a_call_from_before_says_nothing_about_the_state_after_it() -> None:
    trying = Standing(state=State.HALF_OPEN, since_ms=T, trials_ms=(T + 1_300,))
    assert report(trying, RULES, T + 5, good=False, lease_ms=None) == trying


def test_a_clock_that_was_set_back_keeps_nothing_open() -> None:
    standing = Standing(state=State.OPEN, since_ms=T)
    assert judge(standing, RULES, T - 3_600_000) is State.HALF_OPEN


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from(["call", "good", "bad", "none"]))))
def test_never_more_trials_than_declared_and_always_a_way_back(
    steps: list[tuple[int, str]],
) -> None:
    standing, now_ms, leases = CLOSED, T, list[int]()
    for wait_ms, what in steps:
        now_ms += wait_ms
        if what == "call":
            taken = admit(standing, RULES, now_ms)
            if taken is not None:
                standing = taken
                leases.append(taken.trials_ms[-1])
        else:
            good = {"good": True, "bad": False, "none": None}[what]
            lease_ms = leases.pop() if leases else None
            standing = report(standing, RULES, now_ms, good=good, lease_ms=lease_ms)
        running = [end for end in standing.trials_ms if end > now_ms]
        assert len(running) <= RULES.half_open_max
        assert standing.state is State.HALF_OPEN or not standing.trials_ms
    now_ms += 10_000
    for _ in range(RULES.half_open_max):
        if judge(standing, RULES, now_ms) is State.HALF_OPEN:
            taken = admit(standing, RULES, now_ms)
            assert taken is not None
            lease_ms = taken.trials_ms[-1]
            standing = report(taken, RULES, now_ms, good=True, lease_ms=lease_ms)
    assert judge(standing, RULES, now_ms) is State.CLOSED


class Two:
    """Two workers over one database; the clock is the test's."""

    def __init__(self, path: Path) -> None:
        database.create(path).close()
        self.now = T
        self.connection = database.connect(path)
        self.seen: list[tuple[str, State]] = []
        self.first, self.second = self.worker(), self.worker()

    def worker(self) -> Breakers:
        return Breakers(
            read=lambda: self.connection,
            write=lambda action: action(self.connection),
            now_ms=lambda: self.now,
            changed=lambda name, state: self.seen.append((name, state)),
        )


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path / "book.db")


def test_failures_of_all_workers_add_up_and_all_see_the_state(two: Two) -> None:
    for worker in (two.first, two.second, two.first):
        permit = worker.admit("market", RULES)
        assert permit == Permit()
        worker.report("market", RULES, Permit(), good=False, error="getQuote: timeout")
    assert two.seen == [("market", State.OPEN)]
    assert two.second.admit("market", RULES) == Refused(retry_after_s=1)
    assert two.second.admit("reporting", RULES) == Permit()
    two.now += 1_000
    trials = [worker.admit("market", RULES) for worker in (two.first, two.second, two.first)]
    assert [isinstance(trial, Permit) for trial in trials] == [True, True, False]
    for worker, trial in zip((two.second, two.first), trials, strict=False):
        assert isinstance(trial, Permit)
        worker.report("market", RULES, trial, good=True)
    assert two.first.admit("market", RULES) == Permit()
    changes = two.connection.execute("SELECT before, after, reason FROM breaker_changes").fetchall()
    assert [tuple(row) for row in changes] == [
        ("closed", "open", "getQuote: timeout"),
        ("open", "half_open", ""),
        ("half_open", "closed", ""),
    ]


def test_a_closed_breaker_costs_no_write_a_call(two: Two) -> None:
    two.first.report("market", RULES, Permit(), good=True)
    writes = two.connection.total_changes
    for _ in range(100):
        permit = two.first.admit("market", RULES)
        assert isinstance(permit, Permit)
        two.first.report("market", RULES, permit, good=True)
    assert two.connection.total_changes == writes


def test_a_writer_that_is_busy_stops_no_call(two: Two) -> None:
    def busy(_action: object) -> object:
        raise Problem("busy")

    worker = breakers.Breakers(read=lambda: two.connection, write=busy, now_ms=lambda: two.now)
    assert worker.admit("market", RULES) == Permit()
    worker.report("market", RULES, Permit(), good=False, error="x")
