"""What the machines of all walks share: one rule that takes weighted steps, and their names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from certification.checks import CheckFailed
from certification.walking.steps import steps_of
from certification.walking.tale import Tale

if TYPE_CHECKING:
    from certification.walking.walk import Walk


class WalkMachine(RuleBasedStateMachine):
    """An example of a walk, which draws only from what it made itself.

    One rule of Hypothesis chooses among the steps by their weights, so that no example is thrown
    away because nothing could be done.
    """

    walk: ClassVar[Walk]

    def __init__(self) -> None:
        """Begin an example in which nothing happened yet."""
        super().__init__()
        self.walk.begin()
        self.tale = Tale()
        self.broken = False

    @contextmanager
    def doing(self, step: str) -> Iterator[None]:
        """Name a step; a failure in it is the example's."""
        self.tale.steps.append(step)
        self.walk.steps += 1
        whole = False
        try:
            yield
            whole = True
        except CheckFailed as failed:
            self.walk.failed(self.tale, failed.finding)
            raise
        finally:
            self.broken = self.broken or not whole

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        """Take one step."""
        possible = [each for each in steps_of(type(self)) if each.when(self)]
        names = [each for each in possible for _ in range(each.weight)]
        chosen = data.draw(st.sampled_from(names))
        drawn = {name: data.draw(strategy) for name, strategy in chosen.draws.items()}
        getattr(self, chosen.name)(**drawn)
