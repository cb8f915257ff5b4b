"""Errors: whatever is sent, the answer is a problem document, never a crash."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

BODY_MAX_BYTES = 16 * 1024 * 1024
"""The largest body that this check is ready to send."""


def new_account(ctx: Context, **members: object) -> Json:
    """Return a valid account opening with these members changed or added; None leaves one out."""
    body: Json = {
        "type": "generation",
        "currency": ctx.arrange.currency,
        "name": ctx.name("errors"),
    } | members
    return {name: value for name, value in body.items() if value is not None}


def post(ctx: Context, content: bytes, *, media_type: str | None = "application/json") -> Reply:
    """Send bytes as an account opening with a fresh key."""
    headers = {"Idempotency-Key": uuid4().hex}
    if media_type is not None:
        headers["Content-Type"] = media_type
    reply = send_raw(ctx.customer, "POST", "/v1/accounts", headers=headers, content=content)
    if reply.status == 201 and isinstance(reply.body, dict) and "id" in reply.body:
        ctx.created("account", reply.body["id"], ctx.customer.role)
    return reply


@check(
    "functional/errors/unknown-path",
    title="A path that does not exist is answered with a problem document",
    failure_title="A path that does not exist is not answered with a 404 problem document",
    severity=Severity.LOW,
    requirements=["E2E-ERR"],
    operations=["getAccount"],
    defects=["framework-error-pages"],
)
@pytest.mark.parametrize(
    "path",
    [
        "/v1/no-such-thing",
        "/v1/accounts/no-such-account",
        "/v1/transactions/no-such-transaction",
        "/v1/accounts/no-such-account/entries",
        "/v1/accounts/%00",
        "/v1/accounts/%F0%9F%A6%8A",
        "/v1/accounts/" + "a" * 2000,
    ],
    ids=["route", "account", "transaction", "entries", "nul", "emoji", "long"],
)
def check_unknown_path(ctx: Context, path: str) -> None:
    """Ask for what is not there.

    Why: Clients branch on `code`; an HTML page of the framework breaks their parser instead.
    How: Read unknown routes and objects, with odd ids too.
    Fails when: the answer is not a problem document with 404 (or 400 for an id of impossible form).
    Remedy: Register error handlers for routing errors that answer problem documents.
    """
    reply = send_raw(ctx.customer, "GET", path)
    odd = ("%", "a" * 100)
    codes = ["not_found", "invalid_parameter"] if any(o in path for o in odd) else ["not_found"]
    is_refused(ctx.customer, reply, *codes)


@check(
    "functional/errors/wrong-method",
    title="A method that a path does not have is answered 405 with Allow",
    failure_title="A method that a path does not have is not answered 405 with Allow",
    severity=Severity.LOW,
    requirements=["E2E-ERR"],
    operations=["listAccounts", "getCapabilities"],
    defects=["framework-error-pages"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v1/accounts"), ("DELETE", "/v1/transactions"), ("DELETE", "/.well-known/alluse")],
)
def check_wrong_method(ctx: Context, method: str, path: str) -> None:
    """Use a method that the contract does not have.

    Why: 405 with Allow tells a client that the path is right and what may be done with it.
    How: PUT and DELETE on collections and on the capability document.
    Fails when: the answer is not 405 `method_not_allowed` or its Allow header does not name GET.
    Remedy: Let the router answer, and give its answer the form of a problem document.
    """
    reply = send_raw(ctx.customer, method, path)
    is_refused(ctx.customer, reply, "method_not_allowed")
    allow = {name.strip().upper() for name in (reply.headers.get("Allow") or "").split(",")}
    ctx.expect(
        "GET" in allow and method not in allow,
        "The Allow header does not list what the path has",
        expected=f"GET, without {method}",
        observed=reply.headers.get("Allow"),
        on=[reply],
    )


@check(
    "functional/errors/wrong-media-type",
    title="A body that is not declared as JSON is refused",
    failure_title="A body that is not declared as JSON is read all the same",
    severity=Severity.MEDIUM,
    requirements=["E2E-ERR"],
    operations=["createAccount"],
    defects=["any-media-type-will-do"],
)
@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/xml",
    ],
)
def check_wrong_media_type(ctx: Context, media_type: str) -> None:
    """Send JSON under another name.

    Why: Browsers send text/plain and forms across origins without asking; a server that reads them
    as JSON can be used by any page that its user visits.
    How: Send a valid body with other media types, and with parameters of application/json.
    Fails when: another type is not 415 `unsupported_media_type`, or `application/json;
    charset=utf-8` is not accepted.
    Remedy: Compare the media type without its parameters, and refuse all but application/json.
    """
    content = json.dumps(new_account(ctx)).encode()
    is_refused(ctx.customer, post(ctx, content, media_type=media_type), "unsupported_media_type")
    accepted = post(ctx, content, media_type="application/json; charset=utf-8")
    ctx.equal(accepted.status, 201, "application/json with a charset is not accepted", accepted)


MALFORMED = {
    "empty": b"",
    "cut": b'{"type": "generation", "name": "x',
    "trailing comma": b'{"type": "generation",}',
    "single quotes": b"{'type': 'generation'}",
    "comment": b"{} // and more",
    "two values": b"{} {}",
    "NaN": b'{"base_amount": NaN}',
    "not UTF-8": b'{"name": "\xff\xfe\xfa"}',
    "UTF-16": '{"type": "generation"}'.encode("utf-16"),
    "nested arrays": b"[" * 20_000,
    "nested objects": b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
    "null": b"null",
    "array": b"[]",
    "text": b'"generation"',
    "huge number": b'{"base_amount": 1' + b"0" * 4_500 + b"}",
    "huge exponent": b'{"base_amount": 1e400}',
    "lone surrogate": b'{"name": "\\ud800", "type": "generation", "currency": "USD", "x": 1}',
}


@check(
    "functional/errors/malformed-bodies",
    title="A malformed body is refused with a problem document",
    failure_title="A malformed body is accepted, or breaks the server",
    severity=Severity.HIGH,
    requirements=["E2E-ERR"],
    operations=["createAccount"],
    defects=["nested-body-crashes"],
)
@pytest.mark.parametrize("form", list(MALFORMED))
def check_malformed_bodies(ctx: Context, form: str) -> None:
    """Send bodies that are no JSON, or JSON of hostile form.

    Why: Each of these has crashed a parser somewhere; a crash is an outage for everybody else.
    How: Send cut, nested, wrongly encoded and oversized values, then a normal request.
    Fails when: the answer is not 400 `malformed_json` or `validation_failed`, or the server does
    not answer afterwards.
    Remedy: Parse with a depth limit, decode UTF-8 strictly, and validate before anything else.
    """
    content = MALFORMED[form]
    over = len(content) > ctx.capabilities["limits"]["body_bytes_max"]
    reply = post(ctx, content)
    codes = ["malformed_json", "validation_failed"] + ["body_too_large"] * over
    is_refused(ctx.customer, reply, *codes)
    ctx.customer.call("listAccounts", query={"limit": 1}, expect=200)


@check(
    "functional/errors/odd-bodies-do-not-crash",
    title="A body that a parser may read in two ways is taken one way or refused",
    failure_title="A body that a parser may read in two ways breaks the server",
    severity=Severity.HIGH,
    requirements=["E2E-ERR"],
    operations=["createAccount"],
    defects=["repeated-member-crashes"],
)
@pytest.mark.parametrize(
    "form", ["repeated member", "byte order mark", "escaped NUL", "many members"]
)
def check_odd_bodies_do_not_crash(ctx: Context, form: str) -> None:
    """Send bodies on which JSON parsers differ.

    Why: RFC 8259 leaves repeated members and byte order marks open. Either reading is legal, an
    internal error is not: it means that two parts of the server read the body differently.
    How: Send a repeated member, a byte order mark, an escaped NUL and a body of many members.
    Fails when: the answer is neither 201 with one of the two names nor a 4xx problem document.
    Remedy: Parse once, and use what was parsed.
    """
    plain = json.dumps(new_account(ctx, name="first"))
    content = {
        "repeated member": plain[:-1].encode() + b', "name": "second"}',
        "byte order mark": b"\xef\xbb\xbf" + plain.encode(),
        "escaped NUL": plain.replace("first", "fi\\u0000rst").encode(),
        "many members": json.dumps(new_account(ctx) | {f"m{n}": n for n in range(2_000)}).encode(),
    }[form]
    reply = post(ctx, content)
    if reply.status != 201:
        is_refused(ctx.customer, reply)
        return
    name = reply.body.get("name") if isinstance(reply.body, dict) else None
    ctx.expect(
        name in {"first", "second"},
        "The account has a name that was not sent",
        expected="first or second",
        observed=name,
        on=[reply],
    )


FAULTY: dict[str, tuple[Json, tuple[str, ...]]] = {
    "missing": ({"name": None}, ("", "/name")),
    "unknown member": ({"colour": "blue"}, ("", "/colour")),
    "wrong type": ({"name": 5}, ("/name",)),
    "out of set": ({"type": "savings"}, ("/type",)),
    "out of range": ({"buffer_bps": 10_001}, ("/buffer_bps",)),
    "negative": ({"min_balance": -1}, ("/min_balance",)),
    "fraction": ({"base_amount": 10.5}, ("/base_amount",)),
    "text for a number": ({"base_amount": "10"}, ("/base_amount",)),
    "too long": ({"name": "x" * 201}, ("/name",)),
    "pattern": ({"currency": "usd"}, ("/currency",)),
}


@check(
    "functional/errors/validation-points-at-the-member",
    title="A validation error points at the member that is wrong",
    failure_title="A validation error does not say which member is wrong",
    severity=Severity.MEDIUM,
    requirements=["E2E-ERR", "SYS-ACC"],
    operations=["createAccount"],
    defects=["validation-points-nowhere", "unknown-members-are-ignored"],
)
@pytest.mark.parametrize("fault", list(FAULTY))
def check_validation_points_at_the_member(ctx: Context, fault: str) -> None:
    """Make one member of a body wrong.

    Why: A form can mark the field that is wrong only if it is told which.
    How: Open accounts with one member missing, unknown, of the wrong type, out of its set or range.
    Fails when: the answer is not 400 `validation_failed` with a JSON Pointer to the member (or, for
    a missing or unknown one, to the object that lacks or has it).
    Remedy: Fill `errors` from the validator, with RFC 6901 pointers into the request body.
    """
    changes, pointers = FAULTY[fault]
    reply = post(ctx, json.dumps(new_account(ctx, **changes)).encode())
    is_refused(ctx.customer, reply, "validation_failed")
    named = [error.get("pointer") for error in reply.body.get("errors", [])]
    ctx.expect(
        any(pointer in pointers for pointer in named),
        "No error points at the member that is wrong",
        expected=" or ".join(repr(pointer) for pointer in pointers),
        observed=named,
        on=[reply],
    )


@check(
    "functional/errors/body-over-the-limit",
    title="A body over the declared limit is refused, one at the limit is not",
    failure_title="The declared limit of a body is not the limit",
    severity=Severity.MEDIUM,
    requirements=["E2E-ERR"],
    operations=["createAccount", "getCapabilities"],
    defects=["body-limit-is-not-kept"],
)
def check_body_over_the_limit(ctx: Context) -> None:
    """Send bodies of exactly the declared size and of one byte more.

    Why: Without a limit one request can take the memory of all; with an undeclared one, honest
    clients run into it.
    How: Open an account with a body padded by white space to `limits.body_bytes_max`, and to one
    more.
    Fails when: the first is not 201 or the second not 413 `body_too_large`.
    Remedy: Compare Content-Length with the limit before reading, count while reading, declare the
    limit.
    """
    limit = ctx.capabilities["limits"]["body_bytes_max"]
    if limit > BODY_MAX_BYTES:
        ctx.not_exercised(f"the declared limit of {limit} bytes is more than this check sends")
    content = json.dumps(new_account(ctx)).encode()
    fits = post(ctx, content.ljust(limit))
    ctx.equal(fits.status, 201, "A body of exactly the declared limit is refused", fits)
    is_refused(ctx.customer, post(ctx, content.ljust(limit + 1)), "body_too_large")


@check(
    "functional/errors/request-id-comes-back",
    title="The request id of the client comes back on every answer",
    failure_title="The request id of the client does not come back",
    severity=Severity.LOW,
    requirements=["E2E-ERR"],
    operations=["listAccounts"],
    defects=["request-id-is-dropped"],
)
def check_request_id_comes_back(ctx: Context) -> None:
    """Send X-Request-Id with requests that succeed and that are refused.

    Why: It is how a client's complaint and the server's log are brought together.
    How: Read a list, an unknown route and an unknown account with an own id; read once without.
    Fails when: an answer does not carry the id that was sent, or none where none was sent.
    Remedy: Set X-Request-Id in one place, for errors too, and make one where the client sent none.
    """
    for path in ("/v1/accounts?limit=1", "/v1/no-such-thing", "/v1/accounts/no-such-account"):
        mine = uuid4().hex
        reply = send_raw(ctx.customer, "GET", path, headers={"X-Request-Id": mine})
        ctx.equal(
            reply.headers.get("X-Request-Id"), mine, "The request id did not come back", reply
        )
    reply = send_raw(ctx.customer, "GET", "/v1/accounts?limit=1", headers={})
    ctx.expect(
        bool(reply.headers.get("X-Request-Id")),
        "An answer has no request id",
        expected="an id made by the server",
        observed="no X-Request-Id header",
        on=[reply],
    )
