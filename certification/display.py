"""How exact scores are written: cut off, never rounded up, so that no text crosses a threshold."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from certification.results import Score

_DIGITS_MAX = 12


def display(value: Fraction, digits: int = 3, *, thresholds: Iterable[Fraction] = ()) -> str:
    """Return `value` with `digits` decimals, cut off towards minus infinity.

    Where the cut text would read exactly like one of the `thresholds` while the value is above it,
    more digits are shown: `0.9004` against `> 0.90`, not `0.900`.
    """
    limits = tuple(thresholds)
    for places in range(digits, _DIGITS_MAX + 1):
        cut = Fraction(floor(value * 10**places), 10**places)
        if cut == value or cut not in limits:
            return _decimal(cut, places)
    return _decimal(cut, _DIGITS_MAX)


def percent(value: Fraction, digits: int = 0) -> str:
    """Return a share as a percentage, cut off: only 1 itself reads `100 %`."""
    return f"{display(value * 100, digits)} %"


def headline(score: Score, *, thresholds: Iterable[Fraction] = ()) -> str:
    """Return the line that stands for the whole score: `0.947 - 0.981, 96 % decided`."""
    limits = tuple(thresholds)
    lower = display(score.total.lower, thresholds=limits)
    upper = display(score.total.upper, thresholds=limits)
    return f"{lower} - {upper}, {percent(score.coverage)} decided"


def _decimal(value: Fraction, places: int) -> str:
    sign = "-" if value < 0 else ""
    whole, rest = divmod(int(abs(value) * 10**places), 10**places)
    return f"{sign}{whole}.{rest:0{places}d}" if places else f"{sign}{whole}"
