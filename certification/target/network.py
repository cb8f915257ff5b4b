"""The sockets under the client: every wait is cut to what is left of one exchange's deadline."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION

READ_CHUNK_BYTES = 16 * 1024


class HeadTooLarge(Exception):  # noqa: N818 - caught by the client, never seen by a user
    """The bytes before the body passed their cap: endless headers or interim answers."""


class Wire(threading.local):
    """The state of the exchange that this thread is in; httpcore runs an exchange in one thread.

    Timeouts per operation cannot bound an exchange: a server that sends a byte now and then would
    stretch it for ever. So each operation looks up here what is left.
    """

    deadline_at: float = 0.0
    head_left: int | None = None
    """Bytes that may still be read before the body; None once the head is there."""
    phase: str = "connect"
    """`connect`, `tls`, or `open`."""
    reused: bool = True
    """Whether the connection served an earlier exchange."""
    sent: int = 0
    received: int = 0
    began: bytes = b""
    """The first bytes of the answer."""
    ended: bool = False
    """Whether the server closed its side."""
    tls_failed: bool = False

    def begin(self, deadline_at: float, *, head_max_bytes: int) -> None:
        """Start an exchange."""
        self.deadline_at = deadline_at
        self.head_left = head_max_bytes
        self.phase = "open"
        self.reused = True
        self.sent = self.received = 0
        self.began = b""
        self.ended = self.tls_failed = False

    def remaining(self, timeout: type[Exception]) -> float:
        """Return the seconds left, or raise the given exception of httpcore's."""
        left = self.deadline_at - time.monotonic()
        if left <= 0:
            raise timeout("the deadline of the exchange is over")
        return left

    @property
    def other_protocol(self) -> bool:
        """Whether what came cannot be the beginning of an HTTP/1 answer."""
        return not b"HTTP/1.".startswith(self.began)

    @property
    def untouched(self) -> bool:
        """Whether a kept connection was found dead before one byte of the request left."""
        return self.reused and self.sent == 0 and self.received == 0


class DeadlineStream(httpcore.NetworkStream):
    """A connected socket whose operations end with the exchange."""

    def __init__(self, sock: socket.socket, wire: Wire) -> None:
        """Take over a connected socket."""
        self._sock = sock
        self._wire = wire

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read once; the head is counted against its cap."""
        del timeout  # the exchange's own deadline replaces it
        wire = self._wire
        if wire.head_left is not None:
            if wire.head_left <= 0:
                raise HeadTooLarge
            max_bytes = min(max_bytes, READ_CHUNK_BYTES)
        self._sock.settimeout(wire.remaining(httpcore.ReadTimeout))
        try:
            data = self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except ssl.SSLEOFError as error:
            wire.ended = True
            raise httpcore.ReadError(str(error)) from error
        except ssl.SSLError as error:
            wire.tls_failed = True
            raise httpcore.ReadError(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        wire.received += len(data)
        wire.began = (wire.began + data[:7])[:7]
        wire.ended = not data
        if wire.head_left is not None:
            wire.head_left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it, within the exchange's deadline."""
        del timeout
        view = memoryview(buffer)
        while view:
            self._sock.settimeout(self._wire.remaining(httpcore.WriteTimeout))
            try:
                count = self._sock.send(view)
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            self._wire.sent += count
            view = view[count:]

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Shake hands; the standard library bounds the whole handshake by the socket's timeout."""
        del timeout
        self._wire.phase = "tls"
        try:
            self._sock.settimeout(self._wire.remaining(httpcore.ConnectTimeout))
            sock = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            self.close()
            raise
        self._wire.phase = "open"
        return DeadlineStream(sock, self._wire)

    def get_extra_info(self, info: str) -> Any:
        """Tell the pool whether an idle socket is readable, which means: closed by the server."""
        if info == "is_readable":
            return _readable(self._sock)
        if info == "socket":
            return self._sock
        return None


class DeadlineBackend(httpcore.NetworkBackend):
    """Connects within the exchange's deadline, over all addresses of a name together."""

    def __init__(self, wire: Wire) -> None:
        """Share the state with the client."""
        self._wire = wire

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Try each address in turn."""
        del timeout, local_address, socket_options
        wire = self._wire
        wire.phase, wire.reused = "connect", False
        failure = f"{host} has no address"
        for family, kind, proto, _, address in self._resolve(host, port):
            sock = socket.socket(family, kind, proto)
            try:
                sock.settimeout(wire.remaining(httpcore.ConnectTimeout))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except TimeoutError as error:
                sock.close()
                raise httpcore.ConnectTimeout(str(error)) from error
            except OSError as error:
                sock.close()
                failure = str(error)
                continue
            except BaseException:
                sock.close()
                raise
            wire.phase = "open"
            return DeadlineStream(sock, wire)
        raise httpcore.ConnectError(failure)

    def _resolve(self, host: str, port: int) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        failures: list[OSError] = []

        def look_up() -> None:
            try:
                found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                failures.append(error)

        # The resolver takes no timeout, so it runs beside us and is abandoned when time is up.
        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(self._wire.remaining(httpcore.ConnectTimeout))
        if thread.is_alive():
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time")
        if failures:
            raise httpcore.ConnectError(f"{host}: {failures[0].strerror or failures[0]}")
        return found


def _readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))
