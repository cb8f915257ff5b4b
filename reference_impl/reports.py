"""Resources under /v1/reports: asking for a report, its state, and its export."""

import json
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

import flask
import msgspec
from msgspec import UNSET, UnsetType

from . import access, clock, idempotency, ids, listing, reports_builder, requests, web
from .access import Caller, Rank
from .analytics import reading, subjects, window
from .delivery import report_push
from .problems import Problem, invalid
from .requests import given

blueprint = flask.Blueprint("reports", __name__)

OPEN_MAX = 10
"""Reports of one principal that may wait or be built at a time."""
KEPT_MS = 7 * 24 * 3600 * 1000
CHUNK_BYTES = 64 * 1024
FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


class CreateReport(requests.Body):
    """POST /v1/reports."""

    report: Literal["portfolio", "entries"]
    account_id: requests.Id | UnsetType = UNSET
    system_id: requests.Id | UnsetType = UNSET
    owner_id: requests.Id | UnsetType = UNSET
    start: requests.Instant | UnsetType = msgspec.field(default=UNSET, name="from")
    end: requests.Instant | UnsetType = msgspec.field(default=UNSET, name="to")


@blueprint.post("/v1/reports")
def create_report() -> flask.Response:
    """Put a report into the queue; what it shows is fixed from here on."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(CreateReport)
    check_one_subject(body)
    asked = window.Asked(start_ms=instant(body.start, "/from"), end_ms=instant(body.end, "/to"))
    check_window(asked, web.now_ms())
    owner_id = given(body.owner_id) or caller.user_id
    if owner_id != caller.user_id or caller.service:
        access.check_rank(caller, Rank.OPERATOR)

    def change(tx: web.Tx) -> idempotency.Reply:
        check_queue(tx, caller)
        report_id = insert(tx, caller, body, (owner_id, asked))
        row = _row(tx, report_id)
        headers = {"Location": f"/v1/reports/{report_id}"}
        return web.json_reply(201, shown(row), target=report_id, headers=headers)

    response = web.write(caller, "createReport", change)
    reports_builder.wake(flask.current_app)
    return response


def check_one_subject(body: CreateReport) -> None:
    """Refuse a body that names two subjects."""
    named = [
        name for name in ("account_id", "system_id", "owner_id") if getattr(body, name) is not UNSET
    ]
    if len(named) > 1:
        raise invalid(f"/{named[1]}", "one_of", f"{named[0]} names the subject already")


def instant(value: Any, pointer: str) -> int | None:
    """Return an instant of the body as milliseconds since 1970."""
    if value is UNSET:
        return None
    try:
        return clock.milliseconds(value.astimezone(UTC))
    except OverflowError:
        raise invalid(pointer, "range", "Out of the calendar") from None


def check_window(asked: window.Asked, now_ms: int) -> None:
    """Refuse a window that cannot be used."""
    try:
        window.check(asked, now_ms)
    except window.WindowError as error:
        raise invalid(f"/{error.name}", "range", error.detail) from None


def check_queue(tx: web.Tx, caller: Caller) -> None:
    """Refuse (503 `busy`) beyond OPEN_MAX reports that are not finished."""
    row = tx.connection.execute(
        "SELECT count(*) AS open FROM reports WHERE created_by = ?"
        " AND status IN ('queued', 'running')",
        (caller.user_id,),
    ).fetchone()
    if row["open"] >= OPEN_MAX:
        raise Problem("busy", f"{OPEN_MAX} reports are being built already.")


def insert(tx: web.Tx, caller: Caller, body: CreateReport, terms: tuple[str, window.Asked]) -> str:
    """Write a queued report; `terms` are owner and window. Return its id."""
    owner_id, asked = terms
    members: list[str] | None = None
    if body.account_id is not UNSET:
        _, members = subjects.need_account(tx, caller, body.account_id)
    elif body.system_id is not UNSET:
        _, members = subjects.need_system(tx, caller, body.system_id)
    if members:
        owner_id = _owner(tx, "accounts", members[0])
    _owner(tx, "users", owner_id)
    last = tx.connection.execute("SELECT coalesce(max(seq), 0) AS seq FROM accounts").fetchone()
    report_id, place = ids.new_id("rpt", tx.now_ms), reading.end_of_book(tx.connection)
    row = {
        "id": report_id,
        "report": body.report,
        "owner_id": owner_id,
        "account_id": given(body.account_id),
        "system_id": given(body.system_id),
        "start_ms": asked.start_ms,
        "end_ms": window.end(asked, tx.now_ms),
        "as_of_seq": place.seq,
        "as_of_line": place.line,
        "accounts": None if members is None else json.dumps(members),
        "last_account": last["seq"],
        "excluded": json.dumps(sorted(access.hidden_accounts(caller))),
        "status": "queued",
        "created_at": tx.now_ms,
        "created_by": caller.user_id,
        "expires_at": tx.now_ms + KEPT_MS,
    }
    marks = ", ".join(f":{name}" for name in row)
    tx.connection.execute(
        f"INSERT INTO reports ({', '.join(row)}) VALUES ({marks})",  # noqa: S608 - own column names
        row,
    )
    return report_id


def _owner(tx: web.Tx, table: str, object_id: str) -> str:
    """Return who owns an account, or a user itself; 404 if it is not there."""
    column = "owner_id" if table == "accounts" else "id"
    row = tx.connection.execute(
        f"SELECT {column} AS owner FROM {table} WHERE id = ?",  # noqa: S608 - two constants
        (object_id,),
    ).fetchone()
    if row is None:
        raise access.not_found(f"user {object_id}")
    return str(row["owner"])


def _row(tx: web.Tx, report_id: str) -> Any:
    return tx.connection.execute("SELECT * FROM reports WHERE id = ?", (report_id,)).fetchone()


def need_row(tx: web.Tx, caller: Caller, report_id: str) -> Any:
    """Return a report that the caller may read; 404 otherwise, and after its time."""
    row = _row(tx, report_id)
    if row is None or row["expires_at"] <= tx.now_ms:
        raise access.not_found(f"report {report_id}")
    group = json.loads(row["accounts"] or "[]")
    subjects.check_group(caller, f"report {report_id}", row["owner_id"], group)
    hidden = access.hidden_accounts(caller)
    if hidden:
        chosen = reports_builder.accounts_of(row)
        touched = tx.connection.execute(
            f"SELECT 1 FROM accounts WHERE id IN ({chosen.select})"  # noqa: S608 - own text
            " AND id IN (SELECT value FROM json_each(:hidden)) LIMIT 1",
            {**chosen.values, "hidden": json.dumps(hidden)},
        ).fetchone()
        if touched:
            raise access.not_found(f"report {report_id}")
    return row


def shown(row: Any) -> dict[str, Any]:
    """Return a report's wire form."""
    done = row["status"] == "done"
    return {
        "id": row["id"],
        "report": row["report"],
        "status": row["status"],
        "owner_id": row["owner_id"],
        "account_id": row["account_id"],
        "system_id": row["system_id"],
        "from": clock.maybe(row["start_ms"]),
        "to": clock.text(row["end_ms"]),
        "as_of_seq": row["as_of_seq"],
        "as_of_line_no": row["as_of_line"],
        "created_at": clock.text(row["created_at"]),
        "created_by": row["created_by"],
        "started_at": clock.maybe(row["started_at"]),
        "finished_at": clock.maybe(row["finished_at"]),
        "expires_at": clock.text(row["expires_at"]),
        "rows": row["rows"],
        "exports": [
            {"format": name, "bytes": row[f"{name}_bytes"], "sha256": row[f"{name}_sha256"]}
            for name in (FORMATS if done else ())
        ],
    }


