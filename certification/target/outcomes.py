"""What one exchange can come to: an answer, or a reason why there is none."""

from dataclasses import dataclass
from enum import Enum

from certification.errors import CertificationError

Headers = tuple[tuple[str, str], ...]
"""In wire order, names as the server spelled them."""


class Lost(Enum):
    """Why there is no answer; closed."""

    CONNECTION_LOST = "connection lost"
    """Closed or reset after the connection was made, before the answer was whole."""
    REFUSED = "connection refused"
    """No connection: refused, unreachable, name unknown, or the proxy would not."""
    DEADLINE = "deadline"
    """The total time for connect, send, head and body was over."""
    TOO_LARGE = "too large"
    """Head, body or decompressed body over its cap."""
    PROTOCOL_ERROR = "protocol error"
    """What came back is not HTTP/1.1."""
    TLS = "tls"
    """No trust: certificate, name, version, or a client certificate that was not accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    number: int
    """Of the exchange within (check, case, attempt)."""
    status: int
    headers: Headers
    body: bytes
    """Decompressed where the server compressed it though it was asked not to."""
    elapsed_ms: float
    violations: tuple[str, ...] = ()
    """What is wrong with the transfer itself, e.g. an unknown content encoding."""

    def get(self, name: str) -> str | None:
        """Return the first header of that name, in any spelling."""
        return header(self.headers, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No whole answer, and why."""

    number: int
    reason: Lost
    detail: str
    """One sentence for a reader."""
    elapsed_ms: float
    status: int | None = None
    """Where at least the head came."""
    headers: Headers = ()


class ConnectionLost(CertificationError):  # noqa: N818  says what happened
    """A request of a session had no answer; the runner probes readiness and repeats the case.

    Neither a finding nor a broken harness until that was done.
    """

    def __init__(self, *, number: int, reason: Lost, detail: str) -> None:
        """Keep the exchange's number for the finding."""
        super().__init__(f"no answer ({reason.value}): {detail}")
        self.number = number
        self.reason = reason
        self.detail = detail


def header(headers: Headers, name: str) -> str | None:
    """Return the first value of a header, in any spelling of its name."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)
