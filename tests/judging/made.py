"""Small recorded runs made by hand for the tests of scoring, gate and merge."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from certification.evidence import EVIDENCE_FORMAT, EvidenceWriter, Record
from certification.judge import Judgement, judge_run
from certification.model import (
    CaseResult,
    Category,
    CheckId,
    DutyKind,
    Exchange,
    Footer,
    Header,
    Json,
    Outcome,
    PlannedCheck,
    Requirement,
    RequirementId,
    Severity,
    TargetIdentity,
)
from certification.profile import Profile, parse_profile
from certification.results import RecordedRun
from certification.scoring import SCORING_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TODAY = date(2026, 3, 1)

TARGET = TargetIdentity(
    target_id="t",
    base_url="https://target.example",
    implementation="impl",
    version="1.0",
    build="b1",
    instances=("i1",),
    contract_version="1.0",
    openapi_sha256="00",
    modules=("core",),
    capability_sha256="11",
)


def document(**changes: Any) -> Json:
    """Return the document of a small profile with two categories; `changes` replace its keys."""
    base: Json = {
        "name": "small",
        "version": 1,
        "title": "Small",
        "checks": ["*"],
        "coverage_min": "1/2",
        "default_level": "GOOD",
        "levels_otherwise": "BAD",
        "modules": {"required": ["core"], "optional": ["growth"]},
        "categories": {
            "functionality": {"weight": "3/5", "floor": "1/2"},
            "security": {"weight": "2/5"},
        },
        "weights": {
            "severity": {"critical": 8, "high": 4, "medium": 2, "low": 1},
            "requirement": {"critical": 2, "normal": 1},
        },
        "vetoes": {"double_spend": "BAD"},
        "levels": [
            {
                "name": "BEST",
                "gates": [
                    {"kind": "total", "value": "19/20"},
                    {"kind": "all_decided"},
                    {"kind": "no_waiver"},
                    {"kind": "no_veto"},
                    {"kind": "defects", "severity": "critical", "max": 0},
                    {"kind": "defects", "severity": "high", "max": 0},
                    {"kind": "defects", "severity": "low", "max": 2},
                ],
            },
            {
                "name": "GOOD",
                "gates": [
                    {"kind": "total", "op": ">", "value": "9/10"},
                    {"kind": "pass_rate", "op": ">", "value": "4/5"},
                    {"kind": "floors"},
                    {"kind": "no_veto"},
                    {"kind": "defects", "severity": "critical", "max": 0},
                ],
            },
            {
                "name": "FAIR",
                "gates": [{"kind": "total", "op": ">", "value": "1/2"}, {"kind": "no_veto"}],
            },
        ],
        "reference": {"total": "0.94"},
    }
    return {**base, **changes}


def profile(**changes: Any) -> Profile:
    return parse_profile(document(**changes))


def requirement(
    name: str,
    category: Category | None = Category.FUNCTIONALITY,
    kind: DutyKind = DutyKind.CHECK,
    **more: Any,
) -> Requirement:
    return Requirement(id=RequirementId(name), text=name, category=category, kind=kind, **more)


def planned(name: str, *requirements: str, **more: Any) -> PlannedCheck:
    row: Json = {
        "version": 1,
        "suite": "functional",
        "category": Category.FUNCTIONALITY,
        "title": f"{name} holds",
        "failure_title": f"{name} is broken",
        "severity": Severity.MEDIUM,
        "phase": "parallel",
        **more,
    }
    return PlannedCheck(
        id=CheckId(name), requirements=tuple(RequirementId(r) for r in requirements), **row
    )


def case(check: str, outcome: Outcome, name: str = "-", **more: Any) -> CaseResult:
    reason = None if outcome is Outcome.PASS else "made so"
    row: Json = {"observations": 1, "reason": reason, **more}
    return CaseResult(check=CheckId(check), case=name, outcome=outcome, **row)


def exchange(check: str, number: int = 1, attempt: int = 1, name: str = "-") -> Exchange:
    return Exchange(
        check=CheckId(check),
        case=name,
        attempt=attempt,
        number=number,
        identity="customer",
        operation="getAccount",
        method="GET",
        url="/accounts/1",
        request_headers=(("accept", "application/json"),),
        request_body=None,
        started_at="2026-03-01T00:00:00Z",
        elapsed_ms=1.5,
        status=200,
        response_body="{}",
    )


def header(rules: Profile, **more: Any) -> Header:
    row: Json = {
        "format": EVIDENCE_FORMAT,
        "run_id": "r1",
        "started_at": "2026-03-01T00:00:00Z",
        "seed": 1,
        "harness": "0.1.0",
        "scoring": SCORING_VERSION,
        "contract_version": "1.0",
        "contract_sha256": "22",
        "profile": rules.document,
        "profile_sha256": rules.sha256,
        "requested_level": rules.default_level,
        "selection": None,
        "source": "observed",
        "target": TARGET,
        "register": (),
        "plan": (),
        **more,
    }
    return Header(**row)


FOOTER = Footer(
    ended_at="2026-03-01T00:01:00Z", ended="completed", records=1, sha256="", target=TARGET
)


def recorded(
    rules: Profile,
    checks: Mapping[PlannedCheck, Outcome | None],
    *,
    register: tuple[Requirement, ...],
    footer: Footer | None = FOOTER,
    **more: Any,
) -> RecordedRun:
    """Return a run in which each check has one case of this outcome; None: no record."""
    run: Json = {
        "cases": tuple(case(c.id, outcome) for c, outcome in checks.items() if outcome is not None),
        "measurements": (),
        "incidents": (),
        "reported": (),
    }
    for key in tuple(more):
        if key in run:
            run[key] = more.pop(key)
    head = header(rules, register=register, plan=tuple(checks), **more)
    return RecordedRun(header=head, footer=footer, digest="33", **run)


def judged(run: RecordedRun, rules: Profile | None = None) -> Judgement:
    return judge_run(run, profile=rules, today=TODAY)


def with_cases(run: RecordedRun, *cases: CaseResult) -> RecordedRun:
    return replace(run, cases=(*run.cases, *cases))


def written(
    folder: Path, run: RecordedRun, exchanges: tuple[Exchange, ...] = (), **end: Any
) -> Path:
    """Write a run as an evidence file; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with EvidenceWriter(folder / "evidence.jsonl") as writer:
        records: list[Record] = [run.header, *exchanges, *run.cases]
        for record in (*records, *run.measurements, *run.incidents):
            writer.write(record)
        row: Json = {
            "ended": "completed",
            "ended_at": "2026-03-01T00:01:00Z",
            "target": TARGET,
            "requests": 3,
            **end,
        }
        return writer.close(**row)
