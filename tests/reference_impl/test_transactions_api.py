"""Booking, holds, corrections and batches over a real server."""

import concurrent.futures
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def test_a_deposit_and_a_withdrawal_move_the_balance(customer: Any) -> None:
    account = customer.account()
    deposit = customer.book("deposit", 12_500, to_account_id=account["id"], memo="first")
    assert deposit.status == 201
    assert deposit.body["lines"] == [
        {"account_id": None, "system": "external", "bucket": "cash", "amount": -12_500},
        {"account_id": account["id"], "system": None, "bucket": "cash", "amount": 12_500},
    ]
    assert deposit.headers["location"] == f"/v1/transactions/{deposit.body['id']}"
    assert customer.get(deposit.headers["location"]).body == deposit.body
    assert customer.book("withdrawal", 500, from_account_id=account["id"]).status == 201
    balances = customer.balances(account)
    assert (balances["ledger"], balances["available"]) == (12_000, 12_000)
    assert balances["as_of_seq"] == deposit.body["seq"] + 1


def test_money_that_is_not_there_cannot_be_spent(customer: Any) -> None:
    account = customer.funded(100, min_balance=30)
    refused = customer.book("withdrawal", 71, from_account_id=account["id"])
    assert (refused.status, refused.code) == (422, "insufficient_available")
    assert customer.book("withdrawal", 70, from_account_id=account["id"]).status == 201


def test_a_hold_counts_until_it_is_settled_and_the_rest_is_released(
    customer: Any, operator: Any
) -> None:
    account = customer.funded(1000)
    hold = customer.book("withdrawal", 600, from_account_id=account["id"], hold=True)
    assert (hold.body["status"], hold.body["lines"]) == ("pending", [])
    held = customer.balances(account)
    assert (held["ledger"], held["holds"], held["available"]) == (1000, 600, 400)
    assert customer.book("withdrawal", 401, from_account_id=account["id"]).status == 422
    path = f"/v1/transactions/{hold.body['id']}"
    assert customer.post(f"{path}/settle", {}).status == 403
    too_much = {"amount": {"amount": 601, "currency": "USD"}}
    assert operator.post(f"{path}/settle", too_much).code == "exceeds_hold"
    customer.book("deposit", 5, to_account_id=account["id"])
    part = {"amount": {"amount": 250, "currency": "USD"}}
    settled = operator.post(f"{path}/settle", part).body
    assert (settled["status"], settled["settled_amount"]["amount"]) == ("settled", 250)
    assert settled["seq"] == hold.body["seq"]
    after = customer.balances(account)
    assert (after["ledger"], after["holds"], after["available"]) == (755, 0, 755)
    for way in ("settle", "void"):
        assert operator.post(f"{path}/{way}", {}).code == "not_pending"


def test_a_void_releases_the_hold(customer: Any) -> None:
    account = customer.funded(1000)
    hold = customer.book("withdrawal", 600, from_account_id=account["id"], hold=True).body
    assert customer.post(f"/v1/transactions/{hold['id']}/void", {}).body["status"] == "voided"
    assert customer.balances(account)["available"] == 1000


def test_a_hold_past_its_time_is_gone_without_a_sweeper(customer: Any, operator: Any) -> None:
    account = customer.funded(1000)
    soon = in_seconds(0.4)
    hold = customer.book(
        "withdrawal", 600, from_account_id=account["id"], hold=True, expires_at=soon
    ).body
    path = f"/v1/transactions/{hold['id']}"
    while customer.get(path).body["status"] == "pending":
        time.sleep(0.05)
    assert customer.get(path).body["status"] == "expired"
    balances = customer.balances(account)
    assert (balances["holds"], balances["available"]) == (0, 1000)
    assert operator.post(f"{path}/settle", {}).code == "not_pending"
    assert customer.book("withdrawal", 1000, from_account_id=account["id"]).status == 201
    assert customer.balances(account)["available"] == 0


def test_an_expiry_lies_in_the_future_and_not_too_far(customer: Any) -> None:
    account = customer.funded(10)
    for moment in (in_seconds(-5), in_seconds(400 * 24 * 3600)):
        refused = customer.book(
            "withdrawal", 1, from_account_id=account["id"], hold=True, expires_at=moment
        )
        assert refused.code == "invalid_expiry"


