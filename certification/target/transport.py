"""One exchange over httpcore, bounded in time and size; every failure becomes an outcome."""

import ssl
import time
from dataclasses import dataclass

import httpcore

from certification.errors import HarnessError
from certification.target.address import BaseUrl
from certification.target.decoding import TooLarge, decompress
from certification.target.network import DeadlineBackend, HeadTooLarge, Wire
from certification.target.outcomes import Answer, Headers, Lost, NoAnswer, header

HEAD_MAX_BYTES = 64 * 1024
CONNECTIONS_MAX = 128
KEEPALIVE_S = 1.5
"""Shorter than the idle limit of common servers (2 s and up), so that a kept connection is rarely
closed in the moment of its reuse, which would look like a lost connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request ready for the wire."""

    number: int
    method: str
    url: httpcore.URL
    headers: Headers
    body: bytes | None
    deadline_s: float
    """For connect, send, head and body together."""


class Transport:
    """A pool of connections; thread-safe."""

    def __init__(
        self, *, body_max_bytes: int, tls: ssl.SSLContext | None, proxy: BaseUrl | None
    ) -> None:
        """Open no connection yet; the environment's proxies are never used."""
        self._body_max_bytes = body_max_bytes
        self._wire = Wire()
        backend = DeadlineBackend(self._wire)
        if proxy is None:
            self._pool = httpcore.ConnectionPool(
                ssl_context=tls,
                max_connections=CONNECTIONS_MAX,
                keepalive_expiry=KEEPALIVE_S,
                network_backend=backend,
            )
        else:
            self._pool = httpcore.HTTPProxy(
                proxy_url=proxy.text,
                ssl_context=tls,
                max_connections=CONNECTIONS_MAX,
                keepalive_expiry=KEEPALIVE_S,
                network_backend=backend,
            )

    def close(self) -> None:
        """Close kept connections."""
        self._pool.close()

    def send(self, outgoing: Outgoing) -> Answer | NoAnswer:
        """Return the answer or why there is none; `HarnessError` for a request that is not HTTP.

        Repeated only where the server had closed a kept connection before one byte of the request
        left, so that nothing can have been done. Any other loss is the caller's to judge.
        """
        started = time.monotonic()
        deadline_at = started + outgoing.deadline_s
        outcome = self._once(outgoing, started, deadline_at)
        lost = isinstance(outcome, NoAnswer) and outcome.reason is Lost.CONNECTION_LOST
        if lost and self._wire.untouched:
            outcome = self._once(outgoing, started, deadline_at)
        return outcome

    def _once(self, outgoing: Outgoing, started: float, deadline_at: float) -> Answer | NoAnswer:
        self._wire.begin(deadline_at, head_max_bytes=HEAD_MAX_BYTES)
        status: int | None = None
        headers: Headers = ()
        try:
            response = self._pool.handle_request(_request(outgoing, deadline_at))
            try:
                status, headers = response.status, _headers(response)
                self._wire.head_left = None
                body = self._body(response, headers)
            finally:
                response.close()
            encoding = header(headers, "Content-Encoding") or ""
            plain, violations = decompress(body, encoding, body_max_bytes=self._body_max_bytes)
        except httpcore.LocalProtocolError as error:
            raise HarnessError(f"the harness built a request that is not HTTP: {error}") from error
        except _LOSSES as error:
            reason, detail = self._classify(error, outgoing.deadline_s)
            return NoAnswer(
                number=outgoing.number,
                reason=reason,
                detail=detail,
                elapsed_ms=_since_ms(started),
                status=status,
                headers=headers,
            )
        return Answer(
            number=outgoing.number,
            status=status,
            headers=headers,
            body=plain,
            elapsed_ms=_since_ms(started),
            violations=violations,
        )

    def _body(self, response: httpcore.Response, headers: Headers) -> bytes:
        cap = self._body_max_bytes
        declared = header(headers, "Content-Length") or ""
        # h11 refuses a Content-Length of more than 20 digits or of anything but digits.
        if declared.isdecimal() and int(declared) > cap:
            raise TooLarge
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > cap:
                raise TooLarge
            # Chunks that are already here cost no wait, so the wait alone does not bound them.
            self._wire.remaining(httpcore.ReadTimeout)
        return bytes(body)

    def _classify(  # noqa: PLR0911  one return a kind of loss
        self, error: Exception, deadline_s: float
    ) -> tuple[Lost, str]:
        wire = self._wire
        match error:
            case TooLarge():
                limit = self._body_max_bytes
                return Lost.TOO_LARGE, f"the body is over the cap of {limit} bytes"
            case HeadTooLarge():
                return Lost.TOO_LARGE, f"the head is over the cap of {HEAD_MAX_BYTES} bytes"
            case httpcore.TimeoutException():
                return Lost.DEADLINE, f"not complete within {deadline_s:g} s"
            case httpcore.ConnectError() if wire.phase == "tls":
                return Lost.TLS, str(error)
            case httpcore.ConnectError() | httpcore.ProxyError():
                return Lost.REFUSED, str(error)
            case httpcore.NetworkError() if wire.tls_failed:
                return Lost.TLS, str(error)
            case httpcore.RemoteProtocolError() if wire.other_protocol:
                return Lost.PROTOCOL_ERROR, "what came back is not HTTP/1"
            case httpcore.RemoteProtocolError() if not wire.ended:
                return Lost.PROTOCOL_ERROR, str(error)
            case _:
                return Lost.CONNECTION_LOST, str(error) or "closed by the server"


_LOSSES = (
    TooLarge,
    HeadTooLarge,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProxyError,
    httpcore.RemoteProtocolError,
)


def _request(outgoing: Outgoing, deadline_at: float) -> httpcore.Request:
    try:
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in outgoing.headers]
    except UnicodeEncodeError as error:
        raise HarnessError(f"the harness built a header that is not HTTP: {error}") from error
    left = max(deadline_at - time.monotonic(), 0.001)
    return httpcore.Request(
        outgoing.method,
        outgoing.url,
        headers=headers,
        content=outgoing.body or b"",
        extensions={"timeout": {"pool": left}},
    )


def _headers(response: httpcore.Response) -> Headers:
    return tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in response.headers)


def _since_ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)
