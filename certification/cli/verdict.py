"""The verdict as a few lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from certification.progress import printable
from certification.report.facts import run_facts
from certification.report.replay import certify_command
from certification.report.text import interval_text, percent_text, score_text
from certification.results import NOT_SELECTED, CheckResult

if TYPE_CHECKING:
    from certification.judge import Judgement

FIXES_SHOWN = 5
REASONS_SHOWN = 10
STORY_LINES_SHOWN = 14
"""Of what was expected and observed; the report has all of it."""


def verdict_text(judgement: Judgement) -> str:
    """Return level, interval, what blocks it and what to fix first; no more than a screen."""
    verdict, score, header = judgement.verdict, judgement.score, judgement.run.header
    reached = "reached" if verdict.reached else "not reached"
    outcomes: dict[str, int] = {}
    for row in score.checks:
        outcomes[row.outcome.value] = outcomes.get(row.outcome.value, 0) + 1
    lines = [
        "",
        f"{verdict.level}   requested {verdict.requested_level}: {reached}",
        f"score {interval_text(score.total)}, {percent_text(score.coverage)} decided",
        f"profile {judgement.profile.name}, seed {header.seed}{_spent(judgement)}",
        "checks: " + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())),
    ]
    if header.selection:
        lines.append(f"partial run ({header.selection}): no certificate")
    lines += [f"inconclusive: {reason}" for reason in verdict.inconclusive]
    lines += [f"veto: {veto.value} ({check})" for veto, check in verdict.vetoes]
    lines += [f"waiver: {fault}" for fault in verdict.waiver_faults]
    failed = [row for row in score.checks if row.outcome.value == "FAIL"]
    for row in failed[:FIXES_SHOWN]:
        lines.append(f"FAIL {row.check.id}: {row.check.failure_title}")
        if row.findings:
            finding = row.findings[0]
            told = f"expected {finding.expected}, got {finding.observed}"
            # A witness story has several lines; indented, none can pass for a line of ours.
            lines += [f"     {line}" for line in told.splitlines()[:STORY_LINES_SHOWN]]
        lines.append(f"     replay: {certify_command(row.check.id, header)}")
    if len(failed) > FIXES_SHOWN:
        lines.append(f"... and {len(failed) - FIXES_SHOWN} more failed checks, see the report")
    lines += _undecided(score.checks)
    failing = {row.check.id for row in failed}
    for fix in verdict.fixes[:FIXES_SHOWN]:
        if fix.gain and fix.check in failing:
            lines.append(
                f"fix first: {fix.check} gives {score_text(fix.total_after)} ({fix.level_after})"
            )
    return "\n".join(printable(line) for line in lines)


def _spent(judgement: Judgement) -> str:
    """Return what the run cost the deployment; nothing where the evidence was cut."""
    facts = run_facts(judgement.run, judgement.profile)
    return f"; {facts.requests:,} requests in {facts.duration}" if facts.requests else ""


def _undecided(checks: Sequence[CheckResult]) -> list[str]:
    """Return a line for each reason why selected checks came to no decision."""
    reasons: dict[str, list[str]] = {}
    for row in checks:
        unknown = row.outcome.value in ("ERROR", "INCONCLUSIVE", "NOT_EXERCISED")
        if unknown and row.check.fixed_reason != NOT_SELECTED:
            reasons.setdefault(f"{row.outcome.value}: {row.reason}", []).append(row.check.id)
    return [
        f"{ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}  {reason}"
        for reason, ids in list(reasons.items())[:REASONS_SHOWN]
    ]
