"""A deployment with short times that faults are done to, and its alerts as its admin sees them."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    Client,
    Server,
    init_database,
    log_in,
    start_server,
)

SCALE = ("--alert-scale", "60")
WITHIN_S = 40.0
QUIET_S = 60.0


@dataclass
class Place:
    """A server with short times, its file and its admin."""

    server: Server
    database: Path
    admin: Client

    def rows(self, path: str) -> list[dict[str, Any]]:
        answer = self.admin.get(path)
        assert answer.status == 200, answer.body
        return list(answer.body["data"])

    def alert(self, name: str, path: str = "/v1/alerts?limit=200") -> dict[str, Any] | None:
        return next((row for row in self.rows(path) if row["name"] == name), None)

    def recovery(self, component: str) -> dict[str, Any] | None:
        rows = self.rows("/v1/recoveries?limit=200")
        return next((row for row in rows if row["component"] == component), None)

    def fired(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return every alert of now and before, by its rule and its own label's value."""
        own = ("system", "reason", "job", "consumer", "metric")
        rows = [*self.rows("/v1/alerts?limit=200"), *self.rows("/v1/alerts/history?limit=200")]
        return {
            (row["name"], "".join(row["labels"].get(name, "") for name in own)): row
            for row in reversed(rows)
        }

    def all_fire(self, *names: str, within_s: float = WITHIN_S) -> None:
        """Wait until each of these rules has fired."""
        end, left = time.monotonic() + within_s, set(names)
        while left:
            assert time.monotonic() < end, f"not fired: {sorted(left)}"
            with contextlib.suppress(OSError, AssertionError):  # what is hurt may refuse a look
                left -= {name for name, _ in self.fired()}
            time.sleep(0.3)

    def all_over(self, *names: str) -> None:
        """Wait until no alert of these rules stands."""
        until(lambda: not set(names) & {row["name"] for row in self.rows("/v1/alerts?limit=200")})

    def seen_taken_and_over(self, name: str, heal: Callable[[], None]) -> dict[str, Any]:
        """Wait for an alert, take it, heal the fault and wait until the alert is over."""
        found = until(lambda: self.alert(name))
        assert found["status"] == "firing"
        taken = self.admin.post(f"/v1/alerts/{found['id']}/acknowledge", {"note": "Seen."})
        assert (taken.status, taken.body["status"]) == (200, "acknowledged")
        heal()
        over = until(lambda: self.alert(name, "/v1/alerts/history?limit=200"))
        assert (over["id"], over["status"]) == (found["id"], "resolved")
        assert over["started_at"] < over["ended_at"]
        assert {n["kind"] for n in over["notices"]} >= {"firing", "acknowledged", "resolved"}
        return dict(over)


def until(look: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except (OSError, AssertionError):  # a worker that died a moment ago
            pass
        time.sleep(0.2)
    raise AssertionError("not seen in time")


def opened(folder: Path, *options: str) -> Place:
    database = init_database(folder / "book.db")
    server = start_server(database, *SCALE, *options)
    return Place(server, database, log_in(server.port, "admin", ADMIN_PASSWORD))


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Place]:
    """Serve, and leave nothing behind."""
    made = opened(folder, *options)
    try:
        yield made
    finally:
        if made.server.process.poll() is None:
            made.server.stop(signal.SIGKILL)
