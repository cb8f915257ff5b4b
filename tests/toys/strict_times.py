"""A deployment with little patience and a clock of its own, right where it declares what it does.

Its clock is nearly two seconds behind, as its Date header says in whole seconds; tokens live for
some seconds; a one-time code counts in its own short step only. It wraps the reference, whose
options it takes: `python -m tests.toys.strict_times init|serve ...`.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any

FACTORY = "tests.toys.strict_times:application"
BEHIND_S = 1.9
TOKENS_S = 5
STEP_S = 10


class Behind:
    """The clock of the deployment."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        return int((time.time() - BEHIND_S) * 1000)


class Dated:
    """The WSGI application around the reference's."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        """Wrap an application."""
        self._inner = inner

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer as the reference, under the clock's own date."""
        date = formatdate(int(time.time() - BEHIND_S), usegmt=True)

        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("Date", date)], *more)

        return self._inner(environ, begin)


def choose() -> None:
    """Set what the reference would declare otherwise, before its other modules are imported."""
    config: Any = importlib.import_module("reference_impl.config")
    config.ACCESS_TTL_S = TOKENS_S
    totp: Any = importlib.import_module("reference_impl.totp")
    totp.PERIOD_S, totp.SKEW_STEPS = STEP_S, 0


def application() -> Dated:
    """Build the application in a worker."""
    choose()
    app: Any = importlib.import_module("reference_impl.app")
    return Dated(app.create_app(clock=Behind()))


def main() -> None:
    """Run the reference's command with this application."""
    choose()
    serving: Any = importlib.import_module("reference_impl.serving")
    command: Any = importlib.import_module("reference_impl.__main__")
    serving.serve = functools.partial(serving.serve, factory=FACTORY)
    command.main(sys.argv[1:])


if __name__ == "__main__":
    main()
