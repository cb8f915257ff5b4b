"""Reading entries: by the indexes, without overflow, and only what belongs to the subject."""

import sqlite3
from pathlib import Path

import pytest

from reference_impl import database, reports_builder, reports_rows, setup
from reference_impl.analytics import reading, subjects
from reference_impl.analytics.window import DAY_MS, Window

HUGE = 2**53 - 1
COUNT = 2_100
"""So many movements of HUGE add up to more than 64 bits hold."""

PLANS = {
    "first": reading.FIRST,
    "last line": reading.LAST_LINE,
    "days": reading.DAYS,
    "largest": reading.LARGEST,
    "buckets": reading.BUCKETS,
}
NAMED = {"seq": 1, "line": 1, "last": 1, "start": 0, "end": 1, "account": "a", "members": "[]"}
TABLE_SCANS = ("SCAN b", "SCAN l ", "SCAN t", "SCAN o", "SCAN r")


def plan(connection: sqlite3.Connection, query: str) -> list[str]:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", NAMED)
    return [row["detail"] for row in rows]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("select", ["SELECT :account", "SELECT value FROM json_each(:members)"])
def test_entries_are_found_by_an_index(tmp_path: Path, name: str, select: str) -> None:
    connection = database.create(tmp_path / "book.db")
    details = plan(connection, PLANS[name].format(select=select))
    assert any("lines_by_bucket" in detail for detail in details), details
    assert not [detail for detail in details if detail.startswith(TABLE_SCANS)], details


def test_pages_of_entries_and_the_queue_are_found_by_an_index(tmp_path: Path) -> None:
    connection = database.create(tmp_path / "book.db")
    named = {"bucket": 1, "after_seq": 1, "after_line": 1, "page": 1, **NAMED}
    rows = connection.execute(f"EXPLAIN QUERY PLAN {reports_rows.ENTRIES}", named).fetchall()
    assert "lines_by_bucket" in rows[0]["detail"]
    assert not [row for row in rows if "TEMP B-TREE" in row["detail"]]
    details = plan(connection, reports_builder.NEXT)
    assert details == ["SCAN reports USING INDEX reports_next"]


def test_sums_beyond_64_bits_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    setup.create(path, "admin", "an admin's long password")
    connection = database.connect(path)
    connection.execute("BEGIN")
    # Without the guards, which are not what is tested here: rows as years of bookings leave them.
    for name in ("lines_move_balance", "transactions_balanced", "transactions_contribute"):
        connection.execute(f"DROP TRIGGER {name}")
    user = connection.execute("SELECT id FROM users").fetchone()["id"]
    connection.execute(
        "INSERT INTO accounts (id, owner_id, type, currency, name, status, base_amount,"
        " min_balance, buffer_bps, withdrawal_allowed, root_id, depth, created_at, metadata)"
        " VALUES ('acc_1', ?, 'revenue', 'USD', 'n', 'active', 0, 0, 0, 1, 'acc_1', 0, 0, '{}')",
        (user,),
    )
    bucket = connection.execute(
        "INSERT INTO buckets (account_id, kind, currency) VALUES ('acc_1', 'cash', 'USD')"
    ).lastrowid
    for seq in range(1, COUNT + 1):
        kind, amount = ("deposit", HUGE) if seq % 2 else ("withdrawal", -HUGE)
        balance = HUGE if seq % 2 else 0
        line = (seq, 1, seq, None, bucket, amount, balance)
        connection.execute("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)", line)
        connection.execute(
            "INSERT INTO transactions (seq, id, phase, kind, amount, currency, effective_at,"
            " recorded_at, actor) VALUES (?, ?, 'post', ?, ?, 'USD', 0, 0, 'a')",
            (seq, f"txn_{seq}", kind, HUGE),
        )
    about = subjects.of_account("acc_1", "USD")
    found = reading.find(connection, about, reading.end_of_book(connection))
    assert found == reading.Found(first_ms=0, last=reading.Extent(seq=COUNT, line=1))
    read = reading.read(connection, about, Window(start_ms=0, end_ms=DAY_MS), found)
    total = read.series.total()
    assert read.entries == COUNT
    assert total.inflow == COUNT // 2 * HUGE > 2**63
    assert total.outflow == -total.inflow
    exposure = reading.exposure(connection, about, Window(start_ms=0, end_ms=DAY_MS), found)
    assert exposure.largest_outflow == HUGE
    assert exposure.buckets == {"cash": 0}
    connection.close()
