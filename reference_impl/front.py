"""The door between the WSGI server and the application: the body is read, then a turn is taken.

A client that sends slowly keeps nobody waiting, because its thread has no turn while it reads. A
short body is taken in whole before the turn; of a longer one each piece is read away from the turn.
"""

import io
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from .config import BODY_BYTES_MAX
from .turns import TURNS

READ = "alluse.body"
"""Key of the environment with the body, where it was read."""
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Away(io.RawIOBase):
    """A stream that is read while others have their turn."""

    def __init__(self, inner: BinaryIO) -> None:
        """Read from `inner`."""
        self._inner = inner

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        with TURNS.away():
            return self._inner.read(size)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line."""
        with TURNS.away():
            return self._inner.readline(-1 if size is None else size)


def in_turns(application: Application) -> Application:
    """Return the application with each request in its turn."""

    def run(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        open_body(environ)
        TURNS.take()
        try:
            return application(environ, start_response)
        finally:
            TURNS.give_back()

    return run


def open_body(environ: dict[str, Any]) -> None:
    """Put the stream of the body in place; a short body is read and lies under `READ`."""
    stream, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH", "")
    if length.isdecimal() and int(length) <= BODY_BYTES_MAX:
        body = stream.read(int(length))
    elif length or "HTTP_TRANSFER_ENCODING" in environ or environ["SERVER_PROTOCOL"] >= "HTTP/2":
        environ["wsgi.input"] = Away(stream)
        return
    else:
        body = b""
    environ[READ] = body
    environ["wsgi.input"] = io.BytesIO(body)
