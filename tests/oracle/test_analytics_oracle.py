"""The analytics oracle against figures worked by hand; each rule has a mutant that they kill."""

from __future__ import annotations

import sys
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from certification.oracle import analytics, analytics_series
from certification.oracle.analytics_series import DAY_NS, SECOND_NS, Entry, Series, Window
from tests.oracle.analytics_mutants import MUTANTS

START = analytics_series.instant_ns("2026-11-01T00:00:00Z")


def entry(day: Fraction | float, kind: str, amount: int, **fields: Any) -> Entry:
    """An entry so many days after the start; each is a transaction of its own."""
    given: dict[str, Any] = {
        "account": "a",
        "transaction": f"{kind}-{day}-{amount}",
        "reverses": None,
        "bucket": "cash",
        "seq": 1,
        "line_no": 0,
        "effective_ns": START + int(Fraction(day) * DAY_NS),
    }
    return Entry(kind=kind, amount=amount, **(given | fields))


def days(count: int) -> Window:
    return analytics_series.Window(start_ns=START, end_ns=START + count * DAY_NS)


def values(report: str, found: Series, **terms: Any) -> dict[str, str | None]:
    figures = analytics.figures(report, found, **terms)
    assert figures is not None
    return {name: analytics.shown(one.value, one.scale) for name, one in figures.items()}


BOOK = [
    entry(-1, "deposit", 1_000),
    entry(0, "deposit", 1_000),
    entry(0.5, "interest", 100),
    entry(1, "fee", -21),
    entry(1.25, "withdrawal", -500),
    entry(2.5, "premium", 79),
    entry(3, "deposit", 7),
]
"""Values: 1000 before; day 0: +1000 +100 = 2100; day 1: -21 -500 = 1579; day 2: +79 = 1658.

The deposit of day 3 stands on the end of a window of three days, and is not in it.
"""


def test_performance_by_hand() -> None:
    # base_0 = 1000 + 1000, r_0 = 100/2000 = 1/20; base_1 = 2100, r_1 = -21/2100 = -1/100;
    # base_2 = 1579, r_2 = 79/1579. Time-weighted: 21/20 * 99/100 * 1658/1579 - 1
    #   = 3446982/3158000 - 1 = 288982/3158000 = 0.0915079164028...
    # Money-weighted: 158 / (1000 + 1000 * 3/3 - 500 * (3-1-1)/3) = 158 * 6 / 11000 = 0.08618181...
    assert values("performance", analytics_series.series(BOOK, days(3))) == {
        "opening_value": "1000",
        "inflows": "1000",
        "outflows": "-500",
        "gains": "179",
        "fees": "-21",
        "net_gain": "158",
        "closing_value": "1658",
        "time_weighted_return": "0.091507916403",
        "money_weighted_return": "0.086181818182",
    }


def test_risk_by_hand() -> None:
    # Two returns, 1/10 and -1/5: mean -1/20; deviations 3/20 each, squared 9/400, sum 18/400,
    # divided by 1; root of 0.045 = 0.2121320343559...
    # Index 1.1, 0.88: peak 1.1, fall 0.22/1.1 = 0.2.
    # Cash 1100 - 220 - 30 - 10 = 840 of which 80 went to shares: 760/840 and 80/840;
    # squares (577600 + 6400)/705600 = 0.82766439909...; outflows 30 and 10: 30/40.
    book = [
        entry(0, "deposit", 1_000),
        entry(0, "interest", 100),
        entry(1, "fee", -220),
        entry(1.5, "withdrawal", -30),
        entry(1.5, "transfer", -10),
        entry(1.5, "assignment", -80, transaction="a"),
        entry(1.5, "assignment", 80, transaction="a", bucket="position:shares"),
    ]
    assert values("risk", analytics_series.series(book, days(2))) == {
        "returns": "2",
        "mean_return": "-0.050000000000",
        "return_standard_deviation": "0.212132034356",
        "maximum_drawdown": "0.200000000000",
        "largest_outflow": "30",
        "largest_outflow_share": "0.750000000000",
        "share:cash": "0.904761904762",
        "share:tax_reserve": "0.000000000000",
        "share:position:contracts": "0.000000000000",
        "share:position:leaps": "0.000000000000",
        "share:position:shares": "0.095238095238",
        "concentration": "0.827664399093",
    }


LINE = [
    entry(0, "deposit", 100),
    entry(1, "deposit", 60),
    entry(2, "withdrawal", -10),
    entry(3, "deposit", 70),
]
"""Values 100, 160, 150, 220: sum 630, sum of x*y = 160 + 300 + 660 = 1120, n = 4.

slope = (4 * 1120 - 6 * 630) / (4 * 14 - 36) = 700 / 20 = 35; intercept = (630 - 210) / 4 = 105.
Line 105, 140, 175, 210; distances -5, 20, -25, 10: squares 25 + 400 + 625 + 100 = 1150.
"""


