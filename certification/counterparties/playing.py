"""Faults at the socket: each kind as what it does to one answer."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from certification.counterparties.connections import WRITE_S, Connection
from certification.counterparties.faults import Fault, FaultKind
from certification.counterparties.wire import JSON, Reply, head

ANSWERED, CALLER_GONE, CUT = "answered", "caller_gone", "cut"
"""How an exchange ended, see `journal.Entry.end`."""
BLOCK = b"x" * 65_536
DRIBBLES_PER_S = 20
"""Bytes are put out at most so often a second."""
_NOISE = bytes((index * 197 + 13) % 256 for index in range(256))
MALFORMED: Mapping[str, bytes] = {
    "json": b"",
    "status_line": b"HTTP/9.9 perhaps\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nthis is no header\r\n\r\n{}",
    "chunk": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "noise": _NOISE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a fault plays with."""

    connection: Connection
    reply: Reply
    """The right answer, or the refusal that the fault sends."""
    fault: Fault
    released: asyncio.Event
    """Set when the fault is cleared or its lease runs out."""
    keep_alive: bool


def without_a_member(body: bytes) -> bytes:
    """Return JSON in which the first member of the object is missing: all of ours are required."""
    document = json.loads(body)
    if isinstance(document, dict) and document:
        del document[next(iter(document))]
    return json.dumps(document).encode()


async def answer(connection: Connection, reply: Reply, *, keep_alive: bool) -> str:
    """Send an answer as it is."""
    await connection.send(head(reply, keep_alive=keep_alive) + reply.body)
    return ANSWERED


async def play(scene: Scene) -> str:
    """Play the fault; returns how the exchange ended. What breaks off raises `ConnectionError`."""
    connection = scene.connection
    connection.deadline_s = math.inf
    try:
        return await _PLAYS[scene.fault.kind](scene)
    finally:
        connection.deadline_s = time.monotonic() + WRITE_S


async def _send(scene: Scene) -> str:
    scene.connection.deadline_s = time.monotonic() + WRITE_S
    return await answer(scene.connection, scene.reply, keep_alive=scene.keep_alive)


async def _hang(scene: Scene) -> str:
    if await _held(scene, None):
        return CALLER_GONE
    scene.connection.reset()
    return CUT


async def _reset(scene: Scene) -> str:
    connection = scene.connection
    if scene.fault.parameters["at"] == "response":
        body = scene.reply.body
        await connection.send(head(scene.reply, keep_alive=True) + body[: max(1, len(body) // 2)])
        await connection.flushed()
    connection.reset()
    return CUT


async def _slow(scene: Scene) -> str:
    if await _held(scene, scene.fault.number("delay_s")):
        return CALLER_GONE
    return await _send(scene)


async def _dribble(scene: Scene) -> str:
    data = head(scene.reply, keep_alive=scene.keep_alive) + scene.reply.body
    rate = scene.fault.number("bytes_per_s")
    step = max(1, int(rate / DRIBBLES_PER_S))
    for start in range(0, len(data), step):
        await scene.connection.send(data[start : start + step])
        if await _held(scene, step / rate):
            return CALLER_GONE
        if scene.released.is_set():
            await scene.connection.send(data[start + step :])
            break
    return ANSWERED


async def _truncated(scene: Scene) -> str:
    body = scene.reply.body
    kept = body[: int(len(body) * scene.fault.number("share"))]
    await scene.connection.send(head(scene.reply, keep_alive=False) + kept)
    return CUT


async def _malformed(scene: Scene) -> str:
    form = str(scene.fault.parameters["form"])
    if form == "json":
        broken = replace(scene.reply, body=scene.reply.body[:-1] + b",,")
        await scene.connection.send(head(broken, keep_alive=False) + broken.body)
    else:
        await scene.connection.send(MALFORMED[form])
    return CUT


async def _huge(scene: Scene) -> str:
    start, end = b'{"padding":"', b'"}'
    size = int(scene.fault.number("bytes"))
    left = max(0, size - len(start) - len(end))
    reply = Reply(status=scene.reply.status, media_type=JSON, headers=scene.reply.headers)
    length = len(start) + left + len(end)
    await scene.connection.send(head(reply, keep_alive=False, length=length) + start)
    while left and not scene.released.is_set():
        scene.connection.deadline_s = time.monotonic() + WRITE_S
        await scene.connection.send(BLOCK[: min(left, len(BLOCK))])
        left -= min(left, len(BLOCK))
    if left:
        scene.connection.reset()
        return CUT
    await scene.connection.send(end)
    # The head said that the connection closes.
    scene.connection.open = False
    return ANSWERED


async def _held(scene: Scene, seconds: float | None) -> bool:
    """Wait; True where the caller left meanwhile. The end of the fault ends the wait."""
    if scene.released.is_set():
        return False
    left = asyncio.ensure_future(scene.connection.caller_left())
    freed = asyncio.ensure_future(scene.released.wait())
    try:
        done, _ = await asyncio.wait(
            {left, freed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        return left in done
    finally:
        left.cancel()
        freed.cancel()
        await asyncio.gather(left, freed, return_exceptions=True)


_Play = Callable[[Scene], Awaitable[str]]
_PLAYS: Mapping[FaultKind, _Play] = {
    FaultKind.HANG: _hang,
    FaultKind.RESET: _reset,
    FaultKind.STATUS: _send,
    FaultKind.RATE_LIMIT: _send,
    FaultKind.SLOW: _slow,
    FaultKind.DRIBBLE: _dribble,
    FaultKind.TRUNCATED: _truncated,
    FaultKind.MALFORMED: _malformed,
    FaultKind.HUGE: _huge,
    FaultKind.WRONG_SCHEMA: _send,
    FaultKind.STALE: _send,
}


def in_the_past(document: Any, age_s: float, now: str) -> Any:
    """Return a document whose `as_of` is so much older."""
    if isinstance(document, dict) and "as_of" in document:
        before = datetime.fromisoformat(now) - timedelta(seconds=age_s)
        return {**document, "as_of": before.isoformat().replace("+00:00", "Z")}
    return document
