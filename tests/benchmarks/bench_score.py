"""Measure reading and judging 100,000 events of 1 KB; run as a script, prints a table.

Each figure comes from a process of its own, so that the peak memory of one does not hide another's.
The peer decodes every line of the same file with the standard library and keeps nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from certification.evidence import EVIDENCE_FORMAT, EvidenceWriter
from certification.judge import judge
from certification.model import (
    CaseResult,
    Category,
    CheckId,
    DutyKind,
    Exchange,
    Header,
    Outcome,
    PlannedCheck,
    Requirement,
    RequirementId,
    Severity,
    TargetIdentity,
)
from certification.profile import load_profile
from certification.scoring import SCORING_VERSION

EVENTS = 100_000
CHECKS = 1_000
SECONDS_MAX, MEGABYTES_MAX = 5.0, 200.0
TARGET = TargetIdentity(
    target_id="bench",
    base_url="https://target.example",
    implementation="bench",
    version="1",
    build="1",
    instances=("1",),
    contract_version="1",
    openapi_sha256="0",
    modules=("core",),
    capability_sha256="0",
)


def generate(path: Path, exchanges_per_case: int) -> Path:
    """Write the file: a case of about 1 KB after every so many exchanges of about 1 KB."""
    profile = load_profile("standard")
    categories = list(Category)
    register = tuple(
        Requirement(
            id=RequirementId(f"R-{i}"), text="r", category=categories[i % 6], kind=DutyKind.CHECK
        )
        for i in range(300)
    )
    plan = tuple(
        PlannedCheck(
            id=CheckId(f"functional/area/question-{i}"),
            version=1,
            suite="functional",
            category=categories[i % 6],
            title="It holds",
            failure_title="It is broken",
            severity=list(Severity)[i % 4],
            requirements=(RequirementId(f"R-{i % 300}"),),
            phase="parallel",
        )
        for i in range(CHECKS)
    )
    header = Header(
        format=EVIDENCE_FORMAT,
        run_id="bench",
        started_at="2026-01-01T00:00:00Z",
        seed=1,
        harness="bench",
        scoring=SCORING_VERSION,
        contract_version="1",
        contract_sha256="0",
        profile=profile.document,
        profile_sha256=profile.sha256,
        requested_level=profile.default_level,
        selection=None,
        source="observed",
        target=TARGET,
        register=register,
        plan=plan,
    )
    with EvidenceWriter(path) as writer:
        writer.write(header)
        for event in range(EVENTS):
            check = plan[event // (exchanges_per_case + 1) % CHECKS].id
            if event % (exchanges_per_case + 1) == exchanges_per_case:
                writer.write(_case(check, event))
            else:
                writer.write(_exchange(check, event))
        return writer.close(ended="completed", ended_at="2026-01-01T01:00:00Z", target=TARGET)


def _case(check: CheckId, event: int) -> CaseResult:
    failed = event % 97 == 0
    return CaseResult(
        check=check,
        case=f"case-{event}",
        outcome=Outcome.FAIL if failed else Outcome.PASS,
        reason="x" * 800,
        observations=9,
        started_at="2026-01-01T00:00:00Z",
    )


def _exchange(check: CheckId, event: int) -> Exchange:
    return Exchange(
        check=check,
        case="-",
        attempt=1,
        number=event,
        identity="customer",
        operation="createTransaction",
        method="POST",
        url="/v1/accounts/acc-1/transactions",
        request_headers=(("content-type", "application/json"), ("idempotency-key", f"k-{event}")),
        request_body=json.dumps({"amount": event, "note": "x" * 200}),
        started_at="2026-01-01T00:00:00Z",
        elapsed_ms=1.25,
        status=201,
        response_headers=(("content-type", "application/json"), ("etag", f'"{event}"')),
        response_body=json.dumps({"id": event, "note": "x" * 200}),
    )


def judge_it(path: Path) -> str:
    """Read, score and decide."""
    judgement = judge(path, today=date(2026, 1, 1))
    return f"{judgement.verdict.level}, {len(judgement.run.cases)} cases"


def load_it(path: Path) -> str:
    """Decode every line with `json.loads`: the peer."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        return f"{sum(1 for line in file if json.loads(line))} lines"


TASKS = {"certify score": judge_it, "json.loads": load_it}


def measure(task: str, path: Path) -> None:
    """Run one task in this process and print seconds, peak megabytes and what it found."""
    started = time.perf_counter()
    found = TASKS[task](path)
    elapsed_s = time.perf_counter() - started
    # `ru_maxrss` would begin with what the parent had at the fork; VmHWM begins at the exec.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_mb = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    sys.stdout.write(json.dumps([elapsed_s, peak_mb, found]))


def main() -> int:
    """Generate, measure in fresh processes, print; 1 where a stated number is missed."""
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for exchanges_per_case, name in ((9, "9 exchanges a case"), (0, "cases only")):
            packed = generate(Path(folder) / f"{exchanges_per_case}.jsonl", exchanges_per_case)
            plain = packed.with_suffix("")
            with gzip.open(packed, "rb") as source, plain.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            size_mb = plain.stat().st_size / 1e6
            sys.stdout.write(f"\n{EVENTS:,} events, {name}, {size_mb:.0f} MB\n")
            sys.stdout.write(f"{'what':<16}{'file':<8}{'seconds':>9}{'peak MB':>9}{'ratio':>7}\n")
            for path in (plain, packed):
                rows = {task: _in_fresh_process(task, path) for task in TASKS}
                peer_s = rows["json.loads"][0]
                for task, (elapsed_s, peak_mb, found) in rows.items():
                    kind = "gzip" if path is packed else "plain"
                    sys.stdout.write(
                        f"{task:<16}{kind:<8}{elapsed_s:>9.2f}{peak_mb:>9.0f}"
                        f"{elapsed_s / peer_s:>7.2f}  {found}\n"
                    )
                ours_s, ours_mb, _found = rows["certify score"]
                missed |= ours_s > SECONDS_MAX or ours_mb > MEGABYTES_MAX
    sys.stdout.write(f"\nasked: under {SECONDS_MAX} s and under {MEGABYTES_MAX} MB\n")
    return int(missed)


def _in_fresh_process(task: str, path: Path) -> tuple[float, float, str]:
    done = subprocess.run(
        [sys.executable, __file__, task, str(path)], capture_output=True, text=True, check=True
    )
    elapsed_s, peak_mb, found = json.loads(done.stdout)
    return elapsed_s, peak_mb, found


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main())
