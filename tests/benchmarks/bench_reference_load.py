"""How fast the reference is, beside a naive Flask + SQLite account system in the same sitting.

    python tests/benchmarks/bench_reference_load.py [--quick] [--full] [--soak MINUTES]
        [--only SECTION ...] [--markdown FILE]

Both run on this machine together with the load generator. Every figure is the median of rounds in
which the two take turns; the last column is the ratio, which is what travels to other machines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import load_requests
import planted_book
import reference_under_load as under_load
from bench_reference import family, processor_s, resident_mb
from loadgen import Result, closed_list, closed_loop, get, open_loop
from reference_under_load import Running

ACCOUNTS = 1000
CONNECTIONS = (8, 32, 128)
LIMIT_MS = 50.0
STEP = 1.12
PARTS_OFF = (
    *("audit", "outbox", "metrics", "access_log", "authentication", "idempotency", "rates"),
    "logs",
)
SECTIONS = ("single", "open", "batch", "read", "operations", "off", "scaling", "scrape", "soak")
SCRAPE_EVERY_S = 15.0
ACHIEVED = {
    "createAccount": 65.3,
    "getAccount": 312.5,
    "updateAccount": 142.8,
    "createTransaction": 245.7,
    **{f"analytics {report}": 28.4 for report in load_requests.REPORTS},
    "forkAccount": 42.1,
    "mergeAccounts": 35.6,
    "reinvest": 53.2,
}
"""Operations a second that `PERF-OP` gives as achieved; five times as many are asked."""


@dataclass(slots=True)
class Bench:
    """One sitting: how long the cells are, and what was found."""

    seconds: float
    rounds: int
    folder: Path
    missed: list[str] = field(default_factory=list)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    run: str = field(default_factory=lambda: os.urandom(6).hex())
    used: int = 0

    def line(self, name: str, found: str, ok: bool | None = None, note: str = "") -> None:
        """Print one row of the table."""
        mark = {None: "", True: "ok", False: "MISSED"}[ok]
        sys.stdout.write(f"{name:<46} {found:<44} {mark:<7} {note}\n")
        sys.stdout.flush()
        self.rows.append((name.strip(), found, note, mark))
        if ok is False:
            self.missed.append(name)

    def markdown(self) -> str:
        """Return the table for a document."""
        head = "| what | found | asked | |\n|---|---|---|---|\n"
        return head + "".join(f"| {' | '.join(row)} |\n" for row in self.rows)

    def key(self) -> str:
        """Return a fresh Idempotency-Key."""
        self.used += 1
        return f"bench-{self.run}-{self.used:010d}"


REFERENCE_IDS = [planted_book.account_id(number) for number in range(ACCOUNTS)]
NAIVE_IDS = [f"acc_{number}" for number in range(ACCOUNTS)]


@contextlib.contextmanager
def new_reference(
    bench: Bench, name: str, accounts: int = ACCOUNTS, busy: int = 0
) -> Iterator[Running]:
    """Run the whole reference on a new planted book."""
    with book(bench, name, accounts, busy) as (path, _), under_load.reference(path) as server:
        yield server


@contextlib.contextmanager
def book(bench: Bench, name: str, accounts: int, busy: int = 0) -> Iterator[tuple[Path, str]]:
    """Make a planted book; give its path and the id of its administrator, who owns all."""
    path = bench.folder / f"{name}.db"
    under_load.init(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        (owner,) = db.execute("SELECT id FROM users").fetchone()
    planted_book.plant(path, owner, accounts, busy=busy)
    yield path, owner
    for left in bench.folder.glob(f"{name}.db*"):
        left.unlink()


def both(
    bench: Bench, measure: Callable[[Running, Sequence[str]], float], pair: tuple[Running, Running]
) -> tuple[float, float]:
    """Measure the reference and the peer in turns; return the medians."""
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(bench.rounds):
        for index in (0, 1) if turn % 2 == 0 else (1, 0):
            ids = (REFERENCE_IDS, NAIVE_IDS)[index]
            found[index].append(measure(pair[index], ids))
    return statistics.median(found[0]), statistics.median(found[1])


def single(bench: Bench, pair: tuple[Running, Running]) -> None:
    """Single durable transfers, closed loop."""
    best = 0.0
    for connections in CONNECTIONS:

        def measure(server: Running, ids: Sequence[str], at: int = connections) -> float:
            make = load_requests.transfers(bench, server, ids)
            return _clean(closed_loop(server.url, make, connections=at, seconds=bench.seconds)).rate

        ours, peer = both(bench, measure, pair)
        best = max(best, ours)
        name = f"transfers, closed loop, {connections} connections"
        bench.line(name, f"{ours:,.0f}/s, naive {peer:,.0f}/s, {ours / peer:.2f} x")
    bench.line(
        "best closed-loop rate of transfers", f"{best:,.0f}/s", best >= 1500, ">= 1,500, aim 3,000"
    )


def _clean(result: Result) -> Result:
    if result.refused:
        sys.stdout.write(f"  refused or lost: {result.refused}\n")
    return result


def knee(bench: Bench, server: Running, ids: Sequence[str]) -> float:
    """Return the highest open-loop rate with a p99 within the limit: one step up after another.

    A step that misses is tried once more, since one stall of the machine misses it as well.
    """
    rate, held, tries = 250.0, 0.0, 0
    while tries < 2:
        p99 = _open_p99(bench, server, ids, rate)
        if p99 <= LIMIT_MS:
            held, rate, tries = rate, rate * STEP, 0
        else:
            tries += 1
    return held


def _open_p99(bench: Bench, server: Running, ids: Sequence[str], rate: float) -> float:
    make = load_requests.transfers(bench, server, ids)
    result = open_loop(server.url, make, rate=rate, connections=128, seconds=bench.seconds)
    if result.refused or result.unanswered > result.offered // 100:
        return float("inf")
    return result.percentile_ms(0.99)


def open_loops(bench: Bench, pair: tuple[Running, Running]) -> None:
    """The knee of both, and the latency of both at 70 % of the peer's."""
    ours, peer = both(bench, lambda server, ids: knee(bench, server, ids), pair)
    name = f"highest open-loop rate with p99 <= {LIMIT_MS:.0f} ms"
    ratio = ours / peer if peer else float("inf")
    found = f"{ours:,.0f}/s, naive {peer:,.0f}/s, {ratio:.2f} x"
    bench.line(name, found, ratio >= 1.5, ">= 1.5 x")
    rate = 0.7 * peer
    ours, peer = both(bench, lambda server, ids: _open_p99(bench, server, ids, rate), pair)
    name = f"p99 at 70 % of the naive knee ({rate:,.0f}/s)"
    bench.line(
        name,
        f"{ours:.1f} ms, naive {peer:.1f} ms, {ours / peer:.2f} x",
        ours <= peer / 2,
        "<= 0.5 x",
    )


