"""The runner against deployments that misbehave: it ends in time and accuses what is broken."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from certification.profile import PROFILES
from tests.test_toys import ENVIRONMENT, PASSWORD_FROM, ROOT, outcomes, running, target_file

TOY = "tests.toys.misbehaves"
END_S = 120
SUITE = "functional/*"
CORE = tuple(f"functional/{area}/*" for area in ("decimals", "errors", "forks", "holds", "money"))


LISTING = (
    "functional/money/currencies-do-not-mix",
    "functional/money/refused-transfer-changes-nothing",
    "functional/money/running-balance",
    "functional/money/same-account-refused",
    "functional/pagination/any-page-size-shows-the-same",
    "functional/pagination/every-kind-is-shown",
    "functional/pagination/filters-combine",
    "functional/pagination/sort-reverses",
    "functional/pagination/ties-are-broken",
    "functional/pagination/walk-while-writing",
)
"""Checks of money and pagination that read a list in each of their cases."""

Record = dict[str, Any]


def is_page_of_a_proxy(exchange: Record) -> bool:
    """Whether the answer is the HTML page that `breaks_at_times` sends."""
    headers = {name.lower(): value for name, value in exchange["response_headers"] or ()}
    return exchange["status"] == 503 and headers.get("content-type") == "text/html"


def is_over_the_cap(exchange: Record) -> bool:
    """Whether the answer is larger than the target file's `body_max_bytes`."""
    return "over the cap" in (exchange["error"] or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a run may say of one misbehaviour."""

    checks: tuple[str, ...]
    """Globs of the checks that are run."""
    fail: tuple[str, ...] = ()
    """Each of these must FAIL."""
    may_fail: tuple[str, ...] = ()
    """These may FAIL as well; nothing else may."""
    broken: Callable[[Record], bool] | None = None
    """Tells the broken answers: a case that got one must FAIL and cite it, any other must PASS."""
    exit_codes: tuple[int, ...] = ()
    """Where empty, the one that the outcomes of the cases say."""
    ended: str = "completed"
    budget_s: int = 60
    """Of the run; its start, its clean-up and its report come on top."""


CASES: Mapping[str, Expected] = {
    # Right, and too slow for the budget: nothing is accused, what was not reached is unknown.
    "slow": Expected(checks=(SUITE,), exit_codes=(3,), ended="time_spent", budget_s=15),
    "out_of_order": Expected(checks=("functional/concurrency/*", "functional/idempotency/*")),
    "busy_at_times": Expected(checks=CORE),
    # A proxy's page is none of the contract's answers, whichever check it hits. It may also hit
    # the runner where it reads who answered, and then the run carries no verdict.
    "breaks_at_times": Expected(checks=CORE, broken=is_page_of_a_proxy, exit_codes=(1, 3)),
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
    # Whoever reads a list cannot read it to its end; whoever reads none knows nothing of it.
    "huge_pages": Expected(
        checks=("functional/pagination/*", "functional/money/*"),
        fail=LISTING,
        broken=is_over_the_cap,
        exit_codes=(1,),
    ),
    "cycles_cursors": Expected(
        checks=("functional/pagination/*", "functional/holds/*"),
        fail=("functional/pagination/*",),
        may_fail=(SUITE,),
        exit_codes=(1,),
    ),
    # Lost once is unknown; lost each time, though the deployment calls itself ready, is its fault.
    # It may be away as well when the runner reads at the end who answered.
    "crashes": Expected(
        checks=(*CORE, "functional/sweep/*"),
        may_fail=("functional/sweep/*",),
        exit_codes=(0, 1, 3),
    ),
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
    cases, exchanges = outcomes(tmp_path / "run"), records(tmp_path, "exchange")
    right = expected.exit_codes or (exit_code(cases),)
    assert done.returncode in right, done.stdout + done.stderr
    assert [case for case in cases if case["outcome"] == "ERROR"] == []
    failed = {case["check"] for case in cases if case["outcome"] == "FAIL"}
    for glob in expected.fail:
        assert any(fnmatchcase(name, glob) for name in failed), (glob, failed)
    if expected.broken is None:
        allowed = (*expected.fail, *expected.may_fail)
        assert {name for name in failed if not any(fnmatchcase(name, g) for g in allowed)} == set()
    else:
        accuses_what_was_broken(cases, [e for e in exchanges if expected.broken(e)])
    assert ending(tmp_path) == expected.ended
    assert any(case["outcome"] == "PASS" for case in cases) or expected.fail


def exit_code(cases: Sequence[Record]) -> int:
    """Return what a run of selected checks ends with, by docs/exit-codes.md."""
    found = {case["outcome"] for case in cases}
    if "FAIL" in found:
        return 1
    return 0 if found <= {"PASS", "NOT_APPLICABLE"} else 3


def accuses_what_was_broken(cases: Sequence[Record], broken: Sequence[Record]) -> None:
    """Each case that got a broken answer FAILs and cites it; each that got none PASSes."""
    got: dict[tuple[str, str], set[int]] = {}
    for exchange in broken:
        got.setdefault((exchange["check"], exchange["case"]), set()).add(exchange["number"])
    for case in cases:
        numbers = got.get((case["check"], case["case"]))
        assert case["outcome"] == ("FAIL" if numbers else "PASS"), (case, numbers)
        for finding in case["findings"]:
            assert set(finding["exchanges"]) & (numbers or set()), (finding, numbers)


def records(folder: Path, kind: str) -> list[Record]:
    """Return the records of one kind of a run's evidence."""
    with gzip.open(folder / "run" / "evidence.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row.get("kind") == kind]


def ending(folder: Path) -> str:
    """Return how the run says that it ended."""
    return str(records(folder, "footer")[-1]["ended"])
