"""A small load generator: closed and open loop over keep-alive connections, latency per request.

Open loop: arrivals are drawn beforehand (Poisson) and latency counts from the intended moment, so
that a stall of the server is seen by every request that it delays (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

MakeRequest = Callable[[int], bytes]
"""Number of the request -> its bytes, head and body."""
DRAIN_S = 15.0
LIST_S = 120.0


@dataclass(slots=True)
class Result:
    """What a run saw."""

    seconds: float
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    """Of answers 2xx."""
    refused: dict[int, int] = field(default_factory=dict)
    """Other statuses, with their number; 0 for a lost connection."""
    offered: int = 0
    unanswered: int = 0

    @property
    def rate(self) -> float:
        """Answers 2xx per second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Return a latency percentile in ms; the unanswered count as slower than all answered."""
        ordered = sorted(self.latencies_s)
        index = int(share * (len(ordered) + self.unanswered))
        return ordered[index] * 1000 if index < len(ordered) else float("inf")

    def row(self) -> str:
        """Return rate and percentiles as text."""
        marks = " ".join(f"p{p * 100:g} {self.percentile_ms(p):7.1f}" for p in (0.5, 0.95, 0.99))
        return f"{self.rate:8.0f}/s  {marks} ms  refused {self.refused or 0}"


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._data = bytearray()
        self._done: Callable[[int], None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, data: bytes, done: Callable[[int], None]) -> None:
        assert self.transport is not None
        self._done = done
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._data[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._data) < end + 4 + length:
            return
        status = int(self._data[9:12])
        del self._data[: end + 4 + length]
        done, self._done = self._done, None
        if done is not None:
            done(status)
        self._pool.release(self)

    def connection_lost(self, exc: Exception | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(0)
        self._pool.lost(self)


class Pool:
    """Connections to one server; requests wait for a free one."""

    def __init__(self) -> None:
        """Hold no connection yet."""
        self.free: deque[_Connection] = deque()
        self.waiting: deque[tuple[bytes, Callable[[int], None]]] = deque()

    async def open(self, url: str, connections: int) -> None:
        """Open the connections."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, protocol = await loop.create_connection(
                lambda: _Connection(self), parts.hostname or "127.0.0.1", parts.port or 80
            )
            self.free.append(protocol)

    def submit(self, data: bytes, done: Callable[[int], None]) -> None:
        """Send on a free connection, or as soon as there is one."""
        if self.free:
            self.free.popleft().send(data, done)
        else:
            self.waiting.append((data, done))

    def release(self, connection: _Connection) -> None:
        """Take back a connection whose answer came."""
        if self.waiting:
            connection.send(*self.waiting.popleft())
        else:
            self.free.append(connection)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that the server closed."""
        if connection in self.free:
            self.free.remove(connection)


def closed_loop(url: str, make: MakeRequest, *, connections: int, seconds: float) -> Result:
    """Keep every connection busy for so long; the first 10 % are warm-up and not counted."""
    return asyncio.run(_closed(url, make, connections, seconds))


def closed_list(url: str, requests: Sequence[bytes], *, connections: int) -> Result:
    """Send every request once, each connection one after the other; rate over the time it took."""
    return asyncio.run(_listed(url, requests, connections))


async def _listed(url: str, requests: Sequence[bytes], connections: int) -> Result:
    pool, result = Pool(), Result(seconds=0.0, offered=len(requests))
    await pool.open(url, connections)
    waiting, done = iter(requests), asyncio.Event()
    open_requests = 0
    began = time.perf_counter()

    def again() -> None:
        nonlocal open_requests
        data = next(waiting, None)
        if data is not None:
            open_requests += 1
            sent = time.perf_counter()
            pool.submit(data, lambda status: answered(status, sent))
        elif not open_requests:
            done.set()

    def answered(status: int, sent: float) -> None:
        nonlocal open_requests
        open_requests -= 1
        _count(result, status, time.perf_counter() - sent)
        again()

    for _ in range(connections):
        again()
    await asyncio.wait_for(done.wait(), LIST_S)
    result.seconds = time.perf_counter() - began
    return result


async def _closed(url: str, make: MakeRequest, connections: int, seconds: float) -> Result:
    pool, result, numbers = Pool(), Result(seconds=seconds), iter(range(1 << 60))
    await pool.open(url, connections)
    began = time.perf_counter()
    warm, end = began + seconds * 0.1, began + seconds * 1.1

    def again() -> None:
        sent = time.perf_counter()
        if sent < end:
            pool.submit(make(next(numbers)), lambda status: answered(status, sent))

    def answered(status: int, sent: float) -> None:
        now = time.perf_counter()
        if warm <= now < end:
            _count(result, status, now - sent)
        again()

    for _ in range(connections):
        again()
    await asyncio.sleep(end - time.perf_counter() + 0.5)
    return result


def open_loop(
    url: str, make: MakeRequest, *, rate: float, connections: int, seconds: float
) -> Result:
    """Send at a fixed mean rate whatever the server does; latency from the intended moment."""
    return asyncio.run(_open(url, make, rate, (connections, seconds)))


async def _open(url: str, make: MakeRequest, rate: float, size: tuple[int, float]) -> Result:
    connections, seconds = size
    pool, result = Pool(), Result(seconds=seconds)
    await pool.open(url, connections)
    began = time.perf_counter() + 0.1
    answered = 0

    def done(status: int, intended: float) -> None:
        nonlocal answered
        answered += 1
        _count(result, status, time.perf_counter() - intended)

    for number, moment in enumerate(_arrivals(rate, seconds)):
        intended = began + moment
        delay = intended - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        result.offered += 1
        pool.submit(make(number), lambda status, at=intended: done(status, at))  # type: ignore[misc]  # bound now
    deadline = time.perf_counter() + DRAIN_S
    while answered < result.offered and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    result.unanswered = result.offered - answered
    return result


def _arrivals(rate: float, seconds: float) -> Iterator[float]:
    drawn = random.Random(1)  # noqa: S311  the same arrivals in every run
    moment = drawn.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += drawn.expovariate(rate)


def _count(result: Result, status: int, latency_s: float) -> None:
    if 200 <= status < 300:
        result.latencies_s.append(latency_s)
    else:
        result.refused[status] = result.refused.get(status, 0) + 1


def post(path: str, body: object, *, token: str | None = None, key: str | None = None) -> bytes:
    """Return the bytes of a POST with a JSON body."""
    payload = json.dumps(body, separators=(",", ":")).encode()
    return _head("POST", path, token, key, len(payload)) + payload


def patch(path: str, body: object, *, token: str | None = None, tag: str = "*") -> bytes:
    """Return the bytes of a PATCH with If-Match."""
    payload = json.dumps(body, separators=(",", ":")).encode()
    head = _head("PATCH", path, token, None, len(payload))
    return head[:-2] + f"If-Match: {tag}\r\n\r\n".encode() + payload


def get(path: str, *, token: str | None = None) -> bytes:
    """Return the bytes of a GET."""
    return _head("GET", path, token, None, None)


def _head(method: str, path: str, token: str | None, key: str | None, length: int | None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Idempotency-Key: {key}"] if key else []
    lines += ["Content-Type: application/json", f"Content-Length: {length}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode()
