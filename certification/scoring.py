"""Exact scores from outcomes: requirement, category, total, each an interval with its coverage."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING

from certification.errors import EvidenceError
from certification.model import Category, DutyKind, Header, Outcome, Requirement, Severity
from certification.outcomes import check_results, judge_measurement, raises_veto
from certification.results import (
    CategoryScore,
    CheckResult,
    Interval,
    RecordedRun,
    RequirementScore,
    Score,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from certification.profile import Profile

SCORING_VERSION = "1"
"""Changes with every change of a rule below; recorded in header and certificate."""

ZERO, ONE = Fraction(0), Fraction(1)
UNKNOWN = Interval(lower=ZERO, upper=ONE)

NO_CHECK = "no check yet"
NO_ATTESTATION = "no attestation"

_DECIDED = {
    Outcome.PASS: Interval(lower=ONE, upper=ONE),
    Outcome.FAIL: Interval(lower=ZERO, upper=ZERO),
}


def score(run: RecordedRun, profile: Profile) -> Score:
    """Score a recorded run under a profile; reads nothing but the two.

    Raises EvidenceError where the header contradicts itself (an id twice, a date that is none).
    """
    if run.header.source == "reported":
        return _reported(run, profile)
    return assemble(check_results(run, profile), run.header, profile)


def assemble(results: tuple[CheckResult, ...], header: Header, profile: Profile) -> Score:
    """Score decided checks: `score` without the reading of cases, so that "what if" costs little.

    The order of `results`, of the register and of the profile's categories does not matter.
    """
    by_requirement: dict[str, list[CheckResult]] = defaultdict(list)
    for result in results:
        for requirement in dict.fromkeys(result.check.requirements):
            by_requirement[requirement].append(result)
    duties = _Duties(
        header=header,
        profile=profile,
        checks=by_requirement,
        attested=_attested(header),
    )
    rows, unscored = _rows(duties)
    categories = tuple(
        _category(category, rows[category], profile)
        for category in Category
        if category in profile.categories
    )
    total = _mean((c.weight, c.interval) for c in categories)
    applicable = [r for r in results if r.outcome is not Outcome.NOT_APPLICABLE]
    passed = sum(1 for r in applicable if r.outcome is Outcome.PASS)
    return Score(
        total=total,
        coverage=ONE - (total.upper - total.lower),
        categories=categories,
        checks=_with_losses(results, categories, by_requirement, profile),
        unscored=unscored,
        pass_rate=Fraction(passed, len(applicable)) if applicable else ZERO,
        defects={
            severity: sum(
                1 for r in results if r.outcome is Outcome.FAIL and r.check.severity is severity
            )
            for severity in Severity
        },
        vetoes=tuple(
            (r.check.veto, r.check.id)
            for r in results
            if r.check.veto is not None and raises_veto(r)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Duties:
    """What the rows of the register are scored from."""

    header: Header
    profile: Profile
    checks: Mapping[str, list[CheckResult]]
    attested: frozenset[str]

    def unscored_because(self, requirement: Requirement) -> str | None:
        """Return why a requirement has no place in the score of a target; None where it has."""
        if requirement.kind is DutyKind.OWN_TEST:
            return "shown by the project's own tests"
        if requirement.kind is DutyKind.NOT_TESTED:
            return requirement.reason or "not tested"
        if requirement.category is None:
            return "a duty of the harness"
        if requirement.category not in self.profile.categories:
            return "its category is not in this profile"
        if self.profile.scope == "selected" and not self.checks.get(requirement.id):
            return "not among the requirements that this profile selects"
        return None

    def row(self, requirement: Requirement) -> RequirementScore:
        """Score one requirement; its weight is still that of the profile, not a share."""
        weight = (
            self.profile.requirement_weight_critical
            if requirement.critical
            else self.profile.requirement_weight
        )
        interval: Interval | None
        attested = False
        if requirement.kind is DutyKind.ATTESTATION:
            attested = requirement.id in self.attested
            interval = Interval(lower=ONE, upper=ONE) if attested else UNKNOWN
            reason = None if attested else NO_ATTESTATION
        else:
            interval, reason = _of_checks(self.checks.get(requirement.id, []), self.profile)
        return RequirementScore(
            id=requirement.id,
            text=requirement.text,
            category=requirement.category,
            kind=requirement.kind,
            critical=requirement.critical,
            weight=ZERO if interval is None else weight,
            interval=interval,
            reason=reason,
            checks=tuple(r.check.id for r in self.checks.get(requirement.id, [])),
            attested=attested,
        )


def _rows(
    duties: _Duties,
) -> tuple[dict[Category, list[RequirementScore]], tuple[RequirementScore, ...]]:
    rows: dict[Category, list[RequirementScore]] = defaultdict(list)
    unscored: list[RequirementScore] = []
    seen: set[str] = set()
    for requirement in duties.header.register:
        if requirement.id in seen:
            raise EvidenceError(f"the register names the requirement {requirement.id} twice")
        seen.add(requirement.id)
        row = duties.row(requirement)
        reason = duties.unscored_because(requirement)
        if reason is not None or requirement.category is None:
            unscored.append(replace(row, weight=ZERO, interval=None, reason=reason))
        else:
            rows[requirement.category].append(row)
    return rows, tuple(unscored)


def _of_checks(checks: list[CheckResult], profile: Profile) -> tuple[Interval | None, str | None]:
    """Return the weighted mean over a requirement's checks, and why it is undecided."""
    if not checks:
        return UNKNOWN, NO_CHECK
    applicable = [c for c in checks if c.outcome is not Outcome.NOT_APPLICABLE]
    if not applicable:
        return None, checks[0].reason
    interval = _mean(
        (profile.severity_weights[c.check.severity], _DECIDED.get(c.outcome, UNKNOWN))
        for c in applicable
    )
    undecided = [c for c in applicable if not c.outcome.decided]
    if not undecided:
        return interval, None
    first = min(undecided, key=lambda c: c.check.id)
    return interval, f"{first.check.id}: {first.outcome.value}, {first.reason}"


