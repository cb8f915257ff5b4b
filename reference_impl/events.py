"""GET /v1/events: the feed of what has happened, as CloudEvents."""

import flask

from . import access, audit_api, config, listing, outbox, web
from .access import Rank

blueprint = flask.Blueprint("events", __name__)

SCAN_ROWS_MAX = 5000
"""Events that one page looks at; a rare filter then yields a short page and a cursor."""
_ABOUT = """instr(data, 'account_id":"' || ? || '"')"""
"""Of account_id, from_account_id and to_account_id, also inside legs."""
TYPES = (
    "alluse.account.closed",
    "alluse.account.merged",
    "alluse.account.opened",
    "alluse.account.reactivated",
    "alluse.account.suspended",
    "alluse.account.updated",
    "alluse.alert.acknowledged",
    "alluse.alert.escalated",
    "alluse.alert.firing",
    "alluse.alert.resolved",
    "alluse.grant.ended",
    "alluse.grant.given",
    "alluse.growth.forked",
    "alluse.growth.merged",
    "alluse.growth.policy_changed",
    "alluse.growth.reinvested",
    "alluse.growth.system_opened",
    "alluse.login.locked",
    "alluse.mfa.disabled",
    "alluse.mfa.enabled",
    "alluse.order.cancelled",
    "alluse.order.filled",
    "alluse.order.open",
    "alluse.order.partially_filled",
    "alluse.order.placed",
    "alluse.order.rejected",
    "alluse.positions.reconciled",
    "alluse.session.ended",
    "alluse.session.started",
    "alluse.transaction.expired",
    "alluse.transaction.held",
    "alluse.transaction.posted",
    "alluse.transaction.settled",
    "alluse.transaction.voided",
    "alluse.user.created",
    "alluse.user.erased",
    "alluse.user.password_changed",
    "alluse.user.updated",
)


def declared() -> dict[str, object]:
    """Return what the capability document says of events."""
    return {
        "types": list(TYPES),
        "delivery": "at_least_once",
        "ordering": "per_account",
        "retention_s": config.EVENTS_RETENTION_S,
        "kept_max": config.EVENTS_KEPT_MAX,
    }


@blueprint.get("/v1/events")
def list_events() -> flask.Response:
    """Return a page of events."""
    caller = web.caller(Rank.OPERATOR, auditor=True)
    filters: dict[str, listing.Parse] = {
        "type": listing.one_of(*TYPES),
        "subject": audit_api.words,
        "account_id": listing.identifier,
        "from_seq": listing.sequence_number,
    }
    asked = listing.page("listEvents", caller.user_id, ("seq",), filters)
    after, values, order = listing.keyset(asked, ("seq",))
    scan = (
        f"SELECT {outbox.COLUMNS} FROM outbox WHERE {after} AND seq >= ?"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {SCAN_ROWS_MAX}"
    )
    values.append(asked.filter("from_seq") or 0)
    conditions = ["TRUE"]
    for name in ("type", "subject"):
        if asked.filter(name) is not None:
            conditions.append(f"{name} = ?")
            values.append(asked.filter(name))
    if asked.filter("account_id") is not None:
        conditions.append(_ABOUT)
        values.append(asked.filter("account_id"))
    for account_id in access.hidden_accounts(caller):
        conditions.append(f"NOT {_ABOUT}")
        values.append(account_id)
    query = (
        f"SELECT * FROM ({scan}) WHERE {' AND '.join(conditions)}"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {asked.limit + 1}"
    )
    with web.snapshot() as tx:
        rows = tx.connection.execute(query, values).fetchall()
        last_seen = None
        if len(rows) <= asked.limit and len(conditions) > 1:
            last_seen = _scanned_to(tx, scan, values[: scan.count("?")])
    origin = outbox.source(web.services().signer.public_key)
    document = listing.answer(
        asked, rows, lambda row: [row["seq"]], lambda row: outbox.document(row, origin)
    )
    if last_seen is not None:
        document["next_cursor"] = listing.continue_after(asked, [last_seen])
    return web.respond_json(document)


def _scanned_to(tx: web.Tx, scan: str, values: list[object]) -> int | None:
    """Return where a scan stopped, None if it came to the end of the feed."""
    query = f"SELECT seq FROM ({scan}) LIMIT 1 OFFSET {SCAN_ROWS_MAX - 1}"  # noqa: S608 - own names and marks
    row = tx.connection.execute(query, values).fetchone()
    return None if row is None else int(row["seq"])
