"""One counterparty: takes requests, compares them with its contract, answers, plays faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

from certification.contract.decode import ContractDecodeError, parse_json
from certification.counterparties import playing
from certification.counterparties.behaviour import Behaviour, Bounded, Call, problem_reply
from certification.counterparties.connections import Connection
from certification.counterparties.decision import Armed, CountKey, Decision, Facts, decide
from certification.counterparties.faults import Fault, FaultKind
from certification.counterparties.journal import BODY_SHOWN_BYTES, Entry, Journal, wall_time
from certification.counterparties.names import Party
from certification.counterparties.outbound import FORM, Outbound, OutboundOperation
from certification.counterparties.wire import Refused, Reply, Request

KEYS_REMEMBERED_MAX = 50_000
FIRST_ANSWERS_MAX = 1_000
COUNTS_MAX = 100_000
VIOLATIONS_MAX = 20
"""Of one request in the journal."""
_KEPT = frozenset({409, 422})
_AFTER_EFFECT = frozenset(
    {
        FaultKind.SLOW,
        FaultKind.DRIBBLE,
        FaultKind.TRUNCATED,
        FaultKind.MALFORMED,
        FaultKind.HUGE,
        FaultKind.WRONG_SCHEMA,
        FaultKind.STALE,
    }
)
"""The request is carried out first; the answer is what breaks."""
_CODES = {400: "invalid_request", 401: "unauthorized", 404: "not_found", 429: "rate_limited"}


@dataclass(slots=True, kw_only=True)
class _Read:
    """A request, compared with the contract."""

    entry: Entry
    operation: OutboundOperation | None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    refusal: Reply | None = None
    """What a request that does not follow the contract is answered with."""


@dataclass(slots=True, eq=False)
class Simulator:
    """The state of one counterparty; only the simulators' own thread touches it."""

    party: Party
    outbound: Outbound
    behaviour: Behaviour
    journal: Journal
    token: str
    seed: int
    plan: list[Armed] = field(default_factory=list)
    counts: dict[CountKey, int] = field(default_factory=lambda: Bounded(COUNTS_MAX))
    released: dict[int, asyncio.Event] = field(default_factory=dict)
    armed_ever: int = 0
    in_flight: int = 0
    answers: Bounded[tuple[str, str], tuple[str, Reply]] = field(
        default_factory=lambda: Bounded(KEYS_REMEMBERED_MAX)
    )
    """By operation and key: digest of the payload, and the answer."""
    first: Bounded[str, bytes] = field(default_factory=lambda: Bounded(FIRST_ANSWERS_MAX))
    """What each read said first."""

    # -- faults --------------------------------------------------------------------------------

    def arm(self, fault: Fault, now_s: float) -> Armed:
        """Put a fault to work."""
        self.armed_ever += 1
        armed = Armed(id=self.armed_ever, fault=fault, armed_s=now_s)
        self.plan.append(armed)
        self.released[armed.id] = asyncio.Event()
        return armed

    def disarm(self, fault_id: int | None = None) -> None:
        """End one fault, or all."""
        for armed in [row for row in self.plan if fault_id in {None, row.id}]:
            self.plan.remove(armed)
            self.released.pop(armed.id).set()

    def expire(self, now_s: float) -> None:
        """End the faults whose lease has run out."""
        for armed in [row for row in self.plan if not row.alive(now_s)]:
            self.disarm(armed.id)

    def decide(self, facts: Facts) -> Decision:
        """Decide for one request or callback, and count it."""
        if not self.plan:
            return _NOTHING
        decision = decide(self.plan, self.counts, facts, now_s=time.monotonic(), seed=self.seed)
        for key in decision.counted:
            self.counts[key] = self.counts.get(key, 0) + 1
        return decision

    # -- requests ------------------------------------------------------------------------------

    async def answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; False ends the connection."""
        self.in_flight += 1
        read = self._read(connection, request)
        entry = read.entry
        end = playing.CALLER_GONE
        try:
            facts = Facts(operation=entry.operation, key=entry.key)
            armed = self.decide(facts).armed
            if armed is None:
                reply = read.refusal or self._carry_out(read, request)
                entry.status = reply.status
                end = await playing.answer(connection, reply, keep_alive=request.keep_alive)
                return True
            end = await self._faulty(connection, request, read, armed)
        finally:
            self.in_flight -= 1
            self.journal.close(entry, end)
        return end == playing.ANSWERED and connection.open

    def garbage(self, connection: Connection, refused: Refused) -> None:
        """Book what is no request at all."""
        entry = self._entry(connection, method="", path="", caller=connection.host)
        entry.violations.append(refused.reason)
        entry.status = refused.status
        self.journal.open(entry)
        self.journal.close(entry, playing.CUT)

    def facts(self) -> dict[str, Any]:
        """Return what an overview shows."""
        return {
            "name": self.party.value,
            "requests": self.journal.count,
            "violations": self.journal.violations,
            "last_arrival_at": self.journal.last_arrival_at,
            "in_flight": self.in_flight,
            "faults": [armed.fault.kind.value for armed in self.plan],
        }

    async def _faulty(
        self, connection: Connection, request: Request, read: _Read, armed: Armed
    ) -> str:
        entry, fault = read.entry, armed.fault
        entry.fault, entry.fault_id = fault.kind.value, armed.id
        released = self.released[armed.id]
        effect = fault.kind in _AFTER_EFFECT or fault.parameters.get("effect") is True
        effect = effect or fault.parameters.get("at") == "response"
        reply = _UNANSWERED
        if effect:
            reply = read.refusal or self._carry_out(read, request)
        if fault.kind in {FaultKind.STATUS, FaultKind.RATE_LIMIT}:
            reply = _refusal(fault)
        elif fault.kind is FaultKind.WRONG_SCHEMA:
            reply = replace(reply, body=playing.without_a_member(reply.body))
        elif fault.kind is FaultKind.STALE:
            reply = self._stale(read, reply, fault)
        silent = fault.kind is FaultKind.HANG or fault.parameters.get("at") == "request"
        entry.status = None if silent else reply.status
        return await playing.play(
            playing.Scene(
                connection=connection,
                reply=reply,
                fault=fault,
                released=released,
                keep_alive=request.keep_alive,
            )
        )

    def _entry(self, connection: Connection, *, method: str, path: str, caller: str) -> Entry:
        return Entry(
            n=0,
            counterparty=self.party.value,
            caller=caller[:200],
            peer=connection.peer,
            method=method,
            path=path[:500],
            operation=None,
            key=None,
            traceparent=None,
            arrived_at=wall_time(),
            arrived_s=time.monotonic(),
            in_flight=max(1, self.in_flight),
        )

    def _read(self, connection: Connection, request: Request) -> _Read:
        headers = request.headers
        path, _, query_text = request.target.partition("?")
        caller = headers.get("x-instance-id", connection.host)
        entry = self._entry(connection, method=request.method, path=request.target, caller=caller)
        entry.arrived_s = request.arrived_s
        key = headers.get("idempotency-key")
        entry.key = key.strip('"')[:200] if key is not None else None
        traceparent = headers.get("traceparent")
        entry.traceparent = traceparent[:200] if traceparent is not None else None
        body = request.body
        if body:
            entry.body_bytes = len(body)
            entry.body_sha256 = hashlib.sha256(body).hexdigest()
        matched = self.outbound.match(request.method, path)
        if matched is None:
            read = _Read(entry=entry, operation=None)
            entry.violations.append(f"{request.method[:20]} {path[:100]} is not in the contract")
            read.refusal = problem_reply("not_found", "This is not in the contract.")
        else:
            operation, filled = matched
            entry.operation = operation.id
            read = _Read(entry=entry, operation=operation, path=filled)
            read.query = dict(parse_qsl(query_text, keep_blank_values=True)) if query_text else {}
            self._compare(read, operation, request)
        self.journal.open(entry)
        return read

    def _compare(self, read: _Read, operation: OutboundOperation, request: Request) -> None:
        """Book where the request breaks the contract, and prepare the refusal."""
        entry = read.entry
        if not operation.public and not self._knows(request.headers.get("authorization")):
            entry.violations.append("header Authorization does not hold this counterparty's token")
            read.refusal = problem_reply("unauthorized", "The token is not known here.")
        given = {"header": request.headers, "query": read.query, "path": read.path}
        entry.violations.extend(self.outbound.parameter_violations(operation, given))
        if request.body is None:
            code = {
                Party.NOTIFICATION: "batch_too_large",
                Party.REPORTING: "report_too_large",
            }.get(self.party, "invalid_request")
            entry.violations.append("the body is too large")
            read.refusal = problem_reply(code, "The body is too large.")
            return
        if operation.request is not None:
            self._compare_body(read, operation.request, request)
        elif request.body:
            entry.violations.append("a body where the contract has none")
        del entry.violations[VIOLATIONS_MAX:]
        if entry.violations and read.refusal is None:
            read.refusal = problem_reply("invalid_request", "; ".join(entry.violations))

    def _compare_body(self, read: _Read, wanted: tuple[str, str], request: Request) -> None:
        entry, (media_type, reference) = read.entry, wanted
        essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if essence != media_type:
            entry.violations.append(f"Content-Type is {essence[:60]!r}, not {media_type}")
            return
        body = request.body or b""
        try:
            if media_type == FORM:
                read.body = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))
            else:
                read.body = parse_json(body)
        except (ContractDecodeError, ValueError) as error:
            entry.violations.append(f"body: {str(error)[:200]}")
            return
        if len(body) <= BODY_SHOWN_BYTES and media_type != FORM:
            # Of a form only the digest: it carries a token.
            entry.body = read.body
        found = self.outbound.violations(reference, read.body)
        entry.violations.extend(f"body{row.pointer}: {row.message}" for row in found)

    def _knows(self, authorization: str | None) -> bool:
        given = (authorization or "").encode("latin-1", "replace")
        return hmac.compare_digest(given, f"Bearer {self.token}".encode())

    def _carry_out(self, read: _Read, request: Request) -> Reply:
        """Have the request take effect, once for each key."""
        operation, entry = read.operation, read.entry
        if operation is None:
            return _UNANSWERED
        call = Call(
            operation=operation.id,
            path=read.path,
            query=read.query,
            body=read.body,
            complain=entry.violations.append,
        )
        if not operation.keyed or entry.key is None:
            reply = self.behaviour.handle(call)
            if reply.status == 200 and request.target not in self.first:
                self.first[request.target] = reply.body
            return reply
        digest = f"{request.target} {entry.body_sha256}"
        known = self.answers.get((operation.id, entry.key))
        if known is not None:
            if known[0] != digest:
                entry.violations.append("the Idempotency-Key was used with another payload")
                return problem_reply("idempotency_payload_mismatch", "The first payload differs.")
            entry.replayed = True
            return replace(known[1], headers=(*known[1].headers, ("idempotency-replayed", "true")))
        reply = self.behaviour.handle(call)
        entry.effect = reply.status < 300
        if entry.effect or reply.status in _KEPT:
            self.answers[operation.id, entry.key] = (digest, reply)
        return reply

    def _stale(self, read: _Read, reply: Reply, fault: Fault) -> Reply:
        if read.operation is None or read.operation.method != "GET" or reply.status != 200:
            return reply
        document = json.loads(self.first.get(read.entry.path, reply.body))
        past = playing.in_the_past(document, fault.number("age_s"), wall_time())
        return replace(reply, body=json.dumps(past).encode())


_NOTHING = Decision(armed=None, counted=())
_UNANSWERED = problem_reply("internal_error", "This is never sent.")


def _refusal(fault: Fault) -> Reply:
    if fault.kind is FaultKind.RATE_LIMIT:
        retry_after_s = int(fault.number("retry_after_s"))
        return problem_reply("rate_limited", "Told to.", retry_after_s=retry_after_s)
    status = int(fault.number("status"))
    code = _CODES.get(status, "unavailable" if status == 503 else "internal_error")
    return problem_reply(code, "Told to.", status=status)
