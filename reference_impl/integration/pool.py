"""One HTTP exchange that ends in time: connect, send and the whole answer share one deadline.

Time-outs of single reads do not bound an exchange with a peer that sends a byte now and then, so
every wait on the socket is cut to what is left. Redirects are not followed, the environment's
proxies are not used, nothing is decompressed, and a body over its cap ends the exchange.

    pool = Pool("https://market.example")
    answer = pool.exchange(Sent(method="GET", target="/v1/health"), timeout_s=0.3)
"""

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from .wire import (
    BODY_BYTES_MAX,
    LostError,
    Received,
    Sent,
    TimeoutOverError,
    TooLargeError,
    UnreachableError,
)

CONNECTIONS_MAX = 32
KEEPALIVE_S = 5.0
_READ_BYTES = 64 * 1024

Address = tuple[int, Any]
"""Address family, and the address in the form of that family."""
Resolve = Callable[[str, int, float], list[Address]]
"""From host, port and the seconds there are: where to connect, in this order."""


class _Deadline(threading.local):
    at_s: float = 0.0

    def left_s(self, late: type[Exception]) -> float:
        left = self.at_s - time.monotonic()
        if left <= 0:
            raise late("the time of the exchange is over")
        return left


def resolve(host: str, port: int, within_s: float) -> list[Address]:
    """Look a name up, in bounded time: the system's own look-up may take far longer."""
    found: list[Address] = []
    errors: list[OSError] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend((row[0], row[4]) for row in rows)
        except OSError as error:
            errors.append(error)

    if host.replace(".", "").isdigit() or ":" in host:
        ask()
    else:
        asking = threading.Thread(target=ask, name="resolver", daemon=True)
        asking.start()
        asking.join(within_s)
    if errors:
        raise httpcore.ConnectError(str(errors[0]))
    if not found:
        raise httpcore.ConnectTimeout(f"{host} was not found in time")
    return list(found)


class Pool:
    """Kept connections to one server; for any number of threads."""

    def __init__(
        self,
        base: str,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to nothing yet; `base` is scheme, host, port and a path before every target."""
        parts = urlsplit(base)
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc
        self._body_bytes_max = body_bytes_max
        self._deadline = _Deadline()
        self._resolve, self._tls = resolve, tls
        self._guard = threading.Lock()
        self._process = 0
        self._open: httpcore.ConnectionPool | None = None

    def close(self) -> None:
        """Close what is kept."""
        if self._open is not None:
            self._open.close()

    def _pool(self) -> httpcore.ConnectionPool:
        with self._guard:
            if self._open is None or self._process != os.getpid():  # never share after a fork
                self._process = os.getpid()
                tls = self._tls
                if tls is None and self._scheme == "https":
                    tls = ssl.create_default_context()
                self._open = httpcore.ConnectionPool(
                    ssl_context=tls,
                    max_connections=CONNECTIONS_MAX,
                    keepalive_expiry=KEEPALIVE_S,
                    network_backend=_Backend(self._deadline, self._resolve),
                )
            return self._open

    def exchange(self, sent: Sent, *, timeout_s: float) -> Received:
        """Send, and return the whole answer; OverError says why there is none."""
        pool = self._pool()  # the first one takes its time
        self._deadline.at_s = time.monotonic() + timeout_s
        try:
            return self._exchange(pool, sent)
        except (httpcore.ConnectTimeout, httpcore.PoolTimeout, httpcore.ConnectError) as error:
            late = not isinstance(error, httpcore.ConnectError)
            raise (TimeoutOverError if late else UnreachableError)(str(error)) from error
        except httpcore.TimeoutException as error:
            raise TimeoutOverError(str(error)) from error
        except httpcore.ProtocolError as error:  # its text shows what came
            raise LostError("what came is not a whole HTTP answer") from error
        except httpcore.NetworkError as error:
            raise LostError(str(error) or "the connection ended") from error

    def _exchange(self, pool: httpcore.ConnectionPool, sent: Sent) -> Received:
        left = self._deadline.left_s(httpcore.PoolTimeout)
        headers = [("Host", self._authority), *sent.headers]
        if sent.body or sent.method in {"POST", "PUT", "PATCH"}:
            headers.append(("Content-Length", str(len(sent.body))))
        request = httpcore.Request(
            sent.method,
            httpcore.URL(
                scheme=self._scheme,
                host=self._host,
                port=self._port,
                target=f"{self._prefix}{sent.target}",
            ),
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in headers],
            content=sent.body,
            extensions={"timeout": {"pool": left}},
        )
        response = pool.handle_request(request)
        try:
            body = bytearray()
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > self._body_bytes_max:
                    raise TooLargeError(f"the body has more than {self._body_bytes_max} bytes")
                self._deadline.left_s(httpcore.ReadTimeout)
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                response.close()
        found = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in response.headers]
        return Received(status=response.status, headers=tuple(found), body=bytes(body))


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: _Deadline, resolve: Resolve) -> None:
        self._deadline, self._resolve = deadline, resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        del timeout, local_address, socket_options
        failure = f"{host} has no address"
        left_s = self._deadline.left_s(httpcore.ConnectTimeout)
        for family, address in self._resolve(host, port, left_s):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._deadline.left_s(httpcore.ConnectTimeout))
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
            return _Stream(sock, self._deadline)
        raise httpcore.ConnectError(failure)


class _Stream(httpcore.NetworkStream):
    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        self._sock.settimeout(self._deadline.left_s(httpcore.ReadTimeout))
        try:
            return self._sock.recv(min(max_bytes, _READ_BYTES))
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        view = memoryview(buffer)
        while view:
            self._sock.settimeout(self._deadline.left_s(httpcore.WriteTimeout))
            try:
                count = self._sock.send(view)
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            view = view[count:]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        del timeout
        try:
            self._sock.settimeout(self._deadline.left_s(httpcore.ConnectTimeout))
            wrapped = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            self.close()
            raise
        return _Stream(wrapped, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Tell the pool whether an idle socket is readable, which means: closed by the peer."""
        if info == "is_readable":
            return self._sock.fileno() < 0 or bool(select.select([self._sock], [], [], 0)[0])
        return None
