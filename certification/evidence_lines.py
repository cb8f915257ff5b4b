"""Split an evidence file, plain or gzip, into whole lines within bounds of time and memory."""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from certification.errors import EvidenceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 18
_KIND = re.compile(rb'\{\s*"kind"\s*:\s*"([a-z_]{1,40})"\s*,')


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may ask of its reader, so that a bomb ends in a message."""

    line_bytes: int = 16 << 20
    """Of one line: the header of a thousand checks is about a megabyte."""
    total_bytes: int = 2 << 30
    """Uncompressed."""
    kept_bytes: int = 256 << 20
    """Of the records that stay in memory: all but the exchanges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One whole line."""

    path: Path
    number: int
    """1-based."""
    kind: str
    text: bytes
    """Without its newline."""
    sha256_before: str
    """Digest of everything before this line; only filled for a footer."""

    def error(self, problem: str, *, hint: str | None = None) -> EvidenceError:
        """Build the error that names file and line."""
        return EvidenceError(f"{self.path}: line {self.number}: {problem}", hint=hint)


class Stream:
    """One pass over a file; a partial last line is hashed and dropped."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Prepare to read `path`; nothing is opened yet."""
        self._path = path
        self._limits = limits
        self._sha256 = hashlib.sha256()

    def digest(self) -> str:
        """Return the SHA-256 over all uncompressed bytes seen so far."""
        return self._sha256.hexdigest()

    def lines(self) -> Iterator[Line]:
        """Yield the whole lines; raises EvidenceError on damage and beyond the limits."""
        number, pending = 0, b""
        for chunk in self._bounded():
            *whole, pending = (pending + chunk).split(b"\n")
            for text in whole:
                number += 1
                yield self._line(number, text)
                self._sha256.update(text)
                self._sha256.update(b"\n")
            if len(pending) > self._limits.line_bytes:
                raise EvidenceError(
                    f"{self._path}: line {number + 1}: longer than {self._limits.line_bytes} bytes"
                )
        self._sha256.update(pending)

    def _line(self, number: int, text: bytes) -> Line:
        match = _KIND.match(text)
        if match is None:
            raise EvidenceError(
                f"{self._path}: line {number}: not a record", hint="this is not an evidence file"
            )
        kind = match.group(1).decode("ascii")
        before = self._sha256.hexdigest() if kind == "footer" else ""
        return Line(path=self._path, number=number, kind=kind, text=text, sha256_before=before)

    def _bounded(self) -> Iterator[bytes]:
        total = 0
        try:
            with self._path.open("rb") as file:
                packed = file.read(2) == _GZIP_MAGIC
                file.seek(0)
                for chunk in (
                    _unpacked(file) if packed else iter(partial(file.read, _CHUNK_BYTES), b"")
                ):
                    total += len(chunk)
                    if total > self._limits.total_bytes:
                        raise EvidenceError(
                            f"{self._path}: more than {self._limits.total_bytes} bytes of records"
                        )
                    yield chunk
        except OSError as error:
            raise EvidenceError(f"{self._path}: cannot be read: {error.strerror}") from error
        except zlib.error as error:
            raise EvidenceError(
                f"{self._path}: the compressed data are damaged: {error}"
            ) from error


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Inflate one gzip member in bounded steps; where it was cut, end quietly with what there was.

    `gzip.GzipFile` throws away what it read in the call that meets the cut.
    """
    inflater = zlib.decompressobj(wbits=31)
    while compressed := file.read(_CHUNK_BYTES):
        while compressed and not inflater.eof:
            yield inflater.decompress(compressed, _CHUNK_BYTES)
            compressed = inflater.unconsumed_tail
        if inflater.eof and (inflater.unused_data or file.read(1)):
            raise zlib.error("bytes after the end of the stream")
    if not inflater.eof:
        yield inflater.flush()
