"""Changing the key of sensitive fields while the server runs.

`rotate` adds a key and encrypts every stored value with it, some rows at a time; until a value's
turn has come it is read with the old key. The file is replaced before the first batch, and values
are only encrypted inside write transactions, so none that follows uses an old key. `retire` then
drops the old keys; a backup made before the rotation needs them.
"""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import audit, database, sealed
from .clock import SystemClock
from .config import StartRefusedError
from .operations import undo

BATCH_ROWS = 500
NUMBER_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A column of encrypted values, and the column by which its rows are walked."""

    table: str
    column: str
    key: str
    where: str = "TRUE"


PLACES = (
    Place(table="users", column="email", key="seq"),
    Place(table="users", column="legal_name", key="seq"),
    Place(table="accounts", column="external_ref", key="seq"),
    Place(table="totp", column="secret", key="user_id"),
    Place(table="webhooks", column="secret", key="seq"),
    Place(table="webhooks", column="old_secret", key="seq"),
    Place(
        table="idempotency",
        column="body",
        key="n",
        where=f"instr(headers, '{sealed.CONCEALED}') > 0",
    ),
)
"""Every column that `Sealer` writes: a new one is added here."""


def rotate(path: Path) -> tuple[int, int]:
    """Add a key and encrypt every value with it; return its number and how many values.

    Raises StartRefusedError if the database or its keys cannot be used.
    """
    database.check(path)
    keys = sealed.read_keys(path)
    number = max(keys) + 1
    if number > NUMBER_MAX:
        raise StartRefusedError(f"{sealed.key_path(path)}: there is no number above {max(keys)}")
    replace_keys(path, keys | {number: secrets.token_bytes(32)})
    values = reencrypt(path)
    with writing(path) as connection:
        undo.forget(connection)  # what it holds was encrypted with the old keys
    record(path, "rotateKeys", f"key {number}")
    return number, values


def retire(path: Path) -> list[int]:
    """Drop the keys that no value uses any more; return their numbers.

    Raises StartRefusedError if a value still needs an old key: rotate again.
    """
    database.check(path)
    keys = sealed.read_keys(path)
    newest = max(keys)
    with writing(path) as connection:
        left = sum(_count_old(connection, place, newest) for place in PLACES)
        if left:
            raise StartRefusedError(f"{path}: {left} values need an old key; run `keys rotate`")
        old = sorted(set(keys) - {sealed.PEPPER, newest})
        replace_keys(path, {number: keys[number] for number in (sealed.PEPPER, newest)})
    record(path, "retireKeys", f"keys below {newest}")
    return old


def record(path: Path, action: str, target: str) -> None:
    """Leave an audit record of what was done at the command line."""
    now_ms = SystemClock().now_ms()
    with writing(path) as connection:
        audit.append(
            connection, audit.operator(action), target=target, outcome="done", now_ms=now_ms
        )


def reencrypt(path: Path) -> int:
    """Encrypt with the newest key whatever is not; return how many values that were."""
    sealer = sealed.Sealer(path)
    newest = max(sealed.read_keys(path))
    return sum(_reencrypt_column(path, place, sealer, newest) for place in PLACES)


def _reencrypt_column(path: Path, place: Place, sealer: sealed.Sealer, newest: int) -> int:
    done, after = 0, None
    while True:
        with writing(path) as connection:
            rows = connection.execute(
                f"SELECT {place.key}, {place.column} FROM {place.table}"  # noqa: S608 - own names
                f" WHERE {place.column} IS NOT NULL AND {place.where}"
                f" AND (?1 IS NULL OR {place.key} > ?1) ORDER BY {place.key} LIMIT {BATCH_ROWS}",
                (after,),
            ).fetchall()
            for key, value in rows:
                after = key
                if sealed.key_number(value) != newest:
                    done += 1
                    connection.execute(
                        f"UPDATE {place.table} SET {place.column} = ?"  # noqa: S608 - own names
                        f" WHERE {place.key} = ?",
                        (sealer.seal_bytes(sealer.open_bytes(value)), key),
                    )
        if len(rows) < BATCH_ROWS:
            return done


def _count_old(connection: sqlite3.Connection, place: Place, newest: int) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM {place.table} WHERE {place.column} IS NOT NULL"  # noqa: S608 - own names
        f" AND {place.where} AND substr({place.column}, 1, 2) <> ?",
        (newest.to_bytes(2, "big"),),
    ).fetchone()
    return int(row[0])


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Take a turn among the server's writers: one transaction under their file lock."""
    connection = database.connect(path)
    try:
        with Path(f"{path}.lock").open("ab") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    finally:
        connection.close()


def replace_keys(path: Path, keys: dict[int, bytes]) -> None:
    """Replace the key file in one step that a crash cannot halve."""
    target = sealed.key_path(path)
    fresh = target.with_name(f"{target.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(sealed.render(keys))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
