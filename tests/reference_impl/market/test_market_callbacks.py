"""Execution reports over HTTP: signatures, repetitions, order, and what is refused."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from certification.counterparties.callbacks import signature
from certification.counterparties.faults import FaultKind
from tests.reference_impl._waiting import wait_for
from tests.reference_impl.conftest import Answer, Client
from tests.reference_impl.market._reports import PATH, deliver, report, usd
from tests.reference_impl.market.conftest import Desk

TAMPERED = ("wrong_key", "changed", "old", "future", "unsigned", "other_id")


@pytest.mark.parametrize("tamper", TAMPERED)
def test_a_forged_report_is_refused_and_recorded(desk: Desk, tamper: str) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    mark, audited = desk.market.mark(), forgeries(desk)
    told = report(order, 1, "fill", quantity=10, price=usd(100))
    desk.market.act("send", report=told, tamper=tamper)
    sent = wait_for(
        lambda: [row for row in desk.market.journal(since=mark) if row.key == told["execution_id"]],
        lambda rows: bool(rows) and rows[0].status is not None,
    )
    assert [row.status for row in sent] == [401]
    assert forgeries(desk) == audited + 1
    assert desk.get(order["id"])["status"] == "open"
    assert desk.customer.balances(account)["holds"] == 1000


def forgeries(desk: Desk) -> int:
    records, cursor = [], ""
    while True:
        page = desk.admin.get(f"/v1/audit?limit=200{cursor}").body
        records += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    return sum(row["outcome"] == "signature_invalid" for row in records)


def test_a_report_has_one_effect_however_often_it_comes(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    first = report(order, 1, "partial_fill", quantity=4, price=usd(90))
    second = report(order, 2, "fill", quantity=6, price=usd(100))
    early = deliver(desk, second)
    assert (early.status, early.body["outcome"]) == (200, "held_back")
    assert deliver(desk, second).body["outcome"] == "held_back"
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(deliver(desk, first))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes = sorted(answer.body["outcome"] for answer in answers)
    assert outcomes == ["applied"] + ["duplicate"] * 7
    assert deliver(desk, second).body["outcome"] == "duplicate"
    assert desk.get(order["id"])["status"] == "filled"
    assert desk.positions(account) == {"RESTING-1": (10, 960)}
    assert desk.customer.balances(account)["ledger"] == 9040


def test_reports_that_do_not_fit_have_no_effect(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    old = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    wrong = [
        report(order, 1, "fill", quantity=11, price=usd(100)),
        report(order, 1, "fill", quantity=10, price=usd(101)),
        report(order, 1, "fill", quantity=10, price={"amount": 100, "currency": "EUR"}),
        report(order, 1, "fill", quantity=10, price=usd(100), occurred_at=old),
    ]
    assert {deliver(desk, told).code for told in wrong} == {"execution_invalid"}
    bad = [
        report(order, 1, "fill", quantity=10, price=usd(-1)),
        report(order, 1, "fill", quantity=10, price=usd(0)),
        report(order, 1, "fill", quantity=10, price={"amount": 100.5, "currency": "USD"}),
        report(order, 1, "fill", quantity=10),
        report(order, 1, "fill", price=usd(100)),
        report(order, 0, "fill", quantity=10, price=usd(100)),
        {**report(order, 1, "cancel"), "more": 1},
    ]
    assert {deliver(desk, told).code for told in bad} == {"validation_failed"}
    assert deliver(desk, report({"id": "ord_none"}, 1, "cancel")).code == "not_found"
    other = deliver(desk, report(order, 1, "cancel"), message_id="another")
    assert other.code == "validation_failed"
    assert desk.get(order["id"])["filled"] == 0
    assert desk.customer.balances(account)["holds"] == 1000


RAW = (b"", b"{", b"[]", b"\xff", b'{"price":NaN}', b'{"a":1,"a":1}', b"[" * 5000, b"1e999")


@pytest.mark.parametrize("body", RAW)
def test_signed_nonsense_is_refused(desk: Desk, body: bytes) -> None:
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": "x-1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(desk.world.secret, "x-1", now, body),
    }
    client = Client(desk.server.port)
    assert client.send("POST", PATH, raw=body, headers=headers).status == 400
    text = {**headers, "Content-Type": "text/plain"}
    assert client.send("POST", PATH, raw=body, headers=text).status == 415
    both = headers["webhook-signature"] + " v1,AAAA v2,zz v1,%"
    rotating = {**headers, "webhook-signature": both}
    assert client.send("POST", PATH, raw=body, headers=rotating).status == 400
    assert client.send("POST", PATH, raw=body + b" ", headers=headers).status == 401


def test_duplicated_and_reordered_callbacks_book_once(desk: Desk) -> None:
    account = desk.customer.funded(10_000)
    order = desk.placed(account)
    with (
        desk.market.fault(FaultKind.REORDERED, held=3, wait_s=5.0),
    ):
        for _ in range(3):
            desk.market.act("fill", client_order_id=order["id"], quantity=2, price=95)
        desk.until(order["id"], lambda found: found["filled"] == 6)
    with desk.market.fault(FaultKind.DUPLICATED, times=4):
        desk.market.act("fill", client_order_id=order["id"], price=90)
        desk.ended(order["id"], "filled")
    assert desk.positions(account) == {"RESTING-1": (10, 930)}
    assert desk.customer.balances(account)["ledger"] == 10_000 - 930
