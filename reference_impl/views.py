"""Rows to JSON: the wire form of accounts, transactions, entries and users."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from . import access, ledger, sealed
from .clock import maybe, text
from .config import CURRENCIES

# The first parameter is the time of now. CROSS JOIN keeps the accounts first, in the order that is
# asked for: the planner would read every bucket and sort them for one page.
ACCOUNTS = """
SELECT a.*, b.id AS bucket_id, b.balance AS ledger, b.holds AS held,
       CASE b.holds WHEN 0 THEN 0 ELSE
         (SELECT coalesce(sum(amount), 0) FROM holds
          WHERE bucket_id = b.id AND closed = 0 AND expires_at <= ?1) END AS overdue,
       (SELECT sum(balance) FROM buckets WHERE account_id = a.id) AS total_value,
       (SELECT sum(version) FROM buckets WHERE account_id = a.id) AS balance_version,
       (SELECT json_group_object(kind, balance) FROM buckets WHERE account_id = a.id) AS buckets,
       (SELECT coalesce(max(seq), 0) FROM transactions) AS tip
FROM accounts a CROSS JOIN buckets b ON b.account_id = a.id AND b.kind = 'cash'
"""

TRANSACTIONS = """
SELECT t.*, o.id AS reverses_id, r.id AS reversed_by_id,
       c.outcome, c.amount AS settled_amount
FROM transactions t
LEFT JOIN transactions o ON o.seq = t.reverses_seq
LEFT JOIN transactions r ON r.reverses_seq = t.seq
LEFT JOIN closings c ON c.hold_seq = t.seq
"""

_POSTED_LINES = """
SELECT l.amount, b.account_id, b.system, b.kind FROM lines l JOIN buckets b ON b.id = l.bucket_id
WHERE l.seq = ? AND l.closing_seq IS NULL ORDER BY l.line_no"""
_LINES_FROM = """
SELECT l.seq, l.amount, b.account_id, b.system, b.kind
FROM lines l JOIN buckets b ON b.id = l.bucket_id
WHERE l.seq >= ? AND l.closing_seq IS NULL ORDER BY l.seq, l.line_no"""
_SETTLED_LINES = """
SELECT l.amount, b.account_id, b.system, b.kind FROM lines l JOIN buckets b ON b.id = l.bucket_id
WHERE l.closing_seq = ? ORDER BY l.seq, l.line_no"""


def account_row(connection: sqlite3.Connection, account_id: str, now_ms: int) -> Any:
    """Return the row behind an account's wire form, or None."""
    return connection.execute(f"{ACCOUNTS} WHERE a.id = ?", (now_ms, account_id)).fetchone()


def account(
    row: sqlite3.Row, *, reads: tuple[access.Caller, sealed.Sealer], moment: Any = None
) -> dict[str, Any]:
    """Return an account as `reads` may see it; `moment` replaces the balances of now."""
    shown = {
        "id": row["id"],
        "owner_id": row["owner_id"],
        "type": row["type"],
        "currency": row["currency"],
        "name": row["name"],
        "status": row["status"],
        "base_amount": row["base_amount"],
        "min_balance": row["min_balance"],
        "buffer_bps": row["buffer_bps"],
        "withdrawal_allowed": bool(row["withdrawal_allowed"]),
        "policy_ref": row["policy_ref"],
        "parent_id": row["parent_id"],
        "root_id": row["root_id"],
        "depth": row["depth"],
        "merged_into_id": row["merged_into_id"],
        "version": row["version"],
        "balance_version": row["balance_version"],
        "created_at": text(row["created_at"]),
        "closed_at": maybe(row["closed_at"]),
        "metadata": msgspec.Raw(row["metadata"].encode()),
        "balances": moment or balances_now(row),
    }
    caller, sealer = reads
    if access.owns(caller, row["owner_id"]) or caller.rank >= access.Rank.ADMIN:
        shown["external_account_ref"] = sealer.open(row["external_ref"])
    elif caller.rank >= access.Rank.OPERATOR:
        shown["external_account_ref"] = sealed.mask(sealer.open(row["external_ref"]))
    return shown


def balances_now(row: sqlite3.Row) -> dict[str, Any]:
    """Return the balances from the caches; holds past their time do not count any more."""
    return balances(
        row,
        ledger_sum=row["ledger"],
        holds=row["held"] - row["overdue"],
        total_value=row["total_value"],
        buckets=row["buckets"],
        as_of_seq=row["tip"],
    )


def balances(  # noqa: PLR0913 - one name for each figure that is shown
    row: sqlite3.Row,
    *,
    ledger_sum: int,
    holds: int,
    total_value: int,
    buckets: str,
    as_of_seq: int,
) -> dict[str, Any]:
    """Return the derived figures that always go together (contract section 1.1)."""
    return {
        "currency": row["currency"],
        "exponent": CURRENCIES[row["currency"]],
        "ledger": ledger_sum,
        "holds": holds,
        "buffer": ledger.buffer(row["base_amount"], row["buffer_bps"]),
        "available": ledger.available(
            ledger=ledger_sum, holds=holds, min_balance=row["min_balance"]
        ),
        "total_value": total_value,
        "as_of_seq": as_of_seq,
        "buckets": msgspec.Raw(buckets.encode()),
    }


