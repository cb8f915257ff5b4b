"""HTTP/1.1 as bytes: requests out of a stream, within limits, and answers into one."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import httptools

HEAD_MAX_BYTES = 64 * 1024
HEADERS_MAX = 200
PIPELINED_MAX = 512
PROBLEM = "application/problem+json"
JSON = "application/json"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Refused(Exception):  # noqa: N818  the word for what happens to the connection
    """The bytes are not a request that is read on; the connection gets this status and ends."""

    def __init__(self, status: int, reason: str) -> None:
        """Hold the status and one bounded line."""
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True, kw_only=True)
class Request:
    """One request, whole; `body` is None where it was longer than is kept."""

    method: str
    target: str
    """Path and query as they came."""
    headers: dict[str, str]
    """Names in small letters; repeated ones joined with a comma."""
    body: bytes | None
    keep_alive: bool
    arrived_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer before it is bytes."""

    status: int
    body: bytes = b""
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(status: int, document: object, *, headers: Mapping[str, str] | None = None) -> Reply:
    """Make an answer of a JSON value."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status=status, body=body, headers=tuple((headers or {}).items()))


def head(reply: Reply, *, keep_alive: bool, length: int | None = None) -> bytes:
    """Return status line and headers; `length` overrides that of the body, -1 says chunked."""
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}"]
    lines.append(f"content-type: {reply.media_type}")
    size = len(reply.body) if length is None else length
    lines.append("transfer-encoding: chunked" if size < 0 else f"content-length: {size}")
    lines.extend(f"{name}: {value}" for name, value in reply.headers)
    if not keep_alive:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


@dataclass(slots=True)
class Allowance:
    """Bytes of request bodies that all connections together may hold."""

    left: int

    def take(self, size: int) -> bool:
        """Take some; False where there are not so many left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        """Give some back."""
        self.left += size


@dataclass(slots=True)
class RequestReader:
    """Turns the bytes of one connection into requests; raises `Refused`."""

    body_max_bytes: int
    allowance: Allowance
    ready: deque[Request] = field(default_factory=deque)
    expects_continue: bool = False
    begun_s: float | None = None
    """When the first byte of an unfinished request came."""
    _parser: httptools.HttpRequestParser = field(init=False)
    _target: bytearray = field(default_factory=bytearray)
    _headers: dict[str, str] = field(default_factory=dict)
    _body: list[bytes] = field(default_factory=list)
    _size: int = 0
    _held: int = 0
    _head_bytes: int = 0
    _in_body: bool = False

    def __post_init__(self) -> None:
        """Begin."""
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Read on; whole requests are in `ready` afterwards."""
        if self.begun_s is None:
            self.begun_s = time.monotonic()
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise Refused(400, "the connection cannot be upgraded") from None
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                raise cause from None
            raise Refused(400, f"not HTTP: {str(error)[:100]}") from None
        if not self._in_body and self._head_bytes > HEAD_MAX_BYTES:
            raise Refused(431, f"more than {HEAD_MAX_BYTES} bytes of headers")

    def release(self) -> None:
        """Give back what an unfinished body held."""
        self.allowance.give(self._held)
        self._held = 0

    # -- called by the parser ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._target = bytearray()
        self._headers, self._body, self._size = {}, [], 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known},{text}"
        if len(self._headers) > HEADERS_MAX:
            raise Refused(431, f"more than {HEADERS_MAX} headers")

    def on_headers_complete(self) -> None:
        """Go on to the body."""
        self._in_body = True
        self._head_bytes = 0
        if self._headers.get("expect", "").lower() == "100-continue":
            self.expects_continue = True

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body, as long as there is room."""
        self._size += len(data)
        if self._size > self.body_max_bytes:
            # The rest is read and dropped, so that the sender can read the refusal.
            self.release()
            self._body = []
            if self._size > 4 * self.body_max_bytes:
                raise Refused(413, f"more than {self.body_max_bytes} bytes")
            return
        if not self.allowance.take(len(data)):
            raise Refused(503, "too many unfinished requests")
        self._held += len(data)
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Put the request where the connection finds it."""
        self._in_body = False
        if len(self.ready) >= PIPELINED_MAX:
            raise Refused(400, f"more than {PIPELINED_MAX} requests at once")
        self.ready.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                target=self._target.decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._body) if self._size <= self.body_max_bytes else None,
                keep_alive=self._parser.should_keep_alive(),
                arrived_s=time.monotonic(),
            )
        )
        self._body = []
        self.release()
        self.begun_s = None
