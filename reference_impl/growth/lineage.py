"""GET /v1/accounts/{id}/lineage: the family of an account, by birth and by merge."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flask

from reference_impl import accounts, listing, web
from reference_impl.access import Rank

blueprint = flask.Blueprint("growth_lineage", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Where an account comes from and where it went."""

    parent_id: str | None
    merged_into_id: str | None


def effective_parent(account_id: str, edges: Callable[[str], Edges]) -> str | None:
    """Return the account that stands for the parent now (contract section 1.4).

    From the parent, merged_into leads to an account that is not merged; if that is the account
    itself, the search goes on with the grandparent. Births and merges are two forests: their union
    can have rings, so only one of them is walked at a time.
    """
    ancestor = edges(account_id).parent_id
    while ancestor is not None:
        end = survivor(ancestor, edges)
        if end != account_id:
            return end
        ancestor = edges(ancestor).parent_id
    return None


def survivor(account_id: str, edges: Callable[[str], Edges]) -> str:
    """Follow merged_into to an account that is not merged."""
    end = account_id
    while (further := edges(end).merged_into_id) is not None:
        end = further
    return end


def _edges(connection: sqlite3.Connection) -> Callable[[str], Edges]:
    found: dict[str, Edges] = {}

    def read(account_id: str) -> Edges:
        if account_id not in found:
            row = connection.execute(
                "SELECT parent_id, merged_into_id FROM accounts WHERE id = ?", (account_id,)
            ).fetchone()
            found[account_id] = Edges(
                parent_id=row["parent_id"], merged_into_id=row["merged_into_id"]
            )
        return found[account_id]

    return read


def node(
    connection: sqlite3.Connection, row: sqlite3.Row, edges: Callable[[str], Edges]
) -> dict[str, Any]:
    """Return one member of a family with the growth that it took part in."""
    events = connection.execute(
        "SELECT e.id, e.seq, e.kind, p.role FROM parties p JOIN growth_events e ON e.seq = p.seq"
        " WHERE p.account_id = ? ORDER BY p.seq",
        (row["id"],),
    )
    return {
        "account_id": row["id"],
        "type": row["type"],
        "status": row["status"],
        "parent_id": row["parent_id"],
        "root_id": row["root_id"],
        "depth": row["depth"],
        "merged_into_id": row["merged_into_id"],
        "effective_parent_id": effective_parent(row["id"], edges),
        "events": [
            {
                "event_id": event["id"],
                "seq": event["seq"],
                "kind": event["kind"],
                "role": event["role"],
            }
            for event in events
        ],
    }


@blueprint.get("/v1/accounts/<account_id>/lineage")
def get_lineage(account_id: str) -> flask.Response:
    """Return a page of the accounts with the same root, in the order of their opening."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    asked = listing.page(f"getLineage {account_id}", caller.user_id, ("seq",), {})
    with web.snapshot() as tx:
        root_id = accounts.need_row(tx, caller, account_id)["root_id"]
        after, values, order = listing.keyset(asked, ("a.seq",))
        conditions = ["a.root_id = ?", after]
        values = [root_id, *values]
        only, names = listing.confined(caller, "a.owner_id", "a.id")
        conditions += only
        values += names
        query = (
            f"SELECT a.* FROM accounts a WHERE {' AND '.join(conditions)}"  # noqa: S608 - marks only
            f" ORDER BY {order} LIMIT {asked.limit + 1}"
        )
        rows = tx.connection.execute(query, values).fetchall()
        edges = _edges(tx.connection)
        document = listing.answer(
            asked,
            rows,
            lambda row: [row["seq"]],
            lambda row: node(tx.connection, row, edges),
        )
    return web.respond_json({**document, "root_id": root_id})
