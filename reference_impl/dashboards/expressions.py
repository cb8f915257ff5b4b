"""What a panel shows, as an expression with two readings: PromQL, and a value from two samples.

So the built-in pages and the Grafana files cannot drift apart. The samples hold the sums that the
expressions need and nothing else; a rate is the difference of two sums over the time between.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

Labels = tuple[str, ...]
Vector = Mapping[Labels, float]
"""Values by the labels that an expression keeps; () where it keeps none."""
INTERVAL = "$__rate_interval"
"""Grafana's own name for a range that holds a few scrapes."""
_FOLDS: dict[str, Callable[[float, float], float]] = {
    "sum": operator.add,
    "max": max,
    "min": min,
}


@dataclass(frozen=True, kw_only=True)
class Sum:
    """The samples of one exposed name, chosen by labels and folded; what a sample keeps."""

    series: str
    """As exposed: a histogram's with _bucket, _count or _sum."""
    where: tuple[tuple[str, str], ...] = ()
    """Label and a regular expression for the whole of its value."""
    by: tuple[str, ...] = ()
    fold: str = "sum"
    zero: bool = False
    """Whether nothing counts as 0: for what only appears with the first event of its kind."""

    @cached_property
    def _patterns(self) -> tuple[tuple[str, Callable[[str], object]], ...]:
        return tuple((label, re.compile(pattern).fullmatch) for label, pattern in self.where)

    def selector(self) -> str:
        """Return the selector of the chosen samples."""
        if not self.where:
            return self.series
        return f"{self.series}{{{', '.join(_matcher(*one) for one in self.where)}}}"

    def promql(self, inner: str = "{}") -> str:
        """Return the folded samples; `inner` is put around the selector, such as a rate."""
        by = f" by ({', '.join(self.by)}) " if self.by else ""
        folded = f"{self.fold}{by}({inner.format(self.selector())})"
        return f"({folded} or vector(0))" if self.zero else folded

    def read(self, samples: Iterable[tuple[Mapping[str, str], float]]) -> dict[Labels, float]:
        """Fold the (labels, value) pairs of this name."""
        found: dict[Labels, float] = {}
        fold, patterns, by = _FOLDS[self.fold], self._patterns, self.by
        for labels, value in samples:
            for name, fits in patterns:
                if not fits(labels.get(name, "")):
                    break
            else:
                kept = tuple([labels.get(name, "") for name in by])
                found[kept] = fold(found[kept], value) if kept in found else value
        return {(): 0.0} if not found and self.zero else found


def _matcher(label: str, pattern: str) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9_/-]*|[0-9]+\.[0-9]+", pattern)
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return f'{label}{"=" if plain else "=~"}"{escaped}"'


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was true at one moment."""

    at_s: float
    sums: Mapping[Sum, Vector]


class Expression(Protocol):
    """What can be drawn."""

    def promql(self) -> str:
        """Return the expression in PromQL."""
        ...

    def needs(self) -> Sequence[Sum]:
        """Return the sums that a sample must hold."""
        ...

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the values at `after`; empty where nothing can be said."""
        ...


@dataclass(frozen=True)
class Now:
    """A gauge, or how far a counter has come."""

    of: Sum

    def promql(self) -> str:
        """Return the sum."""
        return self.of.promql()

    def needs(self) -> Sequence[Sum]:
        """Return the sum."""
        return (self.of,)

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the sums of the later sample."""
        del before
        return after.sums.get(self.of, {})


@dataclass(frozen=True)
class Rate:
    """How fast a counter grows, each second."""

    of: Sum

    def promql(self) -> str:
        """Return the sum of the rates."""
        return self.of.promql(f"rate({{}}[{INTERVAL}])")

    def needs(self) -> Sequence[Sum]:
        """Return the sum."""
        return (self.of,)

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the differences over the time between; nothing across a restart."""
        return grown(self.of, before, after)


def grown(counter: Sum, before: Sample | None, after: Sample) -> dict[Labels, float]:
    """Return the growth of a counter each second; one that was not there began at zero."""
    if before is None or after.at_s <= before.at_s:
        return {}
    earlier, later = before.sums.get(counter, {}), after.sums.get(counter, {})
    took_s = after.at_s - before.at_s
    found = {labels: (value - earlier.get(labels, 0.0)) for labels, value in later.items()}
    return {labels: more / took_s for labels, more in found.items() if more >= 0}


@dataclass(frozen=True)
class Quantile:
    """A quantile of a histogram, estimated as Prometheus does: evenly within a bucket."""

    quantile: float
    of: Sum
    """Its buckets, kept by `le` first."""

    def promql(self) -> str:
        """Return histogram_quantile over the rates of the buckets."""
        inner = self.of.promql(f"rate({{}}[{INTERVAL}])")
        return f"histogram_quantile({self.quantile}, {inner})"

    def needs(self) -> Sequence[Sum]:
        """Return the buckets."""
        return (self.of,)

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the quantile of what came between the samples."""
        buckets: dict[Labels, list[tuple[float, float]]] = {}
        for (edge, *rest), rate in grown(self.of, before, after).items():
            buckets.setdefault(tuple(rest), []).append((float(edge), rate))
        found = {labels: quantile(self.quantile, sorted(some)) for labels, some in buckets.items()}
        return {labels: value for labels, value in found.items() if value is not None}


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """Return a quantile of cumulative (upper edge, number) buckets; None of an empty histogram.

    What lies beyond the last finite edge is said to be at that edge.
    """
    if len(buckets) < 2 or buckets[-1][1] <= 0:
        return None
    rank = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for edge, number in buckets[:-1]:
        if number >= rank:
            return low + (edge - low) * (rank - below) / (number - below)
        low, below = edge, number
    return low


@dataclass(frozen=True)
class Share:
    """One value divided by another with the same labels."""

    part: Expression
    whole: Expression

    def promql(self) -> str:
        """Return the quotient."""
        return f"{_operand(self.part)} / {_operand(self.whole)}"

    def needs(self) -> Sequence[Sum]:
        """Return the sums of both."""
        return (*self.part.needs(), *self.whole.needs())

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the quotients; nothing where the divisor is zero."""
        wholes = self.whole.values(before, after)
        parts = self.part.values(before, after)
        return {
            labels: value / wholes[labels] for labels, value in parts.items() if wholes.get(labels)
        }


@dataclass(frozen=True)
class Rest:
    """What is left of one."""

    of: Expression

    def promql(self) -> str:
        """Return the difference from 1."""
        return f"1 - {_operand(self.of)}"

    def needs(self) -> Sequence[Sum]:
        """Return the sums."""
        return self.of.needs()

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the differences."""
        return {labels: 1 - value for labels, value in self.of.values(before, after).items()}


@dataclass(frozen=True)
class Age:
    """Seconds since a moment that a gauge tells."""

    of: Sum

    def promql(self) -> str:
        """Return the difference from the present."""
        return f"time() - {self.of.promql()}"

    def needs(self) -> Sequence[Sum]:
        """Return the gauge."""
        return (self.of,)

    def values(self, before: Sample | None, after: Sample) -> Vector:
        """Return the time from the gauge's moment to the sample's."""
        del before
        moments = after.sums.get(self.of, {})
        return {labels: after.at_s - value for labels, value in moments.items()}


def _operand(expression: Expression) -> str:
    text = expression.promql()
    return f"({text})" if isinstance(expression, Share | Rest | Age) else text
