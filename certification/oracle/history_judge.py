"""Judges a history: the statements at rest, every read, the order of all, and a second opinion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from certification.oracle import (
    history_cycles,
    history_order,
    history_search,
    history_versions,
    history_witness,
)
from certification.oracle.history import Anomaly, Balance, History, Name, Outcome
from certification.oracle.history_search import Opinion, Search
from certification.oracle.history_versions import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a history shows."""

    anomaly: Anomaly | None
    """The first thing that cannot be; None where nothing was found."""
    undecided: str | None = None
    """Why nothing is known of an account: the second opinion ran out of its budget."""


def judge(
    history: History,
    *,
    searched: tuple[str, ...] = (),
    steps_max: int = history_search.STEPS_MAX,
    expired: Callable[[], bool] = lambda: False,
) -> Judgement:
    """Return the first anomaly; accounts in `searched` get the second opinion too.

    About linear in the number of operations without `searched`. Raises ValueError for a history
    that is none: two operations of one number, an answer before its request, a read of an account
    without a final statement.
    """
    refuse_malformed(history)
    books = history_versions.versions_of(history)
    for anomaly in _book_anomalies(books, history):
        return Judgement(anomaly=anomaly)
    graph = history_order.graph_of(books, history)
    for anomaly in history_cycles.anomalies(graph, history):
        return Judgement(anomaly=anomaly)
    for account, floor in (history.floors or {}).items():
        for anomaly in history_order.wrong_refusals(books[account], history, floor):
            return Judgement(anomaly=anomaly)
    for account in searched:
        found = history_search.search(history, account, steps_max=steps_max, expired=expired)
        if found.opinion is Opinion.UNDECIDED:
            reason = f"no order of {account}'s operations was found or excluded"
            return Judgement(anomaly=None, undecided=f"{reason} in {found.steps:,} steps")
        if found.opinion is Opinion.IMPOSSIBLE:
            return Judgement(anomaly=_unordered(history, account, found, steps_max))
    return Judgement(anomaly=None)


def refuse_malformed(history: History) -> None:
    """Raise ValueError for a history that cannot have been recorded."""
    numbers = {row.number for row in history.operations}
    if len(numbers) != len(history.operations):
        raise ValueError("two operations have the same number")
    for row in history.operations:
        if row.ended_ns is not None and row.ended_ns < row.began_ns:
            raise ValueError(f"operation {row.number} ended before it began")
        if (row.ended_ns is None) != (row.outcome is Outcome.UNRESOLVED):
            raise ValueError(f"operation {row.number} is unresolved and has an end, or neither")
        if row.reads and row.account not in history.final:
            raise ValueError(f"operation {row.number} reads {row.account}, which has no statement")


def _book_anomalies(books: dict[str, Versions], history: History) -> Iterator[Anomaly]:
    for book in books.values():
        yield from history_versions.unexplained_postings(book)
    for book in books.values():
        yield from history_versions.lost_writes(book, books)
        yield from history_versions.torn_writes(book, books)
        yield from history_versions.broken_running(book)
    for account, floor in (history.floors or {}).items():
        yield from history_versions.overdrafts(books[account], floor)
    for book in books.values():
        for row in book.operations:
            if row.reads and row.outcome is Outcome.OK:
                anomaly = history_versions.unreadable(book, row)
                if anomaly is not None:
                    yield anomaly


def _unordered(history: History, account: str, found: Search, steps_max: int) -> Anomaly:
    least = history_witness.smallest(history, account, found, steps_max=steps_max)
    cash, pending, _ = least.start
    held = {
        row.transaction: -row.amount_on(account)
        for row in history.operations
        if row.transaction in pending and not row.books and row.effects
    }
    return Anomaly(
        name=Name.NO_ORDER,
        account=account,
        operations=least.operations,
        reasons=(
            "every order of these operations that the clock allows was tried",
            "in each of them one of the answers is wrong",
        ),
        start=Balance(ledger=cash, holds=sum(held.values())),
    )
