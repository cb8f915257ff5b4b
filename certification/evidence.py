"""The evidence file: JSON lines from header to footer, the only thing that scoring reads."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import shutil
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import msgspec

from certification.errors import EvidenceError, HarnessError, UsageError
from certification.evidence_lines import Limits, Line, Stream
from certification.model import (
    CaseResult,
    Exchange,
    Footer,
    Header,
    Incident,
    Json,
    LeftBehind,
    Measurement,
    ReportedCategory,
    TargetIdentity,
)
from certification.results import RecordedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")

EVIDENCE_FORMAT = "certification-evidence/1"

Record = Header | Exchange | CaseResult | Measurement | Incident | ReportedCategory | Footer

_KINDS: dict[str, type[Any]] = {
    "header": Header,
    "exchange": Exchange,
    "case": CaseResult,
    "measurement": Measurement,
    "incident": Incident,
    "reported_category": ReportedCategory,
    "footer": Footer,
}
_PREFIXES = {kind: f'{{"kind":"{kind}",'.encode() for kind in _KINDS}
_KIND_OF = {record: kind for kind, record in _KINDS.items()}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(record) for kind, record in _KINDS.items()
}
_ENCODER = msgspec.json.Encoder()


class _FormatOnly(msgspec.Struct):
    format: str


class _ExchangeKey(msgspec.Struct):
    check: str
    case: str
    attempt: int


_FORMAT_ONLY = msgspec.json.Decoder(_FormatOnly)
_EXCHANGE_KEY = msgspec.json.Decoder(_ExchangeKey)


def encode_line(record: Record) -> bytes:
    """Return the record as one line of evidence, with its newline.

    Text that is not Unicode (lone surrogates out of a hostile answer) is written with replacement
    characters. Raises HarnessError for a measurement that is not finite: JSON cannot hold it.
    """
    if isinstance(record, Measurement):
        numbers = (record.value, record.lower, record.upper)
        if any(number is not None and not math.isfinite(number) for number in numbers):
            raise HarnessError(f"{record.check}: measurement {record.name!r} is not finite")
    try:
        body = _ENCODER.encode(record)
    except UnicodeEncodeError:
        body = _ENCODER.encode(_printable(msgspec.to_builtins(record)))
    return _PREFIXES[_KIND_OF[type(record)]] + body[1:] + b"\n"


def record_to_json(record: Record) -> Json:
    """Return the record as the JSON object that stands in the file."""
    return cast("Json", msgspec.json.decode(encode_line(record)))


def record_from_json(document: Json) -> Record:
    """Read what `record_to_json` wrote; raises EvidenceError naming the field that does not fit."""
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise EvidenceError(f"record kind {kind!r} is not one of {', '.join(_KINDS)}")
    try:
        return cast("Record", msgspec.convert(document, _KINDS[kind]))
    except msgspec.ValidationError as error:
        raise EvidenceError(f"{kind} record: {error}") from error


class EvidenceWriter:
    """Appends records to `evidence.jsonl`, one write each: a killed run keeps its lines."""

    def __init__(self, path: Path) -> None:
        """Create the file; raises UsageError where there is one, HarnessError on I/O errors."""
        self.path = path
        self.records = 0
        self._sha256 = hashlib.sha256()
        self._size = 0
        taken = UsageError(f"{path}: there is evidence already", hint="choose another --out folder")
        if path.with_name(path.name + ".gz").exists():
            raise taken
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError as error:
            raise taken from error
        except OSError as error:
            raise _disk_error(path, error) from error

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file without a footer, unless `close` has been called."""
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one record; raises HarnessError on a full disk, with whole lines left behind."""
        self.write_line(encode_line(record))

    def write_line(self, line: bytes) -> None:
        """Append one line of `encode_line`, e.g. out of a worker's spool."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._drop_partial_line()
            raise _disk_error(self.path, error) from error
        self.records += 1
        self._size += len(line)
        self._sha256.update(line)

    def close(
        self,
        *,
        ended: str,
        ended_at: str,
        target: TargetIdentity | None = None,
        left_behind: tuple[LeftBehind, ...] = (),
        requests: int = 0,
    ) -> Path:
        """Write the footer and compress; return the path of `evidence.jsonl.gz`.

        The plain file goes only after the compressed one is on the disk. Raises HarnessError on a
        full disk; the plain file is then still there and readable.
        """
        footer = Footer(
            ended_at=ended_at,
            ended=ended,
            records=self.records,
            sha256=self._sha256.hexdigest(),
            target=target,
            left_behind=left_behind,
            requests=requests,
        )
        self.write(footer)
        try:
            with self._file:
                os.fsync(self._file.fileno())
            return _compress(self.path)
        except OSError as error:
            raise _disk_error(self.path, error) from error

    def _drop_partial_line(self) -> None:
        try:
            self._file.truncate(self._size)
            self._file.seek(self._size)
        except OSError:
            # The reader drops a partial last line too; this only spares it the sight.
            return


