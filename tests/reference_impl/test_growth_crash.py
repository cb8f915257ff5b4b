"""Growth when processes are killed at any instant: nothing answered is lost or half done."""

import http.client
import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ._waiting import eventually

Client = Any
SURPLUS = 5_000_000
KILLS = 4
DEADLINE_S = 30.0

HALF_DONE = {
    "a transaction of growth without its event or system": """
        SELECT seq FROM transactions t WHERE kind IN ('fork', 'merge', 'reinvest', 'opening')
        AND NOT EXISTS (SELECT 1 FROM growth_events WHERE seq = t.seq)
        AND NOT EXISTS (SELECT 1 FROM systems WHERE seq = t.seq)""",
    "a fork with other children than legs": """
        SELECT seq FROM growth_events e WHERE kind = 'fork' AND json_array_length(legs) <>
        (SELECT count(*) FROM parties WHERE seq = e.seq AND role = 'child')""",
    "a child that no fork knows": """
        SELECT id FROM accounts a WHERE parent_id IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM parties WHERE account_id = a.id AND role = 'child')""",
    "a merged account that holds something": """
        SELECT a.id FROM accounts a JOIN buckets b ON b.account_id = a.id
        WHERE a.status = 'merged' AND (b.balance <> 0 OR b.holds <> 0)""",
    "a source that is not merged": """
        SELECT a.id FROM accounts a JOIN parties p ON p.account_id = a.id
        WHERE p.role = 'source' AND a.status <> 'merged'""",
    "an audit record that is missing": """
        SELECT count(*) FROM growth_events HAVING count(*) <>
        (SELECT count(*) FROM audit WHERE outcome = 'done'
         AND action IN ('forkAccount', 'mergeAccounts', 'reinvestAccount'))""",
    "money that came from nowhere": "SELECT sum(balance) FROM buckets HAVING sum(balance) <> 0",
    "a bucket that is not the sum of its lines": """
        SELECT id FROM buckets b WHERE balance <>
        (SELECT coalesce(sum(amount), 0) FROM lines WHERE bucket_id = b.id)""",
}


def grow(client: Client, acknowledged: list[str], stop: threading.Event) -> None:
    """Open, fund, fork and merge until told to stop; keep the id of every answered event."""
    while not stop.is_set():
        try:
            account = client.account(name="n")
            client.book("deposit", SURPLUS, to_account_id=account["id"])
            fork = client.post(f"/v1/accounts/{account['id']}/fork", {})
            acknowledged.append(fork.body["event"]["id"])
            sources = [child["id"] for child in fork.body["children"]]
            target = {"create_target": {"type": "compounding"}}
            merge = client.post("/v1/merges", {"sources": sources, **target})
            acknowledged.append(merge.body["id"])
        except (OSError, http.client.HTTPException, AssertionError, KeyError):
            time.sleep(0.02)  # killed, or begun again and half of the chain is missing


def workers_of(process: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        started = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(pid) for pid in started.split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def has_grown(acknowledged: list[str], wanted: int) -> bool:
    return len(acknowledged) >= wanted


def has_another(process: int, gone: int) -> bool:
    return bool(set(workers_of(process)) - {gone})


def has_two_but(process: int, gone: int) -> bool:
    return len(set(workers_of(process)) - {gone}) == 2


@pytest.mark.parametrize("victim", ["worker", "everyone"])
def test_a_kill_leaves_no_growth_half_done(  # noqa: PLR0917 - fixtures are arguments
    tmp_path: Path,
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
    log_in_as: Callable[..., Client],
    admin_password: str,
    victim: str,
) -> None:
    database = make_database(tmp_path / "book.db")
    running = run_server(database)
    admin = log_in_as(running.port, "admin", admin_password)
    acknowledged: list[str] = []
    stop = threading.Event()
    clients = [type(admin)(running.port, admin.token) for _ in range(4)]
    threads = [threading.Thread(target=grow, args=(c, acknowledged, stop)) for c in clients]
    for thread in threads:
        thread.start()
    (main,) = workers_of(running.process.pid)
    for number in itertools.count(1):
        assert eventually(partial(has_grown, acknowledged, len(acknowledged) + 8))
        if number > KILLS:
            break
        first = workers_of(main)[0]
        if victim == "worker":
            os.kill(first, signal.SIGKILL)
        else:
            os.kill(main, signal.SIGKILL)
            assert eventually(partial(has_another, running.process.pid, main))
            main = next(pid for pid in workers_of(running.process.pid) if pid != main)
        assert eventually(partial(has_two_but, main, first))
    stop.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    fresh = type(admin)(running.port, admin.token)
    for event_id in acknowledged:
        assert fresh.get(f"/v1/growth/events/{event_id}").status == 200
    assert running.stop() == 0
    with sqlite3.connect(database) as connection:
        for what, query in HALF_DONE.items():
            assert connection.execute(query).fetchall() == [], what
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
