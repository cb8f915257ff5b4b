"""Who delivers: one worker, with a thread for each subscriber, so that none waits for another."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from reference_impl import background, database, metrics, web
from reference_impl.config import Settings
from reference_impl.integration import registry
from reference_impl.problems import Problem

from . import addresses, sending, store
from .notification import Notification
from .pump import Terms, Webhook
from .report_push import ReportPush
from .rules import Limits

STEP_S = 0.1
OWNED_S = 1.5
"""Without a step for so long this worker counts as one that delivers no more."""
AGAIN_S = 1.0
JOB = "delivery"
OUTCOMES = ("taken", "failed", "set_aside", "missed")
_log = logging.getLogger(__name__)


class Subscriber(Protocol):
    """Gets events, or reports, until there is nothing more to do."""

    @property
    def consumer(self) -> str:
        """Its name."""
        ...

    def turn(self) -> float:
        """Do one round; return how many seconds the next one can wait."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Runner:
    """One subscriber and its thread."""

    def __init__(self, make: Callable[[], Subscriber], owned: Callable[[], bool]) -> None:
        """Start."""
        self._make, self._owned = make, owned
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tell it that there is something new."""
        self._wake.set()

    def stop(self) -> None:
        """End after the round at hand."""
        self._stopped = True
        self._wake.set()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def _goes_on(self) -> bool:
        return not self._stopped and self._owned()

    def _run(self) -> None:
        while self._goes_on():
            try:
                subscriber = self._make()
            except store.LostError:
                return
            except Exception:  # noqa: BLE001 - tried again, and said
                _log.exception("a subscriber could not begin")
                self._wake.wait(AGAIN_S)
                continue
            with contextlib.closing(subscriber):
                try:
                    self._rounds(subscriber)
                except store.LostError:
                    return
                except Problem as busy:
                    _log.info("delivery to %s waits: %s", subscriber.consumer, busy.code)
                except Exception:  # noqa: BLE001 - begun again from what is written down
                    _log.exception("delivery to %s begins again", subscriber.consumer)
            if self._goes_on():
                time.sleep(AGAIN_S)

    def _rounds(self, subscriber: Subscriber) -> None:
        while self._goes_on():
            self._wake.clear()  # first: what comes during the round is not slept over
            wait_s = subscriber.turn()
            if wait_s > 0:
                self._wake.wait(wait_s)


class Dispatcher:
    """Keeps a runner for each subscriber while this worker is the one that delivers."""

    def __init__(self, shared: web.Services) -> None:
        """Prepare; nothing runs before the first step."""
        self._shared = shared
        self._until_s = 0.0
        self._newest = -1
        self._epoch = ""
        self._runners: dict[str, Runner] = {}
        for system in ("webhook", "notification", "reporting"):
            for outcome in OUTCOMES:
                shared.metrics.count(metrics.DELIVERIES, (system, outcome), 0)
        self._terms = terms(shared, self._fence, self.owned)

    def owned(self) -> bool:
        """Tell whether this worker still delivers."""
        return time.monotonic() < self._until_s

    def _fence(self, connection: sqlite3.Connection) -> bool:
        try:
            background.check_owner(connection, JOB, self._shared)
        except background.LostLeaseError:
            return False
        return True

    def step(self) -> None:
        """Look for new events and for subscribers that came or went."""
        self._until_s = time.monotonic() + OWNED_S
        connection = self._shared.readers.get()
        epoch = database.meta(connection, "epoch")
        if epoch != self._epoch:  # restored: what the runners have in memory is about another book
            for name in list(self._runners):
                self._runners.pop(name).stop()
            if not self._shared.outbound.registry[registry.NOTIFICATION].configured:
                self._shared.writer.submit(lambda tx: store.forget(tx, store.NOTIFICATION))
        wanted = self._wanted()
        for name in [name for name in self._runners if name not in wanted]:
            self._runners.pop(name).stop()
        for name, make in wanted.items():
            runner = self._runners.get(name)
            if runner is None or not runner.alive:
                self._runners[name] = Runner(make, self.owned)
        self._epoch = epoch
        newest = store.newest(connection)
        if newest != self._newest:
            self._newest = newest
            for runner in self._runners.values():
                runner.wake()

    def stop(self) -> None:
        """Deliver no more."""
        self._until_s = 0.0
        for runner in self._runners.values():
            runner.stop()
        self._runners.clear()

    def _wanted(self) -> dict[str, Callable[[], Subscriber]]:
        """Return how to begin each subscriber that there should be, by its name and kind."""
        found: dict[str, Callable[[], Subscriber]] = {}
        points = self._shared.outbound.registry
        if points[registry.NOTIFICATION].configured:
            found[store.NOTIFICATION] = lambda: Notification(self._terms)
        if points[registry.REPORTING].configured:
            found[ReportPush.consumer] = lambda: ReportPush(self._terms)
        rows = self._shared.readers.get().execute(
            "SELECT id, url, event_types FROM webhooks WHERE status = 'active'"
        )
        for row in rows:
            found[row["id"]] = lambda row=row: Webhook(self._terms, row)  # type: ignore[misc]
        return found


def install(jobs: background.Background, shared: web.Services) -> None:
    """Let the worker that owns the job deliver."""
    jobs.run_when_owner(JOB, STEP_S, Dispatcher(shared).step)


def terms(shared: web.Services, fence: store.Fence, owned: Callable[[], bool]) -> Terms:
    """Return what deliveries have in common, by the settings."""
    settings = shared.settings
    context = sending.tls_context(Path(settings.webhook_ca) if settings.webhook_ca else None)

    def line(url: str) -> sending.Line:
        place = addresses.parse(url, trusted(settings))
        return sending.Line(place, timeout_s=settings.webhook_timeout_ms / 1000, context=context)

    return Terms(shared=shared, fence=fence, owned=owned, limits=limits(settings), line=line)


def trusted(settings: Settings) -> frozenset[str]:
    """Return the hosts, or host:port, that the operator allows although they are internal."""
    return frozenset(
        filter(None, (name.strip().lower() for name in settings.webhook_allow.split(",")))
    )


def limits(settings: Settings) -> Limits:
    """Return when attempts are made, by the settings."""
    return Limits(
        first_s=settings.webhook_retry_ms / 1000,
        most_s=settings.webhook_retry_max_ms / 1000,
        attempts_max=settings.webhook_attempts,
        give_up_s=settings.webhook_give_up_s,
    )
