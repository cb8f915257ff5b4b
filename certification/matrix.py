"""The coverage matrix: every requirement to the checks that show it, and back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from certification.model import DutyKind, Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MATRIX_FORMAT = "certification-matrix/1"
DANGEROUS_FIRST = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet reads a cell that starts with one of these as a formula."""


class CitesRequirements(Protocol):
    """A check of the catalogue or of a plan, as far as the matrix looks at it."""

    @property
    def id(self) -> str:
        """The check's id, `<suite>/<area>/<question>`."""

    @property
    def requirements(self) -> Sequence[str]:
        """The requirement ids that the check verifies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One requirement with the checks that cite it."""

    requirement: Requirement
    checks: tuple[str, ...]

    @property
    def gap(self) -> bool:
        """Whether a check should show this requirement and none does."""
        return self.requirement.kind is DutyKind.CHECK and not self.checks

    @property
    def shown_by(self) -> str:
        """The checks, or in words why there are none."""
        if self.checks:
            return " ".join(self.checks)
        match self.requirement.kind:
            case DutyKind.CHECK:
                return "no check yet"
            case DutyKind.OWN_TEST:
                return "tests of this project"
            case DutyKind.ATTESTATION:
                return f"a person signs: {self.requirement.reason}"
            case DutyKind.NOT_TESTED:
                return f"not tested: {self.requirement.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Both directions, and what does not fit."""

    rows: tuple[Row, ...]
    checks: tuple[tuple[str, tuple[str, ...]], ...]
    """Each check with the requirements it cites, by check id."""
    unknown: tuple[tuple[str, str], ...]
    """(check, requirement id) where the register does not have the id."""
    idle: tuple[str, ...]
    """Checks that cite no requirement at all."""

    @property
    def gaps(self) -> tuple[str, ...]:
        """Requirements of kind `check` without a check."""
        return tuple(row.requirement.id for row in self.rows if row.gap)


def build_matrix(register: Sequence[Requirement], checks: Iterable[CitesRequirements]) -> Matrix:
    """Join register and checks; rows in the register's order, checks by id."""
    cited = sorted((str(check.id), tuple(check.requirements)) for check in checks)
    known = {requirement.id for requirement in register}
    showing: dict[str, list[str]] = {requirement.id: [] for requirement in register}
    unknown = []
    for check, ids in cited:
        for requirement_id in dict.fromkeys(ids):
            if requirement_id in known:
                showing[requirement_id].append(check)
            else:
                unknown.append((check, requirement_id))
    return Matrix(
        rows=tuple(
            Row(requirement=requirement, checks=tuple(showing[requirement.id]))
            for requirement in register
        ),
        checks=tuple(cited),
        unknown=tuple(unknown),
        idle=tuple(check for check, ids in cited if not ids),
    )


def matrix_text(matrix: Matrix) -> str:
    """Render both directions for a terminal, with the counts and the faults last."""
    width = max((len(row.requirement.id) for row in matrix.rows), default=0)
    lines = ["REQUIREMENT -> CHECKS"]
    for row in matrix.rows:
        requirement = row.requirement
        mark = "!" if row.gap else " "
        lines.append(
            f"{mark} {requirement.id:<{width}}  {requirement.kind.value:<11}  {row.shown_by}"
        )
    lines += ["", "CHECK -> REQUIREMENTS"]
    lines += [f"  {check}  {' '.join(ids) or 'none'}" for check, ids in matrix.checks]
    lines += ["", *_summary(matrix)]
    return "\n".join(lines) + "\n"


def _summary(matrix: Matrix) -> list[str]:
    duties = [row for row in matrix.rows if row.requirement.kind is DutyKind.CHECK]
    shown = sum(1 for row in duties if row.checks)
    lines = [
        f"{len(matrix.rows)} requirements, {len(matrix.checks)} checks",
        f"{shown} of {len(duties)} requirements of kind check have one",
    ]
    lines += [
        f"{check} cites {name}, which the register does not have" for check, name in matrix.unknown
    ]
    lines += [f"{check} cites no requirement" for check in matrix.idle]
    return lines


def matrix_json(matrix: Matrix) -> str:
    """Render as a JSON document of format `certification-matrix/1`."""
    document = {
        "format": MATRIX_FORMAT,
        "requirements": [
            {
                "id": row.requirement.id,
                "text": row.requirement.text,
                "category": row.requirement.category and row.requirement.category.value,
                "kind": row.requirement.kind.value,
                "critical": row.requirement.critical,
                "reason": row.requirement.reason,
                "source": row.requirement.source,
                "checks": list(row.checks),
            }
            for row in matrix.rows
        ],
        "checks": [{"id": check, "requirements": list(ids)} for check, ids in matrix.checks],
        "without_check": list(matrix.gaps),
        "unknown": [{"check": check, "requirement": name} for check, name in matrix.unknown],
        "without_requirement": list(matrix.idle),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def matrix_csv(matrix: Matrix) -> str:
    """Render one line per requirement and check; a requirement without checks keeps its line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["requirement", "category", "kind", "critical", "check", "text", "reason"])
    for row in matrix.rows:
        requirement = row.requirement
        category = requirement.category.value if requirement.category else ""
        for check in row.checks or ("",):
            cells = [
                requirement.id,
                category,
                requirement.kind.value,
                "yes" if requirement.critical else "no",
                check,
                requirement.text,
                requirement.reason or "",
            ]
            writer.writerow([_cell(cell) for cell in cells])
    for check, name in matrix.unknown:
        writer.writerow([_cell(name), "", "unknown", "no", _cell(check), "", "not in the register"])
    return out.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(DANGEROUS_FIRST) else text
