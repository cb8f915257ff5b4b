"""What goes out and comes back in an exchange with another system, and why nothing came.

`pool` makes the exchange; it is loaded where a system is configured.
"""

from dataclasses import dataclass

BODY_BYTES_MAX = 1024 * 1024


class OverError(Exception):
    """There is no whole answer."""


class TimeoutOverError(OverError):
    """The time was over first."""


class UnreachableError(OverError):
    """No connection came about: nothing was sent."""


class LostError(OverError):
    """The connection ended, or what came is not HTTP."""


class TooLargeError(OverError):
    """The body is over its cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request; `target` is path and query, encoded."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An answer, whatever its status."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return a header, or nothing."""
        return next((value for given, value in self.headers if given.lower() == name), "")
