from __future__ import annotations

import gzip
import json
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from certification.certificate import (
    generate_key,
)
from certification.certificate import verification as verification_module
from certification.certificate.envelope import (
    canonical,
    seal,
)
from certification.errors import ExitCode, UsageError
from certification.keys import load_private_key
from certification.model import (
    Outcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.certificate.signed_run import (
    NO,
    NOW,
    UNKNOWN,
    YES,
    Signed,
    answers,
    ask,
    record,
    resign,
    statement_of,
)


def test_a_signed_run_verifies_offline_with_every_answer_yes(signed: Signed) -> None:
    report = ask(signed)
    assert answers(report) == (YES, YES, YES, YES)
    assert report.exit_code is ExitCode.REACHED
    assert report.title is not None
    assert report.title.startswith("SMOKE_PASSED: staging 1.2.3, profile smoke")


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


def test_files_that_are_not_there_are_the_operators_mistake(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        ask(signed, certificate=tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        ask(signed, trusted=[tmp_path / "none.pub"])
    with pytest.raises(UsageError, match="private key"):
        ask(signed, trusted=[signed.private])
    with pytest.raises(UsageError, match=r"no \*\.pub file"):
        ask(signed, trusted=[signed.evidence.parent])
