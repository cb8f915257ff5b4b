"""The certificate: a signed statement that anyone can verify offline against the evidence."""

from __future__ import annotations

from certification.certificate.signing import (
    CERTIFICATE_FILE,
    TEST_RESULT_FILE,
    SignedCertificate,
    sign,
    write_certificate,
)
from certification.certificate.verification import Answer, Answered, VerifyReport, verify
from certification.keys import KeyPair, generate_key

__all__ = [
    "CERTIFICATE_FILE",
    "TEST_RESULT_FILE",
    "Answer",
    "Answered",
    "KeyPair",
    "SignedCertificate",
    "VerifyReport",
    "generate_key",
    "sign",
    "verify",
    "write_certificate",
]
