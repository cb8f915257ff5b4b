"""The launcher plants whole defects, loudly refuses half ones, and leaves witnesses."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from certification import shipped
from certification.defects import load_defects

DEFECT = '''"""Answers wrong."""
CATCHES = ("functional/x/y",)

def _wrong(original):
    return lambda: original() + 1

PATCHES = {places}
'''


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    file = shipped.path("fixtures/defects") / "_launcher.py"
    spec = importlib.util.spec_from_file_location("launcher_under_test", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setenv("ALLUSE_DEFECT_WITNESS", str(tmp_path / "witness"))
    (tmp_path / "witness").mkdir()
    return module


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module `reference_impl_made.rules`, and another that took a name over from it."""
    rules = types.ModuleType("reference_impl_made.rules")
    vars(rules).update(LIMIT=3, answer=lambda: 41, Page=type("Page", (), {}))
    user = types.ModuleType("reference_impl_made.user")
    vars(user)["answer"] = vars(rules)["answer"]
    monkeypatch.setitem(sys.modules, rules.__name__, rules)
    monkeypatch.setitem(sys.modules, user.__name__, user)
    return user


def write(folder: Path, *places: str) -> None:
    text = DEFECT.replace("{places}", "{" + ", ".join(f'"{p}": _wrong' for p in places) + "}")
    (folder / "wrong_answer.py").write_text(text, encoding="utf-8")


def test_a_replacement_reaches_modules_that_took_the_name_over(
    launcher: Any, reference: Any, tmp_path: Path
) -> None:
    write(tmp_path, "reference_impl_made.rules:answer")
    launcher.plant("wrong-answer")
    assert reference.answer() == 42


def test_a_witness_is_left_when_the_planted_code_runs_and_not_before(
    launcher: Any, reference: Any, tmp_path: Path
) -> None:
    write(tmp_path, "reference_impl_made.rules:answer")
    launcher.plant("wrong-answer")
    assert not list((tmp_path / "witness").iterdir())
    reference.answer()
    reference.answer()
    names = [file.name.rsplit(".", 1)[0] for file in (tmp_path / "witness").iterdir()]
    assert names == ["wrong-answer.1"]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("reference_impl_made.rules:gone", AttributeError),
        ("reference_impl_made.rules:Page.gone", AttributeError),
        ("reference_impl_made.rules:LIMIT", TypeError),
        ("reference_impl_made.gone:answer", ModuleNotFoundError),
    ],
)
@pytest.mark.usefixtures("reference")
def test_half_a_defect_is_refused(
    launcher: Any, tmp_path: Path, place: str, error: type[Exception]
) -> None:
    write(tmp_path, "reference_impl_made.rules:answer", place)
    with pytest.raises(error):
        launcher.plant("wrong-answer")


def test_an_unknown_defect_stops_the_server_before_it_starts(
    launcher: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="cannot be planted"):
        launcher.try_in_a_child("no-such-defect")
    assert "FileNotFoundError" in capfd.readouterr().err


@pytest.mark.parametrize("defect", load_defects(), ids=lambda defect: defect.id)
def test_every_shipped_defect_names_attributes_of_the_reference(defect: Any) -> None:
    import runpy

    file = shipped.path("fixtures/defects") / f"{defect.id.replace('-', '_')}.py"
    for place in runpy.run_path(str(file))["PATCHES"]:
        name, _, attribute = place.partition(":")
        found: Any = importlib.import_module(name)
        for part in attribute.split("."):
            found = getattr(found, part)
        assert callable(found)