def test_a_reversal_books_the_opposite_once(customer: Any, manager: Any, operator: Any) -> None:
    account = customer.funded(0 + 700)
    fee = operator.book("fee", 200, from_account_id=account["id"]).body
    path = f"/v1/transactions/{fee['id']}/reverse"
    assert operator.post(path, {"reason": "not owed"}).status == 403
    reversal = manager.post(path, {"reason": "not owed"})
    assert reversal.status == 201
    assert reversal.body["reverses_id"] == fee["id"]
    assert reversal.body["to_account_id"] == account["id"]
    assert customer.balances(account)["ledger"] == 700
    original = customer.get(f"/v1/transactions/{fee['id']}").body
    assert (original["status"], original["reversed_by_id"]) == ("reversed", reversal.body["id"])
    assert manager.post(path, {"reason": "again"}).code == "already_reversed"
    again = f"/v1/transactions/{reversal.body['id']}/reverse"
    assert manager.post(again, {"reason": "undo"}).code == "not_reversible"


def test_a_reversal_cannot_take_what_was_spent(customer: Any, manager: Any) -> None:
    account = customer.account()
    deposit = customer.book("deposit", 50, to_account_id=account["id"]).body
    customer.book("withdrawal", 20, from_account_id=account["id"])
    path = f"/v1/transactions/{deposit['id']}/reverse"
    assert manager.post(path, {"reason": "bounced"}).code == "insufficient_available"


def test_an_assignment_turns_cash_into_shares_and_back(
    customer: Any, operator: Any, manager: Any
) -> None:
    account = customer.funded(900)
    done = operator.book("assignment", 400, from_account_id=account["id"]).body
    balances = customer.balances(account)
    assert (balances["ledger"], balances["total_value"]) == (500, 900)
    assert balances["buckets"] == {"cash": 500, "position:shares": 400}
    manager.post(f"/v1/transactions/{done['id']}/reverse", {"reason": "expired"})
    assert customer.balances(account)["buckets"] == {"cash": 900, "position:shares": 0}


def test_special_kinds_need_an_operator(customer: Any, operator: Any) -> None:
    account = customer.funded(1000)
    assert customer.book("fee", 1, from_account_id=account["id"]).status == 403
    assert operator.book("premium", 3, to_account_id=account["id"]).status == 201
    assert operator.book("interest", 3, to_account_id=account["id"]).status == 201
    assert operator.book("tax", 3, from_account_id=account["id"]).status == 201
    debit = {"direction": "debit", "reason": "count"}
    assert operator.book("adjustment", 3, from_account_id=account["id"], **debit).status == 201
    assert customer.balances(account)["ledger"] == 1000


def test_withdrawals_from_compounding_are_refused_by_default(customer: Any) -> None:
    account = customer.funded(100, type="compounding")
    refused = customer.book("withdrawal", 1, from_account_id=account["id"])
    assert refused.code == "withdrawal_not_allowed"


def test_rules_between_two_accounts(customer: Any) -> None:
    dollars, yen = customer.funded(100), customer.account(currency="JPY")
    both = {"from_account_id": dollars["id"], "to_account_id": yen["id"]}
    assert customer.book("transfer", 1, **both).code == "currency_mismatch"
    same = {"from_account_id": dollars["id"], "to_account_id": dollars["id"]}
    assert customer.book("transfer", 1, **same).code == "same_account"


def test_a_balance_stays_within_exact_integers(customer: Any) -> None:
    account = customer.funded(9_007_199_254_740_991)
    refused = customer.book("deposit", 1, to_account_id=account["id"])
    assert refused.code == "amount_out_of_range"
    assert customer.balances(account)["ledger"] == 9_007_199_254_740_991
    customer.book("withdrawal", 9_007_199_254_740_991, from_account_id=account["id"])


def test_preconditions_are_judged_with_the_booking(customer: Any) -> None:
    account = customer.funded(100)
    condition = {"account_id": account["id"], "ledger_eq": 100, "available_gte": 100, "version": 1}
    members = {"from_account_id": account["id"], "preconditions": [condition]}
    assert customer.book("withdrawal", 1, **members).status == 201
    assert customer.book("withdrawal", 1, **members).code == "precondition_unmet"
    stale = customer.book(
        "withdrawal", 1, from_account_id=account["id"], headers={"If-Match": '"7"'}
    )
    assert stale.status == 412


