"""One function for each kind of gate: what it requires, what was observed, what would lift it.

Every gate looks at the worst case that the evidence allows. An undecided check counts as a
potential defect and, where it guards one, as a potential veto; so leaving a check out never helps
where running it would have failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING

from certification.bounds import bound_meets, lower_bound
from certification.display import display, percent
from certification.model import DutyKind, Outcome
from certification.outcomes import raises_veto
from certification.profile_gates import Gate, GateKind
from certification.results import (
    CheckResult,
    GateResult,
    RecordedRun,
    RequirementScore,
    Score,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from certification.profile import Profile

_NAMED_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a gate may look at."""

    run: RecordedRun
    score: Score
    profile: Profile
    degradations: tuple[str, ...] | None
    """What became slower than in the baseline; None without a baseline."""


def check_gate(gate: Gate, facts: Facts) -> GateResult:
    """Answer one gate."""
    return _RULES[gate.kind](gate, facts)


def undecided(score: Score) -> tuple[CheckResult, ...]:
    """Return the applicable checks that neither passed nor failed."""
    return tuple(
        r for r in score.checks if not r.outcome.decided and r.outcome is not Outcome.NOT_APPLICABLE
    )


def scored_requirements(score: Score) -> tuple[RequirementScore, ...]:
    """Return the requirements that count in some category."""
    return tuple(
        row for category in score.categories for row in category.requirements if row.interval
    )


def _total(gate: Gate, facts: Facts) -> GateResult:
    lower = facts.score.total.lower
    return GateResult(
        gate="total",
        required=f"{gate.op} {_number(gate.value)}",
        observed=display(lower, thresholds=(gate.value,)),
        met=_compare(lower, gate),
        lift=_lift(facts.score.checks),
    )


def _category(gate: Gate, facts: Facts) -> GateResult:
    name = gate.category.value if gate.category else ""
    row = next((c for c in facts.score.categories if c.category is gate.category), None)
    lower = row.interval.lower if row else Fraction(0)
    mine = {check for r in row.requirements for check in r.checks} if row else set()
    return GateResult(
        gate=f"category {name}",
        required=f">= {_number(gate.value)}",
        observed=display(lower, thresholds=(gate.value,)) if row else "not in this profile",
        met=row is not None and lower >= gate.value,
        lift=_lift(c for c in facts.score.checks if c.check.id in mine),
    )


def _requirements(gate: Gate, facts: Facts) -> GateResult:
    rows = [r for r in scored_requirements(facts.score) if _matches(r.id, gate.requirements)]
    mine = {check for r in rows for check in r.checks}
    checks = [c for c in facts.score.checks if c.check.id in mine]
    lower = _mean_lower(rows, facts.profile)
    observed = display(lower, thresholds=(gate.value,)) if rows else "no such requirement applies"
    met = bool(rows) and lower >= gate.value
    required = f">= {_number(gate.value)}"
    if gate.bound_95:
        trials = [case.outcome for c in checks for case in c.cases]
        silent = sum(1 for c in checks if not c.cases and c.outcome is not Outcome.NOT_APPLICABLE)
        k, n = trials.count(Outcome.PASS), len(trials) + silent
        met, words = _with_bound(k, n, gate.value, met=met)
        observed, required = f"{observed}; {words}", f"{required}, and its 95 % bound"
    return GateResult(
        gate=f"requirements {', '.join(gate.requirements)}",
        required=required,
        observed=observed,
        met=met,
        lift=_lift(checks) or _first_open(rows),
    )


def _pass_rate(gate: Gate, facts: Facts) -> GateResult:
    applicable = [c for c in facts.score.checks if c.outcome is not Outcome.NOT_APPLICABLE]
    passed = sum(1 for c in applicable if c.outcome is Outcome.PASS)
    rate = facts.score.pass_rate
    met = bool(applicable) and _compare(rate, gate)
    observed = f"{passed}/{len(applicable)} = {display(rate, thresholds=(gate.value,))}"
    required = f"{gate.op} {_number(gate.value)}"
    if gate.bound_95:
        met, words = _with_bound(passed, len(applicable), gate.value, met=met)
        observed, required = f"{observed}; {words}", f"{required}, and its 95 % bound"
    return GateResult(
        gate="pass rate",
        required=required,
        observed=observed,
        met=met,
        lift=_lift(facts.score.checks),
    )


