"""What the contract does not declare: methods, media types, parameters, whole operations."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification.checks import check
from certification.contract.document import read_document
from certification.malformed import is_refused, send_raw
from certification.model import Json, Severity

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.contract import Operation
    from certification.target.reply import Reply

METHODS = ("POST", "PUT", "PATCH", "DELETE")
"""Not HEAD and OPTIONS, which a deployment may offer for every path."""
SPARED = frozenset({"login", "refreshSession", "logout", "exchangeToken", "receiveMarketCallback"})
STRONGEST = ("admin", "manager", "operator", "customer")
EXTRAS = {
    "all": "true",
    "admin": "true",
    "debug": "1",
    "include_deleted": "true",
    "as_user": "usr_1",
}


@cache
def _document() -> Json:
    return read_document()


def _declared(ctx: Context, operation: Operation) -> bool:
    modules = {row["id"]: row for row in ctx.capabilities["modules"]}
    row = modules.get(operation.module)
    deviations = {each["operationId"] for each in (row or {}).get("deviations", ())}
    settled = not operation.draft and not operation.optional
    return row is not None and settled and operation.id not in deviations


def _somebody(ctx: Context, operation: Operation) -> Actor:
    roles = [role for role in STRONGEST if role in operation.roles and role in ctx.sessions]
    return ctx.actor(roles[0] if roles else "customer")


def _url(operation: Operation, id_: str) -> str:
    names = {"id": id_, "name": id_, "execution_id": id_, "type": "generation", "report": "risk"}
    return operation.url_path(names)


@check(
    "functional/undeclared/methods-are-not-allowed",
    title="A method that the contract does not give a path is answered 405 with Allow",
    failure_title="A path takes a method that the contract does not give it",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC", "E2E-ERR"],
    operations=["getAccount"],
    defects=["accounts-can-be-deleted"],
    standards=["OWASP-API:2023-9", "ASVS:13.4.4"],
)
@pytest.mark.parametrize("method", METHODS)
def check_methods_are_not_allowed(ctx: Context, method: str) -> None:
    """Whether each path of the declared modules refuses the methods that it does not have.

    Why: A framework that maps objects to paths also maps the methods that nobody thought of.
    How: Send the method to every path whose operations do not have it, on a living account where
        the path is of one, as the strongest identity; an unknown id may also be 404.
    Fails when: The answer is neither 405 `method_not_allowed` with an Allow header that names what
        the path has, nor 404 for an unknown id; or the account changed.
    Remedy: Route the declared methods only.
    """
    account = ctx.arrange.account(funds=700)
    before = ctx.arrange.picture(account)
    paths: dict[str, list[Operation]] = {}
    for operation in ctx.contract.operations.values():
        paths.setdefault(operation.path, []).append(operation)
    for path, operations in paths.items():
        known = {operation.method for operation in operations}
        if method in known or not all(_declared(ctx, each) for each in operations):
            continue
        living = path.startswith("/v1/accounts/{id}")
        url = _url(operations[0], account["id"] if living else f"no-{uuid4().hex}")
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": '"1"'}
        actor = _somebody(ctx, operations[0])
        reply = send_raw(actor, method, url, headers=headers, body={})
        # An identity that may not see the object, or an id of nobody: it does not exist.
        codes = ["method_not_allowed"] + ["not_found"] * ("{" in path)
        is_refused(actor, reply, *codes)
        if reply.status == 405:
            _allows(ctx, reply, known, method)
    ctx.arrange.expect_same(before, f"{method} changed an account")


def _allows(ctx: Context, reply: Reply, known: set[str], method: str) -> None:
    allow = {name.strip().upper() for name in (reply.headers.get("Allow") or "").split(",")}
    ctx.expect(
        known <= allow and method not in allow,
        "The Allow header does not list what the path has",
        expected=f"{', '.join(sorted(known))}, without {method}",
        observed=reply.headers.get("Allow"),
        on=[reply],
    )


@check(
    "functional/undeclared/media-types-are-refused",
    title="No operation reads a body that is not declared as JSON",
    failure_title="An operation reads a body that is not declared as JSON",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC", "E2E-ERR"],
    operations=["createTransaction", "updateAccount", "voidTransaction"],
    defects=["voids-read-any-media-type"],
    standards=["OWASP-API:2023-8"],
)
@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded"])
def check_media_types_are_refused(ctx: Context, media_type: str) -> None:
    """Whether every operation with a body answers 415 to other media types.

    Why: Browsers send text/plain and forms across origins without asking; one operation that reads
        them as JSON can be used by any page that its user visits.
    How: Send what would be a right body under another name to every operation that takes one, on
        a hold of an own account where a transaction is named; read the hold again.
    Fails when: An answer is not 415 `unsupported_media_type`, or the hold has changed.
    Remedy: Compare the media type in the one place where bodies are read.
    """
    account = ctx.arrange.account(funds=700, withdrawal_allowed=True)
    hold = ctx.arrange.hold(account, 30)
    bodies = _document()["paths"]
    for operation in ctx.contract.operations.values():
        takes = "requestBody" in bodies[operation.path][operation.method.lower()]
        if not takes or not _declared(ctx, operation) or operation.id in SPARED:
            continue
        if "public" in operation.roles or not _may(ctx, operation):
            continue
        id_ = hold["id"] if operation.path.startswith("/v1/transactions") else account["id"]
        headers = {
            "Idempotency-Key": uuid4().hex,
            "If-Match": '"1"',
            "Content-Type": media_type,
        }
        actor = _somebody(ctx, operation)
        url = _url(operation, id_)
        reply = send_raw(actor, operation.method, url, headers=headers, content=b"{}")
        is_refused(actor, reply, "unsupported_media_type")
    status = ctx.arrange.read_transaction(hold)["status"]
    ctx.equal(status, "pending", "The hold, after requests of other media types")


def _may(ctx: Context, operation: Operation) -> bool:
    return any(role in operation.roles for role in ctx.sessions)


@check(
    "functional/undeclared/parameters-open-nothing",
    title="Parameters that the contract does not know change no answer",
    failure_title="A parameter that the contract does not know changes what is shown",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["listAccounts", "listTransactions", "getAccount"],
    identities=("customer", "customer2"),
    defects=["a-hidden-parameter-shows-everything"],
    standards=["OWASP-API:2023-1", "OWASP-API:2023-9"],
)
@pytest.mark.parametrize("name", sorted(EXTRAS))
def check_parameters_open_nothing(ctx: Context, name: str) -> None:
    """Whether undeclared query parameters are ignored or refused, and never obeyed.

    Why: A switch for the developers' own use is a door for everybody who guesses its name.
    How: As a customer, list accounts and transactions and read a foreign account with names that
        such switches have; an account of another customer was opened before.
    Fails when: An answer is neither 200 nor 400 `invalid_parameter`, the list shows an account of
        another owner, or the foreign account can be read.
    Remedy: Refuse query parameters that the operation does not declare.
    """
    foreign = ctx.arrange.account(owner=ctx.customer2, funds=90)
    own = ctx.customer.user_id
    limit = ctx.declared("limits", "page_max")
    for path in ("/v1/accounts", "/v1/transactions"):
        query = f"limit={limit}&sort=-seq&{name}={EXTRAS[name]}"
        reply = send_raw(ctx.customer, "GET", f"{path}?{query}")
        if reply.status != 200:
            is_refused(ctx.customer, reply, "invalid_parameter")
            continue
        rows: list[Json] = reply.body["data"]
        others = [row["id"] for row in rows if row.get("owner_id", own) != own]
        others += [row["id"] for row in rows if row.get("to_account_id") == foreign["id"]]
        ctx.equal(others, [], f"Objects of others in {path} with {name}", reply)
    path = f"/v1/accounts/{foreign['id']}?{name}={EXTRAS[name]}"
    reply = send_raw(ctx.customer, "GET", path)
    is_refused(ctx.customer, reply, "invalid_parameter", "not_found")


@check(
    "functional/undeclared/operations-are-absent-with-whole-bodies",
    title="Operations that are not declared stay absent when a whole request is sent",
    failure_title="An operation that is not declared works when a whole request is sent",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["getCapabilities"],
    defects=["control-of-tests-works-undeclared"],
    standards=["OWASP-API:2023-9"],
)
def check_operations_are_absent_with_whole_bodies(ctx: Context) -> None:
    """Whether undeclared modules and operations answer 404 or 501 to requests that would be right.

    Why: A handler that validates first refuses an empty body and books a whole one.
    How: Send each operation of an undeclared module, and the second factor where none is declared,
        with the least body that its schema takes and ids of a living account.
    Fails when: The answer is neither 404 `not_found` nor 501 `not_implemented`, or the account
        changed.
    Remedy: Declare the module, or do not route to it.
    """
    declared = {row["id"] for row in ctx.capabilities["modules"]}
    factors = ctx.capabilities.get("auth", {}).get("mfa")
    absent = [
        each
        for each in ctx.contract.operations.values()
        if each.module not in declared or (each.optional and not factors)
    ]
    if not absent:
        ctx.not_exercised("the deployment declares every operation of the contract")
    account = ctx.arrange.account(funds=5_000)
    before = ctx.arrange.picture(account)
    for operation in absent:
        actor = _somebody(ctx, operation)
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": '"1"'}
        body = _example(operation, account)
        request = {} if body is None else {"body": body}
        url = _url(operation, account["id"])
        reply = send_raw(actor, operation.method, url, headers=headers, **request)
        is_absent = (reply.status, reply.problem_code) == (501, "not_implemented")
        if not is_absent:
            is_refused(actor, reply, "not_found")
    ctx.arrange.expect_same(before, "An operation that is not declared changed an account")


def _example(operation: Operation, account: Json) -> Json | None:
    """Return the least body that the contract takes, on this account; None without a body."""
    document = _document()
    spec = document["paths"][operation.path][operation.method.lower()].get("requestBody")
    if spec is None:
        return None
    content = spec["content"]["application/json"]
    body: Json = _least(document, content["schema"], account)
    return body


def _least(document: Json, schema: Json, account: Json, name: str = "") -> Any:  # noqa: PLR0911  one return a type
    """Return the least value that a schema asks for: required members only."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    if name == "account_id":
        return account["id"]
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type", "object")
    if kind == "object":
        members = schema.get("properties", {})
        needed = schema.get("required", ())
        return {each: _least(document, members[each], account, each) for each in needed}
    if kind == "array":
        return [_least(document, schema["items"], account)] * schema.get("minItems", 0)
    if kind == "integer":
        return max(1, schema.get("minimum", 1))
    if schema.get("format") == "date-time":
        return "2026-11-20T09:30:00Z"
    known = {"currency": account["currency"], "url": "https://example.org/hook"}
    return known.get(name, "example")
