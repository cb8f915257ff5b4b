"""How the sweeps at the end read a run: each account once, the run's transactions in one list."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.sent_operations import unnamed

CHECKS = ("functional/holds/*", "functional/money/*", "functional/sweep/*")
READER = "auditor"
"""Who reads every account; what the sweeps do before they read, the owners do."""


def asked(folder: Path) -> Counter[tuple[str, str]]:
    """Count what the sweeps read, by operation and URL."""
    found: Counter[tuple[str, str]] = Counter()
    with gzip.open(folder / "evidence.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row["kind"] != "exchange" or row["identity"] != READER:
                continue
            if row["check"].startswith("functional/sweep/"):
                found[row["operation"], row["url"]] += 1
    return found


def test_both_sweeps_together_read_each_account_and_the_run_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checks = [f"--check={glob}" for glob in CHECKS]
    command = [sys.executable, "-m", "certification", "run", *checks, "-q", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert unnamed(folder) == {}
    counts = asked(folder)
    reads = {url: n for (operation, url), n in counts.items() if operation == "getAccount"}
    assert len(reads) > 20
    assert set(reads.values()) == {1}
    lists = sum(n for (operation, _), n in counts.items() if operation == "listTransactions")
    assert lists < len(reads) / 2
