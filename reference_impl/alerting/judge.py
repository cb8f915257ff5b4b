"""One look at all rules: which hold, for which labels, and which cannot be said."""

from collections.abc import Mapping, Sequence

from .history import History
from .rule import Rule
from .rules import RULES, interval_s
from .terms import Figures, Past

MARGIN_S = 60.0
"""Kept beyond the longest window."""


def history(scale: float, rules: Sequence[Rule] = RULES) -> History:
    """Return an empty history that is long enough for the rules."""
    reach_s = max(rule.asks.reach_s for rule in rules) / scale
    selectors = (selector for rule in rules for selector in rule.asks.selectors())
    return History(selectors, reach_s + max(MARGIN_S / scale, 3 * interval_s(scale)))


def holding(
    past: Past, scale: float, rules: Sequence[Rule] = RULES
) -> Mapping[str, Figures | None]:
    """Return for each rule the labels for which it holds, with the figure; None: unknown.

    A window that is not full yet can show that a rule holds, but not that it holds no more: so a
    worker that has just become the evaluator ends no alert of its predecessor.
    """
    found: dict[str, Figures | None] = {}
    for rule in rules:
        holds = rule.asks.holds(past, scale)
        full = past.reaches(past.now_s - rule.asks.reach_s / scale)
        found[rule.name] = holds if holds or full else None
    return found
