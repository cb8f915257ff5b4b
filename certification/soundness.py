"""Whether a recorded run can carry a verdict, and whether it may be certified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certification.model import DutyKind, TargetIdentity
from certification.outcomes import UNREPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from certification.profile import Profile
    from certification.results import RecordedRun, Score

REPORTED = "reported, not observed"
_NAMED_MAX = 5


def faults(run: RecordedRun, score: Score, profile: Profile) -> tuple[str, ...]:
    """Return each reason why the run cannot carry a verdict; coverage is not among them."""
    found = [*_stream_faults(run)]
    if run.header.source != "reported":
        found += _plan_faults(run, score, profile)
        found += _target_faults(run)
    return tuple(found)


def not_certifiable(run: RecordedRun) -> tuple[str, ...]:
    """Return why no certificate can be signed; any whole run can be, whatever its level."""
    if run.header.source == "reported":
        return (REPORTED,)
    found = []
    if run.reported:
        found.append(f"it holds figures that are {REPORTED}")
    if run.header.selection is not None:
        found.append(f"partial run: {run.header.selection}")
    if run.footer is None:
        found.append("cut short: the footer is missing")
    elif run.footer.ended != "completed":
        found.append(f"the run ended as {run.footer.ended}")
    return tuple(found)


def _stream_faults(run: RecordedRun) -> Iterator[str]:
    if run.footer is None:
        yield "the footer is missing: the run was cut short"
    elif run.footer.ended != "completed":
        yield f"the run ended as {run.footer.ended}"
    for incident in run.incidents:
        if incident.voids_verdict:
            yield f"{incident.what}: {incident.detail}"


def _plan_faults(run: RecordedRun, score: Score, profile: Profile) -> Iterator[str]:
    """Exactly the planned checks must have reported, and each must count somewhere."""
    planned = {check.id for check in run.header.plan}
    silent = [r.check.id for r in score.checks if r.reason == UNREPORTED]
    if silent:
        yield f"{len(silent)} checks planned but unreported: {_some(silent)}"
    strangers = sorted(
        {case.check for case in run.cases if case.check not in planned}
        | {m.check for m in run.measurements if m.check not in planned}
    )
    if strangers:
        yield f"{len(strangers)} checks reported but not planned: {_some(strangers)}"
    scored = {
        r.id for r in run.header.register if r.kind is DutyKind.CHECK and r.category is not None
    }
    loose = [
        check.id
        for check in run.header.plan
        if profile.plans(check.id) and scored.isdisjoint(check.requirements)
    ]
    if loose:
        yield f"{len(loose)} checks verify no requirement that is scored: {_some(loose)}"


def _target_faults(run: RecordedRun) -> Iterator[str]:
    start = run.header.target
    end = run.footer.target if run.footer else None
    if start is None:
        yield "the target's identity was not read at the start"
    elif run.footer is not None and run.footer.ended == "completed":
        if end is None:
            yield "the target's identity was not read at the end"
        else:
            changed = [
                name for name, value in build_of(start).items() if build_of(end)[name] != value
            ]
            if changed:
                yield f"the target changed during the run: {', '.join(changed)}"


def build_of(target: TargetIdentity) -> dict[str, object]:
    """Return what two instances of one build have in common."""
    return {
        "implementation": target.implementation,
        "version": target.version,
        "build": target.build,
        "contract version": target.contract_version,
        "OpenAPI document": target.openapi_sha256,
        "modules": frozenset(target.modules),
    }


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
