"""Migrations: from each version of the schema to the next, and back, in one transaction each.

A version of the schema is a list of objects (tables, indexes, triggers) with their SQL. A step
makes the objects that are new, replaces those whose text has changed (a table keeps the rows of
the columns that both have), and drops what is gone; then it compares what is there with what
should be. The number of the version is part of the same transaction: a step that is killed half
way has not happened, and is begun again by the next call.

Before the first step up, the file is copied beside itself. The way back down keeps what was booked
since; the copy is the way back that does not.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from reference_impl import database, writer
from reference_impl.clock import SystemClock
from reference_impl.config import StartRefusedError

from . import pages, undo

SCHEMAS = Path(__file__).with_name("schemas")
FIRST = 1
Key = tuple[str, str]
"""(type, name) of an object."""


@contextlib.contextmanager
def pattern(version: int) -> Iterator[sqlite3.Connection]:
    """Give an empty book of a version, in memory: its schema, and the rows it begins with."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        if version == database.SCHEMA_VERSION:
            database.build(made)
        else:
            made.executescript((SCHEMAS / f"v{version}.sql").read_text("utf-8"))
        yield made


def objects(connection: sqlite3.Connection) -> dict[Key, str]:
    """Return the SQL of every object, white space evened out."""
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    )
    return {(row[0], row[1]): " ".join(str(row[2]).split()) for row in rows}


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a book's schema."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def upgrade(connection: sqlite3.Connection) -> int:
    """Bring a book to the present version, step by step; return how many steps it took.

    Raises StartRefusedError for a newer version, and for a schema that is not that of its version.
    """
    steps = 0
    while (present := version_of(connection)) < database.SCHEMA_VERSION:
        step(connection, present, present + 1)
        steps += 1
    if present > database.SCHEMA_VERSION:
        raise StartRefusedError(f"schema {present} is newer than {database.SCHEMA_VERSION}")
    return steps


def downgrade(connection: sqlite3.Connection, version: int) -> int:
    """Bring a book back to an older version; return how many steps it took.

    What only the newer versions know is dropped: their tables, and columns they added.
    """
    steps = 0
    while (present := version_of(connection)) > version:
        step(connection, present, present - 1)
        steps += 1
    return steps


