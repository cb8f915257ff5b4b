"""`results.csv`: a row per check, for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from certification.report.text import one_line, score_text

if TYPE_CHECKING:
    from certification.report.view import CheckView, ReportView

COLUMNS: Final = (
    "run_id",
    "level",
    "score",
    "check",
    "version",
    "suite",
    "category",
    "severity",
    "outcome",
    "reason",
    "flaky",
    "waived",
    "requirements",
    "cases",
    "cases_not_passed",
    "lost_total",
    "duration_ms",
    "title",
    "first_finding",
    "replay",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the start of a formula, full-width forms included."""


def render(view: ReportView) -> str:
    """Return the checks as CSV by RFC 4180 with a header row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for check in view.checks:
        writer.writerow([guarded(cell) for cell in _row(view, check)])
    return out.getvalue()


def guarded(cell: str) -> str:
    """Return one line of text that a spreadsheet shows and never calculates."""
    text = one_line(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(view: ReportView, check: CheckView) -> tuple[str, ...]:
    """Return the cells of one check, in the order of `COLUMNS`."""
    findings = [finding.message for case in check.cases for finding in case.findings]
    return (
        view.facts.run_id,
        view.headline.level,
        view.headline.total.text,
        check.id,
        str(check.version),
        check.suite,
        check.category,
        check.severity,
        check.outcome,
        check.reason,
        "yes" if check.flaky else "no",
        "yes" if check.waived else "no",
        " ".join(check.requirements),
        str(len(check.cases)),
        str(sum(1 for case in check.cases if case.outcome != "PASS")),
        score_text(check.lost_total, 6),
        f"{check.duration_ms:.0f}",
        check.title,
        findings[0] if findings else "",
        check.replay,
    )
