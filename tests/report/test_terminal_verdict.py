"""The verdict on a terminal: a witness story can be read, and nothing a target wrote steers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certification.cli.verdict import STORY_LINES_SHOWN, verdict_text
from tests.report.made_run import Shape, Texts, judged

if TYPE_CHECKING:
    from pathlib import Path


def test_a_story_of_several_lines_is_shown_line_by_line_indented(tmp_path: Path) -> None:
    story = "a lost update:\n  client-1 reads 10\nCERTIFIED   requested GOLD: reached"
    judgement, _ = judged(tmp_path, Shape(texts=Texts(observed=story)))
    lines = verdict_text(judgement).splitlines()
    assert "       client-1 reads 10" in lines
    assert "     CERTIFIED   requested GOLD: reached" in lines
    assert not any(line.startswith("CERTIFIED") for line in lines)


def test_a_long_story_is_cut(tmp_path: Path) -> None:
    story = "\n".join(f"step-{number}" for number in range(500))
    judgement, _ = judged(tmp_path, Shape(texts=Texts(observed=story)))
    shown = [line for line in verdict_text(judgement).splitlines() if line.startswith("     step-")]
    failed = verdict_text(judgement).count("\nFAIL ")
    assert 0 < len(shown) <= failed * STORY_LINES_SHOWN


def test_what_the_run_cost_the_deployment_is_stated(tmp_path: Path) -> None:
    judgement, _ = judged(tmp_path)
    footer = judgement.run.footer
    assert footer is not None
    assert f"; {footer.requests:,} requests in " in verdict_text(judgement)
