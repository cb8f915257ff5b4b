"""`findings.sarif`: failed checks as SARIF 2.1.0 results, for code-scanning views."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from certification.report.text import visible

if TYPE_CHECKING:
    from certification.model import Json
    from certification.report.view import CaseView, CheckView, FindingView, ReportView

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVEL: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_SECURITY_SEVERITY: Final = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}
"""Numbers that code-scanning views sort by; the middle of each CVSS band."""


def render(view: ReportView) -> str:
    """Return the report as a SARIF log with one run."""
    head, facts = view.headline, view.facts
    failed = [check for check in view.checks if check.outcome == "FAIL"]
    run = {
        "tool": {
            "driver": {
                "name": "certify",
                "version": facts.harness,
                "rules": [_rule(check) for check in view.checks],
            }
        },
        "invocations": [
            {"executionSuccessful": facts.ended == "completed", "exitCode": head.exit_code}
        ],
        "automationDetails": {"id": facts.run_id},
        "columnKind": "unicodeCodePoints",
        "results": _results(view, failed),
        "properties": {
            "level": head.level,
            "requested_level": head.requested_level,
            "score": head.total.text,
            "score_line": head.score_line,
            "marks": list(head.marks),
            "evidence_sha256": facts.evidence_sha256,
            "profile_sha256": facts.profile_sha256,
            "seed": facts.seed,
            "outcomes": {check.id: check.outcome for check in view.checks},
        },
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, ensure_ascii=True) + "\n"


def _rule(check: CheckView) -> Json:
    """Return a check as a rule of the catalogue."""
    why = visible(check.why or check.title)
    remedy = visible(check.remedy or "See the catalogue page of this check.")
    return {
        "id": check.id,
        "name": check.id.replace("/", "."),
        "shortDescription": {"text": visible(check.title)},
        "fullDescription": {"text": why},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": _LEVEL.get(check.severity, "warning")},
        "properties": {
            "tags": list(dict.fromkeys([check.category, *check.standards])),
            "severity": check.severity,
            "security-severity": _SECURITY_SEVERITY.get(check.severity, "5.5"),
            "requirements": list(check.requirements),
            "version": check.version,
        },
    }


def _results(view: ReportView, failed: list[CheckView]) -> list[Json]:
    """Return a result per finding; a failed check without findings gives one of its own."""
    index = {check.id: number for number, check in enumerate(view.checks)}
    results: list[Json] = []
    for check in failed:
        pairs = [(case, finding) for case in check.cases for finding in case.findings]
        for case, finding in pairs:
            results.append(_result(check, index[check.id], case=case, finding=finding))
        if not pairs:
            results.append(_result(check, index[check.id], case=None, finding=None))
    return results


def _result(
    check: CheckView, rule: int, *, case: CaseView | None, finding: FindingView | None
) -> Json:
    """Return one finding; its place is the operation, because there is no file to point at."""
    name = case.name if case else "-"
    text = f"{check.title}. {check.reason}".strip()
    if finding is not None:
        text = f"{finding.message}\nExpected: {finding.expected}\nObserved: {finding.observed}"
    operations = [e.operation for e in case.exchanges if e.operation] if case else []
    places = list(dict.fromkeys(operations)) or [check.id]
    identity = f"{check.id}\0{name}\0{finding.message if finding else ''}"
    result: Json = {
        "ruleId": check.id,
        "ruleIndex": rule,
        "kind": "fail",
        "level": _LEVEL.get(check.severity, "warning"),
        "message": {"text": visible(text)},
        "locations": [
            {
                "logicalLocations": [
                    {"fullyQualifiedName": visible(place), "kind": "resource"} for place in places
                ]
            }
        ],
        "partialFingerprints": {
            "checkCaseMessage/v1": hashlib.sha256(
                identity.encode("utf-8", errors="replace")
            ).hexdigest()
        },
        "properties": {
            "case": visible(name),
            "severity": check.severity,
            "flaky": check.flaky,
            "replay": check.replay,
            "curl": [exchange.curl for exchange in case.exchanges] if case else [],
        },
    }
    if check.waived:
        result["suppressions"] = [{"kind": "external", "status": "accepted"}]
    return result
