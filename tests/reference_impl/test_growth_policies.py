"""Growth under other policies and at other times, with a clock that the test moves."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certification.contract import load_contract
from reference_impl import config, setup
from reference_impl.app import create_app
from reference_impl.growth import policies

PASSWORD = "an admin's long password"
DAY_S = 86_400
PRESETS = {
    path.stem: msgspec.json.decode(path.read_bytes()) for path in policies.PRESETS.glob("*.json")
}
CONTRACT = load_contract()


@dataclass
class Hands:
    """A clock that stands still until it is moved."""

    now: int = int(datetime(2026, 11, 20, 9, 30, tzinfo=UTC).timestamp() * 1000)

    def now_ms(self) -> int:
        return self.now


@dataclass
class Desk:
    """An application without a server, as its admin, and its clock."""

    client: Any
    hands: Hands
    token: str = ""

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {"Idempotency-Key": str(uuid.uuid4()), "Authorization": f"Bearer {self.token}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        options: dict[str, Any] = {"headers": given, "method": method}
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        answer = self.client.open(path, **options)
        assert answer.status_code < 500, answer.json
        return answer

    def log_in(self) -> None:
        body = {"username": "admin", "password": PASSWORD}
        self.token = self.send("POST", "/v1/auth/login", body).json["access_token"]

    def later(self, seconds: float) -> None:
        self.hands.now += int(seconds * 1000)
        self.log_in()

    def put(self, account_type: str, policy: Any, tag: str | None = None) -> Any:
        path = f"/v1/growth/policies/{account_type}"
        tag = tag or self.send("GET", path).headers["ETag"]
        return self.send("PUT", path, {"policy": policy}, If_Match=tag)

    def funded(self, amount: int, **members: Any) -> str:
        body = {"type": "generation", "currency": "USD", "name": "n", **members}
        account_id = str(self.send("POST", "/v1/accounts", body).json["id"])
        self.deposit(account_id, amount, body["currency"])
        return account_id

    def deposit(self, account_id: str, amount: int, currency: str = "USD") -> None:
        money = {"amount": amount, "currency": currency}
        body = {"kind": "deposit", "amount": money, "to_account_id": account_id}
        assert self.send("POST", "/v1/transactions", body).status_code == 201

    def fork(self, account_id: str, body: Any = None) -> Any:
        return self.send("POST", f"/v1/accounts/{account_id}/fork", body or {})

    def account(self, account_id: str) -> dict[str, Any]:
        return dict(self.send("GET", f"/v1/accounts/{account_id}").json)

    def candidates(self, kind: str, account_id: str) -> list[dict[str, Any]]:
        path = f"/v1/growth/candidates?kind={kind}&account_id={account_id}"
        return list(self.send("GET", path).json["data"])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    path = tmp_path / "book.db"
    setup.create(path, "admin", PASSWORD)
    hands = Hands()
    app = create_app(config.Settings(database=path), hands)
    made = Desk(app.test_client(), hands)
    made.log_in()
    yield made
    shared = app.extensions["alluse"]
    shared.writer.close()
    shared.readers.get().close()


def changed(name: str, /, **parts: Any) -> dict[str, Any]:
    """A policy of its own that differs from a preset in parts: fork__cool_down_s=5."""
    policy = json.loads(json.dumps(PRESETS[name]))
    policy["name"] = f"own-{uuid.uuid4().hex[:8]}"
    for path, value in parts.items():
        section, _, member = path.rpartition("__")
        (policy[section] if section else policy)[member] = value
    return dict(policy)


# The policy as a resource


def test_a_new_book_follows_classic(desk: Desk) -> None:
    for account_type in ("generation", "revenue", "compounding"):
        answer = desk.send("GET", f"/v1/growth/policies/{account_type}")
        assert answer.json["policy"] == PRESETS["classic"]
        assert (answer.json["policy_ref"], answer.json["version"]) == ("classic@1", 1)
        same = desk.send(
            "GET", f"/v1/growth/policies/{account_type}", If_None_Match=answer.headers["ETag"]
        )
        assert same.status_code == 304
    assert desk.send("GET", "/v1/growth/policies/savings").json["code"] == "invalid_parameter"


def test_another_policy_is_put_in_force_under_its_tag(desk: Desk) -> None:
    before = desk.send("GET", "/.well-known/alluse")
    done = desk.put("generation", PRESETS["halving"])
    assert done.status_code == 200
    operation = CONTRACT.operations["putGrowthPolicy"]
    assert not operation.response_violations(200, "application/json", done.json)
    assert (done.json["policy_ref"], done.json["version"]) == ("halving@1", 2)
    assert done.headers["ETag"] == '"2"'
    after = desk.send("GET", "/.well-known/alluse")
    refs = {found["account_type"]: found["policy_ref"] for found in after.json["growth_policy"]}
    assert refs["generation"] == "halving@1"
    assert refs["revenue"] == "classic@1"
    assert before.headers["ETag"] != after.headers["ETag"]
    path, body = "/v1/growth/policies/generation", {"policy": PRESETS["classic"]}
    assert desk.send("PUT", path, body, If_Match='"1"').json["code"] == "precondition_failed"
    assert desk.send("PUT", path, body).json["code"] == "precondition_required"
    assert desk.put("generation", PRESETS["classic"]).json["version"] == 3


def test_a_policy_is_never_changed_under_its_name(desk: Desk) -> None:
    other = {**PRESETS["classic"], "buffer_bps": 400}
    refused = desk.put("revenue", other)
    assert (refused.status_code, refused.json["code"]) == (422, "policy_invalid")
    assert refused.json["errors"] == [{"pointer": "/policy/version", "code": "taken"}]
    assert desk.put("revenue", {**other, "version": 2}).json["policy_ref"] == "classic@2"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"fork__legs": [{"type": "same", "bps": 9999}]}, 422),
        ({"merge__sources_min": 9, "merge__sources_max": 2}, 422),
        ({"fork__fraction_bps": 5}, 400),
        ({"merge__threshold_major": None}, 400),
        ({"fork__account_types": ["generation", "generation"]}, 400),
        ({"surprise": 1}, 400),
        ({"buffer_bps": 10_001}, 400),
        ({"buffer_bps": 1.5}, 400),
        ({"name": "Own"}, 400),
        ({"version": 10**30}, 200),
    ],
)
def test_a_wrong_policy_is_refused(desk: Desk, change: dict[str, Any], status: int) -> None:
    answer = desk.put("generation", changed("classic", **change))
    assert answer.status_code == status, answer.json
    operation = CONTRACT.operations["putGrowthPolicy"]
    violations = operation.response_violations(status, answer.content_type, answer.json)
    assert not violations


def test_events_keep_the_policy_they_happened_under(desk: Desk) -> None:
    parent = desk.funded(10_000_000)
    first = desk.fork(parent).json["event"]
    desk.put("generation", PRESETS["halving"])
    desk.deposit(parent, 10_000_000)
    second = desk.fork(parent)
    assert second.status_code == 409  # the halving policy counts the fork of before
    desk.later(DAY_S)
    second = desk.fork(parent).json["event"]
    assert (first["policy_ref"], second["policy_ref"]) == ("classic@1", "halving@1")
    again = desk.send("GET", f"/v1/growth/events/{first['id']}").json
    assert again == first


# Forks and time


def test_halving_halves_waits_a_day_and_keeps_its_floor(desk: Desk) -> None:
    desk.put("generation", PRESETS["halving"])
    parent = desk.funded(24_000_001)
    made = desk.fork(parent).json
    assert [child["type"] for child in made["children"]] == ["generation"]
    assert made["children"][0]["balances"]["ledger"] == 12_000_000
    refused = desk.fork(parent)
    assert (refused.status_code, refused.json["code"]) == (409, "fork_cooldown_active")
    assert refused.headers["Retry-After"] == str(DAY_S)
    assert refused.json["retryable"] is True
    assert desk.candidates("fork", parent)[0]["reasons"] == ["fork_cooldown_active"]
    desk.later(DAY_S - 0.001)
    assert desk.fork(parent).headers["Retry-After"] == "1"
    desk.later(0.001)
    assert desk.fork(parent).json["event"]["amount"] == 6_000_000
    desk.later(DAY_S)
    assert desk.fork(parent).json["event"]["amount"] == 3_000_000
    desk.later(DAY_S)
    assert desk.fork(parent).json["code"] == "not_eligible"
    desk.put("generation", changed("halving", fork__threshold_major=20_000))
    assert desk.fork(parent).json["code"] == "not_eligible"  # 15,000 would remain, not 25,000
    assert desk.account(parent)["balances"]["ledger"] == 3_000_001


def test_a_refusal_that_passes_is_not_kept_by_its_key(desk: Desk) -> None:
    desk.put("generation", PRESETS["halving"])
    parent, key = desk.funded(24_000_000), str(uuid.uuid4())
    desk.fork(parent)
    path = f"/v1/accounts/{parent}/fork"
    assert desk.send("POST", path, {}, Idempotency_Key=key).status_code == 409
    desk.later(DAY_S)
    assert desk.send("POST", path, {}, Idempotency_Key=key).status_code == 201


def test_a_day_takes_as_many_forks_as_the_policy_says(desk: Desk) -> None:
    desk.put("generation", changed("halving", fork__cool_down_s=0, fork__per_day_max=2))
    parent = desk.funded(100_000_000)
    assert desk.fork(parent).status_code == 201
    desk.later(3600)
    assert desk.fork(parent).status_code == 201
    assert desk.fork(parent).headers["Retry-After"] == str(DAY_S - 3600)
    desk.later(DAY_S - 3600)
    assert desk.fork(parent).status_code == 201


def test_depth_ends_where_the_policy_says(desk: Desk) -> None:
    desk.put("generation", changed("classic", fork__max_depth=1))
    child = desk.fork(desk.funded(10_000_000)).json["children"][0]["id"]
    desk.deposit(child, 10_000_000)
    refused = desk.fork(child)
    assert (refused.status_code, refused.json["code"]) == (422, "lineage_depth_exceeded")


def test_the_gain_since_the_last_fork_is_what_counts(desk: Desk) -> None:
    rules = {"fork__trigger": "gain_since_last_fork", "fork__fork_amount": "threshold"}
    desk.put("generation", changed("classic", **rules))
    parent = desk.funded(12_000_000)
    assert desk.fork(parent).status_code == 201
    assert desk.fork(parent).json["code"] == "not_eligible"
    desk.deposit(parent, 4_999_999)
    assert desk.candidates("fork", parent)[0]["facts"]["trigger_value"] == 4_999_999
    desk.deposit(parent, 1)
    assert desk.fork(parent).json["event"]["amount"] == 5_000_000


def test_amounts_follow_the_currency(desk: Desk) -> None:
    assert desk.fork(desk.funded(49_999, currency="JPY")).json["code"] == "not_eligible"
    yen = desk.fork(desk.funded(50_001, currency="JPY")).json["event"]
    assert [leg["amount"] for leg in yen["legs"]] == [25_001, 25_000]
    dinar = desk.fork(desk.funded(50_000_000, currency="BHD")).json["event"]
    assert dinar["facts"]["threshold"] == 50_000_000


# Maturing


def test_a_small_system_matures_by_age(desk: Desk) -> None:
    for account_type in ("generation", "compounding"):
        desk.put(account_type, PRESETS["constitution-1.3"])
    parent = desk.funded(10_000_000)
    made = desk.fork(parent).json
    assert [child["type"] for child in made["children"]] == [
        "generation", "revenue", "compounding"
    ]  # fmt: skip
    sources = [child["id"] for child in made["children"]]
    body = {"mode": "policy", "sources": sources, "create_target": {"type": "compounding"}}
    refused = desk.send("POST", "/v1/merges", body)
    assert refused.json["code"] == "below_merge_threshold"
    assert desk.candidates("merge", parent)[0]["reasons"] == ["below_merge_threshold"]
    desk.later(3 * 365 * DAY_S)
    assert desk.candidates("merge", parent)[0]["eligible"] is True
    assert desk.send("POST", "/v1/merges", body).status_code == 201
    assert desk.candidates("merge", parent) == []


def test_a_small_system_matures_at_three_times_its_value(desk: Desk) -> None:
    for account_type in ("generation", "compounding"):
        desk.put(account_type, PRESETS["constitution-1.3"])
    parent = desk.funded(10_000_000)
    child = desk.fork(parent).json["children"][1]["id"]
    desk.deposit(child, 19_999_999)
    assert desk.candidates("merge", parent)[0]["eligible"] is False
    desk.deposit(child, 1)
    assert desk.candidates("merge", parent)[0]["eligible"] is True


# Reinvestments and time


def test_each_quarter_is_reinvested_once_and_from_its_day(desk: Desk) -> None:
    desk.put("revenue", PRESETS["halving"])
    account = desk.funded(10_000_000, type="revenue")
    path = f"/v1/accounts/{account}/reinvest"
    ask = {"period": "2026-Q4", "all_available": True}
    assert desk.send("POST", path, ask).json["code"] == "period_not_open"
    desk.later(25 * DAY_S)
    done = desk.send("POST", path, ask).json
    assert done["event"]["amount"] == 8_500_000
    assert desk.send("POST", path, ask).json["code"] == "already_reinvested"
    desk.later(90 * DAY_S)
    assert desk.candidates("reinvest", account)[0]["period"] == "2027-Q1"
    desk.deposit(account, 10_000_000)
    next_quarter = {"period": "2027-Q1", "all_available": True}
    assert desk.send("POST", path, next_quarter).status_code == 201
    periods = desk.send("GET", "/v1/growth/summary").json["periods"]
    assert [period["period"] for period in periods] == ["2026-Q4", "2027-Q1"]


def test_a_tax_reserve_is_set_aside_first(desk: Desk) -> None:
    desk.put("revenue", PRESETS["constitution-1.3"])
    account = desk.funded(1_000_001, type="revenue")
    body = {"period": "2026-Q4", "amount": {"amount": 1_000_001, "currency": "USD"}}
    done = desk.send("POST", f"/v1/accounts/{account}/reinvest", body).json
    assert done["account"]["balances"]["buckets"] == {
        "cash": 0,
        "tax_reserve": 300_000,
        "position:contracts": 525_001,
        "position:leaps": 175_000,
    }
    target = desk.funded(1, type="compounding")
    merge = {"sources": [account], "target_id": target}
    merged = desk.send("POST", "/v1/merges", merge).json["target"]["balances"]
    assert merged["buckets"] == {**done["account"]["balances"]["buckets"], "cash": 1}


# Contributed capital


def test_contributions_raise_the_base_where_the_policy_says(desk: Desk) -> None:
    desk.put("generation", changed("classic", base_mode="contributed"))
    account = desk.funded(1000, base_amount=10)
    revenue = desk.funded(1000, type="revenue")
    assert desk.account(account)["base_amount"] == 1010
    assert desk.account(revenue)["base_amount"] == 0
    body = {
        "kind": "withdrawal",
        "amount": {"amount": 30, "currency": "USD"},
        "from_account_id": account,
    }
    desk.send("POST", "/v1/transactions", body)
    assert desk.account(account)["base_amount"] == 980
    hold = desk.send("POST", "/v1/transactions", {**body, "hold": True}).json["id"]
    assert desk.account(account)["base_amount"] == 980
    desk.send("POST", f"/v1/transactions/{hold}/settle", {})
    assert desk.account(account)["base_amount"] == 950
    transfer = {**body, "kind": "transfer", "to_account_id": revenue}
    desk.send("POST", "/v1/transactions", transfer)
    assert desk.account(account)["base_amount"] == 950


def test_a_reversal_takes_a_contribution_back(desk: Desk) -> None:
    desk.put("generation", changed("classic", base_mode="contributed"))
    account = desk.funded(5000)
    entries = desk.send("GET", f"/v1/accounts/{account}/entries").json["data"]
    revenue = desk.funded(1000, type="revenue")

    def reverse(transaction: str) -> None:
        body = {"reason": "by mistake"}
        answer = desk.send("POST", f"/v1/transactions/{transaction}/reverse", body)
        assert answer.status_code == 201, answer.data

    def figures() -> tuple[int, int]:
        shown = desk.account(account)
        return shown["balances"]["ledger"], shown["base_amount"]

    out = {
        "kind": "withdrawal",
        "amount": {"amount": 2000, "currency": "USD"},
        "from_account_id": account,
    }
    made = desk.send("POST", "/v1/transactions", out).json["id"]
    assert figures() == (3000, 3000)
    reverse(made)
    assert figures() == (5000, 5000)
    held = desk.send("POST", "/v1/transactions", {**out, "hold": True}).json["id"]
    part = {"amount": {"amount": 500, "currency": "USD"}}
    desk.send("POST", f"/v1/transactions/{held}/settle", part)
    assert figures() == (4500, 4500)
    reverse(held)
    assert figures() == (5000, 5000)
    moved = {**out, "kind": "transfer", "to_account_id": revenue}
    reverse(desk.send("POST", "/v1/transactions", moved).json["id"])
    assert figures() == (5000, 5000)
    reverse(entries[0]["transaction_id"])
    assert figures() == (0, 0)
