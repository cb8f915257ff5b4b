"""A deployment that reads from replicas: up to TOY_AGE_MS old, declared as TOY_DECLARED_MS.

It is right where it declares what it does: a read shows all objects as they were a moment ago, one
that was just made is not there, and who may ask is judged at once. With TOY_PARTLY, entries and
what a replica lacks are read from the book. It wraps the reference, whose options it takes:
`python -m tests.toys.reads_are_late init|serve ...`.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

FACTORY = "tests.toys.reads_are_late:application"
AGE_S = float(os.environ.get("TOY_AGE_MS", "200")) / 1000
PARTLY = bool(os.environ.get("TOY_PARTLY"))
DECLARED_MS = int(os.environ.get("TOY_DECLARED_MS", "200"))
MOMENTS = 8
"""So many within the age: a read is at least seven eighths as old as it may be."""

Answer = tuple[str, list[tuple[str, str]], list[bytes]]

ASKING = threading.local()
"""`past` is what the request of this thread reads from; without it, the book itself."""


class Past:
    """The book as it was at one moment: a connection that stays in its first transaction."""

    def __init__(self, connection: Any) -> None:
        """Keep this moment."""
        self.taken_s = time.monotonic()
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM meta").fetchone()
        self._connection = connection

    def execute(self, statement: str, *values: Any) -> Any:
        """Run a query; a reader's own transaction is part of this one."""
        begins_or_ends = statement in {"BEGIN", "ROLLBACK"}
        return self._connection.execute("SELECT 1" if begins_or_ends else statement, *values)

    def __getattr__(self, name: str) -> Any:
        """Be the connection otherwise."""
        return getattr(self._connection, name)


class LateReads:
    """The WSGI application around the reference's."""

    def __init__(self, inner: Any) -> None:
        """Begin to keep moments of the book."""
        self._inner = inner
        self._moments: deque[Past] = deque(maxlen=MOMENTS + 2)
        threading.Thread(target=self._keep, daemon=True).start()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a read from the past, and everything else from the book."""
        late = environ["REQUEST_METHOD"] == "GET"
        if PARTLY and environ["PATH_INFO"].endswith("/entries"):
            late = False
        status, headers, content = self._ask(environ, self._oldest() if late else None)
        if PARTLY and late and status.startswith("404"):
            status, headers, content = self._ask(environ, None)
        start_response(status, headers)
        return content

    def _ask(self, environ: dict[str, Any], past: Past | None) -> Answer:
        told: list[Any] = []
        ASKING.past = past
        parts = self._inner(environ, lambda *head, **_: told.extend(head))
        try:
            content = list(parts)
        finally:
            ASKING.past = None
            getattr(parts, "close", lambda: None)()
        return told[0], told[1], content

    def _keep(self) -> None:
        database: Any = importlib.import_module("reference_impl.database")
        path = self._inner.extensions["alluse"].settings.database
        while True:
            self._moments.append(Past(database.connect(path, read_only=True)))
            time.sleep(AGE_S / MOMENTS)

    def _oldest(self) -> Past | None:
        now_s = time.monotonic()
        return next((past for past in list(self._moments) if now_s - past.taken_s < AGE_S), None)


def read_late() -> None:
    """Let every read but that of the caller's rights go where `ASKING` says."""
    database: Any = importlib.import_module("reference_impl.database")
    web: Any = importlib.import_module("reference_impl.web")
    get, authenticate = database.Readers.get, web.authenticate

    def get_late(readers: Any) -> Any:
        past = getattr(ASKING, "past", None)
        return get(readers) if past is None else past

    def authenticate_now(token: str) -> Any:
        past, ASKING.past = getattr(ASKING, "past", None), None
        try:
            return authenticate(token)
        finally:
            ASKING.past = past

    database.Readers.get, web.authenticate = get_late, authenticate_now


def declare() -> None:
    """Put the bound into the capability document."""
    capability: Any = importlib.import_module("reference_impl.capability")
    original = capability.document

    def document(shared: Any) -> dict[str, Any]:
        consistency = {"read_your_writes": {"bounded_ms": DECLARED_MS}, "growth": "atomic"}
        return {**original(shared), "consistency": consistency}

    capability.document = document


def application() -> LateReads:
    """Build the application in a worker."""
    declare()
    read_late()
    app: Any = importlib.import_module("reference_impl.app")
    return LateReads(app.create_app())


def main() -> None:
    """Run the reference's command with this application."""
    serving: Any = importlib.import_module("reference_impl.serving")
    command: Any = importlib.import_module("reference_impl.__main__")
    serving.serve = functools.partial(serving.serve, factory=FACTORY)
    command.main(sys.argv[1:])


if __name__ == "__main__":
    main()
