"""Hostile bodies: every operation of the contract that takes one answers a problem, in time."""

import json
import time
from typing import Any

import pytest

from certification.contract import Operation, load_contract

BYTES_MAX = 1024 * 1024
ANSWER_S = 15.0
"""Bounded, with room for a busy machine."""
NESTED = 100_000

RAW: dict[str, bytes] = {
    "empty": b"",
    "white space": b" \n\t ",
    "not JSON": b"{name: 1}",
    "cut off": b'{"name": "Weekly',
    "trailing comma": b'{"name": "x",}',
    "two documents": b"{}{}",
    "comment": b'{"name": "x" /* y */}',
    "nested arrays": b"[" * NESTED + b"]" * NESTED,
    "nested objects": b'{"a":' * NESTED + b"1" + b"}" * NESTED,
    "nested metadata": b'{"metadata":' + b'{"a":' * 900 + b"1" + b"}" * 901,
    "duplicated member": b'{"name": "x", "name": "y"}',
    "duplicated deep": b'{"metadata": {"a": 1, "a": 2}}',
    "NaN": b'{"amount": {"amount": NaN, "currency": "USD"}}',
    "Infinity": b'{"amount": {"amount": -Infinity, "currency": "USD"}}',
    "huge integer": b'{"amount": {"amount": ' + b"9" * 5000 + b', "currency": "USD"}}',
    "huge exponent": b'{"amount": {"amount": 1e999999, "currency": "USD"}}',
    "tiny exponent": b'{"amount": {"amount": 1e-999999, "currency": "USD"}}',
    "64 bits and one": b'{"base_amount": 18446744073709551616}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "lone surrogate as a name": b'{"\\udfff": 1}',
    "NUL": b'{"name": "a\\u0000b"}',
    "raw NUL": b'{"name": "a\x00b"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "surrogate bytes": b'{"name": "\xed\xa0\x80"}',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "oversized": b'{"name": "' + b"x" * BYTES_MAX + b'"}',
    "oversized number": b'{"amount": ' + b"1" * BYTES_MAX + b"}",
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"7",
    "null": b"null",
    "true": b"true",
    "unknown member": b'{"no_such_member": 1}',
    "prototype": b'{"__proto__": {"admin": true}, "constructor": 1}',
}
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    2**63,
    -(2**63) - 1,
    10**40,
    "",
    "\u0000",
    "x" * 5000,
    "\u202e\u200b\ufeff",
    "'; DROP TABLE accounts; --",
    [],
    [[[]]],
    {},
    {"amount": {"amount": {}}},
)
MEDIA_TYPES: tuple[dict[str, str], ...] = (
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/xml"},
    {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": ""},
    {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    {"Content-Type": "\u00e9/\u00e9"},
)
MEMBERS = (
    *("name", "amount", "metadata", "reason", "roles", "password", "username", "type"),
    *("currency", "sources", "target_id", "period", "legs", "items", "kind", "policy"),
)
"""Of one operation or another; to the others they are unknown, which is refused as well."""
CONTRACT = load_contract()


def with_bodies() -> list[Operation]:
    """Return the complete operations that take a body."""
    return [
        operation
        for operation in CONTRACT.operations.values()
        if operation.method in {"POST", "PUT", "PATCH"} and not operation.draft
    ]


@pytest.fixture(params=with_bodies(), ids=lambda operation: operation.id)
def operation(request: pytest.FixtureRequest) -> Operation:
    found: Operation = request.param
    return found


@pytest.fixture
def sender(new_client: Any) -> Any:
    """Return an administrator of its own: one of the operations ends the session."""
    return new_client("admin")


@pytest.fixture(scope="module")
def paths(admin: Any, new_client: Any) -> dict[str, str]:
    """Return the path of every operation, with ids of objects that are there."""
    made = admin.funded(1000)
    deposit = admin.book("deposit", 1, to_account_id=made["id"]).body["id"]
    values = {
        "accounts": made["id"],
        "transactions": deposit,
        "users": new_client("customer").user_id,
    }
    values |= {"policies": "generation"}
    found = {}
    for each in with_bodies():
        steps = each.path.split("/")
        for place, step in enumerate(steps):
            if step.startswith("{"):
                steps[place] = values.get(steps[place - 1], "none")
        found[each.id] = "/".join(steps)
    return found


def send(client: Any, operation: Operation, path: str, **options: Any) -> Any:
    """Send one body; the answer is a problem of the contract, soon, and never a defect."""
    began = time.monotonic()
    headers = {
        "Idempotency-Key": f"bad-{time.monotonic_ns():020d}",
        "If-Match": "*",
        **options.pop("headers", {}),
    }
    answer = client.send(operation.method, path, headers=headers, **options)
    assert time.monotonic() - began < ANSWER_S
    assert answer.status < 500, (operation.id, options, answer.body)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.code in CONTRACT.problems
    return answer


IGNORES_BODY = {"logout"}
"""Needs no body and reads none."""


def test_hostile_bodies_are_refused(
    sender: Any, paths: dict[str, str], operation: Operation
) -> None:
    for name, raw in RAW.items():
        answer = send(sender, operation, paths[operation.id], raw=raw)
        if not _may_pass(operation, name):
            assert 400 <= answer.status < 500, (operation.id, name, answer.body)


def _may_pass(operation: Operation, name: str) -> bool:
    """An empty body is the empty object where every member may be left out."""
    return operation.id in IGNORES_BODY or name == "empty"


def test_every_member_of_a_wrong_type_is_refused(
    sender: Any, paths: dict[str, str], operation: Operation
) -> None:
    for member in MEMBERS:
        for value in WRONG:
            raw = json.dumps({member: value}).encode()
            send(sender, operation, paths[operation.id], raw=raw)


def test_other_media_types_are_refused(
    sender: Any, paths: dict[str, str], operation: Operation
) -> None:
    for headers in MEDIA_TYPES:
        sent = {name: value.encode().decode("latin-1") for name, value in headers.items()}
        answer = send(sender, operation, paths[operation.id], raw=b"{}", headers=sent)
        if operation.id not in IGNORES_BODY:
            assert 400 <= answer.status < 500, (operation.id, headers, answer.body)


def test_the_server_is_well_afterwards(admin: Any) -> None:
    assert admin.get("/health/ready").status == 200
    assert admin.funded(5)["id"]
