"""Maintenance that begins while an outside system is asked: nothing is booked until it ends."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.hosting import Host
from certification.counterparties.parties import Counterparties
from tests.reference_impl._waiting import wait_for
from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    Client,
    init_database,
    log_in,
    start_server,
)

from .conftest import Place, a_user, told

PATIENT = ("--call-timing", "4000/30/1")
"""An attempt may take longer than it takes to switch maintenance on."""


@pytest.fixture
def patient(outside: tuple[Host, str], tmp_path: Path) -> Iterator[Place]:
    """A deployment of its own, which waits long for an answer."""
    host, token = outside
    with told(host, token):
        server = start_server(init_database(tmp_path / "book.db"), *PATIENT)
    parties = Counterparties.attach(host.control_url, token)
    admin = log_in(server.port, "admin", ADMIN_PASSWORD)
    operator, customer = (a_user(server, admin, role) for role in ("operator", "customer"))
    yield Place(server, parties, admin, operator, customer)
    parties.strategy_engine.clear()
    parties.close()
    assert server.stop() == 0


def read_only(place: Place, *, on: bool) -> None:
    answer = place.admin.send("PUT", "/v1/maintenance", {"read_only": on})
    assert answer.status == 200, answer.body


def test_results_that_come_in_maintenance_are_booked_once_it_is_over(patient: Place) -> None:
    account = patient.on_a_strategy()
    engine = patient.parties.strategy_engine
    mark, again = engine.mark(), Client(patient.server.port, patient.customer.token)
    path = f"/v1/accounts/{account['id']}/strategy/executions"
    with ThreadPoolExecutor(1) as pool, engine.fault(FaultKind.SLOW, delay_s=1.5):
        asked = pool.submit(again.post, path, {})
        wait_for(lambda: engine.attempts(since=mark, operation="executeStrategy"), bool, 5.0)
        read_only(patient, on=True)
        assert patient.customer.balances(account)["ledger"] == 1_000_000
        answer = asked.result(20)
    assert answer.status == 201, answer.body
    where = answer.headers["location"]
    assert patient.customer.balances(account)["ledger"] == 1_000_000
    assert patient.execution(where)["status"] == "requested"
    read_only(patient, on=False)
    assert patient.ended(where, 40.0)["status"] == "done"
    assert patient.customer.balances(account)["ledger"] == 1_030_000
    (attempts,) = engine.attempts(since=mark, operation="executeStrategy")
    assert (attempts.effects, attempts.payloads) == (1, 1)
