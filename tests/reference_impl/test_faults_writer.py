"""A book that another program holds locked, and failures in the middle of a batch."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reference_impl import writer
from reference_impl.problems import Problem

from . import _faults as faults

BOUND_S = 10.0
"""The longest that a refused write may take: the server's own wait of 5 s, on a slow machine."""


def test_a_locked_book_refuses_in_bounded_time_and_serves_again(
    tmp_path: Path,
    make_database: Any,
    run_server: Callable[..., Any],
    log_in_as: Any,
    admin_password: str,
) -> None:
    database = make_database(tmp_path / "book.db")
    server = run_server(database)
    admin = log_in_as(server.port, "admin", admin_password)
    account = admin.account()
    before = faults.workers(server)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    refused = admin.book("deposit", 1, to_account_id=account["id"])
    assert (refused.status, refused.code) == (503, "busy")
    assert time.monotonic() - began < BOUND_S
    assert refused.headers["retry-after"]
    assert admin.balances(account)["ledger"] == 0
    other.execute("ROLLBACK")
    other.close()
    assert admin.book("deposit", 1, to_account_id=account["id"]).status == 201
    assert admin.balances(account)["ledger"] == 1
    assert faults.workers(server) == before


def test_a_failure_after_a_write_undoes_that_job_alone() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    done: list[str] = []

    def insert(name: str, error: Exception | None = None) -> writer.Job[object]:
        def action(db: sqlite3.Connection) -> str:
            db.execute("INSERT INTO t VALUES (?)", (name,))
            if error is not None:
                raise error
            return name

        def refused(db: sqlite3.Connection, problem: Problem) -> None:
            db.execute("INSERT INTO t VALUES (?)", (f"refused {name} {problem.code}",))
            done.append(name)

        return writer.Job(action, refused)

    jobs = [
        insert("a"),
        insert("b", Problem("not_found")),
        insert("c", ValueError("bug")),
        insert("d"),
    ]
    connection.execute("BEGIN")
    writer.apply_all(connection, jobs)
    connection.execute("COMMIT")
    rows = [row[0] for row in connection.execute("SELECT x FROM t")]
    assert rows == ["a", "refused b not_found", "d"]
    assert done == ["b"]
    assert [job.result for job in jobs] == ["a", None, None, "d"]
    assert [type(job.error) for job in jobs] == [type(None), Problem, ValueError, type(None)]


def test_a_failure_before_any_write_needs_no_second_run() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (x)")
    runs: list[str] = []

    def good(db: sqlite3.Connection) -> None:
        runs.append("good")
        db.execute("INSERT INTO t VALUES (1)")

    def bad(_: sqlite3.Connection) -> None:
        runs.append("bad")
        raise Problem("not_found")

    jobs: list[writer.Job[Any]] = [writer.Job(good, None), writer.Job(bad, None)]
    connection.execute("BEGIN")
    writer.apply_all(connection, jobs)
    assert runs == ["good", "bad"]
    assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 1