def read_run(path: Path, *, limits: Limits | None = None) -> RecordedRun:
    """Read an evidence file, plain or gzip, in one pass; exchanges are counted, not decoded.

    A file that ends early keeps its whole lines and gets `footer=None`. Raises EvidenceError for a
    file that was edited (digest or number of records), is of another format version, breaks the
    order header, records, footer, exceeds `limits`, or is not evidence.
    """
    limits = limits or Limits()
    stream = Stream(path, limits)
    kept: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    header: Header | None = None
    footer: Footer | None = None
    kept_bytes = 0
    for line in stream.lines():
        if header is None:
            header = _read_header(line)
            continue
        if footer is not None:
            raise line.error("a record stands after the footer")
        if line.kind == "exchange":
            continue
        if line.kind == "header":
            raise line.error("a second header")
        kept_bytes += len(line.text)
        if kept_bytes > limits.kept_bytes:
            raise line.error(f"more than {limits.kept_bytes} bytes besides the exchanges")
        record = _decode(line)
        if isinstance(record, Footer):
            footer = record
            _verify(line, footer)
        else:
            kept[line.kind].append(record)
    if header is None:
        raise EvidenceError(f"{path}: empty, or cut inside the header: there is nothing to judge")
    return RecordedRun(
        header=header,
        cases=tuple(kept["case"]),
        measurements=tuple(kept["measurement"]),
        incidents=tuple(kept["incident"]),
        reported=tuple(kept["reported_category"]),
        footer=footer,
        digest=stream.digest(),
    )


def iter_exchanges(
    path: Path, wanted: Callable[[str, str, int], bool] | None = None
) -> Iterator[Exchange]:
    """Yield the exchanges whose (check, case, attempt) is wanted, in the order of the file.

    A second pass for the report; it does not verify the footer: `read_run` did.
    """
    for line in Stream(path, Limits()).lines():
        if line.kind != "exchange":
            continue
        if wanted is not None:
            key = _guarded(line, _EXCHANGE_KEY)
            if not wanted(key.check, key.case, key.attempt):
                continue
        yield _guarded(line, _DECODERS["exchange"])


def _read_header(line: Line) -> Header:
    if line.kind != "header":
        raise line.error("the file does not begin with a header", hint="this is not evidence")
    found = _guarded(line, _FORMAT_ONLY).format
    if found != EVIDENCE_FORMAT:
        raise line.error(
            f"format {found!r}; this version reads {EVIDENCE_FORMAT!r}",
            hint="use the version of the runner that wrote the file",
        )
    return cast("Header", _guarded(line, _DECODERS["header"]))


def _decode(line: Line) -> Record:
    decoder = _DECODERS.get(line.kind)
    if decoder is None:
        raise line.error(f"record kind {line.kind!r} is not one of {', '.join(_KINDS)}")
    return cast("Record", _guarded(line, decoder))


def _guarded(line: Line, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(line.text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise line.error(f"not a {line.kind} record: {error}") from error


def _verify(line: Line, footer: Footer) -> None:
    if footer.records != line.number - 1:
        raise line.error(
            f"the footer counts {footer.records} records, the file has {line.number - 1}: edited"
        )
    if footer.sha256 != line.sha256_before:
        raise line.error("the digest in the footer is not that of the records: edited")


def _compress(plain: Path) -> Path:
    """Write `<plain>.gz` durably, without a time stamp so that equal bytes give equal files."""
    final = plain.with_name(plain.name + ".gz")
    partial = plain.with_name(plain.name + ".gz.partial")
    try:
        with plain.open("rb") as source, partial.open("wb") as sink:
            with gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0) as packed:
                shutil.copyfileobj(source, packed, 1 << 20)
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(final)
        folder = os.open(plain.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    plain.unlink()
    return final


def _disk_error(path: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"{path}: cannot be written: {error.strerror}",
        hint="free some space; the lines written before are kept and readable",
    )


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value
