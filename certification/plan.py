"""What would run on this target under this profile, decided before the first check."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from certification.checks import CheckSpec
from certification.contract import load_contract
from certification.model import CheckId, Json, Module, Outcome, PlannedCheck
from certification.profile import Profile
from certification.results import NOT_SELECTED

PHASES = ("parallel", "alone", "sweep")
"""In this order; each is one pytest invocation. Only `parallel` uses several workers."""

REQUESTS_PER_CHECK = 95
"""Mean of the functional suite on the embedded default, for the guess that `certify plan` prints.

A few checks (walks, fuzzing) send most; a small selection may need far less.
"""
SECONDS_PER_REQUEST = 0.0065
"""Of one worker, measured likewise on two cores that the deployment shares."""
SECONDS_PER_PHASE = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the target makes possible: declared modules and deviations, identities, grants."""

    modules: frozenset[Module]
    deviations: Mapping[str, str]
    """Operation id -> the reason that the deployment gives for deviating."""
    identities: frozenset[str]
    grants: frozenset[str]
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why a role has no session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How a partial run chooses its checks; empty for a whole run."""

    suites: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    keyword: str | None = None

    @property
    def partial(self) -> bool:
        """Whether anything was left out on purpose."""
        return bool(self.suites or self.checks or self.keyword)

    @property
    def text(self) -> str | None:
        """The options as they were given, None for a whole run."""
        words = [f"--suite {name}" for name in self.suites]
        words += [f"--check {name}" for name in self.checks]
        words += [f"-k {self.keyword}"] if self.keyword else []
        return " ".join(words) or None


def offer_of(
    capabilities: Json,
    *,
    identities: Collection[str],
    grants: Collection[str],
    missing: Mapping[str, str],
) -> Offer:
    """Read the offer from a validated capability document."""
    rows = capabilities["modules"]
    known = {module.value for module in Module}
    return Offer(
        modules=frozenset(Module(row["id"]) for row in rows if row["id"] in known),
        deviations={
            deviation["operationId"]: str(deviation.get("reason", "no reason given"))
            for row in rows
            for deviation in row.get("deviations", ())
        },
        identities=frozenset(identities),
        grants=frozenset(grants),
        missing=missing,
    )


def selected_ids(
    catalogue: Sequence[CheckSpec],
    selection: Selection,
    *,
    keyword_matches: Callable[[str], Collection[CheckId]],
) -> frozenset[CheckId]:
    """Return the ids that the selection keeps; `keyword_matches` asks pytest itself about `-k`."""
    kept = {spec.id for spec in catalogue}
    if selection.suites:
        kept &= {spec.id for spec in catalogue if spec.suite in selection.suites}
    if selection.checks:
        kept &= {spec.id for spec in catalogue if matches(spec.id, selection.checks)}
    if selection.keyword:
        kept &= set(keyword_matches(selection.keyword))
    return frozenset(kept)


def matches(check: str, globs: Sequence[str]) -> bool:
    """Whether a check id matches one of the globs; `*` also crosses `/`."""
    return any(fnmatch.fnmatchcase(check, glob) for glob in globs)


def make_plan(
    catalogue: Sequence[CheckSpec], profile: Profile, offer: Offer, kept: Collection[CheckId]
) -> tuple[PlannedCheck, ...]:
    """Return a row for each check of the profile; what cannot or must not run is decided here."""
    return tuple(
        _row(spec, _fixed(spec, profile, offer, kept))
        for spec in catalogue
        if profile.plans(spec.id)
    )


def to_run(plan: Sequence[PlannedCheck], phase: str) -> tuple[PlannedCheck, ...]:
    """Return the rows of a phase that are not decided yet."""
    return tuple(row for row in plan if row.phase == phase and row.fixed_outcome is None)


def estimate(plan: Sequence[PlannedCheck], *, workers: int) -> tuple[int, float]:
    """Return a rough (requests, seconds) for what would run."""
    running = [row for row in plan if row.fixed_outcome is None]
    requests = REQUESTS_PER_CHECK * len(running)
    phases = len({row.phase for row in running})
    return requests, requests * SECONDS_PER_REQUEST / max(1, workers) + phases * SECONDS_PER_PHASE


def _fixed(
    spec: CheckSpec, profile: Profile, offer: Offer, kept: Collection[CheckId]
) -> tuple[Outcome, str] | None:
    """Decide what planning can decide; None where the check is to be run."""
    if spec.id not in kept:
        return Outcome.NOT_EXERCISED, NOT_SELECTED
    declared = frozenset(module.value for module in offer.modules)
    # The same rule decides again when a recorded run is scored under another profile.
    by_module = profile.module_outcome(_row(spec, None), declared)
    if by_module is not None:
        return by_module
    for operation in spec.operations:
        if operation in offer.deviations:
            reason = f"declared deviation from {operation}: {offer.deviations[operation]}"
            # The operation's own module decides: a check of core may look at others beside it.
            module = Module(load_contract().operations[operation].module)
            required = module in profile.modules_required
            return (Outcome.FAIL if required else Outcome.NOT_APPLICABLE), reason
    return _not_offered(spec, offer)


def _not_offered(spec: CheckSpec, offer: Offer) -> tuple[Outcome, str] | None:
    """Return what the operator did not grant or give, in the words of the target file."""
    lacking = [f"the target file does not grant {name}" for name in set(spec.grants) - offer.grants]
    lacking += [
        f"no identity with the role {name}: {offer.missing.get(name, 'none was given')}"
        for name in set(spec.identities) - offer.identities
    ]
    return (Outcome.NOT_EXERCISED, min(lacking)) if lacking else None


def _row(spec: CheckSpec, fixed: tuple[Outcome, str] | None) -> PlannedCheck:
    return PlannedCheck(
        id=spec.id,
        version=spec.version,
        suite=spec.suite,
        category=spec.category,
        title=spec.title,
        failure_title=spec.failure_title,
        severity=spec.severity,
        requirements=spec.requirements,
        phase=spec.phase,
        modules=spec.modules,
        veto=spec.veto,
        defects=spec.defects,
        standards=spec.standards,
        fixed_outcome=fixed[0] if fixed else None,
        fixed_reason=fixed[1] if fixed else None,
    )
