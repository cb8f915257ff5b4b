"""Every exchange is written down before it is sent and once it is over, redacted and capped."""

import base64
import threading
from collections.abc import Callable
from typing import Protocol

from certification.model import CheckId, Exchange
from certification.target.redaction import KnownSecrets, redact

TEXT_MAX_CHARS = 16 * 1024
"""Of a body in evidence; a longer one is cut and says so."""
_LOOK_AHEAD_CHARS = 8 * 1024
"""Redacted beyond the cut, so that no half of a secret stays before it."""


class Sink(Protocol):
    """Where exchanges go; the runner's check context is one. Called from several threads."""

    def place(self) -> tuple[CheckId, str, int, int]:
        """Return (check, case, attempt, number) for the next exchange; the number rises by one."""
        ...

    def sending(self, exchange: Exchange) -> None:
        """Take the request before it goes out; a crash leaves at least this behind."""
        ...

    def answered(self, exchange: Exchange) -> None:
        """Take the whole exchange."""
        ...


class Recorder:
    """A `Sink` that numbers the exchanges of one attempt and hands them to functions."""

    def __init__(
        self,
        *,
        check: CheckId,
        case: str = "-",
        attempt: int = 1,
        write: Callable[[Exchange], None] = lambda _: None,
        announce: Callable[[Exchange], None] = lambda _: None,
    ) -> None:
        """Give `announce` each request before it is sent and `write` each whole exchange."""
        self._place = (check, case, attempt)
        self._write = write
        self._announce = announce
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Exchanges begun so far."""
        return self._count

    def place(self) -> tuple[CheckId, str, int, int]:
        """Take the next number."""
        with self._lock:
            self._count += 1
            return (*self._place, self._count)

    def sending(self, exchange: Exchange) -> None:
        """Announce under the lock: a spool file is one stream."""
        with self._lock:
            self._announce(exchange)

    def answered(self, exchange: Exchange) -> None:
        """Write under the lock."""
        with self._lock:
            self._write(exchange)


def body_text(body: bytes | None, known: KnownSecrets) -> str | None:
    """Return what evidence holds of a body: redacted text, cut to `TEXT_MAX_CHARS`.

    Bytes that are not UTF-8 are shown as base64 after known secrets were taken out of them.
    """
    if not body:
        return None if body is None else ""
    window = body[: 4 * (TEXT_MAX_CHARS + _LOOK_AHEAD_CHARS)]
    try:
        text = _decode(window, whole=len(window) == len(body))
    except UnicodeDecodeError:
        shown = redact(window.decode("latin-1"), known).encode("latin-1")
        encoded = base64.b64encode(shown[: TEXT_MAX_CHARS // 4 * 3]).decode()
        return f"[{len(body)} bytes, not UTF-8, base64] {encoded}"
    redacted = redact(text[: TEXT_MAX_CHARS + _LOOK_AHEAD_CHARS], known)
    if len(redacted) <= TEXT_MAX_CHARS and len(window) == len(body):
        return redacted
    return f"{redacted[:TEXT_MAX_CHARS]} [cut; {len(body)} bytes in all]"


def _decode(window: bytes, *, whole: bool) -> str:
    if whole:
        return window.decode()
    for trimmed in range(4):
        # A cut can split a character of up to four bytes.
        try:
            return window[: len(window) - trimmed].decode()
        except UnicodeDecodeError:
            continue
    return window.decode()
