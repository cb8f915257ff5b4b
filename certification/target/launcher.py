"""Starts a local target as a process of its own, and never leaves it behind."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO

from certification.errors import HarnessError
from certification.target import supervise
from certification.target.address import BaseUrl, parse_base_url

ADMIN_USERNAME = "admin"
PASSWORD_VARIABLE = "CERTIFICATION_ADMIN_PASSWORD"  # noqa: S105  a name, not a password
COUNTERPARTY_PREFIX = "ALLUSE_COUNTERPARTY_"
"""Begins the variables in which a local target reads where its counterparties are."""
CALL_TIMING = "300/1/1"
"""Of its calls to the counterparties: 300 ms each, breakers that a check can wait for."""
WEBHOOK_TIMING = "300/50/1000"
"""Milliseconds of an attempt, and of the first and the longest pause after a failure."""
WEBHOOK_GIVE_UP_S = "30"
WEBHOOK_ALLOW = "127.0.0.1"
"""Where checks receive events; every other internal address stays refused."""
READY_TIMEOUT_S = 20.0
INIT_TIMEOUT_S = 30.0
LOGIN_RATE = "400/20"
"""Of the local reference: small enough to be used up by a check, and more than a run needs."""
STOP_GRACE_S = 8.0
"""From SIGTERM to SIGKILL of the process group."""
ALERT_SCALE = "60"
"""A minute of an alert rule is a second, so that checks can wait for it."""
LOG_MAX_BYTES = 4 * 1024 * 1024
"""The rest is read and dropped, so that the target neither blocks nor fills a disk."""
LINE_MAX_BYTES = 64 * 1024
LOG_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What `init` made; each target that is started with it gets a copy."""

    folder: Path
    """Holds that and nothing else: a database and the keys beside it."""
    password: str = field(repr=False)
    """Of its admin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a local target is started; `{database}` in an argument becomes a fresh path."""

    init: tuple[str, ...] = ()
    """Run to its end first; empty where nothing needs to be prepared."""
    prepared: Prepared | None = None
    """Stands in for `init`: many targets in a row need not make the same database again."""
    serve: tuple[str, ...] = ()
    """Prints `{"event": "ready", "url": ...}` on standard output when it serves."""
    environment: Mapping[str, str] = field(default_factory=dict)


def reference_command(
    program: Sequence[str] = (sys.executable, "-m", "reference_impl"),
) -> Command:
    """Return how the reference is started; with a planted defect it is another `program`."""
    return Command(
        init=(
            *program,
            "init",
            "--database",
            "{database}",
            "--admin-password",
            f"env:{PASSWORD_VARIABLE}",
        ),
        serve=(
            *program,
            "serve",
            "--database",
            "{database}",
            "--port",
            "0",
            "--login-rate-limit",
            LOGIN_RATE,
            "--alert-scale",
            ALERT_SCALE,
            "--call-timing",
            CALL_TIMING,
            "--webhook-timing",
            WEBHOOK_TIMING,
            "--webhook-allow",
            WEBHOOK_ALLOW,
            "--webhook-give-up",
            WEBHOOK_GIVE_UP_S,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTarget:
    """A target that this run started."""

    base_url: BaseUrl
    environment: Mapping[str, str]
    """What check processes need in theirs to resolve `target_toml`'s secret."""
    log: Path
    pid: int
    """Of the process group."""

    def target_toml(self) -> str:
        """Return a target file for it: an admin and every grant, since it is ours to break."""
        return (
            "[target]\n"
            'name = "embedded default"\n'
            f'base_url = "{self.base_url.text}"\n\n'
            "[identities.admin]\n"
            f'username = "{ADMIN_USERNAME}"\n'
            f'password = "env:{PASSWORD_VARIABLE}"\n\n'
            "[grants]\nload = true\nattack = true\nfault = true\n"
            "configuration = true\n"
        )


@contextlib.contextmanager
def launch(
    command: Command, *, folder: Path, ready_timeout_s: float = READY_TIMEOUT_S
) -> Iterator[LocalTarget]:
    """Prepare and start a target in `folder`, wait until it is ready, and stop it at the end.

    Raises `HarnessError` with the end of its log where it does not become ready. Stopping is
    SIGTERM, a bounded wait, then SIGKILL of the process group; a killed runner has the same effect.
    """
    log = folder / "target.log"
    if command.prepared is None:
        prepared = prepare(command, folder=folder)
    else:
        prepared = command.prepared
        shutil.copytree(prepared.folder, folder, dirs_exist_ok=True)
    environment = _environment(command, prepared.password)
    arguments = [_filled(text, folder) for text in command.serve]
    with log.open("ab", buffering=0) as sink, _supervised(arguments, environment) as process:
        lines: Queue[bytes | None] = Queue()
        output = _Output(sink=sink, ready=lines)
        drains = [output.drain(process.stdout, offer=True), output.drain(process.stderr)]
        try:
            url = _ready_url(lines, time.monotonic() + ready_timeout_s)
        except HarnessError as error:
            _stop(process)
            _join(drains)
            raise HarnessError(f"{error.message}{_tail(log)}", hint=f"its log: {log}") from error
        try:
            yield LocalTarget(
                base_url=url,
                environment={PASSWORD_VARIABLE: prepared.password},
                log=log,
                pid=process.pid,
            )
        finally:
            _stop(process)
            _join(drains)


def prepare(command: Command, *, folder: Path) -> Prepared:
    """Run `init` in `folder`, with a new password; raises `HarnessError` where it fails."""
    password = secrets.token_urlsafe(24)
    arguments = [_filled(text, folder) for text in command.init]
    _prepare(arguments, _environment(command, password), folder / "target.log")
    return Prepared(folder=folder, password=password)


def _environment(command: Command, password: str) -> dict[str, str]:
    # The reference reads ALLUSE_*; what the operator's shell holds is for another deployment.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALLUSE_")}
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [kept.get("PYTHONPATH")])]
    kept["PYTHONPATH"] = os.pathsep.join(paths)
    return {**kept, PASSWORD_VARIABLE: password, **command.environment}


