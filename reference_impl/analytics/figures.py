"""Figures: exact or 60-digit decimal values, rounded once, half to even, to their scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from fractions import Fraction
from typing import Any

CONTEXT = Context(
    prec=60, rounding=ROUND_HALF_EVEN, traps=[DivisionByZero, InvalidOperation, Overflow]
)
"""What everything that is not exact (roots, long products) is computed with."""
LIMIT = 10**30
"""A value of this magnitude and more is shown as null."""
RATIO_SCALE = 12
MONEY_SCALE = 6
"""Of money that is an average or an estimate; sums of entries are whole minor units, scale 0."""

Value = int | Fraction | Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One named value with all that is needed to read and to recompute it."""

    name: str
    value: Value
    unit: str
    """minor_units, minor_units_per_period, ratio or count."""
    scale: int
    formula: str

    def shown(self) -> dict[str, Any]:
        """Return the figure's wire form."""
        return {
            "value": render(self.value, self.scale),
            "scale": self.scale,
            "unit": self.unit,
            "formula": self.formula,
        }


def money(name: str, value: int, formula: str) -> Figure:
    """Return a sum of entries."""
    return Figure(name=name, value=value, unit="minor_units", scale=0, formula=formula)


def estimate(name: str, value: Value, formula: str, unit: str = "minor_units") -> Figure:
    """Return an amount that no entry has: a mean, a slope, a point of a line."""
    return Figure(name=name, value=value, unit=unit, scale=MONEY_SCALE, formula=formula)


def ratio(name: str, value: Value, formula: str) -> Figure:
    """Return a pure number."""
    return Figure(name=name, value=value, unit="ratio", scale=RATIO_SCALE, formula=formula)


def count(name: str, value: int, formula: str) -> Figure:
    """Return how many of something there are."""
    return Figure(name=name, value=value, unit="count", scale=0, formula=formula)


def render(value: Value, scale: int) -> str | None:
    """Return a value as decimal text with `scale` digits after the point, None for none.

    Rounded half to even; minus zero is zero.
    """
    if value is None or abs(exact := Fraction(value)) >= LIMIT:
        return None
    units = round(exact * 10**scale)
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(scale + 1, "0")
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"


def decimal(value: Fraction) -> Decimal:
    """Return a fraction with the digits of the context."""
    return CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))


def root(value: Fraction) -> Decimal:
    """Return a square root."""
    return CONTEXT.sqrt(decimal(value))


def chain(returns: Iterable[Fraction]) -> list[Decimal]:
    """Return the index that starts at 1 and follows the returns; without the 1."""
    index, found = Decimal(1), []
    for one in returns:
        index = CONTEXT.multiply(index, decimal(1 + one))
        found.append(index)
    return found
