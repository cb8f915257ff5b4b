"""Every format of one run says the same, and none is steered by what a target wrote."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema_rs
import pytest

from certification.evidence import EvidenceWriter
from certification.judge import judge
from certification.model import Category, Outcome, ReportedCategory
from certification.report import FORMATS, render, report_view, write_reports
from certification.report.csv import COLUMNS, guarded
from certification.report.json import RESULT_SCHEMA, schema
from certification.report.markdown import code, plain
from tests.report.made_run import (
    ENDED,
    TODAY,
    Shape,
    Texts,
    changed,
    header,
    judged,
    outcome_of,
    planned,
    reported,
)

if TYPE_CHECKING:
    from pathlib import Path

    from certification.judge import Judgement

HOSTILE = (
    "</script><script>window.ran=1</script><img src=x onerror=window.ran=1>"
    "\"'`|]]>{{7*7}}{% raw %}javascript:window.ran=1 =1+1 @all "
    "\u202e\x1b[31m\x00\ud800\u2028\ufffe ${jndi:x} <!-- &lt; https://evil.test [a](b) | c"
)


class Page(HTMLParser):
    """What a test needs to know of an HTML report."""

    def __init__(self) -> None:
        super().__init__()
        self.verdict: dict[str, str | None] = {}
        self.checks: dict[str, str] = {}
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        self.attributes |= set(values)
        if values.get("id") == "verdict":
            self.verdict = values
        if "data-check" in values:
            self.checks[str(values["data-check"])] = str(values["data-outcome"])
        self.links += [str(values[name]) for name in ("href", "src") if name in values]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(path: Path) -> Page:
    parsed = Page()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judgement, Path]:
    return reported(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Judgement, Path]:
    shape = Shape(texts=Texts.hostile(HOSTILE), selection=HOSTILE)
    return reported(tmp_path_factory.mktemp("hostile"), shape)


@pytest.fixture(scope="module", params=["run", "hostile"])
def either(request: pytest.FixtureRequest) -> tuple[Judgement, Path]:
    made: tuple[Judgement, Path] = request.getfixturevalue(request.param)
    return made


def junit(folder: Path) -> ET.Element:
    return ET.parse(folder / "junit.xml").getroot()  # noqa: S314  - our own file


def result(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return document


def test_all_formats_say_the_same(run: tuple[Judgement, Path]) -> None:
    judgement, folder = run
    outcomes = {str(row.check.id): row.outcome.value for row in judgement.score.checks}
    failed = {check for check, outcome in outcomes.items() if outcome == "FAIL"}
    level, document = judgement.verdict.level, result(folder)
    score = document["verdict"]["total"]["text"]

    assert document["verdict"]["level"] == level
    assert {row["id"]: row["outcome"] for row in document["checks"]} == outcomes

    html = page(folder / "report.html")
    assert (html.verdict["data-level"], html.verdict["data-score"]) == (level, score)
    assert html.checks == outcomes
    assert document["verdict"]["score_line"] in " ".join(html.text)

    suites = junit(folder)
    said = {row.get("name"): row.get("value") for row in suites.iterfind("testsuite/properties/*")}
    assert (said["level"], said["score"]) == (level, score)
    assert junit_outcomes(suites) == outcomes

    log = json.loads((folder / "findings.sarif").read_text())["runs"][0]
    assert (log["properties"]["level"], log["properties"]["score"]) == (level, score)
    assert log["properties"]["outcomes"] == outcomes
    assert {row["ruleId"] for row in log["results"]} == failed

    with (folder / "results.csv").open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    assert {(row["level"], row["score"]) for row in rows} == {(level, score)}
    assert {row["check"]: row["outcome"] for row in rows} == outcomes

    summary = (folder / "summary.md").read_text()
    assert summary.startswith(f"# {plain(level)} (waived)\n\n**{score}, ")
    rows_of_summary = re.findall(r"^\| ([A-Z_]+)[^|]* \| `(\S+/\S+)` \|", summary, re.MULTILINE)
    named = {check: outcome for outcome, check in rows_of_summary}
    listed = {check: outcome for check, outcome in outcomes.items() if outcome != "PASS"}
    assert named == listed


def junit_outcomes(suites: ET.Element) -> dict[str | None, str | None]:
    return {
        case.get("name"): prop.get("value")
        for case in suites.iterfind("testsuite/testcase")
        for prop in case.iterfind("properties/property[@name='outcome']")
    }


def test_the_result_fits_its_published_schema(either: tuple[Judgement, Path]) -> None:
    document = result(either[1])
    assert document["schema"] == RESULT_SCHEMA
    jsonschema_rs.validator_for(schema()).validate(document)
    document["checks"][0]["outcome"] = "SUCCESS"
    assert not jsonschema_rs.is_valid(schema(), document)


def test_the_result_holds_exact_scores(run: tuple[Judgement, Path]) -> None:
    judgement, folder = run
    total = judgement.score.total
    shown = result(folder)["verdict"]["total"]
    assert shown["lower"]["exact"] == f"{total.lower.numerator}/{total.lower.denominator}"
    assert shown["lower"]["value"] <= total.lower


def test_the_same_evidence_gives_the_same_bytes(run: tuple[Judgement, Path]) -> None:
    judgement, folder = run
    view = report_view(judgement, folder / "evidence.jsonl.gz")
    again = report_view(judgement, folder / "evidence.jsonl.gz")
    assert view == again
    assert all(render(view, name) == render(again, name) for name in FORMATS)


def test_junit_never_shows_an_undecided_check_as_green(run: tuple[Judgement, Path]) -> None:
    root = junit(run[1])
    tags = {
        "FAIL": "failure",
        "ERROR": "error",
        "INCONCLUSIVE": "error",
        "NOT_EXERCISED": "skipped",
        "NOT_APPLICABLE": "skipped",
    }
    seen = set()
    for case in root.iterfind("testsuite/testcase"):
        outcome = case.find("properties/property[@name='outcome']").get("value")  # type: ignore[union-attr]  # always there
        below = {child.tag for child in case} - {"properties"}
        assert below == ({tags[outcome]} if outcome in tags else set())
        if outcome in tags and tags[outcome] == "skipped":
            assert str(outcome) in case.find("skipped").get("message", "")  # type: ignore[union-attr]  # just asserted
        seen.add(outcome)
    assert set(tags) < seen
    assert int(root.get("tests", 0)) == 48
    classname = root.find("testsuite/testcase").get("classname")  # type: ignore[union-attr]  # there are 48
    assert classname == "functional.area0"


def test_junit_has_cases_as_properties(run: tuple[Judgement, Path]) -> None:
    root = junit(run[1])
    names = {row.get("name") for row in root.iterfind("testsuite/testcase/properties/property")}
    assert "case:currency=EUR" in names


def test_sarif_has_rules_levels_places_and_replays(run: tuple[Judgement, Path]) -> None:
    log = json.loads((run[1] / "findings.sarif").read_text())
    assert log["version"] == "2.1.0"
    driver = log["runs"][0]["tool"]["driver"]
    finding = log["runs"][0]["results"][0]
    rule = driver["rules"][finding["ruleIndex"]]
    assert rule["id"] == finding["ruleId"]
    assert "under a lock" in rule["help"]["text"]
    assert finding["level"] == "error"
    place = finding["locations"][0]["logicalLocations"][0]
    assert place["fullyQualifiedName"] == "createTransaction"
    assert " --check functional/area0/" in finding["properties"]["replay"]
    assert "$TOKEN" in finding["properties"]["curl"][0]


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\uff1d1"])
def test_no_cell_of_the_csv_is_a_formula(start: str) -> None:
    assert guarded(start).startswith("'")
    assert guarded("1 = 1") == "1 = 1"


def test_the_csv_of_a_hostile_run_keeps_its_shape(hostile: tuple[Judgement, Path]) -> None:
    text = (hostile[1] / "results.csv").read_bytes().decode("utf-8")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert len(rows) == 49
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_hostile_text_ends_neither_code_spans_nor_table_cells(
    hostile: tuple[Judgement, Path],
) -> None:
    assert code("a/b-c") == "`a/b-c`"
    assert code("`|") == "<code>&#96;&#124;</code>"
    assert plain("# <b>|") == "&#35; &lt;b&gt;&#124;"
    summary = (hostile[1] / "summary.md").read_text(encoding="utf-8")
    outside_code = re.sub(r"<code>[^<]*</code>|(?<!\\)`[^`]*`", "", summary)
    assert "<" not in outside_code
    assert "https://evil" not in outside_code
    assert not re.search(r"[\x00\x1b\u202e]", summary)
    table = [line for line in summary.splitlines() if line.startswith("| FAIL")]
    assert {line.count("|") for line in table} == {6}


def test_no_markup_of_the_target_reaches_the_page(
    run: tuple[Judgement, Path], hostile: tuple[Judgement, Path]
) -> None:
    clean, dirty = page(run[1] / "report.html"), page(hostile[1] / "report.html")
    assert dirty.tags["script"] == clean.tags["script"] == 1
    assert dirty.tags["img"] == 0
    assert not [name for name in dirty.attributes if name.startswith("on") or name == "style"]
    assert not [link for link in dirty.links if not link.startswith("#")]
    text = "".join(dirty.text)
    assert "window.ran=1</script>" in text
    assert "{{7*7}}" in text
    assert "\\u202e" in text
    assert not re.search(r"[\x00\x1b\u202e\u2028]", text)


def test_the_xml_of_a_hostile_run_parses_and_names_every_check(
    hostile: tuple[Judgement, Path],
) -> None:
    root = junit(hostile[1])
    assert len(list(root.iterfind("testsuite/testcase"))) == 48


def test_the_policy_allows_only_the_two_inline_blocks(run: tuple[Judgement, Path]) -> None:
    text = (run[1] / "report.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] or "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert policy[1].count("sha256-") == 2


def test_a_partial_run_says_so_in_its_title(tmp_path: Path) -> None:
    _, folder = reported(tmp_path, Shape(selection="-k money", waived=False))
    assert result(folder)["verdict"]["marks"] == ["partial"]
    for name in ("report.html", "junit.xml"):
        assert "(partial)" in (folder / name).read_text(encoding="utf-8")
    assert (folder / "summary.md").read_text().splitlines()[0].endswith("(partial)")


def test_a_run_cut_in_half_is_reported_with_its_reason(tmp_path: Path) -> None:
    _, evidence = judged(tmp_path)
    whole = gzip.decompress(evidence.read_bytes())
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole[: len(whole) // 2])
    write_reports(judge(cut, today=TODAY), cut, tmp_path)
    verdict = result(tmp_path)["verdict"]
    assert verdict["level"] == "INCONCLUSIVE"
    assert verdict["inconclusive"]
    assert "cut short" in verdict["marks"]
    text = "".join(page(tmp_path / "report.html").text)
    assert "The run cannot carry a verdict" in text


def test_attestations_stand_apart_and_are_never_called_verified(
    run: tuple[Judgement, Path],
) -> None:
    html = (run[1] / "report.html").read_text(encoding="utf-8")
    section = html[html.index('<section id="attestations"') :].split("</section>")[0]
    assert "Grace Okafor" in section
    assert "verified" not in section
    text = "".join(page(run[1] / "report.html").text)
    assert "no check yet" in text
    assert "Ada Lindqvist" in text


def test_only_cited_exchanges_of_failures_are_shown(run: tuple[Judgement, Path]) -> None:
    view = report_view(run[0], run[1] / "evidence.jsonl.gz")
    for check in view.checks:
        for case in check.cases:
            if check.outcome == "FAIL":
                assert [row.number for row in case.exchanges] == [2]
                assert case.exchanges_omitted == 2
            elif check.outcome == "PASS":
                assert case.exchanges == ()


def test_the_made_run_has_every_outcome() -> None:
    shape = changed(Shape(), checks=48)
    numbers = range(len(planned(shape)))
    assert {outcome_of(shape, number) for number in numbers} == set(Outcome)


def test_reported_figures_without_checks_or_target_are_reported_as_such(tmp_path: Path) -> None:
    top = replace(
        header(Shape(waived=False)), plan=(), target=None, source="reported", detection={}
    )
    writer = EvidenceWriter(tmp_path / "evidence.jsonl")
    writer.write(top)
    writer.write(ReportedCategory(category=Category.SECURITY, score="0.98", source="report p. 3"))
    evidence = writer.close(ended="completed", ended_at=ENDED)
    write_reports(judge(evidence, today=TODAY), evidence, tmp_path)
    document = result(tmp_path)
    jsonschema_rs.validator_for(schema()).validate(document)
    assert "reported, not observed" in document["verdict"]["marks"]
    html = page(tmp_path / "report.html")
    assert "reported, not observed" in "".join(html.text)
    assert html.checks == {}
    assert len(list(junit(tmp_path))) == 0
    assert "(reported, not observed)" in (tmp_path / "summary.md").read_text().splitlines()[0]


def test_the_page_names_the_gates_that_stand_in_the_way(run: tuple[Judgement, Path]) -> None:
    requested = next(row for row in run[0].verdict.levels if row.name == "PRODUCTION_READY")
    unmet = list(dict.fromkeys(gate.gate for gate in requested.gates if not gate.met))
    assert unmet
    assert f"Not met: {', '.join(unmet)}." in "".join(page(run[1] / "report.html").text)
