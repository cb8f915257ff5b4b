"""Orders, executions and positions over HTTP, beside a simulated market."""

import contextlib
import threading
import uuid
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from certification.errors import HarnessError, UsageError
from tests.reference_impl.market._reports import reconciled, usd
from tests.reference_impl.market.conftest import Desk

HIGH = {"amount": 100_000, "currency": "USD"}
"""A limit that every price of the simulator allows a buyer."""
LOW = {"amount": 1, "currency": "USD"}


def test_a_buy_holds_cash_and_becomes_a_position(desk: Desk) -> None:
    account = desk.customer.funded(2_000_000)
    answer = desk.order(account, instrument="SPY", limit_price=HIGH)
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/orders/{answer.body['id']}"
    assert answer.body["status"] == "pending"
    order = desk.ended(answer.body["id"], "filled")
    assert (order["filled"], order["hold_transaction_id"]) == (10, None)
    balances = desk.customer.balances(account)
    (quantity, cost) = desk.positions(account)["SPY"]
    assert quantity == 10
    assert balances["holds"] == 0
    assert balances["ledger"] == 2_000_000 - cost
    assert balances["buckets"]["position:shares"] == cost
    assert balances["total_value"] == 2_000_000
    held = desk.market.state()["positions"][account["id"]]
    assert held == {"SPY": 10}
    assert desk.market.violations() == ()


