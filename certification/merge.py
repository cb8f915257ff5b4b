"""Join evidence files of one build, one profile and one contract into one run with one verdict."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certification.errors import HarnessError, UsageError
from certification.evidence import EvidenceWriter, iter_exchanges, read_run
from certification.model import (
    OUTCOME_RANK,
    CaseResult,
    Exchange,
    Footer,
    Header,
    Incident,
    PlannedCheck,
    TargetIdentity,
)
from certification.profile import parse_profile
from certification.results import NOT_SELECTED, SELECTION_PASSED, RecordedRun
from certification.soundness import build_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CaseKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One of the files."""

    path: Path
    run: RecordedRun


def merge(paths: Sequence[Path], out: Path) -> Path:
    """Write the joined evidence into the folder `out` and return its path.

    A check that one part ran and the others left out counts as run; a case that two parts decided
    takes the worst outcome and is flaky where they differ. The order of `paths` does not matter.
    Raises UsageError where the parts do not belong together, EvidenceError for an unreadable one.
    """
    if not paths:
        raise UsageError("there is nothing to merge", hint="name the evidence files")
    parts = sorted(
        (_Part(path=path, run=read_run(path)) for path in paths),
        key=lambda part: (part.run.header.started_at, part.run.header.run_id),
    )
    for part in parts[1:]:
        _refuse_stranger(parts[0], part)
    _refuse_repeated(parts)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{out}: cannot be made: {error.strerror}") from error
    header = _header(parts)
    with EvidenceWriter(out / "evidence.jsonl") as writer:
        writer.write(header)
        _write_events(parts, writer)
        ends = [part.run.footer for part in parts if part.run.footer is not None]
        return writer.close(
            ended=_ended(parts),
            ended_at=max((end.ended_at for end in ends), default=header.started_at),
            target=_end_target(header, ends),
            left_behind=tuple(item for end in ends for item in end.left_behind),
            requests=sum(end.requests for end in ends),
        )


def _refuse_stranger(first: _Part, other: _Part) -> None:
    """Name the first thing in which `other` is not a part of the same certification."""
    for what, mine, theirs in zip(
        ("source", "profile", "contract", "harness", "scoring rules", "register", "plan", "target"),
        _belongs(first),
        _belongs(other),
        strict=True,
    ):
        if mine != theirs:
            raise UsageError(
                f"{other.path}: another {what} than {first.path}",
                hint="merge only runs of one build, one profile and one version of the runner",
            )


def _belongs(part: _Part) -> tuple[object, ...]:
    header = part.run.header
    if header.source != "observed" or header.target is None:
        raise UsageError(f"{part.path}: only runs observed on a target can be merged")
    if "-k " in (header.selection or ""):
        # It may leave out cases of a check, which then would count as the whole check.
        raise UsageError(
            f"{part.path}: was chosen by {header.selection}; -k cuts through checks",
            hint="share the checks among jobs with --suite and --check",
        )
    return (
        header.source,
        header.profile_sha256,
        header.contract_sha256,
        header.harness,
        header.scoring,
        frozenset(header.register),
        frozenset((check.id, check.version) for check in header.plan),
        tuple(build_of(header.target).items()),
    )


def _refuse_repeated(parts: list[_Part]) -> None:
    seen: dict[str, Path] = {}
    for part in parts:
        _belongs(part)
        run_id = part.run.header.run_id
        if run_id in seen:
            raise UsageError(f"{part.path}: the same run as {seen[run_id]}")
        seen[run_id] = part.path


def _header(parts: list[_Part]) -> Header:
    headers = [part.run.header for part in parts]
    first = headers[0]
    plan = _plan(headers)
    left_out = any(check.fixed_reason == NOT_SELECTED for check in plan)
    asked = {header.requested_level for header in headers} - {SELECTION_PASSED}
    if len(asked) == 1:
        requested = asked.pop()
    else:
        requested = SELECTION_PASSED if left_out else parse_profile(first.profile).default_level
    digests = "".join(part.run.digest for part in parts)
    target = first.target
    if target is not None:
        instances = {i for header in headers if header.target for i in header.target.instances}
        target = replace(target, instances=tuple(sorted(instances)))
    return replace(
        first,
        run_id=f"merged-{hashlib.sha256(digests.encode()).hexdigest()[:16]}",
        plan=plan,
        target=target,
        selection=" + ".join(h.selection for h in headers if h.selection) if left_out else None,
        requested_level=requested,
        waivers=tuple(dict.fromkeys(w for header in headers for w in header.waivers)),
        attestations=tuple(dict.fromkeys(a for header in headers for a in header.attestations)),
        workarounds=tuple(dict.fromkeys(w for header in headers for w in header.workarounds)),
    )


