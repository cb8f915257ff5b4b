"""The go-live approval: a person's countersignature on a certificate, in an envelope of its own.

A second signature inside the certificate could not say who signs as what, since both would cover
the same bytes. The approval names certificate (by digest), person and day, and signs that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certification.certificate.envelope import (
    EnvelopeError,
    SignatureState,
    open_envelope,
    read_envelope_file,
    seal,
    signature_state,
)
from certification.certificate.reading import parse_certificate, parse_statement
from certification.certificate.statement import STATEMENT_TYPE, utc
from certification.certificate.verification import Answer, Answered, answer_signature
from certification.errors import UsageError
from certification.keys import load_private_key, load_trusted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

APPROVAL_FILE = "approval.intoto.json"
APPROVAL_TYPE = "urn:alluse:approval:v1"
QUESTION = "approved for go-live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approver:
    """Who approves; a name is required, because a key alone is nobody."""

    person: str
    role: str


def countersign(
    certificate_path: Path, *, private_key_path: Path, approver: Approver, now: datetime
) -> bytes:
    """Approve a certificate; the bytes of `approval.intoto.json`.

    Raises `UsageError` where the file is no certificate, where person or role is not named, and
    where the key is the one that signed the certificate: four eyes need two keys.
    """
    data = read_envelope_file(certificate_path)
    try:
        sealed = open_envelope(data)
        statement = parse_certificate(sealed)
    except EnvelopeError as error:
        raise UsageError(f"{certificate_path}: not a certificate: {error}") from None
    if not approver.person.strip() or not approver.role.strip():
        raise UsageError("an approval needs a person and a role", hint="name both")
    signer = load_private_key(private_key_path)
    if signer.public_key.keyid == sealed.keyid:
        raise UsageError(
            f"{private_key_path}: this key signed the certificate itself",
            hint="let another person approve with a key of their own",
        )
    approval = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "certificate", "digest": {"sha256": _digest(data)}}],
        "predicateType": APPROVAL_TYPE,
        "predicate": {
            "person": approver.person.strip(),
            "role": approver.role.strip(),
            "approved": utc(now),
            "title": statement["predicate"]["title"],
            "keyid": signer.public_key.keyid,
        },
    }
    return seal(approval, signer)


def verify_approval(
    approval_path: Path, certificate_path: Path, *, trusted: Sequence[Path]
) -> Answered:
    """Answer whether a key you trust approved exactly this certificate.

    Whether the certificate itself holds is `verify`'s to say.
    """
    keys = load_trusted(trusted)
    certificate = read_envelope_file(certificate_path)
    try:
        sealed = open_envelope(read_envelope_file(approval_path))
        state = signature_state(sealed, keys)
        if state is not SignatureState.TRUSTED:
            signed = answer_signature(sealed, state)
            return Answered(question=QUESTION, answer=signed.answer, because=signed.because)
        statement = parse_statement(sealed, kind=APPROVAL_TYPE, needed={"person": str, "role": str})
    except EnvelopeError as error:
        return Answered(question=QUESTION, answer=Answer.NO, because=f"not an approval: {error}")
    approved = [{"name": "certificate", "digest": {"sha256": _digest(certificate)}}]
    if statement.get("subject") != approved:
        because = "the approval is of another certificate"
        return Answered(question=QUESTION, answer=Answer.NO, because=because)
    predicate = statement["predicate"]
    because = f"by {predicate['person']}, {predicate['role']}, key {sealed.keyid}"
    return Answered(question=QUESTION, answer=Answer.YES, because=because)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
