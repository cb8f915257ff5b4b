"""A deployment with declared late reads is never accused; one that lies about them is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import test_toys as toys

RACES = ("histories", "concurrency", "growth-races", "expiry-races")


def observe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, age_ms: int, declared_ms: int, areas: Any
) -> list[dict[str, Any]]:
    """Run checks against the toy and return the recorded cases."""
    for name, value in (("TOY_AGE_MS", age_ms), ("TOY_DECLARED_MS", declared_ms)):
        monkeypatch.setitem(toys.ENVIRONMENT, name, str(value))
    module, *options = ("tests.toys.reads_are_late", "--database", str(folder / "book.db"))
    subprocess.run(
        [sys.executable, "-m", module, "init", *options, "--admin-password", toys.PASSWORD_FROM],
        cwd=toys.ROOT,
        env=toys.ENVIRONMENT,
        capture_output=True,
        timeout=30,
        check=True,
    )
    with toys.running(module, "serve", *options) as ready:
        target = toys.target_file(folder, json.loads(ready)["url"], ("admin",))
        checks = [part for area in areas for part in ("--check", f"functional/{area}")]
        command = [sys.executable, "-m", "certification", "run", "--target", str(target), *checks]
        subprocess.run(
            [*command, "--out", str(folder / "run"), "--workers", "2"],
            cwd=toys.ROOT,
            env={**os.environ, "TOY_PASSWORD": toys.PASSWORD},
            capture_output=True,
            timeout=toys.RUN_TIMEOUT_S,
            check=False,
        )
    cases = toys.outcomes(folder / "run")
    return [case for case in cases if case["outcome"] != "NOT_EXERCISED"]


def test_reads_as_late_as_declared_are_never_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = [f"{area}/*" for area in RACES]
    cases = observe(tmp_path, monkeypatch, age_ms=60, declared_ms=60, areas=areas)

    accused = [
        (case["check"], case["outcome"], case["reason"], case["findings"])
        for case in cases
        if case["outcome"] != "PASS"
    ]
    assert accused == []
    assert len(cases) >= 20


def test_reads_later_than_declared_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = ["histories/reads-follow-writes"]
    (case,) = observe(tmp_path, monkeypatch, age_ms=1_500, declared_ms=40, areas=areas)

    assert case["outcome"] == "FAIL"
    (finding,) = case["findings"]
    assert "stale read" in finding["message"]
    assert "by more than the declared 40 ms" in finding["observed"]
    assert "deposit" in finding["observed"] or "books +" in finding["observed"]
    assert len(finding["exchanges"]) == 2
