"""Accounts over a real server: creation, preconditions, ownership, closing."""

import concurrent.futures
from typing import Any

import pytest


def test_a_new_account_is_empty_and_can_be_read_at_its_location(customer: Any) -> None:
    body = {"type": "compounding", "currency": "JPY", "name": "Long term", "metadata": {"a": [1]}}
    created = customer.post("/v1/accounts", body)
    assert created.status == 201
    assert created.headers["etag"] == '"1"'
    account = created.body
    assert account["root_id"] == account["id"]
    assert account["owner_id"] == customer.user_id
    assert (account["withdrawal_allowed"], account["buffer_bps"]) == (False, 500)
    assert account["metadata"] == {"a": [1]}
    balances = account["balances"]
    assert (balances["ledger"], balances["exponent"], balances["available"]) == (0, 0, 0)
    assert customer.get(created.headers["location"]).body["id"] == account["id"]


def test_balances_show_buffer_and_minimum(customer: Any) -> None:
    account = customer.funded(100_000, base_amount=99_999, min_balance=300, buffer_bps=500)
    balances = customer.balances(account)
    assert balances["buffer"] == 4999
    assert balances["available"] == 99_700
    assert balances["total_value"] == 100_000


def test_an_unknown_currency_is_a_rule_and_a_malformed_one_a_shape(customer: Any) -> None:
    body = {"type": "generation", "currency": "XXX", "name": "n"}
    assert customer.post("/v1/accounts", body).code == "unsupported_currency"
    assert customer.post("/v1/accounts", {**body, "currency": "usd"}).code == "validation_failed"


def test_an_account_of_another_owner_does_not_exist(customer: Any, new_client: Any) -> None:
    other, account = new_client("customer"), customer.funded(50)
    path = f"/v1/accounts/{account['id']}"
    assert other.get(path).status == 404
    assert other.get(f"{path}/entries").status == 404
    assert other.patch(path, {"name": "mine"}, tag='"1"').status == 404
    assert other.post(f"{path}/close", {}, headers={"If-Match": '"1"'}).status == 404
    assert other.book("withdrawal", 1, from_account_id=account["id"]).status == 404
    mine = other.account()
    transfer = {"from_account_id": mine["id"], "to_account_id": account["id"]}
    assert other.book("transfer", 1, **transfer).status == 404
    seq = customer.get(f"{path}/entries").body["data"][0]["transaction_id"]
    assert other.get(f"/v1/transactions/{seq}").status == 404
    assert other.get("/v1/transactions").body["data"] == []


def test_roles_above_customer_see_every_account(customer: Any, operator: Any, auditor: Any) -> None:
    account = customer.account(external_account_ref="DE00 1234 5678")
    path = f"/v1/accounts/{account['id']}"
    assert customer.get(path).body["external_account_ref"] == "DE00 1234 5678"
    assert operator.get(path).body["external_account_ref"] == "***5678"
    assert "external_account_ref" not in auditor.get(path).body


def test_an_auditor_writes_nothing(customer: Any, auditor: Any) -> None:
    account = customer.account()
    path = f"/v1/accounts/{account['id']}"
    assert auditor.post("/v1/accounts", {"type": "revenue"}).status == 403
    assert auditor.patch(path, {"name": "x"}, tag='"1"').status == 403
    assert auditor.book("deposit", 1, to_account_id=account["id"]).status == 403


def test_an_operator_opens_accounts_for_others(customer: Any, operator: Any) -> None:
    body = {"type": "revenue", "currency": "USD", "name": "n", "owner_id": customer.user_id}
    assert operator.post("/v1/accounts", body).body["owner_id"] == customer.user_id
    assert operator.post("/v1/accounts", {**body, "owner_id": "usr_none"}).status == 404
    stranger = {**body, "owner_id": operator.user_id}
    assert customer.post("/v1/accounts", stranger).code == "forbidden"


def test_a_change_needs_the_version_it_was_based_on(customer: Any) -> None:
    account = customer.account()
    path = f"/v1/accounts/{account['id']}"
    assert customer.patch(path, {"name": "b"}).status == 428
    assert customer.patch(path, {"name": "b"}, tag='"2"').status == 412
    assert customer.patch(path, {"name": "b"}, tag='W/"1"').status == 412
    changed = customer.patch(path, {"name": "b", "metadata": {"k": "v"}}, tag='"1"')
    assert (changed.status, changed.headers["etag"], changed.body["name"]) == (200, '"2"', "b")
    assert customer.get(path, headers={"If-None-Match": '"2"'}).status == 304
    assert customer.get(path, headers={"If-None-Match": '"1"'}).status == 200


def test_of_many_writers_with_one_etag_one_succeeds(server: Any, customer: Any) -> None:
    path = f"/v1/accounts/{customer.account()['id']}"

    def change(number: int) -> int:
        other = type(customer)(server.port, customer.token)
        return int(other.patch(path, {"name": f"n{number}"}, tag='"1"').status)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change, range(8))) == [200] + [412] * 7


def test_money_does_not_move_the_etag_but_the_balance_version(customer: Any) -> None:
    account = customer.funded(5)
    after = customer.get(f"/v1/accounts/{account['id']}")
    assert after.headers["etag"] == '"1"'
    assert after.body["balance_version"] > account["balance_version"]


