"""Several deliveries to one receiver at once, none of them past another one of the same account."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from .rules import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event on its way to one receiver."""

    seq: int
    keys: tuple[str, ...]
    row: Any
    attempts: int
    """Earlier ones."""
    failed_at: int | None


Post = Callable[[Event], Outcome]
Go = Callable[[Event, Outcome], bool]
"""Takes an outcome and tells whether to begin further deliveries."""


class Lanes:
    """A few threads for one receiver; they sleep while it has nothing to get."""

    def __init__(self, number: int, name: str) -> None:
        """Start no thread yet."""
        self._number = number
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)

    def run(self, events: Sequence[Event], post: Post, go: Go) -> dict[int, Outcome]:
        """Deliver events, given in order; return the outcomes of those that were tried.

        What shares a key with one that failed is not tried, and nothing more is begun once `go`
        has said no.
        """
        outcomes: dict[int, Outcome] = {}
        running: dict[Future[Outcome], Event] = {}
        left, stopped, failed = list(events), False, set[str]()
        while running or (left and not stopped):
            if not stopped:
                left = self._begin(left, running, (failed, post))
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                event, outcome = running.pop(future), future.result()
                outcomes[event.seq] = outcome
                if not outcome.taken:
                    failed.update(event.keys)
                stopped = not go(event, outcome) or stopped
        return outcomes

    def _begin(
        self, left: list[Event], running: dict[Future[Outcome], Event], how: tuple[set[str], Post]
    ) -> list[Event]:
        """Begin what is free to go; return what is left, in order."""
        failed, post = how
        busy = set(failed)
        for event in running.values():
            busy.update(event.keys)
        kept: list[Event] = []
        for number, event in enumerate(left):
            if len(running) >= self._number:
                return kept + left[number:]
            if busy.isdisjoint(event.keys):
                running[self._pool.submit(post, event)] = event
            else:
                kept.append(event)
            busy.update(event.keys)
        return kept

    def close(self) -> None:
        """Let the threads end when they are done."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class PerThread:
    """One object for each thread that asks, and all of them to be closed together."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """Make one at the first use in a thread."""
        self._make = make
        self._local = threading.local()
        self._all: list[Any] = []

    def get(self) -> Any:
        """Return the object of this thread."""
        found = getattr(self._local, "one", None)
        if found is None:
            found = self._local.one = self._make()
            self._all.append(found)
        return found

    def close(self) -> None:
        """Close all of them."""
        for one in self._all:
            one.close()