def test_a_batch_gives_each_item_its_outcome(customer: Any) -> None:
    account = customer.account()
    money = {"amount": 100, "currency": "USD"}
    deposit = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
    withdrawal = {
        "kind": "withdrawal",
        "amount": {"amount": 900, "currency": "USD"},
        "from_account_id": account["id"],
    }
    unknown = {**deposit, "to_account_id": "acc_none"}
    items = [deposit, withdrawal, unknown, deposit]
    results = customer.post("/v1/transactions/batch", {"items": items}).body["results"]
    assert [result["status"] for result in results] == [201, 422, 404, 201]
    assert customer.balances(account)["ledger"] == 200
    whole = {"items": items, "all_or_nothing": True}
    refused = customer.post("/v1/transactions/batch", whole)
    assert refused.code == "batch_rejected"
    assert [error["pointer"] for error in refused.body["errors"]] == ["/items/1", "/items/2"]
    assert customer.balances(account)["ledger"] == 200


def test_a_batch_of_1000_is_taken_and_1001_is_not(customer: Any) -> None:
    account = customer.account()
    item = {
        "kind": "deposit",
        "amount": {"amount": 1, "currency": "USD"},
        "to_account_id": account["id"],
    }
    full = customer.post("/v1/transactions/batch", {"items": [item] * 1000})
    assert {result["status"] for result in full.body["results"]} == {201}
    assert customer.balances(account)["ledger"] == 1000
    assert customer.post("/v1/transactions/batch", {"items": [item] * 1001}).status == 400


def test_the_same_money_is_not_spent_twice(server: Any, customer: Any) -> None:
    account = customer.funded(1000)

    def spend(_: int) -> int:
        other = type(customer)(server.port, customer.token)
        return int(other.book("withdrawal", 300, from_account_id=account["id"]).status)

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(spend, range(10)))
    assert statuses == [201] * 3 + [422] * 7
    assert customer.balances(account)["ledger"] == 100


def test_one_key_twenty_times_is_one_booking(server: Any, customer: Any) -> None:
    account = customer.account()
    key = str(uuid.uuid4())

    def send(_: int) -> Any:
        other = type(customer)(server.port, customer.token)
        return other.book("deposit", 7, to_account_id=account["id"], key=key)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.raw for answer in answers}) == 1
    assert sum(answer.headers.get("idempotency-replayed") == "true" for answer in answers) == 19
    assert customer.balances(account)["ledger"] == 7


def test_a_refusal_is_kept_for_its_key(customer: Any) -> None:
    account = customer.account()
    key = f'"{uuid.uuid4()}"'
    first = customer.book("withdrawal", 5, from_account_id=account["id"], key=key)
    customer.book("deposit", 50, to_account_id=account["id"])
    again = customer.book("withdrawal", 5, from_account_id=account["id"], key=key.strip('"'))
    assert (first.status, again.status) == (422, 422)
    assert again.raw == first.raw
    assert again.headers["idempotency-replayed"] == "true"
    other = customer.book("withdrawal", 6, from_account_id=account["id"], key=key)
    assert other.code == "idempotency_payload_mismatch"


@pytest.mark.parametrize(
    "key", ["short", "a" * 129, "with space in the key", "ünïcödé-key-1234567"]
)
def test_a_key_has_its_form(customer: Any, key: str) -> None:
    encoded = key.encode().decode("latin-1")
    assert customer.book("deposit", 1, key=encoded, to_account_id="x").code == (
        "idempotency_key_invalid"
    )
    assert customer.book("deposit", 1, key="", to_account_id="x").code == "idempotency_key_missing"


def test_balances_of_every_moment_equal_the_sum_of_the_lines(customer: Any, operator: Any) -> None:
    account = customer.account()
    seqs = [customer.book("deposit", 10, to_account_id=account["id"]).body["seq"]]
    hold = customer.book("withdrawal", 4, from_account_id=account["id"], hold=True).body
    seqs.append(customer.book("deposit", 5, to_account_id=account["id"]).body["seq"])
    operator.post(f"/v1/transactions/{hold['id']}/settle", {})
    seqs.append(customer.book("deposit", 1, to_account_id=account["id"]).body["seq"])
    entries = customer.get(f"/v1/accounts/{account['id']}/entries").body["data"]
    assert [entry["amount"] for entry in entries] == [10, 5, -4, 1]
    assert [entry["running_balance"] for entry in entries] == [10, 15, 11, 12]
    for seq in range(seqs[0] - 1, seqs[-1] + 1):
        expected = sum(entry["amount"] for entry in entries if entry["seq"] <= seq)
        assert customer.balances(account, f"?as_of_seq={seq}")["ledger"] == expected
    at_hold = customer.balances(account, f"?as_of_seq={hold['seq']}")
    assert (at_hold["ledger"], at_hold["holds"], at_hold["available"]) == (10, 4, 6)
    beyond = customer.get(f"/v1/accounts/{account['id']}?as_of_seq=9007199254740991")
    assert beyond.code == "invalid_parameter"
