"""Holds what was done and shown against the statements at rest: an account is a list of versions.

Version n of an account is its state after the first n postings. A read that shows a version is
placed there by `history_order`; here is found what no placing can explain.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from certification.oracle.history import (
    Anomaly,
    Balance,
    History,
    Name,
    Operation,
    Outcome,
    Posting,
    Statement,
    ordered,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """One account: its postings in the order of booking, and who asked for each."""

    account: str
    postings: tuple[Posting, ...]
    writers: tuple[Operation | None, ...]
    """Who asked for the posting; None where nobody did."""
    position: Mapping[str, int]
    """Where a transaction stands among the postings; the first of several."""
    balances: tuple[int, ...]
    """The sum of the first n postings, n = 0, 1, ..."""
    at_balance: Mapping[int, tuple[int, ...]]
    """Versions by their sum."""
    operations: tuple[Operation, ...]
    """All that touch the account."""


def versions_of(history: History) -> dict[str, Versions]:
    """Return the versions of every account of the history."""
    touching: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        names = {name for name, _ in operation.effects} | {operation.account}
        for name in names & history.final.keys():
            touching[name].append(operation)
    return {
        account: _versions(account, ordered(postings), tuple(touching[account]))
        for account, postings in history.final.items()
    }


def _versions(
    account: str, postings: tuple[Posting, ...], operations: tuple[Operation, ...]
) -> Versions:
    bookers = [operation for operation in operations if operation.books]
    by_transaction = {
        row.transaction: row
        for row in bookers
        if row.transaction is not None and row.outcome is not Outcome.REFUSED
    }
    nameless = {
        row.amount_on(account): row
        for row in bookers
        if row.transaction is None and row.outcome is Outcome.UNRESOLVED
    }
    position: dict[str, int] = {}
    for number, posting in enumerate(postings):
        position.setdefault(posting.transaction, number)
    balances = (0, *accumulate(posting.amount for posting in postings))
    at_balance: defaultdict[int, list[int]] = defaultdict(list)
    for number, balance in enumerate(balances):
        at_balance[balance].append(number)
    writers: list[Operation | None] = []
    for number, posting in enumerate(postings):
        writer = by_transaction.get(posting.transaction)
        if writer is None:
            writer = nameless.pop(posting.amount, None)
        first = position[posting.transaction] == number
        writers.append(writer if first else None)
    return Versions(
        account=account,
        postings=postings,
        writers=tuple(writers),
        position=position,
        balances=balances,
        at_balance={balance: tuple(rows) for balance, rows in at_balance.items()},
        operations=operations,
    )


# -- what is in the book at the end ----------------------------------------------------------------


def lost_writes(book: Versions, others: Mapping[str, Versions]) -> Iterator[Anomaly]:
    """Find acknowledged writes that are not in the account's statement."""
    present = set(filter(None, book.writers))
    for operation in book.operations:
        if not operation.books or operation.outcome is not Outcome.OK or operation in present:
            continue
        if not operation.amount_on(book.account):
            continue
        elsewhere = [
            name
            for name, _ in operation.effects
            if name != book.account and name in others and operation in others[name].writers
        ]
        name = Name.TORN_WRITE if elsewhere else Name.LOST_WRITE
        reasons = [
            f"{operation.transaction} was acknowledged to {operation.client}",
            f"the statement of {book.account} does not have it, after everything was answered",
            *(f"the statement of {other} has it" for other in elsewhere),
        ]
        yield _anomaly(name, book, [operation], reasons)


def torn_writes(book: Versions, others: Mapping[str, Versions]) -> Iterator[Anomaly]:
    """Find writes without an answer of which only one side is in the book."""
    for operation in book.writers:
        if operation is None or operation.outcome is not Outcome.UNRESOLVED:
            continue
        for name, _ in operation.effects:
            if name in others and operation not in others[name].writers:
                reasons = [
                    f"the statement of {book.account} has the write",
                    f"the statement of {name} does not",
                ]
                yield _anomaly(Name.TORN_WRITE, book, [operation], reasons)


def unexplained_postings(book: Versions) -> Iterator[Anomaly]:
    """Find postings that are not what somebody asked for once and was not refused."""
    asked = {
        operation.amount_on(book.account): operation
        for operation in book.operations
        if operation.books
    }
    for posting, writer in zip(book.postings, book.writers, strict=True):
        if writer is None:
            culprit = asked.get(posting.amount)
            yield _unasked(book, posting, culprit)
        elif posting.amount != writer.amount_on(book.account):
            reason = (
                f"{posting.transaction} books {posting.amount}, which is not what was asked for"
            )
            yield _anomaly(Name.ALTERED, book, [writer], [reason])


def _unasked(book: Versions, posting: Posting, culprit: Operation | None) -> Anomaly:
    shows = f"the statement of {book.account} has {posting.transaction}: {posting.amount}"
    if culprit is None:
        return _anomaly(Name.PHANTOM, book, [], [shows, "no client asked for such an amount"])
    if culprit.outcome is Outcome.REFUSED:
        reasons = [shows, f"{culprit.client} was refused it"]
        return _anomaly(Name.REFUSED_EFFECT, book, [culprit], reasons)
    times = Counter(row.amount for row in book.postings)[posting.amount]
    reasons = [
        f"{culprit.client} asked for {posting.amount} once",
        f"the statement of {book.account} has it {times} times, one of them {posting.transaction}",
    ]
    return _anomaly(Name.DOUBLE_EFFECT, book, [culprit], reasons)