def test_trend_by_hand() -> None:
    # y squared: 10000 + 25600 + 22500 + 48400 = 106500; 4 * 106500 - 630^2 = 29100;
    # r_squared = 700^2 / (20 * 29100) = 0.84192439862...
    found = analytics_series.series(LINE, days(4))
    assert values("trend", found) == {
        "points": "4",
        "slope": "35.000000",
        "intercept": "105.000000",
        "mean": "157.500000",
        "change": "105.000000",
        "r_squared": "0.841924398625",
    }
    outcome = analytics.trend(found)
    assert outcome
    assert outcome[1] == "rising"


def test_prediction_by_hand() -> None:
    # X = 3 + 2 = 5: 105 + 35 * 5 = 280. s = root(1150 / 2) = 23.979157616563...
    # spread = 1 + 1/4 + (5 - 1.5)^2 / 5 = 3.7; 575 * 3.7 = 2127.5, root 46.12483062...; twice it.
    assert values("prediction", analytics_series.series(LINE, days(4)), horizon=2) == {
        "points": "4",
        "slope": "35.000000",
        "intercept": "105.000000",
        "horizon": "2",
        "projected_value": "280.000000",
        "residual_standard_error": "23.979158",
        "lower": "187.750339",
        "upper": "372.249661",
    }


def test_a_trend_is_flat_up_to_a_hundredth_of_the_mean() -> None:
    # Values 1000, 1010: change 10, mean 1005; 10 <= 10.05. One more and 11 > 10.055.
    for second, direction in ((10, "flat"), (11, "rising"), (-11, "falling")):
        book = [entry(0, "deposit", 1_000), entry(1, "deposit", second)]
        outcome = analytics.trend(analytics_series.series(book, days(2)))
        assert outcome
        assert outcome[1] == direction


def test_too_little_history_has_no_figures() -> None:
    book = [entry(0, "deposit", 100)]
    assert analytics.figures("performance", analytics_series.series([], days(1))) is None
    assert (
        analytics.figures("performance", analytics_series.series([entry(1, "deposit", 1)], days(1)))
        is None
    )
    for report, least in (("risk", 2), ("trend", 2), ("prediction", 3)):
        assert analytics.figures(report, analytics_series.series(book, days(least - 1))) is None
        assert analytics.figures(report, analytics_series.series(book, days(least))) is not None


def test_undefined_figures_are_null() -> None:
    book = [entry(0, "deposit", 100), entry(0, "withdrawal", -100)]
    book += [entry(1, "deposit", 5), entry(1, "withdrawal", -5)]
    told = values("risk", analytics_series.series(book, days(2)))
    assert told["share:cash"] is None, "nothing is left"
    assert told["concentration"] is None
    kept = values("risk", analytics_series.series([entry(0, "deposit", 9)], days(2)))
    assert kept["largest_outflow_share"] is None, "nothing went out"
    empty = values("performance", analytics_series.series([entry(0, "withdrawal", -1)], days(1)))
    assert empty["time_weighted_return"] is None, "no base is above 0"
    assert empty["money_weighted_return"] is None, "the divisor is 0"
    below = values("performance", analytics_series.series([entry(0, "withdrawal", -1)], days(2)))
    assert below["money_weighted_return"] is None, "the divisor is below 0"
    level = values("trend", analytics_series.series([entry(0, "deposit", 5)], days(3)))
    assert level["r_squared"] is None, "every value is the same"


def test_a_reversal_counts_as_what_it_reverses() -> None:
    premium = entry(0, "premium", 50, transaction="p")
    undone = entry(1, "reversal", -50, transaction="r", reverses="p")
    found = analytics_series.series([entry(0, "deposit", 100), premium, undone], days(2))
    assert [period.gains for period in found.periods] == [50, -50]
    assert found.largest_outflow == 0
    with pytest.raises(ValueError, match="which entries it reverses"):
        analytics_series.series(
            [entry(1, "reversal", -50, transaction="r", reverses=None)], days(2)
        )


def test_what_moves_inside_a_subject_is_no_flow() -> None:
    inside = [
        entry(1, "transfer", -40, transaction="t"),
        entry(1, "transfer", 40, transaction="t", account="b"),
    ]
    found = analytics_series.series([entry(0, "deposit", 100), *inside], days(2))
    assert found.periods[1].change == found.largest_outflow == found.periods[1].outflows == 0
    assert found.entries == 3


