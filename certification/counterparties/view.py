"""What a journal says of the callers: attempts by key, gaps, requests at once. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from certification.counterparties.journal import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """All requests of one caller with one operation and idempotency key, oldest first."""

    key: str
    operation: str | None
    arrived_s: tuple[float, ...]
    ended_s: tuple[float | None, ...]
    """When the answer was out or the caller gave up."""
    statuses: tuple[int | None, ...]
    faults: tuple[str | None, ...]
    payloads: int
    """Different payloads under the key; more than one is a mistake of the caller."""
    effects: int
    """How often it took effect; more than one would be a mistake of ours."""

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """From the end of an attempt (its arrival, if it is open) to the next arrival."""
        ends = (
            arrived if ended is None or ended > following else ended
            for arrived, ended, following in zip(
                self.arrived_s, self.ended_s, self.arrived_s[1:], strict=False
            )
        )
        return tuple(
            following - end for end, following in zip(ends, self.arrived_s[1:], strict=False)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What one caller did."""

    name: str
    requests: int
    connections: int
    max_in_flight: int
    """Most requests of this caller that were being answered at one time."""
    gaps_s: tuple[float, ...]
    """Between arrivals."""
    attempts: tuple[Attempts, ...]
    without_trace: int
    violations: int


def callers(entries: Iterable[Entry]) -> tuple[Caller, ...]:
    """Group what the deployment called by its instances; callbacks are left out."""
    rows: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.direction == "in":
            rows.setdefault(entry.caller, []).append(entry)
    return tuple(_caller(name, found) for name, found in sorted(rows.items()))


def attempts(entries: Iterable[Entry]) -> tuple[Attempts, ...]:
    """Group requests with a key by operation and key, in the order of first arrival."""
    rows: dict[tuple[str | None, str], list[Entry]] = {}
    for entry in entries:
        if entry.direction == "in" and entry.key is not None:
            rows.setdefault((entry.operation, entry.key), []).append(entry)
    return tuple(
        Attempts(
            key=key,
            operation=operation,
            arrived_s=tuple(entry.arrived_s for entry in found),
            ended_s=tuple(entry.done_s for entry in found),
            statuses=tuple(entry.status for entry in found),
            faults=tuple(entry.fault for entry in found),
            payloads=len({(entry.path, entry.body_sha256) for entry in found}),
            effects=sum(entry.effect for entry in found),
        )
        for (operation, key), found in rows.items()
    )


def max_in_flight(spans: Iterable[tuple[float, float]]) -> int:
    """Return how many spans (from, to) overlap at most; those that touch do not."""
    edges = sorted(edge for start, end in spans for edge in ((start, 1), (end, -1)))
    most = now = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


def _caller(name: str, entries: Sequence[Entry]) -> Caller:
    arrivals = sorted(entry.arrived_s for entry in entries)
    spans = ((row.arrived_s, inf if row.done_s is None else row.done_s) for row in entries)
    return Caller(
        name=name,
        requests=len(entries),
        connections=len({entry.peer for entry in entries}),
        max_in_flight=max_in_flight(spans),
        gaps_s=tuple(after - before for before, after in pairwise(arrivals)),
        attempts=attempts(entries),
        without_trace=sum(entry.traceparent is None for entry in entries),
        violations=sum(bool(entry.violations) for entry in entries),
    )
