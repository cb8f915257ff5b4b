from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certification.claims import (
    Document,
    Rule,
    claims_json,
    claims_text,
    examine,
    exit_code,
    find_contradictions,
    load_document,
)
from certification.claims.contradiction import places, trimmed
from certification.claims.document import parse_document
from certification.errors import ExitCode, UsageError
from certification.shipped import path as shipped
from certification.toml_source import TomlSource

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 3, 1)


def document(*tables: Any, says: Any = (), stage: int = 1, name: str = "") -> Document:
    source: dict[str, Any] = {
        "format": "certification-claims/1",
        "name": name or f"stage {stage}",
        "title": "made",
        "stage": stage,
        "tables": [
            {"id": f"t{number}", "section": f"S{number}", "rows": rows}
            for number, rows in enumerate(tables, 1)
        ],
        "statements": [{"section": "Says", **statement} for statement in says],
    }
    return parse_document(TomlSource(name="made", document=source))


def row(label: str = "a", **fields: str) -> dict[str, str]:
    return {"label": label, **fields}


def rules(*documents: Document) -> list[Rule]:
    return [one.rule for one in find_contradictions(documents)]


WEIGHTED = [
    row("x", value="90", unit="%", weight="0.5"),
    row("y", value="0.80", weight="0.5"),
]


@pytest.mark.parametrize(
    ("stated", "contradicts"),
    [("0.85", False), ("0.9", False), ("0.8", False), ("0.84", True), ("0.86", True), ("1", False)],
)
def test_a_total_is_the_weighted_sum_at_the_printed_precision(
    stated: str, contradicts: bool
) -> None:
    # 0.85 may be printed as 0.9 or, rounded half to even, as 0.8; neither contradicts it.
    says = [{"kind": "weighted_total", "tables": ["t1"], "value": stated}]
    assert rules(document(WEIGHTED, says=says)) == [Rule.WEIGHTED_TOTAL] * contradicts


MET = row("fast", value="9", op="<=", target="10")
MISSED = row("slow", value="11", op="<=", target="10")
ON_THE_LINE = row("line", value="10", op="<", target="10")
WORD = row("word", word="immediate", target_word="immediate")
OTHER_WORD = row("word", word="later", target_word="immediate")


@pytest.mark.parametrize(
    ("rows", "value", "contradicts"),
    [
        ([MET, WORD], None, False),
        ([MET, WORD], "1.0", False),
        ([MET, MISSED], None, True),
        ([MET, MISSED], "1.0", True),
        ([MET, MISSED], "0.5", False),
        ([MET, MET], "0.5", True),
        ([MET, ON_THE_LINE], None, True),
        ([MET, OTHER_WORD], None, True),
        ([row(value="1")], None, False),
    ],
)
def test_all_met_is_counted(rows: Any, value: str | None, contradicts: bool) -> None:
    statement: dict[str, Any] = {"kind": "all_met", "tables": ["t1"]}
    if value:
        statement["value"] = value
    assert rules(document(rows, says=[statement])) == [Rule.TARGETS_MET] * contradicts


@pytest.mark.parametrize(
    ("stated", "contradicts"), [("2", False), ("3", False), ("2.5", True), ("4", True)]
)
def test_a_mean_may_count_a_word_as_zero_or_leave_it_out(stated: str, contradicts: bool) -> None:
    rows = [row(value="2"), row(value="4"), row(word="at once")]
    says = [{"kind": "mean", "tables": ["t1"], "value": stated}]
    assert rules(document(rows, says=says)) == [Rule.MEAN] * contradicts


@pytest.mark.parametrize(("value", "contradicts"), [("100", False), ("99.9", True)])
def test_complete_stands_beside_a_hundred_percent_only(value: str, contradicts: bool) -> None:
    says = [{"kind": "complete", "quantities": ["rate"]}]
    rows = [row(quantity="rate", value=value, unit="%"), row(quantity="other", value="5", unit="%")]
    assert rules(document(rows, says=says)) == [Rule.COMPLETE] * contradicts


@pytest.mark.parametrize(
    ("other", "contradicts"),
    [
        (row(quantity="q", value="65", unit="%"), False),
        (row(quantity="q", value="65.4", unit="%"), False),
        (row(quantity="q", value="62.3", unit="%"), True),
        (row(quantity="q", value="62.3", unit="ms"), False),
        (row(quantity="r", value="62.3", unit="%"), False),
    ],
)
def test_one_quantity_has_one_value_up_to_rounding(other: Any, contradicts: bool) -> None:
    first = [row(quantity="q", value="65", unit="%")]
    assert rules(document(first, [other])) == [Rule.TWO_VALUES] * contradicts


