"""Writes what a judged run leaves in its folder: the reports, and a certificate with a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from certification.certificate import sign, write_certificate
from certification.checks import CheckSpec, load_catalogue
from certification.judge import Judgement
from certification.report import write_reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """With which key, by whom, when and for how long."""

    key: Path
    operator: str
    now: datetime
    valid_days: int


def write_outputs(
    judgement: Judgement, evidence: Path, out: Path, *, signing: Signing | None = None
) -> tuple[Path, ...]:
    """Write every report, then the certificate; return their paths.

    Raises `UsageError` where the run cannot be signed; the reports are written all the same.
    """
    written = write_reports(judgement, evidence, out, remedies=remedies(load_catalogue()))
    if signing is None:
        return written
    signed = sign(
        judgement,
        evidence,
        private_key_path=signing.key,
        operator=signing.operator,
        now=signing.now,
        valid_days=signing.valid_days,
    )
    return (*written, *write_certificate(signed, out))


def remedies(catalogue: tuple[CheckSpec, ...]) -> dict[str, dict[str, str]]:
    """Return the catalogue's texts by check id: Why, How, Fails when, Remedy."""
    return {spec.id: dict(spec.docs) for spec in catalogue}
