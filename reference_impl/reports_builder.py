"""Building reports off the request path: one thread in each process, one report at a time.

The queue is the table `reports`; the builder of one process at a time holds the lock file. A
process that dies loses the lock, so a report that the holder finds `running` was interrupted, and
is built again from its start. Its terms name a place in an append-only book: the rows are the same.
"""

import fcntl
import itertools
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask

from . import audit, clock, reports_rows, web
from .analytics import reading
from .reports_export import Csv, Json, Sink
from .reports_rows import Accounts, Terms

EXTENSION = "alluse.reports"
POLL_S = 1.0
ATTEMPTS_MAX = 10
"""Interruptions and faults together, before a report is given up."""
POLLS_A_SWEEP = 10
ACT = audit.Act(actor="system", action="buildReport", request_id="-", payload_digest="")
NEXT = "SELECT * FROM reports WHERE status IN ('queued', 'running') ORDER BY seq LIMIT 1"
_DONE = """
UPDATE reports SET status = 'done', finished_at = :now, rows = :rows, csv_bytes = :csv_bytes,
  csv_sha256 = :csv_sha256, json_bytes = :json_bytes, json_sha256 = :json_sha256
WHERE id = :id AND status = 'running'"""
_log = logging.getLogger(__name__)


def folder(shared: web.Services) -> Path:
    """Return where the files of the reports are: beside the database."""
    return Path(f"{shared.settings.database}.reports")


def install(app: flask.Flask) -> None:
    """Start the builder of this process."""
    builder = Builder(app.extensions["alluse"])
    app.extensions[EXTENSION] = builder
    builder.start()


def wake(app: flask.Flask) -> None:
    """Tell the builder of this process that there is work."""
    builder = app.extensions.get(EXTENSION)
    if builder is not None:
        builder.wake()


def accounts_of(row: Any) -> Accounts:
    """Return the accounts of a report as it was asked for."""
    if row["accounts"] is not None:
        return Accounts(
            select="SELECT value FROM json_each(:accounts)", values={"accounts": row["accounts"]}
        )
    return Accounts(
        select="SELECT id FROM accounts WHERE owner_id = :owner AND seq <= :last_account"
        " AND id NOT IN (SELECT value FROM json_each(:excluded))",
        values={
            "owner": row["owner_id"],
            "last_account": row["last_account"],
            "excluded": row["excluded"],
        },
    )


class Builder:
    """Takes reports from the queue until it is told to stop."""

    def __init__(self, shared: web.Services) -> None:
        """Prepare; `start` begins."""
        self._shared = shared
        self._folder = folder(shared)
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to work; what an earlier process left unfinished comes first."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop after the report at hand."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        for turn in itertools.count():
            self._wake.wait(POLL_S)
            self._wake.clear()
            if self._stop:
                return
            try:
                while not self._stop and self.take_one():
                    pass
                if turn % POLLS_A_SWEEP == 0:
                    self.sweep()
            except Exception:  # noqa: BLE001 - the builder outlives whatever fails in a report
                _log.exception("the report at hand was put off")

    def take_one(self) -> bool:
        """Build the next report; False if there is none or another process builds."""
        connection = self._shared.readers.get()
        if connection.execute(NEXT).fetchone() is None:
            return False
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with alone(self._folder / "lock") as mine:
            row = connection.execute(NEXT).fetchone() if mine else None
            if row is None:
                return False
            if row["attempts"] >= ATTEMPTS_MAX:
                self._finish(row, {}, outcome="failed")
                return True
            self._write(
                "UPDATE reports SET status = 'running', attempts = attempts + 1,"
                " started_at = :now WHERE id = :id",
                {"id": row["id"]},
            )
            self._finish(row, self.build(connection, row), outcome="done")
        return True

    def build(self, connection: sqlite3.Connection, row: Any) -> dict[str, Any]:
        """Write both files of a report; return how many rows there are, lengths and digests."""
        terms = Terms(
            accounts=accounts_of(row),
            start_ms=row["start_ms"],
            end_ms=row["end_ms"],
            as_of=reading.Extent(seq=row["as_of_seq"], line=row["as_of_line"]),
        )
        portfolio = row["report"] == "portfolio"
        columns = reports_rows.PORTFOLIO_COLUMNS if portfolio else reports_rows.ENTRY_COLUMNS
        rows = reports_rows.portfolio if portfolio else reports_rows.entries
        count = 0
        with Sink(self._path(row, "csv")) as csv_sink, Sink(self._path(row, "json")) as json_sink:
            table, document = Csv(csv_sink, columns), Json(json_sink, head(row))
            for kind, members in rows(connection, terms):
                table.row(kind, members)
                document.row(kind, members)
                count += kind != "total"
            document.end()
        return {
            "rows": count,
            "csv_bytes": csv_sink.size_bytes,
            "csv_sha256": csv_sink.sha256,
            "json_bytes": json_sink.size_bytes,
            "json_sha256": json_sink.sha256,
        }

    def _path(self, row: Any, extension: str) -> Path:
        return self._folder / f"{row['id']}.{extension}"

    def _finish(self, row: Any, built: dict[str, Any], *, outcome: str) -> None:
        failed = "UPDATE reports SET status = 'failed', finished_at = :now WHERE id = :id"
        self._write(
            failed if outcome == "failed" else _DONE, {"id": row["id"], **built}, outcome=outcome
        )

    def _write(self, statement: str, values: dict[str, Any], *, outcome: str = "") -> None:
        """Change a report's row; its end leaves an audit record in the same transaction."""

        def change(connection: sqlite3.Connection) -> None:
            now_ms = self._shared.clock.now_ms()
            changed = connection.execute(statement, {**values, "now": now_ms}).rowcount
            if outcome and changed:
                audit.append(connection, ACT, target=values["id"], outcome=outcome, now_ms=now_ms)

        self._shared.writer.submit(change)

    def sweep(self) -> None:
        """Delete reports past their time, and files without a report."""
        connection, now_ms = self._shared.readers.get(), self._shared.clock.now_ms()
        due = connection.execute(
            "SELECT 1 FROM reports WHERE expires_at <= ? LIMIT 1", (now_ms,)
        ).fetchone()
        if due:
            self._write("DELETE FROM reports WHERE expires_at <= :now", {})
        if not self._folder.is_dir():
            return
        with alone(self._folder / "lock") as mine:
            for path in sorted(self._folder.glob("rpt_*")) if mine else ():
                report_id = path.name.partition(".")[0]
                found = connection.execute("SELECT 1 FROM reports WHERE id = ?", (report_id,))
                if found.fetchone() is None:
                    path.unlink(missing_ok=True)


def head(row: Any) -> dict[str, Any]:
    """Return the members before the rows of a JSON export."""
    return {
        "id": row["id"],
        "report": row["report"],
        "owner_id": row["owner_id"],
        "account_id": row["account_id"],
        "system_id": row["system_id"],
        "from": clock.maybe(row["start_ms"]),
        "to": clock.text(row["end_ms"]),
        "as_of_seq": row["as_of_seq"],
        "as_of_line_no": row["as_of_line"],
    }


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Try to be the only builder; the lock ends with the process that holds it."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
