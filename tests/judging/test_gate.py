from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from certification.bounds import bound_meets, lower_bound
from certification.display import display, headline, percent
from certification.errors import EvidenceError
from certification.model import (
    CheckId,
    Incident,
    Module,
    Outcome,
    Severity,
    Workaround,
)
from certification.profile import load_profile
from certification.results import NOT_SELECTED, SELECTION_PASSED
from tests.judging.deciding import REGISTER, N, P, U, X, asks, checks, gates, verdict
from tests.judging.made import (
    FOOTER,
    TARGET,
    case,
    document,
    judged,
    planned,
    profile,
    recorded,
    requirement,
    with_cases,
)

if TYPE_CHECKING:
    pass


F = Fraction


def test_all_passed_reaches_the_best_level() -> None:
    result = verdict(checks(P, P, P))
    assert (result.level, result.reached, result.exit_code) == ("BEST", True, 0)
    assert (result.inconclusive, result.not_certifiable, result.fixes) == ((), (), ())


@pytest.mark.parametrize(
    ("passed", "op", "value", "met"),
    [
        (18, ">", "9/10", False),
        (18, ">=", "9/10", True),
        (19, ">=", "19/20", True),
        (19, ">", "0.95", False),
    ],
)
def test_thresholds_are_exact(passed: int, op: str, value: str, met: bool) -> None:
    rules = asks({"kind": "total", "op": op, "value": value})
    result = verdict(checks(*[P] * passed, *[X] * (20 - passed)), rules)
    assert (result.level == "ONLY") is met
    assert result.exit_code == (0 if met else 1)


def test_an_undecided_check_does_not_stop_a_level_that_the_lower_end_reaches() -> None:
    result = verdict(checks(*[P] * 30, N, severity=Severity.LOW))
    assert (result.level, result.exit_code) == ("GOOD", 0)
    assert not gates(result, "BEST")["all decided"].met


def test_every_gate_says_what_it_requires_what_was_seen_and_what_lifts_it() -> None:
    result = verdict(checks(P, P, X))
    assert result.level == "FAIR"
    gate = gates(result, "GOOD")["total"]
    assert (gate.required, gate.observed, gate.met) == ("> 0.90", "0.666", False)
    assert gate.lift == "fix functional/a/c2 (+0.3333 of the total)"
    assert gates(result, "GOOD")["pass rate"].observed == "2/3 = 0.666"


def test_defect_gates_count_undecided_checks_in_the_worst_case() -> None:
    rules = asks({"kind": "defects", "severity": "low", "max": 2})
    low = {"severity": Severity.LOW}
    assert verdict(checks(P, X, X, **low), rules).level == "ONLY"
    assert verdict(checks(P, X, N, **low), rules).level == "ONLY"
    result = verdict(checks(P, X, X, N, **low), rules)
    assert result.level == "BAD"
    gate = gates(result, "ONLY")["low defects"]
    assert gate.observed == "2 failed, 1 undecided that could be"


def test_a_defect_gate_may_name_an_area_and_ask_for_workarounds() -> None:
    gate = {"kind": "defects", "severity": "medium", "max": 1}
    area = asks({**gate, "area": "integration/*"})
    assert verdict(checks(X, X, X), area).level == "ONLY"
    noted = asks({**gate, "workaround_required": True})
    assert verdict(checks(P, X), noted).level == "BAD"
    workaround = Workaround(check=CheckId("functional/a/c1"), text="retry", owner="N. N.")
    assert verdict(checks(P, X), noted, workarounds=(workaround,)).level == "ONLY"


def test_floors_stop_a_category_from_hiding_behind_the_mean() -> None:
    rows = {planned("functional/a/x", "A"): X, planned("security/b/x", "B"): P}
    rules = asks({"kind": "total", "value": "2/5"}, {"kind": "floors"})
    result = verdict(rows, rules)
    assert gates(result, "ONLY")["total"].met
    assert gates(result, "ONLY")["category floors"].observed == "functionality 0.000 < 0.50"
    assert result.level == "BAD"


