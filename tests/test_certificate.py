from __future__ import annotations

import base64
import gzip
import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certification.certificate import (
    Answer,
    VerifyReport,
    generate_key,
    sign,
    verify,
    write_certificate,
)
from certification.certificate import verification as verification_module
from certification.certificate.envelope import (
    EnvelopeError,
    SignatureState,
    canonical,
    open_envelope,
    seal,
    signature_state,
)
from certification.certificate.statement import decimal
from certification.errors import ExitCode, UsageError
from certification.evidence import EVIDENCE_FORMAT, EvidenceWriter
from certification.judge import judge
from certification.keys import load_private_key, load_trusted
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


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    pair = generate_key(tmp_path / "release")
    evidence = record(tmp_path / "run")
    certificate = sign_at(evidence, pair.private)
    return Signed(evidence, certificate, pair.private, pair.public, pair.keyid)


def ask(signed: Signed, **changes: Any) -> VerifyReport:
    asked = {"certificate": signed.certificate, "evidence": signed.evidence, "now": NOW}
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


def test_a_signed_run_verifies_offline_with_every_answer_yes(signed: Signed) -> None:
    report = ask(signed)
    assert answers(report) == (YES, YES, YES, YES)
    assert report.exit_code is ExitCode.REACHED
    assert report.title is not None
    assert report.title.startswith("SMOKE_PASSED: staging 1.2.3, profile smoke")


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


def test_no_changed_byte_anywhere_is_trusted(signed: Signed) -> None:
    data = signed.certificate.read_bytes()
    trusted = load_trusted([signed.public])
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        try:
            state = signature_state(open_envelope(bytes(changed)), trusted)
        except EnvelopeError:
            continue
        assert state is not SignatureState.TRUSTED, position


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_byte_for_any_other_ends_in_an_answer_and_never_in_trust(
    signed: Signed, tmp_path: Path, data: st.DataObject
) -> None:
    original = signed.certificate.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[position]))
    changed = tmp_path / "changed.json"
    changed.write_bytes(original[:position] + bytes([value]) + original[position + 1 :])
    report = ask(signed, certificate=changed)
    assert report.signature.answer is not YES
    assert report.exit_code is not ExitCode.REACHED


def test_a_space_or_an_unused_base64_bit_is_a_change_too(signed: Signed) -> None:
    data = signed.certificate.read_bytes()
    pretty = json.dumps(json.loads(data), indent=1).encode()
    envelope = json.loads(data)
    sig = envelope["signatures"][0]["sig"]
    assert sig.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = alphabet[alphabet.index(sig[-3]) ^ 1]
    envelope["signatures"][0]["sig"] = f"{sig[:-3]}{twin}=="
    assert base64.b64decode(sig) == base64.b64decode(envelope["signatures"][0]["sig"])
    for changed in (pretty, data[:-1], data + b" ", canonical(envelope) + b"\n"):
        with pytest.raises(EnvelopeError):
            open_envelope(changed)


def test_an_unknown_key_and_a_bad_signature_are_different_answers(
    signed: Signed, tmp_path: Path
) -> None:
    other = generate_key(tmp_path / "other")
    stranger = ask(signed, trusted=[other.public])
    assert answers(stranger) == (UNKNOWN, YES, YES, YES)
    assert stranger.signature.because == f"signed by {signed.keyid}, not a key you trust"
    assert stranger.exit_code is ExitCode.INCONCLUSIVE

    envelope = json.loads(signed.certificate.read_bytes())
    forged = json.loads(seal(statement_of(signed.certificate), load_private_key(other.private)))
    envelope["signatures"][0]["sig"] = forged["signatures"][0]["sig"]
    signed.certificate.write_bytes(canonical(envelope) + b"\n")
    bad = ask(signed)
    assert bad.signature.answer is NO
    assert bad.signature.because.startswith("bad signature")
    assert bad.exit_code is ExitCode.NOT_REACHED


def test_without_any_key_nothing_is_trusted(signed: Signed) -> None:
    report = ask(signed, trusted=[])
    assert report.signature.answer is UNKNOWN
    assert report.exit_code is ExitCode.INCONCLUSIVE


def test_a_key_that_the_certificate_brings_along_is_never_trusted(
    signed: Signed, tmp_path: Path
) -> None:
    other = generate_key(tmp_path / "other")
    envelope = json.loads(signed.certificate.read_bytes())
    envelope["signatures"][0]["key"] = other.public.read_text()
    signed.certificate.write_bytes(canonical(envelope) + b"\n")
    assert ask(signed).signature.answer is NO


