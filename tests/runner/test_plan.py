"""What planning decides, and that it decides nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certification.checks import CheckSpec, load_catalogue
from certification.model import CheckId, Module, Outcome
from certification.plan import Offer, Selection, make_plan, selected_ids, to_run
from certification.profile import Profile, load_profile
from certification.results import NOT_SELECTED

EVERYONE = frozenset({"admin", "customer", "customer2", "operator", "manager", "auditor"})
OFFER = Offer(
    modules=frozenset({Module.CORE}),
    deviations={},
    identities=EVERYONE,
    grants=frozenset(),
)


@pytest.fixture(scope="module")
def spec() -> CheckSpec:
    return load_catalogue()[0]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("standard")


def decided(spec: CheckSpec, profile: Profile, offer: Offer) -> tuple[Outcome | None, str | None]:
    (row,) = make_plan([spec], profile, offer, [spec.id])
    return row.fixed_outcome, row.fixed_reason


def test_what_can_be_tried_is_left_to_be_tried(spec: CheckSpec, profile: Profile) -> None:
    assert decided(spec, profile, OFFER) == (None, None)


def test_an_undeclared_optional_module_is_not_applicable(spec: CheckSpec, profile: Profile) -> None:
    dual = replace(spec, modules=(Module.DUAL_CONTROL,))
    assert Module.DUAL_CONTROL not in profile.modules_required
    assert decided(dual, profile, OFFER)[0] is Outcome.NOT_APPLICABLE


def test_an_undeclared_required_module_is_a_failure(spec: CheckSpec) -> None:
    gold = load_profile("gold")
    growth = replace(spec, modules=(Module.GROWTH,))
    outcome, reason = decided(growth, gold, OFFER)
    assert outcome is Outcome.FAIL
    assert "growth" in (reason or "")


def test_a_declared_deviation_from_a_required_module_is_a_failure(
    spec: CheckSpec, profile: Profile
) -> None:
    offer = replace(OFFER, deviations={spec.operations[0]: "not yet"})
    outcome, reason = decided(spec, profile, offer)
    assert outcome is Outcome.FAIL
    assert "not yet" in (reason or "")


def test_a_declared_deviation_in_an_optional_module_is_never_a_failure_of_core(
    spec: CheckSpec, profile: Profile
) -> None:
    offer = replace(OFFER, deviations={"createReport": "not offered"})
    beside = replace(spec, operations=(*spec.operations, "createReport"))
    outcome, reason = decided(beside, profile, offer)
    assert outcome is Outcome.NOT_APPLICABLE
    assert "not offered" in (reason or "")


def test_what_was_not_granted_or_given_is_unknown_not_failed(
    spec: CheckSpec, profile: Profile
) -> None:
    load = replace(spec, grants=("load",))
    assert decided(load, profile, OFFER) == (
        Outcome.NOT_EXERCISED,
        "the target file does not grant load",
    )
    service = replace(spec, identities=("service",))
    assert decided(service, profile, OFFER)[0] is Outcome.NOT_EXERCISED


def test_what_was_not_selected_is_planned_and_not_exercised(profile: Profile) -> None:
    catalogue = load_catalogue()
    kept = selected_ids(
        catalogue,
        Selection(checks=("functional/holds/*",)),
        keyword_matches=lambda _: frozenset[CheckId](),
    )
    plan = make_plan(catalogue, profile, OFFER, kept)
    assert len(plan) == len(catalogue)
    assert {row.id for row in plan if row.fixed_outcome is None} == kept
    assert {row.fixed_reason for row in plan if row.id not in kept} == {NOT_SELECTED}


def test_selections_narrow_each_other() -> None:
    catalogue = load_catalogue()
    chosen = Selection(suites=("functional",), checks=("functional/holds/*",), keyword="x")
    only = catalogue[0].id
    assert selected_ids(catalogue, chosen, keyword_matches=lambda _: {only}) == (
        {only} if only.startswith("functional/holds/") else frozenset()
    )


def test_every_check_has_exactly_one_phase(profile: Profile) -> None:
    catalogue = load_catalogue()
    granted = frozenset({"configuration"})
    everything = replace(OFFER, modules=frozenset(Module), grants=granted)
    plan = make_plan(catalogue, profile, everything, [spec.id for spec in catalogue])
    phases = [to_run(plan, phase) for phase in ("parallel", "alone", "sweep")]
    assert sorted(row.id for rows in phases for row in rows) == [spec.id for spec in catalogue]
