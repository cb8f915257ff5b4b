"""Erasure of personal data: it leaves the rows, then the file, and neither journal nor audit.

What a person is known by and wrote goes: names, address, credentials, second factor, names and
metadata of accounts and systems, bank references, reports and stored answers that show them. The
journal keeps its entries under ids that now stand for nobody, and the audit trail never held
more. The free text of journal entries (memo, reason, metadata) stays: it belongs to the
financial record.
Deleted bytes are overwritten (`secure_delete`), and the write-ahead log is emptied afterwards.
"""

import functools
import logging
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import flask

from . import access, database, idempotency, reports_builder, sessions, users, web
from .access import Rank
from .operations import undo
from .problems import Problem

blueprint = flask.Blueprint("erasure", __name__)

ERASED = "erased"
ERASED_USERS = f"SELECT id FROM users WHERE username = '{users.ERASED}' || id"  # noqa: S608 - own text
"""Nobody else has the own id for a name: it is chosen before there is an id, and never changed."""
BATCH_ROWS = 500
STATEMENTS = (
    """UPDATE users SET username = :name, username_key = :key, email = NULL, legal_name = NULL,
       status = 'disabled', version = version + 1 WHERE id = :id""",
    """UPDATE accounts SET name = :erased, metadata = '{}', external_ref = NULL,
       version = version + 1 WHERE owner_id = :id""",
    "UPDATE systems SET name = :erased WHERE owner_id = :id",
    """DELETE FROM grants WHERE principal_id = :id
       OR object_id IN (SELECT id FROM accounts WHERE owner_id = :id)""",
    """DELETE FROM refresh_tokens WHERE session_id IN
       (SELECT id FROM sessions WHERE user_id = :id)""",
    "DELETE FROM credentials WHERE user_id = :id",
    "DELETE FROM password_history WHERE user_id = :id",
    "DELETE FROM totp WHERE user_id = :id",
    "DELETE FROM mfa_challenges WHERE user_id = :id",
    "DELETE FROM identities WHERE user_id = :id",
    """UPDATE strategies SET parameters = '{}', version = version + 1
       WHERE account_id IN (SELECT id FROM accounts WHERE owner_id = :id)""",
    """UPDATE strategy_executions SET parameters = '{}'
       WHERE account_id IN (SELECT id FROM accounts WHERE owner_id = :id)""",
)
_log = logging.getLogger(__name__)


@blueprint.delete("/v1/users/<user_id>/personal-data")
def erase_personal_data(user_id: str) -> flask.Response:
    """Erase a user whose accounts are empty; the answer comes when the file is scrubbed too."""
    caller = web.caller(Rank.ADMIN)
    if_match = web.if_match()

    reports: list[str] = []

    def change(tx: web.Tx) -> idempotency.Reply:
        row = tx.connection.execute("SELECT version FROM users WHERE id = ?", (user_id,)).fetchone()
        if row is None:
            raise access.not_found(f"user {user_id}")
        if user_id == caller.user_id:
            raise Problem("forbidden", "Nobody erases the own user.")
        web.check_if_match(if_match, row["version"])
        check_empty(tx.connection, user_id)
        owned = "SELECT id FROM reports WHERE owner_id = ?"
        reports[:] = [found["id"] for found in tx.connection.execute(owned, (user_id,))]
        erase(tx, user_id)
        return idempotency.Reply(status=204, body=b"", headers={}, target=user_id)

    response = web.write(caller, "erasePersonalData", change, once=False)
    scrub(web.services(), user_id, reports)
    return response


def check_empty(connection: sqlite3.Connection, user_id: str) -> None:
    """Refuse while the user owns money: 409 `balance_not_zero`."""
    row = connection.execute(
        "SELECT 1 FROM accounts a JOIN buckets b ON b.account_id = a.id"
        " WHERE a.owner_id = ? AND (b.balance <> 0 OR b.holds <> 0) LIMIT 1",
        (user_id,),
    ).fetchone()
    if row is not None:
        raise Problem("balance_not_zero", "Close the accounts of the user first.")


def name_of(user_id: str) -> str:
    """Return the user name of somebody who was erased."""
    return f"{users.ERASED}{user_id}"


def erase(tx: web.Tx, user_id: str) -> None:
    """Take what names the person out of every row, and end the user for good."""
    name = name_of(user_id)
    sessions.end_all(tx, user_id, "changed")
    values = {"id": user_id, "name": name, "key": users.name_key(name), "erased": ERASED}
    for statement in STATEMENTS:
        tx.connection.execute(statement, values)
    undo.forget(tx.connection)  # it holds what the rows were before


def scrub(shared: web.Services, user_id: str, reports: Sequence[str]) -> None:
    """Delete files of reports and stored answers about the person, and empty the log of writes.

    A report that is being built at this moment loses its row, and its file to the builder's sweep.
    """
    for report_id in reports:
        for path in reports_builder.folder(shared).glob(f"{report_id}.*"):
            path.unlink(missing_ok=True)
    numbers = list(stored_answers(shared.readers.get(), user_id))
    for start in range(0, len(numbers), BATCH_ROWS):
        part = numbers[start : start + BATCH_ROWS]
        shared.writer.submit(functools.partial(forget, numbers=part))
    if not empty_log(shared.settings.database):
        _log.warning("the write-ahead log is in use; `retention apply` empties it later")


def stored_answers(connection: sqlite3.Connection, user_id: str) -> Iterator[int]:
    """Yield the stored answers given to the user, or about the user or an account of the user."""
    owned = connection.execute("SELECT id FROM accounts WHERE owner_id = ?", (user_id,))
    names = re.compile("|".join(re.escape(name) for name in [user_id, *(row[0] for row in owned)]))
    for row in connection.execute("SELECT n, principal, path, headers, body FROM idempotency"):
        body = bytes(row["body"]).decode("utf-8", "replace")
        if row["principal"] == user_id or any(
            names.search(text) for text in (row["path"], row["headers"], body)
        ):
            yield int(row["n"])


def forget(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Delete stored answers."""
    connection.executemany("DELETE FROM idempotency WHERE n = ?", [(n,) for n in numbers])


def empty_log(path: Path) -> bool:
    """Move the write-ahead log into the file and cut it to nothing; False if it is in use."""
    connection = database.connect(path)
    try:
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
