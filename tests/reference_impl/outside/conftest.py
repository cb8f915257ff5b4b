"""A deployment beside all five simulated counterparties, with short time-outs and windows."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certification.counterparties.hosting import Host, Hosting, callback_secret, party_token
from certification.counterparties.names import Party
from certification.counterparties.parties import Counterparties
from tests.reference_impl._waiting import wait_for
from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    PASSWORD,
    Answer,
    Client,
    Server,
    init_database,
    log_in,
    start_server,
)

PREFIX = "ALLUSE_COUNTERPARTY_"
OPEN_S = 1
TRIALS = 2
TIMING = ("--call-timing", f"300/1/{OPEN_S}", "--workers", "2")


@dataclass
class Place:
    """The deployment, its people, and the simulators."""

    server: Server
    parties: Counterparties
    admin: Client
    operator: Client
    customer: Client

    def rows(self) -> dict[str, dict[str, Any]]:
        answer = self.operator.get("/v1/integrations")
        assert answer.status == 200, answer.body
        return {row["name"]: row for row in answer.body["data"]}

    def breaker(self, name: str) -> str:
        return str(self.rows()[name]["breaker"])

    def until(self, name: str, state: str, within_s: float = 8.0) -> None:
        wait_for(lambda: self.breaker(name), lambda found: found == state, within_s)

    def probe(self, name: str) -> Answer:
        return self.operator.post(f"/v1/integrations/{name}/probe", {})

    def close(self, name: str) -> None:
        """Have trials close a breaker."""

        def closed() -> bool:
            if self.breaker(name) == "closed":
                return True
            self.probe(name)
            return False

        wait_for(closed, bool, 10.0)

    def state_metric(self, name: str) -> float:
        return self.metric(f'integration_breaker_state{{system="{name}"}}')

    def metric(self, series: str) -> float:
        text = self.operator.get("/metrics").body
        rows = [row for row in str(text).splitlines() if row.startswith(f"{series} ")]
        return float(rows[0].rpartition(" ")[2]) if rows else 0.0

    def on_a_strategy(
        self, name: str = "premium", funds: int = 1_000_000, **parameters: Any
    ) -> dict[str, Any]:
        """Open a funded account that follows a strategy."""
        account = self.customer.funded(funds)
        answer = self.put_strategy(account["id"], name, '"0"', **parameters)
        assert answer.status == 200, answer.body
        return account

    def put_strategy(self, account_id: str, name: str, tag: str, **parameters: Any) -> Answer:
        body = {"name": name, "parameters": parameters or {"contracts": 2, "premium": 15_000}}
        path = f"/v1/accounts/{account_id}/strategy"
        return self.customer.send("PUT", path, body, headers={"If-Match": tag})

    def execute(self, account: dict[str, Any], **options: Any) -> Answer:
        path = f"/v1/accounts/{account['id']}/strategy/executions"
        return self.customer.post(path, {}, **options)

    def execution(self, location: str) -> dict[str, Any]:
        answer = self.customer.get(location)
        assert answer.status == 200, answer.body
        return dict(answer.body)

    def ended(self, location: str, within_s: float = 15.0) -> dict[str, Any]:
        found = wait_for(
            lambda: self.execution(location),
            lambda row: row["status"] in {"done", "failed"},
            within_s,
        )
        return dict(found)

    def results(self, account: dict[str, Any]) -> list[dict[str, Any]]:
        return list(
            self.customer.get(f"/v1/accounts/{account['id']}/strategy/results").body["data"]
        )

    def ledger_works(self) -> None:
        """Move money in two requests: whatever hangs outside, the book goes on."""
        account = self.customer.funded(500)
        assert self.customer.balances(account)["ledger"] == 500


def at_once(number: int, act: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(act, range(number)))


@contextlib.contextmanager
def told(host: Host, token: str) -> Iterator[None]:
    """Tell a server that starts now where the five are."""
    rows = {f"{PREFIX}{party.variable}_URL": host.url(party) for party in Party}
    rows |= {f"{PREFIX}{party.variable}_TOKEN": party_token(token, party) for party in Party}
    rows |= {f"{PREFIX}MARKET_SECRET": callback_secret(token)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rows.items():
            patch.setenv(name, value)
        yield


def a_user(server: Server, admin: Client, *roles: str, name: str = "") -> Client:
    username = name or f"u-{secrets.token_hex(8)}"
    body = {"username": username, "password": PASSWORD, "roles": list(roles)}
    assert admin.post("/v1/users", body).status == 201
    return log_in(server.port, username, PASSWORD)


@pytest.fixture(scope="session")
def outside() -> Iterator[tuple[Host, str]]:
    token = secrets.token_urlsafe(32)
    host = Host(Hosting(token=token))
    try:
        host.serve()
        yield host, token
    finally:
        host.stop()


@pytest.fixture(scope="session")
def started(outside: tuple[Host, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    host, token = outside
    database: Path = init_database(tmp_path_factory.mktemp("outside") / "book.db")
    with told(host, token):
        server = start_server(database, *TIMING)
    with contextlib.closing(Counterparties.attach(host.control_url, token)) as parties:
        parties.point_at(server.url)
        admin = log_in(server.port, "admin", ADMIN_PASSWORD)
        operator, customer = (a_user(server, admin, role) for role in ("operator", "customer"))
        yield Place(server, parties, admin, operator, customer)
    assert server.stop() == 0


@pytest.fixture
def place(started: Place) -> Iterator[Place]:
    """The shared deployment with counterparties that work and breakers that are closed."""
    for party in started.parties:
        party.clear()
    for name, row in started.rows().items():
        if row["breaker"] != "closed":
            started.close(name)
    yield started
    for party in started.parties:
        party.clear()
