"""Makes the report of a 1,000-check run; prints its size, render time, first paint, script errors.

Run from a checkout: `python tests/benchmarks/bench_report.py [--checks N] [--failing N]`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from certification.model import Outcome  # noqa: E402  - the checkout has to be on the path first
from certification.report import FORMATS, render, report_view  # noqa: E402  - the same
from tests.report.chromium import chromium, missing, open_page  # noqa: E402  - the same
from tests.report.made_run import Shape, Texts, judged, remedies  # noqa: E402  - the same

PAINT = (
    "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
    ".concat(performance.getEntriesByName('first-paint').map(e => e.startTime))"
)
LOADS = 5


def first_paints_ms(page: Path) -> tuple[list[float], list[str]]:
    """Load the page a few times; return each first contentful paint and all console messages."""
    paints: list[float] = []
    with chromium() as driver:
        errors: list[str] = []
        for _ in range(LOADS):
            open_page(driver, page)
            deadline = time.monotonic() + 20
            while not (seen := driver.execute_script(PAINT)) and time.monotonic() < deadline:
                time.sleep(0.05)
            paints += [max(seen)] if seen else []
            errors += [row["message"] for row in driver.get_log("browser")]
    return paints, errors


def main() -> int:
    """Measure once and print; exit 1 where a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--failing", type=int, default=10, help="every so many-th check fails")
    options = parser.parse_args()
    outcomes = (Outcome.FAIL, *[Outcome.PASS] * (options.failing - 1))
    texts = Texts(body='{"entry": "' + "0123456789" * 300 + '"}')
    shape = Shape(checks=options.checks, outcomes=outcomes, texts=texts)
    with TemporaryDirectory() as folder:
        judgement, evidence = judged(Path(folder), shape)
        started = time.perf_counter()
        view = report_view(judgement, evidence, remedies=remedies(shape))
        built = time.perf_counter()
        print(f"view of {options.checks} checks: {built - started:.2f} s")
        for name in FORMATS:
            started = time.perf_counter()
            text = render(view, name)
            spent = time.perf_counter() - started
            print(f"{name:>9}: {len(text.encode()) / 1e6:.2f} MB in {spent:.2f} s")
        page = Path(folder) / "report.html"
        page.write_text(render(view, "html"), encoding="utf-8")
        size = page.stat().st_size
        if (reason := missing()) is not None:
            print(f"first paint not measured: {reason}")
            return int(size >= 3_000_000)
        paints, errors = first_paints_ms(page)
    print(f"first paint of {len(paints)} loads, ms: {', '.join(f'{ms:.0f}' for ms in paints)}")
    print(f"median {statistics.median(paints):.0f} ms; script errors: {len(errors)} {errors[:3]}")
    return int(size >= 3_000_000 or statistics.median(paints) >= 1000 or bool(errors))


if __name__ == "__main__":
    sys.exit(main())