def _plan(headers: list[Header]) -> tuple[PlannedCheck, ...]:
    """Take each check as the part planned it that did not leave it out."""
    chosen: dict[str, PlannedCheck] = {}
    for header in headers:
        for check in header.plan:
            known = chosen.get(check.id)
            if known is None or known.fixed_reason == NOT_SELECTED:
                chosen[check.id] = check
    return tuple(chosen.values())


def _write_events(parts: list[_Part], writer: EvidenceWriter) -> None:
    cases: dict[CaseKey, list[CaseResult]] = defaultdict(list)
    repeated = _repeated(parts)
    offset: dict[CaseKey, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for part in parts:
        last: dict[CaseKey, tuple[int, int]] = {}
        for exchange in iter_exchanges(part.path):
            key = (exchange.check, exchange.case)
            if key in repeated:
                moved = _moved(exchange, offset[key])
                attempt, number = last.get(key, (0, 0))
                last[key] = max(attempt, moved.attempt), max(number, moved.number)
                writer.write(moved)
            else:
                writer.write(exchange)
        for case in part.run.cases:
            key = (case.check, case.case)
            cases[key].append(_shifted(case, offset[key][1]) if key in repeated else case)
        offset.update(last)
        for measurement in part.run.measurements:
            writer.write(measurement)
        for incident in part.run.incidents:
            writer.write(incident)
        if part.run.footer is None:
            writer.write(_cut_short(part))
    for group in cases.values():
        writer.write(_joined(group))


def _repeated(parts: list[_Part]) -> set[CaseKey]:
    """Return the cases that more than one part decided; their exchanges are numbered on."""
    seen: set[CaseKey] = set()
    twice: set[CaseKey] = set()
    for part in parts:
        mine = {(case.check, case.case) for case in part.run.cases}
        twice |= seen & mine
        seen |= mine
    return twice


def _moved(exchange: Exchange, offset: tuple[int, int]) -> Exchange:
    return replace(
        exchange, attempt=exchange.attempt + offset[0], number=exchange.number + offset[1]
    )


def _shifted(case: CaseResult, numbers: int) -> CaseResult:
    findings = tuple(
        replace(finding, exchanges=tuple(number + numbers for number in finding.exchanges))
        for finding in case.findings
    )
    return replace(case, findings=findings)


def _joined(group: list[CaseResult]) -> CaseResult:
    """Join what the parts said of one case: the worst counts, and is put last.

    Attempts in two jobs have no order: "failed, then passed" must not be read out of the files.
    """
    if len(group) == 1:
        return group[0]
    worst = max(group, key=lambda case: OUTCOME_RANK[case.outcome])
    attempts = [a for case in group for a in (case.attempts or (case.outcome,))]
    return replace(
        worst,
        findings=tuple(finding for case in group for finding in case.findings),
        attempts=tuple(sorted(attempts, key=OUTCOME_RANK.__getitem__)),
        observations=min(case.observations for case in group),
        duration_ms=sum(case.duration_ms for case in group),
    )


def _cut_short(part: _Part) -> Incident:
    header = part.run.header
    return Incident(
        what="cut_short",
        detail=f"the evidence of {header.run_id} ends without a footer",
        at=header.started_at,
        voids_verdict=True,
    )


def _ended(parts: list[_Part]) -> str:
    ends = [part.run.footer.ended if part.run.footer else "harness_error" for part in parts]
    others = [end for end in ends if end != "completed"]
    return "interrupted" if "interrupted" in others else next(iter(others), "completed")


def _end_target(header: Header, ends: list[Footer]) -> TargetIdentity | None:
    """Return the identity at an end where the build had changed or was not read, else the last."""
    targets = [end.target for end in ends]
    for target in targets:
        if target is None or (
            header.target is not None and build_of(target) != build_of(header.target)
        ):
            return target
    return targets[-1] if targets else None
