"""`summary.md`: what a CI job prints on its summary page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from certification.report.build import outcome_order
from certification.report.headline import counts_line, threshold_text
from certification.report.text import counted, one_line, percent_text, score_text, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from certification.report.view import CheckView, ReportView

ROWS_SHOWN: Final = 200
FIXES_SHOWN: Final = 10
CELL_CHARACTERS: Final = 300
_MARKUP: Final = re.compile(r"([\\`*_\[\]~$])")
_FENCED: Final = re.compile(r"[\\`|]")
_SIGN: Final = re.compile(r"[^\w ]", re.ASCII)
_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "|": "&#124;"})
_LINK: Final = re.compile(r"(?i)\b(https?|ftp)://|\b(www)\.")
_BLOCK: Final = re.compile(r"^([-+=#]|\d+(?=[.)]))")
"""What starts a list, a heading or an underline at the beginning of a line."""


def plain(text: str) -> str:
    """Return foreign text as Markdown that shows it and means nothing."""
    line = shortened(one_line(text), CELL_CHARACTERS)
    line = _MARKUP.sub(r"\\\1", line).translate(_HTML)
    line = _LINK.sub(lambda m: f"{m[1]}&#58;//" if m[1] else f"{m[2]}&#46;", line)
    return _BLOCK.sub(lambda m: "".join(f"&#{ord(sign)};" for sign in m[1]), line)


def code(text: str) -> str:
    """Return foreign text as code that it cannot end, safe inside a table.

    Backslashes before pipes are read differently by different table parsers, so that anything with
    such signs is written as an element with every sign as a reference.
    """
    line = shortened(one_line(text), CELL_CHARACTERS)
    if line and not _FENCED.search(line):
        return f"`{line}`"
    references = _SIGN.sub(lambda match: f"&#{ord(match[0])};", line)
    return f"<code>{references}</code>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table; cells must be escaped already."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def render(view: ReportView) -> str:
    """Return the summary; passed checks are counted, all others are named."""
    parts = (
        _verdict(view),
        _categories(view),
        _gates(view),
        _fixes(view),
        _checks(view),
        _untested(view),
        _facts(view),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _verdict(view: ReportView) -> list[str]:
    """Return level, interval, and what qualifies them."""
    head = view.headline
    marks = f" ({', '.join(head.marks)})" if head.marks else ""
    lines = [
        f"# {plain(head.level)}{marks}",
        "",
        f"**{head.score_line}** {head.reference_line}".rstrip(),
        "",
        plain(head.sentence),
        "",
        f"{counts_line(head)}. Pass rate {head.pass_rate}.",
        "",
    ]
    rows = [
        *(f"Veto: {veto}, raised by {code(check)}" for veto, check in head.vetoes),
        *(f"Inconclusive because {plain(reason)}" for reason in head.inconclusive),
        *(f"Waiver: {plain(fault)}" for fault in head.waiver_faults),
        *(f"No certificate: {plain(reason)}" for reason in head.not_certifiable),
    ]
    return [*lines, *(f"- {row}" for row in rows), *([""] if rows else [])]


def _categories(view: ReportView) -> list[str]:
    """Return the scored areas."""
    rows = (
        (
            category.name,
            category.interval.text,
            percent_text(category.coverage),
            score_text(category.weight, 2),
            "" if category.floor is None else threshold_text(category.floor),
        )
        for category in view.categories
    )
    return ["## Categories", "", *table(("category", "score", "decided", "weight", "floor"), rows)]


def _gates(view: ReportView) -> list[str]:
    """Return the gates of each level that are not met."""
    rows = [
        (plain(level.name), plain(gate.gate), plain(gate.required), plain(gate.observed))
        for level in view.levels
        for gate in level.gates
        if not gate.met
    ]
    if not rows:
        return []
    return ["## Gates not met", "", *table(("level", "gate", "required", "observed"), rows)]


def _fixes(view: ReportView) -> list[str]:
    """Return what to fix first."""
    rows = [
        (
            plain(fix.title),
            fix.outcome,
            code(fix.check),
            fix.severity,
            fix.gain_text,
            fix.total_after,
            plain(fix.level_after),
        )
        for fix in view.fixes[:FIXES_SHOWN]
    ]
    if not rows:
        return []
    head = ("fix", "now", "check", "severity", "gain", "score then", "level then")
    return ["## What to fix first", "", *table(head, rows)]


def _checks(view: ReportView) -> list[str]:
    """Return every check that did not pass, worst first."""
    checks = sorted(
        (check for check in view.checks if check.outcome != "PASS"),
        key=lambda check: outcome_order(check.outcome),
    )
    if not checks:
        return []
    head = ("outcome", "check", "severity", "what", "replay")
    lines = ["## Checks that did not pass", ""]
    lines += table(head, (_check_row(check) for check in checks[:ROWS_SHOWN]))
    if len(checks) > ROWS_SHOWN:
        lines += [f"{counted(len(checks) - ROWS_SHOWN, 'more check')} in `results.csv`.", ""]
    return lines


def _check_row(check: CheckView) -> tuple[str, ...]:
    """Return one check as table cells."""
    findings = [finding.message for case in check.cases for finding in case.findings]
    what = findings[0] if findings else check.reason or check.title
    marks = (", flaky" if check.flaky else "") + (", waived" if check.waived else "")
    return (
        f"{check.outcome}{marks}",
        code(check.id),
        check.severity,
        plain(what),
        code(check.replay),
    )


def _untested(view: ReportView) -> list[str]:
    """Return how much was not tested, and why."""
    if not view.untested:
        return []
    rows = ((plain(group.reason), str(len(group.what))) for group in view.untested[:ROWS_SHOWN])
    return ["## What was not tested", "", *table(("reason", "how many"), rows)]


def _facts(view: ReportView) -> list[str]:
    """Return what identifies the run."""
    facts = view.facts
    rows = [
        ("profile", f"{facts.profile} {facts.profile_sha256}"),
        ("evidence SHA-256", facts.evidence_sha256),
        ("seed", str(facts.seed)),
        ("harness", facts.harness),
        *facts.target,
        *((f"incident {row.what}", row.detail) for row in view.incidents),
        *((f"left behind {row.kind}", row.id) for row in view.left_behind[:ROWS_SHOWN]),
    ]
    return ["## Run", "", *table(("what", "value"), ((plain(a), code(b)) for a, b in rows))]
