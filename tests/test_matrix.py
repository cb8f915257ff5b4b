from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass

from certification.matrix import build_matrix, matrix_csv, matrix_json, matrix_text
from certification.model import Category, DutyKind, Requirement, RequirementId


@dataclass(frozen=True)
class Cited:
    id: str
    requirements: tuple[str, ...]


def requirement(
    name: str, kind: DutyKind = DutyKind.CHECK, reason: str | None = None
) -> Requirement:
    return Requirement(
        id=RequirementId(name),
        text=f"text of {name}",
        category=Category.FUNCTIONALITY,
        kind=kind,
        reason=reason,
    )


REGISTER = (
    requirement("SYS-ACC"),
    requirement("SYS-TXN"),
    requirement("SYS-GRO"),
    requirement("HAR-REP", DutyKind.OWN_TEST),
    requirement("SEC-COMP-STD", DutyKind.NOT_TESTED, "=granted by a body"),
    requirement("OPS-INC", DutyKind.ATTESTATION, "people"),
)
CHECKS = (
    Cited("functional/money/b", ("SYS-TXN", "SYS-ACC")),
    Cited("functional/money/a", ("SYS-TXN", "SYS-NOPE")),
    Cited("functional/idle/c", ()),
)


def test_the_matrix_leads_both_ways_and_names_gaps_and_unknown_ids() -> None:
    matrix = build_matrix(REGISTER, CHECKS)
    showing = {str(row.requirement.id): row.checks for row in matrix.rows}
    assert showing["SYS-TXN"] == ("functional/money/a", "functional/money/b")
    assert showing["SYS-ACC"] == ("functional/money/b",)
    assert dict(matrix.checks)["functional/money/b"] == ("SYS-TXN", "SYS-ACC")
    assert matrix.gaps == ("SYS-GRO",)
    assert matrix.unknown == (("functional/money/a", "SYS-NOPE"),)
    assert matrix.idle == ("functional/idle/c",)


def test_the_order_of_the_catalogue_changes_nothing() -> None:
    assert build_matrix(REGISTER, CHECKS) == build_matrix(REGISTER, CHECKS[::-1])


def test_the_text_says_of_every_requirement_who_shows_it() -> None:
    text = matrix_text(build_matrix(REGISTER, CHECKS))
    assert "! SYS-GRO" in text
    assert "no check yet" in text
    assert "tests of this project" in text
    assert "not tested: =granted by a body" in text
    assert "a person signs: people" in text
    assert "functional/money/a cites SYS-NOPE, which the register does not have" in text
    assert "functional/idle/c cites no requirement" in text
    assert "6 requirements, 3 checks\n2 of 3 requirements of kind check have one" in text


def test_json_and_csv_say_the_same_as_the_matrix() -> None:
    matrix = build_matrix(REGISTER, CHECKS)
    document = json.loads(matrix_json(matrix))
    assert document["without_check"] == ["SYS-GRO"]
    assert document["unknown"] == [{"check": "functional/money/a", "requirement": "SYS-NOPE"}]
    lines = list(csv.DictReader(io.StringIO(matrix_csv(matrix))))
    from_json = {(r["id"], c) for r in document["requirements"] for c in r["checks"] or [""]}
    from_csv = {(line["requirement"], line["check"]) for line in lines if line["kind"] != "unknown"}
    assert from_json == from_csv
    assert ("SYS-NOPE", "functional/money/a") in {(r["requirement"], r["check"]) for r in lines}


def test_no_csv_cell_is_read_as_a_formula() -> None:
    assert "'=granted by a body" in matrix_csv(build_matrix(REGISTER, CHECKS))


def test_a_register_without_checks_and_checks_without_a_register_render() -> None:
    assert "no check yet" in matrix_text(build_matrix(REGISTER, ()))
    assert build_matrix((), CHECKS).unknown[0] == ("functional/money/a", "SYS-TXN")
