"""The reference with guards of another legal kind, which `TOY_GUARDS` names.

`undeclared`: locks that grow and of which only the longest is declared, a block list that is
compared word by word, and two hosts whose clocks differ by some milliseconds. `slow`: locks of a
second, and logins that take longer than that. `windows`: attempts to enter are counted in fixed
windows, and refusals and strangers are kept waiting, so that a window turns at the worst moment.
Started as `python -m tests.toys.other_guards init|serve ...` with the options of the reference.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

FACTORY = "tests.toys.other_guards:application"
KIND = os.environ.get("TOY_GUARDS", "undeclared")
DELAYS_S = {"undeclared": (2, 4, 8, 10), "slow": (1, 1)}
SLOW_S = 1.1
APART_MS = 50
WORDS = frozenset({"password", "Password1", "Password@123", "Aa@123456789", "administrator"})
SLOW_PATHS = ("/v1/auth/login", "/v1/auth/mfa/verify")
BEFORE_THE_TURN_S = 0.8


def hide_the_delays(original: Callable[..., Any]) -> Callable[..., Any]:
    """Declare threshold and longest lock only."""

    def auth(settings: Any) -> dict[str, Any]:
        shown: dict[str, Any] = original(settings)
        lockout = {name: shown["lockout"][name] for name in ("threshold", "seconds")}
        return {**shown, "lockout": lockout}

    return auth


def two_hosts(original: Callable[..., Any]) -> Callable[..., Any]:
    """Date every second transaction by the host whose clock is behind."""

    def insert(connection: Any, draft: Any, seq: int, phase: str) -> Any:
        return original(
            connection, replace(draft, now_ms=draft.now_ms - seq % 2 * APART_MS), seq, phase
        )

    return insert


class Windows:
    """Counts requests of a name in windows that begin with its first request."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, int]] = {}
        self._windows = 0

    def wait_us(self, kind: str, name: str, rate: Any) -> int:
        """Count a request and return 0, or return how long to wait; answer late near a turn."""
        if kind != "address":
            return 0
        from flask import request

        if self._windows == 1 and "X-Forwarded-For" in request.headers:
            time.sleep(max(0.0, self._left_s(name, rate)))
        with self._lock:
            left_s = self._left_s(name, rate)
            began_s, number = self._known.get(name, (0.0, 0))
            if left_s <= 0:
                began_s, number = time.monotonic(), 0
                self._windows += 1
            self._known[name] = (began_s, number + 1)
        if number < rate.requests:
            return 0
        time.sleep(max(0.0, self._left_s(name, rate) - BEFORE_THE_TURN_S))
        return int(max(self._left_s(name, rate), 0.001) * 1_000_000)

    def _left_s(self, name: str, rate: Any) -> float:
        began_s, _ = self._known.get(name, (float("-inf"), 0))
        return float(began_s + rate.window_s - time.monotonic())


def slow(inner: Any) -> Any:
    """Keep whoever logs in waiting before anything is looked at."""

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] in SLOW_PATHS:
            time.sleep(SLOW_S)
        return inner(environ, start_response)

    return application


def choose() -> None:
    """Set what is otherwise here, before the modules that read it are imported."""
    config: Any = importlib.import_module("reference_impl.config")
    config.LOCKOUT_DELAYS_S = DELAYS_S.get(KIND, config.LOCKOUT_DELAYS_S)
    if KIND == "windows":
        limits: Any = importlib.import_module("reference_impl.ratelimit")
        windows = Windows()
        limits.Limits.wait_us = lambda _self, *request: windows.wait_us(*request)
    if KIND == "undeclared":
        capability: Any = importlib.import_module("reference_impl.capability")
        capability.auth = hide_the_delays(capability.auth)
        journal: Any = importlib.import_module("reference_impl.journal")
        journal._insert = two_hosts(journal._insert)
        policy: Any = importlib.import_module("reference_impl.password_policy")
        policy.is_known = lambda password: password in WORDS


def application() -> Any:
    """Build the application in a worker."""
    choose()
    app: Any = importlib.import_module("reference_impl.app")
    built = app.create_app()
    return slow(built) if KIND == "slow" else built


def main() -> None:
    """Run the reference's command with this application."""
    choose()
    serving: Any = importlib.import_module("reference_impl.serving")
    command: Any = importlib.import_module("reference_impl.__main__")
    serving.serve = functools.partial(serving.serve, factory=FACTORY)
    command.main(sys.argv[1:])


if __name__ == "__main__":
    main()
