"""Hostile and mistaken requests: a problem document each, never a 500."""

from typing import Any

import pytest

HUGE = b'{"kind":"deposit","amount":{"amount":%s,"currency":"USD"},"to_account_id":"acc_x"}'


def bodies() -> dict[str, tuple[bytes, int]]:
    deep = b"[" * 100_000
    return {
        "empty": (b"", 400),
        "text": (b"hello", 400),
        "cut": (b'{"kind":', 400),
        "array": (b"[]", 400),
        "null": (b"null", 400),
        "not utf-8": (b'{"kind":"\xff"}', 400),
        "byte order mark": (b"\xef\xbb\xbf{}", 400),
        "utf-16": ('{"kind":"deposit"}'.encode("utf-16"), 400),
        "depth bomb": (deep, 400),
        "depth bomb in metadata": (
            HUGE[:-1] % b"1" + b',"metadata":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
            400,
        ),
        "same member twice": (b'{"kind":"deposit","kind":"deposit"}', 400),
        "same member twice inside": (HUGE % b'1,"amount":2', 400),
        "NaN": (HUGE % b"NaN", 400),
        "Infinity": (HUGE % b"-Infinity", 400),
        "1e400": (HUGE % b"1e400", 400),
        "fraction": (HUGE % b"10.5", 400),
        "exponent fraction": (HUGE % b"1e-1", 400),
        "text for a number": (HUGE % b'"10"', 400),
        "true": (HUGE % b"true", 400),
        "zero": (HUGE % b"0", 400),
        "negative": (HUGE % b"-1", 400),
        "beyond exact integers": (HUGE % b"9007199254740992", 400),
        "30 digits": (HUGE % (b"9" * 30), 400),
        "5000 digits": (HUGE % (b"9" * 5000), 400),
        "lone surrogate": (HUGE[:-1] % b"1" + b',"memo":"\\ud800"}', 400),
        "control character": (HUGE[:-1] % b"1" + b',"memo":"a\\u0000b"}', 400),
        "line end": (HUGE[:-1] % b"1" + b',"memo":"a\\n"}', 400),
        "unknown member": (HUGE[:-1] % b"1" + b',"admin":true}', 400),
        "unknown account": (HUGE % b"1", 404),
    }


@pytest.mark.parametrize("name", bodies())
def test_a_bad_body_is_a_problem(customer: Any, name: str) -> None:
    raw, status = bodies()[name]
    answer = customer.post("/v1/transactions", raw=raw)
    assert answer.status == status, answer.body
    if answer.code == "validation_failed":
        assert answer.body["errors"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"amount": {"amount": "1", "currency": "USD"}}, "/amount/amount"),
        ({"amount": {"amount": 1}}, "/amount/currency"),
        ({"surplus": 1}, "/surplus"),
        ({"to_account_id": None}, "/to_account_id"),
        ({"from_account_id": "acc_1"}, "/from_account_id"),
        ({"hold": True}, "/hold"),
        ({"expires_at": "2030-01-01T00:00:00Z"}, "/expires_at"),
        ({"effective_at": "2030-02-30T00:00:00Z"}, "/effective_at"),
        ({"effective_at": "2030-02-20T00:00:00"}, "/effective_at"),
        ({"effective_at": "0001-01-01T00:00:00+23:59"}, "/effective_at"),
        ({"effective_at": "9999-12-31T23:59:59-12:00"}, "/effective_at"),
        ({"preconditions": [{"account_id": "a"}]}, "/preconditions/0"),
        ({"preconditions": [{"account_id": "a", "version": "1"}]}, "/preconditions/0/version"),
        ({"metadata": {"a": "x" * 5000}}, "/metadata"),
    ],
)
def test_a_pointer_names_the_place(customer: Any, change: dict[str, Any], pointer: str) -> None:
    body = {
        "kind": "deposit",
        "amount": {"amount": 1, "currency": "USD"},
        "to_account_id": "acc_1",
        **change,
    }
    answer = customer.post("/v1/transactions", body)
    assert answer.code == "validation_failed"
    assert answer.body["errors"][0]["pointer"] == pointer
    batch = customer.post("/v1/transactions/batch", {"items": [body]})
    assert batch.body["errors"][0]["pointer"] == f"/items/0{pointer}"


def test_large_integers_and_odd_text_in_metadata_come_back_unchanged(customer: Any) -> None:
    metadata = {"n": 10**30, "f": 1.5, "t": "\u202e\U0001f600 é", "l": [None, True, {}]}
    account = customer.account(metadata=metadata)
    assert customer.get(f"/v1/accounts/{account['id']}").body["metadata"] == metadata


def test_other_media_types_are_refused(customer: Any) -> None:
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json-patch+json"},
        {"Content-Encoding": "gzip"},
    ):
        answer = customer.post("/v1/transactions", raw=b"{}", headers=headers)
        assert answer.code == "unsupported_media_type"
    utf8 = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert customer.post("/v1/transactions", raw=b"{}", headers=utf8).status == 400


def test_a_body_beyond_the_limit_is_refused(customer: Any) -> None:
    answer = customer.post("/v1/transactions", raw=b" " * (1024 * 1024 + 1))
    assert answer.code == "body_too_large"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/accounts/",
        "/v1//accounts",
        "/v1/strategies",
        "/v1/auth/mfa",
        "/v1/growth/policies",
        "/metrics/all",
        "/v1/audit/entries",
        "/v1/accounts/%00",
        "/v1/accounts/..%2fusers",
        "/v1/accounts/%ff%fe",
    ],
)
def test_what_is_not_there_is_404(admin: Any, path: str) -> None:
    assert admin.get(path).code == "not_found"


def test_a_wrong_method_names_the_right_ones(customer: Any) -> None:
    answer = customer.send("DELETE", "/v1/accounts")
    assert answer.code == "method_not_allowed"
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))
    assert customer.send("OPTIONS", "/v1/accounts").status == 405
    assert customer.send("TRACE", "/health/live", check=False).status == 405


def test_request_and_trace_ids_come_back(customer: Any) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-Id": "my-id.1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = customer.get("/v1/accounts/none", headers=headers)
    assert answer.headers["x-request-id"] == "my-id.1"
    assert answer.body["trace_id"] == trace
    odd = customer.get("/v1/accounts/none", headers={"X-Request-Id": "<script>"})
    assert odd.headers["x-request-id"] != "<script>"
    assert len(odd.body["trace_id"]) == 32


def test_answers_carry_the_security_headers(customer: Any) -> None:
    for path in ("/v1/accounts", "/nowhere", "/health/live"):
        headers = customer.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_health_shows_detail_to_operators_only(customer: Any, operator: Any) -> None:
    assert customer.get("/health/live").headers["content-type"] == "application/health+json"
    assert customer.get("/health/ready").body == {"status": "pass"}
    assert "checks" in operator.get("/health/ready").body


def test_the_capability_document_declares_what_there_is(server: Any, customer: Any) -> None:
    from certification.contract import load_contract

    first = customer.get("/.well-known/alluse")
    assert not load_contract().capability_violations(first.body)
    assert [module["id"] for module in first.body["modules"]][:2] == ["core", "growth"]
    assert "circuit_breakers" not in first.body
    tag = {"If-None-Match": first.headers["etag"]}
    again = customer.get("/.well-known/alluse", headers=tag)
    assert again.status == 304
    seen = {}
    for _ in range(60):
        other = type(customer)(server.port).get("/.well-known/alluse").body
        seen[other["instance"]] = other["build"]
    assert set(seen.values()) == {first.body["build"]}
    assert len(seen) <= 2
