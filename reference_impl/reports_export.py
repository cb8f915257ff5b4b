"""A report's files: rows written one at a time as CSV and as JSON, with digest and length."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - spreadsheets read the wide forms too
GUARD = "'"


def cell(value: Any) -> str:
    """Return a value as a CSV cell that no spreadsheet takes for a formula.

    Text that begins like one, white space aside, gets an apostrophe in front. Numbers are written
    as they are: they are made here, not by a user.
    """
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = str(value)
    begins = text.startswith(FORMULA_STARTS) or text.lstrip().startswith(FORMULA_STARTS)
    return GUARD + text if begins and not is_number(text) else text


def is_number(text: str) -> bool:
    """Tell whether text is a decimal as analytics writes them, and nothing more."""
    digits = text.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit()


class Sink:
    """A file that is complete or not there: written aside, synced, renamed at the end."""

    def __init__(self, path: Path) -> None:
        """Open the file beside the one it will become."""
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what was written."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in its place, or remove what there is of it."""
        if kind is None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


class Csv:
    """Rows as CSV (RFC 4180) with a header."""

    def __init__(self, sink: Sink, columns: Iterable[str]) -> None:
        """Write the header."""
        self._sink = sink
        self._columns = tuple(columns)
        self._buffer = io.StringIO()
        self._writer = csv.writer(self._buffer)
        self._put(self._columns)

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        """Append a row; a column that it lacks stays empty, `row` is its kind."""
        named = {"row": kind, **row}
        self._put([cell(named.get(name)) for name in self._columns])

    def _put(self, cells: Iterable[str]) -> None:
        self._writer.writerow(cells)
        self._sink.write(self._buffer.getvalue().encode())
        self._buffer.seek(0)
        self._buffer.truncate()


class Json:
    """One JSON object: the head's members, then the arrays `rows` and `totals`."""

    def __init__(self, sink: Sink, head: Mapping[str, Any]) -> None:
        """Write the head and open the first array."""
        self._sink = sink
        self._array = "rows"
        self._empty = True
        sink.write(msgspec.json.encode(head)[:-1] + b',"rows":[')

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        """Append a row; totals come last."""
        if kind == "total" and self._array == "rows":
            self._open_totals()
        self._sink.write((b"\n" if self._empty else b",\n") + msgspec.json.encode(row))
        self._empty = False

    def end(self) -> None:
        """Close what is open."""
        if self._array == "rows":
            self._open_totals()
        self._sink.write(b"]}\n")

    def _open_totals(self) -> None:
        self._sink.write(b'],"totals":[')
        self._array, self._empty = "totals", True
