"""A comparison names what changed, and refuses what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from certification.compare import Change, compare, comparison_json, comparison_text
from certification.errors import UsageError
from certification.judge import Judgement, judge_run
from certification.model import CaseResult, CheckId, Outcome
from certification.profile import load_profile
from tests.report.made_run import TODAY, Shape, judged

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = Shape(checks=280, outcomes=(Outcome.PASS,), waived=False, veto=False)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    judgement, _ = judged(tmp_path_factory.mktemp("old"), SHAPE)
    assert judgement.verdict.level != "INCONCLUSIVE", judgement.verdict.inconclusive
    return judgement


def altered(judgement: Judgement, outcomes: dict[int, Outcome]) -> Judgement:
    """Return the judgement of the same run with other outcomes of some checks."""
    run = judgement.run

    def case(number: int, row: CaseResult) -> CaseResult:
        if number not in outcomes:
            return row
        outcome = outcomes[number]
        reason = None if outcome is Outcome.PASS else "planted by the test"
        return replace(row, outcome=outcome, reason=reason, attempts=(outcome,))

    cases = tuple(case(number, row) for number, row in enumerate(run.cases))
    return judge_run(replace(run, cases=cases), today=TODAY)


def test_nothing_changed_between_a_run_and_itself(old: Judgement) -> None:
    comparison = compare(old, old)
    assert comparison.changes == ()
    assert not comparison.worse
    assert comparison.unchanged == 280
    assert comparison_text(comparison).endswith("280 checks unchanged\nnot worse")


@pytest.mark.parametrize(
    ("before", "after", "change", "worse"),
    [
        (Outcome.PASS, Outcome.FAIL, Change.NEWLY_FAILING, True),
        (Outcome.NOT_EXERCISED, Outcome.FAIL, Change.NEWLY_FAILING, True),
        (Outcome.FAIL, Outcome.PASS, Change.FIXED, False),
        (Outcome.NOT_EXERCISED, Outcome.PASS, Change.NEWLY_PASSING, False),
        (Outcome.PASS, Outcome.NOT_EXERCISED, Change.NEWLY_NOT_EXERCISED, True),
        (Outcome.FAIL, Outcome.NOT_EXERCISED, Change.NEWLY_NOT_EXERCISED, True),
        (Outcome.PASS, Outcome.ERROR, Change.NEWLY_UNDECIDED, True),
        (Outcome.FAIL, Outcome.INCONCLUSIVE, Change.NEWLY_UNDECIDED, True),
        (Outcome.FAIL, Outcome.FAIL, None, False),
    ],
)
def test_each_change_has_its_name(
    old: Judgement, before: Outcome, after: Outcome, change: Change | None, worse: bool
) -> None:
    comparison = compare(altered(old, {3: before}), altered(old, {3: after}))
    assert [row.change for row in comparison.changes] == ([] if change is None else [change])
    assert comparison.worse is worse


def test_vanished_and_new_checks_are_named(old: Judgement) -> None:
    plan = old.run.header.plan
    renamed = replace(plan[0], id=CheckId("functional/area0/another-question"))
    header = replace(old.run.header, plan=(renamed, *plan[1:]))
    cases = (replace(old.run.cases[0], check=renamed.id), *old.run.cases[1:])
    new = judge_run(replace(old.run, header=header, cases=cases), today=TODAY)
    comparison = compare(old, new)
    assert [row.check for row in comparison.of(Change.VANISHED)] == [plan[0].id]
    assert [row.check for row in comparison.of(Change.NEW)] == [renamed.id]
    assert comparison.worse


def test_scores_change_by_category(old: Judgement) -> None:
    new = altered(old, {0: Outcome.FAIL})
    rows = {row.name: row for row in compare(old, new).scores}
    assert rows["functionality"].gain is not None
    assert rows["functionality"].gain < 0
    assert rows["security"].gain == 0
    assert rows["total"].gain == new.score.total.lower - old.score.total.lower


def test_other_rules_are_refused_unless_wanted(old: Judgement) -> None:
    other = judge_run(old.run, profile=load_profile("smoke"), today=TODAY)
    with pytest.raises(UsageError, match="different rules: profile standard 1") as caught:
        compare(old, other)
    assert "--any-profile" in str(caught.value.hint)
    assert "smoke" in compare(old, other, any_profile=True).remarks[0]


@pytest.mark.parametrize(
    ("header", "footer", "words"),
    [
        ({"selection": "-k money"}, {}, "only a part was run"),
        ({"source": "reported"}, {}, "reported, not observed"),
        ({}, {"ended": "interrupted"}, "did not hold"),
        ({}, None, "did not hold"),
    ],
)
def test_a_run_whose_verdict_did_not_hold_is_no_baseline(
    old: Judgement, header: dict[str, str], footer: dict[str, str] | None, words: str
) -> None:
    run = old.run
    assert run.footer is not None
    end = None if footer is None else replace(run.footer, **footer)  # type: ignore[arg-type]  # texts only
    top = replace(run.header, **header)  # type: ignore[arg-type]  # texts only
    broken = judge_run(replace(run, header=top, footer=end), today=TODAY)
    with pytest.raises(UsageError, match=words):
        compare(broken, old)
    assert compare(old, broken).run == run.header.run_id


def test_the_json_says_what_the_text_says(old: Judgement) -> None:
    comparison = compare(old, altered(old, {0: Outcome.FAIL, 5: Outcome.ERROR}))
    document = json.loads(comparison_json(comparison))
    assert document["worse"] is True
    text = comparison_text(comparison)
    for row in document["changes"]:
        assert row["check"] in text
        assert row["change"].replace("_", " ") in text
    assert document["scores"][0]["after"]["text"] in text


def test_a_hostile_reason_cannot_forge_lines(old: Judgement, tmp_path: Path) -> None:
    new = altered(old, {0: Outcome.FAIL})
    case = replace(new.run.cases[0], reason="x\nnot worse\x1b[2J\u202e")
    hostile = judge_run(replace(new.run, cases=(case, *new.run.cases[1:])), today=TODAY)
    text = comparison_text(compare(old, hostile))
    assert text.splitlines().count("not worse") == 0
    assert "\x1b" not in text
