"""What a rule asks of the metrics: a tree with two readings, PromQL and figures from samples.

A figure is a value for each set of labels that its selectors keep; () where they keep none. None
instead of figures: the history does not reach back far enough to say. No figure for a set of
labels: there is nothing to say of it, and a rule about it does not hold.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Labels = tuple[str, ...]
Figures = Mapping[Labels, float]
Point = tuple[float, Figures]
"""Seconds since 1970, and the sums of that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Samples of one exposed name, chosen by labels and added up."""

    series: str
    """As exposed: a histogram's with _bucket, _count or _sum."""
    where: tuple[tuple[str, str, str], ...] = ()
    """Label, one of = != =~ !~, and the value or a regular expression for the whole of it."""
    by: tuple[str, ...] = ()

    def promql(self, suffix: str = "") -> str:
        """Return the selector; `suffix` is a range or an offset."""
        chosen = ",".join(f'{label}{sign}"{value}"' for label, sign, value in self.where)
        return self.series + (f"{{{chosen}}}" if chosen else "") + suffix

    def added(self, inner: str) -> str:
        """Return the sum of `inner` by the labels that are kept."""
        kept = f" by ({', '.join(self.by)})" if self.by else ""
        return f"sum{kept}({inner})"

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a sample with these labels is chosen."""
        return all(_matches(labels.get(name, ""), sign, value) for name, sign, value in self.where)


@functools.lru_cache(maxsize=4096)
def _matches(found: str, sign: str, value: str) -> bool:
    if sign in {"=", "!="}:
        return (found == value) == (sign == "=")
    return (re.fullmatch(value, found) is not None) == (sign == "=~")


class Past(Protocol):
    """What is known of the past."""

    @property
    def now_s(self) -> float:
        """The moment of the last sample."""
        ...

    def latest(self, selector: Selector) -> Figures:
        """Return the sums of the last sample."""
        ...

    def window(self, selector: Selector, from_s: float, to_s: float) -> Sequence[Point]:
        """Return the samples of a span of time, oldest first, beginning at or before it."""
        ...

    def grown(self, selector: Selector, from_s: float, to_s: float) -> tuple[float, Figures] | None:
        """Return the seconds between the ends of a span, and how far each sum has risen."""
        ...

    def reaches(self, back_to_s: float) -> bool:
        """Tell whether there is a sample as old as this."""
        ...


class Term(Protocol):
    """A part of a rule that has figures."""

    def promql(self, scale: float) -> str:
        """Return the expression, with all times divided by `scale`."""
        ...

    def figures(self, past: Past, scale: float) -> Figures | None:
        """Return the figures of now; None if the past is too short."""
        ...

    def selectors(self) -> Iterator[Selector]:
        """Yield what is read."""
        ...

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        ...


def duration(seconds: float, scale: float = 1.0) -> str:
    """Return a duration as Prometheus writes it."""
    whole = max(round(seconds * 1000 / scale), 1)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}ms"


def number(value: float) -> str:
    """Return a number as PromQL writes it."""
    return str(int(value)) if value == int(value) else repr(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The present value."""

    of: Selector
    reach_s: float = 0.0

    def promql(self, scale: float) -> str:  # noqa: ARG002 - as every term
        """Return the sum."""
        return self.of.added(self.of.promql())

    def figures(self, past: Past, scale: float) -> Figures | None:  # noqa: ARG002 - as every term
        """Return the sums of the last sample."""
        return past.latest(self.of)

    def selectors(self) -> Iterator[Selector]:
        """Yield the selector."""
        yield self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """By how much a counter grew within a time, or a second on average; perhaps some time ago.

    A series that is not there at the beginning counts from 0: its first event is one.
    """

    of: Selector
    within_s: float
    before_s: float = 0.0
    """The time ends so long ago."""
    a_second: bool = False
    no_series_is_zero: bool = False

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        return self.within_s + self.before_s

    def promql(self, scale: float) -> str:
        """Return increase or rate, added up."""
        span = f"[{duration(self.within_s, scale)}]"
        if self.before_s:
            span += f" offset {duration(self.before_s, scale)}"
        name = "rate" if self.a_second else "increase"
        text = self.of.added(f"{name}({self.of.promql(span)})")
        return f"({text} or vector(0))" if self.no_series_is_zero else text

    def figures(self, past: Past, scale: float) -> Figures | None:
        """Return what was added within the time; a counter that went back began anew."""
        to_s = past.now_s - self.before_s / scale
        from_s = to_s - self.within_s / scale
        if self.before_s and not past.reaches(from_s):
            return None
        found = past.grown(self.of, from_s, to_s)
        if found is None:
            return None
        seconds, grown = found
        if self.no_series_is_zero and not grown:
            return {(): 0.0}
        if not self.a_second:
            return grown
        # What is asked is a rate of real time: the scale shortens the window, not the second.
        return {labels: value / seconds for labels, value in grown.items()}

    def selectors(self) -> Iterator[Selector]:
        """Yield the selector."""
        yield self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile of what a histogram took in within a time, in the histogram's unit."""

    q: float
    of: Selector
    """Without the suffix _bucket."""
    within_s: float

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        return self.within_s

    @property
    def _buckets(self) -> Grown:
        name, by = f"{self.of.series}_bucket", (*self.of.by, "le")
        buckets = Selector(series=name, where=self.of.where, by=by)
        return Grown(of=buckets, within_s=self.within_s, a_second=True)

    def promql(self, scale: float) -> str:
        """Return histogram_quantile over the rates of the buckets."""
        return f"histogram_quantile({number(self.q)}, {self._buckets.promql(scale)})"

    def figures(self, past: Past, scale: float) -> Figures | None:
        """Return the quantile, taken to lie evenly within its bucket."""
        grown = self._buckets.figures(past, scale)
        if grown is None:
            return None
        apart: dict[Labels, list[tuple[float, float]]] = {}
        for (*labels, edge), value in grown.items():
            apart.setdefault(tuple(labels), []).append((float(edge), value))
        found = {labels: _quantile(self.q, sorted(steps)) for labels, steps in apart.items()}
        return {labels: value for labels, value in found.items() if not math.isnan(value)}

    def selectors(self) -> Iterator[Selector]:
        """Yield the buckets."""
        yield from self._buckets.selectors()


