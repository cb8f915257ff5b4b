"""What a call puts on the wire: headers and body, the same at each attempt but for the span."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from reference_impl import spans
from reference_impl.tracing import Trace, accept

from . import wire
from .registry import Point

if TYPE_CHECKING:
    from .outbound import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A call as one attempt sends it."""

    call: "Call"
    trace: Trace
    """Names the attempt's own span."""
    body: bytes
    headers: tuple[tuple[str, str], ...]
    """Without those of the trace."""

    @property
    def sent(self) -> wire.Sent:
        """The request."""
        return wire.Sent(
            method=self.call.method,
            target=self.call.target,
            headers=(*self.headers, ("traceparent", self.trace.parent)),
            body=self.body,
        )

    def again(self) -> "Message":
        """Return the next attempt."""
        return replace(self, trace=self.trace.again())

    def span(self, system: str, ended: tuple[int, str, int | None], took_s: float) -> spans.Span:
        """Return the span of this attempt, which has just ended: its number, outcome, status."""
        number, outcome, status = ended
        attempt = spans.Attempt(
            system=system,
            method=self.call.method,
            operation=self.call.operation,
            number=number,
            outcome=outcome,
            status=status,
        )
        return spans.called(self.trace, attempt, spans.just_ended(took_s))


def compose(call: "Call", point: Point, instance: str) -> Message:
    """Return the first attempt of a call."""
    headers = [
        ("Accept", "application/json, application/problem+json"),
        ("X-Instance-Id", instance),
    ]
    if not call.public:
        headers.append(("Authorization", f"Bearer {point.token}"))
    if call.key is not None:
        headers.append(("Idempotency-Key", call.key))
    body = b""
    if call.form is not None:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        body = urlencode(call.form).encode("ascii")
    elif call.body is not None:
        headers.append(("Content-Type", call.media_type))
        body = msgspec.json.encode(call.body)
    trace = accept(call.traceparent)
    return Message(call=call, trace=trace, body=body, headers=tuple(headers))