@blueprint.get("/v1/reports/<report_id>")
def get_report(report_id: str) -> flask.Response:
    """Return the state of a report."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    with web.snapshot() as tx:
        document = shown(need_row(tx, caller, report_id))
        pushed = report_push.shown(tx.connection, report_id)
    if pushed is not None:
        document["push"] = pushed
    return web.respond_json(document)


@blueprint.get("/v1/reports/<report_id>/export")
def export_report(report_id: str) -> flask.Response:
    """Stream a finished report from its file, in chunks."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    chosen = listing.parameters({"format": listing.one_of(*FORMATS)}).get("format", "csv")
    with web.snapshot() as tx:
        row = need_row(tx, caller, report_id)
    if row["status"] == "failed":
        raise Problem("report_failed", f"{report_id} failed; ask for another one.")
    if row["status"] != "done":
        raise Problem("report_not_ready", f"{report_id} is {row['status']}.")
    path = reports_builder.folder(web.services()) / f"{report_id}.{chosen}"
    if not path.is_file():
        raise access.not_found(f"file of report {report_id}; ask for another one")
    web.record_export(caller, "exportReport", report_id)
    headers = {
        "Content-Type": FORMATS[chosen],
        "Content-Length": str(row[f"{chosen}_bytes"]),
        "Content-Disposition": f'attachment; filename="{report_id}.{chosen}"',
    }
    return flask.Response(chunks(path), headers=headers)


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file piece by piece."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