def test_requirement_and_category_gates_use_the_lower_end() -> None:
    rows = {planned("functional/a/x", "A"): P, planned("security/b/x", "B"): U}
    assert verdict(rows, asks({"kind": "requirements", "requirements": ["A"], "min": 1})).reached
    for gate in (
        {"kind": "requirements", "requirements": ["A", "B"], "min": "3/4"},
        {"kind": "requirements", "requirements": ["NONE-*"], "min": 0},
        {"kind": "category", "category": "security", "min": "1/2"},
        {"kind": "category", "category": "monitoring", "min": 0},
        {"kind": "critical_scenarios"},
        {"kind": "coverage", "min": "7/10"},
    ):
        assert not verdict(rows, asks(gate)).reached, gate


def test_critical_scenarios_must_be_met_in_full() -> None:
    scenario = requirement("E2E-TXN", critical=True)
    rules = asks({"kind": "critical_scenarios"})
    for outcome, met in ((P, True), (X, False), (U, False)):
        rows = {planned("functional/e/x", "E2E-TXN"): outcome}
        assert verdict(rows, rules, register=(scenario,)).reached is met


def test_modules_that_the_profile_requires_must_be_declared() -> None:
    rules = profile(
        modules={"required": ["core", "growth"]},
        coverage_min=0,
        default_level="ONLY",
        levels=[{"name": "ONLY", "gates": [{"kind": "modules_declared"}]}],
    )
    assert not verdict(checks(P), rules).reached
    both = replace(TARGET, modules=("growth", "core"))
    assert verdict(checks(P), rules, target=both, footer=replace(FOOTER, target=both)).reached
    assert rules.module_outcome(
        planned("functional/x/y", modules=(Module.ANALYTICS,)), frozenset({"core"})
    ) == (X, "required module analytics is not declared")


def test_without_a_baseline_degradation_is_said_and_not_passed() -> None:
    rules = asks({"kind": "no_degradation"}, {"kind": "total", "value": 0})
    result = verdict(checks(P), rules)
    gate = gates(result, "ONLY")["no degradation"]
    assert (gate.met, gate.applies, gate.observed) == (False, False, "no baseline given")
    assert result.reached


# Rates with their bound


@pytest.mark.parametrize(
    ("rate", "n"), [("0.8", 14), ("0.9", 29), ("0.95", 59), ("0.98", 149), ("0.998", 1497)]
)
def test_trials_without_a_failure_that_a_bound_needs(rate: str, n: int) -> None:
    assert bound_meets(n, n, F(rate))
    assert not bound_meets(n - 1, n - 1, F(rate))
    assert not bound_meets(n - 1, n, F(rate))


def test_the_bound_agrees_with_published_values() -> None:
    # Clopper-Pearson, one-sided 95 %: 8/10 -> 0.4931, 10/10 -> 0.7411, 0/10 -> 0
    assert [lower_bound(k, 10) for k in (8, 10, 0)] == [F(493, 1000), F(741, 1000), 0]
    assert lower_bound(0, 0) == 0
    assert not bound_meets(10, 10, F(1))


def test_a_rate_gate_with_a_bound_tells_point_estimate_and_bound_apart() -> None:
    gate = {"kind": "requirements", "requirements": ["A"], "min": "9/10", "bound": "95"}
    check = planned("functional/a/x", "A", "B")
    for trials, met in ((28, False), (29, True)):
        run = recorded(asks(gate), {check: None}, register=REGISTER)
        run = with_cases(run, *(case(check.id, P, str(i)) for i in range(trials)))
        result = judged(run).verdict
        assert result.reached is met
        words = result.levels[0].gates[0].observed
        assert "the point estimate meets" in words
        assert words.endswith("bound 0.901 meets" if met else "does not meet")


# Runs that cannot carry a verdict


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"footer": None}, "footer is missing"),
        ({"footer": replace(FOOTER, ended="target_lost")}, "ended as target_lost"),
        ({"footer": replace(FOOTER, target=None)}, "not read at the end"),
        ({"footer": replace(FOOTER, target=replace(TARGET, build="b2"))}, "changed during the run"),
        ({"target": None}, "not read at the start"),
        (
            {"incidents": (Incident(what="w", detail="worker 3", at="", voids_verdict=True),)},
            "w: worker 3",
        ),
        ({"cases": (case("functional/a/c0", P),)}, "1 checks planned but unreported"),
        (
            {"cases": tuple(case(f"functional/a/c{i}", P) for i in range(3))},
            "1 checks reported but not planned: functional/a/c2",
        ),
    ],
)
def test_a_run_that_cannot_carry_a_verdict(changes: dict[str, Any], reason: str) -> None:
    result = verdict(checks(P, P), **changes)
    assert (result.level, result.reached, result.exit_code) == ("INCONCLUSIVE", False, 3)
    assert any(reason in text for text in result.inconclusive)


