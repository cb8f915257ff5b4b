"""Small runs and what is decided on them, for the tests of gates and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from certification.model import (
    Category,
    Outcome,
    PlannedCheck,
    Requirement,
)
from certification.profile import Profile
from certification.results import GateResult, Verdict
from tests.judging.made import (
    judged,
    planned,
    profile,
    recorded,
    requirement,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


A, B = requirement("A"), requirement("B", Category.SECURITY)
REGISTER = (A, B)
P, X, U, N = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NOT_EXERCISED


def checks(*outcomes: Outcome | None, **more: Any) -> dict[PlannedCheck, Outcome | None]:
    """Return checks that each verify both requirements."""
    return {
        planned(f"functional/a/c{i}", "A", "B", **more): outcome
        for i, outcome in enumerate(outcomes)
    }


def verdict(
    rows: Mapping[PlannedCheck, Outcome | None],
    rules: Profile | None = None,
    register: tuple[Requirement, ...] = REGISTER,
    **more: Any,
) -> Verdict:
    return judged(recorded(rules or profile(), rows, register=register, **more)).verdict


def gates(result: Verdict, level: str) -> dict[str, GateResult]:
    return {g.gate: g for row in result.levels if row.name == level for g in row.gates}


def asks(*rows: dict[str, Any]) -> Profile:
    """Return a profile whose one level asks for these gates, and for a total of at least 0."""
    return profile(
        coverage_min=0,
        default_level="ONLY",
        levels=[{"name": "ONLY", "gates": list(rows)}],
    )
