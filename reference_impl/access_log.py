"""The access log: one JSON line a request, written by a thread of its own.

A line names the route's template and the principal's id; never a path, a query, a header, a body
or an address. A request that ends appends a tuple to a bounded queue and goes on: if whoever
reads the log is too slow, lines are lost and counted, and no request waits.
"""

import atexit
import collections
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from . import clock

WAITING_MAX = 20_000
FLUSH_S = 0.1
CHUNK_BYTES = 4096
"""Of several processes that write to one pipe, writes up to this length are not torn."""


class Entry(msgspec.Struct, frozen=True):
    """What is known of a request when it ends."""

    ended_s: float
    method: str
    route: str
    status: str
    seconds: float
    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    principal: str = ""
    expected: bool = False
    """A 5xx that is no fault: readiness of a server that is about to stop."""

    @property
    def level(self) -> str:
        """The level of its line."""
        return "error" if self.status[0] == "5" and not self.expected else "info"


def line(entry: Entry) -> bytes:
    """Render one line."""
    document = {
        "ts": clock.text(int(entry.ended_s * 1000)),
        "level": entry.level,
        "logger": "access",
        "message": "request",
        "method": entry.method,
        "route": entry.route,
        "status": int(entry.status),
        "duration_ms": round(entry.seconds * 1000, 3),
        "request_id": entry.request_id,
        "trace_id": entry.trace_id,
        "span_id": entry.span_id,
        "principal": entry.principal,
    }
    return msgspec.json.encode(document) + b"\n"


class AccessLog:
    """The queue and the thread that writes."""

    def __init__(
        self,
        write: Callable[[bytes], Any] | None = None,
        *,
        everything: bool,
        dropped: Callable[[], None] = lambda: None,
    ) -> None:
        """Write to standard error unless told otherwise; without `everything` only errors."""
        self._write = write or write_to_stderr
        self._everything = everything
        self._dropped = dropped
        self._waiting: collections.deque[Entry] = collections.deque()
        self._stop = threading.Event()
        self._flushing = threading.Lock()
        self._started = False

    def put(self, entry: Entry) -> None:
        """Take a line without waiting; the first one starts the thread."""
        if not self._everything and entry.level != "error":
            return
        if not self._started:
            self._start()
        if len(self._waiting) >= WAITING_MAX:
            self._dropped()
            return
        self._waiting.append(entry)

    def _start(self) -> None:
        with self._flushing:
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="access-log", daemon=True).start()
                atexit.register(self.close)

    def close(self) -> None:
        """Write what is waiting, and end."""
        self._stop.set()
        self.flush()

    def flush(self) -> None:
        """Write what is waiting now."""
        with self._flushing:
            chunk: list[bytes] = []
            size = 0
            while self._waiting:
                text = line(self._waiting.popleft())
                if size + len(text) > CHUNK_BYTES and chunk:
                    self._write(b"".join(chunk))
                    chunk, size = [], 0
                chunk.append(text)
                size += len(text)
            if chunk:
                self._write(b"".join(chunk))

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_S):
            try:
                self.flush()
            except OSError:  # nobody reads any more: the lines are lost, the server goes on
                time.sleep(FLUSH_S)


def write_to_stderr(content: bytes) -> None:
    """Write all of it to standard error."""
    while content:
        content = content[os.write(2, content) :]
