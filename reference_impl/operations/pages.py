"""Images of the database file: taken beside running writers, stored whole or as changed pages.

A full backup holds the image. An incremental one holds the pages that differ from its base, each
as its number (4 bytes) and its content. With both goes an index: a 16 byte digest of every page of
the image, which is what the next incremental one is compared with.
"""

import hashlib
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from reference_impl import database

from .refused import BackupRefusedError

PAGE_BYTES = 4096
DIGEST_BYTES = 16
CHUNK_BYTES = 1024 * PAGE_BYTES
_NUMBER = struct.Struct(">I")


def snapshot(source: Path, image: Path) -> None:
    """Copy the book as it is at one commit; a single read, so writers go on.

    Raises sqlite3.Error or OSError, and then leaves a file that is of no use.
    """
    with (
        closing(database.connect(source, read_only=True)) as book,
        closing(sqlite3.connect(image, isolation_level=None)) as copy,
    ):
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        book.backup(copy, pages=-1)
    sync(image)


def open_image(image: Path) -> sqlite3.Connection:
    """Open an image that nobody else writes, for reading; leaves no file beside it."""
    connection = sqlite3.connect(
        f"file:{image}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def open_copy(image: Path) -> sqlite3.Connection:
    """Open an image to change it: a copy that is thrown away if anything fails."""
    connection = sqlite3.connect(image, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in (
        "journal_mode = MEMORY",
        "synchronous = OFF",
        "temp_store = MEMORY",
        "cache_size = -65536",
        "trusted_schema = OFF",
        "recursive_triggers = ON",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def write_index(image: Path, index: Path) -> None:
    """Write the digest of every page."""
    with image.open("rb") as file, index.open("wb") as out:
        while chunk := file.read(CHUNK_BYTES):
            out.write(b"".join(_digests(chunk)))


def write_changes(image: Path, index: Path, changes: Path, base_index: Path | None) -> None:
    """Write the index, and the pages that differ from those of a base; without one, all of them."""
    known = base_index.read_bytes() if base_index else b""
    number = 0
    with image.open("rb") as file, index.open("wb") as digests, changes.open("wb") as out:
        while chunk := file.read(CHUNK_BYTES):
            for place, digest in enumerate(_digests(chunk)):
                start = number * DIGEST_BYTES
                if known[start : start + DIGEST_BYTES] != digest:
                    page = chunk[place * PAGE_BYTES : (place + 1) * PAGE_BYTES]
                    out.write(_NUMBER.pack(number) + page)
                digests.write(digest)
                number += 1


def _digests(chunk: bytes) -> Iterator[bytes]:
    for start in range(0, len(chunk), PAGE_BYTES):
        page = chunk[start : start + PAGE_BYTES]
        yield hashlib.blake2b(page, digest_size=DIGEST_BYTES).digest()


def apply_changes(changes: Path, image: Path, pages: int) -> None:
    """Put changed pages into the image of the base, and give it its length.

    Raises BackupRefusedError for a record that is cut short or lies outside.
    """
    mode = "r+b" if image.exists() else "w+b"
    with changes.open("rb") as file, image.open(mode) as out:
        for number, page in _records(file, changes.name):
            if number >= pages:
                raise BackupRefusedError(f"{changes.name}: page {number} of {pages} cannot be")
            out.seek(number * PAGE_BYTES)
            out.write(page)
        out.truncate(pages * PAGE_BYTES)


def _records(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    while head := file.read(_NUMBER.size):
        page = file.read(PAGE_BYTES)
        if len(head) < _NUMBER.size or len(page) < PAGE_BYTES:
            raise BackupRefusedError(f"{name}: ends within a page")
        yield _NUMBER.unpack(head)[0], page


def copy(source: Path, target: Path) -> None:
    """Copy a file, by the kernel where it can."""
    shutil.copyfile(source, target)


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: bytes) -> str:
    """Return the digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