def _critical_scenarios(gate: Gate, facts: Facts) -> GateResult:
    rows = [
        r
        for r in scored_requirements(facts.score)
        if r.critical and _matches(r.id, gate.requirements)
    ]
    open_rows = [r for r in rows if r.interval and r.interval.lower < 1]
    observed = f"{len(rows) - len(open_rows)}/{len(rows)}" if rows else "none applies"
    return GateResult(
        gate="critical scenarios",
        required="all, in full",
        observed=observed,
        met=bool(rows) and not open_rows,
        lift=_first_open(open_rows),
    )


def _defects(gate: Gate, facts: Facts) -> GateResult:
    def mine(result: CheckResult) -> bool:
        in_area = gate.area is None or fnmatchcase(result.check.id, gate.area)
        return result.check.severity is gate.severity and in_area

    failed = [r for r in facts.score.checks if r.outcome is Outcome.FAIL and mine(r)]
    possible = [r for r in undecided(facts.score) if mine(r)]
    noted = {w.check for w in facts.run.header.workarounds}
    bare = [r for r in (*failed, *possible) if r.check.id not in noted]
    met = len(failed) + len(possible) <= gate.value
    required = f"at most {gate.value}"
    observed = f"{len(failed)} failed"
    if possible:
        observed += f", {len(possible)} undecided that could be"
    if gate.workaround_required:
        required += ", each with a workaround noted"
        observed += f", {len(bare)} without a workaround"
        met = met and not bare
    severity = gate.severity.value if gate.severity else ""
    return GateResult(
        gate=f"{severity} defects{f' in {gate.area}' if gate.area else ''}",
        required=required,
        observed=observed,
        met=met,
        lift=_name("fix", failed) or _name("decide", possible),
    )


def _floors(_gate: Gate, facts: Facts) -> GateResult:
    low = [c for c in facts.score.categories if c.floor is not None and c.interval.lower < c.floor]
    floors = [c for c in facts.score.categories if c.floor is not None]
    below = ", ".join(
        f"{c.category.value} {display(c.interval.lower)} < {_number(c.floor)}"
        for c in low
        if c.floor is not None
    )
    mine = {check for c in low for r in c.requirements for check in r.checks}
    return GateResult(
        gate="category floors",
        required="every category at its floor",
        observed=below or f"all {len(floors)} at or above",
        met=not low,
        lift=_lift(c for c in facts.score.checks if c.check.id in mine),
    )


def _all_decided(_gate: Gate, facts: Facts) -> GateResult:
    checks = undecided(facts.score)
    bare = [
        r
        for r in scored_requirements(facts.score)
        if not r.checks and not r.attested and r.interval and not r.interval.decided
    ]
    observed = f"{len(checks)} checks undecided, {len(bare)} requirements with nothing to show"
    return GateResult(
        gate="all decided",
        required="no planned check and no requirement undecided",
        observed=observed,
        met=not checks and not bare,
        lift=_name("decide", checks) or _first_open(bare),
    )


def _no_waiver(_gate: Gate, facts: Facts) -> GateResult:
    waivers = facts.run.header.waivers
    return GateResult(
        gate="no waiver",
        required="0",
        observed=str(len(waivers)),
        met=not waivers,
        lift=f"fix {waivers[0].check} and remove its waiver" if waivers else None,
    )


def _failed_on_form(score: Score) -> list[CheckResult]:
    """Return failed checks that leave open whether the effect that they guard is there."""
    return [r for r in score.checks if r.outcome is Outcome.FAIL and not raises_veto(r)]


def _no_veto(_gate: Gate, facts: Facts) -> GateResult:
    active = facts.score.vetoes
    open_checks = [*undecided(facts.score), *_failed_on_form(facts.score)]
    possible = [r for r in open_checks if r.check.veto is not None]
    observed = ", ".join(f"{veto.value} by {check}" for veto, check in active) or "none"
    if possible:
        observed += f"; {len(possible)} undecided checks could raise one"
    return GateResult(
        gate="no veto",
        required="none, and every check that guards one decided",
        observed=observed,
        met=not active and not possible,
        lift=f"fix {active[0][1]}" if active else _name("decide", possible),
    )