def test_several_instances_of_one_build_and_a_harmless_incident_are_fine() -> None:
    other = replace(TARGET, instances=("i2", "i3"))
    incident = Incident(what="worker_crashed", detail="again", at="", voids_verdict=False)
    result = verdict(checks(P), footer=replace(FOOTER, target=other), incidents=(incident,))
    assert result.level == "BEST"


def test_a_check_that_counts_nowhere_is_said() -> None:
    rows = {**checks(P), planned("functional/a/loose", "UNKNOWN"): P}
    assert "verify no requirement that is scored" in verdict(rows).inconclusive[0]


def test_interrupted_is_its_own_exit_code() -> None:
    result = verdict(checks(P), footer=replace(FOOTER, ended="interrupted"))
    assert (result.level, result.exit_code) == ("INCONCLUSIVE", 130)
    assert result.not_certifiable == ("the run ended as interrupted",)
    incident = Incident(what="interrupted", detail="SIGTERM", at="", voids_verdict=True)
    assert verdict(checks(P), footer=None, incidents=(incident,)).exit_code == 130


# Partial runs


@pytest.mark.parametrize(
    ("outcome", "reached", "code"),
    [
        (P, True, 0),
        (X, False, 1),
        (U, False, 3),
        (N, False, 3),
        (Outcome.NOT_APPLICABLE, True, 0),
    ],
)
def test_a_partial_run_asks_only_for_what_was_selected(
    outcome: Outcome, reached: bool, code: int
) -> None:
    left = planned("functional/a/left", "A", fixed_outcome=N, fixed_reason=NOT_SELECTED)
    rows = {**checks(P, outcome), left: None}
    result = verdict(rows, requested_level=SELECTION_PASSED, selection="-k money")
    assert (result.reached, result.exit_code) == (reached, code)
    assert result.not_certifiable == ("partial run: -k money",)


def test_a_partial_run_in_which_nothing_passed_reached_nothing() -> None:
    left = planned("functional/a/left", "A", fixed_outcome=N, fixed_reason=NOT_SELECTED)
    result = verdict({left: None}, requested_level=SELECTION_PASSED, selection="-k none")
    assert (result.reached, result.exit_code) == (False, 3)


# Waivers


def test_a_level_that_the_profile_does_not_know_is_refused_or_replaced() -> None:
    run = recorded(profile(), checks(P), register=REGISTER, requested_level="SHINY")
    with pytest.raises(EvidenceError, match="SHINY"):
        judged(run)
    other = profile(title="Another")
    assert judged(run, other).verdict.requested_level == "GOOD"


def test_the_profile_of_the_header_must_have_the_digest_it_names() -> None:
    run = recorded(profile(), checks(P), register=REGISTER)
    easy = document(levels=[{"name": "GOOD", "gates": [{"kind": "total", "value": "1/2"}]}])
    edited = replace(run, header=replace(run.header, profile=easy))
    with pytest.raises(EvidenceError, match="digest"):
        judged(edited)


def test_todays_reference_is_honestly_far_from_gold() -> None:
    rules = load_profile("gold")
    result = verdict(checks(P, P), rules)
    assert result.level == "INCONCLUSIVE"
    assert not gates(result, "GOLD_STANDARD")["modules declared"].met


# How numbers are written


@pytest.mark.parametrize(
    ("value", "limits", "text"),
    [
        (F(2, 3), (), "0.666"),
        (F(89999, 100000), (F(9, 10),), "0.899"),
        (F(9, 10), (F(9, 10),), "0.900"),
        (F(9004, 10000), (F(9, 10),), "0.9004"),
        (F(1), (), "1.000"),
        (F(999999, 1000000), (), "0.999"),
        (F(-1, 3), (), "-0.334"),
    ],
)
def test_numbers_are_cut_and_never_cross_a_threshold(
    value: F, limits: tuple[F, ...], text: str
) -> None:
    assert display(value, thresholds=limits) == text


def test_only_all_reads_one_hundred_percent() -> None:
    assert percent(F(9999, 10000)) == "99 %"
    assert percent(F(1)) == "100 %"
    score = judged(recorded(profile(), checks(P, P, U), register=REGISTER)).score
    assert headline(score) == "0.666 - 1.000, 66 % decided"
