"""A proof holds only where the planted code ran and every named check failed for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certification import prove, shipped
from certification.checks import load_catalogue
from certification.defects import FAMILIES, WHOLE_WAY, Defect, load_defects, mismatches
from certification.model import Outcome
from certification.plan import matches
from certification.profile import load_profile
from certification.prove import Proof, ProofRun, prove_defects, resumable

DEFECT = '''"""One sentence."""
CATCHES = ({catches!r},)
REACH = ()

def plant(original):
    def replaced(*args, **kwargs):
        {body}
    return replaced

PATCHES = {{{place!r}: plant}}
'''
HELD = "functional/holds/held-money-is-not-available"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write planted defects into a folder that stands for the shipped ones."""
    folder = tmp_path / "defects"
    real = shipped.path
    folder.mkdir()
    launcher = (real("fixtures/defects") / "_launcher.py").read_text(encoding="utf-8")
    root = str(real("suites").parent)
    launcher = launcher.replace("HERE.parents[1]", f"Path({root!r})")
    (folder / "_launcher.py").write_text(launcher, encoding="utf-8")
    monkeypatch.setattr(
        shipped, "path", lambda name: folder if name == "fixtures/defects" else real(name)
    )

    def write(name: str, *, place: str, body: str, catches: str = HELD) -> Path:
        file = folder / f"{name}.py"
        file.write_text(DEFECT.format(catches=catches, body=body, place=place), encoding="utf-8")
        return file

    return write


@pytest.fixture
def settings() -> ProofRun:
    return ProofRun(profile=load_profile("standard"))


def prove_all(settings: ProofRun) -> dict[str, Proof]:
    proofs = prove_defects(load_defects(), settings, interrupted=threading.Event())
    return {proof.defect: proof for proof in proofs}


def test_what_is_a_catch_and_what_is_not(planted: Callable[..., Path], settings: ProofRun) -> None:
    planted(
        "caught",
        place="reference_impl.ledger:available",
        body="return original(**{**kwargs, 'holds': 0})",
    )
    planted(
        "harmless",
        place="reference_impl.ledger:available",
        body="return original(*args, **kwargs)",
    )
    planted(
        "never_called",
        place="reference_impl.problems:Problem.no_such_method",
        body="return original(*args, **kwargs)",
    )
    proofs = prove_all(settings)
    assert proofs["caught"].holds
    assert not proofs["harmless"].holds
    assert proofs["harmless"].missed == (f"{HELD}: PASS instead of FAIL",)
    assert not proofs["never-called"].holds
    assert "cannot be planted" in proofs["never-called"].missed[0]


def test_code_that_never_ran_proves_nothing(
    planted: Callable[..., Path], settings: ProofRun
) -> None:
    file = planted(
        "half",
        place="reference_impl.ledger:available",
        body="return original(**{**kwargs, 'holds': 0})",
    )
    text = file.read_text(encoding="utf-8")
    idle = "'reference_impl.transactions:reverse_transaction': plant, "
    file.write_text(text.replace("PATCHES = {", "PATCHES = {" + idle), encoding="utf-8")
    proof = prove_all(settings)["half"]
    assert not proof.holds
    assert proof.missed == ("only 1 of 2 planted replacements were called",)


def test_checks_and_defects_name_each_other() -> None:
    assert mismatches(load_catalogue(), load_defects()) == []


def test_a_defect_may_show_in_its_family_and_no_other_area_that_it_does_not_name() -> None:
    defect = replace(load_defects()[0], catches=("functional/forks/x",), reach=())
    assert matches("functional/merge-order/y", defect.may_fail)
    assert not matches("functional/holds/y", defect.may_fail)
    areas = [area for family in FAMILIES for area in family]
    assert len(areas) == len(set(areas))
    assert set(areas) <= {str(spec.id).split("/")[1] for spec in load_catalogue()}


def test_a_one_sided_name_is_found() -> None:
    catalogue, defects = load_catalogue(), load_defects()
    assert mismatches(catalogue, defects[1:])
    assert mismatches(catalogue[1:], defects)


def test_a_matrix_asks_the_checks_of_one_question_and_reports_those_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, settings: ProofRun
) -> None:
    defect = replace(load_defects()[0], reach=("functional/holds/*",))
    stray, broad = (
        "functional/time/instants-have-offsets",
        "functional/walk/money-follows-the-model",
    )
    asked: list[str] = []

    def observe(
        _: Defect | None, checks: Sequence[str], __: ProofRun
    ) -> tuple[dict[str, Any], int]:
        asked.extend(checks)
        failed: Any = SimpleNamespace(outcome=Outcome.FAIL, findings=())
        return dict.fromkeys((*defect.catches, stray, broad), failed), defect.patches

    monkeypatch.setattr(prove, "_observe", observe)
    proof = prove.prove_defect(defect, replace(settings, everything=True))
    assert proof.collateral == (stray,)
    assert {stray, *defect.catches} <= set(asked)
    ids = [str(spec.id) for spec in load_catalogue()]
    for glob in WHOLE_WAY:
        named = [check for check in ids if matches(check, [glob])]
        assert named, f"{glob} names no check"
        assert not set(named) & (set(asked) - set(defect.catches))


def test_an_interrupted_matrix_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "proofs.jsonl"
    defects = load_defects()[:3]
    asked: list[str] = []

    def proving(rest: Sequence[Defect]) -> Iterator[Proof]:
        for defect in rest:
            asked.append(defect.id)
            yield Proof(defect=defect.id, tried=1, caught=1, missed=())

    assert len(list(resumable(defects[:1], file, proving))) == 1
    assert len(list(resumable(defects, file, proving))) == 3
    assert asked == [defect.id for defect in defects]
