"""What a simulator saw and did: bounded in memory for questions, bounded on disk for the record."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

BODY_SHOWN_BYTES = 4096
"""Longer bodies are in the journal by digest and length only."""
ENTRIES_MAX = 20_000
MEMORY_MAX_BYTES = 32 * 1024 * 1024
DISK_MAX_BYTES = 64 * 1024 * 1024
"""Of one counterparty: two files of half the size, the older of which is dropped."""
ENTRY_BYTES, DECODED = 1500, 6
"""What an entry takes besides its body, and how much larger a decoded body is, roughly."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request to a counterparty, or one callback from it."""

    n: int
    """From 1, in the order of arrival; also over a reset."""
    counterparty: str
    direction: str = "in"
    """`in` for what the deployment called, `callback` for what was sent to it."""
    caller: str
    """X-Instance-Id, else the address without its port."""
    peer: str
    """Address and port: tells connections apart."""
    method: str
    path: str
    """With its query, at most 500 characters."""
    operation: str | None
    key: str | None
    """Idempotency-Key without quotes; of a callback its webhook-id."""
    traceparent: str | None
    body_bytes: int = 0
    body_sha256: str | None = None
    body: Any = None
    """Decoded, where it is JSON of at most 4,096 bytes."""
    arrived_at: str
    arrived_s: float
    """Monotonic, of the simulators' machine."""
    in_flight: int = 1
    """Requests that this counterparty was answering, this one included."""
    fault: str | None = None
    fault_id: int | None = None
    violations: list[str] = field(default_factory=list)
    """Where the request does not follow the outbound contract."""
    effect: bool = False
    """Whether the request was carried out, also if its answer was lost."""
    replayed: bool = False
    status: int | None = None
    """Of the answer; None where none was begun."""
    done_s: float | None = None
    """When the last byte was written or the caller gave up; None while it goes on."""
    end: str = "open"
    """`open`, `answered`, `caller_gone` or `cut` (by a fault)."""

    def document(self) -> dict[str, Any]:
        """Return the entry as JSON has it."""
        return {name: getattr(self, name) for name in NAMES}


NAMES = tuple(row.name for row in fields(Entry))


def wall_time() -> str:
    """Return now as the journal writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _weight(entry: Entry) -> int:
    kept = entry.body_bytes if entry.body_bytes <= BODY_SHOWN_BYTES else 0
    return ENTRY_BYTES + DECODED * kept


class Journal:
    """The journal of one counterparty. Only the simulators' own thread touches it."""

    def __init__(self, file: Path, *, disk_max_bytes: int = DISK_MAX_BYTES) -> None:
        """Write to `file` and `file.1`, which together stay within `disk_max_bytes`."""
        self._file = file
        self._half_bytes = disk_max_bytes // 2
        self._sink: IO[bytes] | None = None
        self._written = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._flushed_s = 0.0
        self.count = 0
        """Entries ever, the number of the last one."""
        self.violations = 0
        """Requests ever that did not follow the contract."""
        self.last_arrival_at: str | None = None
        self.lost_on_disk = 0
        """Lines that could not be written, e.g. on a full disk."""

    def open(self, entry: Entry) -> None:
        """Take an entry in at its arrival; its number is given here."""
        self.count += 1
        entry.n = self.count
        if entry.direction == "in":
            self.last_arrival_at = entry.arrived_at
        self._entries.append(entry)
        self._bytes += _weight(entry)
        while len(self._entries) > ENTRIES_MAX or self._bytes > MEMORY_MAX_BYTES:
            self._bytes -= _weight(self._entries.popleft())

    def close(self, entry: Entry, end: str) -> None:
        """Write an entry that has ended; once, however often it is called."""
        if entry.done_s is not None:
            return
        entry.done_s, entry.end = time.monotonic(), end
        if entry.violations:
            self.violations += 1
        line = json.dumps(entry.document(), ensure_ascii=True, separators=(",", ":")).encode()
        try:
            self._write(line + b"\n")
        except OSError:
            self.lost_on_disk += 1

    def since(self, number: int) -> Iterator[Entry]:
        """Yield the entries in memory with a higher number, oldest first."""
        return (entry for entry in self._entries if entry.n > number)

    @property
    def first_kept(self) -> int:
        """Number of the oldest entry in memory; what is older is on disk at most."""
        return self._entries[0].n if self._entries else self.count + 1

    def forget(self) -> None:
        """Drop what is in memory; numbers go on and the files stay."""
        self._entries.clear()
        self._bytes = 0
        self.violations = 0

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        if self._sink is not None:
            with contextlib.suppress(OSError):
                self._sink.flush()

    def end(self) -> None:
        """Write what is still open and close the file."""
        for entry in self._entries:
            self.close(entry, "cut")
        if self._sink is not None:
            with contextlib.suppress(OSError):
                self._sink.close()
            self._sink = None

    def _write(self, line: bytes) -> None:
        if self._sink is None:
            self._sink = self._file.open("ab")
            self._written = self._sink.tell()
        if self._written + len(line) > self._half_bytes:
            self._sink.close()
            self._file.replace(self._file.with_name(self._file.name + ".1"))
            self._sink = self._file.open("wb")
            self._written = 0
        self._sink.write(line)
        self._written += len(line)
