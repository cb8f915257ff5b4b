"""What clients did to accounts and saw of them: operations with their times, and what to believe.

A history is judged by the contract's Moments alone: writes take effect one after the other, whole,
between request and answer; an answer shows one object at one moment, not older than declared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby


class Kind(Enum):
    """What an operation asks for; closed."""

    POST = "post"
    """Books amounts on one account or two."""
    HOLD = "hold"
    """Promises an amount of one account."""
    SETTLE = "settle"
    """Books a promised amount."""
    VOID = "void"
    """Ends a promise."""
    BALANCE = "balance"
    STATEMENT = "statement"


class Outcome(Enum):
    """What the client knows; closed."""

    OK = "ok"
    REFUSED = "refused"
    UNRESOLVED = "unresolved"
    """No answer: it may have happened, once, at any time since it was sent."""


class Name(Enum):
    """What can be wrong with a history; closed. The value ends the sentence `This is ...`."""

    LOST_WRITE = "a lost write: it was acknowledged and is not in the book"
    TORN_WRITE = "a torn write: one side of it is in the book and the other is not"
    DOUBLE_EFFECT = "a double effect: one write was booked more than once"
    REFUSED_EFFECT = "an effect of a refused write"
    PHANTOM = "a phantom posting: nobody asked for it"
    ALTERED = "an altered posting: it is not what was asked for, or not the same at each reading"
    LOST_UPDATE = "a lost update: a balance was computed without one of the writes before it"
    OVERDRAWN = "a double spend: more was taken than was there"
    WRONG_REFUSAL = "a refusal for want of money that was there"
    DIRTY_READ = "a dirty read: it shows what never was in the book"
    HOLE = "a hole: a posting is missing between two that are shown"
    IMPOSSIBLE_BALANCE = "a balance that no state of the book gives"
    STALE_READ = "a stale read: it does not show a write that was acknowledged before it"
    FUTURE_READ = "a read of the future: it shows a write that was sent after its answer"
    BACKWARDS = "a step backwards: a later read shows less than an earlier one"
    OUT_OF_ORDER = "a wrong order: a write stands before one that was answered before it was sent"
    NO_ORDER = "a history that no order of its operations explains"


BOOKING = frozenset({Kind.POST, Kind.SETTLE})
READING = frozenset({Kind.BALANCE, Kind.STATEMENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One row of an account's statement."""

    transaction: str
    amount: int
    """Signed minor units."""
    running: int
    """The stated balance after it."""
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The balances that a read showed, in minor units."""

    ledger: int
    holds: int | None = None
    """None where nobody looked at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The newest postings that one answer showed, oldest first."""

    postings: tuple[Posting, ...]
    whole: bool = True
    """Whether it reaches back to the first posting of the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request and its answer, as the client's own clock saw them."""

    number: int
    """Unique in the history."""
    client: str
    kind: Kind
    began_ns: int
    """Monotonic, before the first byte was sent."""
    ended_ns: int | None
    """Monotonic, after the last byte of the answer; None where none came."""
    outcome: Outcome = Outcome.OK
    effects: tuple[tuple[str, int], ...] = ()
    """(account, signed minor units) that it books when it is accepted; what a hold promises."""
    transaction: str | None = None
    """Of what it made or ended; None where no answer told it."""
    account: str = ""
    """What a read reads, and whose hold a void ends: it has no effects that would say so."""
    shown: Balance | Statement | None = None
    """What a read was answered."""
    for_funds: bool = False
    """Whether a refusal says that money is missing."""
    exchange: int = 0
    """Number of the recorded exchange."""

    @property
    def books(self) -> bool:
        """Whether it changes statements when accepted."""
        return self.kind in BOOKING

    @property
    def reads(self) -> bool:
        """Whether it only looks."""
        return self.kind in READING

    def amount_on(self, account: str) -> int:
        """Return what it books on an account."""
        return sum(amount for name, amount in self.effects if name == account)

    def touches(self, account: str) -> bool:
        """Whether it reads or writes an account."""
        return self.account == account or any(name == account for name, _ in self.effects)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that was done to some accounts since they were opened with nothing on them."""

    operations: tuple[Operation, ...]
    final: Mapping[str, tuple[Posting, ...]]
    """Each account's whole statement, read when nothing was under way and the bound had passed."""
    lag_ns: int = 0
    """How old an answer may be, as declared."""
    floors: Mapping[str, int] | None = None
    """The least available balance of accounts that refuse what goes below it."""

    def earliest_ns(self, operation: Operation) -> int:
        """Return the earliest moment that an operation can stand for."""
        return operation.began_ns - (self.lag_ns if operation.reads else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Something that no deployment of the contract can have done."""

    name: Name
    account: str
    operations: tuple[Operation, ...]
    """Those that show it, as few as were found."""
    reasons: tuple[str, ...]
    """Why it cannot be, one sentence each."""
    start: Balance | None = None
    """What was there before the first of them, where that matters."""


def ordered(postings: tuple[Posting, ...]) -> tuple[Posting, ...]:
    """Return a statement in the order of booking.

    `seq` may be the same for a settled hold and the transaction before it; of these, the one
    that continues the running balance comes first.
    """
    return _chained(postings, 0)


def ordered_page(postings: Sequence[Posting]) -> tuple[Posting, ...]:
    """Return the end of a statement in the order of booking; it may begin at any balance."""
    if not postings:
        return ()
    first = min(postings, key=lambda row: row.seq)
    return _chained(postings, first.running - first.amount)


def _chained(postings: Sequence[Posting], balance: int) -> tuple[Posting, ...]:
    found: list[Posting] = []
    for _, rows in groupby(sorted(postings, key=lambda row: row.seq), key=lambda row: row.seq):
        level = list(rows)
        while level:
            fits = [row for row in level if row.running == balance + row.amount]
            following = (fits or level)[0]
            level.remove(following)
            balance = following.running
            found.append(following)
    return tuple(found)


def amounts(count: int, *, most: int, draw: int, window: int = 16) -> list[int]:
    """Return amounts that name their operation: no sum of some equals a sum of others nearby.

    Among any `window` neighbours each has a digit of its own in base 3, so that every signed sum
    of them is unique; what follows the digits tells the windows apart. None is above `most`. The
    same `draw` gives the same amounts. Raises ValueError where there is too little room.
    """
    digits = min(window, max(count, 2))
    step = most // 3 ** (digits - 1)
    while step < 4 * digits * max(count // digits, 1) and digits > 4:
        digits -= 1
        step = most // 3 ** (digits - 1)
    turns = -(-count // digits)
    room = step // (2 * digits)
    if room < turns:
        raise ValueError(f"amounts up to {most} cannot name {count} operations")
    return [
        3 ** (n % digits) * step - 1 - (n // digits * 7_919 + n % digits * 104_729 + draw) % room
        for n in range(count)
    ]
