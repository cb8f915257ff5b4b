"""What the contract says about answers: statuses, media types, bodies, problems."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certification.contract import Contract, Operation, load_contract
from certification.contract.document import read_document, read_schemas
from certification.contract.examples import media_types
from certification.contract.schemas import SchemaSet

CONTRACT: Contract = load_contract()
DOCUMENT = read_document()
JSON = "application/json"
PROBLEM = "application/problem+json"

PROBLEM_BODY: dict[str, Any] = {
    "type": "urn:alluse:problem:not_found",
    "title": "Not found",
    "status": 404,
    "detail": "",
    "code": "not_found",
    "retryable": False,
}


def _operation(name: str) -> Operation:
    return CONTRACT.operations[name]


def _example(name: str) -> dict[str, Any]:
    value: dict[str, Any] = copy.deepcopy(DOCUMENT["components"]["examples"][name]["value"])
    return value


def _account() -> dict[str, Any]:
    return _example("account")


def test_a_right_answer_has_no_violation() -> None:
    answer = _operation("getAccount").response_violations
    assert answer(200, "application/json; charset=utf-8", _account()) == ()
    assert answer(404, "Application/Problem+JSON", PROBLEM_BODY) == ()
    assert answer(304, None, None) == ()


@pytest.mark.parametrize(
    ("status", "media_type", "body", "text"),
    [
        (500, PROBLEM, PROBLEM_BODY, "status 500 is not declared"),
        (200, "text/html", "<html>", "Content-Type"),
        (200, None, None, "Content-Type"),
        (404, JSON, PROBLEM_BODY, "Content-Type"),
        (304, JSON, {"id": "acc_1"}, "has no body"),
        (200, JSON, [], "not of type"),
        (404, PROBLEM, PROBLEM_BODY | {"code": "gremlins"}, "not in the problem catalogue"),
        (404, PROBLEM, PROBLEM_BODY | {"code": ["x"]}, "not in the problem catalogue"),
        (400, PROBLEM, PROBLEM_BODY, "belongs to status 404"),
        (404, PROBLEM, PROBLEM_BODY | {"status": 409}, "status is not the HTTP status"),
        (404, PROBLEM, PROBLEM_BODY | {"type": "about:blank"}, "type"),
        (404, PROBLEM, PROBLEM_BODY | {"type": "urn:alluse:problem:busy"}, "type is not"),
    ],
)
def test_a_wrong_answer_is_named(
    status: int, media_type: str | None, body: object, text: str
) -> None:
    found = _operation("getAccount").response_violations(status, media_type, body)
    assert any(text in item.message for item in found), found


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("ledger", 125.5),
        ("ledger", "12500"),
        ("ledger", 9007199254740992),
        ("holds", -1),
        ("exponent", None),
    ],
)
def test_a_wrong_balance_is_a_violation(member: str, value: object) -> None:
    body = _account()
    body["balances"][member] = value
    found = _operation("getAccount").response_violations(200, JSON, body)
    assert {item.pointer for item in found} == {f"/balances/{member}"}


@pytest.mark.parametrize(
    ("example", "change"),
    [
        ("transaction_settled", {"settled_amount": None}),
        ("transaction_posted", {"lines": []}),
        ("transaction_pending", {"lines": [{"account_id": "a", "bucket": "cash", "amount": 1}]}),
        ("transaction_reversal", {"reverses_id": None}),
        ("transaction_posted", {"effective_at": "2026-11-20T09:30:00"}),
        ("transaction_posted", {"effective_at": "2026-13-20T09:30:00Z"}),
        ("transaction_posted", {"status": "done"}),
    ],
)
def test_a_transaction_that_contradicts_itself_is_a_violation(
    example: str, change: dict[str, object]
) -> None:
    answer = _operation("getTransaction").response_violations
    assert answer(200, JSON, _example(example)) == ()
    assert answer(200, JSON, _example(example) | change)


def test_a_merged_account_names_its_target() -> None:
    answer = _operation("getAccount").response_violations
    assert answer(200, JSON, _account() | {"status": "merged"})
    assert answer(200, JSON, _account() | {"status": "merged", "merged_into_id": "acc_9"}) == ()


def test_text_of_the_target_is_bounded() -> None:
    huge = "<script>" * 100_000
    answer = _operation("getAccount").response_violations
    for body in (huge, {"id": huge}, {huge: 1}, [huge] * 50, _account() | {"id": huge}):
        found = answer(200, JSON, body)
        assert 0 < len(found) <= 20
        assert all(len(item.message) <= 300 and len(item.pointer) <= 300 for item in found)
    assert all(len(item.message) <= 300 for item in answer(200, huge, {}))
    assert all(len(item.message) <= 300 for item in answer(404, PROBLEM, {"code": huge}))


def test_what_the_validator_cannot_walk_is_a_violation() -> None:
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(2_000):
        inner["a"] = {}
        inner = inner["a"]
    answer = _operation("getAccount").response_violations
    assert answer(200, JSON, deep)
    assert answer(200, JSON, {"name": "\ud800"})
    assert answer(200, JSON, {"version": 10**400})


def test_paths_are_filled_and_encoded() -> None:
    read = _operation("getAccount")
    assert read.url_path({"id": "acc_1", "other": "x"}) == "/v1/accounts/acc_1"
    assert read.url_path({"id": "a/b?c=é"}) == "/v1/accounts/a%2Fb%3Fc%3D%C3%A9"
    assert read.url_path({"id": ".."}) == "/v1/accounts/%2E%2E"
    with pytest.raises(ValueError, match=r"getAccount needs the path parameter 'id'"):
        read.url_path({})


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "deposit", "amount": {"amount": 1, "currency": "USD"}},
        {"kind": "deposit", "amount": {"amount": 0, "currency": "USD"}, "to_account_id": "a"},
        {"kind": "deposit", "amount": {"amount": 10.5, "currency": "USD"}, "to_account_id": "a"},
        {"kind": "deposit", "amount": {"amount": "10", "currency": "USD"}, "to_account_id": "a"},
        {"kind": "deposit", "amount": {"amount": 1, "currency": "USD"}, "from_account_id": "a"},
        {
            "kind": "deposit",
            "amount": {"amount": 1, "currency": "USD"},
            "to_account_id": "a",
            "hold": True,
        },
        {
            "kind": "withdrawal",
            "amount": {"amount": 1, "currency": "USD"},
            "from_account_id": "a",
            "expires_at": "2026-11-27T09:30:00Z",
        },
        {
            "kind": "adjustment",
            "amount": {"amount": 1, "currency": "USD"},
            "to_account_id": "a",
            "direction": "credit",
        },
        {"kind": "fork", "amount": {"amount": 1, "currency": "USD"}, "from_account_id": "a"},
    ],
)
def test_a_wrong_request_is_found_before_it_is_sent(body: object) -> None:
    assert _operation("createTransaction").request_violations(body)


def test_requests_without_a_body() -> None:
    assert _operation("getAccount").request_violations(None) == ()
    assert _operation("getAccount").request_violations({})
    assert _operation("voidTransaction").request_violations({}) == ()


# ---- properties over every example ----


def _response_examples() -> Iterator[tuple[str, Any]]:
    for body in media_types(DOCUMENT):
        if " request " in body.where or body.schema is None:
            continue
        for _, value in body.examples:
            if isinstance(value, dict) and "policy" not in value:  # a policy is closed
                yield body.schema, value


SCHEMAS = SchemaSet.of({"openapi.yaml": DOCUMENT, **read_schemas()})
RESPONSES = list(
    {(schema, repr(value)): (schema, value) for schema, value in _response_examples()}.values()
)

names = st.text(min_size=1, max_size=8).map(lambda text: "x-" + text)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(case=st.sampled_from(RESPONSES), name=names, value=values)
def test_unknown_members_of_answers_never_violate(
    case: tuple[str, dict[str, Any]], name: str, value: object
) -> None:
    schema, example = case
    assert SCHEMAS.violations(schema, example | {name: value}) == ()


ACCOUNT_REQUIRED = DOCUMENT["components"]["schemas"]["Account"]["required"]
TRANSACTION_REQUIRED = DOCUMENT["components"]["schemas"]["Transaction"]["required"]


@settings(deadline=None)
@given(member=st.sampled_from(ACCOUNT_REQUIRED))
def test_a_missing_member_of_an_account_always_violates(member: str) -> None:
    body = {name: value for name, value in _account().items() if name != member}
    found = _operation("getAccount").response_violations(200, JSON, body)
    assert any(member in item.message for item in found)


@settings(deadline=None)
@given(member=st.sampled_from(TRANSACTION_REQUIRED))
def test_a_missing_member_of_a_transaction_always_violates(member: str) -> None:
    example = _example("transaction_posted")
    body = {name: value for name, value in example.items() if name != member}
    found = _operation("getTransaction").response_violations(200, JSON, body)
    assert any(member in item.message for item in found)


@settings(deadline=None)
@given(
    status=st.integers(100, 599),
    media_type=st.none() | st.sampled_from([JSON, PROBLEM, "text/plain"]) | st.text(max_size=20),
    body=values,
    name=st.sampled_from(sorted(CONTRACT.operations)),
)
def test_any_answer_gets_an_outcome(
    status: int, media_type: str | None, body: object, name: str
) -> None:
    found = _operation(name).response_violations(status, media_type, body)
    assert status in _operation(name).statuses or found


def test_draft_answers_are_checked_too() -> None:
    answer = _operation("listAudit").response_violations
    assert answer(200, JSON, {"data": [], "next_cursor": None}) == ()
    assert answer(200, JSON, {"data": [{}], "next_cursor": None})
    metrics = _operation("getMetrics").response_violations
    assert metrics(200, "text/plain; version=0.0.4", "up 1\n") == ()
    assert metrics(200, JSON, {})[0].message.startswith("Content-Type")
