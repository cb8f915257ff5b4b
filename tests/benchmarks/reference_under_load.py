"""Starts the reference or the naive peer for a measurement, whole or with one part taken off.

    python tests/benchmarks/reference_under_load.py DATABASE FACTORY THREADS

The parts are taken off here, by replacing functions before the application is built; the product
has no such switches.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PASSWORD = "a-long-enough-Pass-9"
WHOLE = "reference_impl.app:create_app"
START_S = 30.0


@dataclass(slots=True)
class Running:
    """A server under measurement."""

    url: str
    pid: int
    token: str
    user_id: str = ""
    database: Path | None = None

    def log_in(self) -> None:
        """Get a new access token: one lasts a quarter of an hour."""
        body = {"username": "admin", "password": PASSWORD}
        answer = self.call("POST", "/v1/auth/login", body)
        self.token, self.user_id = answer["access_token"], answer["user"]["id"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request outside the measurement; raises on a refusal."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": os.urandom(12).hex()}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


def init(database: Path) -> None:
    """Create a book with its administrator."""
    subprocess.run(
        [
            *(sys.executable, "-m", "reference_impl", "init", "--database", str(database)),
            *("--admin-password", "env:BENCH_PASSWORD"),
        ],
        env={**environment(), "BENCH_PASSWORD": PASSWORD},
        check=True,
        capture_output=True,
    )


def environment() -> dict[str, str]:
    """Return an environment in which this checkout is what is imported."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}


@contextlib.contextmanager
def reference(
    database: Path, *, without: str = "", threads: int = 0, owner: str = ""
) -> Iterator[Running]:
    """Run the reference on a book; `without` names a part to take off."""
    factory = f"reference_under_load:without_{without}" if without else WHOLE
    command = [sys.executable, str(HERE / "reference_under_load.py"), str(database), factory]
    with Path(f"{database}.log").open("ab") as log:  # a line a request, as in service
        process = subprocess.Popen(
            [*command, str(threads)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**environment(), "BENCH_OWNER": owner},
        )
    try:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        running = Running(url=event["url"], pid=event["pid"], token="", database=database)
        running.log_in()
        yield running
    finally:
        _stop(process)


@contextlib.contextmanager
def naive(database: Path) -> Iterator[Running]:
    """Run the naive peer on a new database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "naive_server.py", str(database), str(port)], cwd=HERE
    )
    try:
        running = Running(url=f"http://127.0.0.1:{port}", pid=process.pid, token="token")
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                running.call("GET", "/v1/accounts/acc_0")
                break
            time.sleep(0.05)
        yield running
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    if process.stdout is not None:
        process.stdout.close()


def without_audit() -> Any:
    """Build the application with no audit records."""
    from reference_impl import audit

    return _built(audit, "append", lambda *_, **__: None)


def without_authentication() -> Any:
    """Build the application so that everybody is the owner of the book, unasked."""
    from reference_impl import access, web

    who = access.Caller(user_id=os.environ["BENCH_OWNER"], session_id="ses", roles=("admin",))
    return _built(web, "caller", lambda *_, **__: who)


def without_outbox() -> Any:
    """Build the application on a book whose changes are told to nobody."""
    import sqlite3

    from reference_impl import outbox

    with contextlib.closing(sqlite3.connect(os.environ["ALLUSE_DATABASE"], timeout=10)) as book:
        names = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'outbox_*'"
        for (name,) in book.execute(names).fetchall():
            book.execute(f"DROP TRIGGER IF EXISTS {name}")
    return _built(outbox, "begin", lambda *_: None)


def without_metrics() -> Any:
    """Build the application so that nothing is counted."""
    from reference_impl import config

    read = config.from_environment
    return _built(config, "from_environment", lambda: replace(read(), metrics=False))


def without_access_log() -> Any:
    """Build the application with no line for a request."""
    from reference_impl import config

    read = config.from_environment
    return _built(config, "from_environment", lambda: replace(read(), access_log=False))


def without_logs() -> Any:
    """Build the application with no logging at all."""
    import logging

    logging.disable(logging.CRITICAL)
    return _built(None, "", None)


def without_idempotency() -> Any:
    """Build the application so that no key is looked up or stored."""
    from reference_impl import idempotency

    idempotency.recall = lambda *_, **__: None
    return _built(idempotency, "remember", lambda *_, **__: None)


def without_rates() -> Any:
    """Build the application with no rate limits."""
    from reference_impl import web

    return _built(web, "limit_principal", lambda *_: None)


def _built(module: Any, name: str, replacement: Callable[..., Any] | None) -> Any:
    if module is not None:
        setattr(module, name, replacement)
    from reference_impl.app import create_app

    return create_app()


def main() -> int:
    """Serve until told to stop."""
    from reference_impl import serving
    from reference_impl.config import Settings

    database, factory, threads = sys.argv[1:4]
    settings = Settings(database=Path(database), log_level="info")
    if int(threads):
        settings = replace(settings, threads=int(threads))
    return serving.serve(settings, factory, die_with_parent=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for the databases of one measurement."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
