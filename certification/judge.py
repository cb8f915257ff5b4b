"""The one function from an evidence file to a verdict; all outputs are made of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from certification.errors import EvidenceError
from certification.evidence import read_run
from certification.gate import decide
from certification.profile import Profile, parse_profile
from certification.scoring import score

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from certification.results import RecordedRun, Score, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A recorded run with all that follows from it."""

    run: RecordedRun
    profile: Profile
    score: Score
    verdict: Verdict


def judge(
    path: Path,
    *,
    profile: Profile | None = None,
    today: date,
    degradations: tuple[str, ...] | None = None,
) -> Judgement:
    """Read, score and decide; without a profile by the one in the evidence.

    Raises EvidenceError where the file cannot be used, UsageError where its profile cannot.
    """
    return judge_run(read_run(path), profile=profile, today=today, degradations=degradations)


def judge_run(
    run: RecordedRun,
    *,
    profile: Profile | None = None,
    today: date,
    degradations: tuple[str, ...] | None = None,
) -> Judgement:
    """Score and decide a run that is in memory already."""
    if profile is None:
        profile = parse_profile(run.header.profile)
        if profile.sha256 != run.header.profile_sha256:
            raise EvidenceError(
                "the profile in the header does not have the digest that the header names: edited"
            )
    scored = score(run, profile)
    verdict = decide(run, scored, profile, today=today, degradations=degradations)
    return Judgement(run=run, profile=profile, score=scored, verdict=verdict)
