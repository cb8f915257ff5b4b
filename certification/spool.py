"""The append-only files that check processes write; the runner alone merges them into evidence.

One file per process, so that no two writers share one; a line is written with a single `write` and
survives the death of its process.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certification.errors import HarnessError
from certification.evidence import encode_line, record_from_json
from certification.model import (
    CaseResult,
    CheckId,
    Exchange,
    Incident,
    Json,
    Measurement,
    Outcome,
)

CREATED_FILE = "created"
ATTEMPTS_END = 1 << 30
"""Sorts a case's outcome behind the exchanges of all its attempts."""
STOP_FILE = "stop"
"""Its presence in the shared folder tells every worker to start nothing more; holds the reason."""


@dataclass(slots=True)
class Spool:
    """The spool file of this process."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _fd: int = -1

    def append(self, kind: str, fields: Json) -> None:
        """Append one line; raises `HarnessError` when the disk takes no more."""
        line = json.dumps({"kind": kind, **fields}, ensure_ascii=True, separators=(",", ":"))
        self._write(line.encode() + b"\n")

    def record(self, record: CaseResult | Measurement | Incident | Exchange) -> None:
        """Append a record that goes into the evidence as it is."""
        self._write(encode_line(record))

    def _write(self, data: bytes) -> None:
        with self._lock:
            try:
                if self._fd < 0:
                    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                    self._fd = os.open(self.path, flags, 0o600)
                written = os.write(self._fd, data)
            except OSError as error:
                raise HarnessError(f"{self.path}: cannot be written: {error.strerror}") from error
        if written != len(data):
            raise HarnessError(f"{self.path}: cannot be written: the disk is full")

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


@dataclass(slots=True)
class SpoolSink:
    """Numbers the exchanges of the case that runs now and spools them, before and after each."""

    spool: Spool
    check: CheckId
    case: str = "-"
    attempt: int = 1
    count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, check: CheckId, case: str, attempt: int) -> None:
        """Start numbering for a case's attempt."""
        with self._lock:
            self.check, self.case, self.attempt, self.count = check, case, attempt, 0
        self.spool.append("started", {"check": check, "case": case, "attempt": attempt})

    def place(self) -> tuple[CheckId, str, int, int]:
        """Return (check, case, attempt, number) of the next exchange."""
        with self._lock:
            self.count += 1
            return self.check, self.case, self.attempt, self.count

    def sending(self, exchange: Exchange) -> None:
        """Spool what is about to be sent: all that is left of it if this process dies now."""
        self.spool.append(
            "sending",
            {
                "check": exchange.check,
                "case": exchange.case,
                "attempt": exchange.attempt,
                "number": exchange.number,
                "method": exchange.method,
                "url": exchange.url,
            },
        )

    def answered(self, exchange: Exchange) -> None:
        """Spool the whole exchange."""
        self.spool.record(exchange)


def lines(folder: Path) -> Iterator[Json]:
    """Yield every whole line of every spool file; a last line cut by a crash is left out."""
    for file in sorted(folder.glob("*.jsonl")):
        with file.open("rb") as source:
            for raw in source:
                if raw.endswith(b"\n"):
                    yield json.loads(raw)


def tail(folder: Path, offsets: dict[Path, int]) -> tuple[list[CaseResult], bool]:
    """Return the cases spooled since the last call, and whether anything at all was.

    `offsets` is the caller's memory of how far each file was read; it is brought forward here.
    """
    cases: list[CaseResult] = []
    alive = False
    for file in folder.glob("*.jsonl"):
        with file.open("rb") as source:
            source.seek(offsets.get(file, 0))
            for raw in source:
                if not raw.endswith(b"\n"):
                    break
                alive = True
                offsets[file] = offsets.get(file, 0) + len(raw)
                if raw.startswith(b'{"kind":"case"'):
                    record = record_from_json(json.loads(raw))
                    if isinstance(record, CaseResult):
                        cases.append(record)
    return cases, alive


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a phase's spools hold, in the order (check, case, attempt, number)."""

    records: tuple[Exchange | CaseResult | Measurement | Incident, ...]
    requests: int


def merge(folder: Path, planned: Sequence[CheckId], *, cut_short: str | None = None) -> Merged:
    """Merge the spools of one phase.

    A case that started and never ended is ERROR, or NOT_EXERCISED where the runner itself cut the
    phase short. A planned check without any case is left out: the runner books it.
    """
    exchanges: list[Exchange] = []
    cases: dict[tuple[str, str], CaseResult] = {}
    others: list[Measurement | Incident] = []
    started: dict[tuple[str, str], Json] = {}
    sending: dict[tuple[Any, ...], Json] = {}
    for line in lines(folder):
        match line["kind"]:
            case "started":
                started[line["check"], line["case"]] = line
            case "sending":
                sending[_place(line)] = line
            case _:
                record = record_from_json(line)
                if isinstance(record, Exchange):
                    sending.pop(_place(line), None)
                    exchanges.append(record)
                elif isinstance(record, CaseResult):
                    cases[record.check, record.case] = record
                elif isinstance(record, Measurement | Incident):
                    others.append(record)
    exchanges += [_unanswered(line) for line in sending.values()]
    crashed = [_unended(line, cut_short) for where, line in started.items() if where not in cases]
    order = {check: index for index, check in enumerate(planned)}

    def place(record: Exchange | CaseResult) -> tuple[int, str, int, int]:
        first = order.get(record.check, len(order)), record.case
        if isinstance(record, CaseResult):
            return *first, ATTEMPTS_END, 0
        return *first, record.attempt, record.number

    whole: list[Exchange | CaseResult] = [*exchanges, *cases.values(), *crashed]
    return Merged(
        records=(*sorted(whole, key=place), *others),
        requests=len(exchanges),
    )


def append_created(shared: Path, kind: str, object_id: str, owner: str) -> None:
    """Book an object that a check made; lines this short are appended whole by every process."""
    line = json.dumps([kind, object_id, owner]) + "\n"
    with (shared / CREATED_FILE).open("a", encoding="utf-8") as file:
        file.write(line)


def read_created(shared: Path) -> tuple[tuple[str, str, str], ...]:
    """Return (kind, id, owner's role) of every object that the run's checks made so far."""
    try:
        text = (shared / CREATED_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    rows = (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return tuple((str(kind), str(object_id), str(owner)) for kind, object_id, owner in rows)


def _place(line: Json) -> tuple[Any, ...]:
    return line["check"], line["case"], line["attempt"], line["number"]


def _unanswered(line: Json) -> Exchange:
    return Exchange(
        check=line["check"],
        case=line["case"],
        attempt=line["attempt"],
        number=line["number"],
        identity="unknown",
        operation=None,
        method=line["method"],
        url=line["url"],
        request_headers=(),
        request_body=None,
        started_at="",
        elapsed_ms=0.0,
        error="the check's process ended before an answer was recorded",
    )


def _unended(line: Json, cut_short: str | None) -> CaseResult:
    outcome = Outcome.NOT_EXERCISED if cut_short else Outcome.ERROR
    ended = "the process that ran the check ended before the check did"
    return CaseResult(
        check=line["check"],
        case=line["case"],
        outcome=outcome,
        reason=f"run cut short: {cut_short}" if cut_short else ended,
        attempts=(outcome,),
    )
