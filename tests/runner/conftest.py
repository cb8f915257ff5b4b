"""A folder of throw-away checks in the place of the shipped suites."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from certification import shipped
from certification.plan import Selection
from certification.profile import load_profile
from certification.progress import Silent
from certification.runner import RunConfig, RunOutcome, run

HEAD = """
from __future__ import annotations
import os
from pathlib import Path
import pytest
from certification.checks import check
from certification.model import Severity
from certification.target.outcomes import ConnectionLost, Lost

def declare(name, **more):
    return check("functional/probe/" + name, title="t", failure_title="f",
        severity=Severity.HIGH, requirements=["SYS-ACC"], operations=["getLiveness"],
        defects=["none"], **more)

DOC = "Why: a\\nHow: b\\nFails when: c\\nRemedy: d"
"""


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write checks into `functional/test_probe.py` of a folder that stands for the suites."""
    folder = tmp_path / "suites"
    real = shipped.path
    (folder / "functional").mkdir(parents=True)
    register = (real("suites") / "requirements.toml").read_text(encoding="utf-8")
    (folder / "requirements.toml").write_text(register, encoding="utf-8")
    monkeypatch.setattr(shipped, "path", lambda name: folder if name == "suites" else real(name))

    def write(body: str) -> Path:
        file = folder / "functional" / "test_probe.py"
        file.write_text(HEAD + textwrap.dedent(body), encoding="utf-8")
        return file

    return write


@pytest.fixture
def observe(tmp_path: Path) -> Callable[..., RunOutcome]:
    """Run the checks on the embedded default."""

    def start(
        selection: Selection | None = None,
        workers: int = 2,
        interrupted: threading.Event | None = None,
    ) -> RunOutcome:
        config = RunConfig(
            profile=load_profile("standard"),
            out=tmp_path / "run",
            selection=selection or Selection(),
            workers=workers,
            seed=1,
            operator="tests",
        )
        return run(config, display=Silent(), interrupted=interrupted or threading.Event())

    return start
