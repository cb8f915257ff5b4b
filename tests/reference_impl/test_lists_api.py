"""Lists: walks, filters, sorts and what their cursors are bound to."""

from typing import Any

import pytest


def walk(client: Any, path: str, between: Any = None) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        glue = "&" if "?" in path else "?"
        page = client.get(f"{path}{glue}cursor={cursor}" if cursor else path).body
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
        if between:
            between()


@pytest.mark.parametrize("sort", ["seq", "-seq"])
def test_a_walk_sees_each_item_once_whatever_is_written_meanwhile(customer: Any, sort: str) -> None:
    before = [customer.account(name=f"n{n}")["id"] for n in range(7)]
    path = f"/v1/accounts?limit=2&sort={sort}"
    ids = [item["id"] for item in walk(customer, path, customer.account)]
    assert [i for i in ids if i in before] == (before if sort == "seq" else before[::-1])
    assert len(set(ids)) == len(ids)


def test_accounts_are_sorted_by_name_with_ties(customer: Any) -> None:
    for name in ("b", "a", "c", "a", "b"):
        customer.account(name=name)
    assert [a["name"] for a in walk(customer, "/v1/accounts?sort=name&limit=2")] == list("aabbc")
    assert [a["name"] for a in walk(customer, "/v1/accounts?sort=-name&limit=2")] == list("cbbaa")


def test_accounts_are_filtered(customer: Any, operator: Any, auditor: Any) -> None:
    one = customer.account(type="revenue")
    customer.account()
    assert [a["id"] for a in customer.get("/v1/accounts?type=revenue").body["data"]] == [one["id"]]
    assert customer.get("/v1/accounts?status=closed").body["data"] == []
    owner = f"/v1/accounts?owner_id={customer.user_id}"
    assert len(operator.get(owner).body["data"]) == len(auditor.get(owner).body["data"]) == 2
    assert len(operator.get(f"/v1/accounts?root_id={one['id']}").body["data"]) == 1
    assert customer.get(f"/v1/accounts?owner_id={operator.user_id}").body["data"] == []


def test_transactions_of_a_customer_in_order(customer: Any, operator: Any) -> None:
    first, second = customer.funded(100), customer.funded(100)
    ends = {"from_account_id": first["id"], "to_account_id": second["id"]}
    transfer = customer.book("transfer", 5, **ends).body
    hold = customer.book("withdrawal", 5, from_account_id=first["id"], hold=True).body
    everything = walk(customer, "/v1/transactions?limit=1")
    assert [t["kind"] for t in everything] == ["deposit", "deposit", "transfer", "withdrawal"]
    assert walk(customer, "/v1/transactions?limit=3&sort=-seq") == everything[::-1]
    of_second = f"/v1/transactions?account_id={second['id']}"
    for who in (customer, operator):
        assert [t["kind"] for t in who.get(of_second).body["data"]] == ["deposit", "transfer"]
    pending = customer.get("/v1/transactions?status=pending&limit=1").body
    assert [t["id"] for t in pending["data"]] == [hold["id"]]
    assert pending["next_cursor"] is None
    kinds = customer.get("/v1/transactions?kind=transfer").body["data"]
    assert [t["id"] for t in kinds] == [transfer["id"]]
    later = customer.get(f"/v1/transactions?from_seq={transfer['seq']}").body["data"]
    assert [t["id"] for t in later] == [transfer["id"], hold["id"]]


def test_the_book_has_no_gaps(auditor: Any, customer: Any) -> None:
    customer.funded(5)
    seqs = [t["seq"] for t in walk(auditor, "/v1/transactions?limit=200")]
    assert seqs == list(range(1, len(seqs) + 1))


def test_entries_are_paged_in_both_directions(customer: Any, operator: Any) -> None:
    account = customer.funded(100)
    for amount in (1, 2, 3):
        customer.book("deposit", amount, to_account_id=account["id"])
    operator.book("assignment", 50, from_account_id=account["id"])
    path = f"/v1/accounts/{account['id']}/entries"
    entries = walk(customer, f"{path}?limit=2")
    assert [entry["running_balance"] for entry in entries] == [100, 101, 103, 106, 56, 50]
    assert walk(customer, f"{path}?limit=2&sort=-seq") == entries[::-1]
    shares = customer.get(f"{path}?bucket=position:shares").body["data"]
    assert [entry["amount"] for entry in shares] == [50]
    later = customer.get(f"{path}?from_seq={entries[2]['seq']}").body["data"]
    assert later == entries[2:]


def test_a_cursor_is_bound_to_its_query_and_principal(customer: Any, new_client: Any) -> None:
    for _ in range(3):
        customer.account(type="revenue")
    first = customer.get("/v1/accounts?limit=1&type=revenue").body
    cursor = first["next_cursor"]
    same = customer.get(f"/v1/accounts?cursor={cursor}&limit=1&type=revenue").body
    assert len(same["data"]) == 1
    assert same["data"] != first["data"]
    assert customer.get(f"/v1/accounts?cursor={cursor}").body == same
    for other in ("limit=2", "type=generation", "sort=-seq", "status=active"):
        answer = customer.get(f"/v1/accounts?cursor={cursor}&{other}")
        assert answer.code == "cursor_mismatch"
    assert customer.get(f"/v1/transactions?cursor={cursor}").code == "cursor_mismatch"
    assert new_client("customer").get(f"/v1/accounts?cursor={cursor}").code == "cursor_mismatch"
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for broken in (flipped, cursor[:-1], cursor + "A", "AAAA", "%00", "%C3%A9", "a" * 5000):
        assert customer.get(f"/v1/accounts?cursor={broken}").code == "invalid_cursor"


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=1.5",
        "limit=%D9%A1",
        "limit=",
        "limit=1&limit=2",
        "sort=balance",
        "type=savings",
        "status=ACTIVE",
        "owner_id=%27%20OR%201",
        "unknown=1",
        "cursor=",
    ],
)
def test_parameters_have_their_form(customer: Any, query: str) -> None:
    assert customer.get(f"/v1/accounts?{query}").code == "invalid_parameter"


def test_users_are_listed_by_name(admin: Any, new_client: Any) -> None:
    new_client("operator")
    names = [u["username"] for u in walk(admin, "/v1/users?sort=username&limit=3")]
    assert names == sorted(names)
    roles = walk(admin, "/v1/users?role=operator&limit=2")
    assert roles
    assert all("operator" in user["roles"] for user in roles)
