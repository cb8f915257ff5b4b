"""Strategies: associated at the engine, executed once, their results booked once or not at all."""

import os
import signal
import time
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.parties import first
from tests.reference_impl._waiting import wait_for
from tests.reference_impl.conftest import Client

from .conftest import Place, a_user, at_once

ENGINE = "strategy-engine"


def test_a_strategy_is_associated_at_the_engine_and_changed_by_version(place: Place) -> None:
    account = place.customer.funded(1_000)
    path = f"/v1/accounts/{account['id']}/strategy"
    assert place.customer.get(path).status == 404
    missing = place.customer.send("PUT", path, {"name": "wheel", "parameters": {"contracts": 1}})
    assert (missing.status, missing.code) == (428, "precondition_required")
    made = place.put_strategy(account["id"], "wheel", '"0"', contracts=1)
    assert (made.status, made.headers["etag"], made.body["version"]) == (200, '"1"', 1)
    assert place.put_strategy(account["id"], "idle", '"0"', x=1).status == 412
    changed = place.put_strategy(account["id"], "premium", '"1"', contracts=3)
    assert (changed.body["name"], changed.body["version"]) == ("premium", 2)
    read = place.customer.get(path)
    assert read.body == changed.body
    assert place.customer.get(path, headers={"If-None-Match": '"2"'}).status == 304
    kept = [
        row
        for row in place.parties.strategy_engine.state()["associations"]
        if row["account_ref"] == account["id"]
    ]
    assert [(row["strategy"], row["parameters"]) for row in kept] == [("premium", {"contracts": 3})]


def test_what_the_engine_refuses_changes_nothing(place: Place) -> None:
    account = place.on_a_strategy()
    for name, parameters in (("nosuch", {"contracts": 1}), ("premium", {"contracts": 0})):
        refused = place.put_strategy(account["id"], name, '"1"', **parameters)
        assert (refused.status, refused.code) == (422, "strategy_refused")
    assert place.put_strategy(account["id"], "idle", '"1"', x=1).status == 200


def test_parameters_are_bounded(place: Place) -> None:
    account = place.customer.funded(1_000)
    big = place.put_strategy(account["id"], "idle", '"0"', text="x" * 5_000)
    assert (big.status, big.code) == (400, "validation_failed")
    assert big.body["errors"][0]["pointer"] == "/parameters"
    many = place.put_strategy(account["id"], "idle", '"0"', **{f"m{i}": i for i in range(51)})
    assert (many.status, many.code) == (400, "validation_failed")


def test_an_account_of_another_owner_is_not_there(place: Place) -> None:
    account = place.on_a_strategy()
    answer = place.execute(account)
    stranger = a_user(place.server, place.admin, "customer")
    base = f"/v1/accounts/{account['id']}/strategy"
    for method, path, body in (
        ("GET", base, None),
        ("PUT", base, {"name": "idle", "parameters": {}}),
        ("POST", f"{base}/executions", {}),
        ("GET", answer.headers["location"], None),
        ("GET", f"{base}/results", None),
    ):
        headers = {"If-Match": '"1"', "Idempotency-Key": "another-owner-0001"}
        found = stranger.send(method, path, body, headers=headers)
        assert (found.status, found.code) == (404, "not_found"), path
    other = place.customer.funded(100)
    elsewhere = answer.headers["location"].replace(account["id"], other["id"])
    assert place.customer.get(elsewhere).status == 404


def test_a_premium_and_an_assignment_are_booked(place: Place) -> None:
    account = place.on_a_strategy(
        "wheel", 2_000_000, contracts=2, premium=15_000, strike=5_000, instrument="SPY"
    )
    answer = place.execute(account)
    assert (answer.status, answer.body["status"]) == (201, "requested")
    done = place.ended(answer.headers["location"])
    assert (done["status"], done["failure"], len(done["transaction_ids"])) == ("done", None, 2)
    premium, assignment = place.results(account)
    assert (premium["kind"], premium["amount"]["amount"]) == ("premium", 30_000)
    assert (assignment["quantity"], assignment["amount"]["amount"]) == (200, 1_000_000)
    balances = place.customer.balances(account)
    assert balances["ledger"] == 2_000_000 + 30_000 - 1_000_000
    assert balances["total_value"] == 2_000_000 + 30_000
    booked = [place.customer.get(f"/v1/transactions/{i}").body for i in done["transaction_ids"]]
    assert [row["kind"] for row in booked] == ["premium", "assignment"]


