"""What the market sends to the deployment: signed, repeated until taken, tampered with if asked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpcore

from certification.counterparties.behaviour import Bounded
from certification.counterparties.decision import Facts
from certification.counterparties.faults import FaultKind
from certification.counterparties.journal import Entry, wall_time
from certification.counterparties.simulator import Simulator
from certification.errors import UsageError

PATH = "/v1/callbacks/market"
ATTEMPTS_MAX = 6
FIRST_WAIT_S = 0.2
"""Doubled after each attempt."""
TIMEOUT_S = 5.0
THREADS = 4
PENDING_MAX = 10_000
ANSWER_MAX_BYTES = 64 * 1024
_FINAL_REFUSALS = frozenset({400, 401})


class Tamper(Enum):
    """What is wrong with a callback."""

    NONE = "none"
    WRONG_KEY = "wrong_key"
    """Signed with another secret."""
    CHANGED = "changed"
    """The body was changed after it was signed."""
    OLD = "old"
    """Signed an hour ago: a replay."""
    FUTURE = "future"
    """Signed in an hour."""
    UNSIGNED = "unsigned"
    """The three headers are missing."""
    OTHER_ID = "other_id"
    """webhook-id was changed after signing."""


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of webhook-signature as Standard Webhooks define it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signed_headers(
    secret: str, message_id: str, body: bytes, *, at_s: int, tamper: Tamper
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body to send."""
    if tamper is Tamper.UNSIGNED:
        return {}, body
    at_s += {Tamper.OLD: -3600, Tamper.FUTURE: 3600}.get(tamper, 0)
    if tamper is Tamper.WRONG_KEY:
        secret = "whsec_" + base64.b64encode(b"another secret of 32 bytes length").decode()
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": signature(secret, message_id, at_s, body),
    }
    if tamper is Tamper.OTHER_ID:
        headers["webhook-id"] = f"{message_id}-other"
    if tamper is Tamper.CHANGED:
        body = body.replace(b'"quantity":', b'"quantity":1', 1) if b'"quantity":' in body else b"{}"
    return headers, body


@dataclass(slots=True, eq=False)
class Callbacks:
    """Delivers execution reports; those of one order one by one, as far as no fault asks."""

    simulator: Simulator
    secret: str
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    dropped: int = 0
    """Reports without a deployment to send them to, or over the cap."""
    base_url: str | None = None
    _held: list[tuple[dict[str, Any], Tamper]] = field(default_factory=list)
    _tails: Bounded[str, asyncio.Task[None]] = field(default_factory=lambda: Bounded(PENDING_MAX))
    _pool: httpcore.ConnectionPool | None = None
    _threads: ThreadPoolExecutor | None = None

    def send_to(self, base_url: str, tls: ssl.SSLContext | None = None) -> None:
        """Say where the deployment is; redirects are not followed, nothing is sent elsewhere."""
        self._close_pool()
        self.base_url = base_url.rstrip("/")
        self._pool = httpcore.ConnectionPool(max_connections=THREADS, ssl_context=tls)
        self._threads = self._threads or ThreadPoolExecutor(THREADS, "callback")

    def submit(self, report: dict[str, Any], tamper: str) -> None:
        """Deliver a report, as the faults of the market have it."""
        try:
            wrong = Tamper(tamper)
        except ValueError:
            named = ", ".join(kind.value for kind in Tamper)
            raise UsageError(f"tamper: not one of {named}") from None
        if self.base_url is None or len(self.tasks) >= PENDING_MAX:
            self.dropped += 1
            return
        facts = Facts(operation=None, key=str(report.get("execution_id")), callback=True)
        armed = self.simulator.decide(facts).armed
        fault = armed.fault if armed is not None else None
        if fault is not None and fault.kind is FaultKind.REORDERED:
            self._held.append((report, wrong))
            if len(self._held) >= fault.number("held"):
                self._let_go()
            elif len(self._held) == 1:
                asyncio.get_running_loop().call_later(fault.number("wait_s"), self._let_go)
            return
        times = int(fault.number("times")) if fault is not None else 1
        for _ in range(times):
            self._start(report, wrong, fault.kind.value if fault is not None else None)

    async def end(self) -> None:
        """Stop delivering."""
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._close_pool()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for report, wrong in reversed(held):
            self._start(report, wrong, FaultKind.REORDERED.value)

    def _start(self, report: dict[str, Any], tamper: Tamper, fault: str | None) -> None:
        order = str(report.get("order_id"))
        before = self._tails.get(order)
        task = asyncio.get_running_loop().create_task(self._deliver(report, tamper, fault, before))
        self._tails[order] = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _deliver(
        self,
        report: dict[str, Any],
        tamper: Tamper,
        fault: str | None,
        before: asyncio.Task[None] | None,
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        body = json.dumps(report, ensure_ascii=False, separators=(",", ":")).encode()
        message_id = str(report.get("execution_id"))
        for attempt in range(ATTEMPTS_MAX):
            headers, sent = signed_headers(
                self.secret, message_id, body, at_s=int(time.time()), tamper=tamper
            )
            entry = self._entry(report, message_id, sent, fault)
            status = await self._in_thread(headers, sent)
            entry.status = status
            self.simulator.journal.close(entry, "answered" if status is not None else "caller_gone")
            taken = status is not None and 200 <= status < 300
            if taken or status in _FINAL_REFUSALS or tamper is not Tamper.NONE:
                return
            await asyncio.sleep(FIRST_WAIT_S * 2**attempt)

    def _entry(
        self, report: dict[str, Any], message_id: str, body: bytes, fault: str | None
    ) -> Entry:
        entry = Entry(
            n=0,
            counterparty=self.simulator.party.value,
            direction="callback",
            caller="market",
            peer=self.base_url or "",
            method="POST",
            path=PATH,
            operation="executionReport",
            key=message_id,
            traceparent=None,
            body_bytes=len(body),
            body_sha256=hashlib.sha256(body).hexdigest(),
            body=report,
            arrived_at=wall_time(),
            arrived_s=time.monotonic(),
            fault=fault,
        )
        self.simulator.journal.open(entry)
        return entry

    async def _in_thread(self, headers: Mapping[str, str], body: bytes) -> int | None:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._post, headers, body)

    def _post(self, headers: Mapping[str, str], body: bytes) -> int | None:
        """Send once; None where there was no answer within the time."""
        pool = self._pool
        if pool is None:
            return None
        sent = [("content-type", "application/json"), *headers.items()]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        ends_s = time.monotonic() + TIMEOUT_S
        try:
            with pool.stream(
                "POST",
                f"{self.base_url}{PATH}",
                headers=sent,
                content=body,
                extensions={"timeout": timeout},
            ) as answer:
                size = 0
                for piece in answer.iter_stream():
                    size += len(piece)
                    if size > ANSWER_MAX_BYTES or time.monotonic() > ends_s:
                        break
                return int(answer.status)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError):
            return None

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
