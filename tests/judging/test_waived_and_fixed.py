from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from certification.model import (
    CheckId,
    Severity,
    Waiver,
)
from certification.results import NOT_SELECTED, SELECTION_PASSED
from tests.judging.deciding import REGISTER, N, P, U, X, checks, gates, verdict
from tests.judging.made import (
    TODAY,
    judged,
    planned,
    profile,
    recorded,
)

if TYPE_CHECKING:
    pass


F = Fraction


def waiver(check: str, expires: str = "2026-12-31") -> Waiver:
    return Waiver(check=CheckId(check), reason="r", owner="o", ticket="T-1", expires=expires)


def test_a_waived_failure_counts_as_a_failure() -> None:
    rows = checks(P, P, X)
    plain, waived = verdict(rows), verdict(rows, waivers=(waiver("functional/a/c2"),))
    assert (waived.level, waived.waiver_faults) == (plain.level, ())
    assert not gates(waived, "BEST")["no waiver"].met


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        (waiver("functional/a/c0"), "stale: the check passes"),
        (waiver("functional/a/gone"), "stale: no such check is planned"),
        (waiver("functional/a/c39", expires="2026-02-28"), "expired on 2026-02-28"),
    ],
)
def test_a_stale_or_expired_waiver_fails_the_run(held: Waiver, fault: str) -> None:
    result = verdict(checks(*[P] * 39, X), waivers=(held,))
    assert fault in result.waiver_faults[0]
    assert (result.level, result.reached, result.exit_code) == ("GOOD", False, 1)


def test_a_waiver_holds_on_its_last_day() -> None:
    held = waiver("functional/a/c39", expires=TODAY.isoformat())
    assert verdict(checks(*[P] * 39, X), waivers=(held,)).exit_code == 0


# Fixes


def test_fixes_name_failures_first_then_what_is_undecided_most_gain_first() -> None:
    rows = {
        planned("functional/a/low", "A", severity=Severity.LOW): X,
        planned("functional/a/high", "A", severity=Severity.HIGH): X,
        planned("security/b/unknown", "B"): U,
        planned("security/b/good", "B"): P,
    }
    judgement = judged(recorded(profile(), rows, register=REGISTER))
    fixes = judgement.verdict.fixes
    assert [f.check for f in fixes] == [
        "functional/a/high",
        "functional/a/low",
        "security/b/unknown",
    ]
    assert fixes[0].gain == F(3, 5) * F(4, 5)
    assert fixes[0].total_after == judgement.score.total.lower + fixes[0].gain
    assert fixes[0].level_after == "FAIR"
    assert fixes[0].title == "functional/a/high is broken"
    for fix, row in zip(fixes, ("high", "low"), strict=False):
        lost = next(r.lost_total for r in judgement.score.checks if r.check.id.endswith(row))
        assert fix.gain == lost


def test_a_partial_run_names_no_fix_of_what_was_left_out() -> None:
    left = planned("functional/a/left", "A", fixed_outcome=N, fixed_reason=NOT_SELECTED)
    rows = {**checks(P, X, U), left: None}
    result = verdict(rows, requested_level=SELECTION_PASSED, selection="-k money")
    assert [fix.check for fix in result.fixes] == ["functional/a/c1", "functional/a/c2"]


def test_the_list_of_fixes_is_bounded() -> None:
    assert len(verdict(checks(*[X] * 40)).fixes) == 25
