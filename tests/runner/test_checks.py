"""Declarations that cannot be right are refused when they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from certification.checks import check, load_catalogue, spec_of
from certification.errors import HarnessError
from certification.model import Severity

DOC = "Why: a\n\nHow: b\n\nFails when: c\n\nRemedy: d"
HEAD = "from certification.checks import check\nfrom certification.model import Severity\n"


def declared(name: str = "functional/area/question", doc: str = DOC, **more: object) -> object:
    def function(ctx: object) -> None:
        """Stand for a check."""

    function.__doc__ = doc
    facts: dict[str, object] = {
        "title": "t",
        "failure_title": "f",
        "severity": Severity.LOW,
        "requirements": ["SYS-ACC"],
        "operations": ["getAccount"],
        "defects": ["d"],
    }
    return check(name, **{**facts, **more})(function)  # type: ignore[arg-type]  # wrong on purpose


def source(name: str, function: str = "check_it") -> str:
    return (
        f"@check({name!r}, title='t', failure_title='f', severity=Severity.LOW,\n"
        "    requirements=['SYS-ACC'], operations=['getAccount'], defects=['d'])\n"
        f"def {function}(ctx):\n    '''{DOC}'''\n"
    )


def suite(tmp_path: Path, text: str, name: str = "test_area.py") -> Path:
    (tmp_path / "functional").mkdir(exist_ok=True)
    (tmp_path / "functional" / name).write_text(HEAD + text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "functional/area"}, "must be <suite>/<area>/<question>"),
        ({"name": "nosuite/area/question"}, "must be <suite>/<area>/<question>"),
        ({"requirements": []}, "verifies no requirement"),
        ({"defects": []}, "names no planted defect"),
        ({"doc": "Why: a\nHow: b\nFails when: c"}, "lacks the sections Remedy"),
        ({"doc": "Only words."}, "lacks the sections Why"),
    ],
)
def test_a_declaration_that_proves_nothing_is_refused(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        declared(**wrong)


def test_a_declared_function_stays_an_ordinary_function() -> None:
    function = declared()
    assert callable(function)
    spec = spec_of(function)
    assert spec is not None
    assert spec.docs["Fails when"] == "c"
    assert (spec.suite, spec.area, spec.phase) == ("functional", "area", "parallel")


def test_an_id_must_match_its_file(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="must start with 'functional/area/'"):
        load_catalogue(suite(tmp_path, source("functional/other/question")))


def test_an_id_stands_once(tmp_path: Path) -> None:
    twice = source("functional/area/q") + source("functional/area/q", "check_again")
    with pytest.raises(HarnessError, match="stands twice"):
        load_catalogue(suite(tmp_path, twice))


def test_a_dependency_must_exist(tmp_path: Path) -> None:
    text = source("functional/area/q").replace("defects=['d']", "defects=['d'], after=['x/y/z']")
    with pytest.raises(HarnessError, match="unknown checks: x/y/z"):
        load_catalogue(suite(tmp_path, text))


def test_the_catalogue_is_sorted_whatever_the_files_are_called(tmp_path: Path) -> None:
    suite(tmp_path, source("functional/zebra/q"), "test_zebra.py")
    suite(tmp_path, source("functional/area/q"))
    assert [spec.id for spec in load_catalogue(tmp_path)] == [
        "functional/area/q",
        "functional/zebra/q",
    ]
