"""Re-adds a book from its journal lines: sums, running balances, and what came in from outside.

Pure arithmetic on integers of minor units; nothing here knows how the lines were read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CASH = "cash"

INWARD = frozenset({"deposit", "premium", "interest"})
"""Kinds that bring money from a system account into `to_account_id`."""
OUTWARD = frozenset({"withdrawal", "fee", "tax"})
"""Kinds that take money from `from_account_id` to a system account."""
BOOKED = frozenset({"posted", "settled", "reversed"})
"""States of a transaction whose lines are in the book; a reversed one is undone by its reversal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One journal line of a customer account, as the account's own list shows it."""

    account: str
    transaction: str
    bucket: str
    currency: str
    amount: int
    """Signed minor units; positive into the bucket."""
    running: int
    """The stated balance of the bucket after this line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a transaction; `account` is None on the side of the system."""

    account: str | None
    bucket: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a transaction says of itself."""

    id: str
    kind: str
    status: str
    currency: str
    amount: int
    """What was asked for, in minor units."""
    settled: int | None
    """What was settled of a hold; None if nothing was."""
    source: str | None
    target: str | None
    reverses: str | None
    held: bool
    lines: tuple[Line, ...]

    @property
    def moved(self) -> int:
        """The amount that was booked, by its own words: the settled one of a hold."""
        if self.status not in BOOKED:
            return 0
        if self.held:
            return self.settled or 0
        return self.amount


def sums_by_bucket(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the sum of the amounts of each bucket that has entries."""
    sums: defaultdict[str, int] = defaultdict(int)
    for entry in entries:
        sums[entry.bucket] += entry.amount
    return dict(sums)


def first_running_break(rows: Iterable[tuple[int, int]]) -> str | None:
    """Say where a running balance is not the sum of the amounts up to it; None if nowhere.

    `rows` are (amount, running balance) in the order of booking, from the first.
    """
    total = 0
    for number, (amount, running) in enumerate(rows, start=1):
        total += amount
        if running != total:
            return f"line {number}: amount {amount} gives {total}, stated is {running}"
    return None


def chains(rows: Sequence[tuple[int, int]]) -> bool:
    """Tell whether some order of the rows makes a chain of running balances that begins at 0.

    A settle keeps the seq of its hold, so that the order of the list need not be the order of
    booking. Each row is an edge from (running - amount) to running; a chain through all of them
    is an Eulerian trail: connected, and entered as often as left except at its two ends.
    """
    edges = [(running - amount, running) for amount, running in rows]
    if not edges:
        return True
    degree: Counter[int] = Counter()
    neighbours: defaultdict[int, set[int]] = defaultdict(set)
    for start, end in edges:
        degree[start] += 1
        degree[end] -= 1
        neighbours[start].add(end)
        neighbours[end].add(start)
    final = sum(amount for amount, _ in rows)
    degree[0] -= 1
    degree[final] += 1
    return not any(degree.values()) and _all_reached(0, neighbours)


def _all_reached(start: int, neighbours: Mapping[int, set[int]]) -> bool:
    reached, waiting = {start}, [start]
    while waiting:
        for node in neighbours.get(waiting.pop(), set()) - reached:
            reached.add(node)
            waiting.append(node)
    return reached >= set(neighbours)


def unbalanced(transaction: Transaction) -> int:
    """Return what the lines add up to; 0 in a right book (invariant T1)."""
    return sum(line.amount for line in transaction.lines)


def line_differences(
    entries: Iterable[Entry], transactions: Iterable[Transaction], accounts: frozenset[str]
) -> list[str]:
    """Compare the accounts' entries with the transactions' lines on these accounts, both ways.

    Returns a sentence for each line that stands more often on one side than on the other.
    """
    listed = Counter((e.transaction, e.account, e.bucket, e.amount) for e in entries)
    stated = Counter(
        (transaction.id, line.account, line.bucket, line.amount)
        for transaction in transactions
        for line in transaction.lines
        if line.account in accounts
    )
    return [
        f"{count} x {key} {where}"
        for where, difference in (
            ("only in the entries of its account", listed - stated),
            ("only in the lines of its transaction", stated - listed),
        )
        for key, count in difference.items()
    ]


def inflow_by_currency(
    transactions: Iterable[Transaction], accounts: frozenset[str]
) -> dict[str, int]:
    """Return what came into these accounts from outside them, less what went out, by currency.

    Counts by kind, amount and ends as each transaction states them, not by its lines, so that it
    can be held against balances that were added up from lines. What a request cannot name (fork,
    merge, sweep, ...) has its ends in its lines only and is counted from those.
    """
    book = {transaction.id: transaction for transaction in transactions}
    total: defaultdict[str, int] = defaultdict(int)
    for transaction in book.values():
        total[transaction.currency] += _inflow(transaction, book, accounts)
    return dict(total)


def _inflow(
    transaction: Transaction, book: Mapping[str, Transaction], accounts: frozenset[str]
) -> int:
    into = transaction.moved if transaction.target in accounts else 0
    out = transaction.moved if transaction.source in accounts else 0
    kind = transaction.kind
    if kind in INWARD:
        return into
    if kind in OUTWARD:
        return -out
    if kind in {"transfer", "adjustment"}:
        return into - out
    if kind == "assignment":
        return 0
    if kind == "reversal":
        original = book.get(transaction.reverses or "")
        return 0 if original is None else -_inflow(original, book, accounts)
    return sum(line.amount for line in transaction.lines if line.account in accounts)