def broken_running(book: Versions) -> Iterator[Anomaly]:
    """Find the first running balance that is not the one before plus the amount."""
    for number, posting in enumerate(book.postings):
        before = book.balances[number]
        if posting.running == before + posting.amount:
            continue
        nearby = book.writers[max(0, number - 1) : number + 1]
        reasons = [
            f"before {posting.transaction} the postings add up to {before}",
            f"{posting.transaction} books {posting.amount}, which makes {before + posting.amount}",
            f"the statement says {posting.running} after it",
        ]
        yield _anomaly(Name.LOST_UPDATE, book, [row for row in nearby if row], reasons)
        return


def overdrafts(book: Versions, floor: int) -> Iterator[Anomaly]:
    """Find the first posting that takes more than was there."""
    for number, posting in enumerate(book.postings):
        after = book.balances[number + 1]
        if posting.amount < 0 and after < floor:
            writer = book.writers[number]
            reasons = [
                f"before it the account had {book.balances[number]}",
                f"it leaves {after}, and the least that may be left is {floor}",
            ]
            yield _anomaly(Name.OVERDRAWN, book, [writer] if writer else [], reasons)
            return


# -- what reads showed -----------------------------------------------------------------------------


def unreadable(book: Versions, reader: Operation) -> Anomaly | None:
    """Return why a read shows what no version of the account is, None where it shows one."""
    if isinstance(reader.shown, Statement):
        return _unreadable_statement(book, reader, reader.shown)
    if isinstance(reader.shown, Balance) and reader.shown.ledger not in book.at_balance:
        return explain_balance(book, reader, reader.shown.ledger)
    return None


def _unreadable_statement(book: Versions, reader: Operation, shown: Statement) -> Anomaly | None:
    rows = shown.postings
    for row in rows:
        if row.transaction not in book.position:
            return _dirty(book, reader, row)
    if not rows:
        return None
    places = sorted(book.position[row.transaction] for row in rows)
    last = places[-1] + 1
    expected = book.postings[0 if shown.whole else last - len(rows) : last]
    missing = {row.transaction for row in expected} - {row.transaction for row in rows}
    if missing and (shown.whole or len(expected) == len(rows)):
        number = min(book.position[name] for name in missing)
        reasons = [
            f"the answer shows {book.postings[last - 1].transaction}",
            f"it does not show {book.postings[number].transaction}, which stands before it",
        ]
        involved = [book.writers[number], book.writers[last - 1], reader]
        return _anomaly(Name.HOLE, book, [row for row in involved if row], reasons)
    for row in rows:
        settled = book.postings[book.position[row.transaction]]
        if (row.amount, row.running) != (settled.amount, settled.running):
            reasons = [
                f"the answer shows {row.transaction} as {row.amount}, {row.running} after it",
                f"at rest it reads {settled.amount}, {settled.running} after it",
            ]
            return _anomaly(Name.ALTERED, book, [reader], reasons)
    return None


def _dirty(book: Versions, reader: Operation, row: Posting) -> Anomaly:
    reasons = [
        f"the answer shows {row.transaction}: {row.amount}",
        "the statement at rest does not have it, so it never was in the book",
    ]
    writers = [
        other
        for other in book.operations
        if other.books
        and (other.transaction == row.transaction or other.amount_on(book.account) == row.amount)
    ]
    refused = [other for other in writers if other.outcome is Outcome.REFUSED]
    if refused:
        reasons[1] = f"{refused[0].client} was refused it"
    return _anomaly(Name.DIRTY_READ, book, [*writers[:1], reader], reasons)


def explain_balance(book: Versions, reader: Operation, ledger: int) -> Anomaly:
    """Name the one write that explains a balance of no version: left out, or counted too soon."""
    for number, posting in enumerate(book.postings):
        for version in book.at_balance.get(ledger + posting.amount, ()):
            if version > number:
                return _without(book, reader, number, version)
    for other in book.operations:
        amount = other.amount_on(book.account) if other.books else 0
        versions = book.at_balance.get(ledger - amount, ()) if amount else ()
        if versions and other.outcome is Outcome.REFUSED:
            reasons = [
                f"{ledger} is {ledger - amount} and {amount}, which {other.client} was refused"
            ]
            return _anomaly(Name.DIRTY_READ, book, [other, reader], reasons)
        later = book.position.get(other.transaction or "", -1)
        if any(version < later for version in versions):
            reasons = [
                f"{ledger} is {ledger - amount} and {amount}",
                f"{other.transaction} is counted, and postings that stand before it are not",
            ]
            return _anomaly(Name.HOLE, book, [other, reader], reasons)
    reasons = [f"the postings add up to {ledger} at no time", "nor with one write more or less"]
    return _anomaly(Name.IMPOSSIBLE_BALANCE, book, [reader], reasons)


def _without(book: Versions, reader: Operation, number: int, version: int) -> Anomaly:
    left_out, last = book.postings[number], book.postings[version - 1]
    reasons = [
        f"after {last.transaction} the postings add up to {book.balances[version]}",
        f"without {left_out.transaction}, which stands before it, they are what was read",
        "no state of the book gives that balance",
    ]
    involved = [book.writers[number], book.writers[version - 1], reader]
    seen = list(dict.fromkeys(row for row in involved if row))
    return _anomaly(Name.LOST_UPDATE, book, seen, reasons)


def shown_versions(book: Versions, reader: Operation) -> tuple[int, ...]:
    """Return the versions that an answer may be, rising; none for what is not a read."""
    if isinstance(reader.shown, Statement):
        places = [book.position[row.transaction] for row in reader.shown.postings]
        return (max(places) + 1,) if places else (0,)
    if isinstance(reader.shown, Balance):
        return book.at_balance.get(reader.shown.ledger, ())
    return ()


def _anomaly(
    name: Name, book: Versions, operations: Sequence[Operation], reasons: Sequence[str]
) -> Anomaly:
    return Anomaly(
        name=name, account=book.account, operations=tuple(operations), reasons=tuple(reasons)
    )
