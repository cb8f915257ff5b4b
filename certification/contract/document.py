"""Loads the contract: the OpenAPI document, the problem catalogue and the schemas beside them."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from certification.contract.operation import Operation, Problem, operation_of
from certification.contract.policy import policy_rule_violations
from certification.contract.schemas import SchemaSet, Violation
from certification.contract.walk import operations_in

OPENAPI_FILE = "openapi.yaml"
PROBLEMS_FILE = "problems.yaml"
CAPABILITY_FILE = "capability.schema.json"
POLICY_FILE = "growth-policy.schema.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The contract that this version of the runner certifies against."""

    version: str
    """Its own semantic version, not the runner's."""
    sha256: str
    """Digest of the bytes of openapi.yaml."""
    operations: Mapping[str, Operation]
    """By operation id, in the order of the document."""
    problems: Mapping[str, Problem]
    """By code, in the order of the catalogue."""

    _schemas: SchemaSet = field(repr=False, compare=False)

    def capability_violations(self, document: object) -> tuple[Violation, ...]:
        """Compare a capability document with capability.schema.json."""
        return self._schemas.violations(CAPABILITY_FILE, document)

    def policy_violations(self, document: object) -> tuple[Violation, ...]:
        """Compare a growth policy with growth-policy.schema.json and the rules a schema lacks."""
        found = self._schemas.violations(POLICY_FILE, document)
        return found or policy_rule_violations(document)


@functools.cache
def load_contract() -> Contract:
    """Read the contract shipped with the package; validators are compiled when first used."""
    document = read_document()
    schemas = SchemaSet.of({OPENAPI_FILE: document, **read_schemas()})
    problems = read_problems()
    operations = (
        operation_of(document, place, schemas, problems) for place, _ in operations_in(document)
    )
    return Contract(
        version=document["info"]["version"],
        sha256=hashlib.sha256(_bytes(OPENAPI_FILE)).hexdigest(),
        operations=MappingProxyType({operation.id: operation for operation in operations}),
        problems=problems,
        _schemas=schemas,
    )


def read_document() -> dict[str, Any]:
    """Parse openapi.yaml."""
    return _yaml(OPENAPI_FILE)


def read_schemas() -> dict[str, Any]:
    """Parse the schema files that openapi.yaml refers to, by name."""
    return {name: read_schema(name) for name in (CAPABILITY_FILE, POLICY_FILE)}


def read_problems() -> Mapping[str, Problem]:
    """Parse the problem catalogue; rows by code."""
    rows = _yaml(PROBLEMS_FILE)["problems"]
    return MappingProxyType({code: Problem(code=code, **row) for code, row in rows.items()})


def read_schema(name: str) -> dict[str, Any]:
    """Parse one of the JSON files beside the document, e.g. `presets/classic.json`."""
    parsed: dict[str, Any] = json.loads(_bytes(name))
    return parsed


def _yaml(name: str) -> dict[str, Any]:
    # The C loader is six times as fast on this document as the Python one; both are "safe".
    parsed: dict[str, Any] = yaml.load(_bytes(name), yaml.CSafeLoader)
    return parsed


def _bytes(name: str) -> bytes:
    return files("certification.contract").joinpath(name).read_bytes()
