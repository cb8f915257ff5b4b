"""What shows growth, and what is refused, from outside."""

import uuid
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


def test_candidates_say_what_a_request_would_say(customer: Client) -> None:
    ready = customer.funded(2 * FORK_SURPLUS)
    poor = customer.funded(1)
    saving = customer.funded(2_000_000, type="revenue")
    data = customer.get("/v1/growth/candidates").body["data"]
    found = {(item["account_id"], item["kind"]): item for item in data}
    assert len(found) == 6
    fork_ready = found[ready["id"], "fork"]
    assert (fork_ready["eligible"], fork_ready["reasons"]) == (True, [])
    assert fork_ready["amount"] == {"amount": 2 * FORK_SURPLUS, "currency": "USD"}
    assert found[poor["id"], "fork"]["reasons"] == ["not_eligible"]
    assert found[poor["id"], "fork"]["amount"] is None
    assert found[saving["id"], "reinvest"]["amount"]["amount"] == 2_000_000
    assert found[poor["id"], "reinvest"]["reasons"] == [
        "not_eligible",
        "below_minimum",
        "amount_too_small",
    ]
    for item in data:
        account = {"id": item["account_id"]}
        if item["kind"] == "fork":
            answer = fork(customer, account, {"dry_run": True})
        else:
            answer = reinvest(
                customer, account, period=item["period"], all_available=True, dry_run=True
            )
        assert (answer.status == 200) == item["eligible"]
        assert item["eligible"] or answer.code == item["reasons"][0]


def walk(client: Client, path: str) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = client.get(f"{path}&cursor={cursor}" if cursor else path).body
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("sort", ["seq", "-seq"])
def test_lists_of_growth_are_walked_to_their_end(customer: Client, sort: str) -> None:
    parent, one, _ = family(customer)
    for _ in range(3):
        customer.book("deposit", FORK_SURPLUS, to_account_id=parent["id"])
        assert fork(customer, parent).status == 201
    customer.book("deposit", FORK_SURPLUS, to_account_id=one["id"])
    assert fork(customer, one).status == 201
    events = walk(customer, f"/v1/growth/events?limit=2&sort={sort}")
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs), reverse=sort == "-seq")
    assert len(seqs) == 5
    own = walk(customer, f"/v1/growth/events?limit=1&account_id={one['id']}&kind=fork")
    assert [event["account_id"] for event in own] == [parent["id"], one["id"]]
    last = customer.get(f"/v1/growth/events?from_seq={max(seqs)}").body["data"]
    assert [event["seq"] for event in last] == [max(seqs)]
    nodes = walk(customer, f"/v1/accounts/{one['id']}/lineage?limit=2&sort={sort}")
    assert len({node["account_id"] for node in nodes}) == len(nodes) == 11
    depths = {node["account_id"]: node["depth"] for node in nodes}
    for node in nodes:
        assert node["root_id"] == parent["id"]
        if node["parent_id"]:
            assert node["depth"] == depths[node["parent_id"]] + 1
    candidates = walk(customer, f"/v1/growth/candidates?limit=3&sort={sort}")
    keys = [(item["account_id"], item["kind"], *item.get("sources", ())) for item in candidates]
    assert len(keys) == len(set(keys)) == 11 * 2 + 5
    ready = walk(customer, f"/v1/growth/candidates?limit=3&eligible=false&sort={sort}")
    assert len(ready) == sum(not item["eligible"] for item in candidates)


def test_growth_is_summed_by_quarter_and_currency(customer: Client, auditor: Client) -> None:
    _, one, two = family(customer)
    merge(customer, one, **into(two))
    euro = customer.funded(2_000_000, type="revenue", currency="EUR")
    period = this_quarter(customer, euro)
    reinvest(customer, euro, period=period, all_available=True)
    expected = [
        {
            "period": period,
            "currency": "EUR",
            "forks": 0,
            "merges": 0,
            "reinvestments": 1,
            "forked": 0,
            "merged": 0,
            "reinvested": 2_000_000,
        },
        {
            "period": period,
            "currency": "USD",
            "forks": 1,
            "merges": 1,
            "reinvestments": 0,
            "forked": 2 * FORK_SURPLUS,
            "merged": FORK_SURPLUS,
            "reinvested": 0,
        },
    ]
    assert customer.get("/v1/growth/summary").body["periods"] == expected
    own = auditor.get(f"/v1/growth/summary?owner_id={customer.user_id}&from_period={period}")
    assert own.body["periods"] == expected
    assert customer.get("/v1/growth/summary?to_period=2020-Q1").body["periods"] == []
    assert customer.get("/v1/growth/summary?to_period=2020").status == 400
    assert auditor.get("/v1/growth/summary").body["periods"][-1]["forks"] >= 1


