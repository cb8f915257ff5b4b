"""Verifies a certificate offline: signed by whom, following from what, whole, still valid."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from certification.certificate.envelope import (
    EnvelopeError,
    Sealed,
    SignatureState,
    canonical,
    open_envelope,
    read_envelope_file,
    signature_state,
)
from certification.certificate.reading import moment, parse_certificate
from certification.certificate.statement import (
    claims_of,
    subjects,
)
from certification.errors import CertificationError, EvidenceError, ExitCode
from certification.evidence import read_run
from certification.judge import Judgement, judge_run
from certification.keys import load_trusted
from certification.scoring import SCORING_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from certification.model import Json
    from certification.results import RecordedRun


class Answer(Enum):
    """Closed; UNKNOWN is never read as yes."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot say"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One question with its answer and one line that says why."""

    question: str
    answer: Answer
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The answers, apart; no answer is derived from another."""

    signature: Answered
    claims: Answered
    evidence: Answered
    validity: Answered
    title: str | None
    """What the certificate says of itself; believe it only where every answer is yes."""
    keyid: str | None

    @property
    def answers(self) -> tuple[Answered, ...]:
        """All four, in the order they are shown."""
        return (self.signature, self.claims, self.evidence, self.validity)

    @property
    def exit_code(self) -> ExitCode:
        """Give 1 for any definite no, else 3 where anything cannot be said, else 0."""
        return exit_code(self.answers)


def exit_code(answers: Sequence[Answered]) -> ExitCode:
    """Give 1 for any definite no, else 3 where anything cannot be said, else 0."""
    given = {answered.answer for answered in answers}
    if Answer.NO in given:
        return ExitCode.NOT_REACHED
    return ExitCode.INCONCLUSIVE if Answer.UNKNOWN in given else ExitCode.REACHED


def verify(
    certificate_path: Path,
    evidence_path: Path | None,
    *,
    trusted: Sequence[Path],
    now: datetime,
) -> VerifyReport:
    """Answer each question by itself; raises `UsageError` only where a file given cannot be opened.

    `trusted` are public key files or folders of them. No key is ever taken from the certificate.
    """
    keys = load_trusted(trusted)
    data = read_envelope_file(certificate_path)
    try:
        sealed = open_envelope(data)
        state = signature_state(sealed, keys)
    except EnvelopeError as fault:
        return _unreadable(str(fault), evidence_path)
    run, evidence = _evidence(evidence_path)
    try:
        statement = parse_certificate(sealed)
    except EnvelopeError as fault:
        because = f"what is signed cannot be read: {fault}"
        return VerifyReport(
            signature=answer_signature(sealed, state),
            claims=_claims(Answer.UNKNOWN, because),
            evidence=evidence or _whole(Answer.UNKNOWN, because),
            validity=_validity_answer(Answer.UNKNOWN, because),
            title=None,
            keyid=sealed.keyid,
        )
    predicate = statement["predicate"]
    return VerifyReport(
        signature=answer_signature(sealed, state),
        claims=_follow(statement, evidence_path, run),
        evidence=evidence or _digest(predicate, run),
        validity=_validity(predicate, sealed, now),
        title=predicate["title"],
        keyid=sealed.keyid,
    )


def answer_signature(sealed: Sealed, state: SignatureState) -> Answered:
    """Put the state of a signature in words; an unknown key and a bad signature differ."""
    match state:
        case SignatureState.TRUSTED:
            return _signed(Answer.YES, f"valid, by {sealed.keyid}, a key you trust")
        case SignatureState.UNKNOWN_KEY:
            return _signed(Answer.UNKNOWN, f"signed by {sealed.keyid}, not a key you trust")
        case SignatureState.BAD:
            because = f"bad signature: {sealed.keyid} is a key you trust and did not sign this"
            return _signed(Answer.NO, because)


def _evidence(path: Path | None) -> tuple[RecordedRun | None, Answered | None]:
    """Read the evidence; the second value is an answer where reading alone gives it."""
    if path is None:
        return None, _whole(Answer.UNKNOWN, "no evidence was given")
    try:
        run = read_run(path)
    except EvidenceError as error:
        return None, _whole(Answer.NO, error.message)
    if run.footer is None:
        return run, _whole(Answer.NO, f"{path}: cut off, there is no footer")
    return run, None