def _filled(text: str, folder: Path) -> str:
    return text.replace("{database}", str(folder / "target.db"))


def _prepare(arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
    if not arguments:
        return
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=INIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"the local target cannot be prepared: {error}") from error
    log.write_bytes((done.stdout + done.stderr)[:LOG_MAX_BYTES])
    if done.returncode != 0:
        raise HarnessError(
            f"the local target cannot be prepared: {arguments[:4]} ended with "
            f"{done.returncode}{_tail(log)}"
        )


@contextlib.contextmanager
def _supervised(
    arguments: list[str], environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    script = str(Path(supervise.__file__).resolve())
    supervisor = [sys.executable, "-I", "-S", script, str(STOP_GRACE_S), *arguments]
    with subprocess.Popen(
        supervisor,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the group: closing the pipe asks the supervisor, which is killed with it if need be."""
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()
    if process.returncode is not None:
        return
    deadline = time.monotonic() + STOP_GRACE_S + 2
    # Looked at without being reaped, so that its number still is the group's when that is killed.
    while not _ended(process.pid) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(pid: int) -> bool:
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Output:
    """Reads what the target writes: into a capped log, and until it is ready also line by line."""

    sink: IO[bytes]
    ready: "Queue[bytes | None]"
    lock: threading.Lock = field(default_factory=threading.Lock)
    room: list[int] = field(default_factory=lambda: [LOG_MAX_BYTES])

    def drain(self, stream: IO[bytes] | None, *, offer: bool = False) -> threading.Thread:
        """Read the stream to its end in a thread; with `offer` its lines go to the queue."""
        thread = threading.Thread(target=self._read, args=(stream, offer), daemon=True)
        thread.start()
        return thread

    def _read(self, stream: IO[bytes], offer: bool) -> None:
        offers_left = 1000
        while line := stream.readline(LINE_MAX_BYTES):
            if offer and offers_left:
                offers_left -= 1
                self.ready.put(line)
            with self.lock, contextlib.suppress(OSError, ValueError):
                kept = line[: self.room[0]]
                self.room[0] -= len(kept)
                self.sink.write(kept)
        if offer:
            self.ready.put(None)


def _ready_url(lines: "Queue[bytes | None]", deadline_at: float) -> BaseUrl:
    while True:
        try:
            line = lines.get(timeout=max(deadline_at - time.monotonic(), 0.001))
        except Empty:
            raise HarnessError("the local target was not ready in time") from None
        if line is None:
            raise HarnessError("the local target ended before it was ready")
        try:
            event = json.loads(line)
            if event["event"] == "ready":
                return parse_base_url(event["url"])
        except (ValueError, TypeError, KeyError):
            continue


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(timeout=2)


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        text = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"; it said last: {text}" if text else ""
    return ""