def test_a_manager_suspends_and_a_customer_does_not(customer: Any, manager: Any) -> None:
    account = customer.funded(100)
    path = f"/v1/accounts/{account['id']}"
    hold = customer.book("withdrawal", 10, from_account_id=account["id"], hold=True).body
    assert customer.patch(path, {"status": "suspended"}, tag='"1"').status == 403
    assert manager.patch(path, {"status": "suspended"}, tag='"1"').status == 200
    assert manager.patch(path, {"status": "suspended"}, tag='"2"').code == "invalid_transition"
    assert customer.book("withdrawal", 1, from_account_id=account["id"]).code == (
        "account_suspended"
    )
    assert customer.book("deposit", 1, to_account_id=account["id"]).status == 201
    assert manager.post(f"/v1/transactions/{hold['id']}/settle", {}).status == 200
    assert manager.patch(path, {"status": "active"}, tag='"2"').status == 200
    assert customer.book("withdrawal", 1, from_account_id=account["id"]).status == 201


def close(client: Any, account: dict[str, Any], **body: Any) -> Any:
    path = f"/v1/accounts/{account['id']}/close"
    return client.post(path, body, headers={"If-Match": '"1"'})


def test_closing_needs_an_empty_account_without_holds(customer: Any) -> None:
    account = customer.funded(10)
    assert close(customer, account).code == "balance_not_zero"
    hold = customer.book("withdrawal", 4, from_account_id=account["id"], hold=True).body
    assert close(customer, account).code == "pending_holds"
    customer.post(f"/v1/transactions/{hold['id']}/void", {})
    customer.book("withdrawal", 10, from_account_id=account["id"])
    assert customer.post(f"/v1/accounts/{account['id']}/close", {}).status == 428
    closed = close(customer, account)
    assert (closed.status, closed.body["status"]) == (200, "closed")
    assert closed.body["closed_at"] is not None
    assert customer.book("deposit", 1, to_account_id=account["id"]).code == "account_closed"
    path = f"/v1/accounts/{account['id']}"
    assert customer.patch(path, {"name": "x"}, tag='"2"').code == "account_closed"


def test_a_pending_inflow_keeps_an_account_open(customer: Any) -> None:
    source, target = customer.funded(10), customer.account()
    ends = {"from_account_id": source["id"], "to_account_id": target["id"]}
    customer.book("transfer", 5, hold=True, **ends)
    assert close(customer, target).code == "pending_holds"


def test_a_sweep_empties_every_bucket_in_the_same_step(customer: Any, operator: Any) -> None:
    account, target = customer.funded(900), customer.account()
    operator.book("assignment", 400, from_account_id=account["id"])
    closed = close(customer, account, sweep_to=target["id"], reason="done")
    assert closed.body["status"] == "closed"
    assert closed.body["balances"]["total_value"] == 0
    assert customer.balances(target)["buckets"] == {"cash": 500, "position:shares": 400}
    last = customer.get(f"/v1/transactions?account_id={target['id']}&sort=-seq").body["data"][0]
    assert (last["kind"], last["amount"]["amount"], len(last["lines"])) == ("sweep", 900, 4)


@pytest.mark.parametrize("case", ["itself", "currency", "owner", "closed", "unknown"])
def test_a_sweep_goes_to_a_fitting_account(
    customer: Any, manager: Any, new_client: Any, case: str
) -> None:
    account = customer.funded(1)
    other = new_client("customer").account()
    closed = customer.account()
    close(customer, closed)
    target, expected, who = {
        "itself": (account, "same_account", customer),
        "currency": (customer.account(currency="JPY"), "currency_mismatch", customer),
        "owner": (other, "owner_mismatch", manager),
        "closed": (closed, "account_closed", customer),
        "unknown": ({"id": "acc_none"}, "not_found", customer),
    }[case]
    assert close(who, account, sweep_to=target["id"]).code == expected


@pytest.mark.parametrize("kind", ["cash", "shares"])
def test_a_suspended_account_is_not_swept_whoever_asks(
    customer: Any, operator: Any, manager: Any, kind: str
) -> None:
    account, target = customer.funded(5_000), customer.account()
    if kind == "shares":
        operator.book("assignment", 5_000, from_account_id=account["id"])
    path = f"/v1/accounts/{account['id']}"
    assert manager.patch(path, {"status": "suspended"}, tag='"1"').status == 200
    for who in (customer, manager):
        body, tag = {"sweep_to": target["id"]}, {"If-Match": '"2"'}
        refused = who.post(f"{path}/close", body, headers=tag)
        assert (refused.status, refused.code) == (409, "account_suspended")
        assert customer.post(f"{path}/close", {}, headers=tag).code == "balance_not_zero"
    assert customer.balances(account)["total_value"] == 5_000
    assert customer.balances(target)["total_value"] == 0
    assert manager.patch(path, {"status": "active"}, tag='"2"').status == 200
    swept = customer.post(f"{path}/close", body, headers={"If-Match": '"3"'})
    assert (swept.status, swept.body["status"]) == (200, "closed")


@pytest.mark.parametrize("sweeping", [True, False])
def test_a_suspended_account_that_is_empty_is_closed(
    customer: Any, manager: Any, sweeping: bool
) -> None:
    account, target = customer.account(), customer.account()
    path = f"/v1/accounts/{account['id']}"
    assert manager.patch(path, {"status": "suspended"}, tag='"1"').status == 200
    body = {"sweep_to": target["id"]} if sweeping else {}
    closed = customer.post(f"{path}/close", body, headers={"If-Match": '"2"'})
    assert (closed.status, closed.body["status"]) == (200, "closed")
