"""No request looks at a whole table: the plan of every statement that the operations run."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import database, housekeeping

from ._desk import Desk, opened

GROWING = (
    "accounts",
    "buckets",
    "transactions",
    "lines",
    "holds",
    "closings",
    "idempotency",
    "audit",
    "audit_nodes",
    "growth_events",
    "parties",
    "systems",
    "users",
    "sessions",
    "refresh_tokens",
    "grants",
)
"""Tables that grow with use."""
QUARTER = "2027-Q1"
ROWS = 300
"""Enough rows of each that a planner that counted them would not take a table for empty."""


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, set[str]]]:
    """Run every hot operation and give the statements that were seen, with the book."""
    seen: set[str] = set()
    original = database.connect

    def connect(path: Path, **options: Any) -> sqlite3.Connection:
        connection = original(path, **options)
        connection.set_trace_callback(seen.add)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "connect", connect)
        with opened(tmp_path_factory.mktemp("plans")) as desk:
            customer = desk.new_user("customer")
            seen.clear()
            everything(desk, customer)
            yield desk.database, set(seen)


def everything(admin: Desk, customer: Desk) -> None:
    """Send every operation that users repeat, lists with each filter and both pages."""
    for who in (customer, admin):
        one, two = (account(who) for _ in range(2))
        settle_and_void(who, admin, (one, two))
        grow(who)
        read(who, one, two)
        assert who.post("/v1/auth/refresh", {"refresh_token": who.session["refresh_token"]}).json
    admin.log_in()
    housekeeping.rounds(admin.services)


def account(who: Desk, **members: Any) -> str:
    body = {"type": "generation", "currency": "USD", "name": "Weekly income", **members}
    made = who.post("/v1/accounts", body)
    assert made.status_code == 201
    name = str(made.json["id"])
    assert book(who, "deposit", 20_000_000, to_account_id=name).status_code == 201
    return name


def book(who: Desk, kind: str, amount: int, **members: Any) -> Any:
    money = {"amount": amount, "currency": "USD"}
    return who.post("/v1/transactions", {"kind": kind, "amount": money, **members})


def settle_and_void(who: Desk, admin: Desk, accounts: tuple[str, str]) -> None:
    one, two = accounts
    sides = {"from_account_id": one, "to_account_id": two}
    assert book(who, "transfer", 5, **sides).status_code == 201
    items = [{"kind": "transfer", "amount": {"amount": 1, "currency": "USD"}, **sides}] * 3
    assert who.post("/v1/transactions/batch", {"items": items}).status_code == 200
    for action in ("settle", "void"):
        held = book(who, "transfer", 7, hold=True, **sides).json["id"]
        assert admin.post(f"/v1/transactions/{held}/{action}", {}).status_code == 200
    made = book(who, "transfer", 5, **sides).json["id"]
    reversed_ = admin.post(f"/v1/transactions/{made}/reverse", {"reason": "wrong"})
    assert reversed_.status_code == 201
    new = {"name": "Other"}
    assert who.send("PATCH", f"/v1/accounts/{one}", new, **{"If-Match": "*"}).status_code == 200
    spare = account(who)
    closed = {"sweep_to": one, "reason": "done"}
    path = f"/v1/accounts/{spare}/close"
    assert who.send("POST", path, closed, **{"If-Match": "*"}).status_code == 200


def grow(who: Desk) -> None:
    forked = who.post(f"/v1/accounts/{account(who)}/fork", {})
    assert forked.status_code == 201, forked.data
    children = [child["id"] for child in forked.json["children"]]
    body = {"sources": children, "target_id": account(who, type="compounding")}
    merged = who.post("/v1/merges", body)
    assert merged.status_code == 201, merged.data
    who.get(f"/v1/merges/{merged.json['id']}")
    revenue = account(who, type="revenue")
    money = {"amount": 2_000_000, "currency": "USD"}
    done = who.post(f"/v1/accounts/{revenue}/reinvest", {"period": QUARTER, "amount": money})
    assert done.status_code == 201, done.data
    opened_ = who.post("/v1/systems", {"name": "Mine", "amount": money})
    assert opened_.status_code == 201, opened_.data


def read(who: Desk, one: str, two: str) -> None:
    """Read single objects, and the first and the second page of every list."""
    for path in (
        f"/v1/accounts/{one}",
        f"/v1/accounts/{one}?as_of_seq=5",
        f"/v1/accounts/{one}/lineage",
    ):
        assert who.get(path).status_code == 200, path
    for path in (
        "/v1/accounts?limit=2",
        "/v1/accounts?limit=2&sort=-seq",
        "/v1/accounts?limit=2&sort=name",
        "/v1/accounts?limit=2&type=generation",
        "/v1/accounts?limit=2&sort=name&status=active",
        f"/v1/accounts?limit=2&type=generation&owner_id={who.user_id}",
        f"/v1/accounts?limit=2&owner_id={who.user_id}",
        "/v1/transactions?limit=2",
        "/v1/transactions?limit=2&sort=-seq",
        f"/v1/transactions?limit=2&account_id={two}",
        f"/v1/accounts/{one}/entries?limit=2",
        f"/v1/accounts/{one}/entries?limit=2&sort=-seq",
        "/v1/growth/events?limit=2",
        f"/v1/growth/candidates?account_id={one}",
    ):
        page = who.get(path)
        assert page.status_code == 200, (path, page.data)
        if cursor := page.json.get("next_cursor"):
            assert who.get(f"{path.partition('?')[0]}?cursor={cursor}").status_code == 200, path


def scans(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Return the steps of a plan that look at a whole growing table, or sort one.

    A scan in the order of a key that ends at a LIMIT is a page and not meant.
    """
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    paged = "LIMIT" in statement and not any("TEMP B-TREE" in step for step in plan)
    names = aliases(statement)
    found = []
    for step in plan:
        match = re.match(r"SCAN (\w+)", step)
        if match and names.get(match[1], match[1]) in GROWING and not paged:
            found.append(step)
    return found


def aliases(statement: str) -> dict[str, str]:
    """Return alias -> table."""
    pairs = re.findall(r"(?:FROM|JOIN|UPDATE)\s+(\w+)(?:\s+(?:AS\s+)?([a-z]\w*))?", statement)
    return {alias: table for table, alias in pairs if alias}


def test_every_statement_of_the_hot_paths_finds_its_rows_by_an_index(
    statements: tuple[Path, set[str]],
) -> None:
    book_path, seen = statements
    connection = sqlite3.connect(book_path)
    checked, bad = 0, []
    for statement in sorted(seen):
        text = statement.strip()
        if re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text, re.IGNORECASE):
            checked += 1
            bad += [(step, " ".join(text.split())[:300]) for step in scans(connection, text)]
    connection.close()
    assert bad == []
    assert checked > 200


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM accounts WHERE name LIKE '%x%'",
        "SELECT count(*) FROM lines",
        "SELECT a.id FROM accounts AS a ORDER BY a.created_at LIMIT 5",
        "SELECT t.id FROM transactions t WHERE t.memo = 'x'",
    ],
)
def test_a_scan_would_be_seen(statements: tuple[Path, set[str]], statement: str) -> None:
    connection = sqlite3.connect(statements[0])
    assert scans(connection, statement)
    connection.close()
