"""A deployment beside a simulated market."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certification.counterparties.hosting import Host, Hosting, callback_secret, party_token
from certification.counterparties.names import Party
from certification.counterparties.parties import Counterparties, SimulatedParty
from tests.reference_impl._waiting import wait_for
from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    PASSWORD,
    Client,
    Server,
    init_database,
    log_in,
    start_server,
)

PREFIX = "ALLUSE_COUNTERPARTY_"


@contextlib.contextmanager
def told(host: Host, token: str) -> Iterator[None]:
    """Tell a server that starts now where the market is."""
    rows = {
        f"{PREFIX}MARKET_URL": host.url(Party.MARKET),
        f"{PREFIX}MARKET_TOKEN": party_token(token, Party.MARKET),
        f"{PREFIX}MARKET_SECRET": callback_secret(token),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rows.items():
            patch.setenv(name, value)
        yield


@dataclass
class World:
    """The simulators, where the deployment is told to find them, and how to start one."""

    host: Host
    token: str
    parties: Counterparties

    @property
    def market(self) -> SimulatedParty:
        return self.parties.market

    @property
    def secret(self) -> str:
        return callback_secret(self.token)

    def start(self, database: Path, *options: str) -> Server:
        with told(self.host, self.token):
            server = start_server(database, *TIMING, *options)
        self.parties.point_at(server.url)
        return server


TIMING = ("--call-timing", "300/1/1")
"""As an embedded deployment has it: milliseconds of a call, seconds of a breaker."""


@contextlib.contextmanager
def a_world() -> Iterator[World]:
    token = secrets.token_urlsafe(32)
    host = Host(Hosting(token=token))
    try:
        host.serve()
        with contextlib.closing(Counterparties.attach(host.control_url, token)) as parties:
            yield World(host, token, parties)
    finally:
        host.stop()


@dataclass
class Desk:
    """People at one deployment beside the market."""

    world: World
    server: Server
    admin: Client
    customer: Client
    operator: Client

    @property
    def market(self) -> SimulatedParty:
        return self.world.market

    def user(self, *roles: str) -> Client:
        name = f"u-{secrets.token_hex(8)}"
        body = {"username": name, "password": PASSWORD, "roles": list(roles)}
        assert self.admin.post("/v1/users", body).status == 201
        return log_in(self.server.port, name, PASSWORD)

    def order(self, account: dict[str, Any], **members: Any) -> Any:
        """Ask for an order that stays open unless it says otherwise."""
        body = {
            "account_id": account["id"],
            "instrument": "RESTING-1",
            "side": "buy",
            "quantity": 10,
            "limit_price": {"amount": 100, "currency": "USD"},
            **members,
        }
        return self.customer.post("/v1/orders", body)

    def placed(self, account: dict[str, Any], **members: Any) -> dict[str, Any]:
        """Place an order and wait until the market has it."""
        answer = self.order(account, **members)
        assert answer.status == 201, answer.body
        order_id = answer.body["id"]
        return self.until(order_id, lambda order: order["status"] != "pending")

    def get(self, order_id: str) -> dict[str, Any]:
        answer = self.customer.get(f"/v1/orders/{order_id}")
        assert answer.status == 200, answer.body
        return dict(answer.body)

    def until(
        self, order_id: str, wanted: Callable[[dict[str, Any]], bool], within_s: float = 8.0
    ) -> dict[str, Any]:
        return wait_for(lambda: self.get(order_id), wanted, within_s)

    def ended(self, order_id: str, status: str, within_s: float = 8.0) -> dict[str, Any]:
        return self.until(order_id, lambda order: order["status"] == status, within_s)

    def positions(self, account: dict[str, Any]) -> dict[str | None, tuple[int, int]]:
        rows = self.customer.get(f"/v1/accounts/{account['id']}/positions").body["data"]
        return {row["instrument"]: (row["quantity"], row["cost"]["amount"]) for row in rows}


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with a_world() as found:
        yield found


@pytest.fixture(scope="session")
def running(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    database = init_database(tmp_path_factory.mktemp("market") / "book.db")
    server = world.start(database)
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    desk = Desk(world, server, admin, admin, admin)
    desk.customer, desk.operator = desk.user("customer"), desk.user("operator")
    yield desk
    assert server.stop() == 0


@pytest.fixture
def desk(running: Desk) -> Iterator[Desk]:
    """The shared deployment; a market without faults that fills by itself."""
    running.world.parties.point_at(running.server.url)
    running.market.act("fills", mode="auto")
    yield running
    running.market.clear()
