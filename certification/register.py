"""Reads the requirement register: every requirement id, and who shows that it is met."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from certification import shipped
from certification.model import Category, DutyKind, Requirement, RequirementId
from certification.toml_source import Section, TomlSource, load_toml

if TYPE_CHECKING:
    from pathlib import Path

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
    root = source.root()
    rows = root.sections("requirement")
    root.done()
    if not rows:
        raise root.error(None, "there is no requirement", hint="add [[requirement]] rows")
    first: dict[str, int] = {}
    requirements = []
    for index, row in enumerate(rows):
        requirement = _parse_row(row)
        if requirement.id in first:
            line = source.line_of(("requirement", first[requirement.id], "id"))
            raise row.error("id", f"{requirement.id!r} is there twice, first on line {line}")
        first[requirement.id] = index
        requirements.append(requirement)
    return tuple(requirements)


def _parse_row(row: Section) -> Requirement:
    name = row.text("id")
    if not ID_PATTERN.fullmatch(name):
        raise row.error("id", f"{name!r} is no id", hint="write it like SYS-TXN")
    kind = DutyKind(row.text("kind", choices=[kind.value for kind in DutyKind]))
    category = None
    if row.has("category"):
        category = Category(row.text("category", choices=[item.value for item in Category]))
    elif kind is DutyKind.CHECK:
        raise row.error(None, f"{name} has a check but no category", hint="add a `category`")
    requirement = Requirement(
        id=RequirementId(name),
        text=row.text("text"),
        category=category,
        kind=kind,
        critical=row.flag("critical", default=False),
        reason=_reason(row, name, kind),
        source=row.text("source"),
    )
    row.done()
    return requirement


def _reason(row: Section, name: str, kind: DutyKind) -> str | None:
    if kind in REASONED:
        if not row.has("reason") or not row.text("reason").strip():
            raise row.error(
                None, f"{name} is {kind.value} and does not say why", hint="add `reason`"
            )
        return row.text("reason")
    if row.has("reason"):
        raise row.error("reason", f"{name} is {kind.value} and needs no reason", hint="delete it")
    return None
