"""Delivering to the notification system: every event, in batches, one batch at a time.

A batch that was not taken is sent again as it was, with the key it had. Where the receiver refuses
the content, halves are sent, until the event that it does not like is alone and set aside.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from reference_impl import outbox
from reference_impl.integration import registry
from reference_impl.integration.outbound import Answer, Call, CallFailedError, Reason

from . import store
from .pump import IDLE_S, PACE_S, Terms, count, write_down
from .rules import CONTENT_REFUSED, Limits, Outcome, pause_s
from .store import Round, State

BATCH_MAX = 500
BATCH_BYTES_MAX = 2 * 1024 * 1024
PAUSES = Limits(first_s=0.2, most_s=5.0)
"""Short: the breaker sees to it that a system that is away is left alone."""
MEDIA_TYPE = "application/cloudevents-batch+json"


class Receipt(msgspec.Struct):
    """What the receiver says of a batch."""

    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events as they are sent."""

    rows: tuple[Any, ...]
    body: bytes
    key: str


class Notification:
    """Delivers to the notification system; used by one thread."""

    consumer = store.NOTIFICATION

    def __init__(self, terms: Terms) -> None:
        """Read where it is; a new one begins with the oldest event."""
        self._terms = terms
        connection = terms.shared.readers.get()
        there = connection.execute(
            "SELECT 1 FROM delivery_states WHERE consumer = ?", (self.consumer,)
        ).fetchone()
        if there is None:
            terms.shared.writer.submit(lambda tx: store.begin(tx, self.consumer, 0))
        self._state: State = store.load(connection, self.consumer)
        self._origin = outbox.source(terms.shared.signer.public_key)
        self._batch: Batch | None = None
        self._most = BATCH_MAX

    def close(self) -> None:
        """Nothing is held open here."""

    def turn(self) -> float:
        """Send one batch; return how many seconds the next one can wait.

        Raises store.LostError when this process delivers no more.
        """
        state, shared = self._state, self._terms.shared
        now_ms = shared.clock.now_ms()
        if state.paused_until > now_ms:
            return min((state.paused_until - now_ms) / 1000, IDLE_S)
        done = store.begun(self.consumer, state)
        batch = self._batch or self._next(done)
        if batch is None:
            return IDLE_S
        self._batch = batch
        try:
            answer = shared.outbound.call(registry.NOTIFICATION, call(batch), patient=True)
        except CallFailedError as failed:
            self._put_off(done, failed)
        else:
            self._answered(done, batch, answer)
        return 0.0 if len(batch.rows) > BATCH_MAX // 2 else PACE_S

    def _next(self, done: Round) -> Batch | None:
        """Return the next batch; what was forgotten before it came is counted as missed."""
        connection = self._terms.shared.readers.get()
        rows = outbox.pending(connection, self._state.position, self._most)
        if not rows:
            return None
        if rows[0]["seq"] > self._state.position + 1 and self._state.position:
            gap = store.oldest(connection) - 1 - self._state.position
            done.missed = max(gap, 0)
        return packed(rows, self._origin)

    def _put_off(self, done: Round, failed: CallFailedError) -> None:
        done.failures, done.last_error = 1, failed.reason.value
        done.in_a_row += 1
        asked = Outcome(status=None, retry_after_s=float(failed.retry_after_s))
        wait_s = pause_s(PAUSES, done.in_a_row, asked, self._terms.chance())
        done.paused_until = self._terms.shared.clock.now_ms() + int(wait_s * 1000)
        self._write(done)

    def _answered(self, done: Round, batch: Batch, answer: Answer) -> None:
        if answer.status < 300:
            done.taken, done.in_a_row = len(batch.rows), 0
            done.position = batch.rows[-1]["seq"]
            self._most = BATCH_MAX if self._most == BATCH_MAX else min(self._most * 2, BATCH_MAX)
        elif answer.status in CONTENT_REFUSED and len(batch.rows) > 1:
            self._most = max(len(batch.rows) // 2, 1)
            done.failures, done.last_error = 1, str(answer.status)
        elif answer.status in CONTENT_REFUSED:
            row = batch.rows[0]
            aside = store.SetAside(
                seq=row["seq"], event_id=outbox.event_id(row), attempts=1, reason=str(answer.status)
            )
            done.set_aside, done.position = [aside], row["seq"]
            done.failures, done.last_error = 1, str(answer.status)
        else:
            refused = CallFailedError(registry.NOTIFICATION, Reason.INVALID, str(answer.status))
            self._put_off(done, refused)
            return
        self._batch = None
        self._write(done)

    def _write(self, done: Round) -> None:
        now_ms, state = self._terms.shared.clock.now_ms(), self._state
        write_down(self._terms, done, now_ms)
        state.position, state.in_a_row = done.position, done.in_a_row
        state.paused_until = done.paused_until
        count(self._terms.shared.metrics, "notification", done)


def packed(rows: list[Any], origin: str) -> Batch:
    """Return as many of the events as one body holds, at least one."""
    parts: list[bytes] = []
    size = 2
    for row in rows:
        part = msgspec.json.encode(outbox.document(row, origin))
        size += len(part) + 1
        if parts and size > BATCH_BYTES_MAX:
            break
        parts.append(part)
    body = b"[" + b",".join(parts) + b"]"
    return Batch(
        rows=tuple(rows[: len(parts)]),
        body=body,
        key=f"evb-{hashlib.sha256(body).hexdigest()[:40]}",
    )


def call(batch: Batch) -> Call:
    """Return the call that delivers a batch."""
    return Call(
        operation="deliverEvents",
        method="POST",
        target="/v1/events",
        needs=Receipt,
        body=msgspec.Raw(batch.body),
        media_type=MEDIA_TYPE,
        key=batch.key,
        traceparent=batch.rows[0]["traceparent"],
    )
