"""The journal's rows: reading accounts for a change, and appending transactions and closings."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from . import ids, ledger

_ACCOUNT = """
SELECT a.id, a.owner_id, a.status, a.min_balance, a.withdrawal_allowed, a.merged_into_id, a.version,
       b.id AS bucket_id, b.currency, b.balance, b.holds
FROM accounts a JOIN buckets b ON b.account_id = a.id AND b.kind = 'cash' WHERE a.id = ?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A transaction that is about to be appended."""

    kind: str
    amount: int
    currency: str
    from_account_id: str | None
    to_account_id: str | None
    actor: str
    now_ms: int
    effective_at: int | None = None
    expires_at: int | None = None
    reverses_seq: int | None = None
    memo: str | None = None
    reason: str | None = None
    metadata: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A hold as it stands in the book."""

    seq: int
    bucket_id: int
    to_bucket_id: int
    amount: int
    expires_at: int | None
    closed: bool


def account(connection: sqlite3.Connection, account_id: str, now_ms: int) -> ledger.Account | None:
    """Return an account with its cash as of now; holds past their time are closed first."""
    row = connection.execute(_ACCOUNT, (account_id,)).fetchone()
    if row is not None and row["holds"] and expire_due(connection, row["bucket_id"], now_ms):
        row = connection.execute(_ACCOUNT, (account_id,)).fetchone()
    if row is None:
        return None
    name, owner, status, floor, withdrawal, merged_into, version, number, *cash = row
    return ledger.Account(
        id=name,
        owner_id=owner,
        status=status,
        min_balance=floor,
        withdrawal_allowed=bool(withdrawal),
        merged_into_id=merged_into,
        version=version,
        cash=ledger.Bucket(
            id=number, currency=cash[0], balance=cash[1], holds=cash[2], account_id=name
        ),
    )


def _bucket(row: sqlite3.Row) -> ledger.Bucket:
    return ledger.Bucket(
        id=row["id"],
        currency=row["currency"],
        balance=row["balance"],
        holds=row["holds"],
        account_id=row["account_id"],
        system=row["system"],
        kind=row["kind"],
    )


def bucket(connection: sqlite3.Connection, bucket_id: int) -> ledger.Bucket:
    """Return one bucket by its number."""
    return _bucket(
        connection.execute("SELECT * FROM buckets WHERE id = ?", (bucket_id,)).fetchone()
    )


def system_bucket(connection: sqlite3.Connection, system: str, currency: str) -> ledger.Bucket:
    """Return the bucket of a system account."""
    row = connection.execute(
        "SELECT * FROM buckets WHERE system = ? AND kind = 'cash' AND currency = ?",
        (system, currency),
    ).fetchone()
    return _bucket(row)


def account_buckets(connection: sqlite3.Connection, account_id: str) -> list[ledger.Bucket]:
    """Return every bucket of an account that exists."""
    rows = connection.execute("SELECT * FROM buckets WHERE account_id = ?", (account_id,))
    return [_bucket(row) for row in rows]


def own_bucket(
    connection: sqlite3.Connection, account_id: str, kind: str, currency: str
) -> ledger.Bucket:
    """Return one bucket of an account, made empty on its first use."""
    connection.execute(
        "INSERT INTO buckets (account_id, kind, currency) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (account_id, kind, currency),
    )
    row = connection.execute(
        "SELECT * FROM buckets WHERE account_id = ? AND kind = ?", (account_id, kind)
    ).fetchone()
    return _bucket(row)


def parties(connection: sqlite3.Connection, seq: int) -> list[tuple[str, str]]:
    """Return (account, owner) of everyone whom growth touched in a transaction."""
    rows = connection.execute(
        "SELECT a.id, a.owner_id FROM parties p JOIN accounts a ON a.id = p.account_id"
        " WHERE p.seq = ?",
        (seq,),
    )
    return [(row["id"], row["owner_id"]) for row in rows]


