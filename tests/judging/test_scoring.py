from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from certification.errors import EvidenceError
from certification.model import (
    Attestation,
    Category,
    DutyKind,
    Measurement,
    Module,
    Outcome,
    ReportedCategory,
    RequirementId,
    Severity,
    Veto,
)
from certification.outcomes import NO_OBSERVATION, UNREPORTED, judge_measurement
from certification.profile import Target, load_profile
from certification.results import Interval
from certification.scoring import NO_ATTESTATION, NO_CHECK, score
from tests.judging.made import case, judged, planned, profile, recorded, requirement, with_cases

F = Fraction
A, B = requirement("A"), requirement("B", Category.SECURITY)
UNKNOWN = Interval(lower=F(0), upper=F(1))


def test_a_requirement_is_the_mean_of_its_checks_by_severity() -> None:
    rules = profile()
    checks = {
        planned("functional/a/one", "A", severity=Severity.CRITICAL): Outcome.PASS,
        planned("functional/a/two", "A", severity=Severity.LOW): Outcome.FAIL,
        planned("functional/a/three", "A", severity=Severity.LOW): Outcome.INCONCLUSIVE,
    }
    row = score(recorded(rules, checks, register=(A,)), rules).categories[0].requirements[0]
    assert row.interval == Interval(lower=F(8, 10), upper=F(9, 10))


def test_more_checks_of_one_requirement_do_not_move_the_balance() -> None:
    rules = profile()
    other = requirement("C")
    for count in (1, 7):
        checks = {planned(f"functional/a/{i}", "A"): Outcome.PASS for i in range(count)}
        checks[planned("functional/c/x", "C")] = Outcome.FAIL
        result = score(recorded(rules, checks, register=(A, other)), rules)
        assert result.categories[0].interval.lower == F(1, 2)


def test_a_critical_requirement_weighs_more() -> None:
    rules = profile()
    critical = requirement("C", critical=True)
    checks = {
        planned("functional/a/x", "A"): Outcome.PASS,
        planned("functional/c/x", "C"): Outcome.FAIL,
    }
    result = score(recorded(rules, checks, register=(A, critical)), rules)
    assert result.categories[0].interval.lower == F(1, 3)


def test_what_nobody_checks_is_unknown_and_a_category_never_drops_out() -> None:
    rules = profile()
    checks = {planned("functional/a/x", "A"): Outcome.PASS}
    result = score(recorded(rules, checks, register=(A, B)), rules)
    functionality, security = result.categories
    assert functionality.interval == Interval(lower=F(1), upper=F(1))
    assert security.interval == UNKNOWN
    assert security.coverage == 0
    assert security.requirements[0].reason == NO_CHECK
    assert result.total == Interval(lower=F(3, 5), upper=F(1))
    assert result.coverage == F(3, 5)


def test_a_category_whose_checks_are_all_not_applicable_is_unknown() -> None:
    rules = profile()
    growth = planned(
        "functional/g/x",
        "A",
        modules=(Module.GROWTH,),
        fixed_outcome=Outcome.NOT_APPLICABLE,
        fixed_reason="optional module growth is not declared",
    )
    result = score(recorded(rules, {growth: None}, register=(A,)), rules)
    assert result.categories[0].interval == UNKNOWN
    row = result.categories[0].requirements[0]
    assert row.interval is None
    assert row.weight == 0
    assert result.pass_rate == 0


def test_a_requirement_that_is_not_applicable_leaves_the_denominator() -> None:
    rules = profile()
    gone = planned(
        "functional/g/x",
        "C",
        fixed_outcome=Outcome.NOT_APPLICABLE,
        fixed_reason="optional module growth is not declared",
    )
    checks = {planned("functional/a/x", "A"): Outcome.PASS, gone: None}
    result = score(recorded(rules, checks, register=(A, requirement("C"))), rules)
    assert result.categories[0].interval.lower == 1
    assert result.pass_rate == 1


def test_a_check_takes_the_worst_of_its_cases() -> None:
    rules = profile()
    check = planned("functional/a/x", "A")
    run = recorded(rules, {check: Outcome.PASS}, register=(A,))
    run = with_cases(run, case(check.id, Outcome.INCONCLUSIVE, "second"))
    assert score(run, rules).checks[0].outcome is Outcome.INCONCLUSIVE
    run = with_cases(run, case(check.id, Outcome.FAIL, "third"), case(check.id, Outcome.ERROR, "4"))
    assert score(run, rules).checks[0].outcome is Outcome.FAIL


def test_planned_but_unreported_is_an_error_not_a_pass() -> None:
    rules = profile()
    result = score(recorded(rules, {planned("functional/a/x", "A"): None}, register=(A,)), rules)
    assert result.checks[0].outcome is Outcome.ERROR
    assert result.checks[0].reason == UNREPORTED


def test_a_pass_that_saw_nothing_is_an_error() -> None:
    rules = profile()
    check = planned("functional/a/x", "A")
    run = recorded(rules, {check: None}, register=(A,))
    result = score(with_cases(run, case(check.id, Outcome.PASS, observations=0)), rules)
    assert result.checks[0].outcome is Outcome.ERROR
    assert result.checks[0].reason == NO_OBSERVATION