@pytest.mark.parametrize(
    ("label", "value", "of", "contradicts"),
    [
        ("a", "94", "functions", True),
        ("a", "94", "code", False),
        ("a", "93", "functions", False),
        ("b", "94", "functions", False),
    ],
)
def test_one_figure_measures_one_thing(label: str, value: str, of: str, contradicts: bool) -> None:
    rows = [row("a", value="94", of="code"), row(label, value=value, of=of)]
    assert rules(document(rows)) == [Rule.TWO_NAMES] * contradicts


@pytest.mark.parametrize(
    ("fields", "contradicts"),
    [
        ({"before": "45.3", "value": "28.7", "change": "36.6", "better": "lower"}, False),
        ({"before": "45.3", "value": "28.7", "change": "37.6", "better": "lower"}, True),
        ({"before": "40", "value": "50", "change": "25", "better": "higher"}, False),
        ({"before": "40", "value": "50", "change": "-25", "better": "higher"}, True),
        ({"value": "245.7", "op": ">=", "target": "200.0", "change": "22.9"}, False),
        ({"value": "245.7", "op": ">=", "target": "200.0", "change": "23.0"}, True),
        ({"before": "0", "value": "5", "change": "10"}, False),
    ],
)
def test_a_percentage_follows_from_the_numbers_beside_it(
    fields: dict[str, str], contradicts: bool
) -> None:
    assert rules(document([row(**fields)])) == [Rule.PERCENT] * contradicts


IMPROVED = [{"kind": "improved"}]


@pytest.mark.parametrize(
    ("after", "says", "contradicts"),
    [
        ("90", IMPROVED, True),
        ("100", IMPROVED, False),
        ("110", IMPROVED, False),
        ("90", [], False),
    ],
)
def test_worse_after_contradicts_only_who_states_an_improvement(
    after: str, says: Any, contradicts: bool
) -> None:
    earlier = document([row(quantity="q", value="100", better="higher")])
    later = document([row(quantity="q", value=after)], says=says, stage=2)
    assert rules(earlier, later) == [Rule.WORSE_AFTER] * contradicts
    assert rules(later, earlier) == rules(earlier, later)


def test_documents_of_one_stage_and_other_units_are_not_compared() -> None:
    first = document([row(quantity="q", value="100", better="higher")], name="one")
    same_stage = document([row(quantity="q", value="1")], says=IMPROVED, name="two")
    other_unit = document([row(quantity="q", value="1", unit="s")], says=IMPROVED, stage=2)
    assert rules(first, same_stage) == []
    assert rules(first, other_unit) == []


@pytest.mark.parametrize(("value", "contradicts"), [("59", False), ("60", True), ("61", True)])
def test_a_planned_target_is_held_against_what_came_out(value: str, contradicts: bool) -> None:
    plan = document([row(quantity="cpu", op="<", target="60")])
    result = document([row(quantity="cpu", value=value)], stage=2)
    assert rules(plan, result) == [Rule.TARGET_MISSED] * contradicts


@pytest.mark.parametrize(("value", "contradicts"), [("235", True), ("150", False), ("90", False)])
def test_a_target_that_was_met_before_is_no_improvement(value: str, contradicts: bool) -> None:
    baseline = document([row(quantity="ops", value=value)])
    plan = document([row(quantity="ops", op=">", target="150")], stage=2)
    assert rules(baseline, plan) == [Rule.TARGET_ALREADY_MET] * contradicts


@pytest.mark.parametrize(
    ("op", "target", "change", "contradicts"),
    [
        (">", "4000", "50", True),
        (">", "4000", "40", False),
        (">", "4275", "50", False),
        ("<", "2100", "30", True),
        ("<", "1900", "30", False),
    ],
)
def test_a_target_delivers_the_change_that_is_promised_with_it(
    op: str, target: str, change: str, contradicts: bool
) -> None:
    baseline = document([row(quantity="q", value="2850")])
    plan = document([row(quantity="q", op=op, target=target, change=change)], stage=2)
    assert rules(baseline, plan) == [Rule.PROMISED_CHANGE] * contradicts


def test_two_documents_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="the same name"):
        find_contradictions([document(WEIGHTED, name="a"), document(WEIGHTED, name="a")])


