"""One-time codes against the vectors of the RFCs."""

from __future__ import annotations

import base64

import pytest

from certification import one_time_codes

SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(now_s: int, expected: str) -> None:
    step = one_time_codes.step_of(now_s, 30)
    assert one_time_codes.code(SECRET, step, digits=8) == expected


@pytest.mark.parametrize(("step", "expected"), [(0, "755224"), (1, "287082"), (9, "520489")])
def test_six_digits_are_those_of_rfc_4226(step: int, expected: str) -> None:
    assert one_time_codes.code(SECRET, step) == expected


def test_a_secret_is_taken_as_people_type_it() -> None:
    spaced = " ".join(SECRET[i : i + 4] for i in range(0, len(SECRET), 4)).lower()
    assert one_time_codes.code(spaced, 7) == one_time_codes.code(SECRET, 7)
    unpadded = base64.b32encode(b"short").decode().rstrip("=")
    assert len(one_time_codes.code(unpadded, 7)) == 6


def test_a_wrong_code_belongs_to_no_step_near() -> None:
    right = {one_time_codes.code(SECRET, step) for step in range(95, 106)}
    assert one_time_codes.wrong_code(SECRET, 100) not in right


def test_a_secret_that_is_not_base32_is_refused() -> None:
    with pytest.raises(ValueError, match=r"[Bb]ase32|alphabet|Non-base32"):
        one_time_codes.code("1!", 0)
