"""A listening port with its connections: capped, timed out, closed and opened again at will."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from certification.counterparties.wire import (
    PROBLEM,
    Allowance,
    Refused,
    Reply,
    Request,
    RequestReader,
    head,
)

CHUNK_BYTES = 16 * 1024
BACKLOG = 1024
REQUEST_S = 15.0
"""From the first byte of a request to its last: a slow sender is cut."""
IDLE_S = 75.0
"""A connection that asks nothing for so long is closed."""
WRITE_S = 30.0
"""So long may a caller take to read an answer that no fault slows down."""
_LINGER_0 = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, as those who answer on it see it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: str
    host: str
    deadline_s: float
    """When the sweep cuts it; moved along by whoever works on it."""
    open: bool = True

    async def send(self, data: bytes) -> None:
        """Write and wait until the caller has room; `ConnectionError` where it is gone."""
        self.writer.write(data)
        await self.writer.drain()

    async def caller_left(self) -> None:
        """Read and drop until the caller closes; returns then."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while await self.reader.read(CHUNK_BYTES):
                pass

    async def flushed(self) -> None:
        """Wait until everything written has been handed to the kernel."""
        self.writer.transport.set_write_buffer_limits(high=0)
        await self.writer.drain()

    def reset(self) -> None:
        """Cut the connection with RST."""
        self.open = False
        held = self.writer.get_extra_info("socket")
        if held is not None:
            with contextlib.suppress(OSError):
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self.writer.transport.abort()


Application = Callable[[Connection, Request], Awaitable[bool]]
"""Answers one request; False ends the connection."""
OnGarbage = Callable[[Connection, Refused], None]


@dataclass(slots=True, eq=False)
class Port:
    """One port of ours. The guard holds it, so that closing the listener does not lose it."""

    guard: socket.socket
    application: Application
    on_garbage: OnGarbage
    allowance: Allowance
    body_max_bytes: int
    room: Allowance
    """Connections that ports sharing it may have."""
    connections: set[Connection] = field(default_factory=set)
    turned_away: int = 0
    """Connections over the cap."""
    _server: asyncio.Server | None = None

    @property
    def number(self) -> int:
        """The port's number."""
        number: int = self.guard.getsockname()[1]
        return number

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    async def listen(self) -> None:
        """Open the port."""
        if self._server is None:
            held = bound_socket(self.guard.getsockname()[0], self.number)
            # Not yet serving it is there at once: who opens or closes in between finds it, and no
            # second listener is left behind that a refusal would not close.
            self._server = await asyncio.start_server(
                self._serve, sock=held, backlog=BACKLOG, limit=CHUNK_BYTES, start_serving=False
            )
            await self._server.start_serving()

    def refuse(self) -> None:
        """Close the port and cut what is connected; new connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for connection in tuple(self.connections):
                connection.reset()

    def sweep(self, now_s: float) -> None:
        """Cut what is past its deadline."""
        for connection in tuple(self.connections):
            if now_s > connection.deadline_s:
                connection.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.room.take(1):
            self.turned_away += 1
            writer.transport.abort()
            return
        # A caller may be gone before it is looked at; then it has no address.
        address = writer.get_extra_info("peername") or ("gone", 0)
        connection = Connection(
            reader=reader,
            writer=writer,
            peer=f"{address[0]}:{address[1]}",
            host=str(address[0]),
            deadline_s=time.monotonic() + REQUEST_S,
        )
        self.connections.add(connection)
        parser = RequestReader(self.body_max_bytes, self.allowance)
        try:
            await self._converse(connection, parser)
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # The loop ends; a task that ends cancelled would be logged by asyncio's streams.
            pass
        finally:
            parser.release()
            self.room.give(1)
            self.connections.discard(connection)
            connection.open = False
            writer.close()

    async def _converse(self, connection: Connection, parser: RequestReader) -> None:
        while data := await connection.reader.read(CHUNK_BYTES):
            try:
                parser.feed(data)
            except Refused as refused:
                self.on_garbage(connection, refused)
                await _say(connection, refused)
                return
            if parser.expects_continue:
                parser.expects_continue = False
                await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            while parser.ready:
                request = parser.ready.popleft()
                connection.deadline_s = time.monotonic() + WRITE_S
                if not await self.application(connection, request) or not request.keep_alive:
                    return
            begun_s = parser.begun_s
            connection.deadline_s = (
                time.monotonic() + IDLE_S if begun_s is None else begun_s + REQUEST_S
            )


async def _say(connection: Connection, refused: Refused) -> None:
    connection.deadline_s = time.monotonic() + 2
    problem = {"type": "about:blank", "status": refused.status, "detail": refused.reason}
    reply = Reply(status=refused.status, media_type=PROBLEM, body=json.dumps(problem).encode())
    with contextlib.suppress(ConnectionError):
        await connection.send(head(reply, keep_alive=False) + reply.body)


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind without listening; several sockets of ours may hold one port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off only where the protocol is named.
    held = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    held.setblocking(False)
    return held
