"""The closed set of gate kinds and their reading from a profile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING

from certification.model import Category, Severity
from certification.results import INCONCLUSIVE_LEVEL, SELECTION_PASSED

if TYPE_CHECKING:
    from certification.toml_source import Section

ONE = Fraction(1)


class GateKind(Enum):
    """What a level may ask for; closed. `certification.gate` has one function for each."""

    TOTAL = "total"
    """The lower end of the total, `>` or `>=`."""
    CATEGORY = "category"
    """The lower end of one category."""
    REQUIREMENTS = "requirements"
    """The lower end of the weighted mean of the requirements that the globs name."""
    PASS_RATE = "pass_rate"  # noqa: S105 - the share of passed checks, not a password
    """PASS / planned and applicable checks, `>` or `>=`."""
    CRITICAL_SCENARIOS = "critical_scenarios"
    """Every end-to-end requirement marked critical is met in full."""
    DEFECTS = "defects"
    """At most so many failed or undecided checks of a severity, in an area where one is named."""
    FLOORS = "floors"
    """Every category reaches the floor that the profile gives it."""
    ALL_DECIDED = "all_decided"
    """No planned check and no requirement is undecided."""
    NO_WAIVER = "no_waiver"
    NO_VETO = "no_veto"
    MODULES_DECLARED = "modules_declared"
    """The target declares every module that the profile requires."""
    NO_DEGRADATION = "no_degradation"
    """Nothing is slower than the baseline, where one is given."""
    COVERAGE = "coverage"
    """Share of the weight that was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate of a level; which fields mean something depends on the kind."""

    kind: GateKind
    op: str = ">="
    value: Fraction = ONE
    """What must be reached; for `defects` the most that are allowed."""
    category: Category | None = None
    requirements: tuple[str, ...] = ()
    """Globs on requirement ids."""
    severity: Severity | None = None
    area: str | None = None
    """Glob on check ids."""
    workaround_required: bool = False
    bound_95: bool = False
    """The one-sided 95 % Clopper-Pearson lower bound of k/n must meet the value too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A name and all that it asks for."""

    name: str
    gates: tuple[Gate, ...]

    def total_min(self) -> Fraction:
        """Return what the level asks of the total's lower end; 0 where it does not ask."""
        return max((g.value for g in self.gates if g.kind is GateKind.TOTAL), default=Fraction(0))


def read_levels(root: Section) -> tuple[tuple[Level, ...], str]:
    """Read `levels` (best first) and `levels_otherwise`; raises UsageError."""
    levels: list[Level] = []
    taken = [INCONCLUSIVE_LEVEL, SELECTION_PASSED]
    for section in root.sections("levels"):
        name = section.text("name")
        if name in taken:
            raise section.error("name", f"{name!r} is taken")
        taken.append(name)
        gates = tuple(_gate(row) for row in section.sections("gates"))
        if not gates:
            raise section.error("gates", "a level without a gate would be given to everybody")
        section.done()
        levels.append(Level(name=name, gates=gates))
    if not levels:
        raise root.error("levels", "the profile grants no level")
    otherwise = root.text("levels_otherwise")
    if otherwise in taken:
        raise root.error("levels_otherwise", f"{otherwise!r} is taken")
    return tuple(levels), otherwise


def _gate(row: Section) -> Gate:
    kind = GateKind(row.text("kind", choices=[kind.value for kind in GateKind]))
    gate = _READERS[kind](row, kind) if kind in _READERS else Gate(kind=kind)
    row.done()
    return gate


def _compared(row: Section, kind: GateKind) -> Gate:
    op = row.text("op", ">=", choices=(">", ">="))
    bound = _bound(row) if kind is GateKind.PASS_RATE else False
    return Gate(kind=kind, op=op, value=row.number("value", most=ONE), bound_95=bound)


def _category(row: Section, kind: GateKind) -> Gate:
    name = row.text("category", choices=[category.value for category in Category])
    return Gate(kind=kind, category=Category(name), value=row.number("min", most=ONE))


def _requirements(row: Section, kind: GateKind) -> Gate:
    globs = row.texts("requirements")
    if not globs:
        raise row.error("requirements", "names no requirement")
    return Gate(
        kind=kind, requirements=globs, value=row.number("min", most=ONE), bound_95=_bound(row)
    )


def _scenarios(row: Section, kind: GateKind) -> Gate:
    return Gate(kind=kind, requirements=row.texts("requirements", ("E2E-*",)))


def _defects(row: Section, kind: GateKind) -> Gate:
    return Gate(
        kind=kind,
        op="<=",
        severity=Severity(row.text("severity", choices=[severity.value for severity in Severity])),
        value=Fraction(row.integer("max")),
        area=row.text("area") if row.has("area") else None,
        workaround_required=row.flag("workaround_required", default=False),
    )


def _coverage(row: Section, kind: GateKind) -> Gate:
    return Gate(kind=kind, value=row.number("min", most=ONE))


def _bound(row: Section) -> bool:
    return row.text("bound", "none", choices=("none", "95")) == "95"


_READERS = {
    GateKind.TOTAL: _compared,
    GateKind.PASS_RATE: _compared,
    GateKind.CATEGORY: _category,
    GateKind.REQUIREMENTS: _requirements,
    GateKind.CRITICAL_SCENARIOS: _scenarios,
    GateKind.DEFECTS: _defects,
    GateKind.COVERAGE: _coverage,
}
