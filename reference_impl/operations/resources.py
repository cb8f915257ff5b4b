"""Resources under /v1/backups: make, list, verify, restore.

The work is done outside the writer's turn; only its outcome is written there, with the audit
record and the Idempotency-Key, as for every other operation.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import flask
import msgspec

from reference_impl import access, audit, clock, database, idempotency, ids, listing, requests, web
from reference_impl.access import Rank
from reference_impl.idempotency import Reply, Scope
from reference_impl.problems import Problem
from reference_impl.turns import TURNS

from . import manifest, pages, restore, settings, store, verify
from .manifest import Manifest
from .refused import BackupRefusedError
from .store import Order, Store

blueprint = flask.Blueprint("backups", __name__)

MFA_FRESH_S = 15 * 60
"""A restore needs a code of the second factor that was given so recently."""
IMAGE = "image.db"
INSERT = """
INSERT INTO backups (id, type, base_id, created_at, created_by, epoch, last_seq, audit_size,
  audit_root, bytes, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class CreateBackup(requests.Body):
    """POST /v1/backups."""

    type: Literal["full", "incremental", "configuration"]


class RestoreBackup(requests.Body):
    """POST /v1/backups/{id}/restore."""

    until: requests.Instant | msgspec.UnsetType = msgspec.UNSET


class Empty(requests.Body):
    """POST /v1/backups/{id}/verify."""


def store_of(shared: web.Services) -> Store:
    """Return the store of this deployment."""
    chosen = shared.settings
    folder = chosen.backup_folder or f"{chosen.database}.backups"
    return Store(
        database=chosen.database,
        folder=Path(folder),
        signer=shared.signer,
        free_min=chosen.disk_free_min,
    )


def view(row: sqlite3.Row) -> dict[str, Any]:
    """Return a backup's wire form."""
    return {
        "id": row["id"],
        "type": row["type"],
        "status": "done",
        "base_id": row["base_id"],
        "created_at": clock.text(row["created_at"]),
        "created_by": row["created_by"],
        "epoch": row["epoch"],
        "last_seq": row["last_seq"],
        "audit_size": row["audit_size"],
        "audit_root": row["audit_root"],
        "bytes": row["bytes"],
        "sha256": row["sha256"],
        "verified_at": clock.maybe(row["verified_at"]),
        "valid": None if row["valid"] is None else bool(row["valid"]),
    }


def enter(connection: sqlite3.Connection, made: Manifest) -> None:
    """Write a backup into the catalogue."""
    rendered = made.render()
    size = len(rendered) + sum(said["bytes"] for said in made.files.values())
    connection.execute(
        INSERT,
        (
            made.id,
            made.type,
            made.base_id,
            made.created_at,
            made.created_by,
            made.epoch,
            made.last_seq,
            made.audit_size,
            made.audit_root,
            size,
            pages.digest(rendered),
        ),
    )


def need(connection: sqlite3.Connection, backup_id: str) -> sqlite3.Row:
    """Return a row of the catalogue, or answer 404."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM backups WHERE id = ?", (backup_id,)
    ).fetchone()
    if row is None:
        raise access.not_found(f"backup {backup_id}")
    return row


def settled_moment(shared: web.Services) -> int:
    """Return an instant such that every change up to it is committed, of every worker."""
    return shared.writer.submit(lambda _: shared.clock.now_ms()) - 1


def once(act: audit.Act, scope: Scope | None, work: Callable[[], Reply]) -> flask.Response:
    """Answer with what was stored under the key, or do the work; keep a refusal under the key."""
    if (known := web.known(scope)) is not None:
        return web.respond(known)
    try:
        with TURNS.away():
            reply = work()
    except Problem as problem:
        refusal = problem

        def refuse(_: web.Tx) -> Reply:
            raise refusal

        reply = web.commit(act, scope, refuse)
    return web.respond(reply)


@blueprint.post("/v1/backups")
def create_backup() -> flask.Response:
    """Make a backup while writes go on; the answer comes when it is on the disk."""
    caller = web.caller(Rank.ADMIN)
    body = web.body(CreateBackup)
    act, scope = web.prepare(caller, "createBackup")
    shared = web.services()
    kept = store_of(shared)

    def work() -> Reply:
        with store.alone(kept):
            made = store.make(kept, order(shared, kept, body.type, caller.user_id))

            def change(tx: web.Tx) -> Reply:
                enter(tx.connection, made)
                headers = {"Location": f"/v1/backups/{made.id}"}
                shown = view(need(tx.connection, made.id))
                return web.json_reply(201, shown, target=made.id, headers=headers)

            reply = None
            try:
                reply = web.commit(act, scope, change)
            finally:
                if reply is None or reply.replayed:
                    store.remove(kept, made.id)
            return reply

    return once(act, scope, work)


def order(shared: web.Services, kept: Store, kind: str, created_by: str) -> Order:
    """Return what is to be made of the present state."""
    moment_ms = settled_moment(shared)
    return Order(
        id=ids.new_id("bak", moment_ms),
        type=kind,
        created_by=created_by,
        moment_ms=moment_ms,
        base_id=store.base_for(kept) if kind == "incremental" else None,
        settings=settings.render(shared.settings).encode(),
    )


@blueprint.get("/v1/backups")
def list_backups() -> flask.Response:
    """Return a page of the catalogue."""
    caller = web.caller(Rank.ADMIN, auditor=True)
    asked = listing.page("listBackups", caller.user_id, ("seq",), {})
    after, values, sorting = listing.keyset(asked, ("seq",))
    rows = (
        web.reader()
        .execute(
            f"SELECT * FROM backups WHERE {after} ORDER BY {sorting} LIMIT {asked.limit + 1}",  # noqa: S608 - own names and marks
            values,
        )
        .fetchall()
    )
    return web.respond_json(listing.answer(asked, rows, lambda row: [row["seq"]], view))


@blueprint.get("/v1/backups/<backup_id>")
def get_backup(backup_id: str) -> flask.Response:
    """Return one backup."""
    web.caller(Rank.ADMIN, auditor=True)
    return web.respond_json(view(need(web.reader(), backup_id)))


@blueprint.post("/v1/backups/<backup_id>/verify")
def verify_backup(backup_id: str) -> flask.Response:
    """Put the book of a backup together aside, and look whether it is whole."""
    caller = web.caller(Rank.ADMIN)
    web.body(Empty)
    act, scope = web.prepare(caller, "verifyBackup")
    need(web.reader(), backup_id)
    kept = store_of(web.services())

    def work() -> Reply:
        with store.alone(kept), store.no_space(), store.scratch(kept) as place:
            found = findings(kept, backup_id, place / IMAGE)

        def change(tx: web.Tx) -> Reply:
            tx.connection.execute(
                "UPDATE backups SET verified_at = ?, valid = ? WHERE id = ?",
                (tx.now_ms, int(not found), backup_id),
            )
            shown = {"id": backup_id, "valid": not found, "findings": found}
            return web.json_reply(200, shown, target=backup_id)

        return web.commit(act, scope, change)

    return once(act, scope, work)


def findings(kept: Store, backup_id: str, image: Path) -> list[str]:
    """Return what is wrong with a backup, none if it can be restored."""
    try:
        made = kept.read(backup_id)
        if made.type == "configuration":
            manifest.check_files(kept.folder / backup_id, made)
            return []
        kept.compose(backup_id, image)
    except BackupRefusedError as error:
        return [str(error)]
    with closing(pages.open_image(image)) as book:
        found = verify.findings(book)
        if not found and verify.audit_state(book) != (made.audit_size, made.audit_root):
            found = ["the audit root is not the recorded one"]
    return found


@blueprint.post("/v1/backups/<backup_id>/restore")
def restore_backup(backup_id: str) -> flask.Response:
    """Let the state of a backup, or of a moment, take the place of the present one."""
    caller = web.caller(Rank.ADMIN)
    body = web.body(RestoreBackup)
    act, scope = web.prepare(caller, restore.ACTION)
    need(web.reader(), backup_id)
    until = requests.given(body.until)
    wish = restore.Wish(
        backup_id=backup_id,
        until_ms=None if until is None else clock.milliseconds(until),
        session_id=caller.session_id,
    )
    return once(act, scope, lambda: run(caller, act, scope, wish))


def check_fresh(caller: access.Caller) -> None:
    """Refuse a session without a recent code of the second factor: 403 `mfa_required`."""
    row = (
        web.reader()
        .execute("SELECT mfa_at FROM sessions WHERE id = ?", (caller.session_id,))
        .fetchone()
    )
    since_ms = web.now_ms() - MFA_FRESH_S * 1000
    if row is None or row["mfa_at"] is None or row["mfa_at"] < since_ms:
        raise Problem("mfa_required", "Log in with a code of the second factor, and repeat.")


def check_maintenance(connection: sqlite3.Connection) -> None:
    """Refuse a restore while the book takes writes: 409 `not_in_maintenance`."""
    if not connection.execute("SELECT read_only FROM maintenance").fetchone()[0]:
        raise Problem("not_in_maintenance", "PUT /v1/maintenance first.")


def run(caller: access.Caller, act: audit.Act, scope: Scope | None, wish: restore.Wish) -> Reply:
    """Stage and install; the answer is stored in the restored book, under its key."""
    shared = web.services()
    kept = store_of(shared)
    answers: list[Reply] = []
    check_maintenance(shared.readers.get())
    check_fresh(caller)
    with store.alone(kept), store.no_space(), store.scratch(kept) as place:
        abandoned = prepare(kept, wish, caller.user_id, place / IMAGE)

        def finish(copy: sqlite3.Connection, done: restore.Restored) -> None:
            check_maintenance(copy)
            enter(copy, abandoned)
            reply = _reply(wish.backup_id, done)
            if scope:
                idempotency.remember(copy, scope, reply, shared.clock.now_ms())
            answers.append(reply)

        try:
            restore.install(shared, place / IMAGE, act, wish, finish=finish)
        except Problem:  # refused before the commit; after any other failure the backup stays
            store.remove(kept, abandoned.id)
            raise
    return answers[0]


def prepare(kept: Store, wish: restore.Wish, created_by: str, image: Path) -> Manifest:
    """Back up the state that a restore abandons, and put the wished one together at `image`.

    The backup is a full one: an incremental one would be lost with the first damaged file of a
    chain that nobody has looked at, and it reads and copies the whole book just the same. What is
    refused leaves no backup behind: 422 `backup_invalid`.
    """
    shared = web.services()
    try:
        live_epoch = int(database.meta(shared.readers.get(), "epoch"))
        source = restore.source_of(kept, wish, live_epoch, shared.clock.now_ms())
        abandoned = store.make(kept, order(shared, kept, "full", created_by))
        try:
            restore.stage(kept, wish, source or abandoned.id, image)
        except BaseException:
            store.remove(kept, abandoned.id)
            raise
    except BackupRefusedError as error:
        raise Problem("backup_invalid", str(error)) from error
    return abandoned


def _reply(backup_id: str, done: restore.Restored) -> Reply:
    shown = {
        "backup_id": backup_id,
        "epoch": done.epoch,
        "last_seq": done.last_seq,
        "audit_root": done.audit_root,
        "audit_size": done.audit_size,
    }
    return web.json_reply(200, shown, target=backup_id)
