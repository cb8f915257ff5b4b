"""Ctrl-C, SIGTERM, a killed runner, a lost target: evidence is kept and no process stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from certification.evidence import read_run
from certification.model import Outcome

START_S = 60
END_S = 60


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    """Start a run of the functional suite and return once its first phase began."""
    process = subprocess.Popen(
        [sys.executable, "-m", "certification", "run", "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("phase parallel"):
            return process
    raise AssertionError(process.communicate()[0])


def processes_of(out: Path) -> list[str]:
    """Return the command lines of every process that works for the run in `out`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if str(out).encode() in environment + command:
                found.append(command.decode(errors="replace"))
    return found


def until_none(out: Path) -> list[str]:
    """Wait, bounded, until no process of the run is left; return those that are."""
    deadline = time.monotonic() + END_S
    while (left := processes_of(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_it_gathered(
    tmp_path: Path, request_to_end: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = start(out)
    process.send_signal(request_to_end)
    stdout, stderr = process.communicate(timeout=END_S)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "INCONCLUSIVE" in stdout
    run = read_run(out / "evidence.jsonl.gz")
    assert run.footer is not None
    assert run.footer.ended == "interrupted"
    reasons = {case.reason for case in run.cases if case.outcome is Outcome.NOT_EXERCISED}
    assert "run cut short: interrupted" in reasons
    assert json.loads((out / "result.json").read_text())["verdict"]["level"] == "INCONCLUSIVE"
    assert until_none(out) == []


def test_a_killed_runner_leaves_no_process_behind(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out)
    process.kill()
    process.communicate(timeout=END_S)
    assert until_none(out) == []
    assert read_run(out / "evidence.jsonl").footer is None


def test_a_lost_target_is_not_accused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out)
    served = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _serves(folder, out)
    ]
    assert served
    for pid in served:
        os.kill(pid, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=END_S * 3)
    assert process.returncode == 3, stderr
    assert "target_lost" in stdout
    run = read_run(out / "evidence.jsonl.gz")
    assert run.footer is not None
    assert run.footer.ended == "target_lost"
    assert Outcome.FAIL not in {case.outcome for case in run.cases}


def _serves(folder: Path, out: Path) -> bool:
    try:
        command = (folder / "cmdline").read_bytes()
        environment = (folder / "environ").read_bytes()
    except OSError:
        return False
    named = str(out).encode() in command + environment
    return named and (b"reference_impl" in command or b"multiprocessing" in command)
