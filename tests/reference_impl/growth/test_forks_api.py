"""Systems and forks from outside."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.reference_impl.growth.requests import (
    FORK_SURPLUS,
    Client,
    fork,
    into,
    merge,
    read,
    reinvest,
)


def test_a_system_opens_by_the_split_of_the_policy(customer: Client) -> None:
    body = {"name": "First", "amount": {"amount": 10_000_001, "currency": "USD"}}
    made = customer.post("/v1/systems", {**body, "metadata": {"plan": 7}})
    assert made.status == 201
    accounts = made.body["accounts"]
    assert [a["type"] for a in accounts] == ["generation", "revenue", "compounding"]
    assert [a["balances"]["ledger"] for a in accounts] == [4_000_001, 3_000_000, 3_000_000]
    for account in accounts:
        assert account["base_amount"] == account["balances"]["ledger"]
        assert (account["root_id"], account["depth"]) == (account["id"], 0)
        assert account["metadata"] == {"plan": 7}
    assert [a["withdrawal_allowed"] for a in accounts] == [True, True, False]
    assert customer.get(made.headers["location"]).body == made.body
    opening = customer.get(f"/v1/transactions/{made.body['transaction_id']}").body
    assert opening["kind"] == "opening"
    assert min(line["amount"] for line in opening["lines"]) == -10_000_001
    listed = customer.get(f"/v1/transactions?account_id={accounts[1]['id']}").body["data"]
    assert [transaction["id"] for transaction in listed] == [opening["id"]]


@pytest.mark.parametrize(
    ("money", "code"),
    [
        ({"amount": 1, "currency": "USD"}, "amount_too_small"),
        ({"amount": 100, "currency": "XXX"}, "unsupported_currency"),
    ],
)
def test_a_system_that_cannot_be_split_is_refused(customer: Client, money: Any, code: str) -> None:
    refused = customer.post("/v1/systems", {"name": "n", "amount": money})
    assert (refused.status, refused.code) == (422, code)


def test_only_an_operator_opens_for_another(
    customer: Client, operator: Client, new_client: Callable[..., Client]
) -> None:
    other = new_client("customer")
    body = {"name": "n", "amount": {"amount": 100, "currency": "JPY"}, "owner_id": other.user_id}
    assert customer.post("/v1/systems", body).code == "forbidden"
    made = operator.post("/v1/systems", body)
    assert made.body["owner_id"] == other.user_id
    assert other.get(made.headers["location"]).status == 200
    assert customer.get(made.headers["location"]).status == 404
    assert operator.post("/v1/systems", {**body, "owner_id": "usr_no"}).status == 404


def test_a_fork_splits_the_surplus_to_the_unit(customer: Client, usd: Callable[[], int]) -> None:
    parent = customer.funded(15_000_001, base_amount=10_000_000)
    before = usd()
    made = fork(customer, parent, {"reason": "enough"})
    assert made.status == 201
    assert usd() == before
    event, children = made.body["event"], made.body["children"]
    assert [leg["amount"] for leg in event["legs"]] == [2_500_001, 2_500_000]
    assert [c["balances"]["ledger"] for c in children] == [2_500_001, 2_500_000]
    assert [c["type"] for c in children] == ["generation", "compounding"]
    assert [leg["account_id"] for leg in event["legs"]] == [c["id"] for c in children]
    for child in children:
        assert child["base_amount"] == child["balances"]["ledger"]
        assert (child["parent_id"], child["root_id"]) == (parent["id"], parent["root_id"])
        assert (child["depth"], child["policy_ref"]) == (1, parent["policy_ref"])
        assert child["owner_id"] == customer.user_id
        assert read(customer, child) == {**child, "balances": read(customer, child)["balances"]}
    assert made.body["parent"]["balances"]["ledger"] == 10_000_000
    assert made.body["parent"]["base_amount"] == 10_000_000
    assert event["facts"]["surplus"] == event["facts"]["trigger_value"] == 5_000_001
    assert event["facts"]["threshold"] == FORK_SURPLUS
    assert customer.get(made.headers["location"]).body == event
    transaction = customer.get(f"/v1/transactions/{event['transaction_id']}").body
    assert (transaction["kind"], transaction["seq"]) == ("fork", event["seq"])
    assert sum(line["amount"] for line in transaction["lines"]) == 0


def test_a_fork_is_repeated_by_its_key_without_a_second_child(customer: Client) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    key = str(uuid.uuid4())
    first, second = (fork(customer, parent, key=key) for _ in range(2))
    assert first.raw == second.raw
    assert second.headers["idempotency-replayed"] == "true"
    lineage = customer.get(f"/v1/accounts/{parent['id']}/lineage").body["data"]
    assert len(lineage) == 3


def test_a_dry_run_changes_nothing(customer: Client) -> None:
    parent = customer.funded(250 + FORK_SURPLUS)
    before = read(customer, parent)
    trial = fork(customer, parent, {"dry_run": True})
    assert trial.status == 200
    assert [leg["amount"] for leg in trial.body["legs"]] == [2_500_125, 2_500_125]
    assert trial.body["facts"]["surplus"] == 250 + FORK_SURPLUS
    assert read(customer, parent) == before
    refused = fork(customer, customer.funded(1), {"dry_run": True})
    assert (refused.status, refused.code) == (422, "not_eligible")


def test_an_account_below_its_threshold_does_not_fork(customer: Client) -> None:
    parent = customer.funded(FORK_SURPLUS + 99, base_amount=100)
    assert fork(customer, parent).code == "not_eligible"
    customer.book("deposit", 1, to_account_id=parent["id"])
    assert fork(customer, parent).status == 201
    assert fork(customer, parent).code == "not_eligible"
    revenue = customer.funded(2 * FORK_SURPLUS, type="revenue")
    assert fork(customer, revenue).code == "not_eligible"


def test_holds_and_the_minimum_balance_stay(customer: Client, manager: Client) -> None:
    parent = customer.funded(FORK_SURPLUS)
    hold = customer.book("withdrawal", 1, from_account_id=parent["id"], hold=True)
    assert fork(customer, parent).code == "not_eligible"
    customer.post(f"/v1/transactions/{hold.body['id']}/void", {})
    tag = customer.get(f"/v1/accounts/{parent['id']}").headers["etag"]
    manager.patch(f"/v1/accounts/{parent['id']}", {"min_balance": 1}, tag=tag)
    assert fork(customer, parent).code == "not_eligible"


def test_an_explicit_fork_is_for_managers(customer: Client, manager: Client) -> None:
    parent = customer.funded(250, base_amount=0)
    legs = [
        {"type": "generation", "bps": 5000},
        {"type": "revenue", "bps": 4500},
        {"type": "compounding", "bps": 500},
    ]
    money = {"amount": 250, "currency": "USD"}
    body = {"mode": "explicit", "amount": money, "legs": legs}
    assert fork(customer, parent, body).code == "forbidden"
    short = {**body, "legs": legs[:2]}
    assert fork(manager, parent, short).code == "shares_invalid"
    euro = {**body, "amount": {"amount": 250, "currency": "EUR"}}
    assert fork(manager, parent, euro).code == "currency_mismatch"
    tiny = {**body, "amount": {"amount": 3, "currency": "USD"}}
    assert fork(manager, parent, tiny).code == "amount_too_small"
    made = fork(manager, parent, body)
    assert [c["balances"]["ledger"] for c in made.body["children"]] == [125, 113, 12]
    assert {c["owner_id"] for c in made.body["children"]} == {customer.user_id}
    assert made.body["event"]["mode"] == "explicit"


def test_a_manager_overrides_the_surplus_but_not_the_floor(
    customer: Client, manager: Client
) -> None:
    parent = customer.funded(1000, base_amount=1000)
    body = {
        "mode": "explicit",
        "amount": {"amount": 950, "currency": "USD"},
        "legs": [{"type": "revenue", "bps": 10_000}],
    }
    assert fork(manager, parent, body).code == "not_eligible"
    too_much = {**body, "amount": {"amount": 951, "currency": "USD"}, "override": True}
    assert fork(manager, parent, too_much).code == "not_eligible"
    made = fork(manager, parent, {**body, "override": True})
    assert (made.status, made.body["event"]["override"]) == (201, True)


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "explicit"},
        {"amount": {"amount": 5, "currency": "USD"}},
        {"override": True},
        {"mode": "both"},
        {"legs": []},
        {"mode": "explicit", "amount": {"amount": 0, "currency": "USD"}, "legs": [{}]},
        {"dry_run": "yes"},
        {"reason": "\u0000"},
        {"surprise": 1},
        [],
        None,
    ],
)
def test_a_fork_of_a_wrong_shape_is_refused(customer: Client, body: Any) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    raw = b"null" if body is None else None
    path = f"/v1/accounts/{parent['id']}/fork"
    refused = customer.post(path, body, raw=raw)
    assert refused.status == 400, refused.body


def test_if_match_guards_a_fork(customer: Client) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    assert fork(customer, parent, headers={"If-Match": '"7"'}).code == "precondition_failed"
    assert fork(customer, parent, headers={"If-Match": '"1"'}).status == 201


def test_growth_belongs_to_the_owner_or_a_manager(
    customer: Client, operator: Client, auditor: Client, new_client: Callable[..., Client]
) -> None:
    parent = customer.funded(2 * FORK_SURPLUS)
    stranger = new_client("customer")
    target = stranger.account(type="compounding")
    assert fork(stranger, parent).status == 404
    assert merge(stranger, parent, **into(target)).status == 404
    assert reinvest(stranger, parent, period="2026-Q1", all_available=True).status == 404
    for client in (operator, auditor):
        assert fork(client, parent).code == "forbidden"
        assert merge(client, parent, **into(target)).code == "forbidden"
    made = fork(customer, parent)
    for path in (made.headers["location"], f"/v1/accounts/{parent['id']}/lineage"):
        assert stranger.get(path).status == 404
        assert auditor.get(path).status == 200
    assert stranger.get(f"/v1/growth/events?account_id={parent['id']}").body["data"] == []
    assert stranger.get(f"/v1/growth/candidates?account_id={parent['id']}").body["data"] == []
    assert stranger.get(f"/v1/growth/summary?owner_id={customer.user_id}").body["periods"] == []
