"""One HTTP client for one target: limits, allow-list, back-pressure; every exchange recorded."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from certification.errors import UsageError
from certification.model import Exchange
from certification.target.address import BaseUrl, host_allowed, split_absolute
from certification.target.backpressure import retry_after_s
from certification.target.limits import Limiter, Wait, wait
from certification.target.outcomes import Answer, Headers, NoAnswer
from certification.target.recording import Sink, body_text
from certification.target.redaction import KnownSecrets, redact, redact_headers
from certification.target.transport import Outgoing, Transport

DEADLINE_S = 10.0
BODY_MAX_BYTES = 8 * 1024 * 1024
BACK_PRESSURE_TRIES_MAX = 5
BACK_PRESSURE_WAIT_MAX_S = 30.0
"""A longer Retry-After is not waited for: the 429 is the answer."""
USER_AGENT = "alluse-certification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as a caller states it."""

    method: str
    target: str
    """Percent-encoded path and query below the base URL, beginning with `/`; or an absolute URL
    that the operator granted, e.g. of metrics on another port."""
    headers: Headers = ()
    body: bytes | None = None
    identity: str = "anonymous"
    operation: str | None = None
    deadline_s: float | None = None
    """Instead of the target's own."""
    back_pressure: bool = True
    """Whether a 429 with Retry-After is waited for; rate checks say no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What bounds and shapes every exchange with one target."""

    base_url: BaseUrl
    allow_hosts: tuple[str, ...]
    """`host` or `host:port`; nothing is sent elsewhere."""
    deadline_s: float = DEADLINE_S
    """For connect, send, head and body together."""
    body_max_bytes: int = BODY_MAX_BYTES
    tls: ssl.SSLContext | None = None
    """None: the usual public authorities."""
    proxy: BaseUrl | None = None
    """Nothing is taken from the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the client takes from outside: limits, known secrets, waiting and time."""

    limiter: Limiter
    known: KnownSecrets = field(default_factory=KnownSecrets)
    wait: Wait = wait
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Client:
    """Sends requests to one target; thread-safe, one per process."""

    def __init__(self, settings: ClientSettings, surroundings: Surroundings) -> None:
        """Open no connection yet."""
        self.settings = settings
        self.surroundings = surroundings
        self._transport = Transport(
            body_max_bytes=settings.body_max_bytes, tls=settings.tls, proxy=settings.proxy
        )

    def close(self) -> None:
        """Close kept connections."""
        self._transport.close()

    def send(self, request: Request, sink: Sink) -> Answer | NoAnswer:
        """Send a request and return what came of it; never follows a redirect.

        A 429 with a Retry-After of at most `BACK_PRESSURE_WAIT_MAX_S` is waited for and the request
        repeated, each try an exchange of its own: the contract answers 429 before it does anything.
        `UsageError` for a host outside the allow-list, `BudgetSpent` when no request is left.
        """
        outcome = self._exchange(request, sink)
        for _ in range(BACK_PRESSURE_TRIES_MAX - 1):
            delay_s = self._back_pressure_s(outcome) if request.back_pressure else None
            if delay_s is None:
                break
            self.surroundings.wait(delay_s)
            outcome = self._exchange(request, sink)
        return outcome

    def _back_pressure_s(self, outcome: Answer | NoAnswer) -> float | None:
        if not isinstance(outcome, Answer) or outcome.status != 429:
            return None
        delay_s = retry_after_s(outcome.get("Retry-After"), now=self.surroundings.now())
        return delay_s if delay_s is not None and delay_s <= BACK_PRESSURE_WAIT_MAX_S else None

    def _exchange(self, request: Request, sink: Sink) -> Answer | NoAnswer:
        server, target = self._locate(request.target)
        headers = _outgoing_headers(server, request)
        self.surroundings.limiter.take()
        sent = self._announced(request, server.join(target), headers, sink)
        outcome = self._transport.send(
            Outgoing(
                number=sent.number,
                method=request.method,
                url=server.http_url(target),
                headers=headers,
                body=request.body,
                deadline_s=request.deadline_s or self.settings.deadline_s,
            )
        )
        sink.answered(self._completed(sent, outcome))
        return outcome

    def _locate(self, target: str) -> tuple[BaseUrl, str]:
        if target.startswith("/"):
            server = self.settings.base_url
        else:
            server, target = split_absolute(target)
        if not host_allowed(server, self.settings.allow_hosts):
            raise UsageError(
                f"{server.host} is not in limits.allow_hosts, so nothing is sent to it",
                hint="add it to limits.allow_hosts in the target file if it is yours to test",
            )
        return server, target

    def _announced(self, request: Request, url: str, headers: Headers, sink: Sink) -> Exchange:
        check, case, attempt, number = sink.place()
        known = self.surroundings.known
        sent = Exchange(
            check=check,
            case=case,
            attempt=attempt,
            number=number,
            identity=request.identity,
            operation=request.operation,
            method=request.method,
            url=redact(url, known),
            request_headers=redact_headers(headers, known),
            request_body=body_text(request.body, known),
            started_at=self.surroundings.now().isoformat(timespec="milliseconds"),
            elapsed_ms=0.0,
        )
        sink.sending(sent)
        return sent

    def _completed(self, sent: Exchange, outcome: Answer | NoAnswer) -> Exchange:
        known = self.surroundings.known
        whole = replace(
            sent,
            elapsed_ms=outcome.elapsed_ms,
            status=outcome.status,
            response_headers=redact_headers(outcome.headers, known),
        )
        if isinstance(outcome, Answer):
            return replace(whole, response_body=body_text(outcome.body, known))
        return replace(whole, error=redact(f"{outcome.reason.value}: {outcome.detail}", known))


def _outgoing_headers(server: BaseUrl, request: Request) -> Headers:
    given = {name.lower() for name, _ in request.headers}
    defaults = [
        ("Host", server.authority),
        ("User-Agent", USER_AGENT),
        ("Accept", "application/json, application/problem+json"),
        ("Accept-Encoding", "identity"),
    ]
    if "transfer-encoding" not in given and (
        request.body is not None or request.method in ("POST", "PUT", "PATCH")
    ):
        defaults.append(("Content-Length", str(len(request.body or b""))))
    return (*(pair for pair in defaults if pair[0].lower() not in given), *request.headers)