def step(connection: sqlite3.Connection, before: int, after: int) -> None:
    """Lead from one version to the one beside it, in one transaction."""
    with pattern(before) as old, pattern(after) as new:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute("BEGIN IMMEDIATE")
        try:
            expect(connection, objects(old), f"the schema is not that of version {before}")
            change(connection, new, objects(old), objects(new))
            expect(connection, objects(new), f"the step to version {after} does not lead there")
            connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(after),)
            )
            connection.execute(f"PRAGMA user_version = {after}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        finally:
            connection.execute("PRAGMA legacy_alter_table = OFF")
            connection.execute("PRAGMA foreign_keys = ON")


def expect(connection: sqlite3.Connection, wanted: Mapping[Key, str], otherwise: str) -> None:
    """Refuse a book whose objects are not these, or a row of which refers to nothing."""
    if objects(connection) != wanted:
        raise StartRefusedError(f"{otherwise}: {difference(objects(connection), wanted)}")
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise StartRefusedError(f"{otherwise}: a row of {broken[0]} refers to nothing")


def change(
    connection: sqlite3.Connection,
    new: sqlite3.Connection,
    old_objects: Mapping[Key, str],
    new_objects: Mapping[Key, str],
) -> None:
    """Drop, rebuild and make objects until they are those of the new version."""
    changed = {key for key, text in new_objects.items() if old_objects.get(key) != text}
    tables = [name for kind, name in changed if kind == "table"]
    for kind, name in [key for key in old_objects if key[0] in {"trigger", "index"}]:
        connection.execute(f"DROP {kind} {name}")
    for kind, name in old_objects:
        if kind == "table" and (kind, name) not in new_objects:
            connection.execute(f"DROP TABLE {name}")
    texts = dict(
        new.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    )
    for name in tables:
        if ("table", name) in old_objects:
            rebuild(connection, name, texts[name])
        else:
            connection.execute(texts[name])
            seed(connection, new, name)
    for kind, name in new_objects:
        if kind in {"trigger", "index"}:
            connection.execute(texts[name])


def rebuild(connection: sqlite3.Connection, table: str, text: str) -> None:
    """Make a table anew with the rows of the columns that it keeps."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.execute(f"ALTER TABLE {table} RENAME TO before_{table}")
    connection.execute(text)
    kept = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    columns = ", ".join(name for name in names if name in kept)
    connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM before_{table}")  # noqa: S608 - own names
    connection.execute(f"DROP TABLE before_{table}")


def seed(connection: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """Write the rows that a new table begins with."""
    for row in new.execute(f"SELECT * FROM {table}").fetchall():  # noqa: S608 - own names
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", tuple(row))  # noqa: S608 - own names


def difference(found: Mapping[Key, str], expected: Mapping[Key, str]) -> str:
    """Name the first object that differs."""
    for key in sorted({*found, *expected}):
        if found.get(key) != expected.get(key):
            what = (
                "missing" if key not in found else "not known" if key not in expected else "other"
            )
            return f"{key[0]} {key[1]} ({what})"
    return "nothing"


def migrate(path: Path) -> tuple[int, Path | None]:
    """Bring a database file up; return how many steps, and the copy that was made before.

    The server must be stopped. Raises StartRefusedError, and then the file is as it was.
    """
    database.check(path, any_version=True)
    with exclusive(path) as connection:
        present = version_of(connection)
        if present == database.SCHEMA_VERSION:
            return 0, None
        copy = keep_copy(path, f"{path.name}.schema-{present}")
        steps = upgrade(connection)
        _record(connection, f"schema {present} to {database.SCHEMA_VERSION}")
        undo.forget(connection)
        return steps, copy


def go_back(path: Path, version: int) -> int:
    """Bring a database file back to an older version; return how many steps it took."""
    database.check(path, any_version=True)
    if not FIRST <= version <= database.SCHEMA_VERSION:
        raise StartRefusedError(f"--to {version}: choose {FIRST} to {database.SCHEMA_VERSION}")
    with exclusive(path) as connection:
        _record(connection, f"schema {version_of(connection)} back to {version}")
        return downgrade(connection, version)


def keep_copy(path: Path, name: str) -> Path:
    """Copy the book beside itself; return the copy, which is never a half one.

    A copy of an earlier migration stays: the later ones are numbered, `name.2` and so on. When
    the newest shows the book as it is, a migration that failed is tried again: it is enough.
    """
    copies = [path.with_name(name)]
    while copies[-1].exists():
        copies.append(path.with_name(f"{name}.{len(copies) + 1}"))
    *before, copy = copies
    partial = path.with_name(f"{name}.partial")
    needed = path.stat().st_size
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StartRefusedError(f"{path.parent}: {free} bytes are free, a copy takes {needed}")
    partial.unlink(missing_ok=True)
    pages.snapshot(path, partial)
    if before and pages.sha256(before[-1]) == pages.sha256(partial):
        partial.unlink()
        return before[-1]
    partial.rename(copy)
    pages.sync(copy.parent)
    return copy


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the writers' turn."""
    with Path(f"{path}.lock").open("ab") as gate, writer.locked(gate.fileno()):
        connection = database.connect(path)
        try:
            yield connection
        except sqlite3.Error as error:
            raise StartRefusedError(f"{path}: {error}; nothing was changed") from error
        finally:
            connection.close()


def _record(connection: sqlite3.Connection, target: str) -> None:
    """Leave an audit record of the migration."""
    from reference_impl import audit

    connection.execute("BEGIN IMMEDIATE")
    act = audit.operator("migrate")
    audit.append(connection, act, target=target, outcome="done", now_ms=SystemClock().now_ms())
    connection.execute("COMMIT")