def test_edges_of_windows_and_periods() -> None:
    edge = [entry(Fraction(0), "deposit", 1), entry(Fraction(1), "deposit", 10)]
    one_ns = Fraction(1, DAY_NS)
    late = [entry(1 - one_ns, "deposit", 100), entry(2 - one_ns, "deposit", 1_000)]
    out = [entry(-one_ns, "deposit", 10_000), entry(Fraction(2), "deposit", 100_000)]
    found = analytics_series.series([*edge, *late, *out], days(2))
    assert found.opening == 10_000
    assert [period.inflows for period in found.periods] == [101, 1_010]
    assert found.entries == 5
    longer = analytics_series.Window(start_ns=START, end_ns=START + DAY_NS + 1)
    assert longer.count == 2, "the last period is a shorter one"


def test_the_default_window_begins_with_the_day_of_the_earliest_entry() -> None:
    end = START + 3 * DAY_NS
    book = [entry(1.75, "deposit", 1), entry(0.75, "deposit", 1, seq=2)]
    assert analytics_series.window(book, start=None, end=end).start_ns == START
    assert analytics_series.window(book, start=START + 5, end=end).start_ns == START + 5
    assert analytics_series.window([], start=None, end=end).start_ns == end - DAY_NS
    assert (
        analytics_series.window([entry(4, "deposit", 1)], start=None, end=end).start_ns
        == end - DAY_NS
    )
    assert (
        analytics_series.window([entry(-900, "deposit", 1)], start=None, end=end).start_ns
        == end - 365 * DAY_NS
    )


def test_points_count_from_the_earliest_entry() -> None:
    book = [entry(2.5, "deposit", 100, seq=1), entry(1.5, "deposit", 10, seq=2)]
    found = analytics_series.series(book, days(4))
    assert found.first == 1
    assert found.values[found.first :] == [10, 110, 110]
    assert analytics_series.series([*book, entry(-1, "deposit", 1)], days(4)).first == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T12:00:00-12:00", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T00:00:00.000000001-00:30", 1_800 * SECOND_NS + 1),
        ("1969-12-31T23:59:60Z", 0),
        ("2026-11-01T00:00:00.123456789Z", 1_793_491_200 * SECOND_NS + 123_456_789),
    ],
)
def test_instants(text: str, expected: int) -> None:
    assert analytics_series.instant_ns(text) == expected


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [
        (Fraction(5, 2), 0, "2"),
        (Fraction(7, 2), 0, "4"),
        (Fraction(-5, 2), 0, "-2"),
        (Fraction(-7, 2), 0, "-4"),
        (Fraction(-1, 4), 0, "0"),
        (Fraction(1, 8), 2, "0.12"),
        (Fraction(3, 8), 2, "0.38"),
        (Fraction(-1, 3), 3, "-0.333"),
        (Fraction(10**30 - 1), 0, "9" * 30),
        (10**30, 0, None),
        (-(10**30), 0, None),
        (None, 6, None),
    ],
)
def test_rounding_is_half_to_even(value: Any, scale: int, expected: str | None) -> None:
    assert analytics.shown(value, scale) == expected


def test_only_roots_and_products_may_be_a_unit_off() -> None:
    exact = analytics.Figure(value=Fraction(1, 3), unit="ratio", scale=3)
    near = analytics.Figure(value=Fraction(1, 3), unit="ratio", scale=3, near=True)
    assert not analytics.differs(exact, "0.333")
    assert analytics.differs(exact, "0.334")
    assert not analytics.differs(near, "0.334")
    assert analytics.differs(near, "0.335")
    assert analytics.differs(near, "0.3330"), "the scale says how many digits there are"
    assert analytics.differs(near, None)


# -- each rule has a mutant ------------------------------------------------------------------------


def goldens() -> list[Any]:
    """Every test of this file, each set of parameters a call of its own."""
    found = []
    for name, test in list(globals().items()):
        if name.startswith("test_") and name != "test_a_mutant_is_killed":
            marks = getattr(test, "pytestmark", [])
            rows = marks[0].args[1] if marks else [()]
            found += [(test, row) for row in rows]
    return found


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in MUTANTS for name in MUTANTS[module]]
)
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    real = {"analytics": analytics, "analytics_series": analytics_series}[module]
    old, new = MUTANTS[module][name]
    source = Path(str(real.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, "the mutant must change one place"
    mutant = types.ModuleType(real.__name__)
    monkeypatch.setitem(sys.modules, real.__name__, mutant)
    exec(compile(source.replace(old, new), name, "exec"), vars(mutant))  # noqa: S102  our own source
    for attribute, value in vars(mutant).items():
        if not attribute.startswith("__"):
            monkeypatch.setattr(real, attribute, value, raising=False)
    killed = 0
    for test, row in goldens():
        try:
            test(*row)
        except Exception:  # noqa: BLE001  however a mutant dies
            killed += 1
        except BaseException as ended:
            if type(ended).__name__ != "Failed":  # of pytest.raises
                raise
            killed += 1
    assert killed, "no golden vector tells the mutant from the oracle"
