"""Circuit breakers: a system that fails is not called for a while, by any worker.

    closed     calls go out; `failure_threshold` failures within `window_s` open it
    open       nothing goes out for `open_s`
    half_open  at most `half_open_max` calls at a time try; so many successes in a row close it,
               one failure opens it again

A failure is no answer, a useless one, 5xx, or one that took longer than `slow_ms`; 4xx is none: the
system works and does not like the request. A trial that never reports back gives its place free
when its lease ends. The state is one row in the database, changed in the writer's turn, so all
workers share it; a closed breaker costs one read a call and no write.

`judge`, `admit` and `report` are the rules, without clock or database; `Breakers` keeps the rows.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import msgspec

from reference_impl.problems import Problem

SUCCESS_NOTED_MS = 5_000
"""The last success is noted no more often than this."""
CHANGES_KEPT = 1_000


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


STATE_NUMBERS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What opens a breaker and how it closes again."""

    failure_threshold: int
    window_s: int
    slow_ms: int
    open_s: int
    half_open_max: int
    lease_ms: int
    """How long a trial keeps its place without reporting back."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One breaker at one moment."""

    state: State = State.CLOSED
    since_ms: int = 0
    failures_ms: tuple[int, ...] = ()
    """The last failures while closed."""
    trials_ms: tuple[int, ...] = ()
    """When each running trial's lease ends."""
    successes: int = 0
    """Trials in a row that went well."""


CLOSED = Standing()


def judge(standing: Standing, rules: Rules, now_ms: int) -> State:
    """Return the state as it is at this moment: an open breaker whose time is over is half open.

    A clock that was set back does not keep a breaker open.
    """
    elapsed_ms = now_ms - standing.since_ms
    over = elapsed_ms >= rules.open_s * 1000 or elapsed_ms < 0
    return State.HALF_OPEN if standing.state is State.OPEN and over else standing.state


def free(standing: Standing, rules: Rules, now_ms: int) -> bool:
    """Tell whether a half-open breaker has a place for one more trial."""
    return len(_running(standing, rules, now_ms)) < rules.half_open_max


def admit(standing: Standing, rules: Rules, now_ms: int) -> Standing | None:
    """Take the place of one trial; None where there is none, or none is needed."""
    if judge(standing, rules, now_ms) is not State.HALF_OPEN or not free(standing, rules, now_ms):
        return None
    if standing.state is State.OPEN:
        standing = Standing(state=State.HALF_OPEN, since_ms=now_ms)
    running = _running(standing, rules, now_ms)
    return msgspec.structs.replace(standing, trials_ms=(*running, now_ms + rules.lease_ms))


def _running(standing: Standing, rules: Rules, now_ms: int) -> tuple[int, ...]:
    """Leases that have not ended; one that ends later than it can was given by another clock."""
    latest = now_ms + rules.lease_ms
    return tuple(end for end in standing.trials_ms if now_ms < end <= latest)


def report(
    standing: Standing, rules: Rules, now_ms: int, *, good: bool | None, lease_ms: int | None
) -> Standing:
    """Return what follows from a call that ended; `good` of None says nothing about the system.

    `lease_ms` is that of a trial. A call that began before the state changed, and a trial that
    lost its place, say nothing about the state after it.
    """
    if standing.state is State.HALF_OPEN and lease_ms in standing.trials_ms:
        return _tried(standing, rules, now_ms, (good, lease_ms))
    if standing.state is State.CLOSED and lease_ms is None and good is False:
        recent = [at for at in standing.failures_ms if 0 <= now_ms - at < rules.window_s * 1000]
        recent = [*recent, now_ms][-rules.failure_threshold :]
        if len(recent) >= rules.failure_threshold:
            return Standing(state=State.OPEN, since_ms=now_ms)
        return msgspec.structs.replace(standing, failures_ms=tuple(recent))
    return standing


