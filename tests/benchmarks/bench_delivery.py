"""How fast events are delivered, and what receivers that hang cost the ledger.

    python -m tests.benchmarks.bench_delivery [--events N]

Prints one JSON line. `notification` and `webhook` are events a second of a backlog that is there
when the server starts, from its first to its last delivery; `hanging` compares the CPU-independent
rate of deposits of one client with and without four receivers that never answer, in turns.
"""

import json
import secrets
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from certification.counterparties.parties import Counterparties
from reference_impl import database, sealed
from reference_impl.delivery import signing, store
from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    Client,
    init_database,
    log_in,
    start_server,
)

ACCOUNTS = 200
ROUNDS = 4
ROUND_S = 2.0
QUICK = ("--webhook-allow", "127.0.0.1", "--webhook-timing", "2000/50/1000")


def plant(path: Path, events: int) -> None:
    """Write events as transfers between accounts would."""
    names = [f"acc_{number:032x}" for number in range(ACCOUNTS)]
    with closing(database.connect(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO outbox (type, subject, kind, amount, currency, data, created_at)"
            " VALUES ('alluse.transaction.posted', ?, 'transfer', 100, 'USD', ?, ?)",
            (
                (
                    f"txn_{number:032x}",
                    json.dumps(
                        {
                            "from_account_id": names[number % ACCOUNTS],
                            "to_account_id": names[(number * 7 + 1) % ACCOUNTS],
                            "transaction_seq": number + 1,
                        },
                        separators=(",", ":"),
                    ),
                    int(time.time() * 1000),
                )
                for number in range(events)
            ),
        )
        connection.execute("COMMIT")


def plant_webhook(path: Path, url: str) -> None:
    """Write a webhook that begins with the first event."""
    seal = sealed.Sealer(path).seal(signing.new_secret())
    with closing(database.connect(path)) as connection:
        admin = connection.execute("SELECT id FROM users").fetchone()[0]
        connection.execute(
            "INSERT INTO webhooks (id, url, event_types, status, secret, created_at, created_by)"
            " VALUES ('whk_bench', ?, '[\"*\"]', 'active', ?, 0, ?)",
            (url, seal, admin),
        )
        store.begin(connection, "whk_bench", 0)


@contextmanager
def sink() -> Iterator[tuple[str, list[float]]]:
    """Serve a receiver that takes everything, as cheaply as a thread can."""
    listener = socket.create_server(("127.0.0.1", 0))
    times: list[float] = []

    def one(connection: socket.socket) -> None:
        held = b""
        with connection:
            while piece := connection.recv(65536):
                held += piece
                while (end := held.find(b"\r\n\r\n")) >= 0:
                    head = held[:end].lower()
                    length = int(head.rpartition(b"content-length:")[2].split(b"\r\n")[0])
                    if len(held) < end + 4 + length:
                        break
                    held = held[end + 4 + length :]
                    times.append(time.monotonic())
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", times
    finally:
        listener.close()


def wait_until(reached: Any, deadline_s: float = 40.0) -> None:
    """Wait until `reached()`; exit with an error when that takes too long."""
    end_s = time.monotonic() + deadline_s
    while not reached():
        if time.monotonic() > end_s:
            raise SystemExit("the deliveries did not come to an end in time")
        threading.Event().wait(0.05)


def notification_rate(folder: Path, events: int) -> float:
    """Return events a second to the simulated notification system."""
    path = init_database(folder / "notification.db")
    plant(path, events)
    with Counterparties.start() as parties, pytest.MonkeyPatch.context() as patch:
        party = parties.notification
        patch.setenv("ALLUSE_COUNTERPARTY_NOTIFICATION_URL", party.url)
        patch.setenv("ALLUSE_COUNTERPARTY_NOTIFICATION_TOKEN", party.token)
        server = start_server(path)
        try:
            wait_until(lambda: party.state()["accepted"] >= events)
            entries = [each for each in party.journal() if each.operation == "deliverEvents"]
            taken_s = entries[-1].arrived_s - entries[0].arrived_s
            return events / max(taken_s, 0.001)
        finally:
            server.stop()


def webhook_rate(folder: Path, events: int) -> float:
    """Return events a second to one webhook."""
    path = init_database(folder / "webhook.db")
    plant(path, events)
    with sink() as (url, times):
        plant_webhook(path, url)
        server = start_server(path, *QUICK)
        try:
            wait_until(lambda: len(times) >= events)
            return events / (times[-1] - times[0])
        finally:
            server.stop()


def deposits_a_second(boss: Client, account_id: str) -> float:
    """Return the rate of one client for a while."""
    began_s, number = time.monotonic(), 0
    while time.monotonic() - began_s < ROUND_S:
        assert boss.book("deposit", 1, to_account_id=account_id).status == 201
        number += 1
    return number / (time.monotonic() - began_s)


def hanging_ratio(folder: Path) -> float:
    """Return the rate of deposits with four receivers that hang, by that without; the median."""
    path = init_database(folder / "hanging.db")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        server = start_server(path, *QUICK)
        try:
            boss = log_in(server.port, "admin", ADMIN_PASSWORD)
            account_id = boss.account()["id"]
            deposits_a_second(boss, account_id)
            ratios = [_pair(boss, account_id, silent.getsockname()[1]) for _ in range(ROUNDS)]
        finally:
            server.stop()
    return statistics.median(ratios)


def _pair(boss: Client, account_id: str, port: int) -> float:
    without = deposits_a_second(boss, account_id)
    hooks = []
    for number in range(4):
        body = {"url": f"http://127.0.0.1:{port}/{number}", "event_types": ["*"]}
        hooks.append(boss.post("/v1/webhooks", body).body["id"])
    beside = deposits_a_second(boss, account_id)
    for name in hooks:
        boss.send("DELETE", f"/v1/webhooks/{name}", headers={"If-Match": "*"})
    return beside / without


@click.command()
@click.option("--events", default=20_000, show_default=True)
def main(events: int) -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory(prefix=f"delivery-{secrets.token_hex(2)}") as name:
        folder = Path(name)
        figures = {
            "notification_events_per_s": round(notification_rate(folder, events)),
            "webhook_events_per_s": round(webhook_rate(folder, events // 4)),
            "deposits_beside_hanging_receivers": round(hanging_ratio(folder), 3),
        }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
