"""The runner against deployments that misbehave: it ends in time and accuses what is broken."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from certification.profile import PROFILES
from tests.test_toys import ENVIRONMENT, PASSWORD_FROM, ROOT, outcomes, running, target_file

TOY = "tests.toys.misbehaves"
END_S = 120
SUITE = "functional/*"
CORE = tuple(f"functional/{area}/*" for area in ("decimals", "errors", "forks", "holds", "money"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a run may say of one misbehaviour."""

    checks: tuple[str, ...]
    """Globs of the checks that are run."""
    fail: tuple[str, ...] = ()
    """Each of these must FAIL."""
    may_fail: tuple[str, ...] = ()
    """These may FAIL as well; nothing else may."""
    exit_codes: tuple[int, ...] = (0, 1, 3)
    ended: str = "completed"
    budget_s: int = 60
    """Of the run; its start, its clean-up and its report come on top."""


CASES: Mapping[str, Expected] = {
    # Right, and too slow for the budget: nothing is accused, what was not reached is unknown.
    "slow": Expected(checks=(SUITE,), exit_codes=(3,), ended="time_spent", budget_s=15),
    "out_of_order": Expected(checks=("functional/concurrency/*", "functional/idempotency/*")),
    "busy_at_times": Expected(checks=CORE),
    # A proxy's page is none of the contract's answers, whichever check it hits.
    "breaks_at_times": Expected(checks=CORE, may_fail=(SUITE,), exit_codes=(1, 3)),
    "lies_in_the_capability_document": Expected(
        checks=("functional/capabilities/*", "functional/decimals/*", "functional/errors/*"),
        fail=("functional/capabilities/currencies-are-those-listed", "functional/errors/body-*"),
        may_fail=("functional/decimals/every-declared-currency",),
        exit_codes=(1,),
    ),
    "hides_an_operation": Expected(
        checks=("functional/accounts/*", "functional/transactions/*"),
        fail=("functional/transactions/double-entry",),
        may_fail=("functional/transactions/*",),
        exit_codes=(1,),
    ),
    "renames_a_field": Expected(
        checks=("functional/money/*", "functional/sessions/*"),
        fail=("functional/money/running-balance",),
        may_fail=("functional/money/*",),
        exit_codes=(1,),
    ),
    "huge_pages": Expected(
        checks=("functional/pagination/*", "functional/money/*"), may_fail=(SUITE,)
    ),
    "cycles_cursors": Expected(
        checks=("functional/pagination/*", "functional/holds/*"),
        fail=("functional/pagination/*",),
        may_fail=(SUITE,),
        exit_codes=(1,),
    ),
    # Lost once is unknown; lost each time, though the deployment calls itself ready, is its fault.
    "crashes": Expected(checks=(*CORE, "functional/sweep/*"), may_fail=("functional/sweep/*",)),
    "dies": Expected(checks=(SUITE,), exit_codes=(3,), ended="target_lost"),
}


def profile(folder: Path, budget_s: int) -> Path:
    """Write the standard profile with a time budget."""
    text = (PROFILES / "standard.toml").read_text("utf-8")
    path = folder / "short.toml"
    path.write_text(text.replace("[modules]", f"time_budget_s = {budget_s}\n\n[modules]", 1))
    return path


def observe(mode: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the mode's checks against the toy; a run that hangs fails by its timeout."""
    environment = {**ENVIRONMENT, "TOY_MISBEHAVIOUR": mode}
    command = (TOY, "serve", "--database", str(folder / "book.db"))
    subprocess.run(
        [sys.executable, "-m", TOY, "init", *command[2:], "--admin-password", PASSWORD_FROM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=30,
        check=True,
    )
    with running(*command, environment=environment) as ready:
        target = target_file(folder, json.loads(ready)["url"], ("admin",))
        options = [option for check in CASES[mode].checks for option in ("--check", check)]
        certify = (sys.executable, "-m", "certification", "run", "--target", str(target))
        out = (
            "--profile",
            str(profile(folder, CASES[mode].budget_s)),
            "--out",
            str(folder / "run"),
        )
        return subprocess.run(
            [*certify, *out, *options],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=END_S,
            check=False,
        )


@pytest.mark.parametrize("mode", CASES)
def test_the_right_outcome_for_each_check_and_in_time(mode: str, tmp_path: Path) -> None:
    expected = CASES[mode]
    done = observe(mode, tmp_path)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in expected.exit_codes, done.stdout + done.stderr
    cases = outcomes(tmp_path / "run")
    assert [case for case in cases if case["outcome"] == "ERROR"] == []
    failed = {case["check"] for case in cases if case["outcome"] == "FAIL"}
    allowed = (*expected.fail, *expected.may_fail)
    assert {name for name in failed if not any(fnmatchcase(name, g) for g in allowed)} == set()
    for glob in expected.fail:
        assert any(fnmatchcase(name, glob) for name in failed), (glob, failed)
    assert ending(tmp_path) == expected.ended
    assert any(case["outcome"] == "PASS" for case in cases) or expected.fail


def ending(folder: Path) -> str:
    """Return how the run says that it ended."""
    with gzip.open(folder / "run" / "evidence.jsonl.gz", "rt", encoding="utf-8") as lines:
        footer = json.loads(list(lines)[-1])
    return str(footer["ended"])
