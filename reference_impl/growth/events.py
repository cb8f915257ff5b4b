"""Growth events: appending them, their wire form, their lists, and sums over time."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import flask
import msgspec

from reference_impl import access, ids, journal, listing, requests, web
from reference_impl.access import Caller, Rank
from reference_impl.clock import EPOCH, text

from . import bodies
from .fork_rules import Forked, Past

blueprint = flask.Blueprint("growth_events", __name__)

KINDS = ("fork", "merge", "reinvest")
Facts = Mapping[str, int]
Leg = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A growth event that is about to be appended, in the transaction that it describes."""

    kind: str
    account_id: str
    owner_id: str
    currency: str
    amount: int
    policy_ref: str
    facts: Facts
    legs: Sequence[Leg]
    parties: Sequence[tuple[str, str]]
    """(account, role) of everyone whom it touches."""
    mode: str = "policy"
    override: bool = False
    period: str | None = None
    reason: str | None = None
    detail: str = "{}"


def quarter_of(instant_ms: int) -> str:
    """Return the calendar quarter of an instant in UTC, as 2026-Q4."""
    moment = moment_of(instant_ms)
    return f"{moment.year:04d}-Q{(moment.month + 2) // 3}"


def moment_of(instant_ms: int) -> datetime:
    """Return an instant as a date and time in UTC, whole seconds."""
    return datetime.fromtimestamp(instant_ms // 1000, EPOCH.tzinfo)


def append(tx: web.Tx, caller: Caller, event: Event) -> str:
    """Write the event of the transaction that was just posted; return its id."""
    seq = journal.tip(tx.connection)
    event_id = ids.new_id("gev", tx.now_ms)
    row = {
        "seq": seq,
        "id": event_id,
        "kind": event.kind,
        "account_id": event.account_id,
        "owner_id": event.owner_id,
        "currency": event.currency,
        "amount": event.amount,
        "mode": event.mode,
        "override": event.override,
        "policy_ref": event.policy_ref,
        "period": event.period,
        "quarter": quarter_of(tx.now_ms),
        "facts": requests.compact(event.facts),
        "legs": requests.compact(event.legs),
        "detail": event.detail,
        "reason": event.reason,
        "created_at": tx.now_ms,
        "actor": caller.user_id,
    }
    marks = ", ".join(f":{name}" for name in row)
    tx.connection.execute(
        f"INSERT INTO growth_events ({', '.join(row)}) VALUES ({marks})",  # noqa: S608 - names from above
        row,
    )
    write_parties(tx.connection, seq, event.parties)
    return event_id


def write_parties(
    connection: sqlite3.Connection, seq: int, parties: Sequence[tuple[str, str]]
) -> None:
    """Write who a transaction touches, and as what."""
    connection.executemany(
        "INSERT INTO parties (account_id, seq, role) VALUES (?, ?, ?)",
        [(account_id, seq, role) for account_id, role in parties],
    )


_EVENTS = """
SELECT e.*, t.id AS transaction_id FROM growth_events e JOIN transactions t ON t.seq = e.seq
"""


def shown(row: sqlite3.Row) -> dict[str, Any]:
    """Return an event as it goes over the wire."""
    return {
        "id": row["id"],
        "seq": row["seq"],
        "kind": row["kind"],
        "account_id": row["account_id"],
        "currency": row["currency"],
        "amount": row["amount"],
        "mode": row["mode"],
        "override": bool(row["override"]),
        "policy_ref": row["policy_ref"],
        "period": row["period"],
        "transaction_id": row["transaction_id"],
        "facts": msgspec.Raw(row["facts"].encode()),
        "legs": msgspec.Raw(row["legs"].encode()),
        "reason": row["reason"],
        "created_at": text(row["created_at"]),
        "created_by": row["actor"],
    }


def row_of(connection: sqlite3.Connection, event_id: str) -> Any:
    """Return the row behind an event's wire form, or None."""
    return connection.execute(f"{_EVENTS} WHERE e.id = ?", (event_id,)).fetchone()


def need_row(tx: web.Tx, caller: Caller, event_id: str, kinds: Sequence[str] = KINDS) -> Any:
    """Return the row of an event that the caller sees; 404 otherwise."""
    row = row_of(tx.connection, event_id)
    if row is None or row["kind"] not in kinds:
        raise access.not_found(f"growth event {event_id}")
    touched = [row["account_id"]]
    access.check_visible(caller, f"growth event {event_id}", row["owner_id"], objects=touched)
    return row


def past_forks(connection: sqlite3.Connection, account_id: str, most: int | None) -> Past:
    """Return the newest forks of an account, at most as many as its daily limit looks at."""
    rows = connection.execute(
        "SELECT created_at, json_extract(facts, '$.ledger') - amount AS ledger_after"
        " FROM growth_events WHERE account_id = ? AND kind = 'fork' ORDER BY seq DESC LIMIT ?",
        (account_id, most or 1),
    ).fetchall()
    return Past(
        instants=tuple(row["created_at"] for row in rows),
        ledger_after=rows[0]["ledger_after"] if rows else None,
    )


def forks_of(connection: sqlite3.Connection, account_id: str, from_seq: int) -> Iterator[Forked]:
    """Yield the forks of an account from a seq on, oldest first, each as it stands now."""
    rows = connection.execute(
        "SELECT * FROM growth_events WHERE account_id = ? AND kind = 'fork' AND seq >= ?"
        " ORDER BY seq",
        (account_id, from_seq),
    )
    for row in rows:
        yield _forked(connection, row)


def birth_of(connection: sqlite3.Connection, account_id: str) -> Forked | None:
    """Return the fork that an account is a child of, if it is one: the first that touched it."""
    row = connection.execute(
        "SELECT e.*, p.role FROM parties p JOIN growth_events e ON e.seq = p.seq"
        " WHERE p.account_id = ? ORDER BY p.seq LIMIT 1",
        (account_id,),
    ).fetchone()
    return _forked(connection, row) if row is not None and row["role"] == "child" else None


def _forked(connection: sqlite3.Connection, row: sqlite3.Row) -> Forked:
    children = connection.execute(
        "SELECT p.account_id, (SELECT sum(balance) FROM buckets b WHERE b.account_id ="
        " p.account_id) AS value FROM parties p WHERE p.seq = ? AND p.role = 'child'",
        (row["seq"],),
    ).fetchall()
    return Forked(
        seq=row["seq"],
        policy_ref=row["policy_ref"],
        created_at=row["created_at"],
        amount=row["amount"],
        children=frozenset(child["account_id"] for child in children),
        value=sum(child["value"] for child in children),
    )


@blueprint.get("/v1/growth/events/<event_id>")
def get_growth_event(event_id: str) -> flask.Response:
    """Return one event."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    return web.respond_json(shown(need_row(web.reading(), caller, event_id)))


@blueprint.get("/v1/growth/events")
def list_growth_events() -> flask.Response:
    """Return a page of events; a customer's are those of own accounts."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    filters = {
        "kind": listing.one_of(*KINDS),
        "account_id": listing.identifier,
        "from_seq": listing.sequence_number,
    }
    asked = listing.page("listGrowthEvents", caller.user_id, ("seq",), filters)
    after, values, order = listing.keyset(asked, ("e.seq",))
    conditions = [after, "e.seq >= ?"]
    values.append(asked.filter("from_seq") or 0)
    if asked.filter("kind") is not None:
        # The sign keeps the planner on the index of the owner where a list is confined to one.
        conditions.append("e.kind = ?" if access.sees_all(caller) else "+e.kind = ?")
        values.append(asked.filter("kind"))
    only, names = listing.confined(caller, "e.owner_id", "e.account_id")
    conditions += only
    values += names
    source = _EVENTS
    if asked.filter("account_id") is not None:
        source += " JOIN parties p ON p.seq = e.seq"
        conditions.append("p.account_id = ?")
        values.append(asked.filter("account_id"))
        order = order.replace("e.seq", "p.seq")
    query = f"{source} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {asked.limit + 1}"
    rows = web.reader().execute(query, values).fetchall()
    return web.respond_json(listing.answer(asked, rows, lambda row: [row["seq"]], shown))