def test_an_execution_is_carried_out_once_whatever_is_repeated(place: Place) -> None:
    account = place.on_a_strategy()
    engine = place.parties.strategy_engine
    mark = engine.mark()
    key = "execute-once-0123456789"
    with engine.fault(
        FaultKind.RESET,
        at="response",
        effect=True,
        operations=("executeStrategy",),
        when=first(2, per_key=True),
    ):
        answers = [place.execute(account, key=key) for _ in range(3)]
        assert [a.status for a in answers] == [201, 201, 201]
        assert len({a.raw for a in answers}) == 1
        assert place.ended(answers[0].headers["location"])["status"] == "done"
    (attempts,) = engine.attempts(since=mark, operation="executeStrategy")
    assert (attempts.effects, attempts.payloads) == (1, 1)
    assert [row["amount"]["amount"] for row in place.results(account)] == [30_000]
    assert place.customer.balances(account)["ledger"] == 1_030_000


def test_many_at_once_with_one_key_book_once(place: Place) -> None:
    account = place.on_a_strategy()
    path = f"/v1/accounts/{account['id']}/strategy/executions"
    key = "execute-burst-0123456789"

    def ask(_number: int) -> Any:
        return Client(place.server.port, place.customer.token).post(path, {}, key=key)

    answers = at_once(12, ask)
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["id"] for answer in answers}) == 1
    place.ended(answers[0].headers["location"])
    assert len(place.results(account)) == 1


def test_a_deferred_execution_is_asked_for_until_it_is_done(place: Place) -> None:
    account = place.on_a_strategy("deferred", contracts=1, premium=700)
    done = place.ended(place.execute(account).headers["location"])
    assert done["status"] == "done"
    assert place.customer.balances(account)["ledger"] == 1_000_700


def test_a_failing_and_an_idle_strategy_book_nothing(place: Place) -> None:
    failing = place.on_a_strategy("failing", x=1)
    found = place.ended(place.execute(failing).headers["location"])
    assert (found["status"], bool(found["failure"])) == ("failed", True)
    idle = place.on_a_strategy("idle", x=1)
    assert place.ended(place.execute(idle).headers["location"])["status"] == "done"
    assert place.results(failing) == place.results(idle) == []


def test_an_assignment_that_the_ledger_refuses_is_listed_without_a_transaction(
    place: Place,
) -> None:
    account = place.on_a_strategy("wheel", 600_000, contracts=1, premium=10, strike=5_000)
    engine = place.parties.strategy_engine
    with engine.fault(FaultKind.HANG, operations=("executeStrategy",), lease_s=30):
        answer = place.execute(account)
        assert answer.status == 201
        taken = place.customer.book("withdrawal", 550_000, from_account_id=account["id"])
        assert taken.status == 201
    done = place.ended(answer.headers["location"])
    assert (done["status"], len(done["transaction_ids"])) == ("done", 1)
    premium, assignment = place.results(account)
    assert premium["refusal"] is None
    assert (assignment["transaction_id"], assignment["refusal"]) == (
        None,
        "insufficient_available",
    )
    assert place.customer.balances(account)["ledger"] == 50_010


def test_without_a_strategy_or_on_a_suspended_account_nothing_is_executed(place: Place) -> None:
    account = place.customer.funded(100)
    answer = place.execute(account)
    assert (answer.status, answer.code) == (409, "no_strategy")
    account = place.on_a_strategy()
    manager = a_user(place.server, place.admin, "manager")
    tag = place.customer.get(f"/v1/accounts/{account['id']}").headers["etag"]
    path = f"/v1/accounts/{account['id']}"
    assert manager.patch(path, {"status": "suspended"}, tag=tag).status == 200
    assert place.execute(account).code == "account_suspended"


def test_while_the_engine_is_away_nothing_is_kept_and_the_answer_is_quick(place: Place) -> None:
    account = place.on_a_strategy()
    with place.parties.strategy_engine.fault(FaultKind.HANG, lease_s=30):
        for _ in range(3):
            place.probe(ENGINE)
        for _ in range(5):
            if place.breaker(ENGINE) != "open":
                place.probe(ENGINE)
            began_s = time.monotonic()
            answer = place.execute(account)
            took_s = time.monotonic() - began_s
            if place.breaker(ENGINE) == "open" and answer.status == 503:
                assert answer.code == "circuit_open"
                assert answer.body["integration"] == ENGINE
                assert took_s < 1
        changed = place.put_strategy(account["id"], "idle", '"1"', x=1)
        assert changed.status == 503
        read = place.customer.get(f"/v1/accounts/{account['id']}/strategy")
        assert (read.status, read.body["name"]) == (200, "premium")