@pytest.mark.parametrize(
    ("flaky", "veto", "expected"),
    [
        ("fail", None, Outcome.FAIL),
        ("inconclusive", None, Outcome.INCONCLUSIVE),
        ("inconclusive", Veto.DOUBLE_SPEND, Outcome.FAIL),
    ],
)
def test_failed_then_passed_is_never_a_pass(
    flaky: str, veto: Veto | None, expected: Outcome
) -> None:
    rules = profile(flaky=flaky)
    check = planned("functional/a/x", "A", veto=veto)
    attempts = (Outcome.FAIL, Outcome.PASS)
    run = recorded(rules, {check: None}, register=(A,))
    run = with_cases(run, case(check.id, Outcome.PASS, attempts=attempts))
    result = score(run, rules).checks[0]
    assert result.outcome is expected
    assert result.flaky


def statement(expires: str, day: str = "2026-01-01") -> Attestation:
    return Attestation(
        requirement=RequirementId("S"),
        statement="trained",
        person="N. N.",
        role="head of operations",
        date=day,
        expires=expires,
    )


@pytest.mark.parametrize(
    ("attestations", "interval", "attested"),
    [
        ((statement("2026-03-01"),), Interval(lower=F(1), upper=F(1)), True),
        ((statement("2026-02-28"),), UNKNOWN, False),
        ((statement("2027-01-01", day="2026-03-02"),), UNKNOWN, False),
        ((), UNKNOWN, False),
    ],
)
def test_a_statement_counts_only_on_the_days_it_is_in_force(
    attestations: tuple[Attestation, ...], interval: Interval, attested: bool
) -> None:
    rules = profile()
    stated = requirement("S", kind=DutyKind.ATTESTATION)
    run = recorded(
        rules,
        {planned("functional/a/x", "A"): Outcome.PASS},
        register=(A, stated),
        attestations=attestations,
    )
    row = next(r for r in score(run, rules).categories[0].requirements if r.id == "S")
    assert (row.interval, row.attested) == (interval, attested)
    assert row.reason == (None if attested else NO_ATTESTATION)


def test_statements_weigh_at_most_a_fifth_of_a_category() -> None:
    rules = profile()
    stated = requirement("S", kind=DutyKind.ATTESTATION, critical=True)
    check = planned("functional/a/x", "A")
    run = recorded(
        rules,
        {check: Outcome.FAIL},
        register=(A, stated),
        attestations=(statement("2026-12-31"),),
    )
    assert score(run, rules).categories[0].interval == Interval(lower=F(1, 5), upper=F(1, 5))
    # Without any check at all the statements do not grow to fill the room.
    alone = recorded(rules, {}, register=(stated,), attestations=(statement("2026-12-31"),))
    result = score(alone, rules).categories[0]
    assert result.interval == Interval(lower=F(1, 5), upper=F(1))
    assert result.coverage == F(1, 5)


def test_duties_of_the_harness_and_untested_ones_are_listed_apart() -> None:
    rules = profile()
    register = (
        A,
        requirement("HAR-X", None, DutyKind.OWN_TEST),
        requirement("N", kind=DutyKind.NOT_TESTED, reason="needs a data centre"),
        requirement("P", Category.PERFORMANCE),
    )
    run = recorded(rules, {planned("functional/a/x", "A"): Outcome.PASS}, register=register)
    unscored = {str(row.id): row.reason for row in score(run, rules).unscored}
    assert unscored["N"] == "needs a data centre"
    assert set(unscored) == {"HAR-X", "N", "P"}


def test_scope_selected_counts_only_what_the_planned_checks_verify() -> None:
    rules = profile(scope="selected", checks=["functional/*"])
    checks = {
        planned("functional/a/x", "A"): Outcome.PASS,
        planned("security/b/x", "B"): Outcome.FAIL,
    }
    result = score(recorded(rules, checks, register=(A, requirement("C"), B)), rules)
    assert [row.id for row in result.categories[0].requirements] == ["A"]
    assert [r.check.id for r in result.checks] == ["functional/a/x"]
    assert result.categories[0].interval.lower == 1


def test_each_check_knows_what_it_takes_from_the_total() -> None:
    rules = profile()
    checks = {
        planned("functional/a/x", "A"): Outcome.FAIL,
        planned("functional/a/y", "A", "B"): Outcome.INCONCLUSIVE,
        planned("functional/a/z", "A"): Outcome.PASS,
    }
    result = score(recorded(rules, checks, register=(A, B)), rules)
    lost = {r.check.id: r.lost_total for r in result.checks}
    assert lost == {
        "functional/a/x": F(3, 5) / 3,
        "functional/a/y": F(3, 5) / 3 + F(2, 5),
        "functional/a/z": 0,
    }
    assert result.total.lower + sum(lost.values()) == 1


