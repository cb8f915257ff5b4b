"""A subject's days: what its movements were, by class, and the values and returns they make.

A movement is the sum of the lines of one transaction on the subject's buckets. Its class follows
from the kind of the transaction; a reversal has the class of what it reverses.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

FLOW, GAIN, FEE = "flow", "gain", "fee"
CLASSES: Mapping[str, str] = {
    "deposit": FLOW,
    "withdrawal": FLOW,
    "transfer": FLOW,
    "adjustment": FLOW,
    "opening": FLOW,
    "fork": FLOW,
    "merge": FLOW,
    "reinvest": FLOW,
    "sweep": FLOW,
    "premium": GAIN,
    "interest": GAIN,
    "assignment": GAIN,
    "trade": GAIN,
    "fee": FEE,
    "tax": FEE,
}
"""Kind of a transaction -> what its movement counts as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The signed sums of the movements of one period, in minor units."""

    inflow: int = 0
    outflow: int = 0
    gain: int = 0
    fee: int = 0

    @property
    def result(self) -> int:
        """What was earned: gains less fees and taxes."""
        return self.gain + self.fee

    @property
    def change(self) -> int:
        """By how much the value changed."""
        return self.inflow + self.outflow + self.result


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One sum that was read: of all movements of a period, a kind and a direction."""

    period: int
    """-1 for everything before the window."""
    kind: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The periods of a window."""

    opening: int
    """The value at the start of the window: the sum of every movement before it."""
    first: int
    """The period of the subject's first entry, 0 if that lies before the window."""
    periods: tuple[Period, ...]

    def values(self) -> list[int]:
        """Return the value at the end of each period."""
        value, found = self.opening, []
        for period in self.periods:
            value += period.change
            found.append(value)
        return found

    def points(self) -> list[int]:
        """Return the values at the end of the periods since the first entry."""
        return self.values()[self.first :]

    def returns(self) -> list[Fraction]:
        """Return the return of each period since the first entry whose base is positive.

        Inflows count from the start of their period, outflows from its end: the base is the value
        before the period plus its inflows, and the return is its result divided by the base.
        """
        value, found = self.opening, []
        for number, period in enumerate(self.periods):
            base = value + period.inflow
            if number >= self.first and base > 0:
                found.append(Fraction(period.result, base))
            value += period.change
        return found

    def total(self) -> Period:
        """Return the sums over the window."""
        return Period(
            inflow=sum(period.inflow for period in self.periods),
            outflow=sum(period.outflow for period in self.periods),
            gain=sum(period.gain for period in self.periods),
            fee=sum(period.fee for period in self.periods),
        )


def build(days: Iterable[Day], *, count: int, first: int) -> Series:
    """Sort what was read into `count` periods."""
    opening, periods = 0, [Period()] * count
    for day in days:
        if day.period < 0:
            opening += day.amount
        else:
            periods[day.period] = _add(periods[day.period], day)
    return Series(opening=opening, first=first, periods=tuple(periods))


def _add(period: Period, day: Day) -> Period:
    match CLASSES[day.kind]:
        case "gain":
            return replace(period, gain=period.gain + day.amount)
        case "fee":
            return replace(period, fee=period.fee + day.amount)
        case _ if day.amount > 0:
            return replace(period, inflow=period.inflow + day.amount)
        case _:
            return replace(period, outflow=period.outflow + day.amount)


def kinds_of(wanted: str) -> Sequence[str]:
    """Return the kinds of a class."""
    return [kind for kind, found in CLASSES.items() if found == wanted]
