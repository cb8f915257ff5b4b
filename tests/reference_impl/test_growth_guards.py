"""What holds for growth whatever fails: nothing is half done, and the database guards it."""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import audit, config, idempotency, journal, setup
from reference_impl.app import create_app
from reference_impl.growth import births, events, merge

PASSWORD = "an admin's long password"
TABLES = (
    "accounts",
    "buckets",
    "transactions",
    "lines",
    "systems",
    "growth_events",
    "parties",
    "audit",
    "idempotency",
)


class Desk:
    """An application without a server, and the rows behind it."""

    def __init__(self, path: Path) -> None:
        setup.create(path, "admin", PASSWORD)
        self.path = path
        app = create_app(config.Settings(database=path))
        self.shared = app.extensions["alluse"]
        self.client = app.test_client()
        self.token = ""
        body = {"username": "admin", "password": PASSWORD}
        self.token = self.post("/v1/auth/login", body).json["access_token"]

    def post(self, path: str, body: Any, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body)
        return self.client.post(path, data=data, headers=headers, content_type="application/json")

    def funded(self, amount: int, **members: Any) -> str:
        body = {"type": "generation", "currency": "USD", "name": "n", **members}
        account_id = str(self.post("/v1/accounts", body).json["id"])
        money = {"amount": amount, "currency": "USD"}
        deposit = {"kind": "deposit", "amount": money, "to_account_id": account_id}
        assert self.post("/v1/transactions", deposit).status_code == 201
        return account_id

    def customer(self) -> str:
        """Make a customer and return its token."""
        body = {"username": "customer", "password": PASSWORD, "roles": ["customer"]}
        assert self.post("/v1/users", body).status_code == 201
        body = {"username": "customer", "password": PASSWORD}
        return str(self.post("/v1/auth/login", body).json["access_token"])

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        with sqlite3.connect(self.path) as connection:
            return {
                table: connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - own names
                for table in TABLES
            }


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "book.db")
    yield made
    made.shared.writer.close()
    made.shared.readers.get().close()


class FaultError(Exception):
    """What a step is made to raise."""


EVERY = [
    (journal, "own_bucket"),
    (journal, "post"),
    (events, "write_parties"),
    (audit, "append"),
    (idempotency, "remember"),
]
STEPS = {
    "system": [*EVERY, (births, "open_account")],
    "fork": [*EVERY, (births, "open_account"), (events, "append")],
    "merge": [
        *EVERY,
        (births, "open_account"),
        (merge, "end_sources"),
        (merge, "raise_base"),
        (events, "append"),
    ],
    "reinvest": [*EVERY, (events, "append")],
}
FAULTS = [
    pytest.param(operation, owner, step, id=f"{operation}-{step}")
    for operation, steps in STEPS.items()
    for owner, step in steps
]


@pytest.fixture(scope="module")
def busy_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("faults") / "book.db")
    yield made
    made.shared.writer.close()
    made.shared.readers.get().close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("operation", "owner", "step"), FAULTS)
def test_a_fault_at_any_step_leaves_nothing(  # noqa: PLR0917 - one parameter for each dimension
    busy_desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    owner: Any,
    step: str,
    after: bool,
) -> None:
    desk = busy_desk
    one, two = desk.funded(5_000_000), desk.funded(3_000_000, type="revenue")
    target = {"create_target": {"type": "compounding"}}
    period = events.quarter_of(desk.shared.clock.now_ms())
    path, body = {
        "system": (
            "/v1/systems",
            {"name": "n", "amount": {"amount": 100, "currency": "USD"}},
        ),
        "fork": (f"/v1/accounts/{one}/fork", {}),
        "merge": ("/v1/merges", {"sources": [one, two], **target}),
        "reinvest": (f"/v1/accounts/{two}/reinvest", {"period": period, "all_available": True}),
    }[operation]
    real = getattr(owner, step)
    hits = 0

    def broken(*given: Any, **named: Any) -> Any:
        nonlocal hits
        hits += 1
        if after:
            real(*given, **named)
        raise FaultError

    before, key = desk.rows(), str(uuid.uuid4())
    monkeypatch.setattr(owner, step, broken)
    answer = desk.post(path, body, key)
    monkeypatch.undo()
    assert hits  # the writer may run a change again, alone
    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert desk.rows() == before
    answer = desk.post(path, body, key)
    assert answer.status_code == 201


