"""The certificate: a signed statement that anyone can verify offline against the evidence."""

from __future__ import annotations

from certification.certificate.approval import (
    APPROVAL_FILE,
    Approver,
    countersign,
    verify_approval,
)
from certification.certificate.signing import (
    CERTIFICATE_FILE,
    TEST_RESULT_FILE,
    SignedCertificate,
    sign,
    write_certificate,
)
from certification.certificate.verification import (
    Answer,
    Answered,
    VerifyReport,
    exit_code,
    verify,
)
from certification.keys import KeyPair, generate_key

__all__ = [
    "APPROVAL_FILE",
    "CERTIFICATE_FILE",
    "TEST_RESULT_FILE",
    "Answer",
    "Answered",
    "Approver",
    "KeyPair",
    "SignedCertificate",
    "VerifyReport",
    "countersign",
    "exit_code",
    "generate_key",
    "sign",
    "verify",
    "verify_approval",
    "write_certificate",
]
