"""Start-up time of the reference, and the memory of its processes during a burst of 16 logins.

python tests/benchmarks/bench_reference.py [STARTS]
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

START_LIMIT_S = 1.5
MEMORY_LIMIT_MB = 100
LOGINS = 16
PASSWORD = "a-long-enough-Pass-9"
ENVIRONMENT = {**os.environ, "BENCH_PASSWORD": PASSWORD}
REFERENCE = [sys.executable, "-m", "reference_impl"]


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    tree = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = [tuple(map(int, line.split())) for line in tree.stdout.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, above in rows if above == parent]
    return found


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    line = next((row for row in status.splitlines() if row.startswith("VmRSS")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1024


def processor_s(pid: int) -> float:
    """Return what a process and its descendants have used."""
    stats = [Path(f"/proc/{member}/stat").read_text("ascii") for member in family(pid)]
    ticks = (stat.rpartition(")")[2].split()[11:13] for stat in stats)
    return sum(map(int, itertools.chain(*ticks))) / os.sysconf("SC_CLK_TCK")


def log_in(url: str) -> int:
    """Log in once; return the status."""
    body = json.dumps({"username": "admin", "password": PASSWORD}).encode()
    request = urllib.request.Request(
        f"{url}/v1/auth/login", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def burst(url: str, pid: int) -> tuple[list[int], dict[int, float]]:
    """Send all logins at once; return their statuses and each process's peak memory in MB."""
    peaks: dict[int, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            for member in family(pid):
                peaks[member] = max(peaks.get(member, 0.0), resident_mb(member))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(LOGINS) as pool:
        statuses = list(pool.map(lambda _: log_in(url), range(LOGINS)))
    done.set()
    watcher.join()
    return statuses, peaks


def start(database: Path) -> tuple[float, list[int], dict[int, float]]:
    """Start, burst, stop; return seconds to ready, statuses, peaks."""
    began = time.perf_counter()
    with subprocess.Popen(
        [*REFERENCE, "serve", "--database", str(database)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        took = time.perf_counter() - began
        statuses, peaks = burst(ready["url"], process.pid)
        process.terminate()
    return took, statuses, peaks


def main() -> int:
    """Print medians; exit 1 where a limit is missed."""
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "bench.db"
        initial = ["init", "--database", str(database), "--admin-password", "env:BENCH_PASSWORD"]
        subprocess.run([*REFERENCE, *initial], env=ENVIRONMENT, check=True, capture_output=True)
        rows = [start(database) for _ in range(starts)]
        empty = [sys.executable, "-c", "import flask"]
        began = time.perf_counter()
        subprocess.run(empty, check=True)
        peer = time.perf_counter() - began
    seconds = [row[0] for row in rows]
    peak = max(max(row[2].values()) for row in rows)
    refused = sum(status != 200 for row in rows for status in row[1])
    median = statistics.median(seconds)
    sys.stdout.write(
        f"start to every worker ready: median {median:.2f} s, max {max(seconds):.2f} s"
        f" (limit {START_LIMIT_S} s); {median / peer:.1f} x `import flask` in a new process\n"
        f"peak memory of one process during {LOGINS} logins: {peak:.0f} MB"
        f" (limit {MEMORY_LIMIT_MB} MB); logins not answered 200: {refused}\n"
    )
    return 0 if median < START_LIMIT_S and peak < MEMORY_LIMIT_MB and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
