"""Recorded runs made by hand for the tests and the benchmark of the reports."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from certification.evidence import EVIDENCE_FORMAT, EvidenceWriter
from certification.judge import Judgement, judge
from certification.model import (
    SUITE_CATEGORY,
    Attestation,
    CaseResult,
    CheckId,
    DutyKind,
    Exchange,
    Finding,
    Header,
    Incident,
    LeftBehind,
    Measurement,
    Outcome,
    PlannedCheck,
    RequirementId,
    Severity,
    TargetIdentity,
    Veto,
    Waiver,
)
from certification.profile import load_profile
from certification.register import load_register
from certification.report import write_reports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TODAY = date(2026, 3, 1)
STARTED, ENDED = "2026-03-01T09:00:00+00:00", "2026-03-01T09:04:31+00:00"

QUESTIONS = (
    "Two concurrent withdrawals never spend the same money",
    "A repeated request with the same key is answered once",
    "A stale precondition is refused",
    "A page cursor survives an insertion",
    "An amount with too many decimals is refused",
    "A closed account keeps its entries",
    "A viewer cannot move money",
    "The balance equals the sum of its entries",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a target could write into a run; a hostile run replaces all of it."""

    message: str = "The second withdrawal was accepted although the balance was spent"
    expected: str = 'status 409 with code "insufficient-funds"'
    observed: str = 'status 201, balance "-40.00"'
    reason: str = "the fault was injected, but no outside witness saw it"
    body: str = '{"id": "txn_8841", "amount": {"minor": -4000, "currency": "EUR"}}'
    header: str = "application/json"
    url: str = "https://accounts.example.test/v1/accounts/acc_17/transactions"
    name: str = "accounts.example.test"
    case: str = "currency=EUR"
    check_suffix: str = ""
    title: str = ""

    @classmethod
    def hostile(cls, text: str) -> Texts:
        """Return texts that all carry `text`."""
        return cls(**dict.fromkeys(cls.__slots__, text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which run to make."""

    checks: int = 48
    outcomes: Sequence[Outcome] = (
        *(Outcome.FAIL, Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.PASS),
        *(Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.NOT_EXERCISED),
        *(Outcome.PASS, Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.PASS),
        *(Outcome.PASS, Outcome.PASS, Outcome.ERROR, Outcome.PASS, Outcome.NOT_APPLICABLE),
        *(Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.PASS),
    )
    texts: Texts = Texts()
    selection: str | None = None
    waived: bool = True
    veto: bool = True
    seed: int = 4711


def outcome_of(shape: Shape, number: int) -> Outcome:
    """Return the outcome of the check with this number."""
    return shape.outcomes[number % len(shape.outcomes)]


def planned(shape: Shape) -> tuple[PlannedCheck, ...]:
    """Return the plan: checks over all suites, requirements of the real register."""
    suites = list(SUITE_CATEGORY)
    by_category: dict[object, list[RequirementId]] = {}
    for row in load_register():
        if row.kind is not DutyKind.CHECK:
            continue
        by_category.setdefault(row.category, []).append(row.id)
    turns = {category: itertools.cycle(ids) for category, ids in by_category.items()}
    plan: list[PlannedCheck] = []
    for number in range(shape.checks):
        suite = suites[number % len(suites)]
        category = SUITE_CATEGORY[suite]
        question = QUESTIONS[number % len(QUESTIONS)]
        slug = "-".join(question.lower().split()[:4])
        plan.append(
            PlannedCheck(
                id=CheckId(f"{suite}/area{number % 5}/{slug}-{number}{shape.texts.check_suffix}"),
                version=1,
                suite=suite,
                category=category,
                title=f"{question}{shape.texts.title}",
                failure_title=f"Not so: {question[0].lower()}{question[1:]}{shape.texts.title}",
                severity=list(Severity)[number % 4],
                requirements=(next(turns[category]), next(turns[category])),
                phase="parallel",
                veto=Veto.DOUBLE_SPEND if shape.veto and number == 0 else None,
                defects=("double-spend",),
                standards=("OWASP-API:2023-1",) if suite == "security" else (),
            )
        )
    return tuple(plan)


def header(shape: Shape) -> Header:
    """Return the header of a run under the profile `standard`."""
    profile, texts, plan = load_profile("standard"), shape.texts, planned(shape)
    waiver = Waiver(
        check=plan[0].id,
        reason=f"accepted until the ledger is replaced {texts.title}",
        owner="Ada Lindqvist",
        ticket="LEDGER-88",
        expires="2026-06-30",
    )
    register = load_register()
    statement = Attestation(
        requirement=register[-1].id,
        statement=f"The roll-back was rehearsed on 12 February {texts.title}",
        person="Grace Okafor",
        role="release manager",
        date="2026-02-12",
        expires="2026-08-12",
    )
    return Header(
        format=EVIDENCE_FORMAT,
        run_id="run-20260301-4711",
        started_at=STARTED,
        seed=shape.seed,
        harness="0.1.0",
        scoring="1",
        contract_version="1.0.0",
        contract_sha256="c0" * 32,
        profile=profile.document,
        profile_sha256=profile.sha256,
        requested_level="PRODUCTION_READY",
        selection=shape.selection,
        source="observed",
        target=identity(texts),
        register=register,
        plan=plan,
        waivers=(waiver,) if shape.waived else (),
        attestations=(statement,),
        detection={"planted_defects": {"caught": 41, "of": 42}, "false_alarms": "0 of 400"},
        operator="release desk",
    )


def identity(texts: Texts) -> TargetIdentity:
    """Return what the deployment said it is."""
    return TargetIdentity(
        target_id=texts.name,
        base_url="https://accounts.example.test",
        implementation=f"ledger-ng {texts.title}",
        version="2.4.1",
        build="9f31c2e",
        instances=("a", "b"),
        contract_version="1.0.0",
        openapi_sha256="0a" * 32,
        modules=("core", "growth"),
        capability_sha256="ca" * 32,
    )


def case_of(check: PlannedCheck, outcome: Outcome, texts: Texts) -> CaseResult:
    """Return the one case of a check."""
    finding = Finding(
        message=texts.message, expected=texts.expected, observed=texts.observed, exchanges=(2,)
    )
    failed = outcome is Outcome.FAIL
    return CaseResult(
        check=check.id,
        case=texts.case,
        outcome=outcome,
        reason=None if outcome is Outcome.PASS else texts.reason,
        findings=(finding,) if failed else (),
        attempts=(outcome,),
        observations=3,
        started_at=STARTED,
        duration_ms=137.4,
        traceback=f"ValueError: {texts.message}" if outcome is Outcome.ERROR else None,
    )


def exchanges_of(case: CaseResult, texts: Texts) -> Iterator[Exchange]:
    """Return three exchanges of a case."""
    for number in (1, 2, 3):
        yield Exchange(
            check=case.check,
            case=case.case,
            attempt=1,
            number=number,
            identity="customer",
            operation=f"createTransaction{texts.title}",
            method="POST",
            url=texts.url,
            request_headers=(
                ("Authorization", "[redacted]"),
                ("Idempotency-Key", "k-0017"),
                ("Content-Type", texts.header),
            ),
            request_body='{"type": "withdrawal", "amount": {"minor": 4000, "currency": "EUR"}}',
            started_at=STARTED,
            elapsed_ms=12.6,
            status=201,
            response_headers=(("Content-Type", texts.header), ("X-Request-Id", "r-55")),
            response_body=texts.body,
        )


def write_run(path: Path, shape: Shape | None = None) -> Path:
    """Write the evidence file of a run and return where it is."""
    shape = shape or Shape()
    top = header(shape)
    writer = EvidenceWriter(path)
    writer.write(top)
    for number, check in enumerate(top.plan):
        outcome = outcome_of(shape, number)
        case = case_of(check, outcome, shape.texts)
        if outcome not in (Outcome.NOT_EXERCISED, Outcome.NOT_APPLICABLE):
            for exchange in exchanges_of(case, shape.texts):
                writer.write(exchange)
        writer.write(case)
    writer.write(
        Measurement(
            check=top.plan[1].id, name="get_account_p95", value=31.4, unit="ms", n=4000,
            lower=30.1, upper=33.0,
        )
    )  # fmt: skip
    writer.write(
        Incident(what="worker_crashed", detail=shape.texts.reason, at=STARTED, voids_verdict=False)
    )
    return writer.close(
        ended="completed",
        ended_at=ENDED,
        target=top.target,
        left_behind=(LeftBehind(kind="account", id="acc_17", detail=shape.texts.reason),),
        requests=3 * len(top.plan),
    )


def remedies(shape: Shape) -> dict[str, dict[str, str]]:
    """Return catalogue texts for every check of the run."""
    texts = {
        "Why": "Money that is spent twice is lost by the operator and never found by the customer.",
        "How": "Twenty withdrawals of the whole balance are sent at the same moment.",
        "Fails when": "More than one is accepted, or the balance is below zero afterwards.",
        "Remedy": "Check and reduce the balance in one transaction, under a lock on the account.",
    }
    return {
        check.id: {name: text + shape.texts.title for name, text in texts.items()}
        for check in planned(shape)
    }


def judged(folder: Path, shape: Shape | None = None) -> tuple[Judgement, Path]:
    """Write a run, judge it, and return both."""
    folder.mkdir(parents=True, exist_ok=True)
    evidence = write_run(folder / "evidence.jsonl", shape)
    return judge(evidence, today=TODAY), evidence


def reported(folder: Path, shape: Shape | None = None) -> tuple[Judgement, Path]:
    """Write a run with all its reports into `folder`; return the judgement and the folder."""
    judgement, evidence = judged(folder, shape)
    write_reports(judgement, evidence, folder, remedies=remedies(shape or Shape()))
    return judgement, folder


def changed(shape: Shape, **changes: object) -> Shape:
    """Return a shape with some fields changed."""
    return replace(shape, **changes)  # type: ignore[arg-type]  # the fields' types stand in Shape
