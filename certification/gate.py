"""The verdict: which level the lower end of the score reaches, and whether the run can carry one.

What is promised about failures, and tested:

- Turning a passed check into a failed one, adding a failing case, or a failing check to the plan,
  never raises the score or the level.
- Not running something never helps: no outcome turned into NOT_EXERCISED, and no record left out,
  raises the lower end or the level. Undecided checks count as potential defects and vetoes.
- Turning an *undecided* check into a failed one leaves every gate as it was or worse, with two
  exceptions: `all_decided` and `coverage` ask for knowledge, and a failure is knowledge. A run that
  lacked nothing else may therefore rise when an unknown turns out to be a tolerated, low defect. No
  rule that blocks on unknowns and tolerates low defects can have it otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from certification.display import percent
from certification.errors import EvidenceError, ExitCode
from certification.gate_rules import Facts, check_gate, undecided
from certification.model import Outcome, Severity
from certification.results import (
    INCONCLUSIVE_LEVEL,
    NOT_SELECTED,
    SELECTION_PASSED,
    CheckResult,
    Fix,
    LevelResult,
    RecordedRun,
    Score,
    Verdict,
)
from certification.scoring import assemble, iso_day
from certification.soundness import faults, not_certifiable

if TYPE_CHECKING:
    from datetime import date
    from fractions import Fraction

    from certification.profile import Profile

FIXES_MAX = 25
_SEVERITIES = tuple(Severity)


def decide(
    run: RecordedRun,
    score: Score,
    profile: Profile,
    *,
    today: date,
    degradations: tuple[str, ...] | None = None,
) -> Verdict:
    """Decide a scored run; the only place where a level is given.

    `today` dates the waivers; `degradations` comes from a comparison, None without a baseline.
    `remedy` of each fix is empty: the report knows the catalogue. Raises EvidenceError where the
    requested level is none of the profile's, though the run was made with this profile.
    """
    facts = Facts(run=run, score=score, profile=profile, degradations=degradations)
    broken = faults(run, score, profile)
    levels = tuple(_level(facts, index) for index in range(len(profile.levels)))
    level, thin = _granted(facts, levels, broken)
    requested = _requested(run, profile)
    waiver_faults = _waiver_faults(run, score, today)
    reached = not waiver_faults and _reached(facts, level, requested, broken)
    reference = profile.reference_total
    return Verdict(
        level=level,
        requested_level=requested,
        reached=reached,
        inconclusive=(*broken, *thin),
        levels=levels,
        vetoes=score.vetoes,
        waiver_faults=waiver_faults,
        not_certifiable=not_certifiable(run),
        fixes=_fixes(facts, broken),
        reference=reference,
        beats_reference=None if reference is None else score.total.lower > reference,
        exit_code=_exit_code(
            facts,
            reached=reached,
            inconclusive=level == INCONCLUSIVE_LEVEL,
            broken=bool(broken),
            waiver_faults=bool(waiver_faults),
        ),
    )


def _level(facts: Facts, index: int) -> LevelResult:
    level = facts.profile.levels[index]
    gates = tuple(check_gate(gate, facts) for gate in level.gates)
    return LevelResult(
        name=level.name, gates=gates, met=all(gate.met for gate in gates if gate.applies)
    )


def _granted(
    facts: Facts, levels: tuple[LevelResult, ...], broken: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Return the level, and why the coverage is too thin where that alone makes it INCONCLUSIVE."""
    if broken:
        return INCONCLUSIVE_LEVEL, ()
    profile, score = facts.profile, facts.score
    names = profile.level_names()
    best = next((level.name for level in levels if level.met), profile.levels_otherwise)
    caps = [profile.vetoes[veto] for veto, _check in score.vetoes if veto in profile.vetoes]
    # False before unknown: a veto is certain, however little else was seen.
    if not caps and score.coverage < profile.coverage_min:
        return INCONCLUSIVE_LEVEL, (
            (
                f"coverage {percent(score.coverage, 1)} is below the minimum of "
                f"{percent(profile.coverage_min, 1)}"
            ),
        )
    return max((best, *caps), key=names.index), ()


