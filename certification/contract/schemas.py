"""The schemas of the contract as validators, compiled when first used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jsonschema_rs import Draft202012Validator, Registry

BASE_URI = "https://contract.invalid/"
"""Base of the addresses under which the files of the contract know each other; never fetched."""

_SHOWN_CHARS = 300
_VIOLATIONS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One way in which a value is not what the contract asks for."""

    pointer: str
    """JSON Pointer into the value, at most 300 characters; empty for the whole value."""

    message: str
    """What is wrong, at most 300 characters whatever the target sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaSet:
    """The files of the contract, joined so that references between them resolve offline."""

    registry: Registry = field(repr=False)
    _compiled: dict[str, Draft202012Validator] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> "SchemaSet":
        """Join parsed documents by file name."""
        return cls(registry=Registry([(BASE_URI + name, body) for name, body in resources.items()]))

    def violations(self, reference: str, value: object) -> tuple[Violation, ...]:
        """Compare a value with the schema at `reference` (file name and JSON Pointer fragment).

        Returns at most 20 violations. A value that the validator cannot walk (too deep, or text
        that is not Unicode) is one violation, not an exception.
        """
        validator = self._compiled.get(reference)
        if validator is None:
            schema = {"$ref": BASE_URI + reference}
            validator = Draft202012Validator(schema, registry=self.registry, offline=True)
            self._compiled[reference] = validator
        try:
            errors = islice(validator.iter_errors(value), _VIOLATIONS_MAX)
            return tuple(violation(error.message, error.instance_path) for error in errors)
        except (ValueError, TypeError, OverflowError) as error:
            return (violation(f"cannot be compared with its schema: {error}"),)


def violation(message: str, path: Iterable[str | int] = ()) -> Violation:
    """Make a violation with bounded text."""
    return Violation(pointer=pointer(path)[:_SHOWN_CHARS], message=message[:_SHOWN_CHARS])


def pointer(path: Iterable[str | int]) -> str:
    """Write a path as a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
