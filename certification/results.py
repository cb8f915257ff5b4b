"""What scoring and gate say about a recorded run; views and certificate are made of these."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from certification.model import (
    CaseResult,
    Category,
    DutyKind,
    Finding,
    Footer,
    Header,
    Incident,
    Measurement,
    Outcome,
    PlannedCheck,
    ReportedCategory,
    RequirementId,
    Severity,
    Veto,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """An evidence file without its exchanges: all that scoring reads."""

    header: Header
    cases: tuple[CaseResult, ...]
    measurements: tuple[Measurement, ...]
    incidents: tuple[Incident, ...]
    reported: tuple[ReportedCategory, ...]
    footer: Footer | None
    """None where the file ends without one: the verdict is INCONCLUSIVE."""
    digest: str
    """SHA-256 over all uncompressed bytes, footer included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A score from 0 to 1 whose unknown part is not guessed: [lower, upper]."""

    lower: Fraction
    upper: Fraction

    @property
    def decided(self) -> bool:
        """Whether nothing is unknown."""
        return self.lower == self.upper


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check with one outcome: the worst of its cases."""

    check: PlannedCheck
    outcome: Outcome
    reason: str | None
    findings: tuple[Finding, ...]
    cases: tuple[CaseResult, ...]
    flaky: bool
    waived: bool
    duration_ms: float
    lost_total: Fraction
    """How much the lower end of the total would rise if this check passed: the worth of the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementScore:
    """One requirement of the register: the weighted mean of its checks."""

    id: RequirementId
    text: str
    category: Category | None
    kind: DutyKind
    critical: bool
    weight: Fraction
    """Share of the category; 0 where it left the denominator."""
    interval: Interval | None
    """None: not applicable, or a duty that is not scored on a target."""
    reason: str | None
    """Why it is undecided or not scored, e.g. `no check yet`."""
    checks: tuple[str, ...]
    attested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryScore:
    """One category: the weighted mean of its requirements; [0, 1] where nothing applies."""

    category: Category
    weight: Fraction
    interval: Interval
    coverage: Fraction
    """Share of the category's planned weight that was decided."""
    requirements: tuple[RequirementScore, ...]
    floor: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The whole score of a run."""

    total: Interval
    coverage: Fraction
    categories: tuple[CategoryScore, ...]
    checks: tuple[CheckResult, ...]
    unscored: tuple[RequirementScore, ...]
    """Duties of the harness and not-tested requirements, for the matrix."""
    pass_rate: Fraction
    """PASS / planned and applicable checks; 0 where nothing was planned."""
    defects: dict[Severity, int]
    """Failed checks by severity."""
    vetoes: tuple[tuple[Veto, str], ...]
    """Active vetoes with the check that raised each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate of one level: required, observed, met or not."""

    gate: str
    required: str
    observed: str
    met: bool
    lift: str | None = None
    """What would meet it first, as an instruction."""
    applies: bool = True
    """False where the gate had nothing to compare with (no baseline): said, not passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """One level of the profile with its gates."""

    name: str
    gates: tuple[GateResult, ...]
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A fix and what it gives: `checks` share one finding or stand alone."""

    check: str
    title: str
    severity: Severity
    gain: Fraction
    """Rise of the total's lower end."""
    total_after: Fraction
    level_after: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the run decided; one function makes it and every output repeats it."""

    level: str
    """A level of the profile, or `INCONCLUSIVE`."""
    requested_level: str
    reached: bool
    """Whether the requested level, or a better one, was reached."""
    inconclusive: tuple[str, ...]
    """Why the run cannot carry a verdict; empty where it can."""
    levels: tuple[LevelResult, ...]
    vetoes: tuple[tuple[Veto, str], ...]
    waiver_faults: tuple[str, ...]
    """Stale or expired waivers; any of them fails the run."""
    not_certifiable: tuple[str, ...]
    """Why no certificate can be signed: partial, interrupted, reported."""
    fixes: tuple[Fix, ...]
    """What to fix first, most gain first."""
    reference: Fraction | None
    beats_reference: bool | None
    exit_code: int


NOT_SELECTED = "not selected"
"""`fixed_reason` of a check that a partial run left out."""
INCONCLUSIVE_LEVEL = "INCONCLUSIVE"
SELECTION_PASSED = "SELECTION_PASSED"
"""The level that a partial run requests unless told otherwise: every selected check passed."""
