"""Sorts the entries of a subject into periods: instants, windows, movements and their classes.

Written from the contract's text on analytics. Everything is an integer: minor units and
nanoseconds since 1970, since an instant of the contract has up to nine digits behind its point.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
DAYS_DEFAULT = 365
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FLOW, GAIN, FEE = "flow", "gain", "fee"
# fmt: off
CLASSES = {
    "deposit": FLOW, "withdrawal": FLOW, "transfer": FLOW, "adjustment": FLOW, "opening": FLOW,
    "fork": FLOW, "merge": FLOW, "reinvest": FLOW, "sweep": FLOW,
    "premium": GAIN, "interest": GAIN, "assignment": GAIN, "trade": GAIN, "fee": FEE, "tax": FEE,
}
# fmt: on
"""What the movement of a kind counts as; a reversal counts as what it reverses."""


def instant_ns(text: str) -> int:
    """Return an RFC 3339 timestamp as nanoseconds since 1970; a leap second is the next one."""
    time = text[11:].rstrip("Zz")
    sign = max(time.find("+"), time.find("-"))
    clock, offset = (time, "") if sign < 0 else (time[:sign], time[sign:])
    whole, _, part = clock.partition(".")
    leap = whole.endswith(":60")
    moment = datetime.fromisoformat(f"{text[:10]}T{whole[:6]}{'59' if leap else whole[6:]}+00:00")
    since = moment - EPOCH
    seconds = since.days * 86_400 + since.seconds + leap
    if offset:
        away = int(offset[1:3]) * 3_600 + int(offset[4:6]) * 60
        seconds -= away if offset[0] == "+" else -away
    return seconds * SECOND_NS + int(part.ljust(9, "0") or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One journal line of an account, as far as analytics go by it."""

    account: str
    transaction: str
    reverses: str | None
    kind: str
    bucket: str
    amount: int
    seq: int
    line_no: int
    effective_ns: int


def entry(account_id: str, row: Mapping[str, Any]) -> Entry:
    """Return a row of `listEntries` of this account."""
    return Entry(
        account=account_id,
        transaction=row["transaction_id"],
        reverses=row.get("reverses_id"),
        kind=row["kind"],
        bucket=row["bucket"],
        amount=row["amount"],
        seq=row["seq"],
        line_no=row["line_no"],
        effective_ns=instant_ns(row["effective_at"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From `start_ns` up to, and not including, `end_ns`."""

    start_ns: int
    end_ns: int

    @property
    def count(self) -> int:
        """How many periods there are; the last one ends at `end_ns`."""
        return -((self.start_ns - self.end_ns) // DAY_NS)

    def number(self, instant: int) -> int:
        """Return the period of an instant that is not before the window."""
        return (instant - self.start_ns) // DAY_NS


def day_of(instant: int) -> int:
    """Return the start of the UTC day."""
    return instant - instant % DAY_NS


def window(entries: Iterable[Entry], *, start: int | None, end: int) -> Window:
    """Return the window from `start`, by default the UTC day of the earliest entry before `end`.

    Without such an entry it is the last UTC day before `end`; by default at most 365 days.
    """
    if start is not None:
        return Window(start_ns=start, end_ns=end)
    first = min((row.effective_ns for row in entries), default=end)
    chosen = max(day_of(min(first, end - 1)), end - DAYS_DEFAULT * DAY_NS)
    return Window(start_ns=chosen, end_ns=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """All entries of one transaction on the subject."""

    group: str
    """flow, gain or fee."""
    amount: int
    effective_ns: int


def movements(entries: Iterable[Entry]) -> list[Movement]:
    """Add up each transaction's entries; a reversal needs what it reverses among them.

    `ValueError` for a reversal that does not say what it reverses, or names what is not there.
    """
    grouped: defaultdict[str, list[Entry]] = defaultdict(list)
    for row in entries:
        grouped[row.transaction].append(row)
    found = []
    for rows in grouped.values():
        kind = rows[0].kind
        if kind == "reversal":
            original = grouped.get(rows[0].reverses or "")
            if original is None:
                raise ValueError(f"{rows[0].transaction} does not say which entries it reverses")
            kind = original[0].kind
        amount = sum(row.amount for row in rows)
        when = rows[0].effective_ns
        found.append(Movement(group=CLASSES[kind], amount=amount, effective_ns=when))
    return found


@dataclass(slots=True, kw_only=True)
class Period:
    """The sums of the movements of 24 hours; outflows and fees are negative."""

    inflows: int = 0
    outflows: int = 0
    gains: int = 0
    fees: int = 0

    @property
    def earned(self) -> int:
        """Gains and fees together."""
        return self.gains + self.fees

    @property
    def change(self) -> int:
        """By how much the value changed."""
        return self.inflows + self.outflows + self.gains + self.fees


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What the figures are made of."""

    opening: int
    first: int
    """Period of the earliest entry; 0 if that lies before the window."""
    periods: tuple[Period, ...]
    largest_outflow: int
    buckets: Mapping[str, int]
    """The value in each bucket at the end of the window."""
    entries: int
    """How many lie before the end of the window."""

    @property
    def values(self) -> list[int]:
        """The value at the end of each period."""
        value, found = self.opening, []
        for period in self.periods:
            value += period.change
            found.append(value)
        return found

    @property
    def returns(self) -> list[Fraction]:
        """What each period since the first earned on what was there, where something was."""
        before = [self.opening, *self.values]
        found = []
        for number in range(self.first, len(self.periods)):
            period = self.periods[number]
            base = before[number] + period.inflows
            if base > 0:
                found.append(Fraction(period.earned, base))
        return found


def series(entries: Sequence[Entry], chosen: Window) -> Series:
    """Sort the entries of a subject into the periods of a window."""
    counted = [row for row in entries if row.effective_ns < chosen.end_ns]
    periods = tuple(Period() for _ in range(chosen.count))
    opening = largest = 0
    for movement in movements(entries):
        if movement.effective_ns >= chosen.end_ns:
            continue
        if movement.effective_ns < chosen.start_ns:
            opening += movement.amount
            continue
        _book(periods[chosen.number(movement.effective_ns)], movement)
        if movement.group == FLOW:
            largest = max(largest, -movement.amount)
    buckets: defaultdict[str, int] = defaultdict(int)
    for row in counted:
        buckets[row.bucket] += row.amount
    first = min((row.effective_ns for row in entries), default=chosen.start_ns)
    return Series(
        opening=opening,
        first=max(0, chosen.number(first)),
        periods=periods,
        largest_outflow=largest,
        buckets=dict(buckets),
        entries=len(counted),
    )


def _book(period: Period, movement: Movement) -> None:
    if movement.group == GAIN:
        period.gains += movement.amount
    elif movement.group == FEE:
        period.fees += movement.amount
    elif movement.amount > 0:
        period.inflows += movement.amount
    else:
        period.outflows += movement.amount
