"""A market that fails in every way, and a deployment that is killed: one order, one effect."""

import contextlib
import http.client
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.parties import first
from tests.reference_impl import _faults as faults
from tests.reference_impl._waiting import eventually, wait_for
from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    PASSWORD,
    Client,
    Server,
    init_database,
    log_in,
)
from tests.reference_impl.market.conftest import Desk, World

PLACE = ("placeOrder",)
FAULTS: dict[str, dict[str, Any]] = {
    "status": {"status": 503},
    "server_error_after_it_was_done": {"kind": "status", "status": 500, "effect": True},
    "rate_limit": {"retry_after_s": 1},
    "hang": {"effect": False},
    "hang_after_it_was_done": {"kind": "hang", "effect": True},
    "reset": {"at": "request", "effect": False},
    "reset_in_the_answer": {"kind": "reset", "at": "response", "effect": True},
    "slow": {"delay_s": 0.6},
    "dribble": {"bytes_per_s": 200},
    "truncated": {"share": 0.5},
    "malformed": {"form": "json"},
    "wrong_schema": {},
    "refused_with_400_but_done": {"kind": "status", "status": 400, "effect": True},
}


@pytest.mark.parametrize(("name", "parameters"), FAULTS.items(), ids=FAULTS)
def test_an_order_reaches_the_market_once_whatever_happens_on_the_way(
    desk: Desk, name: str, parameters: dict[str, Any]
) -> None:
    settled(desk)
    account, mark = desk.customer.funded(10_000), desk.market.mark()
    given = dict(parameters)
    kind = FaultKind(given.pop("kind", name))
    with desk.market.fault(kind, when=first(2, per_key=True), operations=PLACE, **given):
        began = time.monotonic()
        answer = desk.order(account)
        assert answer.status == 201, answer.body
        assert time.monotonic() - began < 2.0
        assert desk.customer.balances(account)["holds"] == 1000
        assert desk.customer.book("deposit", 5, to_account_id=account["id"]).status == 201
        order = desk.until(answer.body["id"], lambda found: found["status"] == "open", 12.0)
    (attempts,) = desk.market.attempts(since=mark, operation="placeOrder")
    assert (attempts.effects, attempts.payloads) == (1, 1)
    if kind in {FaultKind.STATUS, FaultKind.RATE_LIMIT} and parameters.get("status", 503) == 503:
        assert attempts.statuses[-1] == 201
        assert all(gap_s >= 1 for gap_s in attempts.gaps_s)
    desk.market.act("fill", client_order_id=order["id"])
    desk.ended(order["id"], "filled")
    assert desk.customer.balances(account)["ledger"] == 9_005
    assert desk.market.violations(since=mark) == ()


def settled(desk: Desk) -> None:
    """Wait until the breaker has closed: an order is taken again."""
    account = desk.customer.funded(10)

    def taken() -> Any:
        return desk.order(account, quantity=1, limit_price={"amount": 1, "currency": "USD"})

    answer = wait_for(taken, lambda found: found.status == 201)
    desk.until(answer.body["id"], lambda found: found["status"] == "open")


def test_while_the_market_is_away_nothing_new_is_held_and_it_says_so_at_once(desk: Desk) -> None:
    settled(desk)
    account = desk.customer.funded(100_000)
    taken: list[str] = []
    with desk.market.fault(FaultKind.HANG, effect=False):
        for _ in range(12):
            began = time.monotonic()
            answer = desk.order(account)
            took_s = time.monotonic() - began
            if answer.status == 503:
                break
            taken.append(answer.body["id"])
        assert answer.code == "circuit_open"
        assert answer.headers["retry-after"]
        assert took_s < 0.1
        cancel = desk.customer.send("DELETE", f"/v1/orders/{taken[0]}")
        assert cancel.code in {"circuit_open", None}
        held = desk.customer.balances(account)["holds"]
        assert held == 1000 * len(taken)
        compared = desk.operator.post("/v1/reconciliations", {"account_id": account["id"]})
        assert compared.status in {201, 503}
    for name in taken:
        desk.until(name, lambda found: found["status"] in {"open", "cancelled"}, 12.0)
    left = [name for name in taken if desk.get(name)["status"] == "open"]
    assert desk.customer.balances(account)["holds"] == 1000 * len(left)


