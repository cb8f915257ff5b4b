"""What the ledger's clients feel while all five counterparties hang: p99 as a ratio to before.

    python tests/benchmarks/bench_counterparties_hang.py [--seconds 4] [--rounds 3]

One deployment, its two workers and the simulators on this machine. Deposits at a steady pace are
timed in cells that take turns: with counterparties that answer, and with all five hanging while
other clients keep calling operations that need them. The second figure is how long a call to an
open breaker takes. Both are compared with what is asked: less than 2 times, less than 100 ms.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certification.counterparties.faults import FaultKind
from certification.counterparties.hosting import Host, Hosting, callback_secret, party_token
from certification.counterparties.names import Party
from certification.counterparties.parties import Counterparties

PASSWORD = "a bench's long password"
RATIO_MAX, OPEN_MS_MAX = 2.0, 100.0
PACE_S = 0.01
"""One deposit a connection in this time: a steady load, well below what the ledger can do."""
CONNECTIONS, CALLERS = 4, 10


@dataclass
class Target:
    """A running deployment."""

    port: int
    token: str = ""

    def send(
        self, line: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        headers["Idempotency-Key"] = secrets.token_hex(16)
        line.request(method, path, json.dumps(body), headers)
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())

    def line(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)


@contextmanager
def deployment(folder: Path, host: Host, token: str) -> Iterator[Target]:
    """Serve the reference beside the five, with the timing of the embedded default."""
    told = {f"ALLUSE_COUNTERPARTY_{party.variable}_URL": host.url(party) for party in Party}
    told |= {
        f"ALLUSE_COUNTERPARTY_{party.variable}_TOKEN": party_token(token, party) for party in Party
    }
    told["ALLUSE_COUNTERPARTY_MARKET_SECRET"] = callback_secret(token)
    environment = {**os.environ, **told, "BENCH_PASSWORD": PASSWORD}
    base = [sys.executable, "-m", "reference_impl"]
    book = str(folder / "book.db")
    subprocess.run(
        [*base, "init", "--database", book, "--admin-password", "env:BENCH_PASSWORD"],
        env=environment,
        check=True,
        capture_output=True,
    )
    command = [*base, "serve", "--database", book, "--call-timing", "300/1/1"]
    command += ["--log-level", "error", "--no-access-log", "--die-with-parent"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        target = Target(int(json.loads(process.stdout.readline())["url"].rpartition(":")[2]))
        login = {"username": "admin", "password": PASSWORD}
        target.token = target.send(target.line(), "POST", "/v1/auth/login", login)[1][
            "access_token"
        ]
        try:
            yield target
        finally:
            process.terminate()


def deposits(target: Target, account: str, seconds: float) -> list[float]:
    """Return the milliseconds of deposits at a steady pace."""
    found: list[float] = []

    def run() -> None:
        line, money = target.line(), {"amount": 1, "currency": "USD"}
        body = {"kind": "deposit", "amount": money, "to_account_id": account}
        ends_s = next_s = time.monotonic() + 0.0
        ends_s += seconds
        while (now_s := time.monotonic()) < ends_s:
            if next_s > now_s:
                time.sleep(next_s - now_s)
            began_s = time.monotonic()
            status, _ = target.send(line, "POST", "/v1/transactions", body)
            assert status == 201, status
            found.append((time.monotonic() - began_s) * 1000)
            next_s = max(next_s + PACE_S, time.monotonic())
        line.close()

    threads = [threading.Thread(target=run) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def callers(target: Target, ended: threading.Event, open_ms: list[float]) -> None:
    """Keep calling what needs a counterparty; note how long an open breaker's answer takes."""

    def run(number: int) -> None:
        line, party = target.line(), list(Party)[number % len(Party)]
        while not ended.wait(0.1):
            began_s = time.monotonic()
            path = f"/v1/integrations/{party.value}/probe"
            status, body = target.send(line, "POST", path, {})
            if status == 503 and body["code"] == "circuit_open":
                open_ms.append((time.monotonic() - began_s) * 1000)
        line.close()

    for number in range(CALLERS):
        threading.Thread(target=run, args=(number,), daemon=True).start()


def p99(values: list[float]) -> float:
    """Return the value that 99 of 100 do not exceed."""
    return sorted(values)[int(len(values) * 0.99)]


def measure(seconds: float, rounds: int) -> int:
    """Take the rounds; return 0 if both figures are as asked."""
    token, host = secrets.token_urlsafe(32), None
    before, hanging, open_ms = list[float](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Hosting(token=token))
        try:
            host.serve()
            parties = Counterparties.attach(host.control_url, token)
            with deployment(Path(folder), host, token) as target:
                account = target.send(
                    target.line(),
                    "POST",
                    "/v1/accounts",
                    {"type": "generation", "currency": "USD", "name": "bench"},
                )[1]["id"]
                deposits(target, account, seconds / 2)
                for _ in range(rounds):
                    for hang in (False, True):
                        faults = [p.fault(FaultKind.HANG) for p in parties] if hang else []
                        ended = threading.Event()
                        callers(target, ended, open_ms if hang else [])
                        cell = deposits(target, account, seconds)
                        ended.set()
                        (hanging if hang else before).append(p99(cell))
                        for fault in faults:
                            fault.clear()
                        time.sleep(1.2)
        finally:
            host.stop()
    ratio = statistics.median(hanging) / statistics.median(before)
    slowest = p99(open_ms) if open_ms else 0.0
    sys.stdout.write(
        f"deposits, p99: {statistics.median(before):.1f} ms with counterparties that answer,"
        f" {statistics.median(hanging):.1f} ms with all five hanging: {ratio:.2f} times"
        f" (asked: < {RATIO_MAX})\n"
        f"answers of an open breaker: {len(open_ms)}, p99 {slowest:.1f} ms"
        f" (asked: < {OPEN_MS_MAX})\n"
    )
    return 0 if ratio < RATIO_MAX and open_ms and slowest < OPEN_MS_MAX else 1


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise SystemExit(measure(given.seconds, given.rounds))


if __name__ == "__main__":
    main()
