"""The SQLite file: creating it, refusing the wrong one, and opening connections to it."""

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from .config import CURRENCIES, StartRefusedError
from .operations import undo

APPLICATION_ID = 0x414C5553  # "ALUS", in the file's header
SCHEMA_VERSION = 2
"""Of the files schema*.sql as they stand; older ones lie frozen in operations/schemas."""
SYSTEM_ACCOUNTS = ("external", "suspense", "fees", "tax")
BUSY_TIMEOUT_MS = 2000
"""How long SQLite waits when a program outside this server holds the file."""

_SCHEMA = (
    Path(__file__).with_name("schema.sql"),
    *sorted(Path(__file__).parent.glob("schema_*.sql")),
)


def create(path: Path) -> sqlite3.Connection:
    """Create a new database file with its secrets and system accounts; return a connection.

    Raises StartRefusedError if the file exists: `init` never touches a book that is there.
    """
    if path.exists():
        raise StartRefusedError(f"{path} already exists: choose another --database PATH")
    if not path.parent.is_dir():
        raise StartRefusedError(f"{path.parent} is not a directory: create it first")
    try:
        path.touch(mode=0o600)
        connection = connect(path)
        connection.execute("BEGIN")
        build(connection)
    except (OSError, sqlite3.Error) as error:
        remove(path)
        raise StartRefusedError(f"{path} cannot be created: {error}") from error
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    names = ("token_secret", "cursor_secret", "audit_salt", "audit_seed")
    facts = [("schema_version", str(SCHEMA_VERSION)), ("epoch", "1")]
    facts += [(name, secrets.token_hex(32)) for name in names]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", facts)
    connection.executemany(
        "INSERT INTO buckets (system, kind, currency) VALUES (?, 'cash', ?)",
        [(system, currency) for currency in CURRENCIES for system in SYSTEM_ACCOUNTS],
    )
    connection.execute("COMMIT")
    return connection


def build(connection: sqlite3.Connection) -> None:
    """Make the tables, indexes and triggers of the present version."""
    for part in _SCHEMA:
        for statement in statements(part.read_text("utf-8")):
            connection.execute(statement)
    for statement in undo.triggers(connection):
        connection.execute(statement)


def statements(script: str) -> Iterator[str]:
    """Split a script; unlike `executescript`, running them ends no transaction."""
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""


def remove(path: Path) -> None:
    """Delete a database that was created a moment ago and is of no use."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection with the settings that the guards rely on.

    `recursive_triggers` makes INSERT OR REPLACE run the delete triggers; `trusted_schema` off
    keeps a doctored file from calling functions; `secure_delete` overwrites what is deleted; FULL
    syncs every commit to the disk; what a savepoint may have to undo stays in memory instead of a
    temporary file. A reader's page cache is small: there is one for each request thread.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "temp_store = MEMORY",
        "foreign_keys = ON",
        "recursive_triggers = ON",
        "trusted_schema = OFF",
        "secure_delete = ON",
        *(("query_only = ON", "cache_size = -1000") if read_only else ("cache_size = -16000",)),
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def check(path: Path, *, any_version: bool = False) -> None:
    """Refuse a file that this program must not write to; a migration takes older versions too.

    Raises StartRefusedError with one line: the file, what is wrong with it, and the way out.
    """
    if not path.is_file():
        raise StartRefusedError(
            f"{path}: there is no database; create it with `init --database {path}`"
        )
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            raise StartRefusedError(
                f"{path}: not a SQLite database, or its header is damaged; restore a backup"
            )
    try:
        _check_contents(path, any_version)
    except sqlite3.Error as error:
        raise StartRefusedError(f"{path}: corrupt ({error}); restore a backup") from error


def _check_contents(path: Path, any_version: bool) -> None:
    connection = sqlite3.connect(path)
    try:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StartRefusedError(
                f"{path}: belongs to another program; name a database made by `init`"
            )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION or version < 1:
            raise StartRefusedError(
                f"{path}: has schema {version} of a newer version, this program knows"
                f" {SCHEMA_VERSION}; use the version that wrote it"
            )
        if version < SCHEMA_VERSION and not any_version:
            raise StartRefusedError(
                f"{path}: has schema {version} of an older version, this program works with"
                f" {SCHEMA_VERSION}; run `python -m reference_impl migrate --database {path}`"
            )
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            reason = " ".join(damage.split())
            raise StartRefusedError(f"{path}: corrupt ({reason}); restore a backup")
    finally:
        connection.close()


def meta(connection: sqlite3.Connection, key: str) -> str:
    """Return one fact about the book; KeyError if it is not there."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise KeyError(key)
    return str(row[0])


class Readers:
    """One read-only connection for each thread that asks."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self._path = path
        self._local = threading.local()

    def get(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, read_only=True)
        return connection
