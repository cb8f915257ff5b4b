"""PUT /v1/maintenance: read-only on and off, for every worker at once."""

import flask
import msgspec

from reference_impl import clock, idempotency, requests, web
from reference_impl.access import Rank
from reference_impl.problems import Problem

blueprint = flask.Blueprint("maintenance", __name__)


class PutMaintenance(requests.Body):
    """PUT /v1/maintenance."""

    read_only: bool
    reason: requests.Text | msgspec.UnsetType = msgspec.UNSET


@blueprint.put("/v1/maintenance")
def put_maintenance() -> flask.Response:
    """Switch it; the answer comes when no write can slip through any more."""
    caller = web.caller(Rank.ADMIN)
    body = web.body(PutMaintenance)
    gate = web.services().gate

    def change(tx: web.Tx) -> idempotency.Reply:
        before = tx.connection.execute("SELECT * FROM maintenance").fetchone()
        since = None
        if body.read_only:
            since = before["since"] if before["read_only"] else tx.now_ms
        reason = requests.given(body.reason) if body.read_only else None
        tx.connection.execute(
            "UPDATE maintenance SET read_only = ?, since = ?, reason = ?",
            (int(body.read_only), since, reason),
        )
        gate.set(closed=body.read_only)
        shown = {"read_only": body.read_only, "since": clock.maybe(since), "reason": reason}
        return web.json_reply(200, shown, target="on" if body.read_only else "off")

    try:
        return web.write(caller, "putMaintenance", change, once=False)
    except Problem:  # the row is as it was, and the byte may not be
        gate.follow(web.reader())
        raise
