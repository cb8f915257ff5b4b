"""Late reads, a late clock and short-lived tokens are never accused where they are declared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import test_toys as toys

pytestmark = pytest.mark.slow
LATE = "tests.toys.reads_are_late"
STRICT = "tests.toys.strict_times"
RACES = ("histories/*", "concurrency/*", "growth-races/*", "expiry-races/*")
RESOURCES = (
    "audit/acts-are-recorded",
    "grants/*",
    "mfa/secret-is-shown-once",
    "passwords/history-is-kept",
    "passwords/locked-users-stay-out",
    "personal-data/gone-everywhere",
    "reports/*",
    "roles/auditors-only-read",
    "roles/nobody-raises-roles",
    "sensitive-fields/*",
    "sessions/password-policy",
    "trial-policies/policies-are-versioned",
)


def observe_late(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, age_ms: int, declared_ms: int, areas: Any
) -> list[dict[str, Any]]:
    """Run checks against the toy with late reads and return the recorded cases."""
    for name, value in (("TOY_AGE_MS", age_ms), ("TOY_DECLARED_MS", declared_ms)):
        monkeypatch.setitem(toys.ENVIRONMENT, name, str(value))
    return observe(folder, LATE, areas)


def observe(folder: Path, module: str, areas: Sequence[str]) -> list[dict[str, Any]]:
    """Run checks against a toy and return the recorded cases that were exercised."""
    options = ("--database", str(folder / "book.db"))
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
        with target.open("a", encoding="utf-8") as file:
            file.write("[grants]\nconfiguration = true\n")
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


def accused(cases: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return whatever is said of those that did not pass."""
    return [
        (case["check"], case["outcome"], case["reason"], case["findings"])
        for case in cases
        if case["outcome"] != "PASS"
    ]


@pytest.mark.parametrize(
    ("areas", "late_ms", "least"), [(RACES, 60, 20), (RESOURCES, 150, 50)], ids=["races", "reads"]
)
def test_reads_as_late_as_declared_are_never_accused(
    areas: Sequence[str],
    late_ms: int,
    least: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = observe_late(tmp_path, monkeypatch, age_ms=late_ms, declared_ms=late_ms, areas=areas)

    assert accused(cases) == []
    assert len(cases) >= least


def test_a_late_clock_and_tokens_of_some_seconds_are_never_accused(tmp_path: Path) -> None:
    cases = observe(tmp_path, STRICT, ["grants/ends-at-once", "mfa/switched-off-with-a-code"])

    assert accused(cases) == []
    assert len(cases) == 4


def test_reads_later_than_declared_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = ["histories/reads-follow-writes"]
    monkeypatch.setitem(toys.ENVIRONMENT, "TOY_PARTLY", "1")
    (case,) = observe_late(tmp_path, monkeypatch, age_ms=300, declared_ms=40, areas=areas)

    assert case["outcome"] == "FAIL"
    (finding,) = case["findings"]
    assert "stale read" in finding["message"]
    assert "by more than the declared 40 ms" in finding["observed"]
    assert "deposit" in finding["observed"] or "books +" in finding["observed"]
    assert len(finding["exchanges"]) == 2
