"""GET /v1/accounts/{id}/positions: what an account holds, by instrument, and at what cost."""

import sqlite3
from typing import Any

import flask

from reference_impl import accounts, listing, web
from reference_impl.access import Rank

blueprint = flask.Blueprint("positions", __name__)

# What a bucket holds by other ways comes first, under a number below that of every position.
_ROWS = """
SELECT * FROM (
  SELECT p.seq, p.bucket, p.instrument, p.quantity, p.cost, a.currency
  FROM positions p JOIN accounts a ON a.id = p.account_id
  WHERE p.account_id = ? AND p.quantity > 0
  UNION ALL
  SELECT -b.id, b.kind, NULL, 0, b.balance - coalesce((
    SELECT sum(cost) FROM positions WHERE account_id = b.account_id AND bucket = b.kind), 0),
    b.currency
  FROM buckets b WHERE b.account_id = ? AND b.kind LIKE 'position:%'
) WHERE cost > 0"""


@blueprint.get("/v1/accounts/<account_id>/positions")
def list_positions(account_id: str) -> flask.Response:
    """Return a page of positions."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    asked = listing.page(f"listPositions {account_id}", caller.user_id, ("seq",), {})
    after, values, order = listing.keyset(asked, ("seq",))
    with web.snapshot() as tx:
        accounts.need_row(tx, caller, account_id)
        rows = tx.connection.execute(
            f"{_ROWS} AND {after} ORDER BY {order} LIMIT {asked.limit + 1}",
            [account_id, account_id, *values],
        ).fetchall()
    return web.respond_json(listing.answer(asked, rows, lambda row: [row["seq"]], shown))


def shown(row: Any) -> dict[str, Any]:
    """Return a position's wire form."""
    return {
        "bucket": row["bucket"],
        "instrument": row["instrument"],
        "quantity": row["quantity"],
        "cost": {"amount": row["cost"], "currency": row["currency"]},
    }


def quantities(connection: sqlite3.Connection, account_id: str) -> dict[str, int]:
    """Return the units of each instrument, all buckets together."""
    rows = connection.execute(
        "SELECT instrument, sum(quantity) AS quantity FROM positions"
        " WHERE account_id = ? AND quantity > 0 GROUP BY instrument",
        (account_id,),
    )
    return {row["instrument"]: row["quantity"] for row in rows}


def names_at_market(connection: sqlite3.Connection, account_id: str) -> list[str]:
    """Return the accounts under which the market keeps what this one holds."""
    rows = connection.execute(
        "SELECT origin FROM position_origins WHERE account_id = ? ORDER BY origin", (account_id,)
    )
    return [account_id, *(row["origin"] for row in rows)]
