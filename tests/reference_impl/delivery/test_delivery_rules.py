"""When an event is tried again, when it is given up, and what may not overtake what."""

import base64
import time

import pytest
import standardwebhooks

from reference_impl.delivery import rules, signing
from reference_impl.delivery.rules import Limits, Outcome, Verdict

LIMITS = Limits(first_s=0.5, most_s=60.0, attempts_max=5, give_up_s=900)
FAILED = Outcome(status=500)


def test_pauses_double_up_to_a_cap_and_half_of_them_is_chance() -> None:
    longest = [rules.pause_s(LIMITS, n, FAILED, 1.0) for n in range(1, 12)]
    assert longest == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert rules.pause_s(LIMITS, 3, FAILED, 0.0) == 1.0
    assert rules.pause_s(LIMITS, 10_000, FAILED, 1.0) == 60.0


def test_retry_after_is_honoured_and_bounded() -> None:
    assert rules.pause_s(LIMITS, 1, Outcome(status=503, retry_after_s=7.0), 0.0) == 7.0
    assert rules.pause_s(LIMITS, 1, Outcome(status=503, retry_after_s=1e9), 0.0) == 3600.0
    assert rules.retry_after("120") == 120.0
    for text in (None, "", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "\u0661"):
        assert rules.retry_after(text) is None


@pytest.mark.parametrize(
    ("status", "attempts", "others", "failing_s", "expected"),
    [
        (204, 1, False, 0, Verdict.TAKEN),
        (302, 1, True, 0, Verdict.RETRY),
        (410, 1, False, 0, Verdict.GONE),
        (500, 5, True, 0, Verdict.SET_ASIDE),
        (500, 4, True, 0, Verdict.RETRY),
        (500, 500, False, 0, Verdict.RETRY),
        (None, 500, False, 0, Verdict.RETRY),
        (401, 500, False, 0, Verdict.RETRY),
        (422, 5, False, 0, Verdict.SET_ASIDE),
        (422, 4, True, 0, Verdict.RETRY),
        (500, 500, False, 899, Verdict.RETRY),
        (500, 5, False, 900, Verdict.SET_ASIDE),
        (503, 500, False, 900, Verdict.RETRY),
        (None, 500, False, 900, Verdict.RETRY),
    ],
)
def test_an_event_is_given_up_only_where_the_fault_is_its_own(
    status: int | None, attempts: int, others: bool, failing_s: float, expected: Verdict
) -> None:
    outcome = Outcome(status=status, error="" if status else "timeout")
    found = rules.verdict(LIMITS, attempts, outcome, others_taken=others, failing_s=failing_s)
    assert found is expected


def test_nothing_overtakes_within_a_key() -> None:
    events = [(1, ("a",)), (2, ("a", "b")), (3, ("b",)), (4, ("c",))]
    assert rules.free(events) == [1, 4]
    assert rules.unblocked(events, {"a"}) == [4]
    assert rules.unblocked(events, {"c"}) == [1, 2, 3]
    assert rules.unblocked(events, set()) == [1, 2, 3, 4]


def test_a_signature_is_accepted_by_the_library_of_the_standard() -> None:
    secret, now = signing.new_secret(), int(time.time())
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    body = b'{"specversion":"1.0"}'
    headers = signing.headers([secret], "evt_1", now, body)
    standardwebhooks.Webhook(secret).verify(body, headers)
    for wrong in (
        signing.headers([signing.new_secret()], "evt_1", now, body),
        signing.headers([secret], "evt_1", now, body + b" "),
        {**headers, "webhook-id": "evt_2"},
        {**headers, "webhook-timestamp": str(now - 1)},
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(body, wrong)


def test_during_a_rotation_either_secret_verifies() -> None:
    new, old, now = signing.new_secret(), signing.new_secret(), int(time.time())
    headers = signing.headers([new, old], "evt_1", now, b"{}")
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        standardwebhooks.Webhook(secret).verify(b"{}", headers)
