"""What one call tells and counts when its breaker changes between its attempts."""

from collections.abc import Sequence
from typing import Any

import pytest

from reference_impl import metrics
from reference_impl.integration import registry, wire
from reference_impl.integration.breakers import Breakers, Permit, Refused
from reference_impl.integration.outbound import Call, CallFailedError, Outbound, Reason

SYSTEM = registry.USER_MANAGEMENT
CONFIGURED = {
    registry.variable(SYSTEM, "URL"): "https://users.example",
    registry.variable(SYSTEM, "TOKEN"): "t0ken",
}
READ = Call(operation="getMetadata", method="GET", target="/metadata")
GOOD = wire.Received(status=200, headers=(), body=b"{}")
HELD_BACK = Refused(retry_after_s=7)


class Counted(metrics.Nothing):
    """Remembers what was counted of retries and of calls that were not made."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def count(self, family: Any, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        key = family.name if family is metrics.RETRIES else "/".join((family.name, *labels))
        self.seen[key] = self.seen.get(key, 0.0) + amount


class Scripted(Breakers):
    """Lets out and holds back as the test says."""

    def __init__(self, answers: Sequence[Permit | Refused]) -> None:
        self.answers = list(answers)

    def admit(self, *_: object) -> Permit | Refused:
        return self.answers.pop(0)

    def report(self, *_: object, **__: object) -> None:
        pass


class Wire:
    """Brings these answers, and remembers how often it was asked."""

    def __init__(self, *answers: wire.Received | wire.OverError) -> None:
        self.answers, self.sent = list(answers), 0

    def exchange(self, *_: object, **__: object) -> wire.Received:
        self.sent += 1
        answer = self.answers.pop(0)
        if isinstance(answer, wire.OverError):
            raise answer
        return answer


def way(permits: Sequence[Permit | Refused], line: Wire) -> tuple[Outbound, Counted]:
    counted = Counted()
    made = Outbound(
        registry=registry.load(CONFIGURED),
        breakers=Scripted(permits),
        instance="one",
        counted=counted,
        waiting_max=4,
        sleep=lambda _: None,
    )
    made._lines[SYSTEM].pool = line  # type: ignore[assignment]  # all of a pool that is asked for
    return made, counted


def test_a_trial_that_went_out_says_how_it_failed_though_its_repetition_is_held_back() -> None:
    line = Wire(wire.TimeoutOverError())
    outbound, counted = way([Permit(lease_ms=1), HELD_BACK], line)
    with pytest.raises(CallFailedError) as raised:
        outbound.call(SYSTEM, READ)
    failed = raised.value
    assert (failed.reason, failed.unknown, failed.retry_after_s) == (Reason.TIMEOUT, True, 7)
    problem = failed.problem()
    assert problem.code == "integration_unavailable"
    assert "did not answer in time" in problem.detail
    assert problem.headers["Retry-After"] == "7"
    assert line.sent == 1
    assert counted.seen[metrics.RETRIES.name] == 0
    assert counted.seen[f"{metrics.REJECTED.name}/{SYSTEM}/open"] == 1


def test_a_call_that_never_went_out_says_that_the_breaker_is_open() -> None:
    outbound, _ = way([HELD_BACK], line := Wire())
    with pytest.raises(CallFailedError) as raised:
        outbound.call(SYSTEM, READ)
    assert (raised.value.reason, raised.value.unknown, line.sent) == (Reason.OPEN, False, 0)
    assert raised.value.problem().code == "circuit_open"


def test_attempts_beyond_the_first_are_counted_as_they_go_out() -> None:
    line = Wire(wire.LostError(), wire.UnreachableError(), GOOD)
    outbound, counted = way([Permit()] * 3, line)
    assert outbound.call(SYSTEM, READ).attempts == 3
    assert (line.sent, counted.seen[metrics.RETRIES.name]) == (3, 2)


def test_what_may_have_happened_at_one_attempt_may_have_happened() -> None:
    line = Wire(wire.TimeoutOverError(), wire.UnreachableError(), wire.UnreachableError())
    outbound, _ = way([Permit()] * 3, line)
    with pytest.raises(CallFailedError) as raised:
        outbound.call(SYSTEM, READ)
    assert (raised.value.reason, raised.value.unknown) == (Reason.UNREACHABLE, True)
