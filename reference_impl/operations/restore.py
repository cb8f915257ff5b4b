"""Restoring: a book is put together and verified aside, and then takes the place of the live one.

Taking the place is one commit: SQLite writes every page of the copy into the live file as a single
transaction, inside the writer's turn, so each worker sees the book before it or after it. A restore
is seen for ever: it opens a new epoch, and the first audit record of that names what was kept and
what was abandoned. The abandoned state itself is backed up first.
"""

import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reference_impl import audit, database, erasure, outbox, users, web, writer

from . import migrations, moment, pages, store, undo, verify
from .manifest import Manifest
from .refused import BackupRefusedError
from .store import Store

ACTION = "restoreBackup"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A restore that is asked for."""

    backup_id: str
    until_ms: int | None
    session_id: str = ""
    """The one session that goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore has led to."""

    epoch: int
    last_seq: int
    audit_size: int
    audit_root: str


def source_of(kept: Store, wish: Wish, live_epoch: int, now_ms: int) -> str | None:
    """Return the first whole backup at or after the moment; None: the live book.

    Only backups of the same epoch know what was true then. A damaged one is passed over, with a
    warning in the log. Raises BackupRefusedError.
    """
    named = kept.chain(wish.backup_id)[-1]
    if wish.until_ms is None or wish.until_ms <= named.created_at:
        return named.id
    if wish.until_ms > now_ms:
        raise BackupRefusedError("`until` lies in the future")
    looked: dict[str, str] = {}
    passed: list[str] = []
    for later in kept.known():
        same = later.type != "configuration" and later.epoch == named.epoch
        if not same or later.created_at < wish.until_ms:
            continue
        reason = store.damage(kept, later.id, looked)
        if not reason:
            return later.id
        _log.warning("%s is passed over: %s", later.id, reason)
        passed.append(reason)
    if live_epoch == named.epoch:
        return None
    missing = f"no whole backup of epoch {named.epoch} reaches to `until`"
    raise BackupRefusedError("; ".join([missing, *dict.fromkeys(passed)]))


def stage(kept: Store, wish: Wish, source: str, image: Path) -> Manifest:
    """Put the book together at `image`, take it back to the moment, and verify it.

    Raises BackupRefusedError naming the backup and what is wrong.
    """
    made = kept.compose(source, image)
    if made.schema_version > database.SCHEMA_VERSION:
        raise BackupRefusedError(
            f"{source}: was made with schema {made.schema_version}, this program knows"
            f" {database.SCHEMA_VERSION}"
        )
    with closing(pages.open_copy(image)) as copy:
        if verify.audit_state(copy) != (made.audit_size, made.audit_root):
            raise BackupRefusedError(f"{source}: its audit root is not the recorded one")
        if migrations.upgrade(copy):
            undo.forget(copy)  # an older version kept no way back
        for table in undo.FLEETING:  # first: whose they are may be taken back below
            copy.execute(f"DELETE FROM {table}")  # noqa: S608 - own names
        if wish.until_ms is not None:
            try:
                moment.go_back(copy, wish.until_ms)
            except BackupRefusedError as error:
                raise BackupRefusedError(f"{source}: {error}") from None
        # The pages are those that were backed up; comparing indexes is for `verify`.
        found = verify.findings(copy, indexes=False)
    if found:
        raise BackupRefusedError(f"{source}: {found[0]}")
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch that a restore opens."""

    number: int
    abandoned: tuple[int, str]
    """Size and root of the audit trail that ends; (0, zeros) where the book was lost."""
    now_ms: int


Finish = Callable[[sqlite3.Connection, Restored], None]
"""Writes what belongs to the same commit, and may raise to leave all as it was."""


