"""Delivering to one webhook: which events are next, trying them, and writing down what came of it.

Within one account nothing overtakes: what shares an account with an event that failed waits
behind it, and everything else goes on. When a receiver fails on several events running it is left
alone for a while, and then asked with one event until it takes something again.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from reference_impl import metrics, outbox, spans, tracing, web
from reference_impl.problems import Problem

from . import signing, store
from .lanes import Event, Lanes, PerThread
from .rules import Limits, Outcome, Verdict, free, pause_s, unblocked, verdict
from .sending import Line
from .store import Round, State, Waiting

ROUND_MAX = 200
"""Events of one round: written down together, and delivered again if the process dies before."""
WAITING_MAX = 10_000
"""So many events of one subscriber wait beside the feed; with more it does not read on."""
LANES = 4
PAUSE_AFTER = 5
"""A receiver that failed on so many events running is left alone for a while."""
IDLE_S = 1.0
PACE_S = 0.05
"""Between rounds that were not full: fewer and larger writes beside those of the ledger."""
BUSY_S = 0.2
LAZY_EVENTS = 500
"""Where nothing was tried, what was read on is written after so many events,"""
LAZY_S = 2.0
"""or after so long."""
STATUS_PAUSES = frozenset({429, 503})
"""Answers whose Retry-After counts for the receiver as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What deliveries to every webhook have in common."""

    shared: web.Services
    fence: store.Fence
    owned: Callable[[], bool]
    """Whether this process still delivers."""
    limits: Limits
    line: Callable[[str], Line]
    """Return a connection to a URL; NotAllowedError if it may not be used."""
    chance: Callable[[], float] = random.random


class Webhook:
    """Delivers to one webhook; used by one thread."""

    def __init__(self, terms: Terms, row: Any) -> None:
        """Read where it is. Raises store.LostError if it has ended."""
        self._terms = terms
        self.consumer: str = row["id"]
        self._types = frozenset(json.loads(row["event_types"]))
        self._state: State = store.load(terms.shared.readers.get(), self.consumer)
        self._written, self._written_s = self._state.position, 0.0
        self._unwritten: dict[int, Waiting] = {}
        self._origin = outbox.source(terms.shared.signer.public_key)
        self._lanes = Lanes(LANES, f"hook-{self.consumer[-6:]}")
        url = row["url"]
        self._lines = PerThread(lambda: terms.line(url))
        self._secrets: tuple[int, tuple[str, ...]] = (0, ())

    def close(self) -> None:
        """Close the connections."""
        self._lanes.close()
        self._lines.close()

    def turn(self) -> float:
        """Do one round; return how many seconds the next one can wait.

        Raises store.LostError when there is nothing more to do here, ever.
        """
        now_ms, state = self._terms.shared.clock.now_ms(), self._state
        if state.paused_until > now_ms:
            return min((state.paused_until - now_ms) / 1000, IDLE_S)
        probing = state.in_a_row >= PAUSE_AFTER
        done = store.begun(self.consumer, state)
        due, scanned = self._due(now_ms, done), self._scan(done)
        fresh, held = self._split(scanned, due)
        done.waiting |= held
        tried = [*due, *fresh]
        if probing and tried:
            first = set(free([(event.seq, event.keys) for event in tried]))
            candidates = (event for event in tried if event.seq in first)
            tried = [min(candidates, key=lambda event: (event.attempts, event.seq))]
        self._secrets = self._valid_secrets(now_ms)
        outcomes = self._lanes.run(tried, self._post, lambda *ended: self._after(done, ended))
        self._move(done, scanned, (fresh, held, outcomes))
        self._judge(done, tried, outcomes)
        self._write(done)
        if len(due) + len(scanned) >= ROUND_MAX:
            return 0.0
        return PACE_S if due or fresh else self._rest_s()

    def _rest_s(self) -> float:
        """Return the time until an event is due again."""
        now_ms = self._terms.shared.clock.now_ms()
        times = (each.next_at for each in self._state.waiting.values() if each.next_at > now_ms)
        nearest = min(times, default=None)
        return IDLE_S if nearest is None else min((nearest - now_ms) / 1000, IDLE_S)

    def _due(self, now_ms: int, done: Round) -> list[Event]:
        """Return the waiting events whose time has come and that need not wait for another."""
        waiting = self._state.waiting
        if not waiting:
            return []
        blocked: set[str] = set()
        chosen: list[int] = []
        for seq, each in waiting.items():
            if each.next_at <= now_ms and blocked.isdisjoint(each.keys) and len(chosen) < ROUND_MAX:
                chosen.append(seq)
            else:
                blocked.update(each.keys)
        rows = store.rows_of(self._terms.shared.readers.get(), chosen) if chosen else {}
        for seq in [seq for seq in chosen if seq not in rows]:
            done.missed += 1
            done.ended.append(seq)
        return [
            Event(
                seq=seq,
                keys=waiting[seq].keys,
                row=rows[seq],
                attempts=waiting[seq].attempts,
                failed_at=waiting[seq].failed_at,
            )
            for seq in chosen
            if seq in rows
        ]

    def _scan(self, done: Round) -> list[Any]:
        """Return the next rows of the feed, as many as there is room for."""
        room = min(WAITING_MAX - len(self._state.waiting), ROUND_MAX)
        if room <= 0:
            return []
        connection = self._terms.shared.readers.get()
        rows = outbox.pending(connection, self._state.position, room)
        if rows and rows[0]["seq"] > self._state.position + 1:
            gap = store.oldest(connection) - 1 - self._state.position
            done.missed += max(gap, 0)  # an upper bound: numbers may be left out
        return rows

    def _split(
        self, scanned: list[Any], due: list[Event]
    ) -> tuple[list[Event], dict[int, Waiting]]:
        """Return what can be tried now, and what waits behind an earlier event."""
        tried = {event.seq for event in due}
        wanted = [row for row in scanned if self._wants(row)]
        names = [(row["seq"], store.keys(row)) for row in wanted]
        behind = {
            key
            for seq, each in self._state.waiting.items()
            if seq not in tried
            for key in each.keys
        }
        ready = set(unblocked(names, behind))
        fresh = [
            Event(seq=row["seq"], keys=known, row=row, attempts=0, failed_at=None)
            for row, (seq, known) in zip(wanted, names, strict=True)
            if seq in ready
        ]
        held = {
            seq: Waiting(attempts=0, next_at=0, failed_at=None, keys=known)
            for seq, known in names
            if seq not in ready
        }
        return fresh, held

    def _wants(self, row: Any) -> bool:
        return store.ALL_TYPES in self._types or row["type"] in self._types

    def _valid_secrets(self, now_ms: int) -> tuple[int, tuple[str, ...]]:
        """Return version and secrets that sign now; LostError when the webhook is not active."""
        row = (
            self._terms.shared.readers.get()
            .execute(
                "SELECT version, secret, old_secret, old_until FROM webhooks"
                " WHERE id = ? AND status = 'active'",
                (self.consumer,),
            )
            .fetchone()
        )
        if row is None:
            raise store.LostError(self.consumer)
        with_old = row["old_until"] is not None and row["old_until"] > now_ms
        stamp = 2 * row["version"] + with_old
        if stamp == self._secrets[0]:
            return self._secrets
        sealer = self._terms.shared.sealer
        sealed = [row["secret"], *([row["old_secret"]] if with_old else [])]
        return stamp, tuple(sealer.open(each) or "" for each in sealed)

    def _post(self, event: Event) -> Outcome:
        """Send one event; runs in a lane."""
        document = outbox.document(event.row, self._origin)
        body = msgspec.json.encode(document)
        sent_s = self._terms.shared.clock.now_ms() // 1000
        headers = {
            "Content-Type": "application/cloudevents+json",
            **signing.headers(self._secrets[1], document["id"], sent_s, body),
        }
        trace = tracing.accept(event.row["traceparent"]) if event.row["traceparent"] else None
        if trace is not None:
            headers["traceparent"] = trace.parent
        began_ns = time.time_ns()
        outcome: Outcome = self._lines.get().post(body, headers)
        if trace is not None and self._terms.shared.spans is not None:
            times = (began_ns, time.time_ns())
            self._terms.shared.spans.put(self._span(event, outcome, trace, times))
        return outcome

    def _span(
        self, event: Event, outcome: Outcome, trace: tracing.Trace, times: spans.Times
    ) -> spans.Span:
        """Return the span of a delivery; where the webhook leads is its owner's business."""
        attempt = spans.Attempt(
            system="webhook",
            method="POST",
            operation="webhook",
            number=event.attempts + 1,
            outcome="ok" if outcome.taken else outcome.error or "refused",
            status=outcome.status,
        )
        more = {"alluse.webhook_id": self.consumer, "cloudevents.event_type": event.row["type"]}
        return spans.called(trace, attempt, times, more)

    def _after(self, done: Round, ended: tuple[Event, Outcome]) -> bool:
        """Count an outcome at once; tell whether the receiver is asked for more."""
        event, outcome = ended
        if outcome.taken:
            done.in_a_row = 0
            return self._terms.owned()
        if event.attempts == 0 or done.in_a_row >= PAUSE_AFTER:
            done.in_a_row += 1
        now_ms = self._terms.shared.clock.now_ms()
        asked_s = outcome.retry_after_s if outcome.status in STATUS_PAUSES else None
        if done.in_a_row >= PAUSE_AFTER or asked_s is not None:
            turns = max(done.in_a_row - PAUSE_AFTER + 1, 1)
            wait_s = pause_s(self._terms.limits, turns, outcome, self._terms.chance())
            done.paused_until = max(done.paused_until, now_ms + int(wait_s * 1000))
        stop = done.paused_until > 0 or outcome.status == 410
        return not stop and self._terms.owned()

    def _move(
        self,
        done: Round,
        scanned: list[Any],
        found: tuple[list[Event], dict[int, Waiting], dict[int, Outcome]],
    ) -> None:
        """Advance the position past what was dealt with; what was passed over waits."""
        fresh, held, outcomes = found
        known = {event.seq: event for event in fresh}
        last = max((seq for seq in outcomes if seq in known), default=0)
        for row in scanned:
            seq = row["seq"]
            if seq in known and seq not in outcomes:
                if seq > last:
                    break
                done.waiting[seq] = Waiting(
                    attempts=0, next_at=0, failed_at=None, keys=known[seq].keys
                )
            done.position = seq
        for seq in [seq for seq in held if seq > done.position]:
            del done.waiting[seq]

    def _judge(self, done: Round, tried: list[Event], outcomes: dict[int, Outcome]) -> None:
        """Decide what becomes of each event that was tried."""
        now_ms, limits = self._terms.shared.clock.now_ms(), self._terms.limits
        taken_now = any(outcome.taken for outcome in outcomes.values())
        last_taken = now_ms if taken_now else self._state.last_taken
        for event in tried:
            outcome = outcomes.get(event.seq)
            if outcome is None:
                continue
            attempts, failed_at = event.attempts + 1, event.failed_at
            others = failed_at is not None and last_taken > failed_at
            failing_s = 0.0 if failed_at is None else (now_ms - failed_at) / 1000
            found = verdict(limits, attempts, outcome, others_taken=others, failing_s=failing_s)
            match found:
                case Verdict.TAKEN:
                    done.taken += 1
                    done.ended.append(event.seq)
                    continue
                case Verdict.GONE:
                    done.gone = True
                case Verdict.SET_ASIDE:
                    done.ended.append(event.seq)
                    done.set_aside.append(
                        store.SetAside(
                            seq=event.seq,
                            event_id=outbox.event_id(event.row),
                            attempts=attempts,
                            reason=outcome.text,
                        )
                    )
                case Verdict.RETRY:
                    wait_ms = int(pause_s(limits, attempts, outcome, self._terms.chance()) * 1000)
                    done.waiting[event.seq] = Waiting(
                        attempts=attempts,
                        next_at=now_ms + wait_ms,
                        failed_at=failed_at or now_ms,
                        keys=event.keys,
                    )
            done.failures += 1
            done.last_error = outcome.text

    def _write(self, done: Round) -> None:
        """Write a round down, then count it; nothing where nothing happened."""
        state, shared = self._state, self._terms.shared
        changed = done.taken or done.failures or done.ended or done.missed
        behind = done.position - self._written
        late = behind > 0 and time.monotonic() - self._written_s > LAZY_S
        if done.waiting:
            state.waiting = dict(sorted((state.waiting | done.waiting).items()))
        if changed or late or behind >= LAZY_EVENTS:
            now_ms = shared.clock.now_ms()
            known, over = self._unwritten | done.waiting, set(done.ended)
            done.waiting = {seq: each for seq, each in known.items() if seq not in over}
            write_down(self._terms, done, now_ms)
            self._unwritten = {}
            self._written, self._written_s = done.position, time.monotonic()
            state.last_taken = now_ms if done.taken else state.last_taken
        else:
            self._unwritten |= done.waiting
        state.position = done.position
        state.in_a_row, state.paused_until = done.in_a_row, done.paused_until
        for seq in done.ended:
            state.waiting.pop(seq, None)
        count(shared.metrics, "webhook", done)
        if done.gone:
            raise store.LostError(self.consumer)


def write_down(terms: Terms, done: Round, now_ms: int) -> None:
    """Record a round; while the writer is busy try again, since what was sent was sent.

    Raises store.LostError.
    """
    while True:
        try:
            return terms.shared.writer.submit(
                lambda connection: store.record(connection, done, now_ms, terms.fence)
            )
        except Problem:
            if not terms.owned():
                raise store.LostError(done.consumer) from None
            time.sleep(BUSY_S)


def count(counted: metrics.Metrics, system: str, done: Round) -> None:
    """Add a round to the metrics."""
    numbers = {
        "taken": done.taken,
        "failed": done.failures,
        "set_aside": len(done.set_aside),
        "missed": done.missed,
    }
    for outcome, number in numbers.items():
        if number:
            counted.count(metrics.DELIVERIES, (system, outcome), number)