def _requested(run: RecordedRun, profile: Profile) -> str:
    """Return the level asked for; under another profile than the run's, that profile's default."""
    requested = run.header.requested_level
    if run.header.selection is not None and requested == SELECTION_PASSED:
        return requested
    if requested in profile.level_names():
        return requested
    if profile.sha256 != run.header.profile_sha256:
        return profile.default_level
    raise EvidenceError(
        f"the requested level {requested!r} is not one of {', '.join(profile.level_names())}"
    )


def _reached(facts: Facts, level: str, requested: str, broken: tuple[str, ...]) -> bool:
    if broken:
        return False
    if requested == SELECTION_PASSED:
        outcomes = [r.outcome for r in _selected(facts.score)]
        harmless = all(o in (Outcome.PASS, Outcome.NOT_APPLICABLE) for o in outcomes)
        return harmless and Outcome.PASS in outcomes
    names = facts.profile.level_names()
    return level in names and names.index(level) <= names.index(requested)


def _selected(score: Score) -> tuple[CheckResult, ...]:
    return tuple(r for r in score.checks if r.check.fixed_reason != NOT_SELECTED)


def _exit_code(
    facts: Facts, *, reached: bool, inconclusive: bool, broken: bool, waiver_faults: bool
) -> int:
    if _interrupted(facts.run):
        return ExitCode.INTERRUPTED
    if waiver_faults:
        return ExitCode.NOT_REACHED
    if reached:
        return ExitCode.REACHED
    if broken:
        return ExitCode.INCONCLUSIVE
    if _requested(facts.run, facts.profile) == SELECTION_PASSED:
        failed = any(r.outcome is Outcome.FAIL for r in _selected(facts.score))
        return ExitCode.NOT_REACHED if failed else ExitCode.INCONCLUSIVE
    return ExitCode.INCONCLUSIVE if inconclusive else ExitCode.NOT_REACHED


def _interrupted(run: RecordedRun) -> bool:
    by_footer = run.footer is not None and run.footer.ended == "interrupted"
    return by_footer or any(i.what == "interrupted" for i in run.incidents)


def _waiver_faults(run: RecordedRun, score: Score, today: date) -> tuple[str, ...]:
    """Name each waiver that is expired, or stale: its check passes or is not planned."""
    planned = {check.id for check in run.header.plan}
    passed = {r.check.id for r in score.checks if r.outcome is Outcome.PASS}
    found = []
    for waiver in run.header.waivers:
        if iso_day(waiver.expires, f"the expiry of the waiver of {waiver.check}") < today:
            found.append(f"the waiver of {waiver.check} expired on {waiver.expires}")
        if waiver.check not in planned:
            found.append(f"the waiver of {waiver.check} is stale: no such check is planned")
        elif waiver.check in passed:
            found.append(f"the waiver of {waiver.check} is stale: the check passes")
    return tuple(found)


def _fixes(facts: Facts, broken: tuple[str, ...]) -> tuple[Fix, ...]:
    """Return what to fix first: failed checks before undecided ones, most gain first.

    In a partial run only of what was selected: the rest was left out on purpose.
    """

    def order(result: CheckResult) -> tuple[bool, Fraction, int, str]:
        unknown = result.outcome is not Outcome.FAIL
        severity = _SEVERITIES.index(result.check.severity)
        return unknown, -result.lost_total, severity, result.check.id

    failed = [r for r in facts.score.checks if r.outcome is Outcome.FAIL]
    unmet = {r.check.id for r in (*failed, *undecided(facts.score))}
    chosen = sorted((r for r in _selected(facts.score) if r.check.id in unmet), key=order)
    return tuple(_fix(facts, result, broken) for result in chosen[:FIXES_MAX])


def _fix(facts: Facts, result: CheckResult, broken: tuple[str, ...]) -> Fix:
    passed = replace(result, outcome=Outcome.PASS, reason=None)
    results = tuple(passed if r is result else r for r in facts.score.checks)
    after = replace(facts, score=assemble(results, facts.run.header, facts.profile))
    levels = tuple(_level(after, index) for index in range(len(facts.profile.levels)))
    failed = result.outcome is Outcome.FAIL
    return Fix(
        check=result.check.id,
        title=result.check.failure_title if failed else result.check.title,
        severity=result.check.severity,
        gain=after.score.total.lower - facts.score.total.lower,
        total_after=after.score.total.lower,
        level_after=_granted(after, levels, broken)[0],
        remedy="",
    )
