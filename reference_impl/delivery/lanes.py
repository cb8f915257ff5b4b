"""Several deliveries to one receiver at once, none of them past another one of the same account."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
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
    """A few threads for one receiver; they sleep while it has nothing to get.

    The threads are daemons: a server that stops does not wait for a receiver that hangs.
    """

    def __init__(self, number: int, name: str) -> None:
        """Start no thread yet."""
        self._number, self._name = number, name
        self._threads = 0
        self._jobs: SimpleQueue[tuple[Event, Post] | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[Event, Outcome | Exception]] = SimpleQueue()

    def run(self, events: Sequence[Event], post: Post, go: Go) -> dict[int, Outcome]:
        """Deliver events, given in order; return the outcomes of those that were tried.

        What shares a key with one that failed is not tried, and nothing more is begun once `go`
        has said no. Raises what `post` raises; the lanes are of no use after that.
        """
        outcomes: dict[int, Outcome] = {}
        running: dict[int, Event] = {}
        left, stopped, failed = list(events), False, set[str]()
        while running or (left and not stopped):
            if not stopped:
                left = self._begin(left, running, (failed, post))
            if not running:
                break
            event, outcome = self._ended.get()
            if isinstance(outcome, Exception):
                raise outcome
            del running[event.seq]
            outcomes[event.seq] = outcome
            if not outcome.taken:
                failed.update(event.keys)
            stopped = not go(event, outcome) or stopped
        return outcomes

    def _begin(
        self, left: list[Event], running: dict[int, Event], how: tuple[set[str], Post]
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
                running[event.seq] = event
                self._hand_out(event, post, len(running))
            else:
                kept.append(event)
            busy.update(event.keys)
        return kept

    def _hand_out(self, event: Event, post: Post, running: int) -> None:
        if self._threads < running:
            self._threads += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._jobs.put((event, post))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            event, post = job
            try:
                self._ended.put((event, post(event)))
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                self._ended.put((event, error))

    def close(self) -> None:
        """Let the threads end when they are done."""
        for _ in range(self._threads):
            self._jobs.put(None)


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