def _digest(predicate: Json, run: RecordedRun | None) -> Answered:
    certified = predicate["evidence"]["sha256"]
    if run is None or run.digest != certified:
        found = "none" if run is None else run.digest
        return _whole(Answer.NO, f"another file: certified {certified}, given {found}")
    return _whole(Answer.YES, f"whole, sha256 {certified}")


def _follow(statement: Json, path: Path | None, run: RecordedRun | None) -> Answered:
    predicate = statement["predicate"]
    if path is None:
        return _claims(Answer.UNKNOWN, "no evidence was given to add up again")
    if run is None:
        return _claims(Answer.UNKNOWN, "the evidence given cannot be read")
    if predicate["scoring"] != SCORING_VERSION:
        because = f"scored by rules {predicate['scoring']}, these are {SCORING_VERSION}"
        return _claims(Answer.UNKNOWN, because)
    issued = moment(predicate["issuance"]["issued"])
    try:
        again = judge_run(run, today=issued.date())
    except CertificationError as error:
        return _claims(Answer.NO, f"the evidence cannot be judged: {error.message}")
    wrong = _differences(statement, again)
    if again.verdict.not_certifiable:
        wrong += [f"not certifiable: {reason}" for reason in again.verdict.not_certifiable]
    if wrong:
        return _claims(Answer.NO, f"does not follow from the evidence: {'; '.join(wrong[:5])}")
    return _claims(Answer.YES, f"added up again from the evidence: {predicate['title']}")


def _differences(statement: Json, again: Judgement) -> list[str]:
    claimed = {k: v for k, v in statement["predicate"].items() if k != "issuance"}
    derived = claims_of(again)
    wrong = [
        f"`{key}` is {_short(claimed.get(key))}, evidence gives {_short(derived.get(key))}"
        for key in sorted(claimed.keys() | derived.keys())
        if canonical({"": claimed.get(key)}) != canonical({"": derived.get(key)})
    ]
    if canonical({"": statement.get("subject")}) != canonical({"": subjects(again)}):
        wrong.append("the subject is another")
    return wrong


def _short(value: object) -> str:
    text = canonical({"": value}).decode()[4:-1]
    return text if len(text) <= 90 else f"{text[:87]}..."


def _validity(predicate: Json, sealed: Sealed, now: datetime) -> Answered:
    issuance = predicate["issuance"]
    issued, until = issuance["issued"], issuance["valid_until"]
    if issuance["keyid"] != sealed.keyid:
        return _validity_answer(
            Answer.NO, f"issued for key {issuance['keyid'][:128]}, not the signer's"
        )
    if now < moment(issued):
        return _validity_answer(Answer.NO, f"not valid before {issued}")
    if now > moment(until):
        return _validity_answer(Answer.NO, f"expired on {until}")
    return _validity_answer(Answer.YES, f"issued {issued}, valid until {until}")


def _unreadable(fault: str, evidence_path: Path | None) -> VerifyReport:
    because = "the certificate cannot be read"
    _, evidence = _evidence(evidence_path)
    return VerifyReport(
        signature=_signed(Answer.NO, f"not a certificate: {fault}"),
        claims=_claims(Answer.UNKNOWN, because),
        evidence=evidence or _whole(Answer.UNKNOWN, because),
        validity=_validity_answer(Answer.UNKNOWN, because),
        title=None,
        keyid=None,
    )


def _signed(answer: Answer, because: str) -> Answered:
    return Answered(question="signed by a key you trust", answer=answer, because=because)


def _claims(answer: Answer, because: str) -> Answered:
    return Answered(question="follows from the evidence", answer=answer, because=because)


def _whole(answer: Answer, because: str) -> Answered:
    return Answered(question="evidence whole", answer=answer, because=because)


def _validity_answer(answer: Answer, because: str) -> Answered:
    return Answered(question="valid today", answer=answer, because=because)
