"""Runs one phase: a pytest process in a known state, watched until it ends or must be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import certification
from certification import shipped
from certification.checks import CheckSpec
from certification.model import CaseResult, CheckId
from certification.runfile import VARIABLE
from certification.spool import tail

LIFELINE = "CERTIFICATION_LIFELINE"
"""File descriptor of a pipe whose other end the runner holds; its end ends the phase."""
POLL_S = 0.1
STOP_GRACE_S = 5.0
SILENCE_MAX_S = 180.0
"""A phase that spools nothing for so long hangs: every request has a deadline far below it."""


class PhaseEnd(Enum):
    """Why a phase ended; closed."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    TARGET_LOST = "target lost"
    TIME_SPENT = "time budget spent"
    HUNG = "no sign of life from the checks"
    CRASHED = "pytest itself failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRun:
    """One pytest invocation."""

    name: str
    specs: Sequence[CheckSpec]
    run_file: Path
    spool: Path
    stop_file: Path
    log: Path
    workers: int
    keyword: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ends_at_s: float | None = None
    """Moment of `time.monotonic` at which the time budget is spent."""


def run_phase(
    phase: PhaseRun, *, interrupted: threading.Event, on_case: Callable[[CaseResult], None]
) -> PhaseEnd:
    """Run the phase to its end; `on_case` hears of every case as it is spooled."""
    with _started(phase) as process:
        end = _watch(phase, process, interrupted, on_case)
        if end is not PhaseEnd.COMPLETED:
            _stop(process)
    if end is PhaseEnd.COMPLETED:
        if phase.stop_file.exists():
            return PhaseEnd.TARGET_LOST
        # 0 all passed, 1 some failed, 5 nothing collected; the rest is pytest's own trouble.
        if process.returncode not in (0, 1):
            return PhaseEnd.CRASHED
    return end


def keyword_matches(keyword: str, specs: Sequence[CheckSpec], run_file: Path) -> frozenset[CheckId]:
    """Return the checks that pytest's `-k` keeps; raises `ValueError` with pytest's complaint."""
    command = [*_command(specs), "--collect-only", "-qq", "-k", keyword]
    done = subprocess.run(
        command,
        env=_environment({VARIABLE: str(run_file)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode not in (0, 5):
        raise ValueError((done.stderr or done.stdout).strip().splitlines()[-1])
    by_path = {spec.path: spec.id for spec in specs}
    lines = (line.split("[", 1)[0] for line in done.stdout.splitlines() if "::" in line)
    nodes = ("/".join(line.split("/")[-2:]) for line in lines)
    return frozenset(by_path[node] for node in nodes if node in by_path)


def _command(specs: Sequence[CheckSpec]) -> list[str]:
    suites = shipped.path("suites")
    files = sorted({spec.path.split("::")[0] for spec in specs})
    ini = Path(certification.__file__).parent / "pytest.ini"
    return [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ini),
        f"--rootdir={suites}",
        "-p",
        "certification.pytest_plugin",
        "-p",
        "no:cacheprovider",
        *(str(suites / file) for file in files),
    ]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without what would change how pytest runs the checks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}


@contextmanager
def _started(phase: PhaseRun) -> Iterator[subprocess.Popen[bytes]]:
    command = [*_command(phase.specs), "-q", "--tb=short"]
    if phase.workers > 1:
        command += ["-p", "xdist", "-n", str(phase.workers), "--dist", "worksteal"]
    if phase.keyword:
        command += ["-k", phase.keyword]
    life_read, life_write = os.pipe()
    environment = {VARIABLE: str(phase.run_file), LIFELINE: str(life_read), **phase.environment}
    with phase.log.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[life_read],
            # Its own group: Ctrl-C reaches the runner alone, which then ends the whole group.
            start_new_session=True,
        )
        os.close(life_read)
        try:
            yield process
        finally:
            _stop(process)
            os.close(life_write)


def _watch(
    phase: PhaseRun,
    process: subprocess.Popen[bytes],
    interrupted: threading.Event,
    on_case: Callable[[CaseResult], None],
) -> PhaseEnd:
    offsets: dict[Path, int] = {}
    heard_s = time.monotonic()
    while True:
        ended = process.poll() is not None
        cases, alive = tail(phase.spool, offsets)
        for case in cases:
            on_case(case)
        now_s = time.monotonic()
        heard_s = now_s if alive else heard_s
        if ended:
            return PhaseEnd.COMPLETED
        if interrupted.is_set():
            return PhaseEnd.INTERRUPTED
        if phase.stop_file.exists():
            return PhaseEnd.TARGET_LOST
        if phase.ends_at_s is not None and now_s > phase.ends_at_s:
            return PhaseEnd.TIME_SPENT
        if now_s - heard_s > SILENCE_MAX_S:
            return PhaseEnd.HUNG
        interrupted.wait(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group: asked first, then made to."""
    for request, grace_s in ((signal.SIGINT, STOP_GRACE_S), (signal.SIGKILL, STOP_GRACE_S)):
        try:
            os.killpg(process.pid, request)
        except ProcessLookupError:
            break
        if process.poll() is not None and request is signal.SIGINT:
            # The leader is gone; stray workers get no grace.
            continue
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