@pytest.fixture
def book(desk: Desk) -> Iterator[tuple[sqlite3.Connection, str, str]]:
    parent, other = desk.funded(5_000_000), desk.funded(1)
    desk.post(f"/v1/accounts/{parent}/fork", {})
    desk.post(f"/v1/accounts/{other}/close", {})
    connection = sqlite3.connect(desk.path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection, parent, other
    connection.close()


COPY = """
INSERT INTO accounts (id, owner_id, type, currency, name, status, base_amount, min_balance,
  buffer_bps, withdrawal_allowed, parent_id, root_id, depth, created_at, metadata)
SELECT 'acc_new', owner_id, type, {currency}, name, 'active', 0, 0, 500, 1, id, {root}, {depth}, 1,
  '{{}}' FROM accounts WHERE id = ?
"""


@pytest.mark.parametrize(
    "wrong",
    [{"depth": "depth"}, {"depth": "depth + 2"}, {"root": "'acc_x'"}, {"currency": "'EUR'"}],
)
def test_a_child_is_one_of_its_parent(
    book: tuple[sqlite3.Connection, str, str], wrong: dict[str, str]
) -> None:
    connection, parent, _ = book
    right = {"currency": "currency", "root": "root_id", "depth": "depth + 1"}
    with pytest.raises(sqlite3.IntegrityError, match="come from the parent"):
        connection.execute(COPY.format(**{**right, **wrong}), (parent,))
    connection.execute(COPY.format(**right), (parent,))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE growth_events SET amount = 1", "never changed"),
        ("DELETE FROM growth_events", "never deleted"),
        ("UPDATE growth_policies SET sha256 = ''", "never changed"),
        ("DELETE FROM growth_policies", "never deleted"),
        ("UPDATE accounts SET parent_id = NULL", "birth are fixed"),
        ("INSERT INTO growth_events SELECT * FROM growth_events", "UNIQUE"),
    ],
)
def test_what_growth_wrote_stays(
    book: tuple[sqlite3.Connection, str, str], statement: str, message: str
) -> None:
    with pytest.raises(sqlite3.Error, match=message):
        book[0].execute(statement)


def test_a_merge_leads_to_another_account_that_is_active(
    book: tuple[sqlite3.Connection, str, str],
) -> None:
    connection, parent, _ = book
    child = connection.execute("SELECT id FROM accounts WHERE depth = 1").fetchone()[0]
    end = "UPDATE accounts SET status = 'merged', merged_into_id = ? WHERE id = ?"
    with pytest.raises(sqlite3.IntegrityError, match="another account that is active"):
        connection.execute(end, (parent, parent))
    connection.execute("UPDATE accounts SET status = 'suspended' WHERE id = ?", (child,))
    with pytest.raises(sqlite3.IntegrityError, match="another account that is active"):
        connection.execute(end, (child, parent))


def test_a_period_is_reinvested_once_whatever_the_program_does(desk: Desk) -> None:
    account = desk.funded(4_000_000, type="revenue")
    body = {"period": "2026-Q1", "all_available": True}
    assert desk.post(f"/v1/accounts/{account}/reinvest", body).status_code == 201
    with sqlite3.connect(desk.path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(growth_events)")]
        names = ", ".join(columns)
        again = ", ".join({"seq": "1", "id": "'gev_2'"}.get(name, name) for name in columns)
        with pytest.raises(sqlite3.IntegrityError, match=r"account_id, growth_events\.period"):
            connection.execute(
                f"INSERT INTO growth_events ({names}) SELECT {again} FROM growth_events"  # noqa: S608 - own names
            )


def test_no_request_for_growth_scans_a_table(desk: Desk) -> None:
    """Every statement that growth runs finds its rows by an index, whatever the book holds."""
    parent, other = desk.funded(10_000_000), desk.funded(2_000_000, type="revenue")
    statements: set[str] = set()
    for connection in (desk.shared.readers.get(), desk.shared.writer._connection):
        connection.set_trace_callback(statements.add)
    period = events.quarter_of(desk.shared.clock.now_ms())
    desk.post("/v1/systems", {"name": "n", "amount": {"amount": 100, "currency": "USD"}})
    made = desk.post(f"/v1/accounts/{parent}/fork", {}).json
    desk.post(f"/v1/accounts/{other}/reinvest", {"period": period, "all_available": True})
    sources = [child["id"] for child in made["children"]]
    merged = desk.post("/v1/merges", {"sources": sources, "target_id": other}).json
    lists = [
        f"/v1/{name}{query}"
        for name in ("growth/events", "growth/candidates", f"accounts/{parent}/lineage")
        for query in ("", "?sort=-seq", "?limit=1")
    ]
    filters = [f"?account_id={parent}", "?kind=fork", f"?kind=merge&account_id={parent}"]
    lists += [f"/v1/growth/events{query}" for query in filters]
    lists += [f"/v1/growth/candidates{query}" for query in filters]
    lists += [f"/v1/growth/events/{made['event']['id']}", f"/v1/merges/{merged['id']}"]
    lists += [f"/v1/transactions?account_id={parent}&kind=merge"]
    users = {"customer": desk.customer(), "admin": desk.token}
    for token in users.values():
        for path in lists:
            answer = desk.client.get(path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code in {200, 404}
    with sqlite3.connect(f"file:{desk.path}?mode=ro", uri=True) as connection:
        for statement in filter(of_growth, statements):
            steps = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            slow = {step[3] for step in steps if step[3].startswith("SCAN")}
            # A list of everything is read in the order of its key, and ends at its limit.
            assert slow <= {"SCAN CONSTANT ROW", "SCAN e"}, (statement, slow)
            assert "SCAN e" not in slow or "ORDER BY e.seq" in statement


def of_growth(statement: str) -> bool:
    """Tell whether a statement reads or changes rows of growth."""
    tables = ("growth_", "parties", "systems", "merged_into_id", "a.root_id = ")
    return statement.startswith(("SELECT", "UPDATE")) and any(name in statement for name in tables)