def test_a_wish_to_cancel_survives_a_market_that_does_not_answer(desk: Desk) -> None:
    settled(desk)
    account = desk.customer.funded(10_000)
    order, mark = desk.placed(account), desk.market.mark()
    with desk.market.fault(
        FaultKind.RESET, when=first(1), operations=("cancelOrder",), at="request"
    ):
        answer = desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
        assert answer.status == 200
        assert answer.body["cancel_requested_at"] is not None
        again = desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
        assert again.status in {200, 409}
    desk.ended(order["id"], "cancelled", 12.0)
    (attempts,) = desk.market.attempts(since=mark, operation="cancelOrder")
    assert attempts.effects == 1
    assert desk.customer.balances(account)["holds"] == 0


def test_reports_that_do_not_arrive_are_fetched(desk: Desk, world: World) -> None:
    settled(desk)
    account = desk.customer.funded(10_000)
    order, other = desk.placed(account), desk.placed(account, quantity=2)
    mark = desk.market.mark()
    world.parties.point_at("http://127.0.0.1:9")  # nobody listens there
    try:
        desk.market.act("fill", client_order_id=order["id"], quantity=4, price=90)
        desk.market.act("fill", client_order_id=order["id"], quantity=5)
        desk.market.act("reject", client_order_id=other["id"])
        desk.until(order["id"], lambda found: found["filled"] == 9, 30.0)
        desk.ended(other["id"], "rejected", 30.0)
    finally:
        world.parties.point_at(desk.server.url)
    assert desk.positions(account) == {"RESTING-1": (9, 860)}
    assert desk.customer.balances(account)["holds"] == 100
    asked = [row for row in desk.market.journal(since=mark) if row.operation == "getExecutions"]
    assert asked
    desk.market.act("fill", client_order_id=order["id"])
    desk.ended(order["id"], "filled", 15.0)
    assert desk.customer.balances(account)["ledger"] == 10_000 - 960
    assert desk.market.violations(since=mark) == ()


Start = Callable[[Path], Server]


@pytest.fixture
def started(world: World) -> Iterator[Start]:
    """Start servers beside the market; what the test leaves running is killed."""
    servers: list[Server] = []

    def start(database: Path) -> Server:
        servers.append(world.start(database))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


def people(server: Server) -> tuple[Client, Client]:
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    name = f"u-{uuid.uuid4().hex[:12]}"
    body = {"username": name, "password": PASSWORD, "roles": ["customer"]}
    assert admin.post("/v1/users", body).status == 201
    return admin, log_in(server.port, name, PASSWORD)


def kill_all(server: Server) -> None:
    """Kill the main process with all of its workers at once; the server starts them anew."""
    main = faults.children(server.process.pid)[0]
    os.killpg(main, signal.SIGKILL)
    assert eventually(lambda: main not in faults.children(server.process.pid))
    assert eventually(lambda: len(faults.workers(server)) >= 2)
    assert eventually(lambda: faults.alive(server.port))


@pytest.mark.parametrize("effect", [False, True], ids=["before_the_call", "after_the_call"])
def test_a_deployment_killed_while_it_asks_goes_on_afterwards(
    world: World, started: Start, tmp_path: Path, effect: bool
) -> None:
    server = started(init_database(tmp_path / "book.db"))
    admin, customer = people(server)
    desk = Desk(world, server, admin, customer, admin)
    world.market.act("fills", mode="manual")
    account, mark = customer.funded(10_000), world.market.mark()
    with world.market.fault(FaultKind.HANG, operations=PLACE, effect=effect):
        asking = threading.Thread(target=ask_and_lose, args=(desk, account))
        asking.start()
        wait_for(lambda: world.market.journal(since=mark), lambda rows: len(rows) > 0)
        kill_all(server)
        asking.join()
    customer = desk.customer = log_again(server, customer)
    (row,) = customer.get("/v1/orders").body["data"]
    order = desk.until(row["id"], lambda found: found["status"] == "open", 30.0)
    (attempts,) = world.market.attempts(since=mark, operation="placeOrder")
    assert (attempts.effects, attempts.payloads) == (1, 1)
    assert customer.balances(account)["holds"] == 1000
    kill_all(server)
    customer = desk.customer = log_again(server, customer)
    world.market.act("fill", client_order_id=order["id"], quantity=3)
    desk.until(order["id"], lambda found: found["filled"] == 3, 30.0)
    customer.send("DELETE", f"/v1/orders/{order['id']}")
    desk.ended(order["id"], "cancelled")
    assert desk.positions(account) == {"RESTING-1": (3, 300)}
    assert customer.balances(account)["ledger"] == 9_700
    assert customer.balances(account)["holds"] == 0
    assert server.stop() == 0


