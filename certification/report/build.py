"""Make the view model from a judged run; a pure function of what is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from certification.model import (
    OUTCOME_RANK,
    SUITE_CATEGORY,
    Attestation,
    CaseResult,
    Header,
    Measurement,
    Outcome,
)
from certification.report.exchanges import CaseKey, ShownExchanges, worst_first
from certification.report.facts import run_facts
from certification.report.headline import headline, interval_view, thresholds
from certification.report.replay import certify_command
from certification.report.text import (
    percent_text,
    score_text,
    shortened,
    signed_text,
)
from certification.report.view import (
    CaseView,
    CategoryView,
    CheckView,
    FindingView,
    FixView,
    GateView,
    LevelView,
    MeasurementView,
    ReportView,
    RequirementView,
    Untested,
)

if TYPE_CHECKING:
    from certification.judge import Judgement
    from certification.results import CategoryScore, CheckResult, RequirementScore

Remedies = Mapping[str, Mapping[str, str]]
"""Check id -> docstring section (`Why`, `How`, `Fails when`, `Remedy`) -> text."""

FINDING_CHARACTERS = 4_000
FINDINGS_PER_CASE = 20


def build_view(
    judgement: Judgement,
    *,
    shown: Mapping[CaseKey, ShownExchanges] | None = None,
    remedies: Remedies | None = None,
) -> ReportView:
    """Return everything a report prints; the same judgement always gives the same view.

    `shown` holds the exchanges of failed and undecided cases, `remedies` the catalogue's texts;
    without them the view is whole but for exchanges and explanations.
    """
    run, score = judgement.run, judgement.score
    texts = remedies or {}
    anchors = _anchors([check.check.id for check in score.checks])
    attested: dict[str, tuple[Attestation, ...]] = {}
    for statement in run.header.attestations:
        before = attested.get(statement.requirement, ())
        attested[statement.requirement] = (*before, statement)
    checks = tuple(
        _check(
            check,
            anchor=anchors[check.check.id],
            header=run.header,
            shown=shown or {},
            texts=_sections(texts.get(check.check.id, {})),
        )
        for check in score.checks
    )
    failed = {check.check.id for check in score.checks if check.outcome is Outcome.FAIL}
    categories = tuple(_category(category, attested) for category in score.categories)
    unscored = tuple(_requirement(row, attested) for row in score.unscored)
    return ReportView(
        headline=headline(judgement),
        thresholds=thresholds(judgement.profile),
        categories=categories,
        levels=_levels(judgement),
        fixes=_fixes(judgement, texts),
        checks=checks,
        unscored=unscored,
        attestations=run.header.attestations,
        waivers=tuple((waiver, waiver.check in failed) for waiver in run.header.waivers),
        untested=_untested(checks, categories, unscored),
        reported=tuple((row.category, row.score, row.source) for row in run.reported),
        measurements=tuple(_measurement(row) for row in run.measurements),
        incidents=run.incidents,
        left_behind=run.footer.left_behind if run.footer else (),
        facts=run_facts(run, judgement.profile),
    )


def _anchors(ids: list[str]) -> dict[str, str]:
    """Return a fragment identifier for each check, unique whatever the ids are."""
    anchors: dict[str, str] = {}
    used: set[str] = set()
    for number, check in enumerate(ids):
        slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in check.lower())
        anchor = f"check-{slug[:100]}"
        if anchor in used:
            anchor = f"{anchor}-{number}"
        used.add(anchor)
        anchors[check] = anchor
    return anchors


def _sections(texts: Mapping[str, str]) -> dict[str, str]:
    """Return docstring sections by lower-case name with blanks, however they were spelled."""
    return {name.lower().replace("_", " "): text for name, text in texts.items()}


def _check(
    result: CheckResult,
    *,
    anchor: str,
    header: Header,
    shown: Mapping[CaseKey, ShownExchanges],
    texts: Mapping[str, str],
) -> CheckView:
    """Return one check with its cases, worst case first."""
    plan = result.check
    cases = tuple(
        _case(case, shown.get((case.check, case.case), ShownExchanges()))
        for case in worst_first(result.cases)
    )
    operations = {e.operation for case in cases for e in case.exchanges if e.operation}
    parts = plan.id.split("/")
    return CheckView(
        id=plan.id,
        anchor=anchor,
        version=plan.version,
        suite=plan.suite,
        area=parts[1] if len(parts) > 2 else plan.suite,
        category=plan.category.value,
        phase=plan.phase,
        severity=plan.severity.value,
        title=plan.failure_title if result.outcome is Outcome.FAIL else plan.title,
        outcome=result.outcome.value,
        reason=shortened(result.reason or "", FINDING_CHARACTERS),
        flaky=result.flaky,
        waived=result.waived,
        veto=plan.veto.value.replace("_", " ") if plan.veto else "",
        requirements=tuple(plan.requirements),
        standards=plan.standards,
        modules=tuple(module.value for module in plan.modules),
        defects=plan.defects,
        operations=tuple(sorted(operations)),
        duration_ms=result.duration_ms,
        lost_total=result.lost_total,
        cases=cases,
        why=texts.get("why", ""),
        how=texts.get("how", ""),
        fails_when=texts.get("fails when", ""),
        remedy=texts.get("remedy", ""),
        replay=certify_command(plan.id, header),
    )


def _case(case: CaseResult, shown: ShownExchanges) -> CaseView:
    """Return one case; long texts of the target are shortened here, once for all formats."""
    return CaseView(
        name=case.case,
        outcome=case.outcome.value,
        reason=shortened(case.reason or "", FINDING_CHARACTERS),
        flaky=case.flaky,
        attempts=tuple(attempt.value for attempt in case.attempts),
        duration_ms=case.duration_ms,
        findings=tuple(
            FindingView(
                message=shortened(finding.message, FINDING_CHARACTERS),
                expected=shortened(finding.expected, FINDING_CHARACTERS),
                observed=shortened(finding.observed, FINDING_CHARACTERS),
                exchanges=finding.exchanges,
                script=finding.script or "",
            )
            for finding in case.findings[:FINDINGS_PER_CASE]
        ),
        exchanges=shown.views,
        exchanges_omitted=shown.omitted,
        traceback=shortened(case.traceback or "", FINDING_CHARACTERS),
    )


def _category(
    category: CategoryScore, attested: Mapping[str, tuple[Attestation, ...]]
) -> CategoryView:
    """Return one scored area."""
    floor = category.floor
    return CategoryView(
        name=category.category.value,
        weight=category.weight,
        interval=interval_view(category.interval),
        coverage=category.coverage,
        floor=floor,
        floor_met=None if floor is None else category.interval.lower >= floor,
        requirements=tuple(_requirement(row, attested) for row in category.requirements),
    )


def _requirement(
    row: RequirementScore, attested: Mapping[str, tuple[Attestation, ...]]
) -> RequirementView:
    """Return one requirement; its coverage is the share of it that is decided."""
    interval = row.interval
    known = 1 - (interval.upper - interval.lower) if interval else Fraction(0)
    return RequirementView(
        id=row.id,
        text=row.text,
        category=row.category.value if row.category else "",
        kind=row.kind.value,
        critical=row.critical,
        weight=row.weight,
        interval=interval_view(interval) if interval else None,
        coverage=percent_text(known) if interval else "",
        reason=row.reason or "",
        checks=row.checks,
        attestations=attested.get(row.id, ()),
    )


def _levels(judgement: Judgement) -> tuple[LevelView, ...]:
    """Return the profile's levels with their gates, in the order of the profile."""
    verdict = judgement.verdict
    return tuple(
        LevelView(
            name=level.name,
            met=level.met,
            requested=level.name == verdict.requested_level,
            granted=level.name == verdict.level,
            gates=tuple(
                GateView(
                    gate=gate.gate,
                    required=gate.required,
                    observed=gate.observed,
                    met=gate.met,
                    lift=gate.lift or "",
                )
                for gate in level.gates
            ),
        )
        for level in verdict.levels
    )


