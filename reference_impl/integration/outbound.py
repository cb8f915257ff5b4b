"""Calls to outside systems: bounded in time and number, repeated only where that is harmless.

An adapter says what it calls and what it needs of the answer:

    class Standing(msgspec.Struct):            # members that the adapter reads; more are ignored
        order_id: str
        sequence: Annotated[int, msgspec.Meta(ge=0)]

    try:
        answer = shared.outbound.call(
            registry.MARKET,
            Call(operation="getOrder", method="GET", target=f"/v1/orders/{segment(order_id)}",
                 needs=Standing, traceparent=g.trace.parent),
        )
    except CallFailedError as failed:
        raise failed.problem() from failed     # 503 circuit_open or integration_unavailable
    if answer.status == 404: ...               # 4xx is an answer; its problem code is answer.code
    standing = answer.document                 # 2xx: a Standing

A write names a `key` (its Idempotency-Key: derive it from the effect's own id, so that it is the
same whenever the effect is tried again) and is then repeated like a read; a write without one goes
out once. `failed.unknown` tells whether the effect may have happened: then ask the system, never
guess. `failed.retry_after_s` is the time before which no attempt may be made.

In a request, a call takes `Point.budget_ms` at most with all its attempts, and only half of the
worker's threads wait for outside systems at any time. Work in the background says `patient=True`:
it waits for a free place, and sits out a short Retry-After. Call it outside the writer's
transaction and hold no lock.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from reference_impl import metrics
from reference_impl.problems import Problem
from reference_impl.spans import Spans
from reference_impl.turns import TURNS

from . import wire
from .breakers import Breakers, Permit, Refused, State
from .message import Message, compose
from .registry import Point, Registry

if TYPE_CHECKING:
    from .pool import Pool

IN_FLIGHT_MAX = 8
"""Calls at a time to one system, of one worker."""
SLOT_WAIT_S = 0.05
BACKOFF_S, BACKOFF_S_MAX = 0.02, 1.0
RETRY_AFTER_S_MAX = 3600
PAUSE_S_MAX = 0.25
"""A request does not sit out a longer pause that the system asks for; its client is told of it."""
_log = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why there is no answer that can be used."""

    NOT_CONFIGURED = "not_configured"
    OPEN = "open"
    FULL = "full"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    LOST = "lost"
    TOO_LARGE = "too_large"
    INVALID = "invalid"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"


NOT_SENT = frozenset(
    {Reason.NOT_CONFIGURED, Reason.OPEN, Reason.FULL, Reason.UNREACHABLE, Reason.RATE_LIMITED}
    | {Reason.UNAUTHORIZED}
)
"""After these the effect has certainly not happened."""
FINAL = frozenset({Reason.NOT_CONFIGURED, Reason.OPEN, Reason.FULL, Reason.UNAUTHORIZED})
"""After these another attempt now is of no use."""


class CallFailedError(Exception):
    """A call brought nothing that can be used."""

    def __init__(
        self, system: str, reason: Reason, detail: str = "", *, retry_after_s: int = 0
    ) -> None:
        """Say which system and why."""
        super().__init__(f"{system}: {reason.value}{f' ({detail})' if detail else ''}")
        self.system, self.reason, self.detail = system, reason, detail
        self.retry_after_s = retry_after_s
        """Seconds before which no attempt may be made; 0 where nothing was said."""
        self.unknown = reason not in NOT_SENT
        """Whether the effect may have happened."""

    def problem(self) -> Problem:
        """Return what a client is told: the system by name, nothing of the cause inside it."""
        headers = {"Retry-After": str(max(self.retry_after_s, 1))}
        extra = {"integration": self.system}
        if self.reason is Reason.OPEN:
            detail = f"{self.system} has failed repeatedly and is not called at the moment."
            return Problem("circuit_open", detail, headers=headers, extra=extra)
        detail = f"{self.system} {_SAID.get(self.reason, 'did not answer as it should')}."
        return Problem("integration_unavailable", detail, headers=headers, extra=extra)


