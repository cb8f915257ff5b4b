"""Starting and stopping the server: one supervising process, granian and its workers below it.

    serve (this process)  ->  granian's main process, leader of its own group  ->  the workers

The supervisor prints `ready` when every worker has built its application and the server answers;
it starts the group again if it dies as a whole (granian itself replaces single workers). Stopping
is SIGTERM, a bounded wait, then SIGKILL of the whole group: granian with two workers, stopped
right after it is ready, has been seen to hang for ever. The group holds the read end of a pipe
whose write end only the supervisor has: when that dies, in whatever way, the group ends itself.
"""

import contextlib
import functools
import http.client
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import database, logs, runtime_dir, sealed, spans, tls, writer
from .config import Settings, from_environment
from .integration import registry
from .operations import ports, stopping

DEFAULT_FACTORY = "reference_impl.app:create_app"
DISK_LOST = "disk-lost"
"""Note in the runtime directory: a worker ended because a sync failed."""
LEAVE_S = 0.2
FACTORY = "ALLUSE_FACTORY"
_log = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "::1", "localhost")

START_TIMEOUT_S = 20.0
STOP_GRACE_S = 25
"""Granian's own bound for its workers, which answer what they have begun."""
STOP_TIMEOUT_S = 28.0
"""After this the group is killed."""
STOP_IDLE_S = 3.5
"""After this it is killed if no request is being answered."""
POLL_S = 0.02
WATCH_S = 0.1
RESTART_MIN_S = 0.2
RESTARTS_IN_A_ROW_MAX = 5


@dataclass(slots=True)
class Group:
    """The running process group."""

    pid: int
    """Granian's main process and the group's number."""
    lifeline: int
    """Write end of the pipe whose closing ends the group."""
    started_s: float
    running: bool = True


def serve(
    settings: Settings,
    factory: str = DEFAULT_FACTORY,
    *,
    die_with_parent: bool = False,
    ready: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code (0 stopped, 1 could not stay up).

    `factory` names a callable without arguments that returns a WSGI application, as
    `module:attribute`; it is imported in the workers. `ready` gets the ready event (default: one
    JSON line on standard output). Raises StartRefusedError before anything is started.
    """
    database.check(settings.database)
    sealed.read_keys(settings.database)
    tls.check(settings)
    spans.check(settings)
    registry.load(os.environ, registry.timing(settings))
    settings = replace(settings, port=settings.port or ports.free_port(settings.host))
    ports.check_port(settings.host, settings.port)
    runtime = Path(tempfile.mkdtemp(prefix="alluse-"))
    (runtime / "started").write_text(str(time.time()), "ascii")
    asked: list[int] = []
    previous = [(one, signal.signal(one, lambda got, _: asked.append(got))) for one in _SIGNALS]
    try:
        code = _supervise(
            settings, factory, stop=_until(asked, die_with_parent), run=(runtime, ready or announce)
        )
        if code == 0:
            stopping.give_back(settings.database, runtime)
        return code
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
        shutil.rmtree(runtime, ignore_errors=True)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def announce(event: dict[str, Any]) -> None:
    """Print the ready event as one line."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _until(asked: list[int], die_with_parent: bool) -> Callable[[float], bool]:
    """Return a wait that tells whether it is time to stop; `asked` holds the signals so far.

    No threading.Event: its lock is taken by `wait` and by `set`, and a signal handler that calls
    `set` in the middle of `wait` waits for itself for ever.
    """
    parent = os.getppid()

    def wait(timeout_s: float) -> bool:
        if asked or (die_with_parent and os.getppid() != parent):
            return True
        time.sleep(timeout_s)
        return bool(asked)

    return wait


def _supervise(
    settings: Settings,
    factory: str,
    *,
    stop: Callable[[float], bool],
    run: tuple[Path, Callable[[dict[str, Any]], None]],
) -> int:
    """Keep one group running until it is time to stop; return the exit code."""
    runtime, ready = run
    announced, failures = False, 0
    while failures <= RESTARTS_IN_A_ROW_MAX:
        group = start(settings, factory, runtime)
        try:
            up = wait_ready(settings, runtime, group, stop)
            if up and not announced:
                ready(ready_event(settings))
                announced = True
            while up and not has_ended(group):
                if stop(WATCH_S):
                    stopping.drain(runtime, settings.drain_s)
                    return 0
        finally:
            end(group, functools.partial(stopping.busy, runtime) if settings.metrics else None)
        failures = 1 if up else failures + 1
        if stop(RESTART_MIN_S):
            return 0
        if not announced:
            return 1
    return 1


def ready_event(settings: Settings) -> dict[str, Any]:
    """Return what is announced when every worker answers."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "event": "ready",
        "url": f"{'https' if settings.certificate else 'http'}://{host}:{settings.port}",
        "workers": settings.workers,
        "pid": os.getpid(),
    }


def start(settings: Settings, factory: str, runtime: Path) -> Group:
    """Fork granian's main process into a group of its own."""
    for note in runtime.glob("worker-*"):
        note.unlink()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(2, 1)  # standard output belongs to the ready event alone
            os.close(write_end)
            _run_group(settings, factory, runtime, read_end)
            code = 0
        finally:
            os._exit(code)
    os.close(read_end)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)  # by both: whoever comes first, the group is there from now on
    return Group(pid=pid, lifeline=write_end, started_s=time.monotonic())


