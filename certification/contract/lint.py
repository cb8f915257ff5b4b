"""What every operation of the contract must say, beyond being valid OpenAPI."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certification.contract.examples import media_types
from certification.contract.operation import IfMatch, Problem, problem_codes, resolve
from certification.contract.schemas import SchemaSet
from certification.contract.walk import operations_in

MODULES = (
    "core",
    "growth",
    "analytics",
    "integration",
    "operations",
    "testability",
    "dual_control",
)
ROLES = ("public", "self", "customer", "operator", "manager", "admin", "auditor", "service")

_ID = re.compile(r"[a-z][A-Za-z0-9]*")
_REQUIRED = (
    "operationId",
    "x-alluse-module",
    "x-alluse-roles",
    "x-alluse-idempotency",
    "x-alluse-if-match",
    "x-alluse-invariants",
    "x-alluse-problems",
)
_IF_MATCH = tuple(kind.value for kind in IfMatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintError:
    """One place where the contract breaks one of its own rules."""

    rule: str
    """Name of the rule: the function's name without `_check_`, hyphenated."""
    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    document: Mapping[str, Any]
    problems: Mapping[str, Problem]
    schemas: SchemaSet


_Found = Iterator[tuple[str, str]]
_Rule = Callable[[_Sources], _Found]


def lint(
    document: dict[str, Any], problems: Mapping[str, Problem], beside: Mapping[str, Any]
) -> tuple[LintError, ...]:
    """Check a parsed openapi.yaml against its rules.

    `beside` holds the parsed schema files it refers to, by name. The later rules rely on what the
    first ones ask for, so they run only if those found nothing.
    """
    first = _Sources(document=document, problems=problems, schemas=SchemaSet.of(beside))
    errors = _apply(_FIRST_RULES, first)
    if errors:
        return errors
    joined = SchemaSet.of({"openapi.yaml": document, **beside})
    return _apply(_RULES, _Sources(document=document, problems=problems, schemas=joined))


def _apply(rules: tuple[_Rule, ...], sources: _Sources) -> tuple[LintError, ...]:
    return tuple(
        LintError(rule=_name(rule), where=where, message=message)
        for rule in rules
        for where, message in rule(sources)
    )


def _name(rule: _Rule) -> str:
    return getattr(rule, "__name__", "").removeprefix("_check_").replace("_", "-")


def _check_plain_json(sources: _Sources) -> _Found:
    """Find what YAML readers disagree about: names that are numbers, dates."""
    stack: list[tuple[str, object]] = [("", sources.document)]
    while stack:
        where, node = stack.pop()
        match node:
            case dict():
                for name, value in node.items():
                    if not isinstance(name, str):
                        yield where, f"the name {name!r} is not a string; quote it"
                    stack.append((f"{where}/{name}", value))
            case list():
                stack.extend((f"{where}/{index}", value) for index, value in enumerate(node))
            case None | str() | bool() | int() | float():
                pass
            case _:
                yield where, f"{node!r} is not a JSON value; quote it"


def _check_required_fields(sources: _Sources) -> _Found:
    for (path, method), spec in operations_in(sources.document):
        for name in _REQUIRED:
            if name not in spec:
                yield f"{method} {path}", f"{name} is missing"


def _check_values(sources: _Sources) -> _Found:
    """Hold the x- fields to their sets of values."""
    for (path, method), spec in operations_in(sources.document):
        where = f"{method} {path}"
        if not _ID.fullmatch(spec.get("operationId", "x")):
            yield where, "operationId is not camelCase"
        if spec.get("x-alluse-module", "core") not in MODULES:
            yield where, f"unknown module {spec['x-alluse-module']!r}"
        if not spec.get("x-alluse-roles", ["x"]):
            yield where, "x-alluse-roles is empty"
        for role in spec.get("x-alluse-roles", ()):
            if role not in ROLES:
                yield where, f"unknown role {role!r}"
        if spec.get("x-alluse-idempotency", "none") not in ("required", "none"):
            yield where, "x-alluse-idempotency is neither required nor none"
        if spec.get("x-alluse-if-match", "none") not in _IF_MATCH:
            yield where, "x-alluse-if-match is none of required, optional, none"


def _check_operation_ids(sources: _Sources) -> _Found:
    ids = Counter(spec["operationId"] for _, spec in operations_in(sources.document))
    for name, count in ids.items():
        if count > 1:
            yield name, f"used by {count} operations"


def _check_headers_declared(sources: _Sources) -> _Found:
    """Compare the header parameters with x-alluse-idempotency and x-alluse-if-match."""
    for _, spec in operations_in(sources.document):
        parameters = [resolve(sources.document, item) for item in spec.get("parameters", ())]
        required = {item["name"]: item.get("required", False) for item in parameters}
        key = "required" if required.get("Idempotency-Key") else "none"
        if key != spec["x-alluse-idempotency"]:
            yield spec["operationId"], f"Idempotency-Key is {key} as a parameter"
        match required.get("If-Match"):
            case None:
                if_match = "none"
            case True:
                if_match = "required"
            case _:
                if_match = "optional"
        if if_match != spec["x-alluse-if-match"]:
            yield spec["operationId"], f"If-Match is {if_match} as a parameter"


def _check_public_security(sources: _Sources) -> _Found:
    """Find operations that are public but ask for a token, or the other way round."""
    for _, spec in operations_in(sources.document):
        security = spec.get("security", sources.document.get("security", []))
        open_to_all = not security or {} in security
        if open_to_all != (spec["x-alluse-roles"] == ["public"]):
            yield spec["operationId"], "security and x-alluse-roles disagree about public"


