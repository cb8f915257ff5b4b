"""The outbound contracts: valid OpenAPI, valid examples, the same rules for all five."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from certification.contract.examples import media_types
from certification.contract.operation import resolve
from certification.contract.schemas import SchemaSet
from certification.contract.walk import operations_in

NAMES = ("strategy-engine", "market", "user-management", "notification", "reporting")
FOLDER = files("certification.contract").joinpath("outbound")
ALWAYS = {"429", "500", "503"}
OWN = {"ProblemCode"}
"""What all five have and each says itself."""


def read(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(FOLDER.joinpath(f"{name}.yaml").read_text("utf-8"))
    return parsed


DOCUMENTS = {name: read(name) for name in NAMES}
each = pytest.mark.parametrize("name", NAMES)


def calls(name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for (_, method), spec in operations_in(DOCUMENTS[name]):
        yield method, spec


def headers_of(name: str, spec: Mapping[str, Any]) -> dict[str, bool]:
    rows = [resolve(DOCUMENTS[name], row) for row in spec.get("parameters", ())]
    return {row["name"]: row["required"] for row in rows if row["in"] == "header"}


def test_there_is_a_file_for_every_counterparty() -> None:
    found = {file.name for file in FOLDER.iterdir() if file.name.endswith(".yaml")}
    assert found == {f"{name}.yaml" for name in NAMES}
    assert [DOCUMENTS[name]["x-alluse-counterparty"] for name in NAMES] == list(NAMES)


@each
def test_it_is_valid_openapi(name: str) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENTS[name]).iter_errors()] == []


@each
def test_every_body_has_examples_and_they_are_valid(name: str) -> None:
    document = DOCUMENTS[name]
    walked = {**document, "paths": {**document["paths"], **document.get("webhooks", {})}}
    schemas = SchemaSet.of({"openapi.yaml": walked})
    bodies = list(media_types(walked))
    assert bodies
    for body in bodies:
        assert body.schema is not None
        assert body.examples, body.where
        for example, value in body.examples:
            assert schemas.violations(body.schema, value) == (), f"{body.where} {example}"


@each
def test_parameter_examples_are_valid(name: str) -> None:
    document = DOCUMENTS[name]
    schemas = SchemaSet.of({"openapi.yaml": document})
    for key, row in document["components"]["parameters"].items():
        pointer = f"openapi.yaml#/components/parameters/{key}/schema"
        assert schemas.violations(pointer, row["example"]) == (), key


@each
def test_every_call_continues_a_trace_and_every_write_has_a_key(name: str) -> None:
    for method, spec in calls(name):
        found = headers_of(name, spec)
        public = spec.get("security") == []
        assert found.get("traceparent") is not public, spec["operationId"]
        writes = method != "get" and not spec.get("x-alluse-read")
        assert found.get("Idempotency-Key", False) is writes, spec["operationId"]
        assert "X-Instance-Id" in found


@each
def test_every_call_may_be_refused_in_the_same_ways(name: str) -> None:
    document = DOCUMENTS[name]
    for _, spec in calls(name):
        public = spec.get("security") == []
        assert set(spec["responses"]) >= (ALWAYS if public else {*ALWAYS, "401"})
        for status, node in spec["responses"].items():
            answer = resolve(document, node)
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"]
            assert ("Retry-After" in answer.get("headers", {})) is (status in {"429", "503"})


@each
def test_problem_examples_say_a_known_code(name: str) -> None:
    document = DOCUMENTS[name]
    known = document["components"]["schemas"]["ProblemCode"]["enum"]
    shown = [
        row["value"]["code"]
        for key, row in document["components"]["examples"].items()
        if key.startswith("problem_")
    ]
    assert sorted(shown) == sorted(known)


def test_shared_components_are_the_same_in_all_files() -> None:
    for kind in DOCUMENTS["market"]["components"]:
        tables = [DOCUMENTS[name]["components"][kind] for name in NAMES]
        shared = set.intersection(*(set(table) for table in tables)) - OWN
        assert shared
        for key in shared:
            assert all(table[key] == tables[0][key] for table in tables), key


def test_execution_reports_are_what_the_deployment_takes() -> None:
    main = yaml.load(
        files("certification.contract").joinpath("openapi.yaml").read_bytes(), yaml.CSafeLoader
    )
    takes = SchemaSet.of({"openapi.yaml": main})
    examples = DOCUMENTS["market"]["components"]["examples"]
    reports = [row["value"] for key, row in examples.items() if key.startswith("report_")]
    assert len(reports) == 3
    for report in reports:
        assert takes.violations("openapi.yaml#/components/schemas/MarketCallback", report) == ()
