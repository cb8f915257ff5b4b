"""The window of a report: half-open in effective time, cut into periods of 24 hours."""

from dataclasses import dataclass

DAY_MS = 86_400_000
PERIOD_S = 86_400
DAYS_DEFAULT = 365
DAYS_MAX = 3_660


class WindowError(Exception):
    """A window that cannot be used; `name` is the member at fault."""

    def __init__(self, name: str, detail: str) -> None:
        """Keep which member is at fault, and why."""
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The ends of a window as a request names them; None where it leaves the choice."""

    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From `start_ms` up to, and not including, `end_ms`."""

    start_ms: int
    end_ms: int

    @property
    def periods(self) -> int:
        """How many periods there are; the last one may be shorter than 24 hours."""
        return -((self.start_ms - self.end_ms) // DAY_MS)

    def period_of(self, instant_ms: int) -> int:
        """Return the number of the period of an instant, the first one for what lies before."""
        return max(0, (instant_ms - self.start_ms) // DAY_MS)


def day_start(instant_ms: int) -> int:
    """Return the start of the UTC day of an instant."""
    return instant_ms - instant_ms % DAY_MS


def end(asked: Asked, now_ms: int) -> int:
    """Return the end of the window: as asked, or the end of the present UTC day.

    Raises WindowError beyond that: days to come are no history.
    """
    latest = day_start(now_ms) + DAY_MS
    if asked.end_ms is None:
        return latest
    if asked.end_ms > latest:
        raise WindowError("to", "lies after the end of the present UTC day")
    return asked.end_ms


def check(asked: Asked, now_ms: int) -> None:
    """Refuse a window whose ends are crossed, or that is too long."""
    if asked.start_ms is None:
        end(asked, now_ms)
        return
    last = end(asked, now_ms)
    if asked.start_ms >= last:
        raise WindowError("from", "lies at or after the end of the window")
    if last - asked.start_ms > DAYS_MAX * DAY_MS:
        raise WindowError("from", f"a window has at most {DAYS_MAX} days")


def choose(asked: Asked, now_ms: int, first_ms: int) -> Window:
    """Return the window; its start is by default the UTC day of the first entry.

    A default window has at most DAYS_DEFAULT days. `first_ms` lies before its end.
    """
    check(asked, now_ms)
    end_ms = end(asked, now_ms)
    start_ms = asked.start_ms
    if start_ms is None:
        start_ms = max(day_start(first_ms), end_ms - DAYS_DEFAULT * DAY_MS)
    return Window(start_ms=start_ms, end_ms=end_ms)
