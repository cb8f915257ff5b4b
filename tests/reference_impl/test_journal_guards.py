"""What the database itself refuses, whatever the program above it does."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_impl import database, journal, ledger

NOW_MS = 1_800_000_000_000


@pytest.fixture
def book(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = database.create(tmp_path / "book.db")
    connection.execute("BEGIN")
    connection.execute(
        "INSERT INTO users (id, username, username_key, roles, status, created_at)"
        " VALUES ('usr_1', 'ada', 'ada', 'customer', 'active', 0)"
    )
    for name, currency in (("a", "USD"), ("b", "USD"), ("y", "JPY")):
        connection.execute(
            "INSERT INTO accounts (id, owner_id, type, currency, name, status, base_amount,"
            " min_balance, buffer_bps, withdrawal_allowed, root_id, depth, created_at, metadata)"
            " VALUES (?, 'usr_1', 'generation', ?, 'n', 'active', 0, 0, 500, 1, ?, 0, 0, '{}')",
            (name, currency, name),
        )
        connection.execute(
            "INSERT INTO buckets (account_id, kind, currency) VALUES (?, 'cash', ?)",
            (name, currency),
        )
    deposit(connection, "a", 100)
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    yield connection
    connection.close()


def bucket(connection: sqlite3.Connection, account_id: str) -> ledger.Bucket:
    account = journal.account(connection, account_id, NOW_MS)
    assert account is not None
    return account.cash


def draft(amount: int = 1, **members: object) -> journal.Draft:
    given = {
        "kind": "transfer",
        "amount": amount,
        "currency": "USD",
        "from_account_id": "a",
        "to_account_id": "b",
        "actor": "usr_1",
        "now_ms": NOW_MS,
        **members,
    }
    return journal.Draft(**given)  # type: ignore[arg-type]  # members of several types


def deposit(connection: sqlite3.Connection, account_id: str, amount: int) -> None:
    external = journal.system_bucket(connection, "external", "USD")
    lines = ledger.move(external, bucket(connection, account_id), amount)
    journal.post(connection, draft(amount, kind="deposit", from_account_id=None), lines)


def refused(connection: sqlite3.Connection, statement: str, why: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=why):
        connection.execute(statement)


def test_a_balanced_transaction_is_taken_and_moves_the_cached_balances(
    book: sqlite3.Connection,
) -> None:
    journal.post(book, draft(30), ledger.move(bucket(book, "a"), bucket(book, "b"), 30))
    assert (bucket(book, "a").balance, bucket(book, "b").balance) == (70, 30)


def test_unbalanced_lines_are_refused(book: sqlite3.Connection) -> None:
    lines = (ledger.line(bucket(book, "a"), -30), ledger.line(bucket(book, "b"), 29))
    with pytest.raises(sqlite3.IntegrityError, match="do not add up"):
        journal.post(book, draft(30), lines)


def test_a_single_line_is_refused(book: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="two lines"):
        journal.post(book, draft(30), (ledger.line(bucket(book, "a"), -30),))


def test_lines_that_balance_across_currencies_only_are_refused(book: sqlite3.Connection) -> None:
    lines = (ledger.line(bucket(book, "a"), -30), ledger.line(bucket(book, "y"), 30))
    with pytest.raises(sqlite3.IntegrityError, match="do not add up"):
        journal.post(book, draft(30), lines)


def test_a_wrong_running_balance_is_refused(book: sqlite3.Connection) -> None:
    source, target = bucket(book, "a"), bucket(book, "b")
    lines = (ledger.Line(source, -30, source.balance), ledger.line(target, 30))
    with pytest.raises(sqlite3.IntegrityError, match="balance_after"):
        journal.post(book, draft(30), lines)


def test_money_is_whole(book: sqlite3.Connection) -> None:
    refused(book, "INSERT INTO lines VALUES (2, 1, 2, NULL, 5, 0.5, 0.5)", "INTEGER|REAL")


def test_lines_without_their_transaction_do_not_commit(book: sqlite3.Connection) -> None:
    number = bucket(book, "b").id
    book.execute("INSERT INTO lines VALUES (2, 1, 2, NULL, ?, 5, 5)", (number,))
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        book.execute("COMMIT")
    book.execute("ROLLBACK")
    assert bucket(book, "b").balance == 0


def test_no_line_joins_a_posted_transaction(book: sqlite3.Connection) -> None:
    number = bucket(book, "a").id
    late = "INSERT INTO lines VALUES (1, 3, 1, NULL, ?, 5, 105)"
    with pytest.raises(sqlite3.IntegrityError, match="already posted"):
        book.execute(late, (number,))


@pytest.mark.parametrize("table", ["transactions", "lines", "closings", "audit"])
def test_the_journal_is_never_changed(book: sqlite3.Connection, table: str) -> None:
    journal.hold(book, draft(5), bucket(book, "a"), bucket(book, "b"))
    journal.release(book, 2, "void", ("usr_1", NOW_MS))
    book.execute("INSERT INTO audit VALUES (1, 0, 'a', 'b', 'c', 'done', 'r', '', x'00', x'00')")
    column = "amount" if table == "lines" else "actor"
    update = f"UPDATE {table} SET {column} = {column}"  # noqa: S608 - names from above
    refused(book, update, "never changed")
    refused(book, f"DELETE FROM {table}", "never deleted")  # noqa: S608 - names from above


def test_insert_or_replace_does_not_get_around_the_guards(book: sqlite3.Connection) -> None:
    refused(
        book,
        "INSERT OR REPLACE INTO transactions SELECT * FROM transactions WHERE seq = 1",
        "next one|never deleted",
    )


def test_cached_sums_cannot_be_set(book: sqlite3.Connection) -> None:
    refused(book, "UPDATE buckets SET balance = 5 WHERE account_id = 'a'", "sum of the lines")
    refused(book, "UPDATE buckets SET holds = 5 WHERE account_id = 'a'", "sum of the open holds")
    refused(book, "UPDATE buckets SET currency = 'JPY' WHERE account_id = 'a'", "only balances")


def test_a_customer_balance_never_goes_below_zero(book: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        journal.post(book, draft(101), ledger.move(bucket(book, "a"), bucket(book, "b"), 101))


def test_a_hold_ends_once(book: sqlite3.Connection) -> None:
    journal.hold(book, draft(40), bucket(book, "a"), bucket(book, "b"))
    assert bucket(book, "a").holds == 40
    held = journal.find_hold(book, 2)
    assert held is not None
    lines = ledger.move(bucket(book, "a"), bucket(book, "b"), 25)
    journal.settle(book, held, lines, ("usr_1", NOW_MS))
    assert (bucket(book, "a").balance, bucket(book, "a").holds) == (75, 0)
    with pytest.raises(sqlite3.IntegrityError):
        journal.release(book, 2, "void", ("usr_1", NOW_MS))
    refused(book, "UPDATE holds SET closed = 0 WHERE seq = 2", "exactly once")


def test_no_more_is_settled_than_was_held(book: sqlite3.Connection) -> None:
    journal.hold(book, draft(40), bucket(book, "a"), bucket(book, "b"))
    held = journal.find_hold(book, 2)
    assert held is not None
    lines = ledger.move(bucket(book, "a"), bucket(book, "b"), 41)
    with pytest.raises(sqlite3.IntegrityError, match="more was settled"):
        journal.settle(book, held, lines, ("usr_1", NOW_MS))


def test_seq_has_no_gaps(book: sqlite3.Connection) -> None:
    refused(
        book,
        "INSERT INTO transactions (seq, id, phase, kind, amount, currency, effective_at,"
        " recorded_at, actor) VALUES (9, 'x', 'hold', 'transfer', 1, 'USD', 0, 0, 'u')",
        "next one",
    )


def test_only_an_empty_account_ends_and_then_for_good(book: sqlite3.Connection) -> None:
    closing = "UPDATE accounts SET status = 'closed', closed_at = 1 WHERE id = '{}'"
    refused(book, closing.format("a"), "only an empty account")
    book.execute(closing.format("b"))
    reopening = "UPDATE accounts SET status = 'active', closed_at = NULL WHERE id = 'b'"
    refused(book, reopening, "terminal")


def test_identity_owner_and_currency_are_fixed(book: sqlite3.Connection) -> None:
    refused(book, "UPDATE accounts SET currency = 'EUR' WHERE id = 'a'", "are fixed")
    refused(book, "DELETE FROM accounts WHERE id = 'b'", "never deleted")
