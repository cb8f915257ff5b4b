"""Declares the steps of a walk: how often each is chosen, when it can be, and what it draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from hypothesis import strategies as st

ATTRIBUTE = "__walk_step__"
ACCOUNT = st.integers(0, 11)
"""The number of an account of the example; counts round where there are fewer."""
BOOKING = st.integers(0, 31)
"""A transaction of the example, 0 for the newest."""
HOLD = st.integers(0, 7)
"""A hold of the example, pending or ended, 0 for the newest."""

StepFunction = TypeVar("StepFunction", bound=Callable[..., None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kind of step; what it draws decides everything that it does."""

    name: str
    weight: int
    when: Callable[[Any], bool]
    """Asked of the machine; must look at nothing but the example's own book."""
    draws: dict[str, st.SearchStrategy[Any]]


def step(
    *, weight: int = 1, when: Callable[[Any], bool] = lambda _: True, **draws: Any
) -> Callable[[StepFunction], StepFunction]:
    """Declare the method below as a step."""

    def declare(function: StepFunction) -> StepFunction:
        declared = Step(name=function.__name__, weight=weight, when=when, draws=draws)
        setattr(function, ATTRIBUTE, declared)
        return function

    return declare


@cache
def steps_of(machine: type) -> tuple[Step, ...]:
    """Return the steps of a machine, its bases' included, always in the same order."""
    found = (getattr(getattr(machine, name), ATTRIBUTE, None) for name in sorted(dir(machine)))
    return tuple(each for each in found if isinstance(each, Step))