_SAID = {
    Reason.NOT_CONFIGURED: "is not configured here",
    Reason.FULL: "has too many calls waiting",
    Reason.UNREACHABLE: "cannot be reached",
    Reason.TIMEOUT: "did not answer in time",
    Reason.RATE_LIMITED: "asks for a pause",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of a system."""

    operation: str
    """Operation id of its outbound contract."""
    method: str
    target: str
    """Path and query, each part encoded (`segment`, `query`)."""
    needs: Any = None
    """Type of a 2xx answer, as msgspec decodes it; None: the body is not looked at."""
    body: Any = None
    """Sent as JSON."""
    media_type: str = "application/json"
    """Of the body."""
    form: Mapping[str, str] | None = None
    """Sent as a form instead."""
    key: str | None = None
    """Idempotency-Key: 16 to 128 letters, digits, `-` and `_`."""
    traceparent: str | None = None
    """Of the request or event that this call serves; None begins a trace."""
    public: bool = False
    """Send no token."""
    read: bool = False
    """A POST that changes nothing."""
    once: bool = False
    """Send it once: whoever calls comes back to it later."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again here: that has one effect, and is wished."""
        harmless = self.read or self.method in {"GET", "HEAD"} or self.key is not None
        return harmless and not self.once


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """2xx with its document, or 4xx with its problem code."""

    status: int
    document: Any
    """What the call needs; for 4xx None."""
    code: str
    """Problem code of a 4xx, or nothing."""
    headers: tuple[tuple[str, str], ...]
    attempts: int


class _Problem(msgspec.Struct):
    code: str = ""


def segment(text: str) -> str:
    """Encode one segment of a path."""
    return quote(text, safe="")


def query(**members: str | int) -> str:
    """Return `?name=value&...`."""
    return f"?{urlencode(members)}"


@dataclass(slots=True, kw_only=True)
class _Line:
    """One system as this worker reaches it."""

    point: Point
    pool: "Pool"
    slots: threading.BoundedSemaphore


@dataclass(slots=True, kw_only=True)
class Outbound:
    """The way out of this worker."""

    registry: Registry
    breakers: Breakers
    instance: str
    counted: metrics.Metrics
    waiting_max: int
    """Threads of requests that may be in a call at a time, over all systems."""
    sleep: Callable[[float], None] = time.sleep
    spans: Spans | None = None
    """Where the span of each attempt goes."""
    _lines: dict[str, _Line] = field(default_factory=dict)
    _waiting: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        """Prepare a line to each configured system; nothing is connected."""
        self._waiting = threading.BoundedSemaphore(max(self.waiting_max, 1))
        for point in self.registry:
            if point.configured:
                slots = threading.BoundedSemaphore(IN_FLIGHT_MAX)
                from .pool import Pool  # not before: its library takes long to load

                pool = Pool(point.url)
                self._lines[point.name] = _Line(point=point, pool=pool, slots=slots)
                metrics.begin_outside(self.counted, point.name)

    def call(self, system: str, call: Call, *, patient: bool = False, once: bool = False) -> Answer:
        """Make a call, with retries unless `once`; CallFailedError where nothing usable comes."""
        line = self._lines.get(system)
        if line is None:
            raise self._rejected(system, Reason.NOT_CONFIGURED)
        with self._thread(system, patient=patient):
            return self._attempts(line, call, patient=patient, once=once)

    def away(self, system: str) -> CallFailedError | None:
        """Tell, without calling, that a system is not configured or its breaker is open."""
        line = self._lines.get(system)
        if line is None:
            return self._rejected(system, Reason.NOT_CONFIGURED)
        retry_after_s = self.breakers.open_for_s(system, line.point.rules)
        return self._rejected(system, Reason.OPEN, retry_after_s) if retry_after_s else None

    @contextlib.contextmanager
    def _thread(self, system: str, *, patient: bool) -> Iterator[None]:
        if patient:
            yield
            return
        if not self._waiting.acquire(blocking=False):
            raise self._rejected(system, Reason.FULL)
        try:
            with TURNS.away():
                yield
        finally:
            self._waiting.release()

    def _attempts(self, line: _Line, call: Call, *, patient: bool, once: bool) -> Answer:
        point = line.point
        message = compose(call, point, self.instance)
        until_s = time.monotonic() + point.budget_ms / 1000
        before, attempt = None, 0
        while True:
            attempt += 1
            try:
                return self._attempt(line, message, (attempt, patient))
            except CallFailedError as failed:
                if before is not None and failed.reason in {Reason.OPEN, Reason.FULL}:
                    # It did go out before: what is told is how that failed.
                    before.retry_after_s = max(before.retry_after_s, failed.retry_after_s)
                    raise before from failed
                failed.unknown |= before is not None and before.unknown
                before, more = failed, attempt <= point.timing.retries_max and call.repeatable
                if once or not more or failed.reason in FINAL:
                    raise
                wait_s = max(backoff_s(attempt), float(failed.retry_after_s))
                ends_s = time.monotonic() + wait_s + point.timing.timeout_ms / 1000
                if ends_s > until_s or (wait_s > PAUSE_S_MAX and not patient):
                    raise
                self.sleep(wait_s)
                message = message.again()

    def _attempt(self, line: _Line, message: Message, turn: tuple[int, bool]) -> Answer:
        point, (attempt, patient) = line.point, turn
        wait_s = point.budget_ms / 1000 if patient else SLOT_WAIT_S
        if not line.slots.acquire(timeout=wait_s):
            raise self._rejected(point.name, Reason.FULL)
        try:
            permit = self.breakers.admit(point.name, point.rules)
            if isinstance(permit, Refused):
                raise self._rejected(point.name, Reason.OPEN, permit.retry_after_s)
            return self._exchange(line, message, (attempt, permit))
        finally:
            line.slots.release()

    def _exchange(self, line: _Line, message: Message, turn: tuple[int, Permit]) -> Answer:
        point, call, (attempt, permit) = line.point, message.call, turn
        began, status = time.monotonic(), None
        if attempt > 1:
            self.counted.count(metrics.RETRIES, (point.name,))
        self.counted.count(metrics.CALLS_ACTIVE, (point.name,))
        outcome, error, good = "ok", "", True
        try:
            received = line.pool.exchange(message.sent, timeout_s=point.timing.timeout_ms / 1000)
            status = received.status
            return understand(point.name, call, received, attempt)
        except wire.OverError as over:
            failed = CallFailedError(point.name, _REASONS[type(over)], str(over))
            outcome, good = failed.reason.value, False
            error = f"{call.operation}: {outcome}"
            raise failed from over
        except CallFailedError as failed:
            outcome = failed.reason.value
            error = f"{call.operation}: {outcome} ({failed.detail})"
            good = failed.reason in {Reason.RATE_LIMITED, Reason.UNAUTHORIZED}
            raise
        finally:
            took_s = time.monotonic() - began
            self.counted.count(metrics.CALLS_ACTIVE, (point.name,), -1)
            self.counted.observe(metrics.CALLS, took_s, (point.name, outcome))
            if self.spans is not None:
                self.spans.put(message.span(point.name, (attempt, outcome, status), took_s))
            if good and took_s * 1000 > point.rules.slow_ms:
                good, error = False, f"{call.operation}: slow ({int(took_s * 1000)} ms)"
            verdict = None if good and outcome == Reason.RATE_LIMITED else good
            self.breakers.report(point.name, point.rules, permit, good=verdict, error=error)

    def _rejected(self, system: str, reason: Reason, retry_after_s: int = 0) -> CallFailedError:
        self.counted.count(metrics.REJECTED, (system, reason.value))
        return CallFailedError(system, reason, retry_after_s=retry_after_s)


_REASONS: Mapping[type[wire.OverError], Reason] = {
    wire.TimeoutOverError: Reason.TIMEOUT,
    wire.UnreachableError: Reason.UNREACHABLE,
    wire.LostError: Reason.LOST,
    wire.TooLargeError: Reason.TOO_LARGE,
}


def understand(system: str, call: Call, received: wire.Received, attempt: int) -> Answer:
    """Turn what came into an answer that the adapter can use, or fail."""
    status, document, code = received.status, None, ""
    retry_after_s = retry_after(received.header("retry-after"))
    if status == 429:
        raise CallFailedError(system, Reason.RATE_LIMITED, "429", retry_after_s=retry_after_s)
    if status in {401, 403}:
        raise CallFailedError(system, Reason.UNAUTHORIZED, f"answered {status}")
    if status >= 500:
        raise CallFailedError(
            system, Reason.SERVER_ERROR, f"answered {status}", retry_after_s=retry_after_s
        )
    if 200 <= status < 300:
        if call.needs is not None:
            document = _decoded(system, call, received)
    elif status >= 400:
        with contextlib.suppress(msgspec.DecodeError):
            code = msgspec.json.decode(received.body, type=_Problem).code
    else:
        raise CallFailedError(system, Reason.INVALID, f"answered {status}")
    return Answer(
        status=status, document=document, code=code, headers=received.headers, attempts=attempt
    )


def _decoded(system: str, call: Call, received: wire.Received) -> Any:
    try:
        return msgspec.json.decode(received.body, type=call.needs)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # The message names a place and a type, never what stands there.
        raise CallFailedError(system, Reason.INVALID, str(error)[:120]) from error


def retry_after(header: str) -> int:
    """Return the seconds of a Retry-After; a date or nonsense counts as nothing said."""
    if header.isascii() and header.isdecimal():
        return min(int(header[:9]), RETRY_AFTER_S_MAX)
    return 0


def backoff_s(attempt: int) -> float:
    """Return a random wait before the next attempt: full jitter below a bound that doubles."""
    return random.uniform(0, min(BACKOFF_S * 2**attempt, BACKOFF_S_MAX))  # noqa: S311 - spreads load


def on_change(counted: metrics.Metrics, system: str, state: State) -> None:
    """Count and log that a breaker changed."""
    counted.count(metrics.BREAKER_CHANGES, (system, state.value))
    _log.warning("breaker of %s: %s", system, state.value)