def test_the_market_is_asked_once_under_one_key_and_trace(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    mark, key, trace = desk.market.mark(), str(uuid.uuid4()), uuid.uuid4().hex
    body = {
        "account_id": account["id"],
        "instrument": "RESTING-2",
        "side": "buy",
        "quantity": 3,
        "limit_price": usd(50),
    }
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    first = desk.customer.post("/v1/orders", body, key=key, headers=headers)
    again = desk.customer.post("/v1/orders", body, key=key)
    assert (first.status, again.status) == (201, 201)
    assert again.raw == first.raw
    assert again.headers["idempotency-replayed"] == "true"
    order = desk.until(first.body["id"], lambda found: found["status"] == "open")
    assert desk.customer.balances(account)["holds"] == 150
    (attempts,) = desk.market.attempts(since=mark, operation="placeOrder")
    assert (attempts.effects, attempts.payloads, list(attempts.statuses)) == (1, 1, [201])
    (call,) = [row for row in desk.market.journal(since=mark) if row.operation == "placeOrder"]
    assert call.body["client_order_id"] == order["id"]
    assert (call.traceparent or "").split("-")[1] == trace


def test_a_sell_takes_the_position_at_its_cost(desk: Desk) -> None:
    account = desk.customer.funded(2_000_000)
    bought = desk.placed(account, instrument="SPY", limit_price=HIGH)
    desk.ended(bought["id"], "filled")
    sale = desk.order(account, instrument="SPY", side="sell", quantity=4, limit_price=LOW)
    assert sale.status == 201
    assert sale.body["hold_transaction_id"] is None
    before = 2_000_000 - desk.positions(account)["SPY"][1]
    desk.ended(sale.body["id"], "filled")
    (quantity, cost) = desk.positions(account)["SPY"]
    balances = desk.customer.balances(account)
    assert quantity == 6
    assert balances["ledger"] > before
    assert balances["buckets"]["position:shares"] == cost
    rows = desk.customer.get(f"/v1/transactions?account_id={account['id']}&kind=trade").body["data"]
    assert all(sum(line["amount"] for line in row["lines"]) == 0 for row in rows)
    assert {row["metadata"]["order_id"] for row in rows} == {bought["id"], sale.body["id"]}
    short = desk.order(account, instrument="SPY", side="sell", quantity=7, limit_price=LOW)
    assert (short.status, short.code) == (422, "insufficient_position")


def test_open_sells_keep_their_units_and_block_the_end_of_the_account(desk: Desk) -> None:
    account, other = desk.customer.funded(10_000), desk.customer.account()
    desk.market.act("fills", mode="manual")
    bought = desk.placed(account, instrument="SPY", quantity=5, limit_price=usd(100))
    desk.market.act("fill", client_order_id=bought["id"])
    desk.ended(bought["id"], "filled")
    first = desk.placed(account, instrument="SPY", side="sell", quantity=3)
    more = desk.order(account, instrument="SPY", side="sell", quantity=3)
    assert (more.status, more.code) == (422, "insufficient_position")
    tag = {"If-Match": f'"{account["version"]}"'}
    path, body = f"/v1/accounts/{account['id']}/close", {"sweep_to": other["id"]}
    refused = desk.customer.post(path, body, headers=tag)
    assert (refused.status, refused.code) == (409, "pending_holds")
    assert desk.customer.send("DELETE", f"/v1/orders/{first['id']}").body["status"] == "cancelled"
    assert desk.customer.post(path, body, headers=tag).status == 200
    assert desk.positions(other) == {"SPY": (5, 500)}
    made = desk.operator.post("/v1/reconciliations", {"account_id": other["id"]})
    assert reconciled(desk, made)["status"] == "equal"  # the market has it under the old name


def test_positions_go_with_a_merge_and_are_sold_from_there(desk: Desk) -> None:
    manager, one, two = desk.user("manager"), *(desk.customer.funded(10_000) for _ in "ab")
    desk.market.act("fills", mode="manual")
    for account in (one, two):
        order = desk.placed(account, instrument="SPY", quantity=5, limit_price=usd(100))
        busy = {"sources": [one["id"]], "target_id": two["id"], "mode": "explicit", "reason": "one"}
        refused = manager.post("/v1/merges", busy)
        assert (refused.status, refused.code) == (409, "pending_holds")
        desk.market.act("fill", client_order_id=order["id"])
        desk.ended(order["id"], "filled")
    assert manager.post("/v1/merges", busy).status == 201
    assert desk.positions(one) == {}
    assert desk.positions(two) == {"SPY": (10, 1000)}
    sale = desk.placed(two, instrument="SPY", side="sell", quantity=10)
    desk.market.act("fill", client_order_id=sale["id"], price=110)
    desk.ended(sale["id"], "filled")
    assert desk.positions(two) == {}
    assert desk.customer.balances(two)["total_value"] == 20_100
    made = desk.operator.post("/v1/reconciliations", {"account_id": two["id"]})
    assert reconciled(desk, made)["status"] == "equal"


def test_positions_show_what_came_by_other_ways_too(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    desk.market.act("fills", mode="manual")
    for bucket, price in (("position:shares", 100), ("position:contracts", 30)):
        order = desk.placed(account, instrument="QQQ", limit_price=usd(price), bucket=bucket)
        desk.market.act("fill", client_order_id=order["id"])
        desk.ended(order["id"], "filled")
    assigned = desk.operator.book("assignment", 700, from_account_id=account["id"])
    assert assigned.status == 201
    rows, cursor = [], ""
    while True:
        page = desk.customer.get(f"/v1/accounts/{account['id']}/positions?limit=1{cursor}").body
        rows += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    names = ("bucket", "instrument", "quantity")
    shown = [(*(row[name] for name in names), row["cost"]["amount"]) for row in rows]
    assert shown == [
        ("position:shares", None, 0, 700),
        ("position:shares", "QQQ", 10, 1000),
        ("position:contracts", "QQQ", 10, 300),
    ]
    buckets = desk.customer.balances(account)["buckets"]
    assert (buckets["position:shares"], buckets["position:contracts"]) == (1700, 300)


REFUSED = {
    "insufficient_available": {"quantity": 1000},
    "currency_mismatch": {"limit_price": {"amount": 1, "currency": "EUR"}},
    "amount_out_of_range": {"limit_price": usd(9_007_199_254_740_991)},
    "insufficient_position": {"side": "sell"},
    "not_found": {"account_id": "acc_none"},
    "validation_failed": {"quantity": 0},
}


@pytest.mark.parametrize(("code", "members"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_ordered_is_refused_and_never_sent(
    desk: Desk, code: str, members: dict[str, Any]
) -> None:
    account, mark = desk.customer.funded(10_000), desk.market.mark()
    answer = desk.order(account, **members)
    assert answer.code == code
    assert desk.customer.balances(account)["holds"] == 0
    assert desk.market.journal(since=mark) == ()


def test_a_suspended_account_takes_no_orders(desk: Desk) -> None:
    account, manager = desk.customer.funded(10_000), desk.user("manager")
    path, tag = f"/v1/accounts/{account['id']}", f'"{account["version"]}"'
    assert manager.patch(path, {"status": "suspended"}, tag=tag).status == 200
    assert desk.order(account).code == "account_suspended"


def test_what_the_market_does_not_take_is_rejected_and_released(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    refused = desk.order(account, instrument="REFUSED-1").body["id"]
    later = desk.order(account, instrument="REJECTED-1").body["id"]
    order = desk.ended(refused, "rejected")
    assert "order_refused" in order["reason"]
    desk.ended(later, "rejected")
    assert desk.customer.balances(account)["holds"] == 0


def test_a_cancelled_order_releases_what_was_not_filled(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    desk.market.act("fill", client_order_id=order["id"], quantity=4, price=90)
    desk.ended(order["id"], "partially_filled")
    assert desk.customer.balances(account)["holds"] == 600
    answer = desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
    assert (answer.status, answer.body["status"]) == (200, "cancelled")
    assert desk.customer.balances(account)["holds"] == 0
    assert desk.positions(account) == {"RESTING-1": (4, 360)}
    again = desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
    assert (again.status, again.code) == (409, "order_not_open")
    desk.ended(order["id"], "cancelled")


def test_a_cancel_waits_for_what_was_executed_before_it(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    with desk.market.fault(FaultKind.REORDERED, held=5, wait_s=1.0):
        desk.market.act("fill", client_order_id=order["id"], quantity=4, price=90)
        answer = desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
        assert answer.status == 200
        assert answer.body["status"] == "open"
        assert answer.body["cancel_requested_at"] is not None
        assert desk.customer.balances(account)["holds"] == 1000
        desk.ended(order["id"], "cancelled")
    assert desk.customer.balances(account)["holds"] == 0
    assert desk.positions(account) == {"RESTING-1": (4, 360)}


def test_cancel_and_fill_race_to_one_end(desk: Desk) -> None:
    account = desk.customer.funded(100_000)
    desk.market.act("fills", mode="manual")
    for turn in range(6):
        order = desk.placed(account, instrument="SPY", quantity=1)
        fill = threading.Timer(0.002 * turn, try_to_fill, (desk, order["id"]))
        fill.start()
        answer = desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
        fill.join()
        final = desk.until(order["id"], lambda found: found["status"] in {"filled", "cancelled"})
        at_market = next(
            row for row in desk.market.state()["orders"] if row["client_order_id"] == order["id"]
        )
        assert final["status"] == at_market["status"]
        assert (answer.status == 409) == (final["status"] == "filled") or answer.status == 200
    assert desk.customer.balances(account)["holds"] == 0
    assert desk.positions(account).get("SPY", (0, 0))[0] == sum(
        row["filled"]
        for row in desk.market.state()["orders"]
        if row["account_ref"] == account["id"]
    )


def try_to_fill(desk: Desk, order_id: str) -> None:
    with contextlib.suppress(UsageError, HarnessError):
        desk.market.act("fill", client_order_id=order_id)


def test_the_hold_of_an_order_is_not_ended_beside_it(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    held = order["hold_transaction_id"]
    void = desk.customer.post(f"/v1/transactions/{held}/void", {})
    settle = desk.operator.post(f"/v1/transactions/{held}/settle", {})
    assert {void.code, settle.code} == {"hold_of_order"}
    assert desk.customer.balances(account)["holds"] == 1000
    desk.market.act("fill", client_order_id=order["id"])
    desk.ended(order["id"], "filled")
    reverse = desk.user("manager").post(f"/v1/transactions/{held}/reverse", {"reason": "no"})
    assert (reverse.status, reverse.code) == (422, "not_reversible")


def test_orders_are_their_owners(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    stranger, auditor = desk.user("customer"), desk.user("auditor")
    path = f"/v1/orders/{order['id']}"
    assert stranger.get(path).status == 404
    assert stranger.send("DELETE", path).status == 404
    assert stranger.get(f"/v1/accounts/{account['id']}/positions").status == 404
    assert stranger.get("/v1/orders").body["data"] == []
    assert auditor.get(path).status == 200
    assert auditor.send("DELETE", path).status == 403
    assert stranger.post("/v1/reconciliations", {"account_id": account["id"]}).status == 403
    assert desk.operator.send("DELETE", path).status == 200


def test_lists_page_by_seq_and_filter(desk: Desk) -> None:
    customer = desk.user("customer")
    account = customer.funded(10_000)
    made = []
    for number in range(5):
        body = {
            "account_id": account["id"],
            "instrument": f"RESTING-{number}",
            "side": "buy",
            "quantity": 1,
            "limit_price": usd(10),
        }
        made.append(customer.post("/v1/orders", body).body["id"])
    customer.send("DELETE", f"/v1/orders/{made[1]}")
    found, cursor = [], ""
    while True:
        page = customer.get(f"/v1/orders?limit=2&sort=-seq{cursor}").body
        found += [row["id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == made[::-1]
    ended = customer.get(f"/v1/orders?account_id={account['id']}&status=cancelled").body["data"]
    assert [row["id"] for row in ended] == [made[1]]
    assert customer.get("/v1/orders?status=lost").code == "invalid_parameter"


def test_a_reconciliation_lists_differences_and_books_nothing(desk: Desk) -> None:
    account = desk.customer.funded(2_000_000)
    desk.ended(desk.placed(account, instrument="SPY", limit_price=HIGH)["id"], "filled")
    equal = desk.operator.post("/v1/reconciliations", {"account_id": account["id"]})
    assert equal.body["status"] == "running"
    assert reconciled(desk, equal)["status"] == "equal"
    desk.market.act("drift", account_ref=account["id"], instrument="SPY", quantity=-3)
    desk.market.act("drift", account_ref=account["id"], instrument="NEW", quantity=2)
    before = desk.positions(account), desk.customer.balances(account)["total_value"]
    found = reconciled(
        desk, desk.operator.post("/v1/reconciliations", {"account_id": account["id"]})
    )
    assert found["status"] == "different"
    assert found["differences"] == [
        {"instrument": "NEW", "ours": 0, "theirs": 2},
        {"instrument": "SPY", "ours": 10, "theirs": 7},
    ]
    assert (desk.positions(account), desk.customer.balances(account)["total_value"]) == before
    assert desk.operator.get("/v1/reconciliations/rec_none").status == 404


def test_what_the_market_said_long_ago_is_not_compared(desk: Desk) -> None:
    account = desk.customer.funded(2_000_000)
    with desk.market.fault(FaultKind.STALE, age_s=3600, operations=("getPositions",)):
        made = desk.operator.post("/v1/reconciliations", {"account_id": account["id"]})
        first = desk.operator.get(made.headers["location"]).body
        assert first["status"] == "running"
    assert reconciled(desk, made)["status"] == "equal"


def test_events_tell_of_orders(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    desk.customer.send("DELETE", f"/v1/orders/{order['id']}")
    desk.ended(order["id"], "cancelled")
    feed = desk.operator.get(f"/v1/events?account_id={account['id']}&limit=200").body["data"]
    told = [event["type"] for event in feed if event["subject"] == order["id"]]
    assert told == ["alluse.order.placed", "alluse.order.open", "alluse.order.cancelled"]