HEAD = 'format = "certification-claims/1"\nname = "n"\ntitle = "t"\nstage = 1\n'
TABLE = '[[tables]]\nid = "t"\nsection = "s"\nrows = [\n  { label = "a", value = "1" },\n]\n'
STATEMENT = '[[statements]]\nsection = "s"\n'


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (HEAD.replace("/1", "/2"), ":1: ", "certification-claims/1"),
        (HEAD + 'wrong = "x"\n', ":5: ", "unknown key"),
        (HEAD + TABLE.replace('"1"', "1"), ":9: ", "not a text"),
        (HEAD + TABLE.replace('"1"', '"1e9"'), ":9: ", "not a number as text"),
        (HEAD + TABLE.replace('"1"', '"1", verdict = "bad"'), ":9: ", "unknown key"),
        (HEAD + TABLE.replace('"1"', '"1", target = "2"'), ":9: ", "needs `op`"),
        (HEAD + TABLE + STATEMENT + 'kind = "lie"\n', ":13: ", "not one of"),
        (HEAD + TABLE + STATEMENT + 'kind = "mean"\n', ":11: ", "one table and a value"),
        (HEAD + TABLE + STATEMENT + 'kind = "all_met"\n', ":11: ", "needs tables"),
        (HEAD + TABLE + STATEMENT + 'kind = "complete"\n', ":11: ", "needs quantities"),
        (HEAD + TABLE + STATEMENT + 'kind = "all_met"\ntables = ["x"]\n', ":14: ", "not one of t"),
        (HEAD + TABLE + TABLE, ":5: ", "the same id"),
        (HEAD + '[[tables]]\nid = "t"\nsection = "s"\n', ":5: ", "needs rows"),
    ],
)
def test_a_mistake_in_a_document_is_named_with_its_line(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_document(path)
    assert f"claims.toml{place}" in raised.value.message
    assert message in raised.value.message


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_document_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "claims.json"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"claims\.json"):
        load_document(path)


def test_json_and_toml_are_the_same_document(tmp_path: Path) -> None:
    toml, other = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text(HEAD + TABLE)
    source = {"format": "certification-claims/1", "name": "n", "title": "t", "stage": 1}
    tables = [{"id": "t", "section": "s", "rows": [{"label": "a", "value": "1"}]}]
    other.write_text(json.dumps({**source, "tables": tables}))
    assert load_document(toml) == load_document(other)


def test_output_and_exit_code_say_whether_there_is_a_contradiction(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(HEAD + TABLE)
    none = examine([path], today=TODAY)
    assert (claims_text(none), exit_code(none)) == ("no contradictions\n", ExitCode.REACHED)
    one = find_contradictions(
        [document([MET, MISSED], says=[{"kind": "all_met", "tables": ["t1"]}])]
    )
    assert exit_code(one) is ExitCode.NOT_REACHED
    assert claims_text(one).endswith("1 contradiction\n")
    (row_,) = json.loads(claims_json(one))["contradictions"]
    assert row_["rule"] == "targets_met"
    assert row_["recomputed"] == "1 of 2 = 0.5"


@given(st.fractions(), st.integers(0, 6))
def test_rounding_is_within_half_a_unit(value: Fraction, count: int) -> None:
    assert abs(Fraction(places(value, count)) - value) <= Fraction(1, 2 * 10**count)
    assert Fraction(trimmed(value, count)) == Fraction(places(value, count))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Return a run's folder: reported figures with the result that follows from them."""
    name = "ws3-2025-as-weighted.jsonl"
    evidence = tmp_path / "evidence.jsonl"
    evidence.write_bytes((shipped("fixtures/replays") / name).read_bytes())
    from certification.judge import judge
    from certification.report import render, report_view

    judgement = judge(evidence, today=TODAY)
    (tmp_path / "result.json").write_text(render(report_view(judgement, None), "json"))
    return tmp_path


@pytest.mark.parametrize("named", [".", "evidence.jsonl", "result.json"])
def test_a_result_that_follows_from_its_evidence_has_no_contradiction(
    recorded: Path, named: str
) -> None:
    assert examine([recorded / named], today=TODAY) == ()


@pytest.mark.parametrize(
    ("path", "value", "subject"),
    [
        (("verdict", "total", "lower", "exact"), "1", "total, lower end"),
        (("verdict", "level"), "PRODUCTION_READY", "level"),
        (("verdict", "reached"), True, "requested level reached"),
        (("categories", 0, "interval", "upper", "exact"), "1/0", "functionality, upper end"),
        (("categories", 5, "weight", "exact"), "1/2", "documentation, weight"),
    ],
)
def test_a_result_that_states_more_than_its_evidence_is_named(
    recorded: Path, path: tuple[Any, ...], value: object, subject: str
) -> None:
    result = json.loads((recorded / "result.json").read_text())
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (recorded / "result.json").write_text(json.dumps(result))
    (one,) = examine([recorded], today=TODAY)
    assert (one.rule, one.subject) == (Rule.RECORDED_RESULT, subject)


def test_a_result_without_its_figures_or_not_there_is_a_usage_error(recorded: Path) -> None:
    (recorded / "result.json").write_text("{}")
    with pytest.raises(UsageError, match=r"verdict\.level is missing"):
        examine([recorded], today=TODAY)
    (recorded / "result.json").unlink()
    with pytest.raises(UsageError, match=r"result\.json: cannot be read"):
        examine([recorded], today=TODAY)
