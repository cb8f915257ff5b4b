"""The decoder takes what two readers understand alike and refuses the rest in bounded time."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certification.contract import ContractDecodeError, parse_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(values, st.booleans())
def test_every_json_value_comes_back(value: object, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_decode_error(raw: bytes) -> None:
    assert len(_refusal(raw)) < 200


def _refusal(raw: bytes) -> str:
    try:
        parse_json(raw)
    except ContractDecodeError as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"<html>", "not JSON"),
        (b"{} {}", "Extra data"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"\xff", "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e400]", "beyond the range of a double"),
        (b"1" * 41, "a number of 41 digits"),
        (b"9" * 1_000_000, "a number of 1000000 digits"),
        (b'{"a":1,"b":{"c":1,"c":2}}', "the name 'c' twice"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'{"\\uDFFF":1}', "half a surrogate pair"),
    ],
)
def test_what_readers_would_disagree_about_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ContractDecodeError, match=reason):
        parse_json(raw)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_a_long_duplicate_name_is_not_repeated_in_the_reason() -> None:
    name = b'"' + b"n" * 10_000 + b'"'
    with pytest.raises(ContractDecodeError) as caught:
        parse_json(b"{" + name + b":1," + name + b":2}")
    assert len(caught.value.reason) < 120


def test_depth_is_counted_outside_strings_only() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64) is not None
    with pytest.raises(ContractDecodeError, match="deeper than 64"):
        parse_json(b"[" * 65 + b"]" * 65)
    brackets = "[{" * 100 + '\\"['
    assert parse_json(json.dumps([brackets, [], {}]).encode()) == [brackets, [], {}]
    assert parse_json(json.dumps([[]] * 1_000).encode()) == [[]] * 1_000
    with pytest.raises(ContractDecodeError, match="deeper than 2"):
        parse_json(b"[[[]]]", depth_max=2)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'"' + b'\\"' * 500_000,
        b'{"a' + b'\\"[' * 500_000,
        b'["' + b"\\" * 1_000_001,
        b"]" * 200_000 + b"[" * 200_000,
    ],
)
def test_hostile_bodies_are_refused_without_recursion(raw: bytes) -> None:
    with pytest.raises(ContractDecodeError):
        parse_json(raw)


def test_a_generous_limit_still_ends_in_a_decode_error() -> None:
    with pytest.raises(ContractDecodeError, match="nested too deep"):
        parse_json(b"[" * 200_000 + b"]" * 200_000, depth_max=300_000)
