from __future__ import annotations

import gzip
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import certification
from certification.certificate import (
    generate_key,
    sign,
    verify,
)
from certification.certificate.envelope import (
    SignatureState,
    open_envelope,
    signature_state,
)
from certification.certificate.statement import decimal
from certification.errors import ExitCode, UsageError
from certification.judge import judge
from certification.keys import load_trusted
from certification.model import (
    Outcome,
)
from certification.profile import load_profile
from tests.certificate.signed_run import (
    CHECK,
    NOW,
    UNKNOWN,
    Signed,
    ask,
    record,
    sign_at,
    statement_of,
)


def test_the_statement_names_build_contract_and_evidence_and_what_it_does_not_claim(
    signed: Signed,
) -> None:
    statement = statement_of(signed.certificate)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "urn:alluse:certificate:v1"
    digests = {row["name"]: row["digest"] for row in statement["subject"]}
    evidence = gzip.decompress(signed.evidence.read_bytes())
    assert digests["deployment:staging@1.2.3"] == {"sha256": "ab" * 32}
    assert digests["contract:1.0.0"] == {"sha256": "e" * 64}
    predicate = statement["predicate"]
    assert digests["evidence:run-1"] == {"sha256": predicate["evidence"]["sha256"]}
    assert evidence
    assert predicate["score"]["lower"] == {"exact": "1", "decimal": "1.0000"}
    assert predicate["detection_power"] == {"caught": "30/30"}
    assert predicate["not_tested"]["not_tested"] == {"SEC-COMP-STD": "granted by a body"}
    assert predicate["testability_used"] is False
    assert predicate["issuance"]["operator"] == "Ada"
    assert predicate["issuance"]["valid_until"] == "2026-05-30T12:00:00Z"
    assert "does not claim conformity" in predicate["disclaimer"]


def test_a_standard_test_result_stands_beside_it(signed: Signed) -> None:
    path = signed.certificate.with_name("test-result.intoto.json")
    statement = statement_of(path)
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["predicate"]["result"] == "PASSED"
    assert statement["predicate"]["passedTests"] == [CHECK]
    sealed = open_envelope(path.read_bytes())
    assert signature_state(sealed, load_trusted([signed.public])) is SignatureState.TRUSTED
    assert ask(signed, certificate=path).claims.answer is UNKNOWN


def test_a_run_that_failed_is_signed_with_its_level_in_the_title(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    evidence = record(tmp_path / "run", outcome=Outcome.FAIL)
    certificate = sign_at(evidence, pair.private)
    report = verify(certificate, evidence, trusted=[pair.public], now=NOW)
    assert report.exit_code is ExitCode.REACHED
    assert report.title is not None
    assert report.title.startswith("SMOKE_FAILED: ")
    assert "SMOKE_PASSED was requested and not reached" in report.title
    beside = statement_of(certificate.with_name("test-result.intoto.json"))
    assert beside["predicate"]["result"] == "FAILED"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"selection": "-k money"}, "partial run: -k money"),
        ({"ended": "interrupted"}, "the run ended as interrupted"),
        ({"ended": None}, "the footer is missing"),
        ({"source": "reported", "target": None}, "reported, not observed"),
        ({"reported": True}, "reported, not observed"),
        ({"source": "imagined"}, "its source is 'imagined'"),
    ],
)
def test_partial_interrupted_and_reported_runs_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    pair = generate_key(tmp_path / "k")
    evidence = record(tmp_path / "run", **changes)
    with pytest.raises(UsageError, match=reason) as raised:
        sign_at(evidence, pair.private)
    assert raised.value.exit_code is ExitCode.USAGE


def test_evidence_that_changed_after_it_was_judged_is_not_signed(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    judgement = judge(record(tmp_path / "a"), today=NOW.date())
    other = record(tmp_path / "b", outcome=Outcome.FAIL)
    with pytest.raises(UsageError, match="not the evidence that was judged"):
        sign(judgement, other, private_key_path=pair.private, operator="", now=NOW)


def test_a_verdict_of_another_profile_is_not_signed(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    evidence = record(tmp_path / "run")
    judgement = judge(evidence, profile=load_profile("standard"), today=NOW.date())
    with pytest.raises(UsageError, match="another profile"):
        sign(judgement, evidence, private_key_path=pair.private, operator="", now=NOW)


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_certificate_without_a_sensible_end_is_refused(signed: Signed, days: int) -> None:
    with pytest.raises(UsageError, match=f"valid for {days} days"):
        sign_at(signed.evidence, signed.private, valid_days=days)


@given(st.fractions(min_value=0, max_value=1))
def test_a_decimal_is_never_above_its_fraction(value: Fraction) -> None:
    shown = Fraction(decimal(value))
    assert shown <= value < shown + Fraction(1, 10_000)


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_what_is_signed_follows_the_published_schema(tmp_path: Path, outcome: Outcome) -> None:
    schema = json.loads(
        (Path(certification.__file__).parent / "schemas" / "certificate.schema.json").read_text()
    )
    evidence = record(tmp_path / "run", outcome=outcome)
    certificate = sign_at(evidence, generate_key(tmp_path / "k").private)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(statement_of(certificate))
