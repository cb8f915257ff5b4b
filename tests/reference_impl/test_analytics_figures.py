"""The figures as pure functions: what holds for every history, and the edges of each formula."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl import transactions
from reference_impl.analytics import figures, line, performance, risk, series, window
from reference_impl.analytics.window import DAY_MS, Asked, WindowError

SAFE = 2**53 - 1
amounts = st.integers(-SAFE, SAFE).filter(bool)
kinds = st.sampled_from(sorted(series.CLASSES))


@st.composite
def histories(draw: Any) -> tuple[int, list[series.Day]]:
    """A number of periods, and movements in and before them."""
    count = draw(st.integers(1, 30))
    days = st.builds(series.Day, period=st.integers(-1, count - 1), kind=kinds, amount=amounts)
    return count, draw(st.lists(days, max_size=60))


def build(history: tuple[int, list[series.Day]], first: int = 0) -> series.Series:
    count, days = history
    return series.build(days, count=count, first=first)


def values(found: list[figures.Figure]) -> dict[str, Any]:
    return {figure.name: figure.value for figure in found}


@given(histories())
def test_value_is_opening_and_all_that_came_after(history: Any) -> None:
    found = values(performance.figures(build(history)))
    assert found["closing_value"] == sum(day.amount for day in history[1])
    parts = ("opening_value", "inflows", "outflows", "gains", "fees")
    assert sum(found[name] for name in parts) == found["closing_value"]
    assert found["net_gain"] == found["gains"] + found["fees"]
    assert found["outflows"] <= 0 <= found["inflows"]


@given(histories(), st.randoms())
def test_the_order_of_reading_does_not_matter(history: Any, dice: Any) -> None:
    count, days = history
    mixed = list(days)
    dice.shuffle(mixed)
    assert build((count, mixed)) == build(history)


@given(histories(), st.integers(1, 10**6))
def test_returns_know_no_unit(history: Any, factor: int) -> None:
    count, days = history
    larger = [
        series.Day(period=day.period, kind=day.kind, amount=day.amount * factor) for day in days
    ]
    one, other = build(history), build((count, larger))
    assert one.returns() == other.returns()
    assert performance.money_weighted(one) == performance.money_weighted(other)


@given(histories())
def test_without_gains_and_fees_nothing_was_earned(history: Any) -> None:
    count, days = history
    flows = [day for day in days if series.CLASSES[day.kind] == series.FLOW]
    found = values(performance.figures(build((count, flows))))
    assert found["net_gain"] == 0
    assert found["time_weighted_return"] in {0, None}
    assert found["money_weighted_return"] in {0, None}


@given(histories())
def test_every_figure_can_be_shown(history: Any) -> None:
    found = build(history)
    exposure = risk.Exposure(largest_outflow=1, buckets={"cash": found.values()[-1]})
    shown = performance.figures(found) + (risk.figures(found, exposure) or [])
    shown += (line.trend(found.points()) or ([], ""))[0]
    shown += line.prediction(found.points(), 365) or []
    for figure in shown:
        text = figure.shown()["value"]
        assert text is None or len(text.partition(".")[2]) == figure.scale
        assert len(figure.formula) <= 500


def test_every_kind_of_transaction_has_a_class() -> None:
    assert set(series.CLASSES) == set(transactions.KINDS) - {"reversal"}


def test_the_returns_of_a_long_wild_history_stay_in_bounds() -> None:
    days = []
    for period in range(200):
        days.append(series.Day(period=period, kind="premium", amount=SAFE - 1))
        days.append(series.Day(period=period, kind="withdrawal", amount=1 - SAFE))
    days.append(series.Day(period=0, kind="deposit", amount=1))
    found = series.build(days, count=200, first=0)
    timed = next(f for f in performance.figures(found) if f.name == "time_weighted_return")
    assert isinstance(timed.value, Decimal)
    assert timed.value > figures.LIMIT
    assert timed.shown()["value"] is None


@given(st.fractions(), st.integers(0, 12))
def test_rounding_is_to_the_nearest_and_half_to_even(value: Fraction, scale: int) -> None:
    text = figures.render(value, scale)
    if abs(value) >= figures.LIMIT:
        assert text is None
        return
    assert text is not None
    exact, step = abs(Fraction(text) - value), Fraction(1, 10**scale)
    assert exact <= step / 2
    if exact == step / 2:
        assert int(text.replace(".", "")) % 2 == 0


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (Fraction(5, 2), 0, "2"),
        (Fraction(7, 2), 0, "4"),
        (Fraction(-1, 10**9), 6, "0.000000"),
        (Fraction(-1, 8), 2, "-0.12"),
        (Decimal("-0.5"), 2, "-0.50"),
        (10**30 - 1, 0, "9" * 30),
        (10**30, 0, None),
        (None, 3, None),
    ],
)
def test_edges_of_rendering(value: Any, scale: int, text: str | None) -> None:
    assert figures.render(value, scale) == text


@pytest.mark.parametrize(
    ("points", "slope", "direction"),
    [
        ([100, 100, 100], 0, "flat"),
        ([0, 0], 0, "flat"),
        ([10_000, 10_100], 100, "flat"),
        ([10_000, 10_102], 102, "rising"),
        ([10_102, 10_000], -102, "falling"),
        ([-10_000, -9_800], 200, "rising"),
        ([1, 2, 3, 4], 1, "rising"),
    ],
)
def test_direction_follows_its_rule(points: list[int], slope: int, direction: str) -> None:
    found = line.trend(points)
    assert found is not None
    assert values(found[0])["slope"] == slope
    assert found[1] == direction


def test_a_straight_line_is_continued_without_doubt() -> None:
    found = line.prediction([3, 5, 7, 9], 10)
    assert found is not None
    shown = values(found)
    assert shown["projected_value"] == shown["lower"] == shown["upper"] == 29
    assert shown["residual_standard_error"] == 0


def test_drawdown_is_from_the_highest_point_and_not_from_flows() -> None:
    days = [
        series.Day(period=-1, kind="deposit", amount=1_000),
        series.Day(period=0, kind="premium", amount=1_000),
        series.Day(period=1, kind="withdrawal", amount=-1_000),
        series.Day(period=2, kind="fee", amount=-250),
        series.Day(period=3, kind="premium", amount=10),
    ]
    found = risk.figures(
        series.build(days, count=4, first=0), risk.Exposure(largest_outflow=1_000, buckets={})
    )
    assert found is not None
    assert values(found)["maximum_drawdown"] == Decimal("0.25")
    assert values(found)["concentration"] is None


def test_returns_begin_with_the_first_entry() -> None:
    days = [series.Day(period=2, kind="deposit", amount=100)]
    assert series.build(days, count=5, first=2).points() == [100, 100, 100]
    assert len(series.build(days, count=5, first=2).returns()) == 3


NOW = 1_800_000_000_000
TODAY = window.day_start(NOW)


@given(st.integers(0, 2 * 10**12), st.integers(1, window.DAYS_MAX * DAY_MS))
def test_every_instant_of_a_window_has_a_period(start_ms: int, length_ms: int) -> None:
    found = window.Window(start_ms=start_ms, end_ms=start_ms + length_ms)
    assert 0 <= found.period_of(found.end_ms - 1) == found.periods - 1
    assert found.period_of(start_ms) == 0
    assert found.period_of(start_ms - 1) == 0


def test_the_default_window_is_whole_days_from_the_first_entry_to_today() -> None:
    chosen = window.choose(Asked(), NOW, NOW - 3 * DAY_MS)
    assert (chosen.start_ms, chosen.end_ms) == (TODAY - 3 * DAY_MS, TODAY + DAY_MS)
    assert window.choose(Asked(), NOW, 0).periods == window.DAYS_DEFAULT


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (Asked(end_ms=TODAY + DAY_MS + 1), "to"),
        (Asked(start_ms=TODAY + DAY_MS), "from"),
        (Asked(start_ms=NOW, end_ms=NOW), "from"),
        (Asked(start_ms=NOW - window.DAYS_MAX * DAY_MS - 1, end_ms=NOW), "from"),
    ],
)
def test_a_window_that_cannot_be_used_is_refused(asked: Asked, name: str) -> None:
    with pytest.raises(WindowError) as refusal:
        window.choose(asked, NOW, 0)
    assert refusal.value.name == name
