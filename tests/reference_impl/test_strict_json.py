"""A body is read the same by its short way and by its long way."""

import json
from typing import Any

import pytest

from reference_impl import strict_json

TRANSFER = {"kind": "transfer", "amount": {"amount": 1, "currency": "USD"}, "memo": "naïve €"}


@pytest.mark.parametrize(
    "document",
    [TRANSFER, [TRANSFER] * 3, {"a": 1.5, "b": [None, True], "": "\x7f"}, 10**63, -1, "x", {}],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")])
@pytest.mark.parametrize("escaped", [True, False])
def test_every_way_to_write_a_document_is_read(
    document: Any, separators: tuple[str, str], escaped: bool
) -> None:
    raw = json.dumps(document, separators=separators, ensure_ascii=escaped).encode()
    assert strict_json.loads(raw) == document


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"b":2,"a":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 65 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'"\\ud800"',
        b'"\xff"',
        b'{"a":1}x',
        b"",
        b'{"a":1,}',
        b"01",
        b"[" * 100_000,
    ],
)
def test_what_could_mean_two_things_is_refused(raw: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        strict_json.loads(raw)
