"""A deployment whose reads come from copies: up to TOY_AGE_MS old, declared as TOY_DECLARED_MS.

It is right where it declares what it does. It wraps the reference, whose options it takes:
`python -m tests.toys.reads_are_late init|serve ...`.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

FACTORY = "tests.toys.reads_are_late:application"
COPIED = ("/v1/accounts", "/v1/transactions", "/v1/growth")
AGE_S = float(os.environ.get("TOY_AGE_MS", "200")) / 1000
DECLARED_MS = int(os.environ.get("TOY_DECLARED_MS", "200"))

Answer = tuple[str, list[tuple[str, str]], list[bytes]]


class LateReads:
    """The WSGI application around the reference's."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        """Wrap an application."""
        self._inner = inner
        self._copies: dict[tuple[str, ...], tuple[float, Answer]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a read again as a moment ago, and everything else at once."""
        if environ["REQUEST_METHOD"] != "GET" or not environ["PATH_INFO"].startswith(COPIED):
            return self._send(self._ask(environ), start_response)
        names = ("PATH_INFO", "QUERY_STRING", "HTTP_AUTHORIZATION", "HTTP_IF_NONE_MATCH")
        key = tuple(environ.get(name, "") for name in names)
        now_s = time.monotonic()
        taken_s, answer = self._copies.get(key, (0.0, None))
        if answer is None or now_s - taken_s >= AGE_S or not answer[0].startswith("200"):
            answer = self._ask(environ)
            self._copies[key] = (now_s, answer)
        return self._send(answer, start_response)

    def _ask(self, environ: dict[str, Any]) -> Answer:
        told: list[Any] = []
        parts = self._inner(environ, lambda *head, **_: told.extend(head))
        try:
            content = list(parts)
        finally:
            getattr(parts, "close", lambda: None)()
        return told[0], told[1], content

    def _send(self, answer: Answer, start_response: Callable[..., Any]) -> list[bytes]:
        status, headers, content = answer
        start_response(status, list(headers))
        return content


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
