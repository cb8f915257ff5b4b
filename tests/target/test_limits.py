"""Limits hold over threads and processes together."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certification.errors import HarnessError
from certification.target.limits import BudgetSpent, Limiter

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from pathlib import Path
from certification.target.limits import BudgetSpent, Limiter
limiter = Limiter(Path(sys.argv[1]), requests_max=300)
taken = 0
try:
    while True:
        limiter.take()
        taken += 1
except BudgetSpent:
    print(taken)
"""


def test_requests_are_spaced_evenly(tmp_path: Path) -> None:
    now = [100.0]
    waits: list[float] = []

    def limiter() -> Limiter:
        return Limiter(tmp_path / "count", per_second=4, wait=waits.append, clock=lambda: now[0])

    first, second = limiter(), limiter()
    first.take()
    second.take()
    first.take()
    assert waits == [0.25, 0.5]
    now[0] += 60
    second.take()
    assert waits == [0.25, 0.5]
    assert first.sent == second.sent == 4


def test_budget_is_shared_by_processes_and_threads(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "count")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        limiter = Limiter(tmp_path / "count", requests_max=300)

        def take(_: int) -> int:
            try:
                limiter.take()
            except BudgetSpent:
                return 0
            return 1

        with ThreadPoolExecutor(8) as pool:
            here = sum(pool.map(take, range(200)))
        there = int(process.communicate(timeout=60)[0])
    assert here + there == 300 == limiter.sent


def test_nothing_taken_is_nothing_sent(tmp_path: Path) -> None:
    assert Limiter(tmp_path / "count").sent == 0


def test_count_that_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be kept"):
        Limiter(tmp_path / "gone" / "count").take()
