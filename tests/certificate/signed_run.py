"""A run recorded and signed by hand, for the tests of certificates."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from certification.certificate import (
    Answer,
    VerifyReport,
    sign,
    verify,
    write_certificate,
)
from certification.certificate.envelope import (
    seal,
)
from certification.evidence import EVIDENCE_FORMAT, EvidenceWriter
from certification.judge import judge
from certification.keys import load_private_key
from certification.model import (
    CaseResult,
    Category,
    CheckId,
    DutyKind,
    Header,
    Outcome,
    PlannedCheck,
    ReportedCategory,
    Requirement,
    RequirementId,
    Severity,
    TargetIdentity,
)
from certification.profile import load_profile
from certification.scoring import SCORING_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STARTED, ENDED = "2026-03-01T09:00:00+00:00", "2026-03-01T09:04:00+00:00"
CHECK = CheckId("functional/money/double-spend")
REQUIREMENTS = (
    Requirement(
        id=RequirementId("SYS-TXN"),
        text="Transactions",
        category=Category.FUNCTIONALITY,
        kind=DutyKind.CHECK,
    ),
    Requirement(
        id=RequirementId("SEC-COMP-STD"),
        text="Standards",
        category=Category.SECURITY,
        kind=DutyKind.NOT_TESTED,
        reason="granted by a body",
    ),
)
TARGET = TargetIdentity(
    target_id="staging",
    base_url="http://127.0.0.1:1",
    implementation="made",
    version="1.2.3",
    build="ab" * 32,
    instances=("one",),
    contract_version="1.0.0",
    openapi_sha256="c" * 64,
    modules=("core",),
    capability_sha256="d" * 64,
)


@dataclass(frozen=True)
class Signed:
    """A run that was signed: its files and its key."""

    evidence: Path
    certificate: Path
    private: Path
    public: Path
    keyid: str


def record(
    folder: Path,
    *,
    outcome: Outcome = Outcome.PASS,
    ended: str | None = "completed",
    reported: bool = False,
    **changes: Any,
) -> Path:
    profile = load_profile("smoke")
    plan = PlannedCheck(
        id=CHECK,
        version=1,
        suite="functional",
        category=Category.FUNCTIONALITY,
        title="t",
        failure_title="f",
        severity=Severity.HIGH,
        requirements=(RequirementId("SYS-TXN"),),
        phase="parallel",
    )
    header = Header(
        format=EVIDENCE_FORMAT,
        run_id="run-1",
        started_at=STARTED,
        seed=7,
        harness="0.1",
        scoring=SCORING_VERSION,
        contract_version="1.0.0",
        contract_sha256="e" * 64,
        profile=profile.document,
        profile_sha256=profile.sha256,
        requested_level="SMOKE_PASSED",
        selection=None,
        source="observed",
        target=TARGET,
        register=REQUIREMENTS,
        plan=(plan,),
        detection={"caught": "30/30"},
    )
    folder.mkdir(exist_ok=True)
    reason = None if outcome is Outcome.PASS else "because"
    case = CaseResult(check=CHECK, case="-", outcome=outcome, reason=reason, observations=3)
    with EvidenceWriter(folder / "evidence.jsonl") as writer:
        writer.write(replace(header, **changes))
        writer.write(case)
        if reported:
            writer.write(ReportedCategory(category=Category.SECURITY, score="1", source="paper"))
        if ended is None:
            return writer.path
        return writer.close(ended=ended, ended_at=ENDED, target=TARGET)


def sign_at(evidence: Path, private: Path, *, now: datetime = NOW, valid_days: int = 90) -> Path:
    judgement = judge(evidence, today=now.date())
    signed = sign(
        judgement,
        evidence,
        private_key_path=private,
        operator="Ada",
        now=now,
        valid_days=valid_days,
    )
    return write_certificate(signed, evidence.parent)[0]


def ask(signed: Signed, **changes: Any) -> VerifyReport:
    asked: dict[str, Any] = {
        "certificate": signed.certificate,
        "evidence": signed.evidence,
        "now": NOW,
    }
    asked |= {"trusted": [signed.public]} | changes
    return verify(
        asked["certificate"], asked["evidence"], trusted=asked["trusted"], now=asked["now"]
    )


def answers(report: VerifyReport) -> tuple[Answer, Answer, Answer, Answer]:
    signature, claims, evidence, validity = report.answers
    return signature.answer, claims.answer, evidence.answer, validity.answer


def statement_of(certificate: Path) -> dict[str, Any]:
    envelope = json.loads(certificate.read_bytes())
    document: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return document


def resign(signed: Signed, edit: Callable[[dict[str, Any]], None]) -> None:
    statement = statement_of(signed.certificate)
    edit(statement)
    signed.certificate.write_bytes(seal(statement, load_private_key(signed.private)))


YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
