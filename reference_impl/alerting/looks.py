"""The looks of the evaluator, left in the server's folder: whoever judges next goes on from them.

A worker that dies, or that loses its lease while nobody can write, may be the one that judged;
what happened just then is what an alert is needed for. Its successor finds here what the counters
were before. The folder lasts as long as the counters do, which are in it as well.

A line for each look. What is older than the longest window goes with the file before the last.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from .history import Seen
from .terms import Labels

_log = logging.getLogger(__name__)


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One look: when (s), what was seen, and since when (ms) rules hold that do not fire yet."""

    at: float
    seen: tuple[tuple[tuple[Labels, float], ...] | None, ...]
    """For each selector its sums, or None if its name was not there."""
    pending: tuple[tuple[str, Labels, int], ...]


_DECODER = msgspec.json.Decoder(Line)


def line(at: float, seen: Seen, pending: Mapping[tuple[str, Labels], int]) -> Line:
    """Return a look as it is kept."""
    return Line(
        at=at,
        seen=tuple(None if sums is None else tuple(sums.items()) for sums in seen),
        pending=tuple((name, labels, since) for (name, labels), since in pending.items()),
    )


class Looks:
    """The files of the looks; without a folder, nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        """Know of no look."""
        self._files = None if folder is None else (folder / "looks-before", folder / "looks")
        self._known: tuple[int, int] | None = None
        self._first_s: float | None = None

    def changed(self) -> bool:
        """Tell whether another worker has looked since this one did, or began anew."""
        return self._state() != self._known

    def read(self) -> Iterator[Line]:
        """Yield all looks, oldest first; one that came late, after a later one, is left out."""
        self._known, last_s = self._state(), 0.0
        for path in self._files or ():
            self._first_s = None
            for text in _lines(path):
                try:
                    found = _DECODER.decode(text)
                except msgspec.DecodeError:  # its writer was killed in the middle of it
                    continue
                self._first_s = self._first_s or found.at
                if found.at > last_s:
                    last_s = found.at
                    yield found

    def add(self, look: Line, keep_s: float) -> None:
        """Keep one more; those before it for at least so many seconds."""
        if self._files is None:
            return
        before, path = self._files
        try:
            if self._first_s is not None and look.at - self._first_s > keep_s:
                path.rename(before)
                self._first_s = None
            with path.open("ab", buffering=0) as file:  # one write: lines of two do not mix
                file.write(b"\n" + msgspec.json.encode(look))
        except OSError as error:  # judging goes on: a full disk is what alerts are for
            _log.info("a look could not be kept: %s", error)
        self._first_s = self._first_s or look.at
        self._known = self._state()

    def begin_anew(self) -> None:
        """Forget all looks."""
        for path in self._files or ():
            path.unlink(missing_ok=True)
        self._known = self._first_s = None

    def _state(self) -> tuple[int, int] | None:
        if self._files is None:
            return None
        try:
            found = self._files[1].stat()
        except OSError:
            return None
        return found.st_ino, found.st_size


def _lines(path: Path) -> list[bytes]:
    try:
        return [text for text in path.read_bytes().split(b"\n") if text]
    except OSError:
        return []