def _run_group(settings: Settings, factory: str, runtime: Path, lifeline: int) -> None:
    """Run granian in this (forked) process until it is told to stop."""
    os.environ.update(settings.environment())
    os.environ.update({FACTORY: factory, runtime_dir.VARIABLE: str(runtime)})
    bound_allocator()
    from granian import Granian
    from granian.constants import Interfaces, SSLProtocols
    from granian.log import LogLevels

    import_module_of(factory)

    def load(*_: object) -> Any:
        for number in _SIGNALS:
            # Until granian has its own handler in this worker it has that of the main process,
            # which here does nothing: a stop that comes so early would go unheard.
            signal.signal(number, lambda *_: sys.exit(0))
        end_with(lifeline)
        return load_app()

    end_with(lifeline)
    server = Granian(
        "reference_impl.serving:load_app",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.threads,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_GRACE_S,
        log_level=LogLevels.error,
        log_dictconfig=logs.granian_config(),
        ssl_cert=Path(settings.certificate) if settings.certificate else None,
        ssl_key=Path(settings.private_key) if settings.private_key else None,
        ssl_protocol_min=SSLProtocols.tls13,
    )
    server.serve(target_loader=load, wrap_loader=False)


def bound_allocator() -> None:
    """Let glibc give large blocks back at once and keep few arenas; elsewhere do nothing.

    Without this the 19 MiB of each password hash stay in the heap of the thread that made it.
    """
    import ctypes

    arena_max, mmap_threshold = -8, -3  # M_ARENA_MAX, M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(arena_max, 2)
        libc.mallopt(mmap_threshold, 1024 * 1024)


def import_module_of(factory: str) -> None:
    """Import nothing but the web stack before the fork, so that the workers share its memory.

    The factory's own module is imported in each worker, after it may have prepared its parts.
    """
    if factory == DEFAULT_FACTORY:
        from . import app  # noqa: F401


def load_app() -> Any:
    """Import the factory that the environment names and call it (in a worker)."""
    import importlib

    settings = from_environment()
    logs.configure(settings.log_level)
    check_after_loss(settings.database)
    module, _, name = os.environ[FACTORY].partition(":")
    return getattr(importlib.import_module(module), name)()


def leave() -> None:
    """End this worker after its disk failed; its successor checks the whole file.

    Requests that are being answered get a moment. Without a server around it, do nothing.
    """
    folder = runtime_dir.current()
    if folder is None:
        return
    (folder / DISK_LOST).touch()
    _log.error("a sync of the database failed: this worker ends")
    time.sleep(LEAVE_S)
    os._exit(1)


def check_after_loss(database_file: Path) -> None:
    """Wait for the disk and look at the whole file if a worker before this one lost it.

    Raises StartRefusedError if the file is damaged: the worker does not come up.
    """
    note = (runtime_dir.current() or Path()) / DISK_LOST
    if note.is_file():
        while not writer.make_durable(database_file):
            time.sleep(LEAVE_S)
        database.check(database_file)
        _log.warning("the database is whole after a failed sync; serving again")
        from . import recoveries

        recoveries.note_synced(note.parent, note)
        note.unlink(missing_ok=True)


def end_with(lifeline: int) -> None:
    """Kill this process group as soon as the supervisor is gone."""

    def watch() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def wait_ready(
    settings: Settings, runtime: Path, group: Group, stop: Callable[[float], bool]
) -> bool:
    """Wait until every worker has registered and the server answers; False if it never will."""
    while time.monotonic() - group.started_s < START_TIMEOUT_S:
        if stop(POLL_S) or has_ended(group):
            return False
        if len(list(runtime.glob("worker-*"))) >= settings.workers and answers(settings):
            return True
    return False


def answers(settings: Settings) -> bool:
    """Tell whether the server answers a health request."""
    connection = self_connection(settings)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def self_connection(settings: Settings) -> http.client.HTTPConnection:
    """Return a connection to this server itself."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not bound here
    if not settings.certificate:
        return http.client.HTTPConnection(host, settings.port, timeout=1)
    import ssl

    # Its name and issuer are the clients' business: this asks only whether the port answers.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.port, timeout=1, context=context)


def has_ended(group: Group) -> bool:
    """Tell whether granian's main process is gone; if so, kill what is left of its group."""
    if group.running:
        pid, _ = os.waitpid(group.pid, os.WNOHANG)
        if pid:
            end_group(group.pid)
            group.running = False
    return not group.running


def end(group: Group, is_busy: Callable[[], bool] | None = None) -> None:
    """Stop the group: SIGTERM, a bounded wait for what is being answered, SIGKILL of the rest."""
    if not has_ended(group):
        os.kill(group.pid, signal.SIGTERM)
        begun_s = time.monotonic()
        while not has_ended(group) and (waited_s := time.monotonic() - begun_s) < STOP_TIMEOUT_S:
            if waited_s > STOP_IDLE_S and is_busy is not None and not is_busy():
                break
            time.sleep(POLL_S)
    if group.running:
        end_group(group.pid)
        os.waitpid(group.pid, 0)
        group.running = False
    os.close(group.lifeline)


def end_group(leader: int) -> None:
    """Kill every process of the group at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