def _tried(
    standing: Standing, rules: Rules, now_ms: int, trial: tuple[bool | None, int]
) -> Standing:
    good, lease_ms = trial
    if good is False:
        return Standing(state=State.OPEN, since_ms=now_ms)
    successes = standing.successes + (good is True)
    if successes >= rules.half_open_max:
        return Standing(state=State.CLOSED, since_ms=now_ms)
    left = list(standing.trials_ms)
    left.remove(lease_ms)
    return msgspec.structs.replace(standing, trials_ms=tuple(left), successes=successes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to make one call."""

    lease_ms: int | None = None
    """When the place of this trial is given free; None for a call that is no trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No call now."""

    retry_after_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is kept of one system."""

    standing: Standing = CLOSED
    last_success_ms: int | None = None
    last_failure_ms: int | None = None
    last_error: str = ""


Write = Callable[[Callable[[sqlite3.Connection], Any]], Any]
"""Runs an action in the writer's turn and returns its result after the commit."""


@dataclass(slots=True, kw_only=True)
class Breakers:
    """The breakers of this deployment, as one worker sees and changes them."""

    read: Callable[[], sqlite3.Connection]
    write: Write
    now_ms: Callable[[], int]
    changed: Callable[[str, State], None] = lambda _name, _state: None
    """Called after a change of state, in the worker that made it."""
    _noted_ms: dict[str, int] = field(default_factory=dict)

    def admit(self, name: str, rules: Rules) -> Permit | Refused:
        """Let a call go out, as one of the few trials if the breaker is half open."""
        standing = load(self.read(), name).standing
        now_ms = self.now_ms()
        state = judge(standing, rules, now_ms)
        if state is State.CLOSED:
            return Permit()
        if state is State.OPEN:
            left_ms = standing.since_ms + rules.open_s * 1000 - now_ms
            return Refused(retry_after_s=_whole_s(left_ms))
        if not free(standing, rules, now_ms):
            return Refused(retry_after_s=1)
        try:
            return self._claim(name, rules)
        except (Problem, sqlite3.Error):  # the writer is busy or away: so is everything else
            return Refused(retry_after_s=1)

    def open_for_s(self, name: str, rules: Rules) -> int:
        """Return in how many seconds an open breaker lets a call out; 0 if it is not open."""
        standing, now_ms = load(self.read(), name).standing, self.now_ms()
        if judge(standing, rules, now_ms) is not State.OPEN:
            return 0
        return _whole_s(standing.since_ms + rules.open_s * 1000 - now_ms)

    def _claim(self, name: str, rules: Rules) -> Permit | Refused:
        def claim(connection: sqlite3.Connection) -> Permit | Refused:
            row, now_ms = load(connection, name), self.now_ms()
            if judge(row.standing, rules, now_ms) is State.CLOSED:
                return Permit()
            taken = admit(row.standing, rules, now_ms)
            if taken is None:
                return Refused(retry_after_s=1)
            self._store(connection, name, row, replace(row, standing=taken))
            return Permit(lease_ms=taken.trials_ms[-1])

        before = load(self.read(), name).standing.state
        found: Permit | Refused = self.write(claim)
        if isinstance(found, Permit) and found.lease_ms and before is State.OPEN:
            self.changed(name, State.HALF_OPEN)
        return found

    def report(
        self, name: str, rules: Rules, permit: Permit, *, good: bool | None, error: str = ""
    ) -> None:
        """Say how a call ended; the writer being busy, it is forgotten."""
        now_ms = self.now_ms()
        if permit.lease_ms is None and good is not False:
            noted_ms = self._noted_ms.get(name)
            fresh = noted_ms is not None and 0 <= now_ms - noted_ms < SUCCESS_NOTED_MS
            if good is None or fresh:
                return
            self._noted_ms[name] = now_ms

        def write(connection: sqlite3.Connection) -> State | None:
            row, now_ms = load(connection, name), self.now_ms()
            after = report(row.standing, rules, now_ms, good=good, lease_ms=permit.lease_ms)
            changed = replace(row, standing=after)
            if good:
                changed = replace(changed, last_success_ms=now_ms)
            elif good is False:
                changed = replace(changed, last_failure_ms=now_ms, last_error=error[:200])
            self._store(connection, name, row, changed)
            return None if after.state is row.standing.state else after.state

        with contextlib.suppress(Problem, sqlite3.Error):
            state = self.write(write)
            if state is not None:
                self.changed(name, state)

    def _store(self, connection: sqlite3.Connection, name: str, before: Row, after: Row) -> None:
        standing = after.standing
        connection.execute(
            "INSERT INTO breakers VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " state = excluded.state, since_ms = excluded.since_ms, standing = excluded.standing,"
            " last_success_ms = excluded.last_success_ms,"
            " last_failure_ms = excluded.last_failure_ms, last_error = excluded.last_error",
            (
                name,
                standing.state.value,
                standing.since_ms,
                msgspec.json.encode(standing).decode(),
                after.last_success_ms,
                after.last_failure_ms,
                after.last_error,
            ),
        )
        if before.standing.state is not standing.state:
            connection.execute(
                "INSERT INTO breaker_changes (name, before, after, at_ms, reason)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    name,
                    before.standing.state.value,
                    standing.state.value,
                    self.now_ms(),
                    after.last_error if standing.state is State.OPEN else "",
                ),
            )
            connection.execute(
                "DELETE FROM breaker_changes WHERE seq <= (SELECT max(seq) FROM breaker_changes)"
                " - ?",
                (CHANGES_KEPT,),
            )


def _whole_s(milliseconds: int) -> int:
    return max(-(-milliseconds // 1000), 1)


def load(connection: sqlite3.Connection, name: str) -> Row:
    """Return the breaker of a system; closed if nothing was ever kept of it."""
    found = connection.execute(
        "SELECT standing, last_success_ms, last_failure_ms, last_error FROM breakers"
        " WHERE name = ?",
        (name,),
    ).fetchone()
    if found is None:
        return Row()
    return Row(
        standing=msgspec.json.decode(found["standing"], type=Standing),
        last_success_ms=found["last_success_ms"],
        last_failure_ms=found["last_failure_ms"],
        last_error=found["last_error"],
    )