def test_a_folder_of_keys_is_trusted_key_by_key(signed: Signed, tmp_path: Path) -> None:
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy(generate_key(tmp_path / "other").public, folder)
    shutil.copy(signed.public, folder)
    assert ask(signed, trusted=[folder]).exit_code is ExitCode.REACHED


def test_expired_is_its_own_answer(signed: Signed) -> None:
    late = ask(signed, now=NOW + timedelta(days=91))
    assert answers(late) == (YES, YES, YES, NO)
    assert late.validity.because == "expired on 2026-05-30T12:00:00Z"
    assert late.exit_code is ExitCode.NOT_REACHED
    early = ask(signed, now=NOW - timedelta(days=1))
    assert early.validity.because == "not valid before 2026-03-01T12:00:00Z"


def test_without_evidence_the_signature_is_answered_and_the_rest_cannot_be_said(
    signed: Signed,
) -> None:
    report = ask(signed, evidence=None)
    assert answers(report) == (YES, UNKNOWN, UNKNOWN, YES)
    assert report.exit_code is ExitCode.INCONCLUSIVE


def test_edited_evidence_is_not_whole(signed: Signed, tmp_path: Path) -> None:
    plain = gzip.decompress(signed.evidence.read_bytes())
    edited = tmp_path / "edited.jsonl"
    edited.write_bytes(plain.replace(b'"observations":3', b'"observations":4'))
    assert edited.read_bytes() != plain
    report = ask(signed, evidence=edited)
    assert report.evidence.answer is NO
    assert report.exit_code is ExitCode.NOT_REACHED


def test_cut_evidence_is_not_whole(signed: Signed, tmp_path: Path) -> None:
    lines = gzip.decompress(signed.evidence.read_bytes()).splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:-1]))
    report = ask(signed, evidence=cut)
    assert report.evidence.answer is NO
    assert "no footer" in report.evidence.because
    assert report.claims.answer is NO


def test_the_evidence_of_another_run_neither_fits_nor_carries_the_claims(
    signed: Signed, tmp_path: Path
) -> None:
    other = record(tmp_path / "other-run", outcome=Outcome.FAIL)
    report = ask(signed, evidence=other)
    assert answers(report) == (YES, NO, NO, YES)
    assert "another file" in report.evidence.because
    assert "`level` is" in report.claims.because


def test_plain_and_compressed_evidence_are_the_same_evidence(
    signed: Signed, tmp_path: Path
) -> None:
    plain = tmp_path / "evidence.jsonl"
    plain.write_bytes(gzip.decompress(signed.evidence.read_bytes()))
    assert ask(signed, evidence=plain).exit_code is ExitCode.REACHED


def test_a_signer_who_claims_more_than_the_evidence_gives_is_found_out(signed: Signed) -> None:
    def promote(statement: dict[str, Any]) -> None:
        statement["predicate"]["level"] = "GOLD_STANDARD"

    resign(signed, promote)
    report = ask(signed)
    assert answers(report) == (YES, NO, YES, YES)
    assert '`level` is "GOLD_STANDARD", evidence gives "SMOKE_PASSED"' in report.claims.because


def test_claims_that_are_left_out_or_added_do_not_follow(signed: Signed) -> None:
    def add(statement: dict[str, Any]) -> None:
        statement["predicate"]["iso_27001"] = True
        del statement["predicate"]["vetoes"]

    resign(signed, add)
    report = ask(signed)
    assert report.claims.answer is NO
    assert "iso_27001" in report.claims.because
    assert "vetoes" in report.claims.because


def test_another_subject_does_not_follow(signed: Signed) -> None:
    def swap(statement: dict[str, Any]) -> None:
        statement["subject"][0]["digest"] = {"sha256": "0" * 64}

    resign(signed, swap)
    assert "the subject is another" in ask(signed).claims.because


def test_claims_of_other_scoring_rules_cannot_be_added_up_again(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification_module, "SCORING_VERSION", "99")
    report = ask(signed)
    assert answers(report) == (YES, UNKNOWN, YES, YES)
    assert report.exit_code is ExitCode.INCONCLUSIVE


