"""Resources under /v1/audit: the records, and the signed checkpoint with its proofs."""

from typing import Any

import flask
import msgspec

from . import access, audit, clock, database, listing, merkle, requests, web
from .access import Rank
from .problems import bad_parameter

blueprint = flask.Blueprint("audit", __name__)

SCAN_ROWS_MAX = 5000
"""Records that one page looks at; a rare filter then yields a short page and a cursor."""
FILTERED = ("actor", "action", "object", "outcome")


def words(name: str, value: str) -> str:
    """Read the text of a filter."""
    if not 1 <= len(value) <= 500:
        raise bad_parameter(name, "1 to 500 characters")
    return value


def instant(name: str, value: str) -> int:
    """Read an RFC 3339 timestamp as milliseconds."""
    try:
        # An unescaped + of an offset arrives as a blank.
        return clock.milliseconds(msgspec.convert(value.replace(" ", "+"), requests.Instant))
    except (msgspec.ValidationError, OverflowError):
        raise bad_parameter(name, "a timestamp such as 2026-11-20T09:30:00Z") from None


@blueprint.get("/v1/audit")
def list_audit() -> flask.Response:
    """Return a page of records."""
    caller = web.caller(Rank.ADMIN, auditor=True)
    filters: dict[str, listing.Parse] = dict.fromkeys(FILTERED, words)
    filters |= {"from_seq": listing.sequence_number, "from": instant, "to": instant}
    asked = listing.page("listAudit", caller.user_id, ("seq",), filters)
    after, values, order = listing.keyset(asked, ("seq",))
    scan = (
        f"SELECT * FROM audit WHERE {after} AND seq >= ?"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {SCAN_ROWS_MAX}"
    )
    values.append(asked.filter("from_seq") or 0)
    conditions = ["TRUE"]
    for name, test in (
        *((name, f"{name} = ?") for name in FILTERED),
        ("from", "ts >= ?"),
        ("to", "ts < ?"),
    ):
        if asked.filter(name) is not None:
            conditions.append(test)
            values.append(asked.filter(name))
    query = (
        f"SELECT * FROM ({scan}) WHERE {' AND '.join(conditions)}"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {asked.limit + 1}"
    )
    with web.snapshot() as tx:
        rows = tx.connection.execute(query, values).fetchall()
        page = listing.answer(asked, rows, lambda row: [row["seq"]], audit.document)
        if page["next_cursor"] is None:
            seen = tx.connection.execute(
                f"SELECT seq FROM ({scan}) LIMIT 1 OFFSET {SCAN_ROWS_MAX - 1}",  # noqa: S608 - as above
                values[: len(values) - len(conditions) + 1],
            ).fetchone()
            if seen is not None:
                page["next_cursor"] = listing.continue_after(asked, [seen["seq"]])
    return web.respond_json(page)


@blueprint.get("/v1/audit/checkpoint")
def get_audit_checkpoint() -> flask.Response:
    """Return the signed size and root of now; `prove` and `since` add the proofs asked for."""
    web.caller(Rank.ADMIN, auditor=True)
    number = listing.sequence_number
    asked = listing.parameters({"prove": number, "since": number})
    with web.snapshot() as tx:
        size, subtrees = audit.size(tx.connection), audit.subtrees(tx.connection)
        seq, old = asked.get("prove"), asked.get("since")
        if seq is not None and not 1 <= seq <= size:
            raise access.not_found(f"record {seq}")
        if old is not None and old > size:
            raise access.not_found(f"checkpoint of {old} records")
        shown: dict[str, Any] = (
            web.services()
            .signer.sign(
                size=size,
                root=merkle.root(subtrees, size),
                ts=clock.text(tx.now_ms),
                epoch=int(database.meta(tx.connection, "epoch")),
            )
            .document()
        )
        if seq is not None:
            shown["inclusion"] = _hex(merkle.inclusion(subtrees, seq - 1, size))
        if old is not None:
            shown["consistency"] = _hex(merkle.consistency(subtrees, old, size))
    return web.respond_json(shown)


def _hex(path: list[bytes]) -> list[str]:
    return [step.hex() for step in path]
