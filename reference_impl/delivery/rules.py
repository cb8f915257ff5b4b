"""What follows from an attempt: when the next one is, and when an event is given up.

Pure: no clock, no database, chance as an argument.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass

CONTENT_REFUSED = frozenset({400, 413, 415, 422})
"""What the receiver says of the event itself; other refusals may be about its own state."""
AWAY = frozenset({401, 403, 404, 407, 408, 425, 429, 502, 503, 504})
"""May be about the receiver as a whole: like no answer, it says nothing of the event."""
GONE = 410
RETRY_AFTER_MAX_S = 3600.0
"""A receiver that asks for longer is asked again after this."""


class Verdict(enum.Enum):
    """What becomes of an event after an attempt."""

    TAKEN = "taken"
    RETRY = "retry"
    SET_ASIDE = "set_aside"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended: a status, or why there is none."""

    status: int | None
    error: str = ""
    """Short, of a closed set: timeout, connection, tls, not_allowed, malformed."""
    retry_after_s: float | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver took the event."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The outcome in one word."""
        return self.error or str(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often and when an event is tried."""

    first_s: float = 0.5
    """The longest first pause; it doubles with each attempt."""
    most_s: float = 900.0
    attempts_max: int = 12
    give_up_s: float = 86_400.0


def pause_s(limits: Limits, attempts: int, outcome: Outcome, chance: float) -> float:
    """Return how long to wait after an attempt; `chance` is from 0 up to 1.

    Doubles up to a cap, and half of it is jitter. Retry-After counts where it asks for more.
    """
    whole = min(limits.first_s * 2.0 ** min(attempts - 1, 32), limits.most_s)
    asked = min(outcome.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return max(whole * (0.5 + chance / 2), asked)


def verdict(
    limits: Limits, attempts: int, outcome: Outcome, *, others_taken: bool, failing_s: float
) -> Verdict:
    """Return what becomes of an event after attempt number `attempts`.

    `others_taken`: the receiver has taken something else since this event first failed,
    `failing_s` ago. An event is set aside where the fault is its own: then, or where its content is
    refused. Where nothing else could be tried, since all waits behind it, time has to tell; but
    for a receiver that is away everything waits.
    """
    if outcome.taken:
        return Verdict.TAKEN
    if outcome.status == GONE:
        return Verdict.GONE
    answered = outcome.status is not None and outcome.status not in AWAY
    own_fault = (
        others_taken
        or outcome.status in CONTENT_REFUSED
        or (answered and failing_s >= limits.give_up_s)
    )
    if attempts >= limits.attempts_max and own_fault:
        return Verdict.SET_ASIDE
    return Verdict.RETRY


Named = Sequence[tuple[int, tuple[str, ...]]]
"""Events in order: number, and what each one is about. Events that share a key keep their order."""


def free(events: Named) -> list[int]:
    """Return the events that share no key with one before them."""
    seen, ready = set[str](), []
    for number, names in events:
        if seen.isdisjoint(names):
            ready.append(number)
        seen.update(names)
    return ready


def unblocked(events: Named, behind: Collection[str]) -> list[int]:
    """Return the events that wait neither for a key of `behind` nor for one that does."""
    blocked, ready = set(behind), []
    for number, names in events:
        if blocked.isdisjoint(names):
            ready.append(number)
        else:
            blocked.update(names)
    return ready


def retry_after(value: str | None) -> float | None:
    """Read Retry-After in seconds; a date or anything else counts as absent."""
    if value is None or not (value.isascii() and value.isdigit() and len(value) < 10):
        return None
    return float(value)