def _modules_declared(_gate: Gate, facts: Facts) -> GateResult:
    target = facts.run.header.target
    declared = frozenset(target.modules) if target else frozenset()
    required = sorted(module.value for module in facts.profile.modules_required)
    missing = [name for name in required if name not in declared]
    return GateResult(
        gate="modules declared",
        required=", ".join(required) or "none",
        observed=f"missing: {', '.join(missing)}" if missing else "all",
        met=not missing,
        lift=f"implement and declare the module {missing[0]}" if missing else None,
    )


def _no_degradation(_gate: Gate, facts: Facts) -> GateResult:
    slower = facts.degradations
    if slower is None:
        return GateResult(
            gate="no degradation",
            required="nothing slower than the baseline",
            observed="no baseline given",
            met=False,
            applies=False,
        )
    return GateResult(
        gate="no degradation",
        required="nothing slower than the baseline",
        observed=", ".join(slower) or "none",
        met=not slower,
        lift=f"make {slower[0]} as fast as in the baseline" if slower else None,
    )


def _coverage(gate: Gate, facts: Facts) -> GateResult:
    return GateResult(
        gate="coverage",
        required=f">= {percent(gate.value)}",
        observed=percent(facts.score.coverage, 1),
        met=facts.score.coverage >= gate.value,
        lift=_name("decide", undecided(facts.score)),
    )


_RULES: dict[GateKind, Callable[[Gate, Facts], GateResult]] = {
    GateKind.TOTAL: _total,
    GateKind.CATEGORY: _category,
    GateKind.REQUIREMENTS: _requirements,
    GateKind.PASS_RATE: _pass_rate,
    GateKind.CRITICAL_SCENARIOS: _critical_scenarios,
    GateKind.DEFECTS: _defects,
    GateKind.FLOORS: _floors,
    GateKind.ALL_DECIDED: _all_decided,
    GateKind.NO_WAIVER: _no_waiver,
    GateKind.NO_VETO: _no_veto,
    GateKind.MODULES_DECLARED: _modules_declared,
    GateKind.NO_DEGRADATION: _no_degradation,
    GateKind.COVERAGE: _coverage,
}


def _compare(value: Fraction, gate: Gate) -> bool:
    return value > gate.value if gate.op == ">" else value >= gate.value


def _with_bound(k: int, n: int, rate: Fraction, *, met: bool) -> tuple[bool, str]:
    """Return whether point estimate and bound meet the rate, and both in words."""
    shown = bound_meets(k, n, rate)
    point, bound = ("meets" if answer else "does not meet" for answer in (met, shown))
    at = display(lower_bound(k, n))
    return met and shown, f"the point estimate {point}, {k}/{n}: the bound {at} {bound}"


def _mean_lower(rows: list[RequirementScore], profile: Profile) -> Fraction:
    """Return the weighted mean; shares of two categories cannot be compared, their weights can."""
    whole = lower = Fraction(0)
    for row in rows:
        weight = profile.requirement_weight_critical if row.critical else profile.requirement_weight
        whole += weight
        lower += weight * (row.interval.lower if row.interval else 0)
    return lower / whole if whole else Fraction(0)


def _lift(checks: Iterable[CheckResult]) -> str | None:
    """Name the check whose passing would raise the total most."""
    open_checks = [c for c in checks if c.lost_total]
    if not open_checks:
        return None
    best = max(open_checks, key=lambda c: (c.lost_total, c.check.id))
    verb = "fix" if best.outcome is Outcome.FAIL else "decide"
    return f"{verb} {best.check.id} (+{display(best.lost_total, 4)} of the total)"


def _first_open(rows: list[RequirementScore]) -> str | None:
    for row in rows:
        if row.interval and row.interval.lower < 1:
            what = "attest" if row.kind is DutyKind.ATTESTATION else "show"
            return f"{what} {row.id}: {row.reason or 'its checks fail'}"
    return None


def _name(verb: str, results: list[CheckResult] | tuple[CheckResult, ...]) -> str | None:
    if not results:
        return None
    names = ", ".join(r.check.id for r in results[:_NAMED_MAX])
    more = len(results) - _NAMED_MAX
    return f"{verb} {names}{f' and {more} more' if more > 0 else ''}"


def _matches(requirement: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(requirement, glob) for glob in globs)


def _number(value: Fraction) -> str:
    """Write a threshold exactly: as a decimal where it is one, else as a fraction."""
    for digits in range(2, 7):
        if (value * 10**digits).denominator == 1:
            return display(value, digits)
    return str(value)
