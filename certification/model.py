"""The frozen types that evidence, scoring, gate, report and certificate share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NewType

CheckId = NewType("CheckId", str)
"""`<suite>/<area>/<question>`, e.g. `functional/money/double-spend`."""
RequirementId = NewType("RequirementId", str)
"""An id of the requirement register, e.g. `SYS-TXN`."""

Json = dict[str, Any]
"""A JSON object that has not been given a type of its own."""


class Outcome(Enum):
    """What one check, or one of its cases, came to; closed."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_EXERCISED = "NOT_EXERCISED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    ERROR = "ERROR"

    @property
    def decided(self) -> bool:
        """Whether the outcome carries knowledge about the target."""
        return self in (Outcome.PASS, Outcome.FAIL)

    @property
    def needs_reason(self) -> bool:
        """Whether the outcome must say why."""
        return self is not Outcome.PASS


OUTCOME_RANK: dict[Outcome, int] = {
    Outcome.NOT_APPLICABLE: 0,
    Outcome.PASS: 1,
    Outcome.NOT_EXERCISED: 2,
    Outcome.INCONCLUSIVE: 3,
    Outcome.ERROR: 4,
    Outcome.FAIL: 5,
}
"""Worst last: false before unknown before true. A check takes the worst outcome of its cases."""


class Severity(Enum):
    """How much a failed check matters; a failed check is a defect of this severity."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Category(Enum):
    """The six scored areas."""

    FUNCTIONALITY = "functionality"
    PERFORMANCE = "performance"
    SECURITY = "security"
    RELIABILITY = "reliability"
    MONITORING = "monitoring"
    DOCUMENTATION = "documentation"


SUITE_CATEGORY: dict[str, Category] = {
    "functional": Category.FUNCTIONALITY,
    "integration": Category.FUNCTIONALITY,
    "load": Category.PERFORMANCE,
    "security": Category.SECURITY,
    "resilience": Category.RELIABILITY,
    "monitoring": Category.MONITORING,
    "documentation": Category.DOCUMENTATION,
}
"""Each suite feeds exactly one category."""


class Module(Enum):
    """A part of the contract that a deployment declares."""

    CORE = "core"
    GROWTH = "growth"
    ANALYTICS = "analytics"
    INTEGRATION = "integration"
    OPERATIONS = "operations"
    TESTABILITY = "testability"
    DUAL_CONTROL = "dual_control"


class Veto(Enum):
    """A failure that caps the level whatever the score is."""

    MONEY_NOT_CONSERVED = "money_not_conserved"
    ACKNOWLEDGED_WRITE_LOST = "acknowledged_write_lost"
    DOUBLE_SPEND = "double_spend"
    AUTHENTICATION_BYPASS = "authentication_bypass"
    FOREIGN_DATA = "foreign_data"
    """Another owner's data read or changed."""
    AUDIT_GAP = "audit_gap"
    """An audit record missing or altered."""


