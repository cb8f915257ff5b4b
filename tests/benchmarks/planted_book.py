"""Fills a new book with accounts and their deposits at once, for measurements at a size.

The rows are those that as many requests would have left, audit and keys apart. The guards are
taken off while they are written and put back as they were; `check` asks what they guard.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

NOW_MS = 1_790_000_000_000
ROWS = 50_000
TYPES = ("generation", "revenue")
"""Of the accounts with even and with odd numbers."""
TURNS = 59
DAY_MS = 24 * 3600 * 1000
"""The busy accounts get a deposit on each of so many days, and the last one with all others."""
PRAGMAS = ("synchronous = OFF", "cache_size = -200000", "foreign_keys = OFF")


def account_id(number: int) -> str:
    """Return the id of a planted account, from 0."""
    return f"acc_{number:08x}-0000-7000-8000-000000000000"


def plant(path: Path, owner_id: str, accounts: int, *, balance: int = 10**9, busy: int = 0) -> None:
    """Add accounts with one deposit each; the first `busy` of them get 60 deposits instead."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in PRAGMAS:
        db.execute(f"PRAGMA {pragma}")
    guards = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    db.execute("BEGIN")
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    _write(db, owner_id, accounts, (balance, busy))
    for _, sql in guards:
        db.execute(sql)
    db.execute("COMMIT")
    check(db)
    db.close()


def _write(db: sqlite3.Connection, owner_id: str, accounts: int, money: tuple[int, int]) -> None:
    balance, busy = money
    policy = db.execute(
        "SELECT policy_ref FROM growth_in_force WHERE account_type = 'generation'"
    ).fetchone()
    first = db.execute("SELECT coalesce(max(seq), 0) FROM transactions").fetchone()[0]
    bucket = db.execute("SELECT max(id) FROM buckets").fetchone()[0] + 1
    (external,) = db.execute(
        "SELECT id FROM buckets WHERE system = 'external' AND currency = 'USD'"
    ).fetchone()
    for start in range(0, accounts, ROWS):
        numbers = range(start, min(start + ROWS, accounts))
        db.executemany(
            "INSERT INTO accounts (id, owner_id, type, currency, name, status, base_amount,"
            " min_balance, buffer_bps, withdrawal_allowed, policy_ref, root_id, depth, created_at,"
            " metadata) VALUES (?1, ?2, ?6, 'USD', ?3, 'active', 0, 0, 500, 1, ?4, ?1, 0,"
            " ?5, '{}')",
            [
                (
                    account_id(n),
                    owner_id,
                    f"Account {n}",
                    policy[0],
                    NOW_MS - TURNS * DAY_MS,
                    TYPES[n % 2],
                )
                for n in numbers
            ],
        )
        db.executemany(
            "INSERT INTO buckets (id, account_id, kind, currency, balance, version)"
            " VALUES (?, ?, 'cash', 'USD', ?, ?)",
            [(bucket + n, account_id(n), balance, 60 if n < busy else 1) for n in numbers],
        )
    seq, outside = first, 0
    waiting: list[tuple[int, int, int, int, int, int]] = []
    for number, amount, after, at_ms in _deposits(accounts, balance, busy):
        seq, outside = seq + 1, outside - amount
        waiting.append((seq, number, amount, after, outside, at_ms))
        if len(waiting) == ROWS:
            _post(db, waiting, (owner_id, bucket, external))
            waiting = []
    _post(db, waiting, (owner_id, bucket, external))
    db.execute(
        "UPDATE buckets SET balance = balance + ?, version = version + 1 WHERE id = ?",
        (outside, external),
    )


def _deposits(accounts: int, balance: int, busy: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (account, amount, balance after it, instant); the busy accounts take turns."""
    part = balance // (TURNS + 1)
    for turn in range(TURNS):
        for number in range(busy):
            yield number, part, part * (turn + 1), NOW_MS - (TURNS - turn) * DAY_MS
    for number in range(accounts):
        last = balance - part * TURNS if number < busy else balance
        yield number, last, balance, NOW_MS


def _post(
    db: sqlite3.Connection,
    rows: list[tuple[int, int, int, int, int, int]],
    names: tuple[str, int, int],
) -> None:
    owner_id, bucket, external = names
    db.executemany(
        "INSERT INTO transactions (seq, id, phase, kind, amount, currency, to_account_id,"
        " effective_at, recorded_at, actor) VALUES (?, ?, 'post', 'deposit', ?, 'USD', ?, ?, ?, ?)",
        [
            (
                seq,
                f"txn_{seq:08x}-0000-7000-8000-000000000000",
                amount,
                account_id(number),
                at_ms,
                at_ms,
                owner_id,
            )
            for seq, number, amount, _, _, at_ms in rows
        ],
    )
    db.executemany(
        "INSERT INTO lines VALUES (?, ?, ?, NULL, ?, ?, ?)",
        [
            line
            for seq, number, amount, after, outside, _ in rows
            for line in (
                (seq, 1, seq, external, -amount, outside),
                (seq, 2, seq, bucket + number, amount, after),
            )
        ],
    )


def check(db: sqlite3.Connection) -> None:
    """Refuse a planted book that does not add up."""
    (total,) = db.execute("SELECT sum(balance) FROM buckets").fetchone()
    (lines,) = db.execute("SELECT sum(amount) FROM lines").fetchone()
    if total or lines:
        raise AssertionError(f"the planted book does not add up: {total}, {lines}")
