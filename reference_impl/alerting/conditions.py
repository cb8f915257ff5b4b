"""When a rule holds: comparisons of terms, and several of them together."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from .terms import Figures, Past, Selector, Term

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
}


class Condition(Protocol):
    """What a rule asks."""

    def promql(self, scale: float) -> str:
        """Return the expression, which has a series where the rule holds."""
        ...

    def holds(self, past: Past, scale: float) -> Figures | None:
        """Return the figures of the sets of labels where it holds; None: cannot be said."""
        ...

    def selectors(self) -> Iterator[Selector]:
        """Yield what is read."""
        ...

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        ...


@dataclass(frozen=True, slots=True)
class Is:
    """A term compared with another one."""

    left: Term
    sign: str
    right: Term

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        return max(self.left.reach_s, self.right.reach_s)

    def promql(self, scale: float) -> str:
        """Return the comparison."""
        return f"{self.left.promql(scale)} {self.sign} {self.right.promql(scale)}"

    def holds(self, past: Past, scale: float) -> Figures | None:
        """Return the left figures for which it is true."""
        left, right = self.left.figures(past, scale), self.right.figures(past, scale)
        if left is None or right is None:
            return None
        compare = _SIGNS[self.sign]
        pairs = ((key, value, right.get(key, right.get(()))) for key, value in left.items())
        return {key: a for key, a, b in pairs if b is not None and compare(a, b)}

    def selectors(self) -> Iterator[Selector]:
        """Yield those of both sides."""
        yield from self.left.selectors()
        yield from self.right.selectors()


@dataclass(frozen=True, slots=True)
class All:
    """The first condition, where the others hold as well.

    The others have the labels of the first, or none: then they stand for all.
    """

    first: Condition
    others: tuple[Condition, ...]

    @property
    def reach_s(self) -> float:
        """How far back it looks."""
        return max(part.reach_s for part in (self.first, *self.others))

    def promql(self, scale: float) -> str:
        """Return them with `and`, over the labels that both have."""
        text = self.first.promql(scale)
        for other in self.others:
            alike = _labels(self.first) == _labels(other)
            text += f" and {'' if alike else 'on () '}({other.promql(scale)})"
        return text

    def holds(self, past: Past, scale: float) -> Figures | None:
        """Return the figures of the first; what one part denies need not be known of the rest."""
        found = [part.holds(past, scale) for part in (self.first, *self.others)]
        if any(part is not None and not part for part in found):
            return {}
        first = found[0]
        if first is None or any(part is None for part in found):
            return None
        others = [part for part in found[1:] if part is not None]
        return {
            key: value
            for key, value in first.items()
            if all(key in other or () in other for other in others)
        }

    def selectors(self) -> Iterator[Selector]:
        """Yield those of all."""
        for part in (self.first, *self.others):
            yield from part.selectors()


def _labels(condition: Condition) -> tuple[str, ...]:
    kept = [selector.by for selector in condition.selectors()]
    return tuple(label for label in (kept[0] if kept else ()) if label != "le")


@dataclass(frozen=True, slots=True)
class Absent:
    """One of these names has no series: what measured it has stopped."""

    names: tuple[str, ...]
    reach_s: float = 0.0

    def promql(self, scale: float) -> str:  # noqa: ARG002 - as every condition
        """Return absent() of each, with its name as the label metric."""
        each = (f'label_replace(absent({name}), "metric", "{name}", "", "")' for name in self.names)
        return " or ".join(each)

    def holds(self, past: Past, scale: float) -> Figures | None:  # noqa: ARG002 - as every condition
        """Return 1 for each name that is missing."""
        asked = ((name, Selector(series=name)) for name in self.names)
        return {(name,): 1.0 for name, of in asked if not past.latest(of)}

    def selectors(self) -> Iterator[Selector]:
        """Yield one for each name."""
        for name in self.names:
            yield Selector(series=name)
