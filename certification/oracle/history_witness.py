"""Makes what cannot be ordered as small as it can be and still cannot be ordered."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

from certification.oracle.history import Balance, History, Operation, Outcome, Statement
from certification.oracle.history_search import (
    Opinion,
    Search,
    knowledge,
    order,
)
from certification.oracle.history_versions import shown_versions, versions_of


def smallest(history: History, account: str, found: Search, *, steps_max: int) -> Search:
    """Leave out of a guided search's operations all that is not needed for that.

    First everything that was sent after the first answer that nothing explains; then reads and
    refusals, one by one, as long as there is still no order; then bookings, where what remains is
    impossible whatever money there is. A booking that is left out is taken off the balances that
    show it, so that these stay as right as they were.
    """
    known = knowledge(history, account)
    book = versions_of(history)[account]
    places = known.rows or {}

    def impossible(rows: Sequence[Operation], floor: int | None) -> bool:
        booked = sorted(places[row.number] for row in rows if row.number in places)
        turns = {place: found.start[2] + turn for turn, place in enumerate(booked)}
        rows_now = {row.number: turns[places[row.number]] for row in rows if row.number in places}
        judged = replace(known, rows=rows_now, floor=floor)
        opinion, _ = order(history, judged, (found.start, rows), (steps_max, lambda: False))
        return opinion is Opinion.IMPOSSIBLE

    ends = sorted(row.ended_ns for row in found.operations if row.ended_ns is not None)
    moment = bisect_left(
        ends,
        True,
        key=lambda end: impossible(until(history, found.operations, end), known.floor),
    )
    kept = until(history, found.operations, ends[min(moment, len(ends) - 1)])
    for row in sorted(kept, key=lambda row: -row.began_ns):
        rest = [other for other in kept if other.number != row.number]
        idle = row.reads or row.outcome is Outcome.REFUSED
        if idle and impossible(rest, known.floor):
            kept = rest
    seen = {row.number: shown_versions(book, row) for row in kept if row.reads}
    if all(len(versions) == 1 for versions in seen.values()) and impossible(kept, None):
        for row in [row for row in kept if row.number in places]:
            rest = without(kept, row, (account, places[row.number], seen))
            if impossible(rest, None):
                kept = rest
    return replace(found, operations=tuple(kept))


def without(
    rows: Sequence[Operation],
    gone: Operation,
    book: tuple[str, int, Mapping[int, tuple[int, ...]]],
) -> list[Operation]:
    """Return the operations without a booking, and balances without what it booked.

    `book` is the account, the booking's place in the statement, and the version of each read.
    """
    account, place, seen = book
    kept = []
    for row in rows:
        if row.number == gone.number:
            continue
        if isinstance(row.shown, Balance) and seen[row.number][0] > place:
            less = row.shown.ledger - gone.amount_on(account)
            kept.append(replace(row, shown=replace(row.shown, ledger=less)))
        elif not isinstance(row.shown, Statement):
            kept.append(row)
    return kept


def until(history: History, rows: Sequence[Operation], moment_ns: int) -> list[Operation]:
    """Return what was known at a moment: later answers are unknown, later requests not sent."""
    kept = []
    for row in rows:
        if history.earliest_ns(row) > moment_ns:
            continue
        if row.ended_ns is None or row.ended_ns <= moment_ns:
            kept.append(row)
        elif not row.reads and row.outcome is Outcome.OK:
            kept.append(replace(row, ended_ns=None, outcome=Outcome.UNRESOLVED))
    return kept
