"""Waiting for what a server does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 30.0
PAUSE_S = 0.02

Answer = TypeVar("Answer")


def eventually(question: Callable[[], Answer], within_s: float = PATIENCE_S) -> Answer:
    """Ask until the answer is true; return it, or the last one when the time is over."""
    deadline_s = time.monotonic() + within_s
    while not (answer := question()) and time.monotonic() < deadline_s:
        time.sleep(PAUSE_S)
    return answer


def wait_for(
    look: Callable[[], Answer], wanted: Callable[[Answer], bool], within_s: float = PATIENCE_S
) -> Answer:
    """Look until it is as wanted and return that; fail with the last look when time is up."""
    deadline_s = time.monotonic() + within_s
    while not wanted(found := look()):
        assert time.monotonic() < deadline_s, found
        time.sleep(PAUSE_S)
    return found
