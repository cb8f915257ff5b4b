"""The one view model that every report format prints: texts and numbers, nothing left to decide."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

    from certification.model import Attestation, Category, Incident, LeftBehind, Waiver


class Tone(Enum):
    """How a verdict is coloured; the words beside it say the same."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalView:
    """A score with its exact ends and its printed form."""

    lower: Fraction
    upper: Fraction
    text: str
    """`0.947 - 0.981`; one number where both ends are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What an approver reads in five seconds."""

    title: str
    """Level, interval and marks in one line; the title of every document."""
    level: str
    requested_level: str
    reached: bool
    sentence: str
    """Whether the requested level was reached, in words."""
    tone: Tone
    total: IntervalView
    coverage: Fraction
    score_line: str
    """`0.947 - 0.981, 96 % decided`."""
    marks: tuple[str, ...]
    """`partial`, `reported`, `waived`, `interrupted`: what the level must not be read without."""
    reference: Fraction | None
    reference_line: str
    vetoes: tuple[tuple[str, str], ...]
    """Veto in words and the check that raised it."""
    inconclusive: tuple[str, ...]
    waiver_faults: tuple[str, ...]
    not_certifiable: tuple[str, ...]
    exit_code: int
    pass_rate: str
    counts: tuple[tuple[str, int], ...]
    """Checks by outcome, worst first, without zeros."""
    defects: tuple[tuple[str, int], ...]
    """Failed checks by severity, worst first, zeros included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A line on the score scale."""

    label: str
    value: Fraction
    strict: bool
    """Whether the total must be above the line, not on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementView:
    """One requirement with what is known of it."""

    id: str
    text: str
    category: str
    kind: str
    critical: bool
    weight: Fraction
    interval: IntervalView | None
    coverage: str
    """Share that was decided, or empty where it is not scored on a target."""
    reason: str
    checks: tuple[str, ...]
    attestations: tuple[Attestation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryView:
    """One scored area."""

    name: str
    weight: Fraction
    interval: IntervalView
    coverage: Fraction
    floor: Fraction | None
    floor_met: bool | None
    """None where the profile sets no floor."""
    requirements: tuple[RequirementView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """One gate: required, observed, met or not."""

    gate: str
    required: str
    observed: str
    met: bool
    lift: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelView:
    """One level of the profile."""

    name: str
    met: bool
    requested: bool
    granted: bool
    gates: tuple[GateView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FixView:
    """One thing to fix and what it gives."""

    check: str
    title: str
    outcome: str
    """Of the check; an undecided one is made decidable instead of fixed."""
    severity: str
    gain: Fraction
    gain_text: str
    total_after: str
    level_after: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeView:
    """One request and its answer, shortened, with the command that sends it again."""

    attempt: int
    number: int
    identity: str
    operation: str
    sent: str
    """Request line, headers and body."""
    came_back: str
    """Status line, headers and body, or why there is no answer."""
    elapsed: str
    curl: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """What a failed case reports."""

    message: str
    expected: str
    observed: str
    exchanges: tuple[int, ...]
    script: str = ""
    """A bash script that shows the failure again, where the check could write one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """One case of a check."""

    name: str
    outcome: str
    reason: str
    flaky: bool
    attempts: tuple[str, ...]
    duration_ms: float
    findings: tuple[FindingView, ...]
    exchanges: tuple[ExchangeView, ...]
    exchanges_omitted: int
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One check with its one outcome."""

    id: str
    anchor: str
    """Fragment identifier within the HTML report, unique."""
    version: int
    suite: str
    area: str
    category: str
    phase: str
    severity: str
    title: str
    """The failure title where it failed."""
    outcome: str
    reason: str
    flaky: bool
    waived: bool
    veto: str
    requirements: tuple[str, ...]
    standards: tuple[str, ...]
    modules: tuple[str, ...]
    defects: tuple[str, ...]
    operations: tuple[str, ...]
    """Contract operations seen in the exchanges that are shown."""
    duration_ms: float
    lost_total: Fraction
    cases: tuple[CaseView, ...]
    why: str
    how: str
    fails_when: str
    remedy: str
    replay: str

    @property
    def trouble(self) -> bool:
        """Whether a reader needs the details: failed, broken, or tried without an answer."""
        return self.outcome in ("FAIL", "ERROR", "INCONCLUSIVE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Untested:
    """Why something was not tested, and what that is true of."""

    reason: str
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementView:
    """A number observed on the target."""

    check: str
    name: str
    value: str
    bounds: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Where the verdict comes from: enough to ask for the same run again."""

    run_id: str
    source: str
    """`observed`, or `reported` for figures that a document states."""
    started_at: str
    ended_at: str
    ended: str
    selection: str
    operator: str
    seed: int
    requests: int
    duration: str
    harness: str
    scoring: str
    profile: str
    profile_sha256: str
    contract: str
    contract_sha256: str
    evidence_sha256: str
    target: tuple[tuple[str, str], ...]
    """Name and value of each part of the deployment's identity; empty without a target."""
    detection: tuple[tuple[str, str], ...]
    """Detection power of this version of the harness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """Everything that any format prints."""

    headline: Headline
    thresholds: tuple[Threshold, ...]
    categories: tuple[CategoryView, ...]
    levels: tuple[LevelView, ...]
    fixes: tuple[FixView, ...]
    checks: tuple[CheckView, ...]
    unscored: tuple[RequirementView, ...]
    attestations: tuple[Attestation, ...]
    waivers: tuple[tuple[Waiver, bool], ...]
    """Each waiver, and whether it excuses a check that failed in this run."""
    untested: tuple[Untested, ...]
    reported: tuple[tuple[Category, str, str], ...]
    measurements: tuple[MeasurementView, ...]
    incidents: tuple[Incident, ...]
    left_behind: tuple[LeftBehind, ...]
    facts: RunFacts
