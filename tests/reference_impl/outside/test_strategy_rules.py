"""What of an engine's answer may be booked: a pure function, and the booking under it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.integration.strategy_engine import Execution, Run, judge

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
RUN = Run(
    id="exe_1",
    account_id="acc_1",
    strategy="wheel",
    parameters={},
    available=500_000,
    currency="USD",
    status="requested",
    engine_id=None,
    attempts=0,
    traceparent="",
    created_at=NOW_MS - 1_000,
    created_by="usr_1",
)


def result(**members: Any) -> dict[str, Any]:
    found = {
        "result_id": "run-1-1",
        "kind": "premium",
        "amount": {"amount": 100, "currency": "USD"},
        "occurred_at": NOW.isoformat(),
    }
    return {**found, **members}


def execution(*results: dict[str, Any], **members: Any) -> Execution:
    document = {
        "execution_id": "run-1",
        "execution_ref": "exe_1",
        "account_ref": "acc_1",
        "strategy": "wheel",
        "status": "done",
        "results": list(results),
        "created_at": NOW.isoformat(),
        **members,
    }
    return msgspec.json.decode(msgspec.json.encode(document), type=Execution)


ASSIGNMENT = {"result_id": "run-1-2", "kind": "assignment", "instrument": "SPY", "quantity": 100}
OLD = (NOW - timedelta(minutes=10)).isoformat()
AHEAD = (NOW + timedelta(minutes=10)).isoformat()


def test_a_sound_answer_is_taken() -> None:
    cost = {"amount": {"amount": 500_000, "currency": "USD"}}
    assert judge(execution(result(), result(**ASSIGNMENT, **cost)), RUN, NOW_MS) is None


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (execution(result(), execution_ref="exe_2"), "another"),
        (execution(result(), account_ref="acc_2"), "another"),
        (execution(result(), strategy="idle"), "another"),
        (execution(result(), created_at=OLD), "times"),
        (execution(result(occurred_at=OLD)), "times"),
        (execution(result(occurred_at=AHEAD)), "times"),
        (execution(result(amount={"amount": 0, "currency": "USD"})), "no amount"),
        (execution(result(amount={"amount": 1, "currency": "EUR"})), "currency"),
        (execution(result(), result()), "one id"),
        (execution(result(**{**ASSIGNMENT, "quantity": None})), "lacks"),
        (execution(result(**{**ASSIGNMENT, "instrument": None})), "lacks"),
        (
            execution(result(**ASSIGNMENT, amount={"amount": 500_001, "currency": "USD"})),
            "more than",
        ),
        (execution(result(), status="running"), "not done"),
        (execution(result(), status="failed"), "not done"),
    ],
)
def test_anything_wrong_in_it_refuses_all_of_it(found: Execution, word: str) -> None:
    assert word in str(judge(found, RUN, NOW_MS))


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"amount": -1, "currency": "USD"}',
        b'{"amount": 1.5, "currency": "USD"}',
        b'{"amount": "100", "currency": "USD"}',
        b'{"amount": 9007199254740992, "currency": "USD"}',
        b'{"amount": NaN, "currency": "USD"}',
        b'{"amount": 1e400, "currency": "USD"}',
        b'{"amount": true, "currency": "USD"}',
    ],
)
def test_what_is_no_amount_of_money_is_not_even_read(wrong: bytes) -> None:
    raw = msgspec.json.encode(execution(result(amount={"amount": 1, "currency": "USD"})))
    doctored = raw.replace(b'{"amount":1,"currency":"USD"}', wrong)
    assert doctored != raw
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(doctored, type=Execution)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400_000)), max_size=6))
def test_never_more_than_was_available_goes_out(rows: list[tuple[bool, int]]) -> None:
    results = [
        result(
            **(ASSIGNMENT if out else {}),
            **{"result_id": f"r-{number}"} if not out else {},
            amount={"amount": amount, "currency": "USD"},
        )
        | {"result_id": f"r-{number}"}
        for number, (out, amount) in enumerate(rows)
    ]
    wrong = judge(execution(*results), RUN, NOW_MS)
    outflow = sum(amount for out, amount in rows if out)
    sound = outflow <= RUN.available and all(amount > 0 for _, amount in rows)
    assert (wrong is None) is sound
