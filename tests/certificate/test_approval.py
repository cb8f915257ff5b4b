from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from certification.certificate import (
    generate_key,
)
from certification.certificate.envelope import (
    canonical,
)
from certification.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from certification.keys import KeyPair

from certification.certificate import Approver, countersign, verify_approval
from tests.certificate.signed_run import NO, NOW, UNKNOWN, YES, Signed, ask, sign_at, statement_of

ADA = Approver(person="Ada Byron", role="head of operations")


@pytest.fixture
def approver(tmp_path: Path) -> KeyPair:
    return generate_key(tmp_path / "approver")


@pytest.fixture
def approval(signed: Signed, approver: KeyPair, tmp_path: Path) -> Path:
    path = tmp_path / "approval.intoto.json"
    path.write_bytes(
        countersign(signed.certificate, private_key_path=approver.private, approver=ADA, now=NOW)
    )
    return path


def test_an_approval_names_its_person_and_binds_one_certificate(
    signed: Signed, approver: KeyPair, approval: Path
) -> None:
    answered = verify_approval(approval, signed.certificate, trusted=[approver.public])
    assert answered.answer is YES
    assert answered.because == f"by Ada Byron, head of operations, key {approver.keyid}"
    statement = statement_of(approval)
    assert statement["predicate"]["approved"] == "2026-03-01T12:00:00Z"
    assert statement["predicate"]["title"].startswith("SMOKE_PASSED: ")


def test_the_certificate_stays_as_it_was(signed: Signed, approval: Path) -> None:
    assert approval.exists()
    assert ask(signed).exit_code is ExitCode.REACHED


def test_an_approval_of_another_certificate_does_not_count(
    signed: Signed, approver: KeyPair, approval: Path
) -> None:
    sign_at(signed.evidence, signed.private, valid_days=30)
    answered = verify_approval(approval, signed.certificate, trusted=[approver.public])
    assert (answered.answer, answered.because) == (NO, "the approval is of another certificate")


def test_an_approver_nobody_trusts_and_a_forged_approval_differ(
    signed: Signed, approver: KeyPair, approval: Path
) -> None:
    stranger = verify_approval(approval, signed.certificate, trusted=[signed.public])
    assert stranger.answer is UNKNOWN
    envelope = json.loads(approval.read_bytes())
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    approval.write_bytes(canonical(envelope) + b"\n")
    forged = verify_approval(approval, signed.certificate, trusted=[approver.public])
    assert forged.answer is NO
    assert forged.because.startswith("bad signature")


def test_a_certificate_is_no_approval_of_itself(signed: Signed) -> None:
    answered = verify_approval(signed.certificate, signed.certificate, trusted=[signed.public])
    assert answered.answer is NO
    assert answered.because.startswith("not an approval")


def test_the_signer_cannot_approve(signed: Signed) -> None:
    with pytest.raises(UsageError, match="signed the certificate itself"):
        countersign(signed.certificate, private_key_path=signed.private, approver=ADA, now=NOW)


@pytest.mark.parametrize("nobody", [Approver(person=" ", role="r"), Approver(person="p", role="")])
def test_an_approval_without_a_person_is_refused(
    signed: Signed, approver: KeyPair, nobody: Approver
) -> None:
    with pytest.raises(UsageError, match="a person and a role"):
        countersign(signed.certificate, private_key_path=approver.private, approver=nobody, now=NOW)


def test_only_a_certificate_can_be_approved(
    signed: Signed, approver: KeyPair, approval: Path
) -> None:
    for path in (approval, signed.evidence):
        with pytest.raises(UsageError, match="not a certificate"):
            countersign(path, private_key_path=approver.private, approver=ADA, now=NOW)
