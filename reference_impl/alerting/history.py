"""The samples that the rules need: only their sums, for as long as the longest window."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .terms import Figures, Labels, Point, Selector

Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Exposed name -> its samples: labels and value."""
Seen = Sequence[Figures | None]
"""For each selector of a history its sums; None if there is no sample of its name."""
_NOTHING: Figures = {}


@dataclass(frozen=True, slots=True)
class _Look:
    sums: Mapping[Selector, Figures]
    risen: Mapping[Selector, Figures]
    """By how much each sum has risen since the first look; falling back is beginning anew."""


class History:
    """What one evaluator has seen."""

    def __init__(self, selectors: Iterable[Selector], keep_s: float) -> None:
        """Keep the sums of these selectors for so many seconds."""
        self._selectors = tuple(dict.fromkeys(selectors))
        self.keep_s = keep_s
        self._times: list[float] = []
        self._looks: list[_Look] = []
        self._last: dict[Selector, dict[Labels, float]] = {}
        """The last value of each sum, also of one that is not there at the moment."""

    @property
    def now_s(self) -> float:
        """The moment of the last sample; 0 before the first."""
        return self._times[-1] if self._times else 0.0

    def add(self, now_s: float, samples: Samples) -> Seen:
        """Add a scrape, and return what was seen, as `put` takes it."""
        seen = [
            added(selector, samples) if selector.series in samples else None
            for selector in self._selectors
        ]
        self.put(now_s, seen)
        return seen

    def put(self, now_s: float, seen: Seen) -> None:
        """Add what was seen; if that is not later than the last, the history begins anew.

        Raises ValueError if it was seen with other selectors.
        """
        if self._times and now_s <= self.now_s:
            self._times, self._looks, self._last = [], [], {}
        before = self._looks[-1].risen if self._looks else {}
        sums, risen = {}, {}
        for selector, new in zip(self._selectors, seen, strict=True):
            sums[selector] = _NOTHING if new is None else new
            risen[selector] = self._risen(selector, sums[selector], before.get(selector, _NOTHING))
            if new is not None:
                self._last.setdefault(selector, {}).update(new)
        self._times.append(now_s)
        self._looks.append(_Look(sums, risen))
        over = bisect.bisect_right(self._times, now_s - self.keep_s) - 1
        if over > 0:
            del self._times[:over], self._looks[:over]

    def _risen(self, selector: Selector, new: Figures, before: Figures) -> Figures:
        """Add what has risen. Of a name that was seen, a new series counts from 0.

        A name that is seen for the first time, or again after a gap, adds nothing by itself.
        """
        last = self._last.get(selector)
        if last is None:
            return before
        risen = dict(before)
        for labels, value in new.items():
            old = last.get(labels, 0.0)
            risen[labels] = risen.get(labels, 0.0) + (value - old if value >= old else value)
        return risen

    def latest(self, selector: Selector) -> Figures:
        """Return the sums of the last sample."""
        return self._looks[-1].sums.get(selector, _NOTHING) if self._looks else _NOTHING

    def _span(self, from_s: float, to_s: float) -> tuple[int, int]:
        first = max(bisect.bisect_right(self._times, from_s) - 1, 0)
        return first, bisect.bisect_right(self._times, to_s)

    def window(self, selector: Selector, from_s: float, to_s: float) -> Sequence[Point]:
        """Return the samples from the last one at or before `from_s` to the last by `to_s`."""
        first, end = self._span(from_s, to_s)
        pairs = zip(self._times[first:end], self._looks[first:end], strict=True)
        return [(at, look.sums.get(selector, _NOTHING)) for at, look in pairs]

    def grown(self, selector: Selector, from_s: float, to_s: float) -> tuple[float, Figures] | None:
        """Return the seconds of a window, and by how much each sum has risen in it."""
        first, end = self._span(from_s, to_s)
        if end - first < 2:
            return None
        old = self._looks[first].risen.get(selector, _NOTHING)
        new = self._looks[end - 1].risen.get(selector, _NOTHING)
        seconds = self._times[end - 1] - self._times[first]
        return seconds, {labels: value - old.get(labels, 0.0) for labels, value in new.items()}

    def reaches(self, back_to_s: float) -> bool:
        """Tell whether there is a sample as old as this."""
        return bool(self._times) and self._times[0] <= back_to_s


def added(selector: Selector, samples: Samples) -> Figures:
    """Return the sums of the chosen samples by the labels that are kept."""
    found: dict[Labels, float] = {}
    for labels, value in samples.get(selector.series, ()):
        if selector.takes(labels):
            key = tuple(labels.get(name, "") for name in selector.by)
            found[key] = found.get(key, 0.0) + value
    return found