def _quantile(q: float, steps: Sequence[tuple[float, float]]) -> float:
    """As Prometheus does it: between the edges of the bucket; the last edge above all of them."""
    total = steps[-1][1]
    if not total > 0:
        return math.nan
    wanted, lower, below = q * total, 0.0, 0.0
    for edge, reached in steps:
        if reached >= wanted:
            if math.isinf(edge):
                return lower
            inside = (wanted - below) / (reached - below) if reached > below else 1.0
            return lower + (edge - lower) * inside
        lower, below = edge, reached
    return lower


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """Where a gauge will be, if it goes on as it went: a line through the samples of a time."""

    of: Selector
    within_s: float
    ahead_s: float

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        return self.within_s

    def promql(self, scale: float) -> str:
        """Return predict_linear."""
        span = f"[{duration(self.within_s, scale)}]"
        return self.of.added(
            f"predict_linear({self.of.promql(span)}, {number(round(self.ahead_s / scale, 3))})"
        )

    def figures(self, past: Past, scale: float) -> Figures | None:
        """Return the value of the line; None until the samples fill the time."""
        from_s = past.now_s - self.within_s / scale
        if not past.reaches(from_s):
            return None
        points = past.window(self.of, from_s, past.now_s)
        lines: dict[Labels, list[tuple[float, float]]] = {}
        for at, values in points:
            for labels, value in values.items():
                lines.setdefault(labels, []).append((at - past.now_s, value))
        ahead_s = self.ahead_s / scale
        return {key: _line(line, ahead_s) for key, line in lines.items() if len(line) > 2}

    def selectors(self) -> Iterator[Selector]:
        """Yield the selector."""
        yield self.of


def _line(points: Sequence[tuple[float, float]], at: float) -> float:
    """Return the value at `at` of the line with the least squares."""
    size = len(points)
    mean_x = sum(x for x, _ in points) / size
    mean_y = sum(y for _, y in points) / size
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return mean_y
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return mean_y + slope * (at - mean_x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """Seconds since the moment that a gauge names."""

    of: Selector
    reach_s: float = 0.0

    def promql(self, scale: float) -> str:
        """Return the difference to now; in the file the scale is on the number compared with."""
        factor = f" * {number(scale)}" if scale != 1 else ""
        return f"((time() - max({self.of.promql()})){factor})"

    def figures(self, past: Past, scale: float) -> Figures | None:
        """Return the difference to the last sample's time, in unscaled seconds."""
        found = past.latest(self.of)
        return {labels: (past.now_s - value) * scale for labels, value in found.items()}

    def selectors(self) -> Iterator[Selector]:
        """Yield the selector."""
        yield self.of


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float
    reach_s: float = 0.0

    def promql(self, scale: float) -> str:  # noqa: ARG002 - as every term
        """Return the number."""
        return number(self.value)

    def figures(self, past: Past, scale: float) -> Figures | None:  # noqa: ARG002 - as every term
        """Return the number."""
        return {(): self.value}

    def selectors(self) -> Iterator[Selector]:
        """Yield nothing."""
        yield from ()


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "/": lambda a, b: a / b if b else math.nan,
    "*": lambda a, b: a * b,
    "-": lambda a, b: a - b,
}


@dataclass(frozen=True, slots=True)
class Of:
    """Two terms with a sign between: / * or -; labels must agree, or one has none."""

    left: Term
    sign: str
    right: Term

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        return max(self.left.reach_s, self.right.reach_s)

    def promql(self, scale: float) -> str:
        """Return the expression in parentheses."""
        return f"({self.left.promql(scale)} {self.sign} {self.right.promql(scale)})"

    def figures(self, past: Past, scale: float) -> Figures | None:
        """Return the results; a division by 0 has none."""
        left, right = self.left.figures(past, scale), self.right.figures(past, scale)
        if left is None or right is None:
            return None
        work = _ARITHMETIC[self.sign]
        pairs = ((key, value, right.get(key, right.get(()))) for key, value in left.items())
        found = {key: work(a, b) for key, a, b in pairs if b is not None}
        return {key: value for key, value in found.items() if not math.isnan(value)}

    def selectors(self) -> Iterator[Selector]:
        """Yield those of both."""
        yield from self.left.selectors()
        yield from self.right.selectors()