def tip(connection: sqlite3.Connection) -> int:
    """Return the seq of the newest transaction, 0 for an empty book."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM transactions").fetchone()[0])


def post(connection: sqlite3.Connection, draft: Draft, lines: Sequence[ledger.Line]) -> str:
    """Append a transaction with its lines; return its id."""
    seq = tip(connection) + 1
    _insert_lines(connection, lines, position=(seq, 0), owner=(seq, None))
    return _insert(connection, draft, seq, "post")


def hold(
    connection: sqlite3.Connection, draft: Draft, source: ledger.Bucket, target: ledger.Bucket
) -> str:
    """Append a transaction that keeps money back until it is closed; return its id."""
    seq = tip(connection) + 1
    transaction_id = _insert(connection, draft, seq, "hold")
    connection.execute(
        "INSERT INTO holds (seq, bucket_id, to_bucket_id, amount, expires_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (seq, source.id, target.id, draft.amount, draft.expires_at),
    )
    return transaction_id


def _insert(connection: sqlite3.Connection, draft: Draft, seq: int, phase: str) -> str:
    transaction_id = ids.new_id("txn", draft.now_ms)
    connection.execute(
        "INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            seq,
            transaction_id,
            phase,
            draft.kind,
            draft.amount,
            draft.currency,
            draft.from_account_id,
            draft.to_account_id,
            draft.expires_at,
            draft.reverses_seq,
            draft.memo,
            draft.reason,
            draft.now_ms if draft.effective_at is None else draft.effective_at,
            draft.now_ms,
            draft.actor,
            draft.metadata,
        ),
    )
    return transaction_id


def _insert_lines(
    connection: sqlite3.Connection,
    lines: Sequence[ledger.Line],
    *,
    position: tuple[int, int],
    owner: tuple[int, int | None],
) -> None:
    """Insert lines after `position` (seq, line_no) for `owner` (transaction, closing)."""
    seq, last = position
    connection.executemany(
        "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (seq, last + number, *owner, line.bucket.id, line.amount, line.balance_after)
            for number, line in enumerate(lines, 1)
        ],
    )


def find_hold(connection: sqlite3.Connection, seq: int) -> Hold | None:
    """Return the hold of a transaction, if it has one."""
    row = connection.execute("SELECT * FROM holds WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        return None
    return Hold(
        seq=row["seq"],
        bucket_id=row["bucket_id"],
        to_bucket_id=row["to_bucket_id"],
        amount=row["amount"],
        expires_at=row["expires_at"],
        closed=bool(row["closed"]),
    )


def settle(
    connection: sqlite3.Connection, held: Hold, lines: Sequence[ledger.Line], by: tuple[str, int]
) -> None:
    """Close a hold with the lines that it became, appended at the end of the book."""
    seq = tip(connection)
    last = connection.execute(
        "SELECT coalesce(max(line_no), 0) FROM lines WHERE seq = ?", (seq,)
    ).fetchone()[0]
    _insert_lines(connection, lines, position=(seq, last), owner=(held.seq, held.seq))
    _close(connection, held.seq, outcome="settle", amount=sum_in(lines), by=by)


def sum_in(lines: Sequence[ledger.Line]) -> int:
    """Return how much the lines move."""
    return sum(line.amount for line in lines if line.amount > 0)


def release(
    connection: sqlite3.Connection, hold_seq: int, outcome: str, by: tuple[str, int]
) -> None:
    """Close a hold without moving money: outcome `void` or `expire`."""
    _close(connection, hold_seq, outcome=outcome, amount=0, by=by)


def _close(
    connection: sqlite3.Connection, hold_seq: int, *, outcome: str, amount: int, by: tuple[str, int]
) -> None:
    actor, now_ms = by
    connection.execute(
        "INSERT INTO closings VALUES (?, ?, ?, ?, ?, ?)",
        (hold_seq, outcome, amount, tip(connection), now_ms, actor),
    )


def expire_due(connection: sqlite3.Connection, bucket_id: int, now_ms: int) -> int:
    """Close the holds on a bucket whose time is over; return how many."""
    due = connection.execute(
        "SELECT seq, expires_at FROM holds WHERE bucket_id = ? AND closed = 0 AND expires_at <= ?",
        (bucket_id, now_ms),
    ).fetchall()
    due = [row for row in due if ledger.expired(row["expires_at"], now_ms)]
    for row in due:
        release(connection, row["seq"], "expire", ("system", now_ms))
    return len(due)


def has_open_holds(connection: sqlite3.Connection, account_id: str, now_ms: int) -> bool:
    """Tell whether a hold, or an order, could still move money out of or into an account."""
    ordered = connection.execute(
        "SELECT 1 FROM orders WHERE account_id = ?"
        " AND status IN ('pending', 'open', 'partially_filled') LIMIT 1",
        (account_id,),
    ).fetchone()
    return ordered is not None or any(
        connection.execute(
            f"SELECT 1 FROM holds h JOIN buckets b ON b.id = h.{column}"  # noqa: S608 - two constants
            " WHERE b.account_id = ? AND h.closed = 0"
            " AND (h.expires_at IS NULL OR h.expires_at > ?) LIMIT 1",
            (account_id, now_ms),
        ).fetchone()
        for column in ("bucket_id", "to_bucket_id")
    )
