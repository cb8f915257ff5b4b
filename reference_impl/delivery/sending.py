"""One POST to a checked address, within a total time; no redirects, and little of the answer read.

Plain sockets: the connection goes to the address that was checked while the certificate is that
of the name, and the time runs over resolving, connecting, sending and reading together. A client
library follows its own idea of either.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import addresses
from .addresses import NotAllowedError, Place
from .rules import Outcome, retry_after

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
"""An answer that is longer is not read to its end; its connection is closed."""
IDLE_S = 20.0
"""A connection that rested for longer is not used again."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")


class _MalformedError(Exception):
    """What came back is not an answer of HTTP/1."""


class Line:
    """A kept connection to one place; used by one thread at a time."""

    def __init__(
        self,
        place: Place,
        *,
        timeout_s: float,
        context: ssl.SSLContext,
        resolve: addresses.Resolve = addresses.resolve_by_system,
    ) -> None:
        """Connect at the first `post`."""
        self._place = place
        self._timeout_s = timeout_s
        self._context = context
        self._resolve = resolve
        self._socket: socket.socket | None = None
        self._rested_s = 0.0
        self._head = (
            f"POST {place.target} HTTP/1.1\r\nHost: {place.authority}\r\n"
            "User-Agent: alluse-delivery/1\r\nAccept: */*\r\n"
        )

    def post(self, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Send one request and return how it ended; never raises for what the other side does."""
        until_s = time.monotonic() + self._timeout_s
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        message = f"{self._head}{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        fresh = not self._is_kept()
        try:
            outcome = self._exchange(message, until_s)
            if outcome is None and not fresh:  # it had closed meanwhile; nothing was answered
                outcome = self._exchange(message, until_s)
        except NotAllowedError:
            outcome = Outcome(status=None, error="not_allowed")
        except TimeoutError:
            outcome = Outcome(status=None, error="timeout")
        except ssl.SSLError:
            outcome = Outcome(status=None, error="tls")
        except OSError:
            outcome = Outcome(status=None, error="connection")
        except (_MalformedError, ValueError):
            outcome = Outcome(status=None, error="malformed")
        if outcome is None:
            outcome = Outcome(status=None, error="connection")
        if outcome.status is None:
            self.close()
        self._rested_s = time.monotonic()
        return outcome

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _is_kept(self) -> bool:
        if self._socket is not None and time.monotonic() - self._rested_s > IDLE_S:
            self.close()
        return self._socket is not None

    def _exchange(self, message: bytes, until_s: float) -> Outcome | None:
        """Send and read; None if a kept connection had ended."""
        kept = self._socket is not None
        line = self._socket or self._connect(until_s)
        self._socket = line
        try:
            line.settimeout(_left(until_s))
            line.sendall(message)
            return self._answer(line, until_s)
        except TimeoutError:
            raise
        except (ConnectionError, EOFError):
            self.close()
            if kept:
                return None
            raise ConnectionError("closed before it answered") from None

    def _connect(self, until_s: float) -> socket.socket:
        found = resolved(self._place, self._resolve, _left(until_s))
        line = self._connect_to(found, until_s)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._place.tls:
            return line
        try:
            line.settimeout(_left(until_s))
            return self._context.wrap_socket(line, server_hostname=self._place.host)
        except BaseException:
            line.close()
            raise

    def _connect_to(self, found: tuple[str, ...], until_s: float) -> socket.socket:
        """Connect to the first address that can be reached; OSError of the last one otherwise."""
        for address in found[:-1]:
            try:
                each_s = _left(until_s) / 2
                return socket.create_connection((address, self._place.port), timeout=each_s)
            except OSError:
                continue
        return socket.create_connection((found[-1], self._place.port), timeout=_left(until_s))

    def _answer(self, line: socket.socket, until_s: float) -> Outcome:
        """Read the head, and so much of the body that the connection can go on."""
        rest = b""
        while True:
            held = self._read_head(line, until_s, rest)
            head, _, rest = held.partition(b"\r\n\r\n")
            found = _STATUS.match(head + b"\r")
            if found is None:
                raise _MalformedError
            status = int(found[1])
            if status >= 200:
                break
        fields = _fields(head)
        outcome = Outcome(status=status, retry_after_s=retry_after(fields.get("retry-after")))
        length = fields.get("content-length", "0" if status == 204 else "")
        goes_on = "close" not in fields.get("connection", "").lower()
        known = goes_on and length.isascii() and length.isdigit() and len(length) < 8
        if not (known and self._read_rest(line, int(length) - len(rest), until_s)):
            self.close()
        return outcome

    def _read_head(self, line: socket.socket, until_s: float, held: bytes) -> bytes:
        """Return a head and what came behind it; `held` came behind an interim answer."""
        while b"\r\n\r\n" not in held:
            line.settimeout(_left(until_s))
            piece = line.recv(8192)
            if not piece:
                raise EOFError if not held else _MalformedError
            held += piece
            if len(held) > HEAD_BYTES_MAX + BODY_BYTES_MAX:
                raise _MalformedError
        return held

    def _read_rest(self, line: socket.socket, left: int, until_s: float) -> bool:
        """Read the body so that the next answer begins at its head; False if that is too much."""
        if not 0 <= left <= BODY_BYTES_MAX:
            return False
        try:
            while left > 0:
                line.settimeout(_left(until_s))
                piece = line.recv(min(left, 8192))
                if not piece:
                    return False
                left -= len(piece)
        except OSError:  # the status has come: a body that does not changes nothing
            return False
        return True


def _fields(head: bytes) -> dict[str, str]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {
        name.decode("latin-1").strip().lower(): value.decode("latin-1").strip()
        for name, _, value in pairs
    }


def _left(until_s: float) -> float:
    left = until_s - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time of the attempt is over")
    return left


def resolved(place: Place, resolve: addresses.Resolve, wait_s: float) -> tuple[str, ...]:
    """Return the checked addresses of a place in bounded time: a resolver has no deadline.

    Raises NotAllowedError, OSError where there is no address, TimeoutError.
    """
    if place.trusted and place.host in {"127.0.0.1", "::1"}:
        return (place.host,)
    found: list[tuple[str, ...]] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            found.append(addresses.addresses(place, resolve))
        except (NotAllowedError, OSError) as error:
            failed.append(error)

    if not _RESOLVING.acquire(timeout=wait_s):
        raise TimeoutError("too many names are being resolved")
    asking = threading.Thread(target=_then_release(ask), name="resolve", daemon=True)
    asking.start()
    asking.join(wait_s)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError("the name was not resolved in time")
    return found[0]


_RESOLVING = threading.BoundedSemaphore(8)
"""Threads that wait for a resolver that does not answer; a thread cannot be ended."""


def _then_release(ask: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            ask()
        finally:
            _RESOLVING.release()

    return run


def tls_context(authority: Path | None) -> ssl.SSLContext:
    """Return how certificates are checked: by the system's authorities, and the operator's own."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is not None:
        context.load_verify_locations(authority)
    return context