def ask_and_lose(desk: Desk, account: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        desk.order(account)


def log_again(server: Server, before: Client) -> Client:
    """Go on with the session on a new connection, to a worker that lives."""

    def again() -> Client | None:
        client = Client(server.port, token=before.token, user_id=before.user_id)
        try:
            client.get("/health/live")
        except (OSError, http.client.HTTPException):
            return None
        return client

    client = eventually(again)
    assert client is not None
    return client


def test_kills_at_any_instant_lose_no_order_and_book_nothing_twice(
    world: World, started: Start, tmp_path: Path
) -> None:
    server = started(init_database(tmp_path / "book.db"))
    admin, customer = people(server)
    world.market.act("fills", mode="manual")
    account = customer.funded(10_000_000_000)
    drawn = random.Random(7)  # noqa: S311 - when to kill
    mark, placed = world.market.mark(), []
    body = {
        "account_id": account["id"],
        "instrument": "SPY",
        "side": "buy",
        "quantity": 7,
        "limit_price": {"amount": 100_000, "currency": "USD"},
    }
    for turn in range(3):
        ends_s = time.monotonic() + drawn.uniform(0.1, 0.5)
        while time.monotonic() < ends_s:
            answer = customer.post("/v1/orders", body)
            assert answer.status in {201, 503}
            if answer.status == 201:
                placed.append(answer.body["id"])
        if turn % 2:
            os.kill(drawn.choice(faults.workers(server)), signal.SIGKILL)
            time.sleep(0.5)
        else:
            kill_all(server)
        customer = log_again(server, customer)
    desk = Desk(world, server, admin, customer, admin)
    for name in placed:
        desk.until(name, lambda found: found["status"] == "open", 30.0)
    fill_all(desk, account, drawn)
    for name in placed:
        desk.ended(name, "filled", 30.0)
    attempts = world.market.attempts(since=mark, operation="placeOrder")
    assert all((row.effects, row.payloads) == (1, 1) for row in attempts)
    held = world.market.state()["positions"][account["id"]]["SPY"]
    (quantity, cost) = desk.positions(account)["SPY"]
    balances = desk.customer.balances(account)
    assert quantity == held >= 7 * len(placed)
    assert (balances["holds"], balances["ledger"]) == (0, 10_000_000_000 - cost)
    assert server.stop() == 0


def fill_all(desk: Desk, account: dict[str, Any], drawn: random.Random) -> None:
    """Have the market fill what it has, while a worker is killed; it repeats its reports."""
    open_there = [
        row["client_order_id"]
        for row in desk.market.state()["orders"]
        if row["account_ref"] == account["id"]
    ]
    for number, name in enumerate(open_there):
        if number == len(open_there) // 2:
            os.kill(drawn.choice(faults.workers(desk.server)), signal.SIGKILL)
            desk.customer = log_again(desk.server, desk.customer)
        desk.market.act("fill", client_order_id=name, quantity=3)
        desk.market.act("fill", client_order_id=name)


def test_unconfigured_there_is_no_market(tmp_path: Path, run_server: Any) -> None:
    server = run_server(init_database(tmp_path / "book.db"))
    _, customer = people(server)
    account = customer.funded(10_000)
    desk = Desk(None, server, customer, customer, customer)  # type: ignore[arg-type]  # there is none
    answer = desk.order(account)
    assert (answer.status, answer.code) == (503, "integration_unavailable")
    assert customer.balances(account)["holds"] == 0
    assert customer.get("/v1/orders").body["data"] == []
    headers = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    forged = Client(server.port).send("POST", "/v1/callbacks/market", {}, headers=headers)
    assert forged.status == 401
    assert forged.code == "signature_invalid"


def test_who_goes_on_with_forged_reports_is_turned_away(tmp_path: Path, run_server: Any) -> None:
    server = run_server(init_database(tmp_path / "book.db"))
    client, headers = Client(server.port), {"webhook-id": "a", "webhook-timestamp": "1"}
    statuses = [
        client.send("POST", "/v1/callbacks/market", {}, headers=headers).status for _ in range(160)
    ]
    assert statuses[0] == 401
    assert statuses.count(429) > 0
    assert set(statuses) == {401, 429}
    assert log_in(server.port, "admin", ADMIN_PASSWORD).get("/v1/audit?limit=1").status == 200