def _check_invariants_known(sources: _Sources) -> _Found:
    known = sources.document["x-alluse-invariant-catalogue"]
    used: set[str] = set()
    for _, spec in operations_in(sources.document):
        used.update(spec["x-alluse-invariants"])
        for name in spec["x-alluse-invariants"]:
            if name not in known:
                yield spec["operationId"], f"unknown invariant {name!r}"
    for name in known:
        if name not in used:
            yield name, "no operation names this invariant"


def _check_problems_known(sources: _Sources) -> _Found:
    for place, spec in operations_in(sources.document):
        for code in sorted(problem_codes(sources.document, place)):
            if code not in sources.problems:
                yield spec["operationId"], f"{code} is not in the problem catalogue"


def _check_problems_used(sources: _Sources) -> _Found:
    used = {
        code for group in sources.document["x-alluse-common-problems"].values() for code in group
    }
    for _, spec in operations_in(sources.document):
        used.update(spec["x-alluse-problems"])
    for code in sources.problems:
        if code not in used:
            yield code, "in the problem catalogue, but no operation answers it"


def _check_problem_statuses(sources: _Sources) -> _Found:
    """Compare the refusals an operation declares with the statuses of its codes."""
    for place, spec in operations_in(sources.document):
        codes = problem_codes(sources.document, place)
        expected = {row.status for code in codes if (row := sources.problems.get(code))}
        declared = {int(status) for status in spec["responses"] if status >= "400"}
        for status in sorted(expected - declared):
            yield spec["operationId"], f"has problem codes of status {status}, not declared"
        for status in sorted(declared - expected):
            yield spec["operationId"], f"declares status {status}, but has no code for it"


def _check_problem_media_type(sources: _Sources) -> _Found:
    for _, spec in operations_in(sources.document):
        for status, node in spec["responses"].items():
            content = resolve(sources.document, node).get("content", {})
            if status >= "400" and "application/problem+json" not in content:
                yield f"{spec['operationId']} {status}", "is not application/problem+json"


def _check_created(sources: _Sources) -> _Found:
    """Find a POST that creates without saying where, or with no GET behind it."""
    reads = {
        spec["operationId"]
        for (_, method), spec in operations_in(sources.document)
        if method == "get"
    }
    for (_, method), spec in operations_in(sources.document):
        if method != "post" or "201" not in spec["responses"]:
            continue
        response = resolve(sources.document, spec["responses"]["201"])
        where = f"{spec['operationId']} 201"
        if "Location" not in response.get("headers", {}):
            yield where, "has no Location header"
        links = response.get("links", {})
        if not links:
            yield where, "has no links"
        elif not any(link.get("operationId") in reads for link in links.values()):
            yield where, "has no link to a GET"


def _check_links(sources: _Sources) -> _Found:
    """Find links that lead to no operation or leave a hole in its path."""
    paths = {spec["operationId"]: path for (path, _), spec in operations_in(sources.document)}
    for _, spec in operations_in(sources.document):
        for status, node in spec["responses"].items():
            for name, link in resolve(sources.document, node).get("links", {}).items():
                where = f"{spec['operationId']} {status} {name}"
                path = paths.get(link["operationId"])
                if path is None:
                    yield where, f"leads to {link['operationId']}, which does not exist"
                elif set(re.findall(r"\{(\w+)\}", path)) != set(link.get("parameters", {})):
                    yield where, f"does not fill the parameters of {path}"


def _check_requests_closed(sources: _Sources) -> _Found:
    """Find request schemas that let an unknown member pass."""
    for body in media_types(sources.document):
        if " request " not in body.where or body.schema is None:
            continue
        probe = {"x-unknown-member": 1}
        found = sources.schemas.violations(body.schema, probe)
        if not any("x-unknown-member" in item.message for item in found):
            yield body.where, "the schema lets unknown members pass"


def _check_examples_present(sources: _Sources) -> _Found:
    for body in media_types(sources.document):
        if body.schema is None:
            yield body.where, "has no schema"
        if not body.draft and not body.examples:
            yield body.where, "has no example"


def _check_examples_valid(sources: _Sources) -> _Found:
    seen: set[tuple[str, int]] = set()
    for body in media_types(sources.document):
        for name, value in body.examples:
            if body.schema is None or (body.schema, id(value)) in seen:
                continue
            seen.add((body.schema, id(value)))
            for item in sources.schemas.violations(body.schema, value):
                yield f"{body.where} {name}", f"{item.pointer}: {item.message}"


def _check_problem_examples(sources: _Sources) -> _Found:
    """Compare the examples of problems with the catalogue."""
    for name, example in sources.document["components"]["examples"].items():
        value = example.get("value")
        if not (name.startswith("problem_") and isinstance(value, dict)):
            continue
        row = sources.problems.get(value["code"])
        if row is None:
            yield name, f"{value['code']} is not in the problem catalogue"
        elif (value["status"], value["title"], value["retryable"]) != (
            row.status,
            row.title,
            row.retryable,
        ):
            yield name, "status, title or retryable differs from the catalogue"


_FIRST_RULES: tuple[_Rule, ...] = (_check_plain_json, _check_required_fields, _check_values)
_RULES: tuple[_Rule, ...] = (
    _check_operation_ids,
    _check_headers_declared,
    _check_public_security,
    _check_invariants_known,
    _check_problems_known,
    _check_problems_used,
    _check_problem_statuses,
    _check_problem_media_type,
    _check_created,
    _check_links,
    _check_requests_closed,
    _check_examples_present,
    _check_examples_valid,
    _check_problem_examples,
)
RULE_NAMES = tuple(_name(rule) for rule in (*_FIRST_RULES, *_RULES))
"""Every rule, so that a test can show that each of them can fail."""
