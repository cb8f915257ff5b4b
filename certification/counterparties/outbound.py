"""The outbound contracts: which operation a request is, and in what it does not follow them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

import yaml

from certification.contract.operation import reference_of, resolve
from certification.contract.schemas import SchemaSet, Violation, pointer
from certification.contract.walk import operations_in
from certification.counterparties.names import Party

FORM = "application/x-www-form-urlencoded"
_FILE = "openapi.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A header, query or path parameter."""

    name: str
    place: str
    required: bool
    reference: str
    """Of its schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundOperation:
    """One call of a deployment."""

    id: str
    method: str
    segments: tuple[str, ...]
    """Of the path; `{name}` takes any."""
    public: bool
    parameters: tuple[Parameter, ...]
    request: tuple[str, str] | None
    """Media type and reference of the schema."""
    answers: Mapping[int, str]
    """Status -> reference of the schema of its body."""

    @property
    def keyed(self) -> bool:
        """Whether it is a write with an Idempotency-Key."""
        return any(row.name == "Idempotency-Key" for row in self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """What a deployment may call at one counterparty."""

    party: Party
    operations: Mapping[str, OutboundOperation]
    _by_path: Mapping[tuple[str, int], tuple[OutboundOperation, ...]] = field(repr=False)
    _schemas: SchemaSet = field(repr=False)

    def match(self, method: str, path: str) -> tuple[OutboundOperation, dict[str, str]] | None:
        """Return the operation and the decoded path parameters; None where there is none."""
        given = path.split("/")[1:]
        for operation in self._by_path.get((method, len(given)), ()):
            found = _filled(operation.segments, given)
            if found is not None:
                return operation, found
        return None

    def violations(self, reference: str, value: object) -> tuple[Violation, ...]:
        """Compare a value with a schema of the document."""
        return self._schemas.violations(reference, value)

    def parameter_violations(
        self, operation: OutboundOperation, given: Mapping[str, Mapping[str, str]]
    ) -> Iterator[str]:
        """Yield what is wrong with the parameters; `given` is place -> name -> value.

        Names of headers are in small letters in `given`.
        """
        known = set()
        for row in operation.parameters:
            known.add(row.name)
            name = row.name.lower() if row.place == "header" else row.name
            value = given[row.place].get(name)
            if value is None:
                if row.required:
                    yield f"{row.place} {row.name} is missing"
            elif self.violations(row.reference, value):
                yield f"{row.place} {row.name} has not the form that the contract asks for"
        for name in given["query"]:
            if name not in known:
                yield f"query {name[:60]} is not in the contract"


@functools.cache
def load_outbound(party: Party) -> Outbound:
    """Read the outbound contract of a counterparty."""
    name = f"outbound/{party.value}.yaml"
    text = files("certification.contract").joinpath(name).read_bytes()
    document: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    operations = {
        spec["operationId"]: _operation(document, place, spec)
        for place, spec in operations_in(document)
    }
    by_path: dict[tuple[str, int], list[OutboundOperation]] = {}
    # Fixed segments first, so that no placeholder hides them.
    for operation in sorted(operations.values(), key=lambda row: "{" in "".join(row.segments)):
        by_path.setdefault((operation.method, len(operation.segments)), []).append(operation)
    return Outbound(
        party=party,
        operations=MappingProxyType(operations),
        _by_path={place: tuple(rows) for place, rows in by_path.items()},
        _schemas=SchemaSet.of({_FILE: document}),
    )


def execution_report_violations(report: object) -> tuple[Violation, ...]:
    """Compare a callback with the market's contract, so that ours are valid."""
    reference = f"{_FILE}#/components/schemas/ExecutionReport"
    return load_outbound(Party.MARKET).violations(reference, report)


def _operation(
    document: Mapping[str, Any], where: tuple[str, str], spec: Mapping[str, Any]
) -> OutboundOperation:
    path, method = where
    shared = [
        (row, ("paths", path, "parameters", str(number)))
        for number, row in enumerate(document["paths"][path].get("parameters", ()))
    ]
    own = [
        (row, ("paths", path, method, "parameters", str(number)))
        for number, row in enumerate(spec.get("parameters", ()))
    ]
    answers = {}
    for status, node in spec["responses"].items():
        content = resolve(document, node).get("content", {})
        for media_type in content:
            answers[int(status)] = reference_of(
                document, ("paths", path, method, "responses", status), media_type
            )
    request = None
    for media_type in spec.get("requestBody", {}).get("content", {}):
        place = ("paths", path, method, "requestBody")
        request = (media_type, reference_of(document, place, media_type))
    return OutboundOperation(
        id=spec["operationId"],
        method=method.upper(),
        segments=tuple(path.split("/")[1:]),
        public=spec.get("security") == [],
        parameters=tuple(_parameter(document, row, at) for row, at in [*shared, *own]),
        request=request,
        answers=answers,
    )


def _parameter(
    document: Mapping[str, Any], row: Mapping[str, Any], where: tuple[str, ...]
) -> Parameter:
    spec = resolve(document, row)
    # A URI fragment: the braces of a path template must not stand in it as they are.
    place = row["$ref"] if "$ref" in row else "#" + quote(pointer(where), safe="/~")
    return Parameter(
        name=spec["name"],
        place=spec["in"],
        required=spec["required"],
        reference=f"{_FILE}{place}/schema",
    )


def _filled(segments: tuple[str, ...], given: list[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for wanted, segment in zip(segments, given, strict=True):
        if wanted.startswith("{"):
            found[wanted[1:-1]] = unquote(segment)
        elif wanted != segment:
            return None
    return found
