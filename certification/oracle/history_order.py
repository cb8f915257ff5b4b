"""Draws what must come before what: between writes, between writes and reads, and by the clock.

The clock's edges go through moments (one node for each ended operation, in a chain), so that there
are about as many edges as operations and not their square.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from certification.oracle.history import (
    Anomaly,
    History,
    Kind,
    Name,
    Operation,
    Outcome,
)
from certification.oracle.history_versions import Versions, shown_versions


class Edge(Enum):
    """Why one operation comes before another; closed."""

    WRITE_WRITE = "ww"
    """The statement has one right before the other."""
    WRITE_READ = "wr"
    """The read shows the write."""
    READ_WRITE = "rw"
    """The read does not show the write."""
    CLOCK = "rt"
    """One was answered before the other was sent, or, of a read, before its bound began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The versions of an account that a read may show by the clock: least and most."""

    least: int
    most: int
    after: Operation | None = None
    """The write that makes `least` what it is."""
    before: Operation | None = None


@dataclass(slots=True, kw_only=True)
class Graph:
    """Operations and moments as numbered nodes; nodes from `moments` on are moments."""

    operations: tuple[Operation, ...]
    moments: int
    out: list[list[tuple[int, Edge, str]]] = field(default_factory=list)
    """For each node: (to, why, account), account empty for the clock of all writes."""


def windows(book: Versions, history: History, operations: Sequence[Operation]) -> list[Window]:
    """Return between which versions the clock lets each of these operations stand."""
    writers = [(row, n) for n, row in enumerate(book.writers) if row is not None]
    ended = sorted(
        ((row.ended_ns, n, row) for row, n in writers if row.ended_ns is not None),
        key=lambda item: item[:2],
    )
    began = sorted(((row.began_ns, n, row) for row, n in writers), key=lambda item: item[:2])
    highest: list[tuple[int, Operation]] = []
    for _, number, row in ended:
        if not highest or number > highest[-1][0]:
            highest.append((number, row))
        else:
            highest.append(highest[-1])
    lowest: list[tuple[int, Operation]] = []
    for _, number, row in reversed(began):
        if not lowest or number < lowest[-1][0]:
            lowest.append((number, row))
        else:
            lowest.append(lowest[-1])
    ends, begins = [item[0] for item in ended], [item[0] for item in began]
    found = []
    for operation in operations:
        done = bisect_left(ends, history.earliest_ns(operation))
        until = operation.ended_ns
        later = len(begins) - _right(begins, until) if until is not None else 0
        number, after = highest[done - 1] if done else (-1, None)
        limit, before = lowest[later - 1] if later else (len(book.postings), None)
        found.append(Window(least=number + 1, most=limit, after=after, before=before))
    return found


def _right(values: Sequence[int], bound: int) -> int:
    return bisect_left(values, bound + 1)


def placed(book: Versions, history: History) -> dict[int, int]:
    """Return the version that each read shows, by operation number.

    Where a balance stands for several versions, the least that the clock and the reads before it
    allow: any other choice leaves later reads less room.
    """
    reads = [row for row in book.operations if row.reads and row.outcome is Outcome.OK]
    reads.sort(key=history.earliest_ns)
    limits = windows(book, history, reads)
    by_end = sorted((row.ended_ns, row.number) for row in reads if row.ended_ns is not None)
    chosen: dict[int, int] = {}
    waiting, seen = 0, 0
    for read, window in zip(reads, limits, strict=True):
        while waiting < len(by_end) and by_end[waiting][0] < history.earliest_ns(read):
            seen = max(seen, chosen[by_end[waiting][1]])
            waiting += 1
        candidates = shown_versions(book, read)
        least = bisect_left(candidates, max(window.least, seen))
        fits = candidates[least : least + 1]
        # None fits: the newest that is too old, or else the oldest, makes the cycle that shows it.
        if not fits or fits[0] > window.most:
            fits = candidates[max(least - 1, 0) :]
        chosen[read.number] = fits[0]
    return chosen


def wrong_refusals(book: Versions, history: History, floor: int) -> Iterator[Anomaly]:
    """Find refusals for want of money that was there at every moment that the clock allows.

    Says nothing of accounts with holds: statements do not show what was held when.
    """
    if any(row.kind is Kind.HOLD for row in book.operations):
        return
    refused = [
        row
        for row in book.operations
        if row.outcome is Outcome.REFUSED and row.for_funds and row.amount_on(book.account) < 0
    ]
    for row, window in zip(refused, windows(book, history, refused), strict=True):
        possible = book.balances[window.least : window.most + 1]
        least = min(possible, default=floor)
        if least + row.amount_on(book.account) >= floor:
            reasons = [
                f"{row.client} asked for {-row.amount_on(book.account)}",
                f"while it was asked the account never had less than {least}",
            ]
            involved = tuple(other for other in (window.after, row) if other)
            yield Anomaly(
                name=Name.WRONG_REFUSAL,
                account=book.account,
                operations=involved,
                reasons=tuple(reasons),
            )


def graph_of(books: Mapping[str, Versions], history: History) -> Graph:
    """Return what must come before what, over all accounts."""
    operations = history.operations
    place = {row.number: n for n, row in enumerate(operations)}
    graph = Graph(operations=operations, moments=len(operations))
    graph.out = [[] for _ in operations]
    standing = {row.number for book in books.values() for row in book.writers if row is not None}
    for account, book in books.items():
        shown = placed(book, history)
        _statement_edges(graph, book, place)
        _read_edges(graph, book, place, shown)
        here = [row for row in book.operations if row.number in standing or row.number in shown]
        _clock_edges(graph, history, account, [place[row.number] for row in here])
    _clock_edges(graph, history, "", sorted(place[number] for number in standing))
    return graph


def _statement_edges(graph: Graph, book: Versions, place: Mapping[int, int]) -> None:
    known = [place[row.number] for row in book.writers if row is not None]
    for earlier, later in pairwise(known):
        graph.out[earlier].append((later, Edge.WRITE_WRITE, book.account))


def _read_edges(
    graph: Graph, book: Versions, place: Mapping[int, int], shown: Mapping[int, int]
) -> None:
    for number, version in shown.items():
        read = place[number]
        seen = book.writers[version - 1] if version else None
        if seen is not None:
            graph.out[place[seen.number]].append((read, Edge.WRITE_READ, book.account))
        missed = book.writers[version] if version < len(book.writers) else None
        if missed is not None:
            graph.out[read].append((place[missed.number], Edge.READ_WRITE, book.account))


def _clock_edges(graph: Graph, history: History, account: str, nodes: Sequence[int]) -> None:
    rows = [(n, graph.operations[n]) for n in nodes]
    ended = sorted((row.ended_ns, n) for n, row in rows if row.ended_ns is not None)
    first = len(graph.out)
    for number, (_, node) in enumerate(ended):
        graph.out.append([] if number + 1 == len(ended) else [(first + number + 1, Edge.CLOCK, "")])
        graph.out[node].append((first + number, Edge.CLOCK, account))
    ends = [item[0] for item in ended]
    for node, row in rows:
        done = bisect_left(ends, history.earliest_ns(row))
        if done:
            graph.out[first + done - 1].append((node, Edge.CLOCK, account))