def install(
    shared: web.Services, image: Path, act: audit.Act, wish: Wish, *, finish: Finish
) -> Restored:
    """Let a verified copy take the place of the live book."""
    path = shared.settings.database
    with (
        Path(f"{path}.lock").open("ab") as turn,
        writer.locked(turn.fileno()),
        closing(database.connect(path)) as live,
        closing(pages.open_copy(image)) as copy,
    ):
        now_ms = shared.clock.now_ms()
        epoch = Epoch(
            number=int(database.meta(live, "epoch")) + 1,
            abandoned=verify.audit_state(live),
            now_ms=now_ms,
        )
        copy.execute("BEGIN")
        outbox.begin(copy, now_ms, "")
        carry_over(live, copy, wish)
        done = open_epoch(copy, act, wish, epoch)
        finish(copy, done)
        copy.execute("COMMIT")
        copy.backup(live, pages=-1)
        live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return done


def open_epoch(copy: sqlite3.Connection, act: audit.Act, wish: Wish, epoch: Epoch) -> Restored:
    """Begin an epoch: record what was kept and what was abandoned."""
    size, root = verify.audit_state(copy)
    target = (
        f"{wish.backup_id} epoch {epoch.number} kept {size} {root}"
        f" abandoned {epoch.abandoned[0]} {epoch.abandoned[1]}"
    )
    copy.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(epoch.number),))
    audit.append(copy, act, target=target, outcome="done", now_ms=epoch.now_ms)
    undo.forget(copy)
    size, root = verify.audit_state(copy)
    last = copy.execute("SELECT coalesce(max(seq), 0) FROM transactions").fetchone()[0]
    return Restored(epoch=epoch.number, last_seq=last, audit_size=size, audit_root=root)


def carry_over(live: sqlite3.Connection, copy: sqlite3.Connection, wish: Wish) -> None:
    """Keep what a restore must not turn back: sessions that ended, codes used, people erased."""
    guards = moment.set_aside(copy)  # rows that are moved over are no events
    for table in reversed(undo.LIVE):
        copy.execute(f"DELETE FROM {table}")  # noqa: S608 - own names
    for table in undo.LIVE:
        _copy_rows(live, copy, table, "1", ())
    for guard in guards:
        copy.execute(guard)
    found = live.execute("SELECT user_id FROM sessions WHERE id = ?", (wish.session_id,))
    row = found.fetchone()
    if row and copy.execute("SELECT 1 FROM users WHERE id = ?", (row[0],)).fetchone():
        _copy_rows(live, copy, "sessions", "id = ?", (wish.session_id,))
        _copy_rows(live, copy, "refresh_tokens", "session_id = ?", (wish.session_id,))
    for used in live.execute("SELECT user_id, secret, last_step FROM totp"):
        copy.execute(
            "UPDATE totp SET last_step = ?3 WHERE user_id = ?1 AND secret = ?2 AND last_step < ?3",
            tuple(used),
        )
    built = [row[0] for row in live.execute("SELECT id FROM reports WHERE status = 'done'")]
    copy.execute(
        "DELETE FROM reports WHERE status = 'done' AND id NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(built),),
    )
    for gone in live.execute(erasure.ERASED_USERS):
        _erase_again(copy, gone["id"])


def _copy_rows(
    live: sqlite3.Connection,
    copy: sqlite3.Connection,
    table: str,
    where: str,
    values: tuple[str, ...],
) -> None:
    for row in live.execute(f"SELECT * FROM {table} WHERE {where}", values):  # noqa: S608 - own names
        marks = ", ".join("?" * len(row))
        copy.execute(f"INSERT INTO {table} VALUES ({marks})", tuple(row))  # noqa: S608 - own names


def _erase_again(copy: sqlite3.Connection, user_id: str) -> None:
    """Erase a person whose personal data came back with the restored state."""
    name = erasure.name_of(user_id)
    row = copy.execute("SELECT username FROM users WHERE id = ?", (user_id,)).fetchone()
    if row is None or row["username"] == name:
        return
    values = {"id": user_id, "name": name, "key": users.name_key(name), "erased": erasure.ERASED}
    for statement in erasure.STATEMENTS:
        copy.execute(statement, values)
    erasure.forget(copy, list(erasure.stored_answers(copy, user_id)))
