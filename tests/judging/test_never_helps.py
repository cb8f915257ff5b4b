"""Properties that no profile and no run may break."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from certification.gate import decide
from certification.model import (
    Attestation,
    Category,
    DutyKind,
    Outcome,
    PlannedCheck,
    RequirementId,
    Severity,
    Veto,
)
from certification.results import INCONCLUSIVE_LEVEL, NOT_SELECTED
from certification.scoring import score
from tests.judging.made import TODAY, case, judged, planned, profile, recorded, requirement

if TYPE_CHECKING:
    from certification.judge import Judgement
    from certification.results import RecordedRun

RULES = profile(
    coverage_min="1/4",
    levels=[
        {
            "name": "BEST",
            "gates": [
                {"kind": "total", "value": "4/5"},
                {"kind": "all_decided"},
                {"kind": "no_veto"},
                {"kind": "defects", "severity": "critical", "max": 0},
                {"kind": "defects", "severity": "low", "max": 2},
                {"kind": "requirements", "requirements": ["R1", "R2"], "min": "1/2"},
            ],
        },
        {
            "name": "GOOD",
            "gates": [
                {"kind": "total", "op": ">", "value": "1/2"},
                {"kind": "pass_rate", "op": ">", "value": "2/5"},
                {"kind": "floors"},
                {"kind": "no_veto"},
                {"kind": "defects", "severity": "high", "max": 1},
                {"kind": "category", "category": "security", "min": "1/5"},
            ],
        },
        {
            "name": "FAIR",
            "gates": [{"kind": "total", "op": ">", "value": "1/4"}, {"kind": "no_veto"}],
        },
    ],
)
NAMES = RULES.level_names()
REGISTER = (
    requirement("R1"),
    requirement("R2", critical=True),
    requirement("R3", Category.SECURITY),
    requirement("R4", Category.SECURITY),
    requirement("S", Category.SECURITY, DutyKind.ATTESTATION),
)
STATEMENT = Attestation(
    requirement=RequirementId("S"),
    statement="s",
    person="p",
    role="r",
    date="2026-01-01",
    expires="2026-12-31",
)
Rows = dict[PlannedCheck, Outcome | None]


@st.composite
def runs(draw: st.DrawFn, least: int = 1) -> Rows:
    size = draw(st.integers(least, 7))
    rows: Rows = {}
    for index in range(size):
        verified = draw(st.sets(st.sampled_from(["R1", "R2", "R3", "R4"]), min_size=1, max_size=3))
        check = planned(
            f"functional/a/c{index}",
            *sorted(verified),
            severity=draw(st.sampled_from(list(Severity))),
            veto=draw(st.sampled_from([None, None, None, Veto.DOUBLE_SPEND])),
        )
        good = st.sampled_from([Outcome.PASS] * 5 + list(Outcome))
        rows[check] = draw(good)
    return rows


def judgement_of(rows: Rows) -> Judgement:
    return judged(run_of(rows))


def run_of(rows: Rows) -> RecordedRun:
    return recorded(RULES, rows, register=REGISTER, attestations=(STATEMENT,))


def rank(judgement: Judgement) -> int:
    """Higher is better; INCONCLUSIVE grants nothing, like the bottom level."""
    level = judgement.verdict.level
    return 0 if level == INCONCLUSIVE_LEVEL else len(NAMES) - 1 - NAMES.index(level)


def met(judgement: Judgement, *, without: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    return {
        (level.name, gate.gate)
        for level in judgement.verdict.levels
        for gate in level.gates
        if gate.met and gate.gate not in without
    }


def changed(rows: Rows, pick: int, outcome: Outcome | None) -> tuple[Outcome | None, Rows]:
    check = list(rows)[pick % len(rows)]
    return rows[check], {**rows, check: outcome}


@given(runs(), st.randoms(use_true_random=False))
def test_order_never_changes_anything(rows: Rows, dice: random.Random) -> None:
    run = run_of(rows)
    plan, register, cases = [*run.header.plan], [*run.header.register], [*run.cases]
    for shuffled in (plan, register, cases):
        dice.shuffle(shuffled)
    categories = dict(reversed(list(RULES.categories.items())))
    other = replace(
        run,
        header=replace(run.header, plan=tuple(plan), register=tuple(register)),
        cases=tuple(cases),
    )
    before, after = score(run, RULES), score(other, replace(RULES, categories=categories))
    assert (before.total, before.coverage) == (after.total, after.coverage)
    assert before.pass_rate == after.pass_rate
    assert [c.interval for c in before.categories] == [c.interval for c in after.categories]
    first = decide(run, before, RULES, today=TODAY)
    second = decide(other, after, RULES, today=TODAY)
    assert (first.level, first.exit_code, first.fixes) == (
        second.level,
        second.exit_code,
        second.fixes,
    )


@settings(max_examples=300)
@given(runs(), st.integers(0, 6))
def test_a_failure_never_raises_score_or_level(rows: Rows, pick: int) -> None:
    was, worse = changed(rows, pick, Outcome.FAIL)
    before, after = judgement_of(rows), judgement_of(worse)
    assert after.score.total.lower <= before.score.total.lower
    assert after.score.total.upper <= before.score.total.upper
    assert after.score.pass_rate <= before.score.pass_rate
    # A failure is knowledge; the gates that ask for knowledge are the stated exception.
    assert met(after, without=("all decided",)) <= met(before)
    if was in (Outcome.PASS, Outcome.FAIL, Outcome.NOT_APPLICABLE):
        assert rank(after) <= rank(before)


@given(runs(), st.sampled_from(list(Severity)), st.sampled_from(["R1", "R3"]))
def test_a_failing_check_more_never_raises_score_or_level(
    rows: Rows, severity: Severity, verified: str
) -> None:
    more = {**rows, planned("functional/a/more", verified, severity=severity): Outcome.FAIL}
    before, after = judgement_of(rows), judgement_of(more)
    # The requirement was unknown where nothing checked it: then the lower end was 0 already.
    assert after.score.total.lower <= before.score.total.lower
    assert met(after, without=("all decided",)) <= met(before)


@given(runs(), st.integers(0, 6))
def test_a_failing_case_more_never_raises_score_or_level(rows: Rows, pick: int) -> None:
    check = list(rows)[pick % len(rows)]
    run = run_of(rows)
    more = replace(run, cases=(*run.cases, case(check.id, Outcome.FAIL, "more")))
    before, after = judged(run), judged(more)
    assert after.score.total.lower <= before.score.total.lower
    if rows[check] is Outcome.PASS:
        assert rank(after) <= rank(before)


@settings(max_examples=300)
@given(
    runs(),
    st.integers(0, 6),
    st.sampled_from([Outcome.NOT_EXERCISED, Outcome.INCONCLUSIVE, Outcome.ERROR, None]),
)
def test_nothing_not_run_ever_helps(rows: Rows, pick: int, unknown: Outcome | None) -> None:
    was, less = changed(rows, pick, unknown)
    if was is Outcome.NOT_APPLICABLE:
        return
    before, after = judgement_of(rows), judgement_of(less)
    assert after.score.total.lower <= before.score.total.lower
    assert after.score.coverage <= before.score.coverage
    assert rank(after) <= rank(before)
    assert not (after.verdict.reached and not before.verdict.reached)


@given(runs(), st.integers(0, 6))
def test_leaving_a_check_out_of_the_selection_never_helps(rows: Rows, pick: int) -> None:
    check = list(rows)[pick % len(rows)]
    if rows[check] is Outcome.NOT_APPLICABLE:
        return
    left = replace(check, fixed_outcome=Outcome.NOT_EXERCISED, fixed_reason=NOT_SELECTED)
    less: Rows = {**{c: o for c, o in rows.items() if c is not check}, left: None}
    before, after = judgement_of(rows), judgement_of(less)
    assert after.score.total.lower <= before.score.total.lower
    assert rank(after) <= rank(before)


@given(runs(), st.integers(0, 6))
def test_unknown_widens_the_interval_on_both_sides_or_not_at_all(rows: Rows, pick: int) -> None:
    was, less = changed(rows, pick, Outcome.INCONCLUSIVE)
    if was is Outcome.NOT_APPLICABLE:
        return
    before, after = score(run_of(rows), RULES).total, score(run_of(less), RULES).total
    assert after.lower <= before.lower
    assert after.upper >= before.upper


@given(runs())
def test_scores_stay_in_their_bounds_and_coverage_is_the_decided_share(rows: Rows) -> None:
    result = score(run_of(rows), RULES)
    for interval in (result.total, *(c.interval for c in result.categories)):
        assert 0 <= interval.lower <= interval.upper <= 1
    assert result.total.lower <= result.coverage
    weighted = sum((c.weight * c.coverage for c in result.categories), Fraction(0))
    assert result.coverage == weighted


@given(runs())
def test_each_fix_gives_what_it_promises(rows: Rows) -> None:
    before = judgement_of(rows)
    for fix in before.verdict.fixes:
        fixed = {c: Outcome.PASS if c.id == fix.check else o for c, o in rows.items()}
        after = judgement_of(fixed)
        assert after.score.total.lower == fix.total_after
        assert after.verdict.level == fix.level_after


def test_the_stated_exception_an_unknown_that_turns_out_a_tolerated_defect() -> None:
    """Only `all decided` was missing: knowing the low defect lifts; failing it never did."""
    rows: Rows = {
        planned(f"functional/a/p{i}", *["R1", "R2", "R3", "R4"]): Outcome.PASS for i in range(9)
    }
    low = planned("functional/a/low", "R1", severity=Severity.LOW)
    unknown = judgement_of({**rows, low: Outcome.INCONCLUSIVE})
    failed = judgement_of({**rows, low: Outcome.FAIL})
    passed = judgement_of({**rows, low: Outcome.PASS})
    assert [j.verdict.level for j in (unknown, failed, passed)] == ["GOOD", "BEST", "BEST"]
