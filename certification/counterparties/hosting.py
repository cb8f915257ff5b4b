"""The simulators in a thread of their own: ports taken at once, served when asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import resource
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certification.counterparties.names import Party
from certification.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from certification.counterparties.connections import Port
    from certification.counterparties.control import Control
    from certification.counterparties.simulator import Simulator

CONNECTIONS_MAX = 10_000
"""Of the five together; fewer where the process may not open so many files."""
FILES_KEPT_FREE = 256
CONTROL_CONNECTIONS_MAX = 64
BODIES_MAX_BYTES = 256 * 1024 * 1024
"""Unfinished request bodies of all connections together."""
BODY_MAX_BYTES = 4 * 1024 * 1024
REPORT_MAX_BYTES = 9 * 1024 * 1024
START_S = 20.0
TICK_S, CALM_TICK_S = 0.02, 0.25
"""How often leases and windows are looked at while there are faults, and while there are none."""
SWEEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """Where and how the simulators are served."""

    token: str
    """Of the control API; tokens and secret of the counterparties are derived from it."""
    host: str = "127.0.0.1"
    """Address that the five listen on; the control API always is on the loopback."""
    public_host: str | None = None
    """Name under which the deployment reaches them, if not `host`."""
    ports_from: int = 0
    """Port of the control API, followed by those of the five; 0 takes free ones."""
    seed: int = 0
    folder: Path | None = None
    """Of the journals; None for a temporary one."""


def party_token(control_token: str, party: Party) -> str:
    """Return the token with which the deployment calls a counterparty; it opens no other one."""
    return base64.urlsafe_b64encode(_derived(control_token, f"token {party.value}")).decode()[:40]


def callback_secret(control_token: str) -> str:
    """Return the secret that callbacks of the market are signed with."""
    return "whsec_" + base64.b64encode(_derived(control_token, "callbacks")).decode()


def _derived(control_token: str, what: str) -> bytes:
    return hmac.new(control_token.encode(), what.encode(), hashlib.sha256).digest()


@dataclass(slots=True, eq=False)
class Host:
    """Holds the ports from its making on; `serve` opens them, `stop` ends everything."""

    hosting: Hosting
    guards: dict[Party, socket.socket] = field(default_factory=dict)
    control_guard: socket.socket = field(init=False)
    folder: Path = field(init=False)
    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _ending: asyncio.Event | None = None
    _failure: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Take the ports; `UsageError` where one is in use."""
        first = self.hosting.ports_from
        self.control_guard = _guard("127.0.0.1", first)
        try:
            for offset, party in enumerate(Party, 1):
                self.guards[party] = _guard(self.hosting.host, first + offset if first else 0)
        except UsageError:
            self._close_guards()
            raise

    @property
    def control_url(self) -> str:
        """Base URL of the control API."""
        return f"http://127.0.0.1:{self.control_guard.getsockname()[1]}"

    def url(self, party: Party) -> str:
        """Return the base URL of a counterparty, as the deployment is told."""
        host = self.hosting.public_host or self.hosting.host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.guards[party].getsockname()[1]}"

    @property
    def serving(self) -> bool:
        """Whether the ports are open."""
        return self._thread is not None

    def serve(self) -> None:
        """Open the ports; does nothing if they are open. `HarnessError` where that fails."""
        with self._lock:
            if self._thread is not None:
                return
            self.folder = self.hosting.folder or Path(tempfile.mkdtemp(prefix="counterparties-"))
            self.folder.mkdir(parents=True, exist_ok=True)
            self._thread = threading.Thread(target=self._run, name="counterparties", daemon=True)
            self._thread.start()
        if not self._ready.wait(START_S) or self._failure is not None or self._loop is None:
            self.stop()
            raise HarnessError(f"the counterparties do not start: {self._failure or 'in time'}")

    def stop(self) -> None:
        """Close everything; the temporary journals are removed."""
        thread, loop, ending = self._thread, self._loop, self._ending
        if thread is not None and thread.is_alive():
            if loop is not None and ending is not None:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(ending.set)
            thread.join(10)
        self._close_guards()
        if thread is not None and self.hosting.folder is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _close_guards(self) -> None:
        for guard in (self.control_guard, *self.guards.values()):
            guard.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = str(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        stage = _Stage.set_up(self)
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(stage.note_failure)
        for port in (*stage.ports.values(), stage.control_port):
            await port.listen()
        self._ready.set()
        ticking = asyncio.create_task(stage.tick())
        ticking.add_done_callback(stage.note_end)
        await self._ending.wait()
        await stage.end(ticking)


@dataclass(slots=True, eq=False)
class _Stage:
    """What lives in the thread."""

    simulators: dict[Party, Simulator]
    ports: dict[Party, Port]
    control: Control
    control_port: Port

    @classmethod
    def set_up(cls, host: Host) -> _Stage:
        from certification.counterparties.connections import Port
        from certification.counterparties.wire import Allowance

        room = Allowance(_connections_max())
        bodies = Allowance(BODIES_MAX_BYTES)
        control, simulators = _wired(host)
        ports = {
            party: Port(
                guard=host.guards[party],
                application=simulator.answer,
                on_garbage=simulator.garbage,
                allowance=bodies,
                body_max_bytes=REPORT_MAX_BYTES if party is Party.REPORTING else BODY_MAX_BYTES,
                room=room,
            )
            for party, simulator in simulators.items()
        }
        control_port = Port(
            guard=host.control_guard,
            application=control.answer,
            on_garbage=lambda _connection, _refused: None,
            allowance=Allowance(BODY_MAX_BYTES * 4),
            body_max_bytes=BODY_MAX_BYTES,
            room=Allowance(CONTROL_CONNECTIONS_MAX),
        )
        stage = cls(simulators, ports, control, control_port)
        control.regate = stage.gate
        return stage

    async def gate(self) -> None:
        """Open and close the ports as the faults have it now."""
        from certification.counterparties.decision import refused

        for party, simulator in self.simulators.items():
            port = self.ports[party]
            if refused(simulator.plan, time.monotonic()):
                port.refuse()
            else:
                await port.listen()

    async def tick(self) -> None:
        """End leases, follow windows, cut what is past its deadline, write the journals out."""
        swept_s = 0.0
        while True:
            faulty = any(simulator.plan for simulator in self.simulators.values())
            await asyncio.sleep(TICK_S if faulty else CALM_TICK_S)
            now_s = time.monotonic()
            for simulator in self.simulators.values():
                simulator.expire(now_s)
            await self.gate()
            if now_s - swept_s > SWEEP_S:
                swept_s = now_s
                for port in (*self.ports.values(), self.control_port):
                    port.sweep(now_s)
                for simulator in self.simulators.values():
                    simulator.journal.flush()

    def note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002  asyncio's signature
        """Book an exception that nobody caught: ours, never the deployment's."""
        text = f"{context.get('message')}: {context.get('exception')!r}"
        if len(self.control.broken) < 20:
            self.control.broken.append(text[:300])

    def note_end(self, task: asyncio.Task[None]) -> None:
        """Book an end of the ticking that nobody asked for."""
        if not task.cancelled() and task.exception() is not None:
            self.control.broken.append(f"the clock of the faults ended: {task.exception()!r}"[:300])

    async def end(self, ticking: asyncio.Task[None]) -> None:
        """Stop and leave nothing open."""
        ticking.cancel()
        await self.control.callbacks.end()
        for port in (*self.ports.values(), self.control_port):
            port.refuse()
        for simulator in self.simulators.values():
            simulator.disarm()
            simulator.journal.end()
        # What was cut above ends in its own task; give each of them its turn.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _wired(host: Host) -> tuple[Control, dict[Party, Simulator]]:
    """Make the five and what controls them."""
    from certification.counterparties.behaviour import Behaviour, Surroundings
    from certification.counterparties.callbacks import Callbacks
    from certification.counterparties.control import Control
    from certification.counterparties.journal import Journal
    from certification.counterparties.market import Market
    from certification.counterparties.outbound import load_outbound
    from certification.counterparties.receiving import Notification, Reporting
    from certification.counterparties.simulator import Simulator
    from certification.counterparties.strategy import Strategies
    from certification.counterparties.users import UserManagement

    kinds: Mapping[Party, type[Behaviour]] = {
        Party.STRATEGY_ENGINE: Strategies,
        Party.MARKET: Market,
        Party.USER_MANAGEMENT: UserManagement,
        Party.NOTIFICATION: Notification,
        Party.REPORTING: Reporting,
    }
    loop = asyncio.get_running_loop()
    hosting = host.hosting

    def later(seconds: float, action: Callable[[], None]) -> None:
        loop.call_later(seconds, action)

    def around(party: Party) -> Surroundings:
        return Surroundings(
            seed=hosting.seed,
            url=lambda: host.url(party),
            later=later,
            callback=lambda report, tamper: callbacks.submit(report, tamper),  # noqa: PLW0108  made below
        )

    simulators = {
        party: Simulator(
            party=party,
            outbound=load_outbound(party),
            behaviour=kind(around(party)),
            journal=Journal(host.folder / f"{party.value}.jsonl"),
            token=party_token(hosting.token, party),
            seed=hosting.seed,
        )
        for party, kind in kinds.items()
    }
    callbacks = Callbacks(simulators[Party.MARKET], callback_secret(hosting.token))

    def afresh() -> None:
        for party, simulator in simulators.items():
            simulator.behaviour = kinds[party](around(party))

    async def not_yet() -> None:
        """Stand in until the ports are there."""

    control = Control(
        token=hosting.token,
        simulators=simulators,
        urls={party: host.url(party) for party in Party},
        callbacks=callbacks,
        new_behaviours=afresh,
        regate=not_yet,
    )
    return control, simulators


def _guard(host: str, port: int) -> socket.socket:
    from certification.counterparties.connections import bound_socket

    try:
        if port:
            # Without SO_REUSEPORT a port that somebody serves cannot be bound; with it, it could.
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        return bound_socket(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{host}:{port} cannot be used: {reason}", hint="give another address or --ports-from"
        ) from None


def _connections_max() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if soft < 0 else max(64, min(CONNECTIONS_MAX, soft - FILES_KEPT_FREE))