_TALLY = {
    "fork": ("forks", "forked"),
    "merge": ("merges", "merged"),
    "reinvest": ("reinvestments", "reinvested"),
}


@blueprint.get("/v1/growth/summary")
def get_growth_summary() -> flask.Response:
    """Return how often and how much, by the quarter in which it happened and by currency."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    asked = listing.parameters(
        {
            "owner_id": listing.identifier,
            "from_period": bodies.period,
            "to_period": bodies.period,
        }
    )
    conditions = ["quarter BETWEEN ? AND ?"]
    values = [asked.get("from_period", "0000-Q1"), asked.get("to_period", "9999-Q4")]
    if "owner_id" in asked:
        conditions.append("owner_id = ?")
        values.append(asked["owner_id"])
    only, names = listing.confined(caller, "owner_id", "account_id")
    conditions += only
    values += names
    query = (
        "SELECT quarter, currency, kind, count(*) AS times, sum(amount) AS total"  # noqa: S608 - marks only
        f" FROM growth_events WHERE {' AND '.join(conditions)}"
        " GROUP BY quarter, currency, kind ORDER BY quarter, currency, kind"
    )
    return web.respond_json({"periods": tallied(web.reader().execute(query, values).fetchall())})


def tallied(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return one figure document for each quarter and currency."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["quarter"], row["currency"])
        if key not in found:
            zeros = {name: 0 for names in _TALLY.values() for name in names}
            found[key] = {"period": key[0], "currency": key[1], **zeros}
        times, total = _TALLY[row["kind"]]
        found[key][times], found[key][total] = row["times"], row["total"]
    return list(found.values())
