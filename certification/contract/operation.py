"""One operation of the contract, and what its answers must look like."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never
from urllib.parse import quote

from certification.contract.schemas import SchemaSet, Violation, pointer, violation

PROBLEM_MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:alluse:problem:"
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class IfMatch(enum.Enum):
    """What an operation says about the If-Match header."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A row of the problem catalogue; a code has exactly one status."""

    code: str
    status: int
    title: str
    cause: str
    remedy: str
    retryable: bool
    """Whether the same request may succeed later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation as the document declares it."""

    id: str
    method: str
    """In capitals."""
    path: str
    """Template with {placeholders}."""
    module: str
    roles: tuple[str, ...]
    """Names of the contract's roles, `self` and `public`."""
    idempotency_required: bool
    if_match: IfMatch
    problems: frozenset[str]
    """Every code it may answer: its own and those that follow from its shape."""
    statuses: frozenset[int]
    """Every status it declares, refusals included."""
    draft: bool
    """Its shape may still change."""
    optional: bool
    """A deployment may leave it out inside a module it declares (404 or 501)."""

    _bodies: Mapping[int, Mapping[str, str]] = field(repr=False, compare=False)
    """Status -> media type -> reference of the schema; no media types for an empty body."""
    _request: str | None = field(repr=False, compare=False)
    _schemas: SchemaSet = field(repr=False, compare=False)
    _catalogue: Mapping[str, Problem] = field(repr=False, compare=False)

    def response_violations(
        self, status: int, media_type: str | None, body: object
    ) -> tuple[Violation, ...]:
        """Compare an answer with the contract.

        `media_type` is the Content-Type header or None; `body` is the decoded JSON value, the text
        of other media types, or None for an empty body. Found are: an undeclared status, a wrong
        media type, a body that its schema refuses, and in a problem a code that the catalogue
        does not have or has under another status.
        """
        bodies = self._bodies.get(status)
        if bodies is None:
            declared = ", ".join(str(code) for code in sorted(self.statuses))
            return (violation(f"status {status} is not declared by {self.id} ({declared})"),)
        if not bodies:
            if body in (None, "", b""):
                return ()
            return (violation(f"status {status} of {self.id} has no body"),)
        essence = (media_type or "").partition(";")[0].strip().lower()
        reference = bodies.get(essence)
        if reference is None:
            wanted = " or ".join(sorted(bodies))
            shown = repr(media_type)[:100]
            return (violation(f"Content-Type of status {status} is {shown}, expected {wanted}"),)
        found = self._schemas.violations(reference, body)
        if essence == PROBLEM_MEDIA_TYPE and isinstance(body, dict):
            found += self._problem_violations(status, body)
        return found

    def request_violations(self, body: object) -> tuple[Violation, ...]:
        """Compare a request body with the contract; an operation without body refuses any."""
        if self._request is None:
            return () if body is None else (violation(f"{self.id} takes no body"),)
        return self._schemas.violations(self._request, body)

    def url_path(self, params: Mapping[str, str]) -> str:
        """Fill the placeholders, percent-encoded. Raises ValueError if one is missing."""

        def fill(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in params:
                raise ValueError(f"{self.id} needs the path parameter {name!r}: {self.path}")
            encoded = quote(params[name], safe="")
            # A segment of dots alone would be resolved away by clients and proxies.
            return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded

        return _PLACEHOLDER.sub(fill, self.path)

    def _problem_violations(self, status: int, body: Mapping[str, Any]) -> tuple[Violation, ...]:
        found: list[Violation] = []
        code = body.get("code")
        row = self._catalogue.get(code) if isinstance(code, str) else None
        if row is None:
            found.append(violation(f"code {code!r} is not in the problem catalogue", ("code",)))
        elif row.status != status:
            expected = f"code {row.code} belongs to status {row.status}, not {status}"
            found.append(violation(expected, ("code",)))
        if body.get("status") != status:
            found.append(violation(f"status is not the HTTP status {status}", ("status",)))
        if row is not None and body.get("type") != _TYPE_PREFIX + row.code:
            found.append(violation(f"type is not {_TYPE_PREFIX}{row.code}", ("type",)))
        return tuple(found)


def operation_of(
    document: Mapping[str, Any],
    place: tuple[str, str],
    schemas: SchemaSet,
    catalogue: Mapping[str, Problem],
) -> Operation:
    """Read the operation at `place` (path, method in small letters) of a parsed document."""
    path, method = place
    spec = document["paths"][path][method]
    here = ("paths", path, method)
    bodies = {
        int(status): {
            media_type: reference_of(document, (*here, "responses", status), media_type)
            for media_type in resolve(document, response).get("content", {})
        }
        for status, response in spec["responses"].items()
    }
    request = None
    if "requestBody" in spec:
        request = reference_of(document, (*here, "requestBody"), "application/json")
    return Operation(
        id=spec["operationId"],
        method=method.upper(),
        path=path,
        module=spec["x-alluse-module"],
        roles=tuple(spec["x-alluse-roles"]),
        idempotency_required=spec["x-alluse-idempotency"] == "required",
        if_match=IfMatch(spec["x-alluse-if-match"]),
        problems=problem_codes(document, place),
        statuses=frozenset(bodies),
        draft=spec.get("x-alluse-status") == "draft",
        optional=spec.get("x-alluse-optional", False),
        _bodies=bodies,
        _request=request,
        _schemas=schemas,
        _catalogue=catalogue,
    )


def problem_codes(document: Mapping[str, Any], place: tuple[str, str]) -> frozenset[str]:
    """Join the codes an operation lists with those that follow from its shape."""
    path, method = place
    spec = document["paths"][path][method]
    common = document["x-alluse-common-problems"]
    parameters = [resolve(document, item) for item in spec.get("parameters", ())]
    groups = ["every"] if method == "get" else ["every", "write"]
    if "public" not in spec["x-alluse-roles"]:
        groups.append("secured")
    if "{" in path:
        groups.append("path_id")
    if "requestBody" in spec:
        groups.append("body")
    if any(item["name"] == "cursor" for item in parameters):
        groups.append("list")
    if spec["x-alluse-idempotency"] == "required":
        groups.append("idempotency")
    match IfMatch(spec["x-alluse-if-match"]):
        case IfMatch.REQUIRED:
            groups.append("if_match_required")
        case IfMatch.OPTIONAL:
            groups.append("if_match_optional")
        case IfMatch.NONE:
            pass
        case unknown:
            assert_never(unknown)
    if spec.get("x-alluse-optional", False):
        groups.append("optional")
    own = frozenset(spec["x-alluse-problems"])
    return own.union(*(common[group] for group in groups))


def resolve(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow local references of a node that is not a schema (parameter, response, example)."""
    while "$ref" in node:
        node = _at(document, _parts(node["$ref"]))
    return node


def reference_of(document: Mapping[str, Any], place: tuple[str, ...], media_type: str) -> str:
    """Return the reference of the schema of a body at `place`, through local references."""
    node = _at(document, place)
    while "$ref" in node:
        place = _parts(node["$ref"])
        node = _at(document, place)
    # A URI fragment: the braces of a path template must not stand in it as they are.
    where = pointer((*place, "content", media_type, "schema"))
    return "openapi.yaml#" + quote(where, safe="/~")


def _parts(reference: str) -> tuple[str, ...]:
    parts = reference.removeprefix("#/").split("/")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def _at(document: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    node: Any = document
    for part in place:
        node = node[part]
    found: Mapping[str, Any] = node
    return found
