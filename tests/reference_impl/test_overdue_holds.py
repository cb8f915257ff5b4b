"""Holds past their time that nobody has swept yet: every operation answers beside them."""

from collections.abc import Iterator
from typing import Any

import pytest

from certification.contract import document, load_contract
from certification.contract.examples import media_types
from reference_impl import ids

from ._desk import Desk, opened

CONTRACT = load_contract()
APART = {"logout": "ends the session", "putMaintenance": "refuses whatever comes after it"}
"""Operations that would spoil those after them; neither knows of accounts."""
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there: a system that is configured and away."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STRATEGY_ENGINE", "MARKET"):
            patch.setenv(f"ALLUSE_COUNTERPARTY_{name}_URL", NOWHERE)
            patch.setenv(f"ALLUSE_COUNTERPARTY_{name}_TOKEN", "a-token-0123456789")
        patch.setenv("ALLUSE_COUNTERPARTY_MARKET_SECRET", "whsec_" + "c2VjcmV0" * 4)
        with opened(tmp_path_factory.mktemp("overdue"), rate_requests=100_000) as found:
            yield found


def held(desk: Desk, account: str) -> str:
    """Hold money on an account for a second; return the transaction."""
    body = {
        "kind": "withdrawal",
        "amount": {"amount": 10, "currency": "USD"},
        "from_account_id": account,
        "hold": True,
        "expires_at": "2027-01-15T08:00:01Z",
    }
    answer = desk.post("/v1/transactions", body)
    assert answer.status_code == 201, answer.data
    return str(answer.json["id"])


def told(desk: Desk, account: str) -> str:
    """Write that an account follows a strategy, and a comparison of it; return the latter's id."""
    name = ids.new_id("rec", desk.hands.now)

    def write(connection: Any) -> None:
        connection.execute(
            "INSERT INTO strategies VALUES (?, 'premium', '{}', 1, ?, 0, 0)",
            (account, desk.hands.now),
        )
        connection.execute(
            "INSERT INTO reconciliations (id, account_id, due_at, traceparent, created_at,"
            " created_by) VALUES (?, ?, ?, '-', ?, ?)",
            (name, account, desk.hands.now, desk.hands.now, desk.user_id),
        )

    desk.services.writer.submit(write)
    return name


def overdue(desk: Desk) -> dict[str, str]:
    """Return an object of each collection, all about accounts with a hold past its time."""
    desk.hands.now = 1_800_000_000_000  # 2027-01-15T08:00:00Z
    source, account = desk.funded(1_000), desk.funded(1_000)
    merged = desk.post("/v1/merges", {"sources": [source], "target_id": account})
    assert merged.status_code == 201, merged.data
    compared = told(desk, account)
    transaction = held(desk, account)
    desk.hands.advance(2)
    return {
        "accounts": account,
        "transactions": transaction,
        "reconciliations": compared,
        "merges": str(merged.json["id"]),
        "events": str(merged.json["event"]["id"]),
        "users": desk.new_user("customer").user_id,
        "sources": source,
    }


def requests() -> Iterator[Any]:
    """Give every operation with the bodies that the contract shows for it."""
    bodies: dict[str, list[Any]] = {}
    for found in media_types(document.read_document()):
        name, _, label = found.where.partition(" ")
        if label == "request application/json":
            bodies.setdefault(name, []).extend(value for _, value in found.examples)
    for name, operation in CONTRACT.operations.items():
        if name not in APART and operation.module != "dual_control":  # this deployment has none
            for number, body in enumerate(bodies.get(name, [None])):
                yield pytest.param(name, body, id=f"{name}-{number}")


def about(value: Any, account: str) -> Any:
    """Return an example with its accounts replaced by this one."""
    if isinstance(value, dict):
        return {name: about(member, account) for name, member in value.items()}
    if isinstance(value, list):
        return [about(member, account) for member in value]
    return account if isinstance(value, str) and value.startswith("acc_") else value


@pytest.mark.parametrize(("name", "body"), list(requests()))
def test_no_operation_fails_beside_an_overdue_hold(desk: Desk, name: str, body: Any) -> None:
    made, operation = overdue(desk), CONTRACT.operations[name]
    collection = operation.path.split("/")[2] if operation.path.count("/") > 1 else ""
    collection = "events" if operation.path.startswith("/v1/growth/events") else collection
    path = operation.path.replace("{id}", made.get(collection, "unknown"))
    path = path.replace("{execution_id}", "unknown").replace("{report}", "performance")
    path = path.replace("{type}", "generation").replace("{name}", "market")
    version = desk.get(f"/v1/accounts/{made['accounts']}").json["version"]
    answer = desk.send(
        operation.method, path, about(body, made["accounts"]), **{"If-Match": f'"{version}"'}
    )
    assert answer.status_code != 500, answer.data
    if path.endswith(made.get(collection, "-")):
        assert answer.status_code != 404, answer.data
