"""Signs a judgement: a certificate, and the standard test-result statement beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from certification.certificate.envelope import seal
from certification.certificate.statement import certificate_statement, test_result_statement
from certification.errors import UsageError
from certification.evidence import read_run
from certification.keys import load_private_key

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from certification.judge import Judgement

CERTIFICATE_FILE = "certificate.intoto.json"
TEST_RESULT_FILE = "test-result.intoto.json"
VALID_DAYS_MAX = 366
"""A deployment that nobody certified for over a year has changed, or its surroundings have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCertificate:
    """Two sealed envelopes, as the bytes of their files."""

    certificate: bytes
    test_result: bytes
    keyid: str


def sign(  # noqa: PLR0913 - each is one plain fact about who signs what, when and for how long
    judgement: Judgement,
    evidence_path: Path,
    *,
    private_key_path: Path,
    operator: str,
    now: datetime,
    valid_days: int = 90,
) -> SignedCertificate:
    """Sign what was judged, whatever level it came to.

    `now` must know its time zone. Raises `UsageError` for a partial, interrupted or reported run
    with the verdict's reasons, for evidence or a profile that is not the one recorded, and
    for a key that cannot sign.
    """
    reasons = judgement.verdict.not_certifiable
    if not reasons and judgement.run.header.source != "observed":
        # The verdict knows `reported`; an unheard-of source must not pass for observed.
        reasons = (f"its source is {judgement.run.header.source!r:.80}",)
    if reasons:
        raise UsageError(
            f"{evidence_path}: no certificate can be signed: {'; '.join(reasons)}",
            hint="sign a whole run that ended by itself on a target that was observed",
        )
    if not 1 <= valid_days <= VALID_DAYS_MAX:
        raise UsageError(
            f"a certificate cannot be valid for {valid_days} days",
            hint=f"choose 1 to {VALID_DAYS_MAX}",
        )
    if judgement.profile.sha256 != judgement.run.header.profile_sha256:
        raise UsageError(
            f"{evidence_path}: was judged under another profile than it was recorded under",
            hint="sign the verdict of the recorded profile",
        )
    signer = load_private_key(private_key_path)
    if read_run(evidence_path).digest != judgement.run.digest:
        raise UsageError(
            f"{evidence_path}: is not the evidence that was judged",
            hint="judge it again, then sign",
        )
    keyid = signer.public_key.keyid
    statement = certificate_statement(
        judgement, keyid=keyid, operator=operator, issued=now, valid_days=valid_days
    )
    return SignedCertificate(
        certificate=seal(statement, signer),
        test_result=seal(test_result_statement(judgement), signer),
        keyid=keyid,
    )


def write_certificate(signed: SignedCertificate, folder: Path) -> tuple[Path, Path]:
    """Write both envelopes into a run directory; returns their paths."""
    certificate, test_result = folder / CERTIFICATE_FILE, folder / TEST_RESULT_FILE
    try:
        certificate.write_bytes(signed.certificate)
        test_result.write_bytes(signed.test_result)
    except OSError as error:
        raise UsageError(
            f"{folder}: the certificate cannot be written ({error.strerror})",
            hint="choose a folder you can write to",
        ) from None
    return certificate, test_result
