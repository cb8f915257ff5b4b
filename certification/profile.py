"""The profile: weights, targets, gates and levels as data, from TOML or an evidence header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

from certification.errors import UsageError
from certification.model import Category, Json, Module, Outcome, PlannedCheck, Severity, Veto
from certification.profile_gates import Gate, Level, read_levels
from certification.toml_source import Section, TomlSource, load_toml

PROFILES = Path(__file__).resolve().parent / "profiles"
"""One TOML file for each shipped profile."""

ONE = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRule:
    """How one category counts."""

    weight: Fraction
    floor: Fraction | None
    """The gate `floors` asks each category's lower end to be at least this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A number that a measurement is judged against."""

    name: str
    metric: str
    """Glob on the name of a measurement."""
    op: str
    """`<`, `<=`, `>` or `>=`."""
    value: Fraction
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A fixed part of the catalogue, for a first answer in little time.

    Membership hangs on a check's id alone: two runs compare, and a new check moves no other one.
    """

    one_in: int
    always: tuple[str, ...]
    """Globs on the ids of checks that are in whatever their digest says."""

    def holds(self, check: str) -> bool:
        """Whether the check of this id belongs to the sample."""
        if any(fnmatchcase(check, glob) for glob in self.always):
            return True
        return int.from_bytes(hashlib.sha256(check.encode()).digest()[:4]) % self.one_in == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named, versioned set of rules; scoring and gates read their numbers from nowhere else."""

    name: str
    version: int
    title: str
    scope: str
    """`register`: every requirement counts; `selected`: those that the planned checks verify."""
    checks: tuple[str, ...]
    """Globs on check ids: what the profile plans. `*` matches slashes too."""
    sample: Sample | None
    """Where given, only these of the checks are planned."""
    modules_required: frozenset[Module]
    modules_optional: frozenset[Module]
    coverage_min: Fraction
    default_level: str
    categories: Mapping[Category, CategoryRule]
    severity_weights: Mapping[Severity, Fraction]
    requirement_weight: Fraction
    requirement_weight_critical: Fraction
    attestation_share_max: Fraction
    """Of one category."""
    vetoes: Mapping[Veto, str]
    """The best level that is left once the veto is active."""
    levels: tuple[Level, ...]
    """Best first."""
    levels_otherwise: str
    """The level where none is granted."""
    reference_total: Fraction | None
    reference_pass_rate: Fraction | None
    targets: tuple[Target, ...]
    time_budget_s: int | None
    requests_max: int | None
    flaky: Outcome
    """What failed once and then passed counts as: FAIL or INCONCLUSIVE."""
    trials: Mapping[str, int]
    """Trial counts by name, for checks that repeat."""
    document: Json
    """The whole profile as JSON, fractions as texts; `parse_profile` reads it back."""
    sha256: str
    """Of the document in canonical JSON."""

    def plans(self, check: str) -> bool:
        """Whether the profile plans the check of this id."""
        named = any(fnmatchcase(check, glob) for glob in self.checks)
        return named and (self.sample is None or self.sample.holds(check))

    def level_names(self) -> tuple[str, ...]:
        """Return every level, best first, the bottom one included."""
        return (*(level.name for level in self.levels), self.levels_otherwise)

    def module_outcome(
        self, check: PlannedCheck, declared: frozenset[str]
    ) -> tuple[Outcome, str] | None:
        """Decide a check whose module the target does not declare; None where all are declared.

        A module in neither list counts as required: what a profile forgot must not help anybody.
        """
        missing = [module for module in check.modules if module.value not in declared]
        required = [module for module in missing if module not in self.modules_optional]
        if required:
            return Outcome.FAIL, f"required module {required[0].value} is not declared"
        if missing:
            return Outcome.NOT_APPLICABLE, f"optional module {missing[0].value} is not declared"
        return None


def load_profile(name_or_path: str) -> Profile:
    """Read a shipped profile by name, or a TOML file by path.

    Raises UsageError naming file, line, key and what is allowed.
    """
    path = PROFILES / f"{name_or_path}.toml"
    if "/" in name_or_path or name_or_path.endswith(".toml") or not path.is_file():
        path = Path(name_or_path)
        if not path.is_file():
            names = ", ".join(shipped_profiles())
            raise UsageError(
                f"profile {name_or_path!r} is neither a shipped profile nor a file",
                hint=f"choose one of {names}, or give the path of a TOML file",
            )
    return _read(load_toml(path))


def shipped_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that travel with the runner."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.toml")))


def parse_profile(document: Json, *, name: str = "profile in the evidence") -> Profile:
    """Read the document of a profile, e.g. out of an evidence header; raises UsageError."""
    return _read(TomlSource(name=name, document=document))