def test_a_later_version_of_the_predicate_cannot_be_read(signed: Signed) -> None:
    resign(signed, lambda statement: statement.update(predicateType="urn:alluse:certificate:v2"))
    report = ask(signed)
    assert answers(report) == (YES, UNKNOWN, UNKNOWN, UNKNOWN)
    assert "urn:alluse:certificate:v2" in report.claims.because


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s["predicate"].pop("issuance"),
        lambda s: s["predicate"].update(title=3),
        lambda s: s["predicate"]["issuance"].update(valid_until="soon"),
        lambda s: s.update(predicate=[]),
        lambda s: s["predicate"].update(evidence="x"),
        lambda s: s.update(_type="other"),
    ],
)
def test_a_signed_statement_without_sense_is_answered_without_a_traceback(
    signed: Signed, edit: Callable[[dict[str, Any]], None]
) -> None:
    resign(signed, edit)
    report = ask(signed)
    assert report.claims.answer is UNKNOWN
    assert report.exit_code is ExitCode.INCONCLUSIVE


def envelope_bytes(**changes: Any) -> bytes:
    document: dict[str, Any] = {
        "payload": "e30=",
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": "a" * 64, "sig": "AAAA"}],
    }
    return canonical(document | changes) + b"\n"


ONE_SIGNATURE = {"keyid": "a" * 64, "sig": "AAAA"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "no JSON object"),
        (b"{}", "no DSSE envelope"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"payload":NaN}', "NaN is no JSON"),
        (b'{"payload":"","payload":""}', "a key is there twice"),
        (b'{"payload":"\\ud800"}', "not UTF-8"),
        (b" " * (8 * 1024 * 1024 + 1), "larger than"),
        (envelope_bytes(payloadType="text/html"), "payload type is 'text/html'"),
        (envelope_bytes(payload="?"), "not base64"),
        (envelope_bytes(payload=3), "the payload is no text"),
        (envelope_bytes(signatures=[]), "0 signatures"),
        (envelope_bytes(signatures=[ONE_SIGNATURE, ONE_SIGNATURE]), "2 signatures"),
        (envelope_bytes(signatures=["x"]), "needs keyid and sig"),
        (envelope_bytes(signatures=[ONE_SIGNATURE | {"sig": 1}]), "are texts"),
        (envelope_bytes(signatures=[ONE_SIGNATURE | {"sig": "é"}]), "not base64"),
        (envelope_bytes(signatures=[ONE_SIGNATURE | {"keyid": "<b>"}]), "keyid"),
    ],
)
def test_what_is_no_certificate_gets_one_clear_line(
    signed: Signed, data: bytes, message: str
) -> None:
    signed.certificate.write_bytes(data)
    report = ask(signed)
    assert report.signature.answer is NO
    assert message in report.signature.because
    assert "\n" not in report.signature.because
    assert report.exit_code is ExitCode.NOT_REACHED


def test_files_that_are_not_there_are_the_operators_mistake(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        ask(signed, certificate=tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        ask(signed, trusted=[tmp_path / "none.pub"])
    with pytest.raises(UsageError, match="private key"):
        ask(signed, trusted=[signed.private])
    with pytest.raises(UsageError, match=r"no \*\.pub file"):
        ask(signed, trusted=[signed.evidence.parent])


@given(st.fractions(min_value=0, max_value=1))
def test_a_decimal_is_never_above_its_fraction(value: Fraction) -> None:
    shown = Fraction(decimal(value))
    assert shown <= value < shown + Fraction(1, 10_000)


def test_keys_have_their_modes_and_are_never_overwritten(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    assert pair.private.stat().st_mode & 0o777 == 0o600
    assert pair.public.stat().st_mode & 0o777 == 0o644
    before = pair.private.read_bytes(), pair.public.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "k")
    assert (pair.private.read_bytes(), pair.public.read_bytes()) == before


def test_where_one_half_exists_neither_is_written(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "k")
    assert [path.name for path in tmp_path.iterdir()] == ["k.pem"]
    assert (tmp_path / "k.pem").read_text() == "mine"


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "k.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="never overwritten"):
        generate_key(tmp_path / "k")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello", "not a private key"), (b"x" * 20_000, "too large"), (b"", "not a private key")],
)
def test_what_is_no_key_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "k.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=message):
        load_private_key(path)


def test_a_private_key_that_everyone_can_read_is_refused(tmp_path: Path) -> None:
    pair = generate_key(tmp_path / "k")
    pair.private.chmod(0o644)
    with pytest.raises(UsageError, match="every user can read") as raised:
        load_private_key(pair.private)
    assert raised.value.hint == f"chmod 600 {pair.private}"
    pair.public.chmod(0o600)
    with pytest.raises(UsageError, match="public key"):
        load_private_key(pair.public)