def balances_at(
    connection: sqlite3.Connection, row: sqlite3.Row, seq: int, now_ms: int
) -> dict[str, Any]:
    """Return the balances between transaction `seq` and the next one, from lines and holds."""
    sums = {
        bucket["kind"]: bucket["balance"] or 0
        for bucket in connection.execute(
            "SELECT kind, (SELECT balance_after FROM lines WHERE bucket_id = b.id AND seq <= ?"
            " ORDER BY seq DESC, line_no DESC LIMIT 1) AS balance"
            " FROM buckets b WHERE account_id = ?",
            (seq, row["id"]),
        )
    }
    following = connection.execute(
        "SELECT recorded_at FROM transactions WHERE seq = ?", (seq + 1,)
    ).fetchone()
    moment_ms = following["recorded_at"] if following else now_ms
    held = connection.execute(
        "SELECT h.amount, h.expires_at FROM holds h LEFT JOIN closings c ON c.hold_seq = h.seq"
        " WHERE h.bucket_id = ? AND h.seq <= ?"
        " AND (c.hold_seq IS NULL OR c.outcome = 'expire' OR c.after_seq > ?)",
        (row["bucket_id"], seq, seq),
    )
    holds = sum(h["amount"] for h in held if not ledger.expired(h["expires_at"], moment_ms))
    return balances(
        row,
        ledger_sum=sums["cash"],
        holds=holds,
        total_value=sum(sums.values()),
        buckets=msgspec.json.encode(sums).decode(),
        as_of_seq=seq,
    )


def transaction_row(connection: sqlite3.Connection, transaction_id: str) -> Any:
    """Return the row behind a transaction's wire form, or None."""
    return connection.execute(f"{TRANSACTIONS} WHERE t.id = ?", (transaction_id,)).fetchone()


def transaction_status(row: sqlite3.Row, now_ms: int) -> str:
    """Return a transaction's state at this moment."""
    return ledger.status(
        phase=row["phase"],
        outcome=row["outcome"],
        reversed_by=row["reversed_by_id"],
        expires_at=row["expires_at"],
        now_ms=now_ms,
    )


def transactions_from(
    connection: sqlite3.Connection, first_seq: int, now_ms: int
) -> dict[str, dict[str, Any]]:
    """Return the transactions from `first_seq` to the end of the book by their ids, with lines."""
    posted = connection.execute(_LINES_FROM, (first_seq,)).fetchall()
    lines: dict[int, list[Any]] = {}
    for line in posted:
        lines.setdefault(line["seq"], []).append(line)
    rows = connection.execute(f"{TRANSACTIONS} WHERE t.seq >= ? ORDER BY t.seq", (first_seq,))
    return {
        row["id"]: transaction(connection, row, now_ms, lines.get(row["seq"], ())) for row in rows
    }


def transaction(
    connection: sqlite3.Connection,
    row: sqlite3.Row,
    now_ms: int,
    lines: Iterable[Any] | None = None,
) -> dict[str, Any]:
    """Return a transaction with its lines, which are read if they are not given."""
    settled = row["settled_amount"] if row["outcome"] == "settle" else None
    if lines is None:
        query = _POSTED_LINES if row["phase"] == "post" else _SETTLED_LINES
        lines = connection.execute(query, (row["seq"],))
    currency = row["currency"]
    return {
        "id": row["id"],
        "seq": row["seq"],
        "kind": row["kind"],
        "status": transaction_status(row, now_ms),
        "amount": {"amount": row["amount"], "currency": currency},
        "from_account_id": row["from_account_id"],
        "to_account_id": row["to_account_id"],
        "hold": row["phase"] == "hold",
        "expires_at": maybe(row["expires_at"]),
        "reverses_id": row["reverses_id"],
        "reversed_by_id": row["reversed_by_id"],
        "settled_amount": None if settled is None else {"amount": settled, "currency": currency},
        "memo": row["memo"],
        "reason": row["reason"],
        "effective_at": text(row["effective_at"]),
        "recorded_at": text(row["recorded_at"]),
        "created_by": row["actor"],
        "lines": [
            {
                "account_id": line["account_id"],
                "system": line["system"],
                "bucket": line["kind"],
                "amount": line["amount"],
            }
            for line in lines
        ],
        "metadata": msgspec.Raw(row["metadata"].encode()),
    }


def entry(row: sqlite3.Row) -> dict[str, Any]:
    """Return one journal line of an account."""
    return {
        "seq": row["seq"],
        "transaction_id": row["transaction_id"],
        "line_no": row["line_no"],
        "kind": row["kind"],
        "bucket": row["bucket"],
        "amount": row["amount"],
        "currency": row["currency"],
        "running_balance": row["balance_after"],
        "effective_at": text(row["effective_at"]),
        "recorded_at": text(row["recorded_at"]),
        "reverses_id": row["reverses_id"],
    }


def user(row: sqlite3.Row, *, reads: tuple[access.Caller, sealed.Sealer]) -> dict[str, Any]:
    """Return a user as `reads` may see it."""
    caller, sealer = reads
    roles: Sequence[str] = row["roles"].split()
    shown = {
        "id": row["id"],
        "username": row["username"],
        "roles": roles,
        "status": row["status"],
        "version": row["version"],
        "created_at": text(row["created_at"]),
    }
    if access.owns(caller, row["id"]) or caller.rank >= access.Rank.ADMIN:
        shown["email"] = sealer.open(row["email"])
        shown["legal_name"] = sealer.open(row["legal_name"])
    elif caller.rank >= access.Rank.OPERATOR:
        shown["email"] = sealed.mask(sealer.open(row["email"]))
        shown["legal_name"] = sealed.mask(sealer.open(row["legal_name"]))
    return shown
