from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from certification.model import (
    Finding,
    Outcome,
    Severity,
    Veto,
)
from certification.results import Verdict
from tests.judging.deciding import REGISTER, N, P, X, checks, gates, verdict
from tests.judging.made import (
    judged,
    planned,
    profile,
    recorded,
)

if TYPE_CHECKING:
    pass


def test_a_veto_caps_the_level_and_names_itself() -> None:
    rows = checks(*[P] * 40, severity=Severity.LOW)
    veto = planned("functional/a/v", "A", severity=Severity.LOW, veto=Veto.DOUBLE_SPEND)
    rules = profile(
        levels=[{"name": "GOOD", "gates": [{"kind": "total", "op": ">", "value": "9/10"}]}]
    )
    assert verdict({**rows, veto: P}, rules).level == "GOOD"
    result = verdict({**rows, veto: X}, rules)
    assert (result.level, result.exit_code) == ("BAD", 1)
    assert result.vetoes == ((Veto.DOUBLE_SPEND, "functional/a/v"),)


def test_a_veto_is_certain_even_where_the_coverage_is_too_thin() -> None:
    rows = checks(*[N] * 9, severity=Severity.LOW)
    assert verdict(rows).level == "INCONCLUSIVE"
    assert "coverage 0.0 % is below" in verdict(rows).inconclusive[0]
    assert verdict(rows).exit_code == 3
    veto = planned("functional/a/v", "A", severity=Severity.LOW, veto=Veto.DOUBLE_SPEND)
    result = verdict({**rows, veto: X})
    assert (result.level, result.exit_code, result.inconclusive) == ("BAD", 1, ())


def test_an_undecided_check_that_guards_a_veto_blocks_the_gate_no_veto() -> None:
    veto = planned("functional/a/v", "A", severity=Severity.LOW, veto=Veto.DOUBLE_SPEND)
    result = verdict({**checks(*[P] * 40), veto: N})
    assert result.level == "BAD"
    assert gates(result, "FAIR")["no veto"].lift == "decide functional/a/v"


def test_a_failure_of_form_alone_raises_no_veto_and_leaves_it_open() -> None:
    veto = planned("functional/a/v", "A", severity=Severity.LOW, veto=Veto.DOUBLE_SPEND)
    form = Finding(message="m", expected="e", observed="500", form_only=True)
    effect = replace(form, form_only=False)
    rows = {**checks(*[P] * 40), veto: X}

    def decided(*findings: Finding) -> Verdict:
        run = recorded(profile(), rows, register=REGISTER)
        cases = tuple(
            replace(row, findings=findings) if row.check == veto.id else row for row in run.cases
        )
        return judged(replace(run, cases=cases)).verdict

    assert decided(form).vetoes == ()
    assert not gates(decided(form), "FAIR")["no veto"].met
    assert decided(form, effect).vetoes == ((Veto.DOUBLE_SPEND, "functional/a/v"),)


def test_a_check_that_planning_failed_raises_no_veto() -> None:
    veto = planned(
        "functional/a/v",
        "A",
        veto=Veto.DOUBLE_SPEND,
        fixed_outcome=Outcome.FAIL,
        fixed_reason="the profile requires the module growth; not declared",
    )
    result = verdict({**checks(*[P] * 40), veto: None})
    assert result.vetoes == ()
    assert result.level != "BEST"
