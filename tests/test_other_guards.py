"""Locks, limits and lists of another legal kind than the reference's are never accused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import test_toys as toys

pytestmark = pytest.mark.slow
TOY = "tests.toys.other_guards"


def observe(
    folder: Path, kind: str, checks: tuple[str, ...], *options: str
) -> dict[tuple[str, str], str]:
    """Run checks against the toy; return the outcome of each case."""
    environment = {**toys.ENVIRONMENT, "TOY_GUARDS": kind}
    database = ("--database", str(folder / "book.db"))
    subprocess.run(
        [sys.executable, "-m", TOY, "init", *database, "--admin-password", toys.PASSWORD_FROM],
        cwd=toys.ROOT,
        env=environment,
        capture_output=True,
        timeout=30,
        check=True,
    )
    with toys.running(TOY, "serve", *database, *options, environment=environment) as ready:
        target = toys.target_file(folder, json.loads(ready)["url"], ("admin",))
        chosen = [part for check in checks for part in ("--check", f"functional/{check}")]
        command = [sys.executable, "-m", "certification", "run", "--target", str(target), *chosen]
        subprocess.run(
            [*command, "--out", str(folder / "run"), "--workers", "2"],
            cwd=toys.ROOT,
            env={**os.environ, "TOY_PASSWORD": toys.PASSWORD},
            capture_output=True,
            timeout=toys.RUN_TIMEOUT_S,
            check=False,
        )
    return {
        (case["check"].removeprefix("functional/"), case["case"]): case["outcome"]
        for case in toys.outcomes(folder / "run")
        if not str(case["reason"]).startswith("not selected")
    }


def test_what_is_not_declared_or_promised_is_not_asked_for(tmp_path: Path) -> None:
    checks = ("lockout/*", "mfa/wrong-codes-lock", "passwords/well-known-*", "time/instants-*")
    complexity = ("--password-complexity", "lower,upper,digit,symbol")
    found = observe(tmp_path, "undeclared", checks, *complexity)
    # How long the others last here is not said, so on a slow machine nothing is said of them.
    assert set(found.values()) <= {"PASS", "INCONCLUSIVE", "NOT_EXERCISED"}
    assert found["lockout/delays-grow", "-"] == "NOT_EXERCISED"
    assert found["passwords/well-known-ones-are-refused", "list"] == "PASS"
    assert found["time/instants-have-offsets", "-"] == "PASS"
    assert len(found) > 10


def test_a_lock_that_may_be_over_says_nothing(tmp_path: Path) -> None:
    found = observe(tmp_path, "slow", ("mfa/wrong-codes-lock",))
    assert set(found.values()) == {"INCONCLUSIVE"}


def test_a_window_that_turns_is_no_fresh_rate_for_a_header(tmp_path: Path) -> None:
    rate = ("--login-rate-limit", "30/5", "--workers", "1")
    found = observe(tmp_path, "windows", ("rate-limits/attempts-*",), *rate)
    assert set(found.values()) <= {"PASS", "INCONCLUSIVE"}
