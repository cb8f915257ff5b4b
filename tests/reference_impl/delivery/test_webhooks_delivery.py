"""Deliveries as a receiver sees them: proof, order, repetition, giving up, and a killed server."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import standardwebhooks

from tests.reference_impl._waiting import eventually

from ._receiver import Receiver, receiving
from .conftest import QUICK

HOOKS = "/v1/webhooks"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def feed(boss: Any, account_id: str) -> list[dict[str, Any]]:
    return list(boss.get(f"/v1/events?account_id={account_id}&limit=200").body["data"])


def about(receiver: Receiver, account_id: str) -> list[Any]:
    return [got for got in receiver.taken() if account_id in got.event["data"]["account_ids"]]


def has(account_id: str, ids: list[str]) -> Callable[[Receiver], bool]:
    return lambda held: {got.id for got in about(held, account_id)} >= set(ids)


def lots(number: int) -> Callable[[Receiver], bool]:
    return lambda held: len(held.got) >= number


def shown(boss: Any, hook: dict[str, Any]) -> dict[str, Any]:
    return dict(boss.get(f"{HOOKS}/{hook['id']}").body)


def test_an_event_arrives_signed_as_the_feed_shows_it(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    body = {"type": "generation", "currency": "USD", "name": "Weekly income"}
    answer = boss.post("/v1/accounts", body, headers={"traceparent": TRACE})
    account_id = answer.body["id"]
    assert receiver.wait(lambda _: len(about(receiver, account_id)) == 1)
    got = about(receiver, account_id)[0]
    standardwebhooks.Webhook(hook["secret"]).verify(got.body, got.headers)
    assert [got.event] == feed(boss, account_id)
    assert got.id == got.event["id"]
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert got.headers["traceparent"].split("-")[1] == TRACE.split("-")[1]
    assert "authorization" not in got.headers
    assert eventually(lambda: shown(boss, hook)["deliveries"]["succeeded"]) >= 1


def test_only_what_was_asked_for_comes_and_only_from_then_on(boss: Any, receiver: Receiver) -> None:
    before = boss.account()
    types = ["alluse.account.opened"]
    made = boss.post(HOOKS, {"url": receiver.url, "event_types": types}).body
    account = boss.funded(500)
    after = boss.account()
    assert receiver.wait(lambda _: len(about(receiver, after["id"])) == 1)
    assert len(about(receiver, account["id"])) == 1
    assert not about(receiver, before["id"])
    assert {got.event["type"] for got in receiver.got} == set(types)
    tag = {"If-Match": shown(boss, made) and '"1"'}
    assert boss.send("DELETE", f"{HOOKS}/{made['id']}", headers=tag).status == 204
    last = boss.account()
    time.sleep(0.5)
    assert not about(receiver, last["id"])


def test_what_fails_holds_back_its_account_and_no_other(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    bad, good = boss.account()["id"], boss.account()["id"]
    assert receiver.wait(lambda _: len(about(receiver, good)) == 1)
    failing = threading.Event()
    failing.set()

    def answer(event: dict[str, Any], _attempt: int) -> int:
        return 500 if failing.is_set() and bad in event["data"]["account_ids"] else 204

    receiver.answer = answer
    for number in range(1, 6):
        boss.book("deposit", number, to_account_id=bad)
        boss.book("deposit", number, to_account_id=good)
    assert receiver.wait(lambda _: len(about(receiver, good)) == 6)
    refused = [got for got in receiver.got if got.status == 500]
    assert receiver.wait(lambda _: len([g for g in receiver.got if g.status == 500]) >= 3)
    assert len({got.id for got in receiver.got if got.status == 500}) == 1, refused
    failing.clear()
    assert receiver.wait(lambda _: len(about(receiver, bad)) == 6)
    for account_id in (bad, good):
        told = [event["id"] for event in feed(boss, account_id)]
        assert [got.id for got in about(receiver, account_id)] == told
    again = [got for got in receiver.got if got.id == refused[0].id]
    assert len({got.body for got in again}) == 1
    figures = eventually(lambda: (f := shown(boss, hook)["deliveries"]) and f["pending"] == 0 and f)
    assert figures["attempts_failed"] >= 3
    assert figures["failed"] == 0


def test_a_transfer_keeps_the_order_of_both_its_accounts(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    accounts = [boss.funded(10_000)["id"] for _ in range(4)]
    flaky = {"n": 0}

    def answer(_event: dict[str, Any], attempt: int) -> int:
        flaky["n"] += 1
        return 503 if attempt == 1 and flaky["n"] % 7 == 0 else 204

    receiver.answer = answer
    for turn in range(24):
        one, other = accounts[turn % 4], accounts[(turn * 3 + 1) % 4]
        if one != other:
            sent = boss.book("transfer", 1 + turn, from_account_id=one, to_account_id=other)
            assert sent.status == 201
    for account_id in accounts:
        told = [event["id"] for event in feed(boss, account_id)]
        assert receiver.wait(has(account_id, told))
        assert [got.id for got in about(receiver, account_id)] == told


def test_gone_ends_it(boss: Any, receiver: Receiver, hook: dict[str, Any]) -> None:
    receiver.answer = lambda _event, _attempt: 410
    boss.account()
    found = eventually(lambda: (s := shown(boss, hook)) and s["status"] == "disabled" and s)
    assert found["disabled_reason"] == "gone"
    assert found["version"] == 2
    number = len(receiver.got)
    boss.account()
    time.sleep(0.5)
    assert len(receiver.got) == number
    record = boss.get("/v1/audit?sort=-seq&limit=50").body["data"]
    assert [r for r in record if r["action"] == "disableWebhook" and r["object"] == hook["id"]]


def test_retry_after_is_waited_for(boss: Any, receiver: Receiver, hook: dict[str, Any]) -> None:
    receiver.answer = lambda _event, attempt: (503, {"Retry-After": "2"}) if attempt == 1 else 204
    account_id = boss.account()["id"]
    assert receiver.wait(lambda _: len(about(receiver, account_id)) == 1)
    first, second = [got for got in receiver.got if account_id in got.body.decode()][:2]
    assert second.at_s - first.at_s >= 1.9
    assert hook["id"]


def test_an_event_that_is_never_taken_is_set_aside_and_the_rest_goes_on(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    bad = boss.account()["id"]
    assert receiver.wait(lambda _: len(about(receiver, bad)) == 1)
    poison: list[str] = []

    def answer(event: dict[str, Any], _attempt: int) -> int:
        if not poison and bad in event["data"]["account_ids"]:
            poison.append(event["id"])
        return 422 if event["id"] in poison else 204

    receiver.answer = answer
    boss.book("deposit", 1, to_account_id=bad)
    boss.book("deposit", 2, to_account_id=bad)
    assert receiver.wait(lambda _: len(about(receiver, bad)) == 2, 20)
    found = eventually(lambda: (s := shown(boss, hook)) and s["set_aside"] and s)
    assert [each["event_id"] for each in found["set_aside"]] == poison
    assert found["set_aside"][0]["reason"] == "422"
    assert found["set_aside"][0]["attempts"] == receiver.attempts[poison[0]] == 12
    assert found["deliveries"]["failed"] == 1


def test_a_receiver_that_takes_nothing_is_left_alone_and_gets_everything_later(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    receiver.answer = lambda _event, _attempt: 500
    accounts = [boss.account()["id"] for _ in range(30)]
    assert eventually(lambda: shown(boss, hook)["deliveries"]["paused_until"])
    time.sleep(1.0)
    asked = len(receiver.got)
    assert asked < 30
    receiver.answer = lambda _event, _attempt: 204
    assert receiver.wait(lambda _: all(about(receiver, each) for each in accounts))
    assert shown(boss, hook)["deliveries"]["failed"] == 0


def test_a_receiver_that_hangs_delays_nobody_else(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    open_again = threading.Event()

    def hang(_event: dict[str, Any], _attempt: int) -> int:
        open_again.wait(20)
        return 204

    with receiving() as stuck:
        stuck.answer = hang
        other = boss.post(HOOKS, {"url": stuck.url, "event_types": ["*"]}).body
        account = boss.funded(100)
        assert receiver.wait(lambda _: len(about(receiver, account["id"])) == 2)
        found = eventually(
            lambda: (d := shown(boss, other)["deliveries"]) and d["attempts_failed"] and d
        )
        assert found["last_error"] == "timeout"
        assert found["pending"] >= 1
        open_again.set()
        assert stuck.wait(lambda _: len(about(stuck, account["id"])) >= 2)
        sent = {"If-Match": "*"}
        assert boss.send("DELETE", f"{HOOKS}/{other['id']}", headers=sent).status == 204
    assert hook["id"]


def test_after_a_rotation_both_secrets_verify(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    new = boss.post(f"{HOOKS}/{hook['id']}/rotate", {}).body["secret"]
    account_id = boss.account()["id"]
    assert receiver.wait(lambda _: len(about(receiver, account_id)) == 1)
    got = about(receiver, account_id)[0]
    for secret in (hook["secret"], new):
        standardwebhooks.Webhook(secret).verify(got.body, got.headers)


def test_metrics_and_health_tell_of_deliveries(
    boss: Any, receiver: Receiver, hook: dict[str, Any]
) -> None:
    receiver.answer = lambda _event, attempt: 500 if attempt == 1 else 204
    account_id = boss.account()["id"]
    assert receiver.wait(lambda _: len(about(receiver, account_id)) == 1)

    def told(name: str) -> float | None:
        lines = boss.get("/metrics", check=False).body.splitlines()
        found = [line for line in lines if line.startswith(f"{name} ")]
        return float(found[0].rpartition(" ")[2]) if found else None

    assert eventually(lambda: told('delivery_events_total{outcome="failed",system="webhook"}'))
    assert told('delivery_events_total{outcome="taken",system="webhook"}')
    assert told('delivery_waiting_events{system="webhook"}') is not None
    assert told('delivery_oldest_event_age_seconds{system="webhook"}') is not None
    assert told('delivery_webhooks{status="active"}') >= 1  # type: ignore[operator]
    checks = boss.get("/health/ready").body["checks"]
    assert checks["delivery:age"][0]["status"] == "pass"
    assert hook["id"] not in boss.get("/metrics", check=False).body


def test_a_killed_server_loses_nothing_and_repeats_only_the_same_ids(
    tmp_path: Path, make_database: Any, run_server: Any, log_in_as: Any, admin_password: str
) -> None:
    database = make_database(tmp_path / "book.db")
    with receiving() as receiver:
        receiver.answer = lambda _event, _attempt: time.sleep(0.01) or 204  # type: ignore[func-returns-value]
        server = run_server(database, *QUICK)
        boss = log_in_as(server.port, "admin", admin_password)
        made = boss.post(HOOKS, {"url": receiver.url, "event_types": ["*"]}).body
        accounts = [boss.account()["id"] for _ in range(5)]
        for _round in range(3):
            begun = len(receiver.got) + 6
            for turn in range(60):
                boss.book("deposit", 1 + turn, to_account_id=accounts[turn % 5])
            receiver.wait(lots(begun))
            server.stop(signal.SIGKILL)
            server = run_server(database, *QUICK)
            boss = log_in_as(server.port, "admin", admin_password)
        told = {a: [event["id"] for event in feed(boss, a)] for a in accounts}
        assert all(len(names) == 37 for names in told.values())
        for account_id, names in told.items():
            assert receiver.wait(has(account_id, names), 30)
            seen = [got.id for got in about(receiver, account_id)]
            assert set(seen) == set(names)
            firsts = list(dict.fromkeys(seen))
            assert firsts == names
        assert len({got.id for got in receiver.got}) == len({got.body for got in receiver.got})
        for got in receiver.got:
            standardwebhooks.Webhook(made["secret"]).verify(got.body, got.headers)
            assert json.loads(got.body)["id"] == got.id
