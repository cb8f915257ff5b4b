"""Expectations make findings, back-pressure is waited out, bursts leave nothing running."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from certification.arrange import unknown_id
from certification.checks import CheckFailed, NotExercised, Undecided, load_catalogue
from certification.context import BACK_PRESSURE_REPEATS_MAX, Context
from certification.contract import Violation, load_contract
from certification.target.reply import Reply, ReplyHeaders
from certification.target.session import Session


def reply(status: int, **more: Any) -> Reply:
    return Reply(
        operation="getAccount",
        status=status,
        headers=ReplyHeaders(),
        body=more.pop("body", None),
        raw=b"",
        exchange_number=1,
        elapsed_ms=1.0,
        **more,
    )


@dataclass
class Scripted:
    """A session that gives prepared answers and remembers what was sent."""

    answers: Sequence[Reply]
    role: str = "customer"
    user_id: str = "u"
    sent: list[dict[str, Any]] = field(default_factory=list)

    def call(self, operation: str, **request: Any) -> Reply:
        self.sent.append({"operation": operation, **request})
        index = min(len(self.sent), len(self.answers)) - 1
        return self.answers[index].with_key(request.get("key") or f"key-{len(self.sent)}")


def context(session: Scripted, **more: Any) -> Context:
    return Context(
        spec=replace(load_catalogue()[0], budget_s=more.pop("budget_s", 60.0)),
        case="-",
        prefix="cert-x",
        seed=1,
        contract=load_contract(),
        capabilities=more.pop("capabilities", {}),
        sessions={"customer": cast("Session", session)},
        measure=lambda _: None,
        created=lambda *_: None,
        objects=lambda: (),
        stopping=more.pop("stopping", lambda: False),
        **more,
    )


def test_busy_is_waited_out_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Scripted([reply(503, retry_after_s=0.0), reply(503, retry_after_s=0.0), reply(201)])
    ctx = context(session)
    assert ctx.customer.call("createAccount", expect=201).status == 201
    assert [sent.get("key") for sent in session.sent] == [None, "key-1", "key-1"]


def test_busy_for_ever_is_undecided_not_failed() -> None:
    session = Scripted([reply(503, retry_after_s=0.0)])
    with pytest.raises(Undecided):
        context(session).customer.call("createAccount", expect=201)
    assert len(session.sent) == BACK_PRESSURE_REPEATS_MAX


def test_a_503_without_retry_after_is_an_answer() -> None:
    with pytest.raises(CheckFailed):
        context(Scripted([reply(503)])).customer.call("getAccount", expect=200)


def test_an_answer_outside_the_contract_fails_whatever_was_expected() -> None:
    wrong = reply(200, violations=(Violation(pointer="/id", message="is missing"),))
    with pytest.raises(CheckFailed) as failed:
        context(Scripted([wrong])).customer.call("getAccount", expect=200)
    assert "/id: is missing" in failed.value.finding.observed
    assert failed.value.finding.exchanges == (1,)


@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [(404, "not_found", True), (403, "not_found", False), (404, "forbidden", False)],
)
def test_a_problem_needs_its_code_and_its_status(status: int, code: str, passes: bool) -> None:
    ctx = context(Scripted([reply(status, problem_code=code)]))
    if passes:
        ctx.customer.call("getAccount", problem="not_found")
        return
    with pytest.raises(CheckFailed):
        ctx.customer.call("getAccount", problem="not_found")


@pytest.mark.parametrize(("observed", "expected"), [(True, 1), (1, True), (10, 11), ("1", 1)])
def test_equal_does_not_mix_kinds(observed: object, expected: object) -> None:
    with pytest.raises(CheckFailed):
        context(Scripted([])).equal(observed, expected, "differs")


def late_context(session: Scripted, times: list[float]) -> Context:
    """Return a context of a deployment that is 250 ms late; `times` ends with the present one."""
    capabilities = {"consistency": {"read_your_writes": {"bounded_ms": 250}}}
    return context(session, capabilities=capabilities, clock=lambda: times[-1])


def test_a_read_waits_for_what_the_case_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [100.0]
    monkeypatch.setattr(Context, "wait", lambda _ctx, seconds: times.append(times[-1] + seconds))
    ctx = late_context(Scripted([reply(200)]), times)

    ctx.customer.call("getAccount")
    assert times[-1] == 100.0
    ctx.customer.call("createAccount")
    times.append(100.1)
    ctx.customer.call("getAccount", at_once=True)
    assert times[-1] == 100.1
    ctx.customer.call("getAccount")
    assert times[-1] == 100.25
    ctx.customer.call("getAccount")
    assert times[-1] == 100.25


def test_a_read_waits_for_a_write_that_had_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [100.0]
    monkeypatch.setattr(Context, "wait", lambda _ctx, seconds: times.append(times[-1] + seconds))
    session = Scripted([reply(200)])
    ctx = late_context(session, times)
    with monkeypatch.context() as broken:
        broken.setattr(Scripted, "call", lambda *_, **__: (_ for _ in ()).throw(TimeoutError))
        with pytest.raises(TimeoutError):
            ctx.customer.call("createAccount")

    ctx.customer.call("getAccount")
    assert times[-1] == 100.25


@pytest.mark.parametrize("declared", [True, False, None, 7, "soon", [], {"bounded_ms": "1"}])
def test_whatever_is_no_bound_is_not_waited_for(declared: object) -> None:
    ctx = context(Scripted([]), capabilities={"consistency": {"read_your_writes": declared}})
    assert ctx.arrange.lag_s == 0


def test_no_request_starts_when_the_run_is_ending() -> None:
    session = Scripted([reply(200)])
    with pytest.raises(Undecided):
        context(session, stopping=lambda: True).customer.call("getAccount")
    assert session.sent == []


def test_no_request_starts_when_the_budget_is_spent() -> None:
    moments = iter([0.0, 61.0])
    session = Scripted([reply(200)])
    with pytest.raises(Undecided, match="budget of 60 s"):
        context(session, clock=lambda: next(moments)).customer.call("getAccount")


def test_a_burst_starts_together_and_ends_before_its_error_is_told() -> None:
    ended: list[int] = []
    gate = threading.Barrier(3)

    def act(number: int) -> int:
        gate.wait(timeout=5)
        ended.append(number)
        if number == 0:
            raise ValueError("first")
        return number

    with pytest.raises(ValueError, match="first"):
        context(Scripted([])).together([lambda n=n: act(n) for n in range(3)])  # type: ignore[misc]  # bound now
    assert sorted(ended) == [0, 1, 2]


def test_a_replay_draws_the_same_and_another_case_does_not() -> None:
    one, again = context(Scripted([])), context(Scripted([]))
    assert one.name("x") == again.name("x")
    other = replace(one, case="other")
    assert other.name("x") != context(Scripted([])).name("x")


def test_a_missing_declaration_is_the_target_s_fault() -> None:
    with pytest.raises(CheckFailed) as failed:
        _ = context(Scripted([])).arrange.currency
    assert failed.value.finding.expected == "currencies"


@pytest.mark.parametrize(
    ("limits", "items"),
    [
        ({"body_bytes_max": 1_048_576}, 1_000),
        ({"body_bytes_max": 1_048_576, "batch_items_max": 3}, 3),
        ({"body_bytes_max": 32_768, "batch_items_max": 1_000}, 64),
    ],
)
def test_a_batch_fits_the_declared_number_and_size(limits: dict[str, int], items: int) -> None:
    ctx = context(Scripted([]), capabilities={"limits": limits})
    assert ctx.arrange.batch_items_max == items


def test_an_amount_that_the_deployment_does_not_take_is_not_exercised() -> None:
    ctx = context(Scripted([]), capabilities={"limits": {"amount_max": 1_000_000}})
    ctx.arrange.within_limits(1_000_000)
    with pytest.raises(NotExercised, match="amount_max"):
        ctx.arrange.within_limits(1_000_001)


@pytest.mark.parametrize("known", ["a", "acc_7", "f" * 64])
def test_an_unknown_id_has_a_legal_length_and_is_another_one(known: str) -> None:
    made = unknown_id({"id": known})
    assert made != known
    assert 1 <= len(made) <= 64


def page(cursor: str | None) -> Reply:
    return reply(200, body={"data": [{}], "next_cursor": cursor})


def test_a_list_longer_than_one_walk_can_take_is_undecided() -> None:
    ctx = context(Scripted([page(f"cursor-{number}") for number in range(5)]))
    shown: list[Reply] = []
    with pytest.raises(Undecided, match="more than 3 pages"):
        ctx.arrange.pages("listAccounts", pages_max=3, each=shown.append)
    assert len(shown) == 3


def test_a_cursor_that_comes_back_fails_the_check() -> None:
    ctx = context(Scripted([page("one"), page("two"), page("one"), page(None)]))
    with pytest.raises(CheckFailed, match="never ends"):
        ctx.arrange.pages("listAccounts")
