"""The capability document: what a deployment declares is there, what it does not declare is not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.contract import Operation
    from certification.model import Json

CODES = ("XTS", "XAU", "ZZZ", "QQQ")
"""Currency codes that hardly any deployment has: test code, gold, and two that nobody assigned."""
ROLES = ("admin", "manager", "operator", "auditor", "customer")


def url_of(operation: Operation) -> str:
    """Return the operation's path with ids of nobody."""
    names = re.findall(r"\{(\w+)\}", operation.path)
    return operation.url_path(dict.fromkeys(names, "nobody"))


def declared(ctx: Context) -> set[str]:
    """Return the ids of the declared modules."""
    return {row["id"] for row in ctx.capabilities["modules"]}


def somebody(ctx: Context, operation: Operation) -> Actor:
    """Return an identity that may call the operation, the strongest one for want of a better."""
    wanted = [role for role in ROLES if role in operation.roles and role in ctx.sessions]
    present = [role for role in ROLES if role in ctx.sessions]
    return ctx.actor((wanted or present)[0])


@check(
    "functional/capabilities/document-is-sound",
    title="The capability document is valid and says the same twice",
    failure_title="The capability document is not valid, or changes from one read to the next",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["getCapabilities", "getLiveness", "getReadiness"],
    defects=["capabilities-are-careless"],
)
def check_document_is_sound(ctx: Context) -> None:
    """Read the capability document and the health of the deployment.

    Why: Every client, and this certification, takes limits, currencies and promises from it.
    How: Read it twice without a token; compare with its schema; look for currencies and modules
    that stand twice; read liveness and readiness.
    Fails when: it does not follow the schema, lists something twice, or names another build on the
    second read; or the deployment answers but is not alive and ready.
    Remedy: Generate the document from the settings that the code itself uses.
    """
    first = ctx.anonymous.call("getCapabilities", expect=200)
    second = ctx.anonymous.call("getCapabilities", expect=200)
    wrong = [f"{v.pointer}: {v.message}" for v in ctx.contract.capability_violations(first.body)]
    ctx.equal(wrong, [], "The capability document does not follow its schema", first)
    for member, name in (("currencies", "code"), ("modules", "id")):
        listed = [row[name] for row in first.body[member]]
        ctx.equal(len(listed), len(set(listed)), f"{member} lists something twice", first)
    same = ("contract_version", "build", "modules", "currencies", "limits", "idempotency")
    told = [{name: reply.body[name] for name in same} for reply in (first, second)]
    ctx.equal(told[1], told[0], "The document changes from one read to the next", first, second)
    live = ctx.anonymous.call("getLiveness", expect=200)
    ready = ctx.anonymous.call("getReadiness", expect=200)
    for reply in (live, ready):
        ctx.expect(
            reply.body["status"] in {"pass", "warn"},
            "A deployment that answers is not alive and ready",
            expected="pass or warn",
            observed=reply.body["status"],
            on=[reply],
        )


@check(
    "functional/capabilities/declared-operations-answer",
    title="Every operation of the declared modules is there",
    failure_title="An operation of a declared module is not there",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listAccounts", "listTransactions", "listUsers", "createAccount", "login"],
    defects=["declared-operation-is-missing"],
)
def check_declared_operations_answer(ctx: Context) -> None:
    """Call every collection of the declared modules.

    Why: A module that is declared and half there breaks its users on the day they need the other
    half.
    How: Read every list, and send an empty body to every POST without an id in its path, each with
    an identity whose role allows it; declared deviations are left out.
    Fails when: a list is not 200, or a POST is 404, 405 or 501.
    Remedy: Complete the module, or declare the deviation.
    """
    deviations = {
        row["operationId"]
        for module in ctx.capabilities["modules"]
        for row in module.get("deviations", [])
    }
    for operation in ctx.contract.operations.values():
        if operation.module not in declared(ctx) or operation.id in deviations:
            continue
        if "{" in operation.path or operation.draft or operation.optional:
            continue
        actor = somebody(ctx, operation)
        if "public" not in operation.roles and actor.role not in operation.roles:
            continue
        if operation.method == "GET":
            reply = send_raw(actor, "GET", operation.path)
            ctx.equal(reply.status, 200, f"{operation.id} is declared and not there", reply)
        elif operation.method == "POST" and operation.id != "logout":
            headers = {"Idempotency-Key": uuid4().hex}
            reply = send_raw(actor, "POST", operation.path, headers=headers, body={})
            ctx.expect(
                reply.status not in {404, 405, 501},
                f"{operation.id} is declared and not there",
                expected="an answer about the empty body",
                observed=reply.status,
                on=[reply],
            )


