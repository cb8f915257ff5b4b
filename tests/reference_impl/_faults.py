"""Writers that go on while a server is hurt, and what must be true of the book afterwards."""

import http.client
import json
import os
import random
import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference_impl import audit

PATIENCE_S = 30.0
HEADERS = {"Content-Type": "application/json"}


@dataclass
class Load:
    """Threads that transfer one unit at a time between accounts, each until it is answered."""

    port: int
    token: str
    accounts: list[str]
    acknowledged: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """Key -> the body that was sent and the answer 201."""
    refused: dict[int, int] = field(default_factory=dict)
    tries: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, threads: int = 4) -> "Load":
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads), "a writer hangs"

    def has_acknowledged(self, count: int) -> bool:
        return len(self.acknowledged) >= count

    def _write(self, number: int) -> None:
        drawn = random.Random(number)  # noqa: S311 - which accounts, no secret
        while not self._stop.is_set():
            source, target = drawn.sample(self.accounts, 2)
            body = transfer(source, target)
            key, connection = str(uuid.uuid4()), None
            while not self._stop.is_set():
                try:
                    connection = connection or http.client.HTTPConnection(
                        "127.0.0.1", self.port, timeout=PATIENCE_S
                    )
                    status, document = self.send(connection, key, body)
                except (OSError, http.client.HTTPException):
                    if connection is not None:
                        connection.close()
                    connection = None
                    time.sleep(0.02)
                    continue
                if status == 201:
                    self.acknowledged[key] = (body, document)
                    break
                self.refused[status] = self.refused.get(status, 0) + 1
                assert status == 503, document
                time.sleep(0.02)
            if connection is not None:
                connection.close()

    def send(
        self, connection: http.client.HTTPConnection, key: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        self.tries += 1
        headers = {**HEADERS, "Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        connection.request("POST", "/v1/transactions", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def transfer(source: str, target: str) -> dict[str, Any]:
    return {
        "kind": "transfer",
        "amount": {"amount": 1, "currency": "USD"},
        "from_account_id": source,
        "to_account_id": target,
    }


def start_load(admin: Any, threads: int = 4, accounts: int = 6) -> Load:
    made = [admin.funded(1_000_000)["id"] for _ in range(accounts)]
    return Load(admin.port, admin.token, made).start(threads)


def assert_whole(database: Path, load: Load) -> None:
    """Everything that was acknowledged is there, once, and nothing is there by half."""
    book = sqlite3.connect(database)
    book.row_factory = sqlite3.Row
    try:
        assert book.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert book.execute("PRAGMA foreign_key_check").fetchall() == []
        assert_sums(book)
        assert_once(book, load)
        assert_chain(book)
    finally:
        book.close()


def assert_sums(book: sqlite3.Connection) -> None:
    assert book.execute("SELECT coalesce(sum(amount), 0) FROM lines").fetchone()[0] == 0
    wrong = book.execute(
        "SELECT b.id FROM buckets b WHERE b.balance <>"
        " (SELECT coalesce(sum(amount), 0) FROM lines WHERE bucket_id = b.id) OR b.holds <>"
        " (SELECT coalesce(sum(amount), 0) FROM holds WHERE bucket_id = b.id AND closed = 0)"
    ).fetchall()
    assert wrong == []
    halves = book.execute(
        "SELECT t.seq FROM transactions t WHERE t.phase = 'post' AND 0 <>"
        " (SELECT count(*) < 2 OR sum(amount) <> 0 FROM lines WHERE transaction_seq = t.seq)"
    ).fetchall()
    assert halves == []


def assert_once(book: sqlite3.Connection, load: Load) -> None:
    """The transaction, its key and its audit record are there together or not at all."""
    booked = {row["id"] for row in book.execute("SELECT id FROM transactions")}
    lost = {document["id"] for _, document in load.acknowledged.values()} - booked
    assert not lost, f"{len(lost)} of {len(load.acknowledged)} acknowledged writes are lost"
    stored = [
        json.loads(row["body"])["id"]
        for row in book.execute("SELECT body FROM idempotency WHERE path = '/v1/transactions'")
    ]
    recorded = [
        row["object"]
        for row in book.execute(
            "SELECT object FROM audit WHERE action = 'createTransaction' AND outcome = 'done'"
        )
    ]
    assert sorted(stored) == sorted(booked)
    assert sorted(recorded) == sorted(booked)


def assert_chain(book: sqlite3.Connection) -> None:
    previous = audit.GENESIS
    for number, row in enumerate(book.execute("SELECT * FROM audit ORDER BY seq"), 1):
        document = audit.document(row)
        del document["leaf_hash"]
        assert row["seq"] == number
        assert row["prev_hash"] == previous
        assert row["leaf_hash"] == audit.leaf(document)
        previous = row["leaf_hash"]


def assert_replays(load: Load, most: int = 25) -> None:
    """A repetition of what was acknowledged is answered with the same bytes and books nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=PATIENCE_S)
    for key, (body, document) in list(load.acknowledged.items())[-most:]:
        assert load.send(connection, key, body) == (201, document)
    connection.close()


def children(pid: int) -> list[int]:
    """Return the child processes that are alive."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            stat = (folder / "stat").read_text() if folder.name.isdigit() else ""
        except OSError:
            continue
        state, _, rest = stat.rpartition(") ")[2].partition(" ")
        if state and state != "Z" and int(rest.split()[0]) == pid:
            found.append(int(folder.name))
    return sorted(found)


def workers(server: Any) -> list[int]:
    """Return the workers below granian's main process."""
    return [pid for main in children(server.process.pid) for pid in children(main)]


def alive(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_root() -> bool:
    return os.geteuid() == 0
