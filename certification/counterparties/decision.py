"""Which fault applies to a request: a pure function of plan, counts, clock and seed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from certification.counterparties.faults import CALLBACK_KINDS, Fault, FaultKind, WhenKind

CountKey = tuple[int, str]
"""Id of the armed fault, and the idempotency key where attempts are counted by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """A fault at work."""

    id: int
    fault: Fault
    armed_s: float
    """On the monotonic clock."""

    def alive(self, now_s: float) -> bool:
        """Whether its lease has not run out."""
        return now_s < self.armed_s + self.fault.lease_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What of a request (or callback) the decision may look at."""

    operation: str | None
    """None where the request is no operation of the contract."""
    key: str | None
    callback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The fault to play, if any, and which counts rise by one."""

    armed: Armed | None
    counted: tuple[CountKey, ...]


def decide(
    plan: Sequence[Armed],
    counts: Mapping[CountKey, int],
    facts: Facts,
    *,
    now_s: float,
    seed: int,
) -> Decision:
    """Return the first fault of the plan that applies; every live one that matches is counted."""
    chosen: Armed | None = None
    counted: list[CountKey] = []
    for armed in plan:
        if not armed.alive(now_s) or not _matches(armed.fault, facts):
            continue
        key = _count_key(armed, facts)
        counted.append(key)
        if chosen is None and applies(armed, counts.get(key, 0), now_s=now_s, seed=seed):
            chosen = armed
    return Decision(armed=chosen, counted=tuple(counted))


def refused(plan: Sequence[Armed], now_s: float) -> bool:
    """Whether the port is to be closed now."""
    return any(
        armed.fault.kind is FaultKind.REFUSE
        and armed.alive(now_s)
        and applies(armed, 0, now_s=now_s, seed=0)
        for armed in plan
    )


def applies(armed: Armed, index: int, *, now_s: float, seed: int) -> bool:
    """Whether the fault applies to the request with this index (from 0) among those it matched."""
    when, age_s = armed.fault.when, now_s - armed.armed_s
    match when.kind:
        case WhenKind.ALWAYS:
            return True
        case WhenKind.FIRST:
            return index < when.number("n")
        case WhenKind.EVERY:
            return (index + 1) % int(when.number("n")) == 0
        case WhenKind.WINDOW:
            start = when.number("after_s")
            return start <= age_s < start + when.number("for_s")
        case WhenKind.RAMP:
            done = min(1.0, age_s / when.number("over_s"))
            low, high = when.number("from_share"), when.number("to_share")
            return _draw(f"{seed}:{armed.id}:{index}") < low + (high - low) * done
        case _:
            assert_never(when.kind)


def _matches(fault: Fault, facts: Facts) -> bool:
    if fault.kind is FaultKind.REFUSE or (fault.kind in CALLBACK_KINDS) is not facts.callback:
        return False
    return not fault.operations or facts.operation in fault.operations


def _count_key(armed: Armed, facts: Facts) -> CountKey:
    per_key = armed.fault.when.parameters.get("per_key") is True
    return armed.id, (facts.key or "") if per_key else ""


def _draw(text: str) -> float:
    """Return a number from 0 to below 1 that depends on the text alone."""
    return zlib.crc32(text.encode()) / 2**32
