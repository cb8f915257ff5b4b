"""Time: the clock that the server is given, and the text form of instants."""

import functools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where the server takes its time from; a test gives it another one."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000


@functools.lru_cache(maxsize=1024)
def text(instant_ms: int) -> str:
    """Render an instant as RFC 3339 in UTC with milliseconds."""
    seconds, milliseconds = divmod(instant_ms, 1000)
    moment = time.gmtime(seconds)
    # strftime does not pad years before 1000 on every platform.
    return f"{moment.tm_year:04d}{time.strftime('-%m-%dT%H:%M:%S', moment)}.{milliseconds:03d}Z"


def maybe(instant_ms: int | None) -> str | None:
    """Render an instant that may be absent."""
    return None if instant_ms is None else text(instant_ms)


def milliseconds(instant: datetime) -> int:
    """Turn an aware datetime into milliseconds since 1970, exactly (no float between)."""
    return (instant - EPOCH) // timedelta(milliseconds=1)
