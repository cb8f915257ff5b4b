"""Generates requests of an operation from the frozen contract, through Schemathesis' library API.

Only the generation is Schemathesis'. What a request is (valid or not) and what an answer has to be
is judged by the contract's own validators, and everything is sent by the runner's own client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NotSet

from certification.contract.document import read_document, read_schemas

ABSENT = object()
"""No body at all; None is the JSON value null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One generated request, without credentials, keys and conditions."""

    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Any
    """JSON value, bytes, or `ABSENT`."""


class Stop(BaseException):
    """Ends the generation; Hypothesis would look into an `Exception` and send it all again."""


@cache
def _document() -> dict[str, Any]:
    return read_document()


@cache
def _schema() -> Any:
    """Load the contract, its foreign schema files put in place: nothing is fetched."""
    document = _document()
    return schemathesis.openapi.from_dict(_with_files(document, read_schemas()))


def _with_files(node: Any, files: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if node.get("$ref") in files:
            return {k: v for k, v in files[node["$ref"]].items() if k not in {"$id", "$schema"}}
        return {name: _with_files(value, files) for name, value in node.items()}
    if isinstance(node, list):
        return [_with_files(value, files) for value in node]
    return node


def generate(
    place: tuple[str, str], *, valid: bool, count: int, drawn: str, use: Callable[[Generated], None]
) -> None:
    """Hand up to `count` requests of the operation at (path, method) to `use`.

    `drawn` seeds the draws. `use` may raise `Stop`; any other exception is its own to keep.
    """
    path, method = place
    operation = _schema()[path][method]
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE

    @seed(drawn)
    @settings(
        database=None,
        deadline=None,
        derandomize=False,
        max_examples=count,
        phases=(Phase.explicit, Phase.generate),
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        use(
            Generated(
                path=dict(case.path_parameters or {}),
                query=dict(case.query or {}),
                body=ABSENT if isinstance(case.body, NotSet) else integral(case.body),
            )
        )

    # An operation without parameters and body has no forbidden request that could be made.
    with suppress(Stop, Unsatisfiable):
        each()


def integral(value: Any) -> Any:
    """Write 10.0 as 10: whether the two are the same number is left open by the contract."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {name: integral(member) for name, member in value.items()}
    if isinstance(value, list):
        return [integral(member) for member in value]
    return value


def parameters_of(place: tuple[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (name, schema) of the query parameters of an operation, references resolved."""
    document = _document()
    path, method = place
    for item in document["paths"][path][method.lower()].get("parameters", ()):
        found = _resolved(document, item)
        if found["in"] == "query":
            yield found["name"], _resolved(document, found["schema"])


def _resolved(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node
