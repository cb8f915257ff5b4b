"""Reports are written whole or not at all, and stay small whatever a run holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.errors import HarnessError, UsageError
from certification.model import Outcome
from certification.report import report_view, write_reports
from certification.report.exchanges import REPORT_CHARACTERS
from tests.report.made_run import Shape, Texts, reported

if TYPE_CHECKING:
    from pathlib import Path

    from certification.judge import Judgement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judgement, Path]:
    return reported(tmp_path_factory.mktemp("written"))


def test_a_broken_target_cannot_swell_the_report(tmp_path: Path) -> None:
    texts = Texts(body="x" * 60_000)
    shape = Shape(checks=400, outcomes=(Outcome.FAIL,), texts=texts, waived=False)
    judgement, folder = reported(tmp_path, shape)
    assert (folder / "report.html").stat().st_size < 3_000_000
    view = report_view(judgement, folder / "evidence.jsonl.gz")
    shown = [row for check in view.checks for case in check.cases for row in case.exchanges]
    assert 0 < sum(len(row.came_back) for row in shown) <= REPORT_CHARACTERS


def test_result_json_comes_first_and_no_partial_file_stays(run: tuple[Judgement, Path]) -> None:
    judgement, folder = run
    written = write_reports(judgement, folder / "evidence.jsonl.gz", folder)
    assert [path.name for path in written] == [
        *("result.json", "report.html", "junit.xml", "findings.sarif"),
        *("results.csv", "summary.md"),
    ]
    assert not list(folder.glob("*.partial")) + list(folder.glob(".*.partial"))


def test_an_unknown_format_is_refused_before_anything_is_written(
    run: tuple[Judgement, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'pdf'"):
        write_reports(run[0], None, tmp_path, formats=("json", "pdf"))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_is_a_clear_error(run: tuple[Judgement, Path], tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(HarnessError, match=r"result\.json: cannot be written") as caught:
        write_reports(run[0], None, blocker / "out")
    assert caught.value.hint


def test_a_thousand_failing_checks_with_long_findings_stay_under_three_megabytes(
    tmp_path: Path,
) -> None:
    quotes = '"<&' * 1500
    texts = Texts(message=quotes, expected=quotes, observed=quotes, body=quotes, reason=quotes)
    shape = Shape(checks=1000, outcomes=(Outcome.FAIL,), texts=texts, waived=False)
    _, folder = reported(tmp_path, shape)
    assert (folder / "report.html").stat().st_size < 3_000_000
    assert (folder / "report.html").read_text().count("data-check=") == 1000
