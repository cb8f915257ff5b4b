"""Every example of the contract, joined with the schema it must match."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certification.contract.operation import reference_of, resolve
from certification.contract.walk import operations_in


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """One body that the document declares, with its examples."""

    where: str
    """Readable place, e.g. `getAccount 200 application/json`."""
    draft: bool
    media_type: str
    schema: str | None
    """Reference of the schema; None if the document declares none."""
    examples: tuple[tuple[str, object], ...]
    """Names and values."""


def media_types(document: Mapping[str, Any]) -> Iterator[MediaType]:
    """Walk the request body and every response of every operation."""
    for place, spec in operations_in(document):
        name = spec.get("operationId", " ".join(place))
        draft = spec.get("x-alluse-status") == "draft"
        path, method = place
        bodies = [("request", spec["requestBody"], "requestBody")] if "requestBody" in spec else []
        for status, response in spec.get("responses", {}).items():
            bodies.append((status, response, f"responses {status}"))
        for label, node, where in bodies:
            base = ("paths", path, method, *where.split(" "))
            for media_type, body in resolve(document, node).get("content", {}).items():
                yield MediaType(
                    where=f"{name} {label} {media_type}",
                    draft=draft,
                    media_type=media_type,
                    schema=reference_of(document, base, media_type) if "schema" in body else None,
                    examples=tuple(_examples(document, body)),
                )


def _examples(document: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    if "example" in body:
        yield "example", body["example"]
    for name, example in body.get("examples", {}).items():
        yield name, resolve(document, example).get("value")
