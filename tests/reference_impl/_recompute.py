"""Analytics computed a second time, from listed entries alone, with none of the code under test.

Everything is exact (fractions), but for square roots, which are cut after 40 digits.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

GAINS = {"premium", "interest", "assignment"}
FEES = {"fee", "tax"}
DAY = timedelta(days=1)

Entry = dict[str, Any]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def square_root(value: Fraction) -> Fraction:
    return Fraction(math.isqrt(value.numerator * 10**80 // value.denominator), 10**40)


class Book:
    """The entries of a subject, cut at (as_of_seq, as_of_line_no) and by the window."""

    def __init__(self, entries: Iterable[Entry], answer: dict[str, Any]) -> None:
        last = (answer["as_of_seq"], answer["as_of_line_no"])
        self.entries = [item for item in entries if (item["seq"], item["line_no"]) <= last]
        self.start = moment(answer["window"]["from"])
        self.end = moment(answer["window"]["to"])
        self.days = -((self.start - self.end) // DAY)
        kinds = {item["transaction_id"]: item["kind"] for item in self.entries}
        self.movements: dict[str, tuple[str, datetime, int]] = {}
        for item in self.entries:
            kind = kinds[item["reverses_id"]] if item["reverses_id"] else item["kind"]
            _, _, before = self.movements.get(item["transaction_id"], ("", None, 0))
            when = moment(item["effective_at"])
            self.movements[item["transaction_id"]] = (kind, when, before + item["amount"])

    def bucket(self, name: str) -> int:
        return sum(
            item["amount"]
            for item in self.entries
            if item["bucket"] == name and moment(item["effective_at"]) < self.end
        )

    def first(self) -> int:
        earliest = min(moment(item["effective_at"]) for item in self.entries)
        return max(0, (earliest - self.start) // DAY)

    def opening(self) -> int:
        return sum(amount for _, when, amount in self.movements.values() if when < self.start)

    def inside(self) -> list[tuple[int, str, int]]:
        return [
            ((when - self.start) // DAY, kind, amount)
            for kind, when, amount in self.movements.values()
            if self.start <= when < self.end
        ]

    def by_day(self) -> tuple[list[int], list[int], list[int], list[int]]:
        """Inflows, outflows, gains and fees of each day."""
        sums: dict[tuple[str, int], int] = defaultdict(int)
        for day, kind, amount in self.inside():
            name = "gain" if kind in GAINS else "fee" if kind in FEES else ""
            sums[(name or ("in" if amount > 0 else "out"), day)] += amount
        names = ("in", "out", "gain", "fee")
        a, b, c, d = ([sums[name, day] for day in range(self.days)] for name in names)
        return a, b, c, d

    def values(self) -> list[int]:
        return [
            self.opening() + sum(amount for at, _, amount in self.inside() if at <= day)
            for day in range(self.days)
        ]

    def returns(self) -> list[Fraction]:
        inflows, _, gains, fees = self.by_day()
        before = [self.opening(), *self.values()]
        return [
            Fraction(gains[day] + fees[day], before[day] + inflows[day])
            for day in range(self.first(), self.days)
            if before[day] + inflows[day] > 0
        ]


def performance(book: Book) -> dict[str, Fraction | None]:
    inflows, outflows, gains, fees = book.by_day()
    earned, n = sum(gains) + sum(fees), book.days
    weighted = sum(inflows[i] * (n - i) + outflows[i] * (n - i - 1) for i in range(n))
    base = book.opening() + Fraction(weighted, n)
    timed = math.prod((1 + r for r in book.returns()), start=Fraction(1)) - 1
    return {
        "opening_value": Fraction(book.opening()),
        "inflows": Fraction(sum(inflows)),
        "outflows": Fraction(sum(outflows)),
        "gains": Fraction(sum(gains)),
        "fees": Fraction(sum(fees)),
        "net_gain": Fraction(earned),
        "closing_value": Fraction(book.values()[-1]),
        "time_weighted_return": timed if book.returns() else None,
        "money_weighted_return": earned / base if base > 0 else None,
    }


def risk(book: Book) -> dict[str, Fraction | None]:
    returns = book.returns()
    mean = sum(returns, Fraction()) / len(returns)
    variance = sum(((r - mean) ** 2 for r in returns), Fraction()) / (len(returns) - 1)
    index = [Fraction(1)]
    for one in returns:
        index.append(index[-1] * (1 + one))
    falls = [(max(index[: i + 1]) - at) / max(index[: i + 1]) for i, at in enumerate(index)]
    out = [-amount for _, kind, amount in book.inside() if amount < 0 and kind not in GAINS | FEES]
    buckets = {
        name: book.bucket(name)
        for name in (
            "cash",
            "tax_reserve",
            "position:contracts",
            "position:leaps",
            "position:shares",
        )
    }
    total = sum(buckets.values())
    shares = {
        f"share:{name}": Fraction(value, total) if total > 0 else None
        for name, value in buckets.items()
    }
    crowd = sum((one * one for one in shares.values() if one is not None), Fraction())
    return {
        "returns": Fraction(len(returns)),
        "mean_return": mean,
        "return_standard_deviation": square_root(variance),
        "maximum_drawdown": max(falls),
        "largest_outflow": Fraction(max(out, default=0)),
        "largest_outflow_share": Fraction(max(out), sum(out)) if out else None,
        **shares,
        "concentration": crowd if total > 0 else None,
    }


def _line(book: Book) -> tuple[list[int], Fraction, Fraction]:
    ys = book.values()[book.first() :]
    n = len(ys)
    middle_x, middle_y = Fraction(n - 1, 2), Fraction(sum(ys), n)
    above = sum(((x - middle_x) * (y - middle_y) for x, y in enumerate(ys)), Fraction())
    slope = above / sum((x - middle_x) ** 2 for x in range(n))
    return ys, slope, middle_y - slope * middle_x


def trend(book: Book) -> dict[str, Fraction | None]:
    ys, slope, intercept = _line(book)
    mean = Fraction(sum(ys), len(ys))
    total = sum(((y - mean) ** 2 for y in ys), Fraction())
    left = sum(((y - intercept - slope * x) ** 2 for x, y in enumerate(ys)), Fraction())
    return {
        "points": Fraction(len(ys)),
        "slope": slope,
        "intercept": intercept,
        "mean": mean,
        "change": slope * (len(ys) - 1),
        "r_squared": 1 - left / total if total else None,
    }


def direction(book: Book) -> str:
    ys, slope, _ = _line(book)
    change, mean = slope * (len(ys) - 1), Fraction(sum(ys), len(ys))
    if 100 * abs(change) <= abs(mean):
        return "flat"
    return "rising" if change > 0 else "falling"


def prediction(book: Book, horizon: int) -> dict[str, Fraction | None]:
    ys, slope, intercept = _line(book)
    n = len(ys)
    left = sum(((y - intercept - slope * x) ** 2 for x, y in enumerate(ys)), Fraction())
    at, middle = n - 1 + horizon, Fraction(n - 1, 2)
    spread = sum((x - middle) ** 2 for x in range(n))
    wide = 1 + Fraction(1, n) + (at - middle) ** 2 / spread
    half = 2 * square_root(left / (n - 2) * wide)
    return {
        "points": Fraction(n),
        "slope": slope,
        "intercept": intercept,
        "horizon": Fraction(horizon),
        "projected_value": intercept + slope * at,
        "residual_standard_error": square_root(left / (n - 2)),
        "lower": intercept + slope * at - half,
        "upper": intercept + slope * at + half,
    }


def expected(entries: Iterable[Entry], answer: dict[str, Any]) -> dict[str, Fraction | None]:
    book = Book(entries, answer)
    match answer["report"]:
        case "performance":
            return performance(book)
        case "risk":
            return risk(book)
        case "trend":
            assert answer["direction"] == direction(book)
            return trend(book)
        case _:
            return prediction(book, int(answer["figures"]["horizon"]["value"]))


def assert_recomputed(entries: Iterable[Entry], answer: dict[str, Any]) -> None:
    """Every figure is the one that the entries give, to half a unit of its last place."""
    found = expected(entries, answer)
    assert found.keys() == answer["figures"].keys()
    for name, figure in answer["figures"].items():
        value, exact = figure["value"], found[name]
        if exact is None:
            assert value is None, name
            continue
        digits = value.partition(".")[2]
        assert len(digits) == figure["scale"], (name, value)
        off = abs(Fraction(value) - exact)
        slack = Fraction(1, 10**25)
        assert off <= Fraction(1, 2 * 10 ** figure["scale"]) + slack, (name, value, exact)
