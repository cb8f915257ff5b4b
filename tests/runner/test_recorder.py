"""What clients do is recorded as they saw it, and what they did not see is asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from certification import histories
from certification.checks import CheckFailed, Undecided
from certification.context import Context
from certification.histories import Recorder
from certification.oracle.history import Outcome
from certification.target.outcomes import ConnectionLost, Lost
from certification.target.reply import Reply
from tests.runner.test_context import Scripted, context, reply

ACCOUNT = {"id": "acc_1", "currency": "USD"}
LIMITS = {"currencies": [{"code": "USD", "exponent": 2}], "limits": {"amount_max": 10**12}}
IN_FLIGHT = reply(409, problem_code="idempotency_in_flight", retry_after_s=0.0)
BOOKED = reply(201, body={"id": "txn_1"})


@dataclass
class Losing(Scripted):
    """A session of which some answers are lost."""

    answers: Sequence[Any] = ()
    sent: list[dict[str, Any]] = field(default_factory=list)

    def call(self, operation: str, **request: Any) -> Reply:
        self.sent.append({"operation": operation, **request})
        answer = self.answers[min(len(self.sent), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return cast("Reply", answer)


def lost() -> ConnectionLost:
    return ConnectionLost(number=7, reason=Lost.DEADLINE, detail="gave up")


def recorder(*answers: Any) -> tuple[Recorder, Losing]:
    session = Losing(answers)
    ctx: Context = context(session, capabilities=LIMITS)
    return Recorder(ctx), session


def test_a_write_without_an_answer_is_resolved_under_its_key() -> None:
    kept, session = recorder(lost(), IN_FLIGHT, BOOKED)

    assert kept.write("client", kept.deposit(ACCOUNT, 5)) is None
    unresolved = kept.operations[0]
    assert (unresolved.outcome, unresolved.ended_ns) == (Outcome.UNRESOLVED, None)
    kept.resolve()

    (done,) = kept.operations
    assert (done.outcome, done.transaction, done.began_ns) == (
        Outcome.OK,
        "txn_1",
        unresolved.began_ns,
    )
    assert done.ended_ns is not None
    assert len({sent["key"] for sent in session.sent}) == 1


def test_a_client_that_gives_up_insists_under_one_key() -> None:
    kept, session = recorder(lost(), lost(), BOOKED)

    answer = kept.insist("client", kept.deposit(ACCOUNT, 5), deadline_s=0.001)

    assert answer.status == 201
    assert len(kept.operations) == 1
    assert [sent.get("deadline_s") for sent in session.sent] == [0.001, None, None]
    assert len({sent["key"] for sent in session.sent}) == 1


def test_a_refusal_for_want_of_money_is_told_from_others() -> None:
    kept, _ = recorder(
        reply(422, problem_code="insufficient_available"), reply(409, problem_code="closed")
    )
    for _ in range(2):
        kept.write("client", kept.withdrawal(ACCOUNT, 5))

    assert [(row.outcome, row.for_funds) for row in kept.operations] == [
        (Outcome.REFUSED, True),
        (Outcome.REFUSED, False),
    ]


def test_what_never_gets_an_answer_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "RESOLVE_TRIES", 3)
    kept, _ = recorder(lost(), IN_FLIGHT)
    kept.write("client", kept.deposit(ACCOUNT, 5))

    with pytest.raises(Undecided, match="in vain"):
        kept.resolve()


def test_an_answer_that_neither_accepts_nor_refuses_fails() -> None:
    kept, _ = recorder(reply(500))

    with pytest.raises(CheckFailed):
        kept.write("client", kept.deposit(ACCOUNT, 5))
