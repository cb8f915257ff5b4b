"""Reports over a real server: what they show, who gets them, and how a spreadsheet reads them."""

import csv
import hashlib
import io
import json
import time
from typing import Any

import pytest

WINDOW = {"from": "2026-09-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
QUERY = "?from=2026-09-01T00:00:00Z&to=2026-11-01T00:00:00Z"
TIMEOUT_S = 20.0
EVIL = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    '=HYPERLINK("https://evil.example","x")',
    "  =1+1",
    "＝1+1",  # noqa: RUF001 - a spreadsheet takes the wide form too
    "'=1",
    'a "quoted", text',
]


def finished(client: Any, location: str) -> dict[str, Any]:
    """Wait until a report has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        shown = client.get(location).body
        if shown["status"] in {"done", "failed"}:
            return dict(shown)
        time.sleep(0.02)
    raise AssertionError("the report did not end")


def built(client: Any, body: dict[str, Any]) -> tuple[dict[str, Any], Any, list[dict[str, str]]]:
    """Ask for a report, wait, and return its state, the JSON export and the rows of the CSV."""
    asked = client.post("/v1/reports", body)
    assert asked.status == 201, asked.body
    assert asked.headers["location"] == f"/v1/reports/{asked.body['id']}"
    shown = finished(client, asked.headers["location"])
    assert shown["status"] == "done", shown
    path = f"{asked.headers['location']}/export"
    table, document = client.get(path), client.get(f"{path}?format=json")
    for answer, export in zip((table, document), shown["exports"], strict=True):
        assert export["sha256"] == hashlib.sha256(answer.raw).hexdigest()
        assert export["bytes"] == len(answer.raw) == int(answer.headers["content-length"])
    rows = list(csv.DictReader(io.StringIO(table.raw.decode())))
    assert shown["rows"] == len(document.body["rows"])
    return shown, document.body, rows


@pytest.fixture(scope="module")
def saver(new_client: Any, manager: Any) -> tuple[Any, list[str]]:
    """A customer with three accounts, two of them in use."""
    owner = new_client("customer")
    first, second, third = (
        owner.account(name=name, currency=currency)["id"]
        for name, currency in (("first", "USD"), ("second", "USD"), ("third", "JPY"))
    )
    for number, (kind, amount, members) in enumerate(
        [
            ("deposit", 50_000, {"to_account_id": first, "memo": "start"}),
            ("premium", 400, {"to_account_id": first}),
            ("transfer", 9_000, {"from_account_id": first, "to_account_id": second}),
            ("fee", 25, {"from_account_id": second}),
            ("assignment", 1_000, {"from_account_id": first}),
        ]
    ):
        at = f"2026-09-{10 + number:02d}T12:00:00Z"
        assert manager.book(kind, amount, effective_at=at, **members).status == 201
    return owner, [first, second, third]


def test_a_portfolio_shows_the_performance_of_each_account(saver: Any) -> None:
    owner, accounts = saver
    shown, document, table = built(owner, {"report": "portfolio", **WINDOW})
    assert (shown["owner_id"], shown["rows"]) == (owner.user_id, 3)
    assert [row["account_id"] for row in document["rows"]] == accounts
    for row in document["rows"][:2]:
        path = f"/v1/accounts/{row['account_id']}/analytics/performance{QUERY}"
        answer = owner.get(path).body
        for name, figure in answer["figures"].items():
            assert row[name] == figure["value"], name
        assert row["entries"] == answer["entries"]
    assert document["rows"][2]["closing_value"] == "0"
    assert document["rows"][2]["time_weighted_return"] is None
    assert [row["row"] for row in table] == ["account"] * 3 + ["total"] * 2
    for line, row in zip(table, document["rows"] + document["totals"], strict=True):
        for name, value in row.items():
            assert line[name] == ("" if value is None else str(value)), name


def test_what_moves_inside_a_portfolio_is_no_flow_of_its_total(saver: Any) -> None:
    owner, _ = saver
    _, document, _ = built(owner, {"report": "portfolio"})
    yen, dollars = document["totals"]
    assert (yen["currency"], yen["accounts"], yen["entries"]) == ("JPY", 1, 0)
    assert (dollars["currency"], dollars["accounts"]) == ("USD", 2)
    figures = (dollars["inflows"], dollars["outflows"], dollars["gains"], dollars["fees"])
    assert figures == ("50000", "0", "400", "-25")
    assert dollars["closing_value"] == "50375"
    # Without a window, every row starts with the day of the first entry of them all.
    assert {row["from"] for row in document["rows"]} == {"2026-09-10T00:00:00.000Z"}


def test_entries_are_those_of_the_account(saver: Any) -> None:
    owner, (first, second, _) = saver
    shown, document, table = built(owner, {"report": "entries"})
    listed = [
        {**entry, "account_id": account, "account_name": name}
        for account, name in ((first, "first"), (second, "second"))
        for entry in owner.get(f"/v1/accounts/{account}/entries?limit=200").body["data"]
    ]
    memos = [row.pop("memo") for row in document["rows"]]
    assert document["rows"] == listed
    assert memos[0] == "start"
    assert document["totals"] == []
    assert shown["rows"] == len(table) == len(listed) == 7
    assert [line["amount"] for line in table] == [str(row["amount"]) for row in listed]


def test_a_window_cuts_entries_by_their_effective_time(saver: Any) -> None:
    owner, (first, *_) = saver
    body = {"report": "entries", "account_id": first}
    window = {"from": "2026-09-10T12:00:00Z", "to": "2026-09-12T12:00:00Z"}
    _, document, _ = built(owner, {**body, **window})
    assert [row["kind"] for row in document["rows"]] == ["deposit", "premium"]
    assert document["from"] == "2026-09-10T12:00:00.000Z"


def test_what_is_booked_later_is_not_in_a_report(customer: Any) -> None:
    account = customer.funded(100)["id"]
    asked = customer.post("/v1/reports", {"report": "entries"})
    customer.book("deposit", 5, to_account_id=account)
    customer.account()
    finished(customer, asked.headers["location"])
    document = customer.get(f"{asked.headers['location']}/export?format=json").body
    assert [row["amount"] for row in document["rows"]] == [100]


def test_a_system_is_reported_as_its_lineage(customer: Any) -> None:
    money = {"amount": 10_000_000, "currency": "USD"}
    opened = customer.post("/v1/systems", {"name": "s", "amount": money}).body
    customer.funded(5)
    shown, document, _ = built(customer, {"report": "portfolio", "system_id": opened["id"]})
    assert shown["system_id"] == opened["id"]
    assert [row["account_id"] for row in document["rows"]] == [a["id"] for a in opened["accounts"]]
    assert document["totals"][0]["closing_value"] == "10000000"


@pytest.mark.parametrize("text", EVIL)
def test_no_cell_is_a_formula(customer: Any, text: str) -> None:
    account = customer.account(name=text)["id"]
    customer.book("deposit", 10, to_account_id=account, memo=text)
    customer.book("withdrawal", 4, from_account_id=account)
    _, document, table = built(customer, {"report": "entries"})
    assert {row["account_name"] for row in document["rows"]} == {text}
    for line in table:
        for cell in line.values():
            number = cell.removeprefix("-").isdigit()
            assert number or not cell.strip().startswith(("=", "+", "-", "@", "＝"))  # noqa: RUF001
    assert [line["amount"] for line in table] == ["10", "-4"]
    assert table[0]["memo"] in {text, f"'{text}"}


def test_a_report_without_accounts_is_empty(customer: Any) -> None:
    for name in ("portfolio", "entries"):
        shown, document, table = built(customer, {"report": name})
        assert (shown["rows"], document["totals"], table) == (0, [], [])


def test_a_report_belongs_to_the_owner_of_its_accounts(
    saver: Any, customer: Any, operator: Any, auditor: Any
) -> None:
    owner, (first, *_) = saver
    asked = operator.post("/v1/reports", {"report": "portfolio", "owner_id": owner.user_id})
    path = asked.headers["location"]
    assert finished(owner, path)["created_by"] == operator.user_id
    for reader in (owner, operator, auditor):
        assert reader.get(f"{path}/export").status == 200
    for missing in (path, f"{path}/export", "/v1/reports/rpt_none", "/v1/reports/rpt_none/export"):
        assert customer.get(missing).status == 404
    assert operator.post("/v1/reports", {"report": "entries", "account_id": first}).status == 201


def test_nobody_asks_for_more_than_may_be_seen(saver: Any, customer: Any, auditor: Any) -> None:
    owner, (first, *_) = saver
    stranger = {"report": "portfolio", "owner_id": owner.user_id}
    assert customer.post("/v1/reports", stranger).code == "forbidden"
    assert customer.post("/v1/reports", {"report": "entries", "account_id": first}).status == 404
    missing = {"report": "entries", "system_id": "sys_none"}
    assert customer.post("/v1/reports", missing).status == 404
    assert auditor.post("/v1/reports", {"report": "portfolio"}).code == "forbidden"


def test_an_operator_names_an_owner_that_exists(operator: Any) -> None:
    body = {"report": "portfolio", "owner_id": "usr_none"}
    assert operator.post("/v1/reports", body).code == "not_found"


def test_a_repeated_request_is_one_report(saver: Any) -> None:
    owner, _ = saver
    body = {"report": "portfolio"}
    first, second = (owner.post("/v1/reports", body, key="k" * 20) for _ in range(2))
    assert (first.body, second.headers["idempotency-replayed"]) == (second.body, "true")
    other = owner.post("/v1/reports", {"report": "entries"}, key="k" * 20)
    assert other.code == "idempotency_payload_mismatch"
    assert owner.post("/v1/reports", body, key="").code == "idempotency_key_missing"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"report": "lineage"},
        {"report": ["portfolio"]},
        {"report": "portfolio", "format": "csv"},
        {"report": "portfolio", "account_id": "acc_1", "system_id": "sys_1"},
        {"report": "portfolio", "account_id": "acc_1", "owner_id": "usr_1"},
        {"report": "portfolio", "account_id": "../../etc"},
        {"report": "portfolio", "account_id": None},
        {"report": "portfolio", "from": "2026-10-02T00:00:00Z", "to": "2026-10-01T00:00:00Z"},
        {"report": "portfolio", "from": "1970-01-01T00:00:00Z"},
        {"report": "portfolio", "to": "2999-01-01T00:00:00Z"},
        {"report": "portfolio", "to": "0001-01-01T00:00:00+14:00"},
        {"report": "portfolio", "from": 10**20},
        {"report": "portfolio", "from": "2026-10-02T00:00:00"},
        {"report": "portfolio", "from": "\u0000"},
    ],
)
def test_a_body_of_another_shape_is_refused(customer: Any, body: Any) -> None:
    assert customer.post("/v1/reports", body).code == "validation_failed"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"report":"portfolio","report":"entries"}',
        b'{"report":"portfolio","from":NaN}',
        b'{"report":"portfolio","from":1e999}',
        b"\xff",
        b"[" * 100_000,
        b'{"report":"\\ud800"}',
    ],
)
def test_a_body_that_is_not_json_is_refused(customer: Any, raw: bytes) -> None:
    assert customer.post("/v1/reports", raw=raw).code == "malformed_json"


def test_a_body_that_is_too_large_is_refused(customer: Any) -> None:
    raw = json.dumps({"report": "x" * 2_000_000}).encode()
    assert customer.post("/v1/reports", raw=raw).code == "body_too_large"


@pytest.mark.parametrize("query", ["?format=xml", "?format=csv&format=json", "?limit=1"])
def test_a_format_that_is_none_is_refused(saver: Any, query: str) -> None:
    owner, _ = saver
    asked = owner.post("/v1/reports", {"report": "portfolio"})
    answer = owner.get(f"{asked.headers['location']}/export{query}")
    assert answer.code == "invalid_parameter"


def test_the_module_is_declared(customer: Any) -> None:
    modules = customer.get("/.well-known/alluse").body["modules"]
    assert {"id": "analytics", "version": "0.1.0", "level": "full"} in modules
