"""The planted defects: what each does wrong, which checks must catch it, how far it may reach."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certification import shipped
from certification.checks import CheckSpec
from certification.errors import HarnessError, UsageError

LAUNCHER = "_launcher.py"
WHOLE_WAY = (
    "functional/fuzzing/*",
    "functional/histories/*",
    "functional/scenarios-*/*",
    "functional/security-scenarios/*",
    "functional/sweep/*",
    "functional/walk/*",
)
"""Checks that go through the whole API: any defect may rightly show there, so a matrix asks them
only about the defects that they name."""

FAMILIES = (
    (
        "accounts",
        "batch",
        "concurrency",
        "expiry-races",
        "holds",
        "lifecycle",
        "money",
        "statements",
        "system-accounts",
        "transactions",
    ),
    ("idempotency", "keys"),
    ("cursors", "pagination"),
    (
        "explicit-forks",
        "forks",
        "growth-policies",
        "growth-races",
        "growth-tracking",
        "lineage",
        "merge-order",
        "merge-rules",
        "merges",
        "presets",
        "reinvest",
        "trial-policies",
    ),
    ("analytics", "analytics-windows", "reports", "system-analytics"),
    ("audit", "audit-privacy", "audit-proofs", "personal-data", "sensitive-fields"),
    (
        "authentication",
        "grants",
        "lockout",
        "mfa",
        "ownership",
        "passwords",
        "principals",
        "rate-limits",
        "roles",
        "sessions",
    ),
)
"""Areas that look at one thing from several sides: what a check of one catches, those of the others
may rightly see too. An area that stands in none is a family of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One file of `fixtures/defects/`."""

    id: str
    summary: str
    """First line of its docstring: what the deployment does wrong."""
    catches: tuple[str, ...]
    """Ids of checks; each must FAIL."""
    reach: tuple[str, ...]
    """Globs of other checks that may rightly fail too, beside `WHOLE_WAY` and `FAMILIES`."""
    race: bool
    crashes: bool
    """Whether a 5xx is what it does wrong; otherwise one is the planting's own fault."""
    patches: int
    """How many attributes it replaces; each replacement must have been called."""

    @property
    def may_fail(self) -> tuple[str, ...]:
        """Globs of every check that may fail with the defect; any other one accuses wrongly."""
        suites_areas = [check.split("/")[:2] for check in self.catches]
        near = [
            f"{suite}/{name}/*"
            for suite, area in suites_areas
            for name in next((family for family in FAMILIES if area in family), (area,))
        ]
        return (*self.catches, *self.reach, *WHOLE_WAY, *dict.fromkeys(near))


def load_defects() -> tuple[Defect, ...]:
    """Read every defect's metadata; raises `HarnessError` for a file that lacks any."""
    folder = shipped.path("fixtures/defects")
    return tuple(
        _read(file) for file in sorted(folder.glob("*.py")) if not file.name.startswith("_")
    )


def launcher() -> Path:
    """Return the script that starts the reference with a defect planted."""
    return shipped.path("fixtures/defects") / LAUNCHER


def choose(defects: Sequence[Defect], names: Sequence[str]) -> tuple[Defect, ...]:
    """Return the named defects, all without names; raises `UsageError` for an unknown one."""
    known = {defect.id: defect for defect in defects}
    for name in names:
        if name not in known:
            raise UsageError(
                f"{name}: no planted defect of that name", hint="`certify prove --list` shows them"
            )
    return tuple(known[name] for name in names) if names else tuple(defects)


def mismatches(catalogue: Sequence[CheckSpec], defects: Sequence[Defect]) -> list[str]:
    """Return where checks and defects do not name each other; empty in a sound tree."""
    by_check = {str(spec.id): set(spec.defects) for spec in catalogue}
    by_defect = {defect.id: set(defect.catches) for defect in defects}
    wrong = []
    for check, named in by_check.items():
        wrong += [
            f"{check} names the defect {name}, which does not name it back"
            for name in sorted(named)
            if check not in by_defect.get(name, ())
        ]
    for defect, caught_by in by_defect.items():
        wrong += [
            f"the defect {defect} names {check}, which does not name it back"
            for check in sorted(caught_by)
            if defect not in by_check.get(check, set())
        ]
        if not caught_by:
            wrong.append(f"the defect {defect} names no check")
    return wrong


def _read(file: Path) -> Defect:
    try:
        names = runpy.run_path(str(file))
        return Defect(
            id=file.stem.replace("_", "-"),
            summary=str(names["__doc__"]).strip().splitlines()[0],
            catches=tuple(names["CATCHES"]),
            reach=tuple(names.get("REACH", ())),
            race=bool(names.get("RACE", False)),
            crashes=bool(names.get("CRASHES", False)),
            patches=len(names["PATCHES"]),
        )
    except (KeyError, ImportError, SyntaxError) as error:
        raise HarnessError(f"{file}: not a planted defect: {error!r}") from error
