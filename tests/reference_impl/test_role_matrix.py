"""Every operation that the reference declares, asked by every role, on objects of another owner.

What each cell must be comes from `x-alluse-roles` of the contract: a role that is not listed is
403, one that reaches own objects only finds those of others 404, nobody without a token is let in.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
import yaml

from certification.contract import Operation
from certification.contract.examples import media_types
from reference_impl.capability import MODULES
from tests.reference_impl._desk import CONTRACT, Desk, opened

PRINCIPALS = ("customer", "operator", "manager", "admin", "auditor", "service")
OUTSIDE = {"getStrategy", "getStrategyExecution"}
"""What they show is made at an outside system, and there is none here."""
DECLARED = {module["id"]: module for module in MODULES}


def declared(operation: Operation) -> bool:
    module: Any = DECLARED.get(operation.module)
    if module is None or operation.draft:
        return False
    return operation.id not in {row["operationId"] for row in module.get("deviations", ())}


OPERATIONS = [one for one in CONTRACT.operations.values() if declared(one)]
SECURED = [one for one in OPERATIONS if "public" not in one.roles]
DOCUMENT = yaml.safe_load(
    files("certification.contract").joinpath("openapi.yaml").read_text("utf-8")
)
EXAMPLES = {
    media.where.split(" ")[0]: media.examples[0][1]
    for media in media_types(DOCUMENT)
    if " request " in media.where and media.examples
}


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with opened(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.fixture(scope="module")
def people(admin: Desk) -> dict[str, Desk]:
    """One stranger of each role; the admin is not the one that makes the objects."""
    return {role: admin.new_user(role) for role in PRINCIPALS}


@pytest.fixture(scope="module")
def owner(admin: Desk) -> Desk:
    return admin.new_user("customer")


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD"}


class World:
    """Fresh objects of the owner, and the request of an operation about them."""

    def __init__(self, owner: Desk, operation: Operation) -> None:
        self.owner, self.operation = owner, operation
        body = {"type": "generation", "currency": "USD", "name": "n"}
        self.account = owner.post("/v1/accounts", body).json["id"]
        self.other = owner.post("/v1/accounts", body).json["id"]
        deposit = {"kind": "deposit", "amount": money(1_000), "to_account_id": self.account}
        self.posted = owner.post("/v1/transactions", deposit).json["id"]
        self.body = self._body()

    def _body(self) -> Any:
        take = {"kind": "withdrawal", "amount": money(5), "from_account_id": self.account}
        own: dict[str, Any] = {
            "createAccount": {"type": "generation", "currency": "USD", "name": "n"},
            "updateAccount": {"name": "m"},
            "closeAccount": {},
            "createTransaction": take,
            "createTransactionBatch": {"items": [take]},
            "settleTransaction": {},
            "voidTransaction": {},
            "reverseTransaction": {"reason": "booked twice"},
            "updateUser": {"status": "active"},
            "putMaintenance": {"read_only": False},
            "mergeAccounts": {"sources": [self.account], "target_id": self.other},
        }
        return own.get(self.operation.id, EXAMPLES.get(self.operation.id))

    def path(self) -> str:
        path = self.operation.path
        if path.startswith("/v1/users/"):
            named = self.owner.user_id
        elif path.startswith("/v1/transactions/"):
            named = self.posted
            if self.operation.id in {"settleTransaction", "voidTransaction"}:
                hold = {"kind": "withdrawal", "amount": money(5), "hold": True}
                held = self.owner.post(
                    "/v1/transactions", {**hold, "from_account_id": self.account}
                )
                named = held.json["id"]
        else:
            named = self.account
        path = path.replace("{type}", "generation").replace("{report}", "performance")
        return re.sub(r"\{\w+\}", named, path)

    def owned(self) -> bool:
        """Tell whether the path names an object that this world has made."""
        return bool(re.match(r"/v1/(users|accounts|transactions)/\{id\}", self.operation.path))

    def made(self) -> bool:
        """Tell whether everything that the path names is there for its owner."""
        return self.owned() and self.operation.id not in OUTSIDE

    def ask(self, who: Desk) -> Any:
        headers = {"If-Match": '"1"'} if self.operation.if_match.value == "required" else {}
        return who.send(self.operation.method, self.path(), self.body, **headers)


def expected(world: World, role: str) -> set[int]:
    """Return the refusals that this role must be given; empty: it may."""
    roles = world.operation.roles
    if role == "service" and role not in roles:
        return {403, 404}  # what it has no grant for may be hidden from it
    if role not in roles:
        return {404} if "self" in roles else {403}
    return {404} if role == "customer" and world.owned() else set()


@pytest.mark.parametrize("role", PRINCIPALS)
@pytest.mark.parametrize("operation", SECURED, ids=lambda one: one.id)
def test_a_role_may_what_the_contract_says(
    operation: Operation, role: str, owner: Desk, people: dict[str, Desk], admin: Desk
) -> None:
    if operation.id == "logout":
        return  # of oneself, whoever one is: shown below
    world = World(owner, operation)
    answer = world.ask(people[role])
    refusals = expected(world, role)
    if refusals:
        assert answer.status_code in refusals, answer.data
        assert answer.json["code"] in {"forbidden", "role_escalation", "not_found"}
    else:
        assert answer.status_code not in {401, 403, 405, 501}, answer.data
        if world.made() and operation.id != "resetMfa":
            assert answer.status_code != 404, answer.data


@pytest.mark.parametrize(
    "operation",
    [one for one in SECURED if {"customer", "self"} & set(one.roles) and one.id != "logout"],
    ids=lambda one: one.id,
)
def test_an_owner_reaches_what_is_the_own(operation: Operation, owner: Desk) -> None:
    if operation.id == "updateUser":
        return  # the own password: test_users_api
    world = World(owner, operation)
    answer = world.ask(owner)
    assert answer.status_code not in {401, 403, 405, 501}, answer.data
    if world.made():
        assert answer.status_code != 404, answer.data


@pytest.mark.parametrize("operation", SECURED, ids=lambda one: one.id)
def test_nobody_is_let_in_without_a_token(operation: Operation, owner: Desk) -> None:
    world = World(owner, operation)
    answer = world.ask(owner.other())
    assert (answer.status_code, answer.json["code"]) == (401, "token_missing")


@pytest.mark.parametrize("role", PRINCIPALS)
def test_everybody_logs_out(role: str, admin: Desk) -> None:
    somebody = admin.new_user(role)
    assert somebody.post("/v1/auth/logout").status_code == 204
    assert somebody.get("/v1/accounts").json["code"] == "token_invalid"


def test_the_matrix_covers_what_is_declared() -> None:
    assert {one.id for one in OPERATIONS if one.module == "core"} >= {"enrollMfa", "resetMfa"}
    assert len(OPERATIONS) > 25
