"""The contract is valid, obeys its own lint, and the loader reads what it says."""

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from certification.contract import IfMatch, load_contract
from certification.contract.document import read_document, read_problems, read_schemas
from certification.contract.lint import RULE_NAMES, lint
from certification.contract.walk import operations_in

Document = dict[str, Any]
Mutation = Callable[[Document], object]

CORE = {
    "getCapabilities",
    "getLiveness",
    "getReadiness",
    "login",
    "refreshSession",
    "logout",
    "verifyMfa",
    "enrollMfa",
    "disableMfa",
    "resetMfa",
    "createUser",
    "listUsers",
    "getUser",
    "updateUser",
    "createAccount",
    "listAccounts",
    "getAccount",
    "updateAccount",
    "closeAccount",
    "listEntries",
    "createTransaction",
    "createTransactionBatch",
    "listTransactions",
    "getTransaction",
    "settleTransaction",
    "voidTransaction",
    "reverseTransaction",
}
GROWTH = {
    "openSystem",
    "getSystem",
    "getGrowthPolicy",
    "putGrowthPolicy",
    "listGrowthCandidates",
    "listGrowthEvents",
    "getGrowthEvent",
    "getGrowthSummary",
    "forkAccount",
    "mergeAccounts",
    "getMerge",
    "reinvestAccount",
    "getLineage",
}
OPERATIONS = {
    "acknowledgeAlert",
    "createBackup",
    "createGrant",
    "createSilence",
    "deleteGrant",
    "deleteSilence",
    "erasePersonalData",
    "getAuditCheckpoint",
    "getBackup",
    "getGrant",
    "getMetrics",
    "getSilence",
    "listAlertHistory",
    "listAlertmanagerAlerts",
    "listAlerts",
    "listAudit",
    "listBackups",
    "listGrants",
    "listRecoveries",
    "putMaintenance",
    "restoreBackup",
    "verifyBackup",
}
"""Final ones of the module operations; the others are drafts."""
INTEGRATION = {
    "listEvents",
    "createWebhook",
    "listWebhooks",
    "getWebhook",
    "deleteWebhook",
    "rotateWebhookSecret",
    "listIntegrations",
    "probeIntegration",
    "getStrategy",
    "putStrategy",
    "executeStrategy",
    "getStrategyExecution",
    "listStrategyResults",
    "exchangeToken",
    "createOrder",
    "listOrders",
    "getOrder",
    "cancelOrder",
    "receiveMarketCallback",
    "listPositions",
    "createReconciliation",
    "getReconciliation",
}
"""The same of the module integration."""


ANALYTICS = {"getAnalytics", "getSystemAnalytics", "createReport", "getReport", "exportReport"}


def test_the_document_is_valid_openapi() -> None:
    base_uri = files("certification.contract").joinpath("openapi.yaml")
    validator = OpenAPIV31SpecValidator(read_document(), base_uri=f"file://{base_uri}")
    assert [str(error) for error in validator.iter_errors()] == []


def test_the_document_obeys_its_lint() -> None:
    document = read_document()
    assert lint(document, read_problems(), read_schemas()) == ()


def _operation(document: Document, path: str, method: str) -> Document:
    found: Document = document["paths"][path][method]
    return found


def _account(document: Document) -> Document:
    return _operation(document, "/v1/accounts/{id}", "get")


def _create(document: Document) -> Document:
    return _operation(document, "/v1/accounts", "post")


def _without_get_link(document: Document) -> None:
    links = _create(document)["responses"]["201"]["links"]
    for name in [name for name, link in links.items() if link["operationId"] != "closeAccount"]:
        del links[name]


def _bad_example(document: Document) -> None:
    del document["components"]["examples"]["account"]["value"]["balances"]["available"]


MUTATIONS: list[tuple[str, Mutation]] = [
    ("plain-json", lambda d: d["paths"].update({200: {}})),
    ("required-fields", lambda d: _account(d).pop("operationId")),
    ("required-fields", lambda d: _account(d).pop("x-alluse-module")),
    ("required-fields", lambda d: _account(d).pop("x-alluse-roles")),
    ("required-fields", lambda d: _account(d).pop("x-alluse-idempotency")),
    ("required-fields", lambda d: _account(d).pop("x-alluse-if-match")),
    ("required-fields", lambda d: _account(d).pop("x-alluse-invariants")),
    ("required-fields", lambda d: _account(d).pop("x-alluse-problems")),
    ("values", lambda d: _account(d).update({"x-alluse-module": "kernel"})),
    ("values", lambda d: _account(d).update({"x-alluse-roles": ["root"]})),
    ("values", lambda d: _account(d).update({"x-alluse-roles": []})),
    ("values", lambda d: _account(d).update({"x-alluse-idempotency": True})),
    ("values", lambda d: _account(d).update({"x-alluse-if-match": "maybe"})),
    ("values", lambda d: _account(d).update({"operationId": "get account"})),
    ("operation-ids", lambda d: _account(d).update({"operationId": "getUser"})),
    ("headers-declared", lambda d: _create(d).update({"parameters": []})),
    ("headers-declared", lambda d: _account(d).update({"x-alluse-if-match": "optional"})),
    ("public-security", lambda d: _account(d).update({"security": []})),
    ("invariants-known", lambda d: _account(d)["x-alluse-invariants"].append("Z9")),
    ("invariants-known", lambda d: d["x-alluse-invariant-catalogue"].update({"Z9": "?"})),
    ("problems-known", lambda d: _account(d)["x-alluse-problems"].append("gremlins")),
    ("problems-used", lambda d: d["x-alluse-common-problems"]["outside"].clear()),
    ("problem-statuses", lambda d: _account(d)["responses"].pop("404")),
    ("problem-statuses", lambda d: _account(d)["x-alluse-problems"].append("locked")),
    (
        "problem-statuses",
        lambda d: _account(d)["responses"].update(
            {"501": {"$ref": "#/components/responses/NotImplemented"}}
        ),
    ),
    (
        "problem-media-type",
        lambda d: d["components"]["responses"]["NotFound"].update({"content": {}}),
    ),
    ("created", lambda d: _create(d)["responses"]["201"]["headers"].pop("Location")),
    ("created", lambda d: _create(d)["responses"]["201"].pop("links")),
    ("created", _without_get_link),
    (
        "links",
        lambda d: _create(d)["responses"]["201"]["links"]["getAccount"].update(
            {"operationId": "getNothing"}
        ),
    ),
    (
        "links",
        lambda d: _create(d)["responses"]["201"]["links"]["getAccount"].update({"parameters": {}}),
    ),
    (
        "requests-closed",
        lambda d: d["components"]["schemas"]["CreateAccount"].pop("additionalProperties"),
    ),
    (
        "examples-present",
        lambda d: _account(d)["responses"]["200"]["content"]["application/json"].pop("examples"),
    ),
    (
        "examples-present",
        lambda d: _create(d)["requestBody"]["content"]["application/json"].pop("examples"),
    ),
    ("examples-valid", _bad_example),
    (
        "problem-examples",
        lambda d: d["components"]["examples"]["problem_busy"]["value"].update({"status": 500}),
    ),
]