def batch(bench: Bench, server: Running) -> None:
    """Batches of 100 transfers."""
    rates = []
    for connections in (4, 16):
        make = load_requests.batches(bench, server, REFERENCE_IDS, 100)
        found = [
            100
            * _clean(
                closed_loop(server.url, make, connections=connections, seconds=bench.seconds)
            ).rate
            for _ in range(bench.rounds)
        ]
        rates.append(statistics.median(found))
        bench.line(f"batches of 100, {connections} connections", f"{rates[-1]:,.0f} transfers/s")
    bench.line(
        "best batch rate",
        f"{max(rates):,.0f} transfers/s",
        max(rates) >= 6000,
        ">= 6,000, aim 20,000",
    )


def read(bench: Bench, pair: tuple[Running, Running]) -> None:
    """Authenticated reads of one account."""

    def measure(server: Running, ids: Sequence[str]) -> float:
        make = load_requests.reads(server, ids)
        return _clean(closed_loop(server.url, make, connections=32, seconds=bench.seconds)).rate

    ours, peer = both(bench, measure, pair)
    found = f"{ours:,.0f}/s, naive {peer:,.0f}/s, {ours / peer:.2f} x"
    bench.line("authenticated reads of an account", found, ours >= 4000, ">= 4,000, aim 6,000")


def operations(bench: Bench) -> None:
    """Every operation of the PERF-OP table, 32 connections, against five times its figure."""
    count = int(300 * bench.seconds)
    busy = load_requests.BUSY
    with new_reference(bench, "operations", 20 * count + busy, busy) as server:
        ids = iter(planted_book.account_id(busy + number) for number in range(20 * count))
        for name, make in load_requests.operations(bench, server).items():
            chosen = list(make(ids, count))
            result = _clean(closed_list(server.url, chosen, connections=32))
            share = len(result.latencies_s) / len(chosen)
            wanted = 5 * ACHIEVED[name]
            if not share:
                bench.line(name, f"not there: {result.refused}")
                continue
            p99 = result.percentile_ms(0.99)
            found = f"{result.rate:,.0f}/s, p50 {result.percentile_ms(0.5):.1f}, p99 {p99:.1f} ms"
            bench.line(name, found, result.rate >= wanted and share == 1, f">= {wanted:.0f}")


def off(bench: Bench) -> None:
    """Single transfers with one part taken off, each beside the whole server."""
    for part in PARTS_OFF:
        with contextlib.ExitStack() as stack:
            whole, owner = stack.enter_context(book(bench, f"with-{part}", ACCOUNTS))
            less, owner = stack.enter_context(book(bench, f"no-{part}", ACCOUNTS))
            servers = (
                stack.enter_context(under_load.reference(whole)),
                stack.enter_context(under_load.reference(less, without=part, owner=owner)),
            )
            found: tuple[list[float], list[float]] = ([], [])
            for _ in range(bench.rounds):
                for server, rates in zip(servers, found, strict=True):
                    make = load_requests.transfers(bench, server, REFERENCE_IDS)
                    result = closed_loop(server.url, make, connections=32, seconds=bench.seconds)
                    rates.append(_clean(result).rate)
            on, without = statistics.median(found[0]), statistics.median(found[1])
            bench.line(
                f"transfers without {part}",
                f"{without:,.0f}/s, with {on:,.0f}/s, {without / on:.2f} x",
            )


