"""Trend and prediction: the least-squares line through the daily values, and where it leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .figures import Figure, Value, count, estimate, ratio, root

TREND = "trend: least-squares line through the values at the end of each period"
PREDICTION = "prediction: the least-squares line of trend, continued; residual-based interval"
STATEMENT = (
    "A projection of the past: the line through the values of the window, continued. It knows"
    " nothing of what will be deposited, earned or decided."
)
TREND_POINTS_MIN = 2
PREDICTION_POINTS_MIN = 3
INTERVAL_FACTOR = 2
HORIZON_DEFAULT = 30
HORIZON_MAX = 365
FLAT_PART = Fraction(1, 100)
PER_PERIOD = "minor_units_per_period"
DIRECTION_RULE = (
    "flat if |change| <= |mean| / 100, else rising if change > 0, else falling; before rounding"
)
_LINE = {
    "points": "n = number of periods since the first entry; y_x = value at the end of period x",
    "slope": "(n * sum(x*y) - sum(x) * sum(y)) / (n * sum(x^2) - sum(x)^2), x = 0 .. n - 1",
    "intercept": "(sum(y) - slope * sum(x)) / n",
}
_TREND = {
    "mean": "sum(y) / n",
    "change": "slope * (n - 1)",
    "r_squared": (
        "(n * sum(x*y) - sum(x) * sum(y))^2 / ((n * sum(x^2) - sum(x)^2)"
        " * (n * sum(y^2) - sum(y)^2)); null if every y is the same"
    ),
}
_PREDICTION = {
    "horizon": "h: periods after the last one, as asked (default 30)",
    "projected_value": "intercept + slope * X, X = n - 1 + h",
    "residual_standard_error": "s = square root of sum((y - intercept - slope * x)^2) / (n - 2)",
    "lower": "projected_value - 2 * s * sqrt(1 + 1/n + (X - mean of x)^2 / sum((x - mean of x)^2))",
    "upper": "projected_value + the same distance",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The sums of a least-squares fit over x = 0 .. count - 1, all exact."""

    count: int
    sum_x: int
    sum_y: int
    spread_x: int
    """n * sum(x^2) - sum(x)^2"""
    spread_y: int
    joint: int
    """n * sum(x*y) - sum(x) * sum(y)"""

    @property
    def slope(self) -> Fraction:
        """By how much the line rises from one period to the next."""
        return Fraction(self.joint, self.spread_x)

    @property
    def intercept(self) -> Fraction:
        """Where the line is at the first point."""
        return (self.sum_y - self.slope * self.sum_x) / self.count

    @property
    def residual_variance(self) -> Fraction:
        """The sum of the squared residuals, divided by n - 2."""
        unexplained = self.spread_x * self.spread_y - self.joint**2
        return Fraction(unexplained, self.count * self.spread_x * (self.count - 2))


def fit(values: Sequence[int]) -> Line:
    """Return the line through at least two values."""
    n = len(values)
    sum_x, sum_y = n * (n - 1) // 2, sum(values)
    return Line(
        count=n,
        sum_x=sum_x,
        sum_y=sum_y,
        spread_x=n * sum(x * x for x in range(n)) - sum_x**2,
        spread_y=n * sum(y * y for y in values) - sum_y**2,
        joint=n * sum(x * y for x, y in enumerate(values)) - sum_x * sum_y,
    )


def _shared(line: Line) -> list[Figure]:
    return [
        count("points", line.count, _LINE["points"]),
        estimate("slope", line.slope, _LINE["slope"], PER_PERIOD),
        estimate("intercept", line.intercept, _LINE["intercept"]),
    ]


def trend(values: Sequence[int]) -> tuple[list[Figure], str] | None:
    """Return figures and direction; None for fewer than TREND_POINTS_MIN points."""
    if len(values) < TREND_POINTS_MIN:
        return None
    line = fit(values)
    mean, change = Fraction(line.sum_y, line.count), line.slope * (line.count - 1)
    explained: Value = None
    if line.spread_y:
        explained = Fraction(line.joint**2, line.spread_x * line.spread_y)
    found = [
        *_shared(line),
        estimate("mean", mean, _TREND["mean"]),
        estimate("change", change, _TREND["change"]),
        ratio("r_squared", explained, _TREND["r_squared"]),
    ]
    return found, direction(mean, change)


def direction(mean: Fraction, change: Fraction) -> str:
    """Say where a line leads, by DIRECTION_RULE."""
    if abs(change) <= abs(mean) * FLAT_PART:
        return "flat"
    return "rising" if change > 0 else "falling"


def prediction(values: Sequence[int], horizon: int) -> list[Figure] | None:
    """Return the line continued by `horizon` periods; None below PREDICTION_POINTS_MIN points."""
    if len(values) < PREDICTION_POINTS_MIN:
        return None
    line = fit(values)
    n, at = line.count, line.count - 1 + horizon
    projected = line.intercept + line.slope * at
    factor = 1 + Fraction(1, n) + Fraction((n * at - line.sum_x) ** 2, n * line.spread_x)
    half = Fraction(root(line.residual_variance * factor)) * INTERVAL_FACTOR
    error = root(line.residual_variance)
    return [
        *_shared(line),
        count("horizon", horizon, _PREDICTION["horizon"]),
        estimate("projected_value", projected, _PREDICTION["projected_value"]),
        estimate("residual_standard_error", error, _PREDICTION["residual_standard_error"]),
        estimate("lower", projected - half, _PREDICTION["lower"]),
        estimate("upper", projected + half, _PREDICTION["upper"]),
    ]
