"""Risk: how returns scatter, the deepest fall, the largest outflow, and where the value lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from .figures import CONTEXT, Figure, chain, count, decimal, money, ratio
from .series import Series

NAME = "risk: scatter of daily returns, drawdown, outflow and concentration"
RETURNS_MIN = 2
BUCKETS = ("cash", "tax_reserve", "position:contracts", "position:leaps", "position:shares")
FORMULAS = {
    "returns": "number of periods since the first entry with base_i > 0",
    "mean_return": "sum of r_i / returns; r_i and base_i as in performance",
    "return_standard_deviation": "square root of sum of (r_i - mean_return)^2 / (returns - 1)",
    "maximum_drawdown": (
        "largest (peak - index) / peak; index = product of (1 + r_i) up to a period, peak = the"
        " highest index before or at it, at least the 1 of the start"
    ),
    "largest_outflow": "size of the most negative movement of class flow in the window",
    "largest_outflow_share": "largest_outflow / size of outflows; null without outflows",
    "concentration": "sum of the squares of the shares of the buckets; null as these are",
}
SHARE_FORMULA = (
    "sum(amount) of the entries of this bucket with effective_at < to, divided by the same sum"
    " over all buckets; null if that is not > 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What risk needs beside the series, in minor units."""

    largest_outflow: int
    """The size of the largest single movement out."""
    buckets: Mapping[str, int]
    """The value in each bucket at the end of the window."""


def figures(series: Series, exposure: Exposure) -> list[Figure] | None:
    """Return the figures of a window; None for fewer than RETURNS_MIN returns."""
    returns = series.returns()
    if len(returns) < RETURNS_MIN:
        return None
    mean, deviation = scatter(returns)
    out = -series.total().outflow
    share = Fraction(exposure.largest_outflow, out) if out else None
    return [
        count("returns", len(returns), FORMULAS["returns"]),
        ratio("mean_return", mean, FORMULAS["mean_return"]),
        ratio("return_standard_deviation", deviation, FORMULAS["return_standard_deviation"]),
        ratio("maximum_drawdown", drawdown(returns), FORMULAS["maximum_drawdown"]),
        money("largest_outflow", exposure.largest_outflow, FORMULAS["largest_outflow"]),
        ratio("largest_outflow_share", share, FORMULAS["largest_outflow_share"]),
        *concentration(exposure.buckets),
    ]


def scatter(returns: Sequence[Fraction]) -> tuple[Decimal, Decimal]:
    """Return the mean, and the standard deviation of a sample.

    In decimals: the exact sum of fractions with different bases has a divisor without bounds.
    """
    values, total, squares = [decimal(one) for one in returns], Decimal(0), Decimal(0)
    for value in values:
        total = CONTEXT.add(total, value)
    mean = CONTEXT.divide(total, Decimal(len(values)))
    for value in values:
        distance = CONTEXT.subtract(value, mean)
        squares = CONTEXT.add(squares, CONTEXT.multiply(distance, distance))
    return mean, CONTEXT.sqrt(CONTEXT.divide(squares, Decimal(len(values) - 1)))


def drawdown(returns: Sequence[Fraction]) -> Decimal:
    """Return the deepest fall of the index below its highest point so far."""
    peak, deepest = Decimal(1), Decimal(0)
    for index in chain(returns):
        peak = max(peak, index)
        fall = CONTEXT.divide(CONTEXT.subtract(peak, index), peak)
        deepest = max(deepest, fall)
    return deepest


def concentration(buckets: Mapping[str, int]) -> list[Figure]:
    """Return each bucket's share of the value, and how much they crowd in one."""
    total = sum(buckets.values())
    shares = {
        name: Fraction(buckets.get(name, 0), total) if total > 0 else None for name in BUCKETS
    }
    crowd = sum((one * one for one in shares.values() if one is not None), Fraction())
    return [
        *(ratio(f"share:{name}", one, SHARE_FORMULA) for name, one in shares.items()),
        ratio("concentration", crowd if total > 0 else None, FORMULAS["concentration"]),
    ]
