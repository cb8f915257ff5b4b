"""The samples that the rules need: only their sums, for as long as the longest window."""

import bisect
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from .terms import Figures, Labels, Point, Selector

Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Exposed name -> its samples: labels and value."""
_NOTHING: Figures = {}


class History:
    """What one evaluator has seen."""

    def __init__(self, selectors: Iterable[Selector], keep_s: float) -> None:
        """Keep the sums of these selectors for so many seconds."""
        self._selectors = tuple(dict.fromkeys(selectors))
        self._keep_s = keep_s
        self._points: deque[tuple[float, Mapping[Selector, Figures]]] = deque()

    @property
    def now_s(self) -> float:
        """The moment of the last sample; 0 before the first."""
        return self._points[-1][0] if self._points else 0.0

    def add(self, now_s: float, samples: Samples) -> None:
        """Add a scrape; one that is not later than the last begins the history anew."""
        if self._points and now_s <= self.now_s:
            self._points.clear()
        sums = {selector: added(selector, samples) for selector in self._selectors}
        self._points.append((now_s, sums))
        while len(self._points) > 2 and self._points[1][0] <= now_s - self._keep_s:
            self._points.popleft()

    def latest(self, selector: Selector) -> Figures:
        """Return the sums of the last sample."""
        return self._points[-1][1].get(selector, _NOTHING) if self._points else _NOTHING

    def window(self, selector: Selector, from_s: float, to_s: float) -> Sequence[Point]:
        """Return the samples from the last one at or before `from_s` to the last by `to_s`."""
        times = [at for at, _ in self._points]
        first = max(bisect.bisect_right(times, from_s) - 1, 0)
        last = bisect.bisect_right(times, to_s)
        return [(at, sums.get(selector, _NOTHING)) for at, sums in list(self._points)[first:last]]

    def reaches(self, back_to_s: float) -> bool:
        """Tell whether there is a sample as old as this."""
        return bool(self._points) and self._points[0][0] <= back_to_s


def added(selector: Selector, samples: Samples) -> Figures:
    """Return the sums of the chosen samples by the labels that are kept."""
    found: dict[Labels, float] = {}
    for labels, value in samples.get(selector.series, ()):
        if selector.takes(labels):
            key = tuple(labels.get(name, "") for name in selector.by)
            found[key] = found.get(key, 0.0) + value
    return found
