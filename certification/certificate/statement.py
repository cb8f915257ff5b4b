"""What a certificate says: in-toto statements made from a judgement, by pure functions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from certification.certificate.envelope import canonical
from certification.model import (
    DutyKind,
    Json,
    Module,
    Outcome,
    TargetIdentity,
)
from certification.results import INCONCLUSIVE_LEVEL, CategoryScore, Interval, RequirementScore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from fractions import Fraction

    from certification.judge import Judgement

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
CERTIFICATE_TYPE = "urn:alluse:certificate:v1"
TEST_RESULT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"

DISCLAIMER = (
    "This certificate says what was tested on the named build and what was not. It does not claim "
    "conformity with any standard, law or regulation; only a person or a body can grant that."
)
DECIMALS = 4


def decimal(value: Fraction) -> str:
    """Write a fraction with four decimals, cut and not rounded: never upwards over a threshold."""
    scaled = value.numerator * 10**DECIMALS // value.denominator
    whole, rest = divmod(abs(scaled), 10**DECIMALS)
    return f"{'-' if scaled < 0 else ''}{whole}.{rest:0{DECIMALS}}"


def certificate_statement(
    judgement: Judgement, *, keyid: str, operator: str, issued: datetime, valid_days: int
) -> Json:
    """Make the statement that is signed; everything but `issuance` follows from the evidence."""
    until = issued + timedelta(days=valid_days)
    predicate = claims_of(judgement)
    predicate["issuance"] = {
        "operator": operator or judgement.run.header.operator or "not named",
        "issued": utc(issued),
        "valid_until": utc(until),
        "keyid": keyid,
    }
    return _statement(judgement, CERTIFICATE_TYPE, predicate)


def test_result_statement(judgement: Judgement) -> Json:
    """Make the standard test-result statement; PASSED where the requested level was reached."""
    by_outcome: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    for result in judgement.score.checks:
        by_outcome[result.outcome].append(result.check.id)
    undecided = (Outcome.INCONCLUSIVE, Outcome.NOT_EXERCISED, Outcome.ERROR)
    predicate = {
        "result": "PASSED" if judgement.verdict.reached else "FAILED",
        "configuration": [
            {
                "name": f"profile:{judgement.profile.name}",
                "digest": {"sha256": judgement.profile.sha256},
            }
        ],
        "passedTests": sorted(by_outcome[Outcome.PASS]),
        "warnedTests": sorted(name for outcome in undecided for name in by_outcome[outcome]),
        "failedTests": sorted(by_outcome[Outcome.FAIL]),
    }
    return _statement(judgement, TEST_RESULT_TYPE, predicate)


def subjects(judgement: Judgement) -> list[Json]:
    """Name what the statement is about, by digest: deployment, contract and evidence."""
    header = judgement.run.header
    deployment = [] if header.target is None else [_deployment(header.target)]
    return [
        *deployment,
        {
            "name": f"contract:{header.contract_version}",
            "digest": {"sha256": header.contract_sha256},
        },
        {"name": f"evidence:{header.run_id}", "digest": {"sha256": judgement.run.digest}},
    ]


def claims_of(judgement: Judgement) -> Json:
    """Derive what the evidence alone decides; `verify` derives it again."""
    run, score, verdict = judgement.run, judgement.score, judgement.verdict
    header = run.header
    return {
        "title": title(judgement),
        "level": verdict.level,
        "requested_level": verdict.requested_level,
        "reached": verdict.reached,
        "inconclusive": list(verdict.inconclusive),
        "score": _interval(score.total),
        "coverage": _number(score.coverage),
        "pass_rate": _number(score.pass_rate),
        "categories": {row.category.value: _category(row) for row in score.categories},
        "defects": {severity.value: count for severity, count in score.defects.items()},
        "vetoes": [{"veto": veto.value, "check": check} for veto, check in verdict.vetoes],
        "waivers": [asdict(waiver) for waiver in header.waivers],
        "waiver_faults": list(verdict.waiver_faults),
        "attestations": [asdict(attestation) for attestation in header.attestations],
        "not_tested": _not_tested(judgement),
        "testability_used": _testability_used(judgement),
        "profile": {
            "name": judgement.profile.name,
            "version": str(judgement.profile.version),
            "sha256": judgement.profile.sha256,
        },
        "scoring": header.scoring,
        "harness": header.harness,
        "detection_power": header.detection,
        "target": None if header.target is None else _json(asdict(header.target)),
        "evidence": {
            "sha256": run.digest,
            "run": header.run_id,
            "source": header.source,
            "started_at": header.started_at,
            "ended_at": run.footer.ended_at if run.footer else None,
        },
        "disclaimer": DISCLAIMER,
    }


def title(judgement: Judgement) -> str:
    """Put the level first, whatever it is: a signed NOT_READY must not look like a success."""
    verdict, target = judgement.verdict, judgement.run.header.target
    subject = "no target" if target is None else f"{target.target_id} {target.version}"
    profile = f"{judgement.profile.name} {judgement.profile.version}"
    text = f"{verdict.level}: {subject}, profile {profile}"
    if verdict.level == INCONCLUSIVE_LEVEL or verdict.reached:
        return text
    return f"{text}, {verdict.requested_level} was requested and not reached"


def _statement(judgement: Judgement, predicate_type: str, predicate: Json) -> Json:
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(judgement),
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def _deployment(target: TargetIdentity) -> Json:
    build = target.build.removeprefix("sha256:").lower()
    if re.fullmatch(r"[0-9a-f]{64}", build):
        digest, of = {"sha256": build}, "build"
    elif re.fullmatch(r"[0-9a-f]{40}", build):
        digest, of = {"gitCommit": build}, "build"
    else:
        # A build that is only a name gets a digest of all that the deployment says it is.
        identity = {
            "implementation": target.implementation,
            "version": target.version,
            "build": target.build,
            "openapi_sha256": target.openapi_sha256,
            "capability_sha256": target.capability_sha256,
        }
        digest, of = {"sha256": hashlib.sha256(canonical(identity)).hexdigest()}, "identity"
    return {
        "name": f"deployment:{target.target_id}@{target.version}",
        "digest": digest,
        "annotations": {"build": target.build, "digest_of": of},
    }


def _not_tested(judgement: Judgement) -> Json:
    """List what the level does not rest on: by kind, with reasons."""
    rows = [row for category in judgement.score.categories for row in category.requirements]
    rows += judgement.score.unscored
    return {
        "not_tested": _named(row for row in rows if row.kind is DutyKind.NOT_TESTED),
        "attestation": _named(row for row in rows if row.kind is DutyKind.ATTESTATION),
        "undecided": _named(row for row in rows if _undecided(row)),
        "not_applicable": _named(
            row for row in rows if row.kind is DutyKind.CHECK and row.interval is None
        ),
    }


def _undecided(row: RequirementScore) -> bool:
    return row.kind is DutyKind.CHECK and row.interval is not None and not row.interval.decided


def _named(rows: Iterable[RequirementScore]) -> dict[str, str]:
    return {row.id: row.reason or "" for row in sorted(rows, key=lambda row: row.id)}


def _testability_used(judgement: Judgement) -> bool:
    return any(
        Module.TESTABILITY in result.check.modules and result.outcome.decided
        for result in judgement.score.checks
    )


def _category(row: CategoryScore) -> Json:
    return {
        **_interval(row.interval),
        "weight": str(row.weight),
        "coverage": _number(row.coverage),
    }


def _interval(interval: Interval) -> Json:
    return {"lower": _number(interval.lower), "upper": _number(interval.upper)}


def _number(value: Fraction) -> Json:
    return {"exact": str(value), "decimal": decimal(value)}


def utc(moment: datetime) -> str:
    """Write a time in UTC to the second."""
    return moment.astimezone(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(document: Json) -> Json:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in document.items()}
