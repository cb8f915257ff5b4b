"""Command line of backups: what an operator does where the server cannot be asked."""

import os
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import click

from reference_impl import audit, audit_cli, clock, database, ids, rotation, sealed
from reference_impl.config import StartRefusedError
from reference_impl.problems import Problem

from . import manifest, pages, resources, restore, settings, store
from .refused import BackupRefusedError
from .store import Order, Store

FILE = click.Path(path_type=Path)
DATABASE = click.option(
    "--database", required=True, type=FILE, help="The book; its keys beside it."
)
FOLDER = click.option("--folder", type=FILE, help="Of the backups; default: beside the database.")
ACTOR = "operator"


class Refusal(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = 2


@click.group("backup")
def group() -> None:
    """Make, list, verify and restore backups without a running server."""


def refuse(error: Exception) -> NoReturn:
    """End with the reason on standard error and exit code 2."""
    detail = error.detail if isinstance(error, Problem) else str(error)
    raise Refusal(detail) from error


def opened(path: Path, folder: Path | None, book: Path | None = None) -> Store:
    """Return the store of a database. Raises StartRefusedError."""
    return Store(
        database=path,
        folder=(folder or Path(f"{path}.backups")).absolute(),
        signer=audit_cli.signer_of(path, book),
    )


@group.command()
@DATABASE
@FOLDER
@click.option("--type", "kind", default="full", type=click.Choice(manifest.TYPES))
@click.option(
    "--config", type=FILE, envvar="ALLUSE_CONFIG", help="Of `serve`; for --type configuration."
)
def create(database: Path, folder: Path | None, kind: str, config: Path | None) -> None:
    """Make a backup; the server may be running."""
    path = database.absolute()
    try:
        check(path)
        held = settings_text(path, config) if kind == "configuration" else b""
        kept = opened(path, folder)
        with store.alone(kept):
            made = make(kept, kind, held)
    except (StartRefusedError, Problem) as error:
        refuse(error)
    click.echo(made)


def check(path: Path) -> None:
    """Refuse a file that is no book of this version."""
    database.check(path)


def settings_text(path: Path, config: Path | None) -> bytes:
    """Return the settings that `serve` would have by this file and the variables."""
    chosen, _ = settings.gather(config, os.environ, {"database": str(path)})
    return settings.render(chosen).encode()


def make(kept: Store, kind: str, held: bytes = b"") -> str:
    """Make a backup and enter it into the catalogue; return its id."""
    with rotation.writing(kept.database):
        moment_ms = clock.SystemClock().now_ms() - 1
    order = Order(
        id=ids.new_id("bak", moment_ms),
        type=kind,
        created_by=ACTOR,
        moment_ms=moment_ms,
        base_id=store.base_for(kept) if kind == "incremental" else None,
        settings=held,
    )
    made = store.make(kept, order)
    with rotation.writing(kept.database) as connection:
        resources.enter(connection, made)
        act, now_ms = audit.operator("createBackup"), clock.SystemClock().now_ms()
        audit.append(connection, act, target=made.id, outcome="done", now_ms=now_ms)
    return made.id


@group.command("list")
@DATABASE
@FOLDER
def list_(database: Path, folder: Path | None) -> None:
    """List the backups whose signature holds, oldest first."""
    try:
        kept = opened(database.absolute(), folder, any_book(database.absolute(), folder))
    except StartRefusedError as error:
        refuse(error)
    for one in kept.known():
        base = one.base_id or "-"
        click.echo(
            f"{one.id} {one.type} {clock.text(one.created_at)} epoch {one.epoch} base {base}"
        )


def any_book(path: Path, folder: Path | None) -> Path | None:
    """Return a full backup's image where the book itself is gone; it holds the same audit seed."""
    if path.is_file():
        return None
    place = (folder or Path(f"{path}.backups")).absolute()
    images = sorted(place.glob(f"bak_*/{store.IMAGE}"))
    if not images:
        raise StartRefusedError(f"{place}: there is no full backup; name its folder by --folder")
    return images[-1]


@group.command()
@DATABASE
@FOLDER
@click.argument("backup_id")
def verify(database: Path, folder: Path | None, backup_id: str) -> None:
    """Put the book of a backup together aside, and look whether it is whole."""
    path = database.absolute()
    try:
        kept = opened(path, folder, any_book(path, folder))
        with store.alone(kept), store.no_space(), store.scratch(kept) as place:
            found = resources.findings(kept, backup_id, place / "image.db")
    except (StartRefusedError, Problem) as error:
        refuse(error)
    for one in found:
        click.echo(one)
    click.echo("not valid" if found else "ok", err=True)
    raise SystemExit(1 if found else 0)


@group.command("restore")
@DATABASE
@FOLDER
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"]))
@click.argument("backup_id")
def restore_(database: Path, folder: Path | None, until: object, backup_id: str) -> None:
    """Make a book of a backup where there is none: after the loss of the disk.

    The key file must lie in its place. Where a book is there, restore through the API, or move it
    away. The new epoch's record says that what was abandoned is not known (0 records).
    """
    path = database.absolute()
    try:
        done = rebuild(path, folder, backup_id, moment_of(until))
    except (StartRefusedError, BackupRefusedError, Problem) as error:
        refuse(error)
    click.echo(
        f"epoch {done.epoch}, last transaction {done.last_seq}, audit root {done.audit_root}"
    )


def moment_of(until: object) -> int | None:
    """Return milliseconds of a moment in UTC."""
    from datetime import UTC, datetime

    return clock.milliseconds(until.replace(tzinfo=UTC)) if isinstance(until, datetime) else None


def rebuild(
    path: Path, folder: Path | None, backup_id: str, until_ms: int | None
) -> restore.Restored:
    """Make the file anew; nothing is left of it if that fails."""
    if path.exists():
        raise StartRefusedError(f"{path}: is there; move it away, or restore through the API")
    sealed.read_keys(path)
    kept = opened(path, folder, any_book(path, folder))
    wish = restore.Wish(backup_id=backup_id, until_ms=until_ms)
    known = kept.known()
    newest = max((one.epoch for one in known), default=0)
    now_ms = clock.SystemClock().now_ms()
    with store.alone(kept), store.no_space(), store.scratch(kept) as place:
        image = place / "image.db"
        source = restore.source_of(kept, wish, -1, now_ms)
        assert source is not None  # noqa: S101 - no live book to begin from
        restore.stage(kept, wish, source, image)
        with closing(pages.open_copy(image)) as copy:
            copy.execute("BEGIN")
            copy.execute("DELETE FROM leases")  # whoever had them then has not ended without notice
            copy.execute("DELETE FROM backups")
            for one in known:
                resources.enter(copy, one)
            done = restore.open_epoch(
                copy,
                audit.operator(restore.ACTION),
                wish,
                restore.Epoch(number=newest + 1, abandoned=(0, "0" * 64), now_ms=now_ms),
            )
            copy.execute("COMMIT")
            copy.execute("PRAGMA journal_mode = DELETE")
        fresh = path.with_name(f"{path.name}.restoring")  # the backups may lie on another disk
        pages.copy(image, fresh)
        fresh.chmod(0o600)
        pages.sync(fresh)
        fresh.rename(path)
        pages.sync(path.parent)
    return done
