"""Reads the requirement register: every requirement id, and who shows that it is met."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from certification import shipped
from certification.errors import UsageError
from certification.model import Category, DutyKind, Requirement, RequirementId
from certification.toml_source import TomlSource, load_toml

if TYPE_CHECKING:
    from pathlib import Path

REQUIRED_KEYS = frozenset({"id", "text", "kind", "source"})
OPTIONAL_KEYS = frozenset({"category", "critical", "reason"})
ID_PATTERN = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)+")
"""E.g. `SYS-TXN`, `INT-PT-DB-CONN`, `SEC-OWASP-A01`."""
REASONED = frozenset({DutyKind.NOT_TESTED, DutyKind.ATTESTATION})
"""Kinds that no check can show; the row says why."""


def load_register(path: Path | None = None) -> tuple[Requirement, ...]:
    """Read the shipped register, or the one at `path`, in file order.

    Raises `UsageError` with file, line and fix for an unknown key, a duplicate id, an unknown
    category or kind, and a requirement that no check can show without a reason.
    """
    return parse_register(load_toml(path or shipped.path("suites") / "requirements.toml"))


def parse_register(source: TomlSource) -> tuple[Requirement, ...]:
    """Turn the rows under `requirement` into requirements; same errors as `load_register`."""
    for key in source.document:
        if key != "requirement":
            raise _fault(source, (key,), f"unknown table `{key}`", "keep only [[requirement]] rows")
    rows = source.document.get("requirement")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{source.path}: no requirement", hint="add [[requirement]] rows")
    seen: dict[str, int] = {}
    requirements = []
    for index, row in enumerate(rows):
        requirement = _parse_row(source, index, row)
        if requirement.id in seen:
            raise _fault(
                source,
                ("requirement", index, "id"),
                f"`{requirement.id}` is there twice, first on line {seen[requirement.id]}",
                "delete one of the rows",
            )
        seen[requirement.id] = source.line_of(("requirement", index, "id")) or 0
        requirements.append(requirement)
    return tuple(requirements)


def _parse_row(source: TomlSource, index: int, row: dict[str, Any]) -> Requirement:
    at = ("requirement", index)
    for key in row:
        if key not in REQUIRED_KEYS | OPTIONAL_KEYS:
            known = ", ".join(sorted(REQUIRED_KEYS | OPTIONAL_KEYS))
            raise _fault(source, (*at, key), f"unknown key `{key}`", f"known keys: {known}")
    for key in sorted(REQUIRED_KEYS):
        if not isinstance(row.get(key), str) or not row[key]:
            raise _fault(source, at, f"`{key}` is missing or not a text", f"give `{key}` a text")
    if not ID_PATTERN.fullmatch(row["id"]):
        raise _fault(source, (*at, "id"), f"`{row['id']}` is no id", "write it like SYS-TXN")
    if not isinstance(row.get("critical", False), bool):
        raise _fault(source, (*at, "critical"), "`critical` is no truth value", "true or false")
    kind = _closed(source, (*at, "kind"), row["kind"], DutyKind)
    category = row.get("category")
    return Requirement(
        id=RequirementId(row["id"]),
        text=row["text"],
        category=None
        if category is None
        else _closed(source, (*at, "category"), category, Category),
        kind=kind,
        critical=row.get("critical", False),
        reason=_reason(source, index, row, kind),
        source=row["source"],
    )


def _reason(source: TomlSource, index: int, row: dict[str, Any], kind: DutyKind) -> str | None:
    reason = row.get("reason")
    at = ("requirement", index)
    if kind in REASONED and not (isinstance(reason, str) and reason.strip()):
        raise _fault(
            source, at, f"`{row['id']}` is {kind.value} and does not say why", "add a `reason`"
        )
    if kind is DutyKind.CHECK and "category" not in row:
        raise _fault(source, at, f"`{row['id']}` has a check but no category", "add a `category`")
    if kind not in REASONED and reason is not None:
        raise _fault(
            source,
            (*at, "reason"),
            f"`{row['id']}` is {kind.value} and needs no reason",
            "delete it",
        )
    return reason


def _closed(source: TomlSource, at: tuple[str | int, ...], value: object, choices: Any) -> Any:
    for choice in choices:
        if choice.value == value:
            return choice
    known = ", ".join(choice.value for choice in choices)
    raise _fault(source, at, f"unknown {at[-1]} `{value}`", f"choose one of {known}")


def _fault(source: TomlSource, at: tuple[str | int, ...], what: str, fix: str) -> UsageError:
    line = source.line_of(at)
    place = f"{source.path}:{line}" if line else str(source.path)
    return UsageError(f"{place}: {what}", hint=fix)