def _read(source: TomlSource) -> Profile:
    root = source.root()
    document = _jsonable(source.document)
    levels, otherwise = read_levels(root)
    names = (*(level.name for level in levels), otherwise)
    modules = root.section("modules")
    weights = root.section("weights")
    importance = weights.section("requirement")
    reference = root.section("reference")
    profile = Profile(
        name=root.text("name"),
        version=root.integer("version"),
        title=root.text("title"),
        scope=root.text("scope", "register", choices=("register", "selected")),
        checks=root.texts("checks"),
        sample=_sample(root.section("sample")) if root.has("sample") else None,
        modules_required=_modules(modules, "required"),
        modules_optional=_modules(modules, "optional"),
        coverage_min=root.number("coverage_min", most=ONE),
        default_level=root.text("default_level", choices=names),
        categories=_categories(root),
        severity_weights=_severities(weights.section("severity")),
        requirement_weight=_positive(importance, "normal"),
        requirement_weight_critical=_positive(importance, "critical"),
        attestation_share_max=root.number("attestation_share_max", Fraction(1, 5), most=ONE),
        vetoes=_vetoes(root.section("vetoes"), names),
        levels=levels,
        levels_otherwise=otherwise,
        reference_total=_optional(reference, "total"),
        reference_pass_rate=_optional(reference, "pass_rate"),
        targets=_targets(root.section("targets")),
        time_budget_s=root.integer("time_budget_s") if root.has("time_budget_s") else None,
        requests_max=root.integer("requests_max") if root.has("requests_max") else None,
        flaky=Outcome.FAIL
        if root.text("flaky", "fail", choices=("fail", "inconclusive")) == "fail"
        else Outcome.INCONCLUSIVE,
        trials=_trials(root.section("trials")),
        document=document,
        sha256=hashlib.sha256(canonical(document)).hexdigest(),
    )
    for section in (modules, weights, importance, reference, root):
        section.done()
    _refuse_contradictions(root, profile)
    return profile


def canonical(document: Json) -> bytes:
    """Return the one byte string of a JSON document that its digest is taken over."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse_contradictions(root: Section, profile: Profile) -> None:
    if not profile.checks:
        raise root.error("checks", "no check is planned", hint='use ["*"] for all')
    both = profile.modules_required & profile.modules_optional
    if both:
        names = ", ".join(sorted(module.value for module in both))
        raise root.error("modules", f"{names} cannot be required and optional")
    if profile.attestation_share_max == ONE:
        raise root.error("attestation_share_max", "1 would let statements replace observation")
    # The lower end of the total never exceeds the coverage. Where the minimum coverage is at most
    # what every granting level asks of the total, too little coverage can only stand in for the
    # bottom level; were it higher, one more FAIL could lift a run out of INCONCLUSIVE to a level.
    for level in profile.levels:
        threshold = level.total_min()
        if threshold < profile.coverage_min:
            raise root.error(
                "coverage_min",
                f"{profile.coverage_min} is above the total of {threshold} that the level "
                f"{level.name} asks for",
                hint="lower coverage_min, or give that level a gate of kind `total`",
            )


def _categories(root: Section) -> dict[Category, CategoryRule]:
    table = root.section("categories")
    found: dict[Category, CategoryRule] = {}
    allowed = {category.value: category for category in Category}
    for key in table.keys():  # noqa: SIM118 - a Section is not a mapping
        if key not in allowed:
            raise table.error(key, f"unknown category; allowed are {', '.join(allowed)}")
        rule = table.section(key)
        found[allowed[key]] = CategoryRule(
            weight=_positive(rule, "weight"),
            floor=rule.number("floor", most=ONE) if rule.has("floor") else None,
        )
        rule.done()
    total = sum((rule.weight for rule in found.values()), Fraction(0))
    if total != 1:
        raise root.error(
            "categories", f"the weights add up to {total} ({_decimal(total)}), not to exactly 1"
        )
    return found


def _modules(section: Section, key: str) -> frozenset[Module]:
    names = section.texts(key, (), choices=[module.value for module in Module])
    return frozenset(Module(name) for name in names)


def _sample(section: Section) -> Sample:
    one_in = section.integer("one_in")
    if one_in < 1:
        raise section.error("one_in", f"{one_in} is no share", hint="3 means every third check")
    sample = Sample(one_in=one_in, always=section.texts("always", ()))
    section.done()
    return sample


def _severities(section: Section) -> dict[Severity, Fraction]:
    found = {severity: _positive(section, severity.value) for severity in Severity}
    section.done()
    return found


def _vetoes(section: Section, levels: tuple[str, ...]) -> dict[Veto, str]:
    found = {
        veto: section.text(veto.value, choices=levels) for veto in Veto if section.has(veto.value)
    }
    section.done()
    return found


def _targets(section: Section) -> tuple[Target, ...]:
    found = []
    for name in section.keys():  # noqa: SIM118 - a Section is not a mapping
        row = section.section(name)
        found.append(
            Target(
                name=name,
                metric=row.text("metric"),
                op=row.text("op", choices=("<", "<=", ">", ">=")),
                value=row.number("value"),
                unit=row.text("unit"),
            )
        )
        row.done()
    return tuple(found)


def _trials(section: Section) -> dict[str, int]:
    return {name: section.integer(name) for name in section.keys()}  # noqa: SIM118 - see above


def _optional(section: Section, key: str) -> Fraction | None:
    return section.number(key, most=ONE) if section.has(key) else None


def _positive(section: Section, key: str) -> Fraction:
    value = section.number(key)
    if value == 0:
        raise section.error(key, "0 would let it drop out silently; give a weight above 0")
    return value


def _jsonable(value: Any) -> Any:
    """Return the document with fractions as texts, which JSON keeps exactly."""
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def _decimal(value: Fraction) -> str:
    return f"{float(value):.6g}"


__all__ = [
    "PROFILES",
    "CategoryRule",
    "Gate",
    "Level",
    "Profile",
    "Sample",
    "Target",
    "canonical",
    "load_profile",
    "parse_profile",
    "shipped_profiles",
]
