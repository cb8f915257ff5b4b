"""Where a verdict comes from: target, profile, digests, seed, versions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from certification.report.text import duration_text
from certification.report.view import RunFacts

if TYPE_CHECKING:
    from certification.model import Json, TargetIdentity
    from certification.profile import Profile
    from certification.results import RecordedRun


def run_facts(run: RecordedRun, profile: Profile) -> RunFacts:
    """Return the facts of a run as texts; `profile` is the one that it was judged under."""
    header, footer = run.header, run.footer
    return RunFacts(
        run_id=header.run_id,
        source=header.source,
        started_at=header.started_at,
        ended_at=footer.ended_at if footer else "",
        ended=footer.ended if footer else "no footer: the evidence file was cut",
        selection=header.selection or "",
        operator=header.operator,
        seed=header.seed,
        requests=footer.requests if footer else 0,
        duration=_duration(header.started_at, footer.ended_at if footer else ""),
        harness=header.harness,
        scoring=header.scoring,
        profile=f"{profile.name} {profile.version}",
        profile_sha256=profile.sha256,
        contract=header.contract_version,
        contract_sha256=header.contract_sha256,
        evidence_sha256=run.digest,
        target=_target(header.target, footer.target if footer else None),
        detection=tuple(flat(header.detection)),
    )


def _duration(started: str, ended: str) -> str:
    """Return the wall-clock duration, or nothing where a time is missing or unreadable."""
    try:
        elapsed = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
    except (TypeError, ValueError):
        return ""
    return duration_text(max(elapsed.total_seconds(), 0.0) * 1000)


def _target(
    start: TargetIdentity | None, end: TargetIdentity | None
) -> tuple[tuple[str, str], ...]:
    """Return the deployment's identity, and what of it changed during the run."""
    if start is None:
        return ()
    rows = [
        ("target", start.target_id),
        ("address", start.base_url),
        ("implementation", start.implementation),
        ("version", start.version),
        ("build", start.build),
        ("instances", ", ".join(start.instances)),
        ("contract implemented", start.contract_version),
        ("modules", ", ".join(start.modules)),
        ("OpenAPI SHA-256", start.openapi_sha256),
        ("capability document SHA-256", start.capability_sha256),
    ]
    if end is not None and (end.build, end.version) != (start.build, start.version):
        rows.append(("at the end of the run", f"{end.version} build {end.build}"))
    return tuple((name, value) for name, value in rows if value)


def flat(document: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of a JSON object as (dotted name in words, text)."""
    rows: list[tuple[str, str]] = []
    for key, value in document.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += flat(value, f"{name}: ")
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value))))
        else:
            rows.append((name, str(value)))
    return rows
