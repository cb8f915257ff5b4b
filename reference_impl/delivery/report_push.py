"""Pushing finished reports to the reporting system: once each, with what became of it.

The push has one key and one payload for ever, so however often it is tried the report is there
once. One that the receiver already has under another key counts as pushed.
"""

from pathlib import Path
from typing import Any

import msgspec

from reference_impl import clock, metrics, reports_builder
from reference_impl.integration import registry
from reference_impl.integration.outbound import Answer, Call, CallFailedError, query
from reference_impl.problems import Problem

from .pump import IDLE_S, Terms
from .rules import Limits, Outcome, pause_s

PAUSES = Limits(first_s=0.5, most_s=30.0)
CONTENT_BYTES_MAX = 8_388_608
_NEXT = """
SELECT r.*, coalesce(p.attempts, 0) AS push_attempts FROM reports r
LEFT JOIN report_pushes p ON p.report_id = r.id
WHERE r.status = 'done' AND r.expires_at > :now
  AND (p.status IS NULL OR (p.status = 'pending' AND p.next_at <= :now))
ORDER BY p.next_at, r.seq LIMIT 1"""


class Pushed(msgspec.Struct):
    """What the receiver says of a report."""

    report_id: str
    report_ref: str
    status: str


class Found(msgspec.Struct):
    """Reports of one reference."""

    data: list[Pushed]


class ReportPush:
    """Pushes reports; used by one thread."""

    consumer = "reporting"

    def __init__(self, terms: Terms) -> None:
        """Push what is not pushed yet."""
        self._terms = terms

    def close(self) -> None:
        """Nothing is held open here."""

    def turn(self) -> float:
        """Push the next report; return how many seconds the one after it can wait."""
        shared = self._terms.shared
        now_ms = shared.clock.now_ms()
        row = shared.readers.get().execute(_NEXT, {"now": now_ms}).fetchone()
        if row is None:
            return IDLE_S
        attempts = row["push_attempts"] + 1
        try:
            outcome = self._push(row)
        except CallFailedError as failed:
            asked = Outcome(status=None, retry_after_s=float(failed.retry_after_s))
            wait_s = pause_s(PAUSES, attempts, asked, self._terms.chance())
            outcome = ("pending", None, failed.reason.value)
            self._note(row, attempts, outcome, wait_ms=int(wait_s * 1000))
            return 0.0
        self._note(row, attempts, outcome, wait_ms=0)
        return 0.0

    def _push(self, row: Any) -> tuple[str, str | None, str | None]:
        """Return status, the receiver's id, and what went wrong. Raises CallFailedError."""
        path = reports_builder.folder(self._terms.shared) / f"{row['id']}.json"
        if row["json_bytes"] > CONTENT_BYTES_MAX:
            return ("failed", None, "too_large")
        try:
            content = Path(path).read_text("utf-8")
        except OSError:
            return ("failed", None, "file_missing")
        answer = self._terms.shared.outbound.call(
            registry.REPORTING, call(row, content), patient=True
        )
        if answer.status < 300:
            return ("pushed", answer.document.report_id, None)
        if answer.status == 409:
            return self._find(row)
        return ("failed", None, answer.code or str(answer.status))

    def _find(self, row: Any) -> tuple[str, str | None, str | None]:
        target = f"/v1/reports{query(report_ref=row['id'])}"
        look = Call(operation="findReports", method="GET", target=target, needs=Found)
        answer: Answer = self._terms.shared.outbound.call(registry.REPORTING, look, patient=True)
        known = [] if answer.document is None else answer.document.data
        if not known:
            return ("failed", None, "duplicate_report")
        return ("pushed", known[0].report_id, None)

    def _note(
        self, row: Any, attempts: int, outcome: tuple[str, str | None, str | None], *, wait_ms: int
    ) -> None:
        status, remote_id, error = outcome
        shared = self._terms.shared
        now_ms = shared.clock.now_ms()
        values = {
            "id": row["id"],
            "status": status,
            "attempts": attempts,
            "next_at": now_ms + wait_ms,
            "remote_id": remote_id,
            "error": error,
            "pushed_at": now_ms if status == "pushed" else None,
        }
        try:
            shared.writer.submit(lambda connection: connection.execute(_NOTE, values))
        except Problem:  # busy: it is pushed again, with the same key
            return
        counted = {"pushed": "taken", "failed": "set_aside", "pending": "failed"}[status]
        shared.metrics.count(metrics.DELIVERIES, ("reporting", counted))


_NOTE = """
INSERT INTO report_pushes SELECT :id, :status, :attempts, :next_at, :remote_id, :error, :pushed_at
WHERE EXISTS (SELECT 1 FROM reports WHERE id = :id)
ON CONFLICT (report_id) DO UPDATE SET status = excluded.status, attempts = excluded.attempts,
  next_at = excluded.next_at, remote_id = excluded.remote_id, error = excluded.error,
  pushed_at = excluded.pushed_at"""


def call(row: Any, content: str) -> Call:
    """Return the call that pushes a report: the same one whenever it is made."""
    return Call(
        operation="pushReport",
        method="POST",
        target="/v1/reports",
        needs=Pushed,
        body={
            "report_ref": row["id"],
            "report": row["report"],
            "format": "json",
            "generated_at": clock.text(row["finished_at"]),
            "sha256": row["json_sha256"],
            "bytes": row["json_bytes"],
            "content": content,
        },
        key=f"push-{row['id']}",
    )


def shown(connection: Any, report_id: str) -> dict[str, Any] | None:
    """Return what became of the push of a report; None where there was no attempt yet."""
    row = connection.execute(
        "SELECT * FROM report_pushes WHERE report_id = ?", (report_id,)
    ).fetchone()
    if row is None:
        return None
    return {
        "status": row["status"],
        "attempts": row["attempts"],
        "pushed_at": clock.maybe(row["pushed_at"]),
        "remote_id": row["remote_id"],
        "error": row["error"],
    }
