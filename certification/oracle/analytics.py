"""Recomputes the figures of analytics from entries, exactly, and compares a report with them.

Written from the contract's text. Sums and quotients are fractions; a square root is cut far behind
the last digit that is shown. Each figure is rounded once, half to even, to its scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

from certification.oracle.analytics_series import Series, instant_ns

Value = Fraction | int | None

LIMIT = 10**30
"""A value of this size and more is shown as null."""
HORIZON_DEFAULT = 30
ROOT_DIGITS = 40
BUCKETS = ("cash", "tax_reserve", "position:contracts", "position:leaps", "position:shares")
LEAST = {"performance": 0, "risk": 2, "trend": 2, "prediction": 3}
"""How many returns (risk) or points (trend, prediction) a report needs."""
MONEY, ESTIMATE, PER_PERIOD, RATIO, COUNT = (
    ("minor_units", 0),
    ("minor_units", 6),
    ("minor_units_per_period", 6),
    ("ratio", 12),
    ("count", 0),
)
"""Unit and scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a figure must be; `near`: a root or a long product, so one unit in the last place."""

    value: Value
    unit: str
    scale: int
    near: bool = False


Figures = dict[str, Figure]


def _figure(kind: tuple[str, int], value: Value, *, near: bool = False) -> Figure:
    return Figure(value=value, unit=kind[0], scale=kind[1], near=near)


def rounded(value: Value, scale: int) -> int | None:
    """Return the value in units of its last digit, half to even; None where null is shown."""
    if value is None or abs(Fraction(value)) >= LIMIT:
        return None
    shifted = Fraction(value) * 10**scale
    below, rest = divmod(int(shifted.numerator), int(shifted.denominator))
    above = 2 * rest > shifted.denominator
    tie = 2 * rest == shifted.denominator
    return below + int(above or (tie and below % 2 == 1))


def shown(value: Value, scale: int) -> str | None:
    """Return a value as the contract writes it: as many digits as the scale says, no minus zero."""
    units = rounded(value, scale)
    if units is None:
        return None
    digits = str(abs(units)).zfill(scale + 1)
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if units < 0 else text


def root(value: Fraction) -> Fraction:
    """Return a square root, cut after ROOT_DIGITS digits behind the point."""
    unit = 10**ROOT_DIGITS
    return Fraction(isqrt(value.numerator * unit**2 // value.denominator), unit)


def performance(series: Series) -> Figures:
    """Return what came and went, what was earned, and the two returns."""
    periods = series.periods
    inflows, outflows = sum(p.inflows for p in periods), sum(p.outflows for p in periods)
    gains, fees = sum(p.gains for p in periods), sum(p.fees for p in periods)
    sums = {
        "opening_value": series.opening,
        "inflows": inflows,
        "outflows": outflows,
        "gains": gains,
        "fees": fees,
        "net_gain": gains + fees,
        "closing_value": series.opening + inflows + outflows + gains + fees,
    }
    found = {name: _figure(MONEY, value) for name, value in sums.items()}
    index = _index(series.returns)
    timed = index[-1] - 1 if index else None
    found["time_weighted_return"] = _figure(RATIO, timed, near=True)
    found["money_weighted_return"] = _figure(RATIO, _money_weighted(series, gains + fees))
    return found


def _index(returns: Iterable[Fraction]) -> list[Fraction]:
    index, found = Fraction(1), []
    for one in returns:
        index *= 1 + one
        found.append(index)
    return found


def _money_weighted(series: Series, earned: int) -> Fraction | None:
    n = len(series.periods)
    divisor = Fraction(series.opening)
    for number, period in enumerate(series.periods):
        divisor += Fraction(period.inflows * (n - number), n)
        divisor += Fraction(period.outflows * (n - number - 1), n)
    return earned / divisor if divisor > 0 else None


def risk(series: Series) -> Figures | None:
    """Return how returns scatter, the deepest fall, the largest outflow and where the value is."""
    returns = series.returns
    if len(returns) < LEAST["risk"]:
        return None
    mean = sum(returns, Fraction()) / len(returns)
    squares = sum(((one - mean) ** 2 for one in returns), Fraction())
    outflows = -sum(period.outflows for period in series.periods)
    largest = series.largest_outflow
    share = Fraction(largest, outflows) if outflows else None
    found = {
        "returns": _figure(COUNT, len(returns)),
        "mean_return": _figure(RATIO, mean, near=True),
        "return_standard_deviation": _figure(RATIO, root(squares / (len(returns) - 1)), near=True),
        "maximum_drawdown": _figure(RATIO, _drawdown(returns), near=True),
        "largest_outflow": _figure(MONEY, largest),
        "largest_outflow_share": _figure(RATIO, share),
    }
    return found | _shares(series.buckets)


def _drawdown(returns: Iterable[Fraction]) -> Fraction:
    peak, deepest = Fraction(1), Fraction(0)
    for index in _index(returns):
        peak = max(peak, index)
        deepest = max(deepest, (peak - index) / peak)
    return deepest


def _shares(buckets: Mapping[str, int]) -> Figures:
    total = sum(buckets.values())
    if total <= 0:
        names = [*(f"share:{name}" for name in BUCKETS), "concentration"]
        return {name: _figure(RATIO, None) for name in names}
    shares = {name: Fraction(buckets.get(name, 0), total) for name in BUCKETS}
    found = {f"share:{name}": _figure(RATIO, one) for name, one in shares.items()}
    crowd = sum((one * one for one in shares.values()), Fraction())
    return found | {"concentration": _figure(RATIO, crowd)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The least-squares line through values at x = 0 .. n - 1."""

    values: Sequence[int]
    slope: Fraction
    intercept: Fraction
    mean_x: Fraction
    spread_x: Fraction
    """sum((x - mean_x)^2)"""

    @property
    def unexplained(self) -> Fraction:
        """The sum of the squared distances of the values from the line."""
        distances = (y - self.intercept - self.slope * x for x, y in enumerate(self.values))
        return sum((one * one for one in distances), Fraction())


