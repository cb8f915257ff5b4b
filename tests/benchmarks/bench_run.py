"""How long a smoke run takes from start to verdict, beside a bare start of Python and pytest.

python tests/benchmarks/bench_run.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 60


def timed(command: list[str]) -> float:
    """Return the wall seconds of a command."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> int:
    """Time smoke runs and their peers in turn; print medians and ratios."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    smoke, peer = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "run")
            command = [sys.executable, "-m", "certification", "run", "-q", "--profile", "smoke"]
            smoke.append(timed([*command, "--out", out]))
            peer.append(timed([sys.executable, "-m", "pytest", "--version"]))
    median = statistics.median(smoke)
    sys.stdout.write(
        f"smoke run, start to verdict: median {median:.1f} s, max {max(smoke):.1f} s"
        f" (limit {LIMIT_S} s); {median / statistics.median(peer):.0f} x a bare start of pytest\n"
    )
    return 0 if max(smoke) < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
