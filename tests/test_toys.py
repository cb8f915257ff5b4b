"""The whole runner against three wrong deployments, and one that is right in its own way."""

from __future__ import annotations

import gzip
import json
import os
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


def test_other_legal_choices_are_never_accused(tmp_path: Path) -> None:
    command = ("tests.toys.other_choices", "serve", "--database", str(tmp_path / "book.db"))
    subprocess.run(
        [sys.executable, "-m", command[0], "init", *command[2:], "--admin-password", PASSWORD_FROM],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=30,
        check=True,
    )
    with running(*command) as ready:
        url = json.loads(ready)["url"]
        done, out = certify(target_file(tmp_path, url, ("admin",)), str(sampled(tmp_path)))

    assert "Traceback" not in done.stdout + done.stderr
    accused = [
        (case["check"], case["case"], case["outcome"], case["reason"])
        for case in outcomes(out)
        if case["outcome"] not in {"PASS", "NOT_EXERCISED"}
    ]
    assert accused == []
    assert len(outcomes(out)) > 300
    spoken = gzip.decompress((out / "evidence.jsonl.gz").read_bytes()).decode()
    # The choices were really in force, so that the silence above means something.
    assert "+05:45" in spoken
    assert "-ACC" in spoken
    assert '"status":503' in spoken.replace(" ", "")