def line(values: Sequence[int]) -> Line:
    """Fit a line through at least two values."""
    n = len(values)
    mean_x, mean_y = Fraction(n - 1, 2), Fraction(sum(values), n)
    spread = sum(((x - mean_x) ** 2 for x in range(n)), Fraction())
    joint = sum(((x - mean_x) * (y - mean_y) for x, y in enumerate(values)), Fraction())
    slope = joint / spread
    return Line(
        values=values,
        slope=slope,
        intercept=mean_y - slope * mean_x,
        mean_x=mean_x,
        spread_x=spread,
    )


def _of_line(fitted: Line) -> Figures:
    return {
        "points": _figure(COUNT, len(fitted.values)),
        "slope": _figure(PER_PERIOD, fitted.slope),
        "intercept": _figure(ESTIMATE, fitted.intercept),
    }


def trend(series: Series) -> tuple[Figures, str] | None:
    """Return the line through the values, and where it leads."""
    values = series.values[series.first :]
    if len(values) < LEAST["trend"]:
        return None
    fitted, n = line(values), len(values)
    mean, change = Fraction(sum(values), n), fitted.slope * (n - 1)
    scatter = sum(((y - mean) ** 2 for y in values), Fraction())
    explained = 1 - fitted.unexplained / scatter if scatter else None
    found = _of_line(fitted) | {
        "mean": _figure(ESTIMATE, mean),
        "change": _figure(ESTIMATE, change),
        "r_squared": _figure(RATIO, explained),
    }
    flat = 100 * abs(change) <= abs(mean)
    return found, "flat" if flat else "rising" if change > 0 else "falling"


def prediction(series: Series, horizon: int) -> Figures | None:
    """Return the line continued, and how far off the past was."""
    values = series.values[series.first :]
    if len(values) < LEAST["prediction"]:
        return None
    fitted, n = line(values), len(values)
    at = n - 1 + horizon
    projected = fitted.intercept + fitted.slope * at
    variance = fitted.unexplained / (n - 2)
    spread = 1 + Fraction(1, n) + (at - fitted.mean_x) ** 2 / fitted.spread_x
    half = 2 * root(variance * spread)
    return _of_line(fitted) | {
        "horizon": _figure(COUNT, horizon),
        "projected_value": _figure(ESTIMATE, projected),
        "residual_standard_error": _figure(ESTIMATE, root(variance), near=True),
        "lower": _figure(ESTIMATE, projected - half, near=True),
        "upper": _figure(ESTIMATE, projected + half, near=True),
    }


def figures(report: str, series: Series, *, horizon: int = HORIZON_DEFAULT) -> Figures | None:
    """Return what a report must show; None where there is too little history for it."""
    if not series.entries:
        return None
    if report == "trend":
        found = trend(series)
        return None if found is None else found[0]
    if report == "prediction":
        return prediction(series, horizon)
    return risk(series) if report == "risk" else performance(series)


def differs(expected: Figure, value: str | None) -> bool:
    """Tell whether a value is not the figure, written as the contract says."""
    right = rounded(expected.value, expected.scale)
    if value is None or right is None:
        return value is not None or right is not None
    spread = (-1, 0, 1) if expected.near else (0,)
    one = Fraction(1, 10**expected.scale)
    return value not in {shown((right + off) * one, expected.scale) for off in spread}


def differences(expected: Figures, told: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure of a report that is not what it must be."""
    found = []
    for name, figure in expected.items():
        stated = told.get(name, {})
        if (stated.get("unit"), stated.get("scale")) != (figure.unit, figure.scale):
            unit = f"{stated.get('unit')}, scale {stated.get('scale')}"
            found.append(f"{name}: unit {unit}; must be {figure.unit}, scale {figure.scale}")
        elif differs(figure, stated["value"]):
            right = shown(figure.value, figure.scale)
            found.append(f"{name}: stated {stated['value']}, recomputed {right}")
    return found


def heading_differences(
    series: Series, chosen: Mapping[str, int], told: Mapping[str, Any]
) -> list[str]:
    """Compare a report's window and counts; `chosen` has `from` and `to` in nanoseconds."""
    window = told["window"]
    stated = {
        "from": instant_ns(window["from"]),
        "to": instant_ns(window["to"]),
        "periods": window["periods"],
        "first_period": window["first_period"],
        "entries": told["entries"],
    }
    right = {
        **chosen,
        "periods": len(series.periods),
        "first_period": series.first,
        "entries": series.entries,
    }
    return [
        f"{name}: stated {stated[name]}, recomputed {right[name]}"
        for name in right
        if stated[name] != right[name]
    ]