@check(
    "functional/capabilities/undeclared-modules-are-absent",
    title="Operations of modules that are not declared are answered 404 or 501",
    failure_title="A module that is not declared works in part",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["getCapabilities"],
    defects=["undeclared-module-half-works"],
    standards=["OWASP-API:2023-9"],
)
def check_undeclared_modules_are_absent(ctx: Context) -> None:
    """Probe every operation of the modules that the deployment does not declare.

    Why: What is not declared is not tested, not watched, and often not protected.
    How: Send each operation of the undeclared modules with the strongest identity there is, with
    ids of nobody and an empty body.
    Fails when: the answer is not 404 `not_found` or 501 `not_implemented`.
    Remedy: Declare the module, or do not route to it.
    """
    absent = [
        operation
        for operation in ctx.contract.operations.values()
        if operation.module not in declared(ctx)
    ]
    if not absent:
        ctx.not_exercised("the deployment declares every module of the contract")
    for operation in absent:
        headers = {"Idempotency-Key": uuid4().hex, "If-Match": '"1"'}
        body: Json = {} if operation.method == "GET" else {"body": {}}
        reply = send_raw(
            somebody(ctx, operation),
            operation.method,
            url_of(operation),
            headers=headers,
            **body,
        )
        if reply.status == 501:
            ctx.equal(
                reply.problem_code, "not_implemented", f"{operation.id}: 501 of another kind", reply
            )
        else:
            is_refused(ctx.customer, reply, "not_found")


@check(
    "functional/capabilities/currencies-are-those-listed",
    title="Accounts are opened in the listed currencies, with their exponent, and in no other",
    failure_title="The listed currencies are not those in which accounts can be opened",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "E2E-ERR"],
    operations=["createAccount", "getCapabilities"],
    defects=["any-currency-will-do"],
)
def check_currencies_are_those_listed(ctx: Context) -> None:
    """Open accounts in every listed currency and in others.

    Why: An amount in minor units means nothing without the exponent of its currency.
    How: Open an account in each of the first eight listed currencies and compare the exponent that
    its balances show; try four codes that are not listed.
    Fails when: a listed one is refused or shows another exponent, or an unlisted one is not 422
    `unsupported_currency`.
    Remedy: Keep one table of currencies for the document and for validation.
    """
    listed = {row["code"]: row["exponent"] for row in ctx.capabilities["currencies"]}
    for code, exponent in list(listed.items())[:8]:
        account = ctx.arrange.account(currency=code)
        shown = (account["currency"], account["balances"]["exponent"])
        ctx.equal(shown, (code, exponent), "The account does not show the declared exponent")
    for code in CODES:
        if code in listed:
            continue
        body = {"type": "generation", "currency": code, "name": ctx.name("currency")}
        ctx.customer.call("createAccount", body=body, problem="unsupported_currency")


@check(
    "functional/capabilities/limits-are-kept",
    title="The declared limits are the limits",
    failure_title="A declared limit is not kept",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction", "createTransactionBatch", "getCapabilities"],
    defects=["batches-have-no-end", "metadata-has-no-end"],
    standards=["OWASP-API:2023-4"],
)
@pytest.mark.parametrize("limit", ["amount_max", "batch_items_max", "metadata_bytes_max"])
def check_limits_are_kept(ctx: Context, limit: str) -> None:
    """Go one beyond each declared limit.

    Why: A limit on paper protects nobody; one that is lower than declared breaks honest clients.
    How: Deposit one minor unit over `amount_max`; send one item over `batch_items_max`; send
    metadata one byte over `metadata_bytes_max`, and exactly at it.
    Fails when: what is over is not refused, or metadata at the limit is.
    Remedy: Use one set of constants for validation and for the document.
    """
    maximum = ctx.capabilities["limits"].get(limit)
    if maximum is None:
        ctx.not_exercised(f"the deployment declares no {limit}")
    account = ctx.arrange.account()
    money = ctx.arrange.money(1, account["currency"])
    deposit: Json = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
    operation, over = "createTransaction", deposit
    codes = ["validation_failed", "body_too_large"]
    if limit == "amount_max":
        over = {**deposit, "amount": {**money, "amount": maximum + 1}}
        codes.append("amount_out_of_range")
    elif limit == "batch_items_max":
        operation, over = "createTransactionBatch", {"items": [deposit] * (maximum + 1)}
    else:
        frame = len(json.dumps({"k": ""}, separators=(",", ":")))
        fits = {**deposit, "metadata": {"k": "x" * (maximum - frame)}}
        ctx.customer.call("createTransaction", body=fits, expect=201)
        over = {**deposit, "metadata": {"k": "x" * (maximum - frame + 1)}}
    before = ctx.arrange.picture(account)
    reply = ctx.customer.call(operation, body=over, problem=codes)
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "What was over the limit had an effect", reply)