@pytest.mark.parametrize(("rule", "mutate"), MUTATIONS)
def test_a_mutated_document_fails_the_rule(rule: str, mutate: Mutation) -> None:
    document = read_document()
    mutate(document)
    errors = lint(document, read_problems(), read_schemas())
    assert rule in {error.rule for error in errors}


def test_every_rule_has_a_mutation() -> None:
    assert {rule for rule, _ in MUTATIONS} == set(RULE_NAMES)


def test_every_operation_is_final_and_in_its_module() -> None:
    operations = load_contract().operations.values()
    assert {item.id for item in operations if item.module == "core"} == CORE
    assert {item.id for item in operations if item.module == "growth"} == GROWTH
    assert {item.id for item in operations if item.module == "analytics"} == ANALYTICS
    final = {item.id for item in operations if not item.draft}
    dual_control = {"listApprovals", "getApproval", "decideApproval"}
    named = CORE | GROWTH | ANALYTICS | OPERATIONS | INTEGRATION | dual_control
    assert final == named | {"testControl"} == {item.id for item in operations}


def test_operations_carry_what_the_document_says() -> None:
    operations = load_contract().operations
    create = operations["createTransaction"]
    assert (create.method, create.path) == ("POST", "/v1/transactions")
    assert create.idempotency_required
    assert create.if_match is IfMatch.OPTIONAL
    assert {"insufficient_available", "idempotency_key_missing", "precondition_failed"} <= (
        create.problems
    )
    assert "precondition_required" not in create.problems
    assert 412 in create.statuses
    assert 500 not in create.statuses
    assert operations["closeAccount"].if_match is IfMatch.REQUIRED
    assert operations["getAccount"].if_match is IfMatch.NONE
    assert operations["enrollMfa"].optional
    assert operations["login"].roles == ("public",)


def test_the_digest_is_that_of_the_file() -> None:
    raw = files("certification.contract").joinpath("openapi.yaml").read_bytes()
    assert load_contract().sha256 == hashlib.sha256(raw).hexdigest()


def test_the_changelog_begins_with_this_version() -> None:
    text = files("certification.contract").joinpath("CHANGELOG.md").read_text("utf-8")
    first = next(line for line in text.splitlines() if line.startswith("## "))
    assert first.split()[1] == load_contract().version


def test_problem_codes_are_written_once() -> None:
    text = files("certification.contract").joinpath("problems.yaml").read_text("utf-8")
    codes = [line.split(":")[0].strip() for line in text.splitlines() if line.startswith("  ")]
    codes = [code for code in codes if not code.startswith("#")]
    assert len(codes) == len(set(codes)) == len(read_problems())


def test_every_problem_says_what_to_do() -> None:
    for row in read_problems().values():
        assert 400 <= row.status <= 599
        assert row.title
        assert row.cause.endswith(".")
        assert row.remedy.endswith(".")
        assert isinstance(row.retryable, bool)
        assert row.retryable or row.status not in (429, 503)


def _objects(document: Document, node: Any, seen: set[str]) -> list[Document]:
    """Every object schema reachable from a schema, through local references."""
    found: list[Document] = []
    if isinstance(node, dict):
        reference = node.get("$ref", "")
        if reference.startswith("#/") and reference not in seen:
            seen.add(reference)
            name = reference.rsplit("/", 1)[1]
            found += _objects(document, document["components"]["schemas"][name], seen)
        if node.get("type") == "object":
            found.append(node)
        for value in node.values():
            found += _objects(document, value, seen)
    elif isinstance(node, list):
        for value in node:
            found += _objects(document, value, seen)
    return found


def test_requests_are_closed_at_every_level_but_metadata() -> None:
    document = read_document()
    seen: set[str] = set()
    objects: list[Document] = []
    for _, spec in operations_in(document):
        if "requestBody" in spec:
            schema = spec["requestBody"]["content"]["application/json"]["schema"]
            objects += _objects(document, schema, seen)
    assert len(objects) > 30
    free = [item for item in objects if item.get("additionalProperties") is not False]
    assert free == [document["components"]["schemas"]["Metadata"]]
