"""`junit.xml`: a testcase per check, for the test tab of a CI system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from certification.report.build import suites_of
from certification.report.text import visible

if TYPE_CHECKING:
    from certification.report.view import CaseView, CheckView, ReportView

_TAG: Final = {
    "FAIL": "failure",
    "INCONCLUSIVE": "error",
    "ERROR": "error",
    "NOT_EXERCISED": "skipped",
    "NOT_APPLICABLE": "skipped",
}
"""JUnit knows three ways not to pass; undecided is never one that a CI system shows green."""


def render(view: ReportView) -> str:
    """Return the report as JUnit XML, a testsuite per suite."""
    root = ET.Element("testsuites", name=visible(view.headline.title))
    _totals(root, view.checks)
    for suite in suites_of(view):
        checks = [check for check in view.checks if check.suite == suite]
        element = ET.SubElement(
            root, "testsuite", name=visible(suite), timestamp=visible(view.facts.started_at)
        )
        _totals(element, checks)
        _properties(element, _run_properties(view))
        for check in checks:
            _testcase(element, check)
    ET.indent(root, space=" ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _totals(element: ET.Element, checks: tuple[CheckView, ...] | list[CheckView]) -> None:
    """Write the counts that CI systems show."""
    tags = [_TAG.get(check.outcome) for check in checks]
    element.set("tests", str(len(tags)))
    element.set("failures", str(tags.count("failure")))
    element.set("errors", str(tags.count("error")))
    element.set("skipped", str(tags.count("skipped")))
    element.set("time", _seconds(sum(check.duration_ms for check in checks)))


def _seconds(duration_ms: float) -> str:
    """Return a duration as JUnit wants it."""
    return f"{duration_ms / 1000:.3f}"


def _run_properties(view: ReportView) -> list[tuple[str, str]]:
    """Return what a reader needs to know of the run; repeated in every suite."""
    head, facts = view.headline, view.facts
    return [
        ("level", head.level),
        ("requested_level", head.requested_level),
        ("score", head.total.text),
        ("coverage", head.score_line),
        *(("mark", mark) for mark in head.marks),
        ("profile", facts.profile),
        ("profile_sha256", facts.profile_sha256),
        ("evidence_sha256", facts.evidence_sha256),
        ("seed", str(facts.seed)),
        ("run_id", facts.run_id),
    ]


def _properties(parent: ET.Element, rows: list[tuple[str, str]]) -> None:
    """Write name and value pairs."""
    element = ET.SubElement(parent, "properties")
    for name, value in rows:
        ET.SubElement(element, "property", name=visible(name), value=visible(value))


def _testcase(parent: ET.Element, check: CheckView) -> None:
    """Write one check; its cases are properties, so that the counts stay counts of checks."""
    element = ET.SubElement(
        parent,
        "testcase",
        classname=visible(f"{check.suite}.{check.area}"),
        name=visible(check.id),
        time=_seconds(check.duration_ms),
    )
    rows = [
        ("severity", check.severity),
        ("outcome", check.outcome),
        ("title", check.title),
        *(("requirement", requirement) for requirement in check.requirements),
        *((f"case:{case.name}", _case_line(case)) for case in check.cases),
        ("replay", check.replay),
    ]
    if check.flaky:
        rows.append(("flaky", "true"))
    if check.waived:
        rows.append(("waived", "true"))
    _properties(element, rows)
    tag = _TAG.get(check.outcome)
    if tag is None:
        return
    message = check.title if check.outcome == "FAIL" else f"{check.outcome}: {check.reason}"
    outcome = ET.SubElement(element, tag, message=visible(message))
    if tag != "skipped":
        outcome.set("type", check.outcome)
        outcome.text = visible(_details(check))


def _case_line(case: CaseView) -> str:
    """Return one case's outcome and reason."""
    return f"{case.outcome}: {case.reason}" if case.reason else case.outcome


def _details(check: CheckView) -> str:
    """Return what a developer reads in the CI log."""
    lines = [check.reason] if check.reason else []
    for case in check.cases:
        for finding in case.findings:
            lines += [
                f"[{case.name}] {finding.message}",
                f"  expected: {finding.expected}",
                f"  observed: {finding.observed}",
            ]
        if case.traceback:
            lines.append(case.traceback)
    if check.remedy:
        lines.append(f"remedy: {check.remedy}")
    return "\n".join([*lines, f"replay: {check.replay}"])
