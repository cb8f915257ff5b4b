"""Numbers that the workers of one server count together: each in a file of its own, which it maps.

Counting is an addition in memory under a lock of the process; nothing is written by hand and
nothing is shared by two writers. Whoever scrapes adds up the files. The file of a worker that was
killed stays, and its successor goes on in it: so a counter never goes back and there are never
more files than workers. Which files are in use is told by a lock on them, which dies with its
owner; the gauges of a file without an owner do not count.

File: the length used so far (8 bytes), then records of: length of the key, number of values
(4 bytes each), the key as JSON, filled up with blanks to a multiple of 8, the values (doubles).
"""

import fcntl
import json
import mmap
import os
import struct
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CAPACITY = 1024 * 1024
FILES_MAX = 256
_WORD = 8
_HEAD = struct.Struct("=Q")
_SIZES = struct.Struct("=II")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one file holds of one series."""

    family: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    live: bool
    """Whether the file has an owner."""


class Store:
    """The numbers of this process."""

    def __init__(self, folder: Path | None) -> None:
        """Take a file in `folder` that nobody owns, or make one; without a folder, plain memory."""
        self._folder = folder
        self._descriptor = -1 if folder is None else _claim(folder)
        self._map = mmap.mmap(self._descriptor, CAPACITY)
        self._bytes = memoryview(self._map)
        self._numbers = self._bytes.cast("d")
        self._used: int = max(_HEAD.unpack_from(self._map)[0], _WORD)
        self._lock = threading.Lock()
        self._places: dict[tuple[str, tuple[str, ...]], int] = {
            (series.family, series.labels): place for place, series in _records(self._bytes, True)
        }

    def close(self) -> None:
        """Give the file to the next one."""
        self._numbers.release()
        self._bytes.release()
        self._map.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def place(self, family: str, labels: tuple[str, ...], values: int = 1) -> int:
        """Return where a series stands, made with zeros on its first use; 0 if all is full."""
        found = self._places.get((family, labels))
        if found is not None:  # nearly always; a dictionary is read without the lock
            return found
        with self._lock:
            found = self._places.get((family, labels))
            if found is None:
                found = self._append(family, labels, values)
            return found

    def _append(self, family: str, labels: tuple[str, ...], values: int) -> int:
        key = json.dumps([family, *labels]).encode()
        key += b" " * (-len(key) % _WORD)
        size = _SIZES.size + len(key) + values * _WORD
        if self._used + size > CAPACITY:
            return 0
        start = self._used
        _SIZES.pack_into(self._map, start, len(key), values)
        body = start + _SIZES.size
        self._bytes[body : body + len(key)] = key
        self._used = start + size
        _HEAD.pack_into(self._map, 0, self._used)  # last: until now no reader sees the record
        place = (body + len(key)) // _WORD
        self._places[family, labels] = place
        return place

    def add(self, place: int, amount: float) -> None:
        """Add to one number."""
        if place:
            with self._lock:
                self._numbers[place] += amount

    def add_two(self, place: int, other: int, amount: float) -> None:
        """Add 1 to one number and `amount` to another: what a histogram does."""
        if place:
            with self._lock:
                self._numbers[place] += 1.0
                self._numbers[other] += amount

    def put(self, place: int, value: float) -> None:
        """Set one number."""
        if place:
            self._numbers[place] = value

    def get(self, place: int) -> float:
        """Return one number of this process."""
        return float(self._numbers[place]) if place else 0.0

    def clear(self, families: Collection[str]) -> None:
        """Set all series of these families to zero: the gauges that a predecessor left."""
        for (family, _), place in self._places.items():
            if family in families:
                self.put(place, 0.0)

    def everything(self) -> Iterator[Series]:
        """Yield what every worker of the server has counted."""
        if self._folder is None:
            yield from (series for _, series in _records(self._bytes, True))
            return
        yield from read(self._folder)


def read(folder: Path) -> Iterator[Series]:
    """Yield what the files of a folder hold; for whoever has none of its own."""
    for path in sorted(folder.glob("metrics-*")):
        with path.open("rb") as file:
            live = _is_owned(file.fileno())
            used = _HEAD.unpack(file.read(_WORD))[0]
            content = bytes(_WORD) + file.read(max(used - _WORD, 0))
        yield from (series for _, series in _records(memoryview(content), live, len(content)))


def _claim(folder: Path) -> int:
    """Return the open file of this process, locked until the process ends."""
    for number in range(FILES_MAX):
        descriptor = os.open(
            folder / f"metrics-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if os.fstat(descriptor).st_size != CAPACITY:
            os.ftruncate(descriptor, CAPACITY)
        return descriptor
    raise OSError(f"{folder}: {FILES_MAX} workers count there already")


def _is_owned(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _records(
    content: memoryview, live: bool, used: int | None = None
) -> Iterator[tuple[int, Series]]:
    end = max(_HEAD.unpack_from(content)[0], _WORD) if used is None else used
    start = _WORD
    while start < end:
        key_bytes, values = _SIZES.unpack_from(content, start)
        body = start + _SIZES.size
        family, *labels = json.loads(bytes(content[body : body + key_bytes]))
        first = body + key_bytes
        numbers: Sequence[float] = struct.unpack_from(f"={values}d", content, first)
        yield (
            first // _WORD,
            Series(family=family, labels=tuple(labels), values=tuple(numbers), live=live),
        )
        start = first + values * _WORD
