"""What every check of the catalogue owes: requirements, operations, identities, planted defects."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields

import pytest

from certification.checks import DOC_SECTIONS, CheckSpec, load_catalogue
from certification.contract import load_contract
from certification.defects import load_defects, mismatches
from certification.model import SUITE_CATEGORY, DutyKind
from certification.profile import load_profile, shipped_profiles
from certification.register import load_register
from certification.shipped import path as shipped
from certification.target.model import Grants, Role

CATALOGUE = load_catalogue()
REGISTER = {row.id: row for row in load_register()}
CONTRACT = load_contract()
DEFECTS = load_defects()
KNOWN_ROLES = {role.value for role in Role} | {"anonymous"}
GRANTS = {field.name for field in fields(Grants)} - {"hooks"}

every_check = pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.id)


def test_there_are_enough_checks_and_defects_to_speak_of_a_certification() -> None:
    assert len(CATALOGUE) >= 270
    assert len(DEFECTS) >= 380


@every_check
def test_a_check_cites_only_requirements_of_the_category_that_its_suite_feeds(
    spec: CheckSpec,
) -> None:
    for name in spec.requirements:
        assert name in REGISTER, f"{name} is not registered; mappings to standards go elsewhere"
        row = REGISTER[name]
        assert row.kind is DutyKind.CHECK, f"{name} is {row.kind.value}: no check can show it"
        assert row.category is SUITE_CATEGORY[spec.suite], (
            f"{name} counts for {row.category}, {spec.suite} feeds {SUITE_CATEGORY[spec.suite]}; "
            "put the mapping into `standards`"
        )
    assert len(set(spec.requirements)) == len(spec.requirements)


@every_check
def test_a_check_sends_operations_that_the_contract_has_finished(spec: CheckSpec) -> None:
    assert spec.operations
    for name in spec.operations:
        assert name in CONTRACT.operations, f"the contract has no operation {name}"
        assert not CONTRACT.operations[name].draft, f"{name} is a draft"


@every_check
def test_a_check_asks_for_identities_and_grants_that_a_target_file_can_give(
    spec: CheckSpec,
) -> None:
    assert set(spec.identities) <= KNOWN_ROLES
    assert {name for name in spec.grants if not name.startswith("hook:")} <= GRANTS


@every_check
def test_a_check_explains_itself_in_four_sections(spec: CheckSpec) -> None:
    assert tuple(spec.docs) == DOC_SECTIONS
    for name, text in spec.docs.items():
        assert len(text) > 15, f"{name} says nothing"
    assert spec.title != spec.failure_title


@every_check
def test_a_check_has_an_id_that_leads_to_its_function(spec: CheckSpec) -> None:
    suite, area, question = spec.id.split("/")
    file, function = spec.path.split("::")
    assert file == f"{suite}/test_{area.replace('-', '_')}.py"
    assert function.startswith("check_")
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", question)


def test_checks_and_planted_defects_name_each_other() -> None:
    assert mismatches(CATALOGUE, DEFECTS) == []


def test_every_planted_defect_says_what_it_does_wrong_and_replaces_something() -> None:
    for defect in DEFECTS:
        assert defect.summary.endswith("."), defect.id
        assert defect.catches, defect.id
        assert defect.patches >= 1, defect.id


def test_every_requirement_is_registered_once() -> None:
    text = (shipped("suites") / "requirements.toml").read_text(encoding="utf-8")
    ids = re.findall(r'^id\s*=\s*"([^"]+)"', text, flags=re.MULTILINE)
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert set(ids) == set(REGISTER)


def test_every_requirement_that_a_check_can_show_counts_somewhere() -> None:
    rows = [row for row in REGISTER.values() if row.kind is DutyKind.CHECK]
    assert rows
    assert [row.id for row in rows if row.category is None] == []


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_profile_plans_at_least_the_core_of_the_contract(name: str) -> None:
    profile = load_profile(name)
    planned = [spec for spec in CATALOGUE if profile.plans(spec.id)]
    assert len(planned) >= 45
