"""The whole run, from options to outputs, as one visible sequence of steps."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import certification
from certification import detection
from certification.checks import CheckSpec, load_catalogue
from certification.connection import Opened, open_target
from certification.contract import load_contract
from certification.counterparties.beside import wanted
from certification.errors import CertificationError, UsageError
from certification.evidence import EVIDENCE_FORMAT, EvidenceWriter
from certification.judge import Judgement, judge
from certification.model import (
    OUTCOME_RANK,
    Attestation,
    CaseResult,
    CheckId,
    Header,
    Incident,
    Outcome,
    PlannedCheck,
    TargetIdentity,
    Waiver,
    Workaround,
)
from certification.phases import PhaseEnd, PhaseRun, keyword_matches, run_phase
from certification.plan import PHASES, Selection, make_plan, offer_of, selected_ids, to_run
from certification.profile import Profile
from certification.progress import Display
from certification.register import load_register
from certification.results import SELECTION_PASSED
from certification.run_folder import prepare_folder, remove_unused
from certification.runfile import RunFile
from certification.scoring import SCORING_VERSION
from certification.spool import merge
from certification.target.launcher import Command

READY_DEADLINE_S = 20.0
BOOKED_SHOWN = 5
"""More checks with one common reason are told as a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that a run was asked to do."""

    profile: Profile
    out: Path
    target_file: Path | None = None
    """None: the reference is started here and stopped afterwards."""
    command: Command | None = None
    """How the local target is started instead, e.g. with a planted defect."""
    selection: Selection = field(default_factory=Selection)
    workers: int = 2
    level: str | None = None
    seed: int | None = None
    operator: str = ""
    waivers: tuple[Waiver, ...] = ()
    workarounds: tuple[Workaround, ...] = ()
    attestations: tuple[Attestation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What a run leaves: its evidence and the verdict on it."""

    evidence: Path
    judgement: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What the steps share once the plan stands."""

    config: RunConfig
    opened: Opened
    catalogue: dict[CheckId, CheckSpec]
    plan: tuple[PlannedCheck, ...]
    writer: EvidenceWriter
    display: Display
    interrupted: threading.Event
    ends_at_s: float | None


def run(config: RunConfig, *, display: Display, interrupted: threading.Event) -> RunOutcome:
    """Observe a target and judge what was seen.

    Raises `UsageError` before the first check for what the operator must mend, `HarnessError` where
    not even evidence could be written. Everything later ends in a footer and a verdict.
    """
    seed = config.seed if config.seed is not None else secrets.randbelow(1 << 31)
    catalogue = load_catalogue()
    prepare_folder(config.out)
    with ExitStack() as stack:
        stack.callback(remove_unused, config.out)
        opened = stack.enter_context(
            open_target(
                config.target_file or config.command,
                work=config.out,
                seed=seed,
                requests_max=config.profile.requests_max,
            )
        )
        display.note(f"target: {opened.identity.target_id} at {opened.identity.base_url}")
        plan = plan_run(config, catalogue, opened)
        if opened.counterparties is not None and wanted(plan):
            opened.counterparties.serve(opened.identity.base_url, ca=opened.target.tls.ca)
        writer = stack.enter_context(EvidenceWriter(config.out / "evidence.jsonl"))
        writer.write(header(config, opened, catalogue, plan))
        work = _Work(
            config=config,
            opened=opened,
            catalogue={spec.id: spec for spec in catalogue},
            plan=plan,
            writer=writer,
            display=display,
            interrupted=interrupted,
            ends_at_s=_ends_at_s(config.profile),
        )
        _refuse_two_builds(work, opened.builds)
        ended = observe(work)
        left = opened.all_left() if ended == "target_lost" else opened.tidy()
        at_end = identity_at_end(work, ended)
        for record in opened.own_records().records:
            writer.write(record)
        evidence = writer.close(
            ended=ended,
            ended_at=_now(),
            target=at_end,
            left_behind=left,
            requests=opened.requests(),
        )
    shutil.rmtree(config.out / "work", ignore_errors=True)
    display.close()
    return RunOutcome(evidence=evidence, judgement=judge(evidence, today=date.today()))  # noqa: DTZ011  the operator's day


def plan_run(
    config: RunConfig, catalogue: Sequence[CheckSpec], opened: Opened
) -> tuple[PlannedCheck, ...]:
    """Return the plan; raises `UsageError` where the selection keeps nothing."""
    selection = config.selection

    def by_keyword(keyword: str) -> frozenset[CheckId]:
        run_file = opened.work / "collect.json"
        ids = [spec.id for spec in catalogue]
        _run_file(opened, "collect", ids, config=config).write(run_file)
        try:
            return keyword_matches(keyword, catalogue, run_file)
        except ValueError as error:
            raise UsageError(f"-k {keyword}: {error}", hint="see pytest's help on -k") from error

    kept = selected_ids(catalogue, selection, keyword_matches=by_keyword)
    offer = offer_of(
        opened.capabilities,
        identities=opened.identities,
        grants=opened.grants,
        missing=opened.missing,
    )
    plan = make_plan(catalogue, config.profile, offer, kept)
    if selection.partial and not kept & {row.id for row in plan}:
        raise UsageError(
            f"{selection.text}: no check of the profile {config.profile.name} is selected",
            hint="`certify list` shows every check id",
        )
    return plan


def header(
    config: RunConfig,
    opened: Opened,
    catalogue: Sequence[CheckSpec],
    plan: tuple[PlannedCheck, ...],
) -> Header:
    """Return the first record: all that scoring needs besides the outcomes."""
    contract = load_contract()
    default = SELECTION_PASSED if config.selection.partial else config.profile.default_level
    return Header(
        format=EVIDENCE_FORMAT,
        run_id=opened.run_id,
        started_at=_now(),
        seed=opened.seed,
        harness=certification.__version__,
        scoring=SCORING_VERSION,
        contract_version=contract.version,
        contract_sha256=contract.sha256,
        profile=config.profile.document,
        profile_sha256=config.profile.sha256,
        requested_level=config.level or default,
        selection=config.selection.text,
        source="observed",
        target=opened.identity,
        register=load_register(),
        plan=plan,
        waivers=config.waivers,
        workarounds=config.workarounds,
        target_file=str(config.target_file) if config.target_file else None,
        attestations=config.attestations,
        detection=detection.load(catalogue),
        operator=config.operator,
    )


def observe(work: _Work) -> str:
    """Run the phases in order and write their records; return `Footer.ended`: how the run ended."""
    outcomes: dict[CheckId, Outcome] = {}
    ended = PhaseEnd.COMPLETED
    for phase in PHASES:
        rows = to_run(work.plan, phase)
        if ended is PhaseEnd.COMPLETED:
            runnable = _without_unmet(work, rows, outcomes)
            if runnable:
                ended = _one_phase(work, phase, runnable, outcomes)
        else:
            _book(work, rows, Outcome.NOT_EXERCISED, f"run cut short: {ended.value}")
    match ended:
        case PhaseEnd.COMPLETED:
            return "completed"
        case PhaseEnd.INTERRUPTED:
            return "interrupted"
        case PhaseEnd.TARGET_LOST:
            return "target_lost"
        case PhaseEnd.TIME_SPENT:
            return "time_spent"
        case PhaseEnd.HUNG | PhaseEnd.CRASHED:
            return "harness_error"


def _one_phase(
    work: _Work, phase: str, rows: Sequence[PlannedCheck], outcomes: dict[CheckId, Outcome]
) -> PhaseEnd:
    work.display.phase(phase, len(rows))
    spool = work.opened.work / f"spool-{phase}"
    spool.mkdir()
    run_file = work.opened.work / f"{phase}.json"
    ids = [row.id for row in rows]
    _run_file(work.opened, phase, ids, config=work.config).write(run_file)
    log = work.opened.work / f"pytest-{phase}.log"
    end = run_phase(
        PhaseRun(
            name=phase,
            specs=[work.catalogue[check] for check in ids],
            run_file=run_file,
            spool=spool,
            stop_file=work.opened.stop_file,
            log=log,
            workers=work.config.workers if phase == "parallel" else 1,
            keyword=work.config.selection.keyword,
            environment=work.opened.environment,
            ends_at_s=work.ends_at_s,
        ),
        interrupted=work.interrupted,
        on_case=work.display.case,
    )
    cut_short = None if end in (PhaseEnd.COMPLETED, PhaseEnd.CRASHED) else end.value
    merged = merge(spool, ids, cut_short=cut_short)
    for record in merged.records:
        work.writer.write(record)
        if isinstance(record, CaseResult):
            outcomes[record.check] = _worse(outcomes.get(record.check), record.outcome)
    unreported = [row for row in rows if row.id not in outcomes]
    if end is PhaseEnd.COMPLETED:
        _book(work, unreported, Outcome.ERROR, "planned but unreported")
    else:
        _book(work, unreported, Outcome.NOT_EXERCISED, f"run cut short: {end.value}")
    if end in (PhaseEnd.CRASHED, PhaseEnd.HUNG):
        _incident(work, phase, end, log)
    return end


def _without_unmet(
    work: _Work, rows: Sequence[PlannedCheck], outcomes: dict[CheckId, Outcome]
) -> list[PlannedCheck]:
    """Book what depends on a check that did not pass; return the rest."""
    kept = []
    for row in rows:
        unmet = [
            name for name in work.catalogue[row.id].after if outcomes.get(name) is not Outcome.PASS
        ]
        if unmet:
            _book(work, [row], Outcome.NOT_EXERCISED, f"dependency: {unmet[0]} did not pass")
        else:
            kept.append(row)
    return kept


def _book(work: _Work, rows: Sequence[PlannedCheck], outcome: Outcome, reason: str) -> None:
    for row in rows:
        record = CaseResult(
            check=row.id, case="-", outcome=outcome, reason=reason, attempts=(outcome,)
        )
        work.writer.write(record)
        if len(rows) <= BOOKED_SHOWN:
            work.display.case(record)
    if len(rows) > BOOKED_SHOWN:
        work.display.note(f"{outcome.value} {len(rows)} checks: {reason}")


def _incident(work: _Work, phase: str, end: PhaseEnd, log: Path) -> None:
    kept = work.config.out / log.name
    shutil.copyfile(log, kept)
    work.writer.write(
        Incident(
            what="phase_failed",
            detail=f"phase {phase}: {end.value}; see {kept.name}",
            at=_now(),
            voids_verdict=True,
        )
    )
    work.display.note(f"phase {phase}: {end.value}; see {kept}")


def _run_file(
    opened: Opened, phase: str, planned: Sequence[CheckId], *, config: RunConfig
) -> RunFile:
    return RunFile(
        run_id=opened.run_id,
        prefix=opened.prefix,
        seed=opened.seed,
        phase=phase,
        target_file=str(opened.target_file),
        planned=tuple(planned),
        roles=tuple(sorted(opened.identities)),
        capabilities=opened.capabilities,
        spool=str(opened.work / f"spool-{phase}"),
        shared=str(opened.work),
        requests_max=opened.requests_max,
        trials=config.profile.trials,
        ready_deadline_s=READY_DEADLINE_S,
    )


def identity_at_end(work: _Work, ended: str) -> TargetIdentity | None:
    """Read the deployment's identity again; None where it does not answer any more."""
    if ended == "target_lost":
        return None
    try:
        identity, builds = work.opened.read_again()
    except CertificationError as error:
        work.display.note(f"the target's identity could not be read again: {error.message}")
        return None
    _refuse_two_builds(work, builds)
    return identity


def _refuse_two_builds(work: _Work, builds: Sequence[str]) -> None:
    """Several instances may answer behind one address; two builds cannot be one subject."""
    if len(builds) > 1:
        work.writer.write(
            Incident(
                what="target_changed",
                detail=f"several builds answer: {', '.join(builds)}",
                at=_now(),
                voids_verdict=True,
            )
        )


def _worse(known: Outcome | None, outcome: Outcome) -> Outcome:
    return outcome if known is None else max(known, outcome, key=OUTCOME_RANK.__getitem__)


def _ends_at_s(profile: Profile) -> float | None:
    budget_s = profile.time_budget_s
    return None if budget_s is None else time.monotonic() + budget_s


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
