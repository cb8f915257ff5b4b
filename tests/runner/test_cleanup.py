"""What a run made is put away, also where reads lag behind writes; what cannot be is named."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from certification.cleanup import Created, tidy_up
from certification.target.outcomes import ConnectionLost, Lost


def account(status: str = "active", ledger: int = 0, holds: int = 0, kept: int = 0) -> Any:
    """`kept` is cash that cannot be withdrawn."""
    return {"status": status, "ledger": ledger, "holds": holds, "kept": kept, "version": 1}


@dataclass
class Late:
    """Accounts whose reads show what stood when writes arrived last."""

    accounts: dict[str, Any]
    arrived: dict[str, Any] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    lost: str = ""
    """The account about which nothing is answered."""

    def arrive(self) -> None:
        self.arrived = deepcopy(self.accounts)

    def call(self, operation: str, **request: Any) -> Any:
        self.sent.append(operation)
        body = request.get("body", {})
        name = request.get("path", {}).get("id") or body.get("from_account_id")
        if name == self.lost:
            raise ConnectionLost(number=1, reason=Lost.DEADLINE, detail="nothing came")
        if operation == "getAccount":
            return self.read(self.arrived[name])
        if operation == "listTransactions":
            held = request["query"]["account_id"]
            return SimpleNamespace(body={"data": [{"id": held}], "next_cursor": None})
        return self.write(operation, self.accounts[name], request)

    def read(self, row: Any) -> Any:
        available = row["ledger"] - row["holds"] - row["kept"]
        balances = {"available": available, "holds": row["holds"]}
        body = {"status": row["status"], "currency": "USD", "balances": balances}
        return SimpleNamespace(status=200, etag=row["version"], body=body)

    def write(self, operation: str, row: Any, request: Any) -> Any:
        reply = SimpleNamespace(status=200, operation=operation, problem_code=None)
        if request.get("if_match", row["version"]) != row["version"]:
            reply.status, reply.problem_code = 412, "precondition_failed"
            return reply
        if operation == "closeAccount" and row["ledger"]:
            reply.status, reply.problem_code = 409, "balance_not_zero"
            return reply
        row["version"] += 1
        if operation == "updateAccount":
            row["status"] = "active"
        elif operation == "voidTransaction":
            row["holds"] = 0
        elif operation == "createTransaction":
            row["ledger"] -= request["body"]["amount"]["amount"]
        else:
            row["status"] = "closed"
        return reply


def tidied(deployment: Late) -> list[tuple[str, str]]:
    made = tuple(Created(kind="account", id=name, owner="customer") for name in deployment.accounts)
    sessions: Any = {"customer": deployment, "anonymous": deployment}
    left = tidy_up(made, sessions, let_writes_arrive=deployment.arrive)
    return [(row.id, row.detail) for row in left]


@pytest.mark.parametrize(
    "row",
    [
        account(),
        account(ledger=5),
        account(ledger=5, holds=3),
        account("suspended", ledger=5),
        account("suspended", ledger=5, holds=5),
    ],
)
def test_what_reads_late_is_closed_all_the_same(row: Any) -> None:
    deployment = Late({"a": row, "b": account(ledger=9)})
    assert tidied(deployment) == []
    assert [(one["status"], one["ledger"]) for one in deployment.accounts.values()] == [
        ("closed", 0),
        ("closed", 0),
    ]


def test_an_account_without_anything_costs_one_read() -> None:
    deployment = Late({"a": account()})
    tidied(deployment)
    assert deployment.sent == ["getAccount", "closeAccount"]


def test_what_has_ended_is_left_alone() -> None:
    deployment = Late({"a": account("closed"), "b": account("merged")})
    assert tidied(deployment) == []
    assert deployment.sent == ["getAccount", "getAccount"]


def test_what_stays_is_named_with_the_deployments_words() -> None:
    deployment = Late({"a": account(ledger=7, kept=2), "b": account(), "c": account()}, lost="b")
    rest = dict(tidied(deployment))
    assert rest.keys() == {"a", "b"}
    assert rest["a"] == "closeAccount answered 409 balance_not_zero"
    assert "nothing came" in rest["b"]
    assert deployment.accounts["c"]["status"] == "closed"


def test_without_an_admin_users_stay_and_are_named() -> None:
    made = (Created(kind="user", id="u", owner="admin"),)
    sessions: Any = {"anonymous": None}
    (left,) = tidy_up(made, sessions, let_writes_arrive=lambda: None)
    assert left.detail == "no admin identity to put the user away"
