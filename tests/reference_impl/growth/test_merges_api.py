"""Merges and reinvestments from outside."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.reference_impl.growth.requests import (
    FORK_SURPLUS,
    Client,
    family,
    fork,
    into,
    merge,
    read,
    reinvest,
    this_quarter,
)


def test_a_merge_moves_every_bucket_and_ends_the_sources(
    customer: Client, operator: Client, usd: Callable[[], int]
) -> None:
    one, two = customer.funded(700), customer.funded(30, min_balance=20)
    operator.book("assignment", 200, from_account_id=one["id"])
    target = customer.funded(11, type="compounding", base_amount=5)
    before = usd()
    made = merge(customer, one, two, **into(target), reason="fewer")
    assert made.status == 201
    assert usd() == before
    now = made.body["target"]
    assert now["balances"]["buckets"] == {"cash": 541, "position:shares": 200}
    assert now["base_amount"] == 5 + 530
    assert now["version"] == target["version"] + 1
    for source in made.body["sources"]:
        assert (source["status"], source["merged_into_id"]) == ("merged", target["id"])
        figures = source["balances"]
        assert figures["ledger"] == figures["available"] == figures["total_value"] == 0
        assert not any(figures["buckets"].values())
    event = made.body["event"]
    assert (event["amount"], event["kind"]) == (730, "merge")
    assert {(leg["account_id"], leg["bucket"], leg["amount"]) for leg in event["legs"]} == {
        (one["id"], "cash", 500),
        (one["id"], "position:shares", 200),
        (two["id"], "cash", 30),
    }
    assert customer.get(made.headers["location"]).body == made.body
    assert customer.get(f"/v1/growth/events/{event['id']}").body == event
    for account in (one, two, target):
        listed = customer.get(f"/v1/transactions?account_id={account['id']}&kind=merge").body
        assert [t["id"] for t in listed["data"]] == [event["transaction_id"]]


def test_a_merged_account_is_read_for_ever_and_written_never(
    customer: Client, manager: Client
) -> None:
    source, target = customer.funded(100), customer.account(type="compounding")
    spare = customer.account()
    history = customer.get(f"/v1/accounts/{source['id']}/entries").body["data"]
    assert merge(customer, source, **into(target)).status == 201
    path = f"/v1/accounts/{source['id']}"
    shown = customer.get(path)
    assert shown.body["status"] == "merged"
    assert customer.get(f"{path}/entries").body["data"][:1] == history
    assert customer.get(f"{path}/lineage").status == 200
    tag = shown.headers["etag"]
    writes = [
        customer.book("deposit", 1, to_account_id=source["id"]),
        customer.book("withdrawal", 1, from_account_id=source["id"]),
        customer.book("transfer", 1, from_account_id=target["id"], to_account_id=source["id"]),
        customer.patch(path, {"name": "new"}, tag=tag),
        customer.post(f"{path}/close", {}, headers={"If-Match": tag}),
        fork(customer, source),
        reinvest(customer, source, period="2026-Q1", all_available=True),
        merge(customer, source, **into(spare)),
        merge(customer, spare, **into(source)),
    ]
    for refused in writes:
        assert (refused.status, refused.code) == (409, "account_merged"), refused.body
        assert refused.body["merged_into_id"] == target["id"]
    transaction = customer.get(f"/v1/transactions?account_id={target['id']}").body["data"][0]
    undo = manager.post(f"/v1/transactions/{transaction['id']}/reverse", {"reason": "no"})
    assert (undo.status, undo.code) == (422, "not_reversible")


def test_a_merge_can_open_its_target(customer: Client) -> None:
    _, one, two = family(customer)
    lone = customer.funded(5)
    made = merge(customer, one, two, create_target={"type": "compounding", "name": "All"})
    target = made.body["target"]
    assert made.body["target_created"] is True
    assert (target["name"], target["type"], target["version"]) == ("All", "compounding", 1)
    assert (target["parent_id"], target["root_id"]) == (None, one["root_id"])
    assert target["depth"] == 1
    assert target["base_amount"] == target["balances"]["ledger"] == 2 * FORK_SURPLUS
    other = merge(customer, target, lone, create_target={"type": "compounding"})
    last = other.body["target"]
    assert (last["root_id"], last["depth"]) == (last["id"], 0)
    assert read(customer, one)["merged_into_id"] == target["id"]


def test_merges_inside_a_family_leave_births_alone(customer: Client) -> None:
    parent, one, two = family(customer)
    assert merge(customer, one, **into(two)).status == 201
    customer.book("deposit", 1, to_account_id=parent["id"])
    assert merge(customer, parent, **into(two)).status == 201
    nodes = customer.get(f"/v1/accounts/{one['id']}/lineage").body["data"]
    found = {node["account_id"]: node for node in nodes}
    assert found[two["id"]]["parent_id"] == parent["id"]
    assert found[two["id"]]["effective_parent_id"] is None
    assert found[one["id"]]["effective_parent_id"] == two["id"]
    assert [event["role"] for event in found[two["id"]]["events"]] == ["child", "target", "target"]


def test_what_cannot_merge_is_refused(customer: Client, manager: Client) -> None:
    source, target = customer.funded(100), customer.account(type="compounding")
    empty, euro = customer.account(), customer.funded(5, currency="EUR")
    refusals = [
        (merge(customer, source, source, **into(target)), 422, "duplicate_source"),
        (merge(customer, source, target, **into(target)), 422, "target_in_sources"),
        (merge(customer, *[source] * 11, **into(target)), 422, "duplicate_source"),
        (merge(customer, empty, **into(target)), 422, "nothing_to_merge"),
        (merge(customer, euro, **into(target)), 422, "currency_mismatch"),
        (merge(customer, source, mode="policy", **into(target)), 422, "below_merge_threshold"),
        (merge(customer, source, **into(target), override=True), 403, "forbidden"),
        (merge(customer, source, **into({"id": "acc_none"})), 404, "not_found"),
        (merge(customer, source), 400, "validation_failed"),
        (merge(customer, source, **into(target), partial=True), 400, "validation_failed"),
        (merge(customer, **into(target)), 400, "validation_failed"),
    ]
    hold = customer.book(
        "transfer", 1, from_account_id=source["id"], to_account_id=target["id"], hold=True
    ).body
    refusals.append((merge(customer, source, **into(empty)), 409, "pending_holds"))
    refusals.append((merge(customer, customer.funded(1), **into(target)), 409, "pending_holds"))
    customer.post(f"/v1/transactions/{hold['id']}/void", {})
    other = manager.funded(5)
    refusals.append((merge(manager, source, other, **into(target)), 422, "owner_mismatch"))
    manager.patch(f"/v1/accounts/{source['id']}", {"status": "suspended"}, tag='"1"')
    refusals.append((merge(customer, source, **into(target)), 409, "account_not_active"))
    for refused, status, code in refusals:
        assert (refused.status, refused.code) == (status, code), refused.body
    assert read(customer, target)["balances"]["ledger"] == 0


def test_eleven_sources_are_too_many(customer: Client) -> None:
    target = customer.account(type="compounding")
    sources = [customer.funded(1) for _ in range(11)]
    assert merge(customer, *sources, **into(target)).code == "too_many_sources"
    assert merge(customer, *sources[:10], **into(target)).status == 201
    assert read(customer, target)["balances"]["ledger"] == 10


def test_a_family_of_enough_value_merges_by_the_policy(customer: Client) -> None:
    _, one, two = family(customer, 50_000_001)
    candidate = next(
        found
        for found in customer.get("/v1/growth/candidates?kind=merge").body["data"]
        if set(found["sources"]) == {one["id"], two["id"]}
    )
    assert candidate["eligible"] is True
    assert candidate["amount"]["amount"] == 50_000_001
    target = {"create_target": {"type": "compounding"}}
    alone = merge(customer, one, mode="policy", **target)
    assert alone.code == "below_merge_threshold"
    made = merge(customer, one, two, mode="policy", **target)
    assert made.status == 201
    assert made.body["event"]["facts"]["trigger_value"] == 50_000_001
    assert customer.get("/v1/growth/candidates?kind=merge").body["data"] == []


def test_a_reinvestment_moves_cash_into_positions(customer: Client, usd: Callable[[], int]) -> None:
    account = customer.funded(4_000_000, type="revenue", base_amount=3_000_000)
    period = this_quarter(customer, account)
    money = {"amount": 1_000_001, "currency": "USD"}
    before = usd()
    trial = reinvest(customer, account, period=period, amount=money, dry_run=True)
    assert trial.status == 200
    assert read(customer, account)["balances"]["ledger"] == 4_000_000
    made = reinvest(customer, account, period=period, amount=money)
    assert made.status == 201
    assert usd() == before
    assert made.body["event"]["legs"] == trial.body["legs"]
    figures = made.body["account"]["balances"]
    assert figures["buckets"] == {
        "cash": 2_999_999,
        "position:contracts": 750_001,
        "position:leaps": 250_000,
    }
    assert figures["total_value"] == 4_000_000
    assert customer.get(made.headers["location"]).body == made.body["event"]
    again = reinvest(customer, account, period=period, amount=money)
    assert (again.status, again.code) == (409, "already_reinvested")
    nodes = customer.get(f"/v1/accounts/{account['id']}/lineage").body["data"]
    assert [event["role"] for event in nodes[0]["events"]] == ["self"]
    entries = customer.get(f"/v1/accounts/{account['id']}/entries").body["data"]
    assert [entry["amount"] for entry in entries] == [4_000_000, -1_000_001, 750_001, 250_000]


def test_all_that_is_available_is_what_the_buffer_leaves(customer: Client) -> None:
    account = customer.funded(4_000_000, type="compounding", base_amount=3_000_000)
    customer.book(
        "transfer",
        1,
        from_account_id=account["id"],
        to_account_id=customer.account()["id"],
        hold=True,
    )
    made = reinvest(customer, account, period=this_quarter(customer, account), all_available=True)
    assert made.body["event"]["amount"] == 4_000_000 - 1 - 150_000
    assert made.body["account"]["balances"]["available"] == 150_000


def test_other_legs_are_for_managers(customer: Client, manager: Client) -> None:
    account = customer.funded(4_000_000, type="revenue")
    ask = {"period": this_quarter(customer, account), "all_available": True}
    shares = [{"bucket": "position:shares", "bps": 10_000}]
    assert reinvest(customer, account, **ask, legs=shares).code == "forbidden"
    twice = [{"bucket": "position:shares", "bps": 5_000}] * 2
    assert reinvest(manager, account, **ask, legs=twice).code == "shares_invalid"
    made = reinvest(manager, account, **ask, legs=shares)
    assert made.body["event"]["mode"] == "explicit"
    assert made.body["account"]["balances"]["buckets"]["position:shares"] == 4_000_000


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"amount": {"amount": 999_999, "currency": "USD"}}, 422, "below_minimum"),
        ({"amount": {"amount": 4_000_001, "currency": "USD"}}, 422, "insufficient_available"),
        ({"amount": {"amount": 100_000_001, "currency": "USD"}}, 422, "above_maximum"),
        ({"amount": {"amount": 1_000_000, "currency": "EUR"}}, 422, "currency_mismatch"),
        ({"all_available": True, "period": "9999-Q1"}, 422, "period_not_open"),
        ({"all_available": True, "period": "2026-Q5"}, 400, "validation_failed"),
        ({"all_available": False}, 400, "validation_failed"),
        ({}, 400, "validation_failed"),
    ],
)
def test_a_reinvestment_that_breaks_a_rule_is_refused(
    customer: Client, members: dict[str, Any], status: int, code: str
) -> None:
    account = customer.funded(200_000_000 if code == "above_maximum" else 4_000_000, type="revenue")
    refused = reinvest(customer, account, **{"period": "2026-Q1", **members})
    assert (refused.status, refused.code) == (status, code), refused.body
    assert fork(customer, account).code == "not_eligible"
