"""Tells what a burst may come to: whatever some order of its requests, one by one, comes to."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

State = TypeVar("State")

REQUESTS_MAX = 7
"""Every order is tried: 5,040 of them."""


def outcomes(
    start: State, requests: Sequence[Callable[[State], State | None]]
) -> set[tuple[tuple[bool, ...], State]]:
    """Return every (which requests were accepted, state at the end) that some order leads to.

    A request maps a state to the next, or to None where it is refused and changes nothing. States
    must be hashable.
    """
    return set(firsts(start, requests))


def firsts(
    start: State, requests: Sequence[Callable[[State], State | None]]
) -> dict[tuple[tuple[bool, ...], State], frozenset[int]]:
    """Return the outcomes, and of each the requests with which an order that leads to it begins."""
    if len(requests) > REQUESTS_MAX:
        raise ValueError(f"{len(requests)} requests have too many orders")
    found: dict[tuple[tuple[bool, ...], State], frozenset[int]] = {}
    for order in permutations(range(len(requests))):
        state, accepted = start, [False] * len(requests)
        for index in order:
            following = requests[index](state)
            if following is not None:
                state, accepted[index] = following, True
        outcome = (tuple(accepted), state)
        found[outcome] = found.get(outcome, frozenset()) | {order[0]}
    return found