def test_another_profile_decides_undeclared_modules_again() -> None:
    rules = profile()
    growth = planned(
        "functional/g/x",
        "A",
        modules=(Module.GROWTH,),
        fixed_outcome=Outcome.NOT_APPLICABLE,
        fixed_reason="optional module growth is not declared",
    )
    run = recorded(rules, {growth: None}, register=(A,))
    strict = profile(modules={"required": ["core", "growth"], "optional": []})
    assert judged(run).score.checks[0].outcome is Outcome.NOT_APPLICABLE
    assert judged(run, strict).score.checks[0].outcome is Outcome.FAIL


def test_an_id_twice_is_refused() -> None:
    rules = profile()
    check = planned("functional/a/x", "A")
    run = recorded(rules, {check: Outcome.PASS}, register=(A, A))
    with pytest.raises(EvidenceError, match="requirement A twice"):
        score(run, rules)
    twice = replace(run, header=replace(run.header, register=(A,), plan=(check, check)))
    with pytest.raises(EvidenceError, match="check functional/a/x twice"):
        score(twice, rules)


# Measurements


def measured(value: float, lower: float | None, upper: float | None, n: int = 9) -> Measurement:
    check = planned("load/a/x").id
    return Measurement(
        check=check, name="get_p95", value=value, unit="ms", n=n, lower=lower, upper=upper
    )


@pytest.mark.parametrize(
    ("op", "numbers", "expected"),
    [
        ("<", (10, 8, 12), Outcome.PASS),
        ("<", (19, 18, 20), Outcome.INCONCLUSIVE),
        ("<", (20, 20, 22), Outcome.FAIL),
        ("<=", (19, 18, 20), Outcome.PASS),
        ("<=", (20, None, None), Outcome.PASS),
        ("<", (20, None, None), Outcome.FAIL),
        ("<", (10, 8, None), Outcome.INCONCLUSIVE),
        (">", (25, 21, 30), Outcome.PASS),
        (">", (25, 20, 30), Outcome.INCONCLUSIVE),
        (">=", (25, 20, 30), Outcome.PASS),
        (">=", (15, 10, 19.9), Outcome.FAIL),
        (">", (15, 30, 10), Outcome.INCONCLUSIVE),
    ],
)
def test_a_measurement_is_judged_by_its_whole_interval(
    op: str, numbers: tuple[float, float | None, float | None], expected: Outcome
) -> None:
    target = Target(name="get", metric="get_p95", op=op, value=F(20), unit="ms")
    assert judge_measurement(measured(*numbers), target) is expected


def test_a_measurement_is_compared_as_it_is_written() -> None:
    target = Target(name="get", metric="get_p95", op="<=", value=F(1, 10), unit="ms")
    assert judge_measurement(measured(0.1, None, None), target) is Outcome.PASS
    other_unit = replace(target, unit="s")
    assert judge_measurement(measured(0.1, None, None), other_unit) is Outcome.INCONCLUSIVE
    assert judge_measurement(measured(0.1, None, None, n=0), target) is Outcome.INCONCLUSIVE


def test_a_missed_target_fails_the_check_that_measured() -> None:
    targets = {"get": {"metric": "get_*", "op": "<", "value": 20, "unit": "ms"}}
    rules = profile(targets=targets)
    check = planned("load/a/x", "A")
    run = recorded(
        rules, {check: Outcome.PASS}, register=(A,), measurements=(measured(25, 22, 27),)
    )
    result = score(run, rules).checks[0]
    assert result.outcome is Outcome.FAIL
    assert result.findings[0].expected == "get_p95 < 20 ms"
    assert judged(run, profile()).score.checks[0].outcome is Outcome.PASS


# The figures of 2025


@pytest.mark.parametrize(
    ("performance", "documentation", "total"),
    [("1", "0.960", F(979, 1000)), ("7/8", "0.960", F(954, 1000)), ("7/8", "0.920", F(19, 20))],
)
def test_the_reported_figures_of_2025(performance: str, documentation: str, total: F) -> None:
    rules = load_profile("ws3-2025")
    stated = {
        Category.FUNCTIONALITY: "0.987",
        Category.PERFORMANCE: performance,
        Category.SECURITY: "0.973",
        Category.RELIABILITY: "1.000",
        Category.MONITORING: "0.940",
        Category.DOCUMENTATION: documentation,
    }
    rows = tuple(ReportedCategory(category=c, score=s, source="[1]") for c, s in stated.items())
    run = recorded(rules, {}, register=(), source="reported", target=None, reported=rows)
    judgement = judged(run)
    assert judgement.score.total == Interval(lower=total, upper=total)
    assert judgement.verdict.not_certifiable == ("reported, not observed",)
    assert judgement.verdict.beats_reference is True


@pytest.mark.parametrize("text", ["1.01", "-0.1", "nan", "1e9999999", "1/0", "", "x", "1" * 41])
def test_a_reported_score_that_is_none_is_refused(text: str) -> None:
    rules = load_profile("ws3-2025")
    row = ReportedCategory(category=Category.SECURITY, score=text, source="[1]")
    run = recorded(rules, {}, register=(), source="reported", target=None, reported=(row,))
    with pytest.raises(EvidenceError, match="security"):
        score(run, rules)
