"""What a session hands back: an answer, decoded and compared with the contract."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from certification.contract import ContractDecodeError, Operation, Violation, parse_json
from certification.target.backpressure import retry_after_s
from certification.target.outcomes import Answer, Headers, NoAnswer, header


@dataclass(frozen=True, slots=True)
class ReplyHeaders:
    """Headers in wire order; names compare without regard to case."""

    pairs: Headers = ()

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value."""
        value = header(self.pairs, name)
        return default if value is None else value

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value, in order."""
        return tuple(value for key, value in self.pairs if key.lower() == name.lower())

    def __contains__(self, name: str) -> bool:
        """Whether the header is there."""
        return header(self.pairs, name) is not None

    def __getitem__(self, name: str) -> str:
        """Return the first value; KeyError where there is none."""
        value = header(self.pairs, name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Go through the pairs."""
        return iter(self.pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the target."""

    operation: str
    """Operation id, or method and path of raw requests."""
    status: int
    headers: ReplyHeaders
    body: Any
    """Decoded JSON; None where there is none or it cannot be decoded (then a violation says so)."""
    raw: bytes
    """The body's bytes; empty where they were over the cap."""
    exchange_number: int
    elapsed_ms: float
    violations: tuple[Violation, ...] = ()
    """In what the answer is not what the contract declares; never raised."""
    problem_code: str | None = None
    """`code` of a problem document."""
    etag: str | None = None
    retry_after_s: float | None = None
    """None where Retry-After is missing or unreadable."""
    sent_key: str | None = None
    """The Idempotency-Key that went out, for a repeat of the same request."""

    def with_key(self, key: str | None) -> "Reply":
        """Return the reply with the key that was sent."""
        return replace(self, sent_key=key)


def checked_reply(operation: Operation, answer: Answer, *, now: datetime) -> Reply:
    """Decode an answer and compare it with its operation."""
    media_type = answer.get("Content-Type")
    found = [_violation(text) for text in answer.violations]
    body: Any = None
    if not found:
        try:
            body = _decode(answer.body, media_type)
        except ContractDecodeError as error:
            found.append(_violation(f"the body cannot be read: {error.reason}"))
    if not found or answer.status not in operation.statuses:
        found += operation.response_violations(answer.status, media_type, body)
    advice = answer.get("Retry-After")
    if advice is not None and retry_after_s(advice, now=now) is None:
        found.append(_violation("Retry-After is neither seconds nor an HTTP date"))
    return _reply(operation.id, answer, body, tuple(found), now)


def unchecked_reply(name: str, answer: Answer, *, now: datetime) -> Reply:
    """Decode an answer where it is JSON; what it should be is the caller's to say."""
    try:
        body = parse_json(answer.body) if is_json(answer.get("Content-Type")) else None
    except ContractDecodeError:
        body = None
    return _reply(name, answer, body, (), now)


def too_large_reply(name: str, outcome: NoAnswer) -> Reply:
    """Return the reply for an answer whose body passed the cap; the head is all that is kept."""
    headers = ReplyHeaders(outcome.headers)
    return Reply(
        operation=name,
        status=outcome.status or 0,
        headers=headers,
        body=None,
        raw=b"",
        exchange_number=outcome.number,
        elapsed_ms=outcome.elapsed_ms,
        violations=(_violation(outcome.detail),),
        etag=headers.get("ETag"),
    )


def is_json(media_type: str | None) -> bool:
    """Whether a Content-Type says JSON: `application/json` or `+json`."""
    essence = (media_type or "").partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _decode(body: bytes, media_type: str | None) -> Any:
    if not body:
        return None
    if is_json(media_type):
        return parse_json(body)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ContractDecodeError(f"not UTF-8: byte {error.start}") from None


def _reply(
    name: str, answer: Answer, body: Any, violations: tuple[Violation, ...], now: datetime
) -> Reply:
    headers = ReplyHeaders(answer.headers)
    code = body.get("code") if isinstance(body, dict) and answer.status >= 400 else None
    return Reply(
        operation=name,
        status=answer.status,
        headers=headers,
        body=body,
        raw=answer.body,
        exchange_number=answer.number,
        elapsed_ms=answer.elapsed_ms,
        violations=violations,
        problem_code=code if isinstance(code, str) else None,
        etag=headers.get("ETag"),
        retry_after_s=retry_after_s(headers.get("Retry-After"), now=now),
    )


def _violation(message: str) -> Violation:
    return Violation(pointer="", message=message[:300])