HOSTILE = {
    "not json": b"{",
    "not utf-8": b'{"reason": "\xff"}',
    "deep": b"[" * 100_000,
    "deep member": b'{"reason": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001,
    "repeated": b'{"mode": "policy", "mode": "policy"}',
    "nan": b'{"amount": {"amount": NaN, "currency": "USD"}}',
    "huge": b'{"amount": {"amount": ' + b"9" * 5000 + b', "currency": "USD"}}',
    "over int64": b'{"amount": {"amount": 99999999999999999999, "currency": "USD"}}',
    "exponent": b'{"amount": {"amount": 1e400, "currency": "USD"}}',
    "fraction": b'{"amount": {"amount": 1.5, "currency": "USD"}}',
    "surrogate": b'{"reason": "\\ud800"}',
    "wrong type": b'{"sources": {"a": 1}, "period": 7, "policy": [], "name": null, "legs": 3}',
    "array": b"[]",
    "number": b"7",
    "null": b"null",
    "empty": b"",
    "large": b'{"reason": "' + b"x" * 1_100_000 + b'"}',
    "odd key": '{"\u202e\U0001f600": 1}'.encode(),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_are_refused(admin: Client, raw: bytes) -> None:
    account = admin.funded(5)
    paths = [
        ("POST", "/v1/systems"),
        ("POST", f"/v1/accounts/{account['id']}/fork"),
        ("POST", "/v1/merges"),
        ("POST", f"/v1/accounts/{account['id']}/reinvest"),
        ("PUT", "/v1/growth/policies/generation"),
    ]
    for method, path in paths:
        headers = {"Idempotency-Key": str(uuid.uuid4()), "If-Match": '"1"'}
        answer = admin.send(method, path, raw=raw, headers=headers)
        assert 400 <= answer.status < 423, (path, answer.body)
    assert read(admin, account)["balances"]["ledger"] == 5


@pytest.mark.parametrize(
    "path",
    [
        "/v1/growth/candidates?kind=grow",
        "/v1/growth/candidates?eligible=yes",
        "/v1/growth/events?from_seq=-1",
        "/v1/growth/events?account_id=%00",
        "/v1/growth/events?cursor=x",
        "/v1/growth/summary?from_period=2026-Q9",
        "/v1/growth/summary?sort=seq",
        "/v1/growth/policies/none",
    ],
)
def test_wrong_parameters_are_refused(admin: Client, path: str) -> None:
    assert admin.get(path).status == 400


def test_what_is_not_there_is_not_found(admin: Client) -> None:
    lone = merge(admin, admin.funded(5), create_target={"type": "compounding"}).body
    for path in (
        "/v1/systems/sys_none",
        "/v1/growth/events/gev_none",
        "/v1/merges/gev_none",
        "/v1/accounts/acc_none/lineage",
    ):
        assert admin.get(path).status == 404
    parent = admin.funded(FORK_SURPLUS)
    event = fork(admin, parent).body["event"]["id"]
    assert admin.get(f"/v1/merges/{event}").status == 404
    assert admin.get(f"/v1/merges/{lone['id']}").status == 200


def test_grants_hide_and_open_growth(
    customer: Client, admin: Client, new_client: Callable[..., Client]
) -> None:
    parent, one, two = family(customer)
    merged = merge(customer, one, **into(two)).body
    machine = new_client("service")
    assert machine.get("/v1/growth/events").code == "forbidden"
    give = {"principal_id": machine.user_id, "scope": "growth:read"}
    assert admin.post("/v1/grants", give).status == 201
    path = f"/v1/growth/events?account_id={parent['id']}"
    assert [event["kind"] for event in machine.get(path).body["data"]] == ["fork"]
    assert fork(machine, parent).code == "forbidden"
    take = {
        "principal_id": customer.user_id,
        "scope": "accounts:read",
        "effect": "deny",
        "object_id": two["id"],
    }
    assert admin.post("/v1/grants", take).status == 201
    assert customer.get(f"/v1/merges/{merged['id']}").status == 404
    assert customer.get(f"/v1/transactions/{merged['event']['transaction_id']}").status == 404
    assert [e["kind"] for e in customer.get("/v1/growth/events").body["data"]] == ["fork"]
    seen = {item["account_id"] for item in customer.get("/v1/growth/candidates").body["data"]}
    assert seen == {parent["id"]}
    nodes = customer.get(f"/v1/accounts/{parent['id']}/lineage").body["data"]
    assert {node["account_id"] for node in nodes} == {parent["id"], one["id"]}
    kinds = [t["kind"] for t in customer.get("/v1/transactions").body["data"]]
    assert kinds == ["deposit"]