class DutyKind(Enum):
    """Who shows that a requirement is met."""

    CHECK = "check"
    """A check on the target."""
    OWN_TEST = "own-test"
    """This project's own tests: duties of the harness."""
    ATTESTATION = "attestation"
    """A named person, dated and expiring."""
    NOT_TESTED = "not-tested"
    """Nobody; the register says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One row of the requirement register."""

    id: RequirementId
    text: str
    category: Category | None
    """None for duties of the harness, which are not scored on a target."""
    kind: DutyKind
    critical: bool = False
    reason: str | None = None
    """Why it is not tested; only with `DutyKind.NOT_TESTED`."""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheck:
    """One row of the plan in the evidence header; scoring knows a check only from here."""

    id: CheckId
    version: int
    suite: str
    category: Category
    title: str
    failure_title: str
    severity: Severity
    requirements: tuple[RequirementId, ...]
    phase: str
    modules: tuple[Module, ...] = (Module.CORE,)
    veto: Veto | None = None
    defects: tuple[str, ...] = ()
    """Planted defects that the check must catch."""
    standards: tuple[str, ...] = ()
    """Mappings such as `OWASP-API:2023-1`."""
    fixed_outcome: Outcome | None = None
    """Decided while planning: NOT_APPLICABLE, NOT_EXERCISED, or FAIL: a required module missing."""
    fixed_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a failed check reports."""

    message: str
    expected: str
    observed: str
    exchanges: tuple[int, ...] = ()
    """Numbers of the exchanges of the same case that show it."""
    form_only: bool = False
    """Only the form of an answer is wrong (schema, status 5xx, none at all): raises no veto."""
    script: str | None = None
    """A bash script that shows the failure again, where the check could write one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer, redacted; bodies are capped."""

    check: CheckId
    case: str
    attempt: int
    number: int
    """1, 2, ... within (check, case, attempt)."""
    identity: str
    """The role that sent it, e.g. `customer`; `anonymous` without a token."""
    operation: str | None
    method: str
    url: str
    request_headers: tuple[tuple[str, str], ...]
    request_body: str | None
    started_at: str
    elapsed_ms: float
    status: int | None = None
    response_headers: tuple[tuple[str, str], ...] = ()
    response_body: str | None = None
    error: str | None = None
    """Why there is no answer: `connection lost`, `deadline`, `body over the cap` ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The outcome of one case of a check: a parametrisation, or the only one, named `-`."""

    check: CheckId
    case: str
    outcome: Outcome
    reason: str | None = None
    findings: tuple[Finding, ...] = ()
    attempts: tuple[Outcome, ...] = ()
    """Each attempt's outcome; more than one only after a lost connection."""
    observations: int = 0
    """Exchanges, journal lines, digests, tool outputs; a PASS without any is refused."""
    started_at: str = ""
    duration_ms: float = 0.0
    traceback: str | None = None
    """Only with ERROR."""

    @property
    def flaky(self) -> bool:
        """Whether the attempts differ."""
        return len(set(self.attempts)) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number observed on the target; judged against the profile by scoring, never by a check."""

    check: CheckId
    name: str
    value: float
    unit: str
    n: int
    lower: float | None = None
    upper: float | None = None
    """Confidence interval of the value, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedCategory:
    """A category score that a document states; reported, not observed, and never certified."""

    category: Category
    score: str
    """Decimal or fraction text, read exactly."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that happened to the run, not to a check."""

    what: str
    """`target_lost`, `target_changed`, `interrupted`, `worker_crashed` ..."""
    detail: str
    at: str
    voids_verdict: bool
    """Whether the run can still carry a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """What the run created or changed and could not close or put back."""

    kind: str
    id: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetIdentity:
    """What the deployment said it is, read at the start and again at the end."""

    target_id: str
    """The name in the target file, or the host and port."""
    base_url: str
    implementation: str
    version: str
    build: str
    instances: tuple[str, ...]
    contract_version: str
    openapi_sha256: str
    modules: tuple[str, ...]
    capability_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A dated, owned, reasoned exception to a check; shown everywhere, never raises a score."""

    check: CheckId
    reason: str
    owner: str
    ticket: str
    expires: str
    """ISO date; from the day after it the waiver fails the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workaround:
    """How users can live with a known defect; some gates allow a defect only with one noted."""

    check: CheckId
    text: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """A statement that a named person signs for; never called verified."""

    requirement: RequirementId
    statement: str
    person: str
    role: str
    date: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first record of an evidence file: everything that scoring needs besides the outcomes."""

    format: str
    run_id: str
    started_at: str
    seed: int
    harness: str
    """Version of this project."""
    scoring: str
    """Version of the scoring rules."""
    contract_version: str
    contract_sha256: str
    profile: Json
    """The resolved profile document; `profile.parse_profile` reads it."""
    profile_sha256: str
    requested_level: str
    selection: str | None
    """How a partial run was chosen (`-k money`), None for a whole run."""
    source: str
    """`observed`, or `reported` for figures that a document states."""
    target: TargetIdentity | None
    register: tuple[Requirement, ...]
    plan: tuple[PlannedCheck, ...]
    waivers: tuple[Waiver, ...] = ()
    attestations: tuple[Attestation, ...] = ()
    detection: Json = field(default_factory=dict)
    """Detection power of this harness version: planted defects caught, false alarms."""
    operator: str = ""
    """Who ran it, as given by `--operator`."""
    workarounds: tuple[Workaround, ...] = ()
    target_file: str | None = None
    """The operator's target file as it was named, for replays; None on the embedded default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The last record: proves that the stream is whole."""

    ended_at: str
    ended: str
    """`completed`, `interrupted`, `target_lost`, `harness_error`."""
    records: int
    """Records before the footer, the header included."""
    sha256: str
    """Digest of the uncompressed bytes before the footer's line."""
    target: TargetIdentity | None = None
    """The deployment's identity at the end."""
    left_behind: tuple[LeftBehind, ...] = ()
    requests: int = 0