def test_an_unknown_outcome_of_an_association_is_put_right(place: Place) -> None:
    account = place.on_a_strategy()
    engine = place.parties.strategy_engine
    with engine.fault(
        FaultKind.RESET, at="response", effect=True, operations=("associateStrategy",)
    ):
        refused = place.put_strategy(account["id"], "idle", '"1"', x=1)
        assert (refused.status, refused.code) == (503, "integration_unavailable")
    place.close(ENGINE)

    def known() -> str:
        rows = engine.state()["associations"]
        return str(next(r["strategy"] for r in rows if r["account_ref"] == account["id"]))

    assert wait_for(known, lambda name: name == "premium", 15.0)
    assert place.put_strategy(account["id"], "idle", '"1"', x=1).status == 200
    assert known() == "idle"


def test_of_changes_at_the_same_time_one_wins_and_the_engine_knows_it(place: Place) -> None:
    account = place.on_a_strategy()
    path = f"/v1/accounts/{account['id']}/strategy"

    def change(number: int) -> Any:
        body = {"name": "premium", "parameters": {"contracts": 1 + number}}
        mine = Client(place.server.port, place.customer.token)
        return mine.send("PUT", path, body, headers={"If-Match": '"1"'})

    answers = at_once(8, change)
    won = [answer for answer in answers if answer.status == 200]
    assert len(won) == 1
    assert {a.code for a in answers if a.status != 200} <= {"precondition_failed", "busy"}
    rows = place.parties.strategy_engine.state()["associations"]
    kept = next(row for row in rows if row["account_ref"] == account["id"])
    assert kept["parameters"] == won[0].body["parameters"]


def test_a_killed_worker_leaves_no_execution_behind(place: Place) -> None:
    account = place.on_a_strategy()
    engine = place.parties.strategy_engine
    mark = engine.mark()
    with engine.fault(FaultKind.HANG, operations=("executeStrategy",), lease_s=30, effect=True):
        answers = []
        for _ in range(2):
            asker = Client(place.server.port, place.customer.token)
            path = f"/v1/accounts/{account['id']}/strategy/executions"
            answers.append(asker.post(path, {}))
        for pid in workers(place.server.process.pid):
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    place.customer._connection = place.operator._connection = None
    wait_for(lambda: alive(place), bool, 15.0)
    for answer in answers:
        if answer.status == 201:
            assert place.ended(answer.headers["location"], 30.0)["status"] == "done"
    for attempts in engine.attempts(since=mark, operation="executeStrategy"):
        assert attempts.effects == 1
    made = [a for a in answers if a.status == 201]
    assert len(place.results(account)) == len(made) > 0
    assert place.customer.balances(account)["ledger"] == 1_000_000 + 30_000 * len(made)


def alive(place: Place) -> bool:
    try:
        return place.customer.get("/health/ready").status == 200
    except OSError:
        return False


def workers(supervisor: int) -> list[int]:
    """Return the processes below granian's main one."""

    def children(pid: int) -> list[int]:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123
            return [int(text) for text in file.read().split()]

    main = children(supervisor)
    return [pid for parent in main for pid in children(parent)]


@pytest.mark.parametrize("form", ["wrong_schema", "huge", "json"])
def test_an_answer_that_is_not_sound_books_nothing_until_it_is(place: Place, form: str) -> None:
    account = place.on_a_strategy()
    engine = place.parties.strategy_engine
    kinds = {"wrong_schema": FaultKind.WRONG_SCHEMA, "huge": FaultKind.HUGE}
    options: dict[str, Any] = {"form": "json"} if form == "json" else {}
    with engine.fault(kinds.get(form, FaultKind.MALFORMED), lease_s=30, **options):
        answer = place.execute(account)
        assert answer.status == 201
        assert place.execution(answer.headers["location"])["status"] == "requested"
        assert place.customer.balances(account)["ledger"] == 1_000_000
    place.close(ENGINE)
    assert place.ended(answer.headers["location"])["status"] == "done"
    assert place.customer.balances(account)["ledger"] == 1_030_000