def _fixes(judgement: Judgement, texts: Remedies) -> tuple[FixView, ...]:
    """Return what to fix first, in the verdict's order."""
    results = {str(check.check.id): check for check in judgement.score.checks}
    return tuple(
        FixView(
            check=fix.check,
            title=fix.title,
            outcome=results[fix.check].outcome.value,
            severity=fix.severity.value,
            gain=fix.gain,
            gain_text=signed_text(fix.gain),
            total_after=score_text(fix.total_after),
            level_after=fix.level_after,
            remedy=fix.remedy or _advice(results[fix.check], texts.get(fix.check, {})),
        )
        for fix in judgement.verdict.fixes
    )


def _advice(result: CheckResult, texts: Mapping[str, str]) -> str:
    """Return the catalogue's remedy for a failure; for an undecided check, why it is that."""
    if result.outcome is Outcome.FAIL:
        return _sections(texts).get("remedy", "")
    return f"Not decided: {shortened(result.reason, FINDING_CHARACTERS)}" if result.reason else ""


def _untested(
    checks: tuple[CheckView, ...],
    categories: tuple[CategoryView, ...],
    unscored: tuple[RequirementView, ...],
) -> tuple[Untested, ...]:
    """Return what was not tested, grouped by reason, the most frequent reason first."""
    groups: dict[str, list[str]] = {}
    for check in checks:
        if check.outcome in ("NOT_EXERCISED", "NOT_APPLICABLE"):
            words = check.outcome.replace("_", " ").lower()
            groups.setdefault(f"{words}: {check.reason or 'no reason recorded'}", []).append(
                check.id
            )
    scored = [row for category in categories for row in category.requirements]
    for row in (*scored, *unscored):
        if row.reason and not row.checks:
            groups.setdefault(f"requirement: {row.reason}", []).append(row.id)
    order = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return tuple(Untested(reason=reason, what=tuple(what)) for reason, what in order)


def _measurement(row: Measurement) -> MeasurementView:
    """Return one number with its unit and its interval."""
    bounds = ""
    if row.lower is not None and row.upper is not None:
        bounds = f"{row.lower:g} - {row.upper:g}"
    return MeasurementView(
        check=row.check,
        name=row.name,
        value=f"{row.value:g} {row.unit}".strip(),
        bounds=bounds,
        n=row.n,
    )


def suites_of(view: ReportView) -> tuple[str, ...]:
    """Return the suites that have checks, in the order of the vocabulary, unknown ones last."""
    present = Counter(check.suite for check in view.checks)
    known = [suite for suite in SUITE_CATEGORY if suite in present]
    return (*known, *sorted(set(present) - set(known)))


def outcome_order(outcome: str) -> int:
    """Return the sort key that puts the worst outcome first."""
    return -OUTCOME_RANK[Outcome(outcome)]