def _category(category: Category, rows: list[RequirementScore], profile: Profile) -> CategoryScore:
    """Weigh the requirements of one category.

    Attestations together weigh at most `attestation_share_max` of it. Where no check applies, the
    rest is unknown: a category does not drop out, and statements alone do not carry it.
    """
    checked = sum((r.weight for r in rows if r.kind is DutyKind.CHECK), ZERO)
    stated = sum((r.weight for r in rows if r.kind is DutyKind.ATTESTATION), ZERO)
    most = profile.attestation_share_max
    if checked:
        allowed = min(stated, most / (ONE - most) * checked)
        whole = checked + allowed
    else:
        allowed, whole = most if stated else ZERO, ONE
    scale = allowed / stated if stated else ZERO
    shared = tuple(
        replace(
            row,
            weight=row.weight / whole * (scale if row.kind is DutyKind.ATTESTATION else ONE),
        )
        for row in rows
    )
    lower = sum((r.weight * r.interval.lower for r in shared if r.interval), ZERO)
    upper = sum((r.weight * r.interval.upper for r in shared if r.interval), ZERO)
    if not checked:
        upper += ONE - allowed
    rule = profile.categories[category]
    return CategoryScore(
        category=category,
        weight=rule.weight,
        interval=Interval(lower=lower, upper=upper),
        coverage=ONE - (upper - lower),
        requirements=shared,
        floor=rule.floor,
    )


def _with_losses(
    results: tuple[CheckResult, ...],
    categories: tuple[CategoryScore, ...],
    by_requirement: Mapping[str, list[CheckResult]],
    profile: Profile,
) -> tuple[CheckResult, ...]:
    """Fill in what each check that is not passed takes from the total's lower end."""
    lost: dict[str, Fraction] = defaultdict(Fraction)
    weights = profile.severity_weights
    for category in categories:
        for row in category.requirements:
            if row.kind is not DutyKind.CHECK or not row.weight:
                continue
            checks = [
                c for c in by_requirement.get(row.id, ()) if c.outcome is not Outcome.NOT_APPLICABLE
            ]
            whole = sum((weights[c.check.severity] for c in checks), ZERO)
            for check in checks:
                if check.outcome is not Outcome.PASS:
                    share = weights[check.check.severity] / whole
                    lost[check.check.id] += category.weight * row.weight * share
    return tuple(replace(r, lost_total=lost[r.check.id]) for r in results)


def _attested(header: Header) -> frozenset[str]:
    """Return the requirements with a statement in force on the day of the run."""
    if not header.attestations:
        return frozenset()
    day = iso_day(header.started_at[:10], "the header's started_at")
    return frozenset(
        a.requirement
        for a in header.attestations
        if iso_day(a.date, f"the date of the attestation of {a.requirement}")
        <= day
        <= iso_day(a.expires, f"the expiry of the attestation of {a.requirement}")
    )


def _reported(run: RecordedRun, profile: Profile) -> Score:
    """Score figures that a document states; nothing was observed, so there are no checks."""
    stated: dict[Category, Fraction] = {}
    for record in run.reported:
        if record.category in stated:
            raise EvidenceError(f"the category {record.category.value} is reported twice")
        stated[record.category] = _share(record.score, record.category)
    categories = tuple(
        CategoryScore(
            category=category,
            weight=profile.categories[category].weight,
            interval=Interval(lower=stated[category], upper=stated[category])
            if category in stated
            else UNKNOWN,
            coverage=ONE if category in stated else ZERO,
            requirements=(),
            floor=profile.categories[category].floor,
        )
        for category in Category
        if category in profile.categories
    )
    total = _mean((c.weight, c.interval) for c in categories)
    return Score(
        total=total,
        coverage=ONE - (total.upper - total.lower),
        categories=categories,
        checks=(),
        unscored=(),
        pass_rate=ZERO,
        defects=dict.fromkeys(Severity, 0),
        vetoes=(),
    )


def _share(text: str, category: Category) -> Fraction:
    problem = f"reported score {text[:40]!r} of {category.value} is not a number from 0 to 1"
    if len(text) > 40 or "e" in text.lower():
        raise EvidenceError(problem)
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise EvidenceError(problem) from error
    if not 0 <= value <= 1:
        raise EvidenceError(problem)
    return value


def _mean(parts: Iterable[tuple[Fraction, Interval]]) -> Interval:
    weight = lower = upper = ZERO
    for share, interval in parts:
        weight += share
        lower += share * interval.lower
        upper += share * interval.upper
    return Interval(lower=lower / weight, upper=upper / weight) if weight else UNKNOWN


def iso_day(text: str, what: str) -> date:
    """Read an ISO date out of evidence; raises EvidenceError naming `what`."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise EvidenceError(f"{what} is not an ISO date: {text[:40]!r}") from error


__all__ = [
    "NO_ATTESTATION",
    "NO_CHECK",
    "SCORING_VERSION",
    "assemble",
    "iso_day",
    "judge_measurement",
    "score",
]
