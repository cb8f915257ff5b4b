"""The whole runner against three wrong deployments, and two that are right in their own way."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certification.profile import PROFILES
from tests.sent_operations import unnamed

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "a password of the toys, long enough"
READY_TIMEOUT_S = 30.0
RUN_TIMEOUT_S = 600.0
PASSWORD_FROM = "env:TOY_PASSWORD"
FIVE = ("customer", "customer2", "operator", "manager", "auditor")
ENVIRONMENT = {**os.environ, "TOY_PASSWORD": PASSWORD}


@contextmanager
def running(*command: str, environment: Mapping[str, str] = ENVIRONMENT) -> Iterator[str]:
    """Start a toy in its own process group, give the first line it prints, and end the group."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(READY_TIMEOUT_S, process.kill)
    watchdog.start()
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        watchdog.cancel()
        assert line, "the toy ended before it was ready"
        yield line.strip()
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def target_file(folder: Path, url: str, roles: tuple[str, ...]) -> Path:
    identities = "".join(
        f'[identities.{role}]\nusername = "{role}"\npassword = "env:TOY_PASSWORD"\n'
        for role in roles
    )
    path = folder / "target.toml"
    path.write_text(f'[target]\nname = "toy"\nbase_url = "{url}"\n{identities}', "utf-8")
    return path


def certify(target: Path, profile: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the real command; a run that hangs fails the test by its timeout."""
    out = target.parent / "run"
    command = [sys.executable, "-m", "certification", "run", "--target", str(target)]
    done = subprocess.run(
        [*command, "--profile", profile, "--out", str(out), "--workers", "2"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    return done, out


def outcomes(out: Path) -> list[dict[str, Any]]:
    with gzip.open(out / "evidence.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.startswith('{"kind":')]
    return [record for record in records if record["kind"] == "case"]


@pytest.mark.parametrize("toy", ["says_yes", "forgets_every_second_write"])
def test_a_wrong_deployment_never_reaches_a_level(toy: str, tmp_path: Path) -> None:
    with running(f"tests.toys.{toy}") as url:
        done, out = certify(target_file(tmp_path, url, FIVE), "smoke")

    assert done.returncode in {1, 3}, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    cases = outcomes(out)
    counts = Counter(case["outcome"] for case in cases)
    assert counts["FAIL"] > counts["PASS"]
    # What a wrong answer breaks is a finding about the deployment, never an error of ours.
    assert [case["check"] for case in cases if case["outcome"] == "ERROR"] == []
    result = json.loads((out / "result.json").read_text("utf-8"))
    assert result["verdict"]["reached"] is False


def test_a_web_page_is_no_deployment(tmp_path: Path) -> None:
    with running("tests.toys.serves_html") as url:
        done, out = certify(target_file(tmp_path, url, FIVE), "smoke")

    assert done.returncode == 2
    assert "not a conforming deployment" in done.stderr
    assert "HTML" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "evidence.jsonl.gz").exists()


def sampled(folder: Path) -> Path:
    """Write the smoke profile without its time budget: this deployment is slow."""
    text = (PROFILES / "smoke.toml").read_text("utf-8")
    path = folder / "sampled.toml"
    path.write_text(text.replace("time_budget_s = 60\n", ""), "utf-8")
    return path


NEAR_LIMITS = (
    "analytics/figures-are-recomputed",
    "batch/*",
    "capabilities/*",
    "decimals/large-amounts-are-exact",
    "decimals/balance-limit-is-kept",
    "forks/not-eligible-is-refused",
    "histories/one-account",
    "merges/conserve-every-bucket",
    "pagination/*",
    "scenarios-errors/codes-of-*",
    "scenarios-life/whole-life",
    "text/user-names-are-one-in-any-case",
)
"""Checks that send what small limits, long ids or undeclared members may make impossible."""


def near_limits(folder: Path) -> Path:
    """Write a profile of the checks near limits."""
    chosen = ", ".join(f'"functional/{name}"' for name in NEAR_LIMITS)
    text = sampled(folder).read_text("utf-8")
    text = text.replace('checks = ["functional/*/*"]', f"checks = [{chosen}]")
    path = folder / "near_limits.toml"
    path.write_text(text.replace("one_in = 3", "one_in = 1"), "utf-8")
    return path


def started(toy: str, folder: Path) -> tuple[str, ...]:
    """Make the book of a toy around the reference; return the command that serves it."""
    command = (f"tests.toys.{toy}", "serve", "--database", str(folder / "book.db"))
    subprocess.run(
        [sys.executable, "-m", command[0], "init", *command[2:], "--admin-password", PASSWORD_FROM],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return command


def spoken(out: Path) -> str:
    """Return every exchange of a run, as it was recorded."""
    return gzip.decompress((out / "evidence.jsonl.gz").read_bytes()).decode().replace(" ", "")


def accused(out: Path) -> list[tuple[str, ...]]:
    return [
        (case["check"], case["case"], case["outcome"], case["reason"])
        for case in outcomes(out)
        if case["outcome"] not in {"PASS", "NOT_EXERCISED"}
    ]


@pytest.mark.slow
def test_other_legal_choices_are_never_accused(tmp_path: Path) -> None:
    with running(*started("other_choices", tmp_path)) as ready:
        url = json.loads(ready)["url"]
        done, out = certify(target_file(tmp_path, url, ("admin",)), str(sampled(tmp_path)))

    assert "Traceback" not in done.stdout + done.stderr
    assert accused(out) == []
    assert unnamed(out) == {}
    assert len(outcomes(out)) > 300
    # The choices were really in force, so that the silence above means something.
    assert "+05:45" in spoken(out)
    assert "-ACC" in spoken(out)
    assert '"status":503' in spoken(out)


@pytest.mark.slow
def test_small_limits_and_a_short_document_are_never_accused(tmp_path: Path) -> None:
    with running(*started("least_choices", tmp_path)) as ready:
        url = json.loads(ready)["url"]
        done, out = certify(target_file(tmp_path, url, ("admin",)), str(near_limits(tmp_path)))

    assert "Traceback" not in done.stdout + done.stderr
    assert accused(out) == []
    passed = {case["check"] for case in outcomes(out) if case["outcome"] == "PASS"}
    # Small is no reason to look away: these have cases that fit.
    for name in (
        "functional/batch/all-or-nothing",
        "functional/decimals/balance-limit-is-kept",
        "functional/decimals/large-amounts-are-exact",
        "functional/merges/conserve-every-bucket",
        "functional/pagination/ties-are-broken",
        "functional/scenarios-errors/codes-of-users",
        "functional/text/user-names-are-one-in-any-case",
    ):
        assert name in passed
    # The choices were really in force.
    reasons = {case["reason"] for case in outcomes(out) if case["outcome"] == "NOT_EXERCISED"}
    assert {
        "a batch takes 3 items",
        "limits.amount_max is 1000000, below 1013712",
        "the deployment declares no minimum length of passwords",
    } <= reasons
    assert re.search("/v1/accounts/[0-9a-f]{64}/entries", spoken(out))
