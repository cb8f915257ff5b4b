"""From the cases of a run to one outcome for each planned check."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING

from certification.errors import EvidenceError
from certification.model import (
    OUTCOME_RANK,
    CaseResult,
    Finding,
    Measurement,
    Outcome,
    PlannedCheck,
)
from certification.results import CheckResult, RecordedRun

if TYPE_CHECKING:
    from certification.profile import Profile, Target

UNREPORTED = "planned but unreported"
"""The reason of a check that the plan names and no record does."""
NO_OBSERVATION = "no observation"
"""The reason of a case that claims PASS without having seen anything."""


def check_results(run: RecordedRun, profile: Profile) -> tuple[CheckResult, ...]:
    """Give each check that `profile` plans one outcome: the worst of its cases and measurements.

    A check that the header's plan names and the profile does not is left out. `lost_total` is 0:
    `scoring.assemble` fills it. Raises EvidenceError where the plan names a check twice.
    """
    cases: dict[str, list[CaseResult]] = defaultdict(list)
    for case in run.cases:
        cases[case.check].append(case)
    measurements: dict[str, list[Measurement]] = defaultdict(list)
    for measurement in run.measurements:
        measurements[measurement.check].append(measurement)
    waived = {waiver.check for waiver in run.header.waivers}
    seen: set[str] = set()
    results = []
    for planned in run.header.plan:
        if planned.id in seen:
            raise EvidenceError(f"the plan names the check {planned.id} twice")
        seen.add(planned.id)
        if not profile.plans(planned.id):
            continue
        check = _replanned(planned, run, profile)
        recorded = [_effective(case, check, profile) for case in cases[check.id]]
        measured = [
            case for m in measurements[check.id] for case in measured_cases(m, profile.targets)
        ]
        results.append(_result(check, recorded, measured, waived=check.id in waived))
    return tuple(results)


def raises_veto(result: CheckResult) -> bool:
    """Whether a failure shows the effect that its check guards.

    A check that failed on the form of an answer, or was failed by planning, says nothing of it.
    """
    if result.outcome is not Outcome.FAIL or result.check.fixed_outcome is not None:
        return False
    return not result.findings or any(not finding.form_only for finding in result.findings)


def judge_measurement(measurement: Measurement, target: Target) -> Outcome:
    """Compare a measurement with a target: PASS or FAIL only where the whole interval says so.

    A number is read as its decimal text, so that a measured 0.1 is not above a target of 0.1.
    Without a confidence interval the value stands for itself; with half of one, the other side is
    unknown.
    """
    if measurement.unit != target.unit or measurement.n < 1:
        return Outcome.INCONCLUSIVE
    value = _exact(measurement.value)
    lower, upper = _exact(measurement.lower), _exact(measurement.upper)
    if lower is None and upper is None:
        lower = upper = value
    if lower is not None and upper is not None and lower > upper:
        return Outcome.INCONCLUSIVE
    below = target.op in ("<", "<=")
    near, far = (upper, lower) if below else (lower, upper)
    if near is not None and _meets(near, target):
        return Outcome.PASS
    if far is not None and not _meets(far, target):
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE


def measured_cases(measurement: Measurement, targets: tuple[Target, ...]) -> list[CaseResult]:
    """Return a case for each target that the measurement is compared with."""
    return [
        _measured_case(measurement, target)
        for target in targets
        if fnmatchcase(measurement.name, target.metric)
    ]


def _measured_case(measurement: Measurement, target: Target) -> CaseResult:
    outcome = judge_measurement(measurement, target)
    expected = f"{measurement.name} {target.op} {target.value} {target.unit}"
    observed = f"{measurement.value} {measurement.unit} (n = {measurement.n}"
    if measurement.lower is not None or measurement.upper is not None:
        observed += f", interval {measurement.lower} to {measurement.upper}"
    observed += ")"
    finding = Finding(
        message=f"target {target.name!r} is missed", expected=expected, observed=observed
    )
    return CaseResult(
        check=measurement.check,
        case=f"target {target.name}",
        outcome=outcome,
        reason=None if outcome is Outcome.PASS else f"{observed}; the target is {expected}",
        findings=(finding,) if outcome is Outcome.FAIL else (),
        observations=measurement.n,
    )


def _replanned(check: PlannedCheck, run: RecordedRun, profile: Profile) -> PlannedCheck:
    """Decide again what the modules decide, where another profile is asked than was planned."""
    if profile.sha256 == run.header.profile_sha256 or run.header.target is None:
        return check
    by_module = profile.module_outcome(check, frozenset(run.header.target.modules))
    if by_module is not None:
        return replace(check, fixed_outcome=by_module[0], fixed_reason=by_module[1])
    if check.fixed_outcome in (Outcome.NOT_APPLICABLE, Outcome.FAIL):
        # Cannot follow from the modules under this profile: nobody has looked.
        return replace(
            check, fixed_outcome=Outcome.NOT_EXERCISED, fixed_reason="not planned at the time"
        )
    return check


def _effective(case: CaseResult, check: PlannedCheck, profile: Profile) -> CaseResult:
    """Return the case as it counts: a pass on retry is not a pass, nor is one that saw nothing."""
    attempts = case.attempts
    retried = bool(attempts) and attempts[-1] is Outcome.PASS and Outcome.FAIL in attempts
    if retried and case.outcome is not Outcome.ERROR:
        # What raises a veto is never excused as flaky.
        outcome = Outcome.FAIL if check.veto is not None else profile.flaky
        return replace(case, outcome=outcome, reason=case.reason or "failed, then passed")
    if case.outcome is Outcome.PASS and case.observations < 1:
        return replace(case, outcome=Outcome.ERROR, reason=NO_OBSERVATION)
    return case


def _result(
    check: PlannedCheck, recorded: list[CaseResult], measured: list[CaseResult], *, waived: bool
) -> CheckResult:
    cases = [*recorded, *measured]
    outcomes = [(case.outcome, case.reason) for case in cases]
    if check.fixed_outcome is not None:
        outcomes.append((check.fixed_outcome, check.fixed_reason))
    elif not recorded:
        outcomes.append((Outcome.ERROR, UNREPORTED))
    outcome, reason = max(outcomes, key=lambda pair: OUTCOME_RANK[pair[0]])
    by_case: dict[str, set[Outcome]] = defaultdict(set)
    for case in recorded:
        by_case[case.case].add(case.outcome)
    repeated = any(len(found) > 1 for found in by_case.values())
    if reason is None and outcome.needs_reason:
        reason = "no reason given"
    return CheckResult(
        check=check,
        outcome=outcome,
        reason=reason if outcome.needs_reason else None,
        findings=tuple(finding for case in cases for finding in case.findings),
        cases=tuple(cases),
        flaky=repeated or any(case.flaky for case in recorded),
        waived=waived,
        duration_ms=sum(case.duration_ms for case in recorded),
        lost_total=Fraction(0),
    )


def _meets(value: Fraction, target: Target) -> bool:
    if target.op == "<":
        return value < target.value
    if target.op == "<=":
        return value <= target.value
    if target.op == ">":
        return value > target.value
    return value >= target.value


def _exact(value: float | None) -> Fraction | None:
    return None if value is None else Fraction(repr(value))
