"""Measure the simulated counterparties: requests a second of all five, and CPU time for each.

Run as a script. The simulators run in a process of their own; the load comes from this one over
keep-alive connections with pipelining, so that the load's own cost stays small. CPU time is what
counts on a busy machine: 200 us a request are 5,000 requests a second on one core.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httptools

from certification.counterparties.hosting import Hosting
from certification.counterparties.parties import Counterparties, SimulatedParty

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUESTS = 8_000
PIPELINED = 8
CPU_US_MAX = 200.0
EVENT = {
    "source": "urn:alluse:deployment:1",
    "type": "transaction.posted",
    "specversion": "1.0",
    "time": "2026-11-21T10:00:00Z",
    "subject": "txn_1",
}


def serve() -> None:
    """Serve until standard input ends; print where."""
    with Counterparties.start(Hosting(token="bench")) as parties:
        print(parties.wire.control_url, flush=True)
        sys.stdin.read()


def bytes_of(party: SimulatedParty, number: int) -> bytes:
    """Return one request that follows the contract of the counterparty."""
    body: object = None
    name, method, path, media = party.party.value, "GET", "/v1/health", ""
    if name == "market":
        method, path, media = "POST", "/v1/orders", "application/json"
        body = {
            "client_order_id": f"o{number}",
            "account_ref": "a1",
            "instrument": "RESTING",
            "side": "buy",
            "quantity": 10,
            "limit_price": {"amount": 45000, "currency": "USD"},
        }
    elif name == "notification":
        method, path, media = "POST", "/v1/events", "application/cloudevents-batch+json"
        body = [
            {**EVENT, "id": f"{number}-{i}", "seq": number * 10 + i, "data": {"account_ids": []}}
            for i in range(10)
        ]
    elif name == "strategy-engine":
        method, path, media = "POST", "/v1/executions", "application/json"
        body = {
            "execution_ref": f"e{number}",
            "account_ref": "a1",
            "strategy": "premium",
            "parameters": {"contracts": 2},
            "available": {"amount": 100, "currency": "USD"},
        }
    elif name == "user-management":
        path = "/jwks.json"
    content = json.dumps(body).encode() if body is not None else b""
    lines = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {party.token}\r\n"
    lines += f"traceparent: {TRACE}\r\nX-Instance-Id: node-1\r\n"
    if content:
        lines += f"Content-Type: {media}\r\nContent-Length: {len(content)}\r\n"
        lines += f"Idempotency-Key: bench-{number:016d}\r\n"
    return f"{lines}\r\n".encode() + content


class Answers:
    """Counts whole answers; refuses any that is not a success."""

    def __init__(self) -> None:
        """Begin."""
        self.count = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        """Count one."""
        self.count += 1
        if self.parser.get_status_code() >= 300:
            raise ValueError(f"answered {self.parser.get_status_code()}")


def drive(party: SimulatedParty, requests: list[bytes]) -> None:
    """Send all of them over one connection and read as many answers."""
    port, answers = int(party.url.rpartition(":")[2]), Answers()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as held:
        for start in range(0, len(requests), PIPELINED):
            batch = requests[start : start + PIPELINED]
            held.sendall(b"".join(batch))
            while answers.count < start + len(batch):
                answers.parser.feed_data(held.recv(1 << 18))


def cpu_s(pid: int) -> float:
    """Return user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the peak of resident memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(row for row in status.splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> int:
    """Drive each alone and all together; 1 where a request costs more CPU than it may."""
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = process.stdout.readline().decode().strip()
        parties = Counterparties.attach(url, "bench")
        print(f"{'what':<18}{'requests':>9}{'per s':>8}{'CPU us each':>13}")
        for party in parties:
            measure(process.pid, party.party.value, {party: REQUESTS // 4}, 0)
        worst = measure(process.pid, "all five", dict.fromkeys(parties, REQUESTS), 1_000_000)
        seen = parties.overview()["counterparties"]
        print(f"violations {sum(row['violations'] for row in seen)}", end=", ")
        print(f"peak {resident_mb(process.pid):.0f} MB; asked: under {CPU_US_MAX:.0f} us each")
        parties.close()
        process.stdin.close()
    return int(worst > CPU_US_MAX)


def measure(pid: int, name: str, load: dict[SimulatedParty, int], first: int) -> float:
    """Drive, print a row, return CPU microseconds a request."""
    made = {party: [bytes_of(party, first + i) for i in range(n)] for party, n in load.items()}
    threads = [threading.Thread(target=drive, args=row) for row in made.items()]
    before_s, began_s = cpu_s(pid), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count, took_s = sum(load.values()), time.monotonic() - began_s
    each_us = (cpu_s(pid) - before_s) / count * 1e6
    print(f"{name:<18}{count:>9,}{count / took_s:>8,.0f}{each_us:>13.0f}", flush=True)
    return each_us


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        sys.exit(main())
