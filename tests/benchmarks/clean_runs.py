"""N whole runs on the clean reference: no check may fail; k/n with its bound, resumable.

python tests/benchmarks/clean_runs.py 10 [--keep FILE] [--profile standard]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def one_run(profile: str) -> dict[str, object]:
    """Run the profile once; return level, counts and what failed or broke."""
    with tempfile.TemporaryDirectory(prefix="clean-run-") as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "certification", "run", "--quiet"]
        done = subprocess.run(
            [*command, "--profile", profile, "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        document = json.loads((out / "result.json").read_text(encoding="utf-8"))
    bad = [row["id"] for row in document["checks"] if row["outcome"] != "PASS"]
    return {
        "exit_code": done.returncode,
        "level": document["verdict"]["level"],
        "score": document["verdict"]["score_line"],
        "not_passed": bad,
    }


def upper_bound(alarms: int, runs: int) -> float:
    """Return the one-sided 95 % upper bound of the false-alarm rate; exact for none, else rough.

    Without an alarm it is 1 - 0.05 ** (1 / n), the Clopper-Pearson bound.
    """
    if alarms == 0:
        return float(1 - 0.05 ** (1 / runs))
    return min(1.0, (alarms + 3) / runs)


def main() -> int:
    """Run, print each run and the sum; exit 1 where anything was not passed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int)
    parser.add_argument("--profile", default="standard")
    parser.add_argument("--keep", type=Path, help="JSON lines of runs already made; resumes there")
    options = parser.parse_args()
    rows = []
    if options.keep and options.keep.exists():
        rows = [json.loads(line) for line in options.keep.read_text().splitlines()]
    while len(rows) < options.runs:
        rows.append(one_run(options.profile))
        sys.stdout.write(f"run {len(rows)}: {json.dumps(rows[-1])}\n")
        sys.stdout.flush()
        if options.keep:
            with options.keep.open("a", encoding="utf-8") as sink:
                sink.write(json.dumps(rows[-1]) + "\n")
    alarms = sum(bool(row["not_passed"]) for row in rows)
    verdicts = {(row["exit_code"], row["level"], row["score"]) for row in rows}
    bound = upper_bound(alarms, len(rows))
    sys.stdout.write(f"false alarms: {alarms}/{len(rows)} runs, 95 % bound {bound:.3f}\n")
    sys.stdout.write(f"different verdicts: {len(verdicts)}\n")
    return 1 if alarms or len(verdicts) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