def scaling(bench: Bench, sizes: Sequence[int]) -> None:
    """The same requests on books of 10,000 accounts and more: time for each, one connection."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for size in sizes:
            began = time.perf_counter()
            servers[size] = stack.enter_context(
                new_reference(bench, f"size-{size}", size, load_requests.BUSY)
            )
            bench.line(f"  planted {size:,} accounts", f"{time.perf_counter() - began:.0f} s")
        limits = {"point read": 1.5, "keyset page": 1.5, "entry page": 1.5, "transfer": 2.0}
        for name, limit in limits.items():
            found: dict[int, list[float]] = {size: [] for size in sizes}
            for _ in range(max(bench.rounds, 3)):
                for size, server in servers.items():
                    make = load_requests.scaled(bench, server, name, size)
                    result = _clean(
                        closed_loop(server.url, make, connections=4, seconds=bench.seconds / 2)
                    )
                    found[size].append(result.percentile_ms(0.5))
            medians = {size: statistics.median(values) for size, values in found.items()}
            first = medians[sizes[0]]
            text = ", ".join(f"{ms:.2f}" for ms in medians.values())
            worst = max(ms / first for ms in medians.values())
            bench.line(
                f"{name}, p50 ms by size", f"{text}: {worst:.2f} x", worst <= limit, f"<= {limit} x"
            )


def scrape(bench: Bench) -> None:
    """Processor time of a scrape of the metrics, and its share at the usual interval."""
    with new_reference(bench, "scrape", 100_000) as server:
        server.log_in()
        request = get("/metrics", token=server.token)
        before_s = processor_s(server.pid)
        result = _clean(
            closed_loop(server.url, lambda _: request, connections=1, seconds=bench.seconds)
        )
        each_s = (processor_s(server.pid) - before_s) / len(result.latencies_s)
    share = each_s / SCRAPE_EVERY_S
    found = f"{each_s * 1000:.1f} ms, {share:.2%} of a processor at one in {SCRAPE_EVERY_S:.0f} s"
    bench.line("a scrape of the metrics", found, share < 0.05, "< 5 %")


def soak(bench: Bench, minutes: float) -> None:
    """Memory of the processes under half of what they can do, minute by minute."""
    with new_reference(bench, "soak") as server:
        top = closed_loop(
            server.url,
            load_requests.transfers(bench, server, REFERENCE_IDS),
            connections=32,
            seconds=5,
        ).rate
        sizes: list[float] = []
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            server.log_in()
            make = load_requests.transfers(bench, server, REFERENCE_IDS)
            lasts = min(60.0, max(end - time.monotonic(), 1.0))
            result = open_loop(server.url, make, rate=top / 2, connections=64, seconds=lasts)
            sizes.append(sum(resident_mb(pid) for pid in family(server.pid)))
            p99 = result.percentile_ms(0.99)
            text = f"{sizes[-1]:.0f} MB, p99 {p99:.1f} ms, {_clean(result).rate:,.0f}/s"
            bench.line(f"  minute {len(sizes)}", text)
        settled = sizes[len(sizes) // 5 :]
        growth = settled[-1] / settled[0] - 1
        bench.line(
            f"memory over {minutes:g} minutes",
            f"{settled[0]:.0f} to {settled[-1]:.0f} MB",
            growth < 0.1,
            "< 10 %",
        )


def side_by_side(bench: Bench, chosen: set[str]) -> None:
    """Run the sections that need the reference and the peer, each on one book."""
    if not chosen & {"single", "open", "batch", "read"}:
        return
    peer_database = bench.folder / "naive.db"
    with new_reference(bench, "reference") as ours, under_load.naive(peer_database) as peer:
        if "single" in chosen:
            single(bench, (ours, peer))
        if "open" in chosen:
            open_loops(bench, (ours, peer))
        ours.log_in()
        if "batch" in chosen:
            batch(bench, ours)
        if "read" in chosen:
            read(bench, (ours, peer))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short cells, one round")
    parser.add_argument("--full", action="store_true", help="5 million accounts as well")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    return parser.parse_args()


def main() -> int:
    """Measure and print the table; exit 1 where a number of it is missed."""
    options = parse()
    with under_load.folder() as folder:
        bench = Bench(
            seconds=2.0 if options.quick else 5.0, rounds=1 if options.quick else 3, folder=folder
        )
        sizes = [10_000, 1_000_000, *([5_000_000] if options.full else [])]
        if options.quick:
            sizes = [10_000, 100_000]
        chosen = set(options.only)
        side_by_side(bench, chosen)
        if "operations" in chosen:
            operations(bench)
        if "off" in chosen:
            off(bench)
        if "scaling" in chosen:
            scaling(bench, sizes)
        if "scrape" in chosen:
            scrape(bench)
        if options.soak:
            soak(bench, options.soak)
    if options.markdown:
        options.markdown.write_text(bench.markdown(), encoding="utf-8")
    if bench.missed:
        sys.stdout.write(json.dumps({"missed": bench.missed}) + "\n")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
