"""Performance: what came and went, what was earned, and the return with and without timing."""

from decimal import Decimal
from fractions import Fraction

from .figures import CONTEXT, Figure, chain, money, ratio
from .series import Series

NAME = "performance: daily time-weighted return and modified Dietz return"
FORMULAS = {
    "opening_value": "sum(amount) of the entries with effective_at < from",
    "inflows": "sum of the movements > 0 of class flow in the window",
    "outflows": "sum of the movements < 0 of class flow in the window",
    "gains": "sum of the movements of class gain in the window",
    "fees": "sum of the movements of class fee in the window",
    "net_gain": "gains + fees",
    "closing_value": "opening_value + inflows + outflows + gains + fees",
    "time_weighted_return": (
        "product over the periods since the first entry with base_i > 0 of (1 + r_i), less 1;"
        " base_i = value before period i + inflows_i, r_i = (gains_i + fees_i) / base_i;"
        " null if no period has a base"
    ),
    "money_weighted_return": (
        "net_gain / (opening_value + sum of inflows_i * (n - i) / n"
        " + sum of outflows_i * (n - i - 1) / n), periods i = 0 .. n - 1;"
        " null if the divisor is not positive"
    ),
}


def figures(series: Series) -> list[Figure]:
    """Return the figures of a window; any number of periods will do."""
    total = series.total()
    amounts = {
        "opening_value": series.opening,
        "inflows": total.inflow,
        "outflows": total.outflow,
        "gains": total.gain,
        "fees": total.fee,
        "net_gain": total.result,
        "closing_value": series.opening + total.change,
    }
    found = [money(name, value, FORMULAS[name]) for name, value in amounts.items()]
    index = chain(series.returns())
    timed = CONTEXT.subtract(index[-1], Decimal(1)) if index else None
    found.append(ratio("time_weighted_return", timed, FORMULAS["time_weighted_return"]))
    weighted = money_weighted(series)
    found.append(ratio("money_weighted_return", weighted, FORMULAS["money_weighted_return"]))
    return found


def money_weighted(series: Series) -> Fraction | None:
    """Return what was earned on the money that was there, weighted by how long it was."""
    count = len(series.periods)
    weighted = sum(
        period.inflow * (count - number) + period.outflow * (count - number - 1)
        for number, period in enumerate(series.periods)
    )
    divisor = series.opening + Fraction(weighted, count)
    return Fraction(series.total().result) / divisor if divisor > 0 else None
