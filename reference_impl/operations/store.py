"""The folder of backups: one folder for each, complete or not there at all.

A backup is written into a folder whose name begins with `.partial`, every file and the folder are
synced, and only then it gets its name: a crash leaves nothing that looks like a backup, and the
next one that is made clears up. One process at a time works here; the lock ends with it.
"""

import errno
import fcntl
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from reference_impl import checkpoints, database, sealed
from reference_impl.problems import Problem

from . import manifest, pages, verify
from .manifest import Manifest
from .refused import BackupRefusedError

IMAGE = "book.db"
CHANGES = "pages.bin"
INDEX = "pages.idx"
SETTINGS = "settings.toml"
PARTIAL = ".partial-"
CHAIN_MAX = 1000
_log = logging.getLogger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where the backups of one deployment are, and with what they are signed."""

    database: Path
    folder: Path
    signer: checkpoints.Signer
    free_min: int = 0
    """Bytes that a backup leaves free on the disk."""

    def read(self, backup_id: str) -> Manifest:
        """Return a manifest whose signature holds. Raises BackupRefusedError."""
        return manifest.read(self.folder / backup_id, self.signer.public_key)

    def known(self) -> list[Manifest]:
        """Return what can be read of the folder, oldest first; what cannot is left out."""
        found = []
        for path in sorted(self.folder.glob("bak_*")):
            try:
                found.append(self.read(path.name))
            except BackupRefusedError:
                continue
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def chain(self, backup_id: str) -> list[Manifest]:
        """Return the backups that one builds on, the oldest first. Raises BackupRefusedError."""
        links = [self.read(backup_id)]
        while (base := links[0].base_id) is not None:
            if len(links) >= CHAIN_MAX or any(base == link.id for link in links):
                raise BackupRefusedError(f"{backup_id}: its chain of backups has no end")
            links.insert(0, self.read(base))
        if links[0].type == "configuration":
            raise BackupRefusedError(f"{backup_id}: is a configuration; it holds no book")
        return links

    def compose(self, backup_id: str, image: Path) -> Manifest:
        """Write the database file that a backup stands for, with its digest checked.

        Raises BackupRefusedError naming what is missing, truncated, corrupt or foreign.
        """
        links = self.chain(backup_id)
        for link in links:
            place = self.folder / link.id
            manifest.check_lengths(place, link)
            if link.type == "full":
                pages.copy(place / IMAGE, image)
            else:
                pages.apply_changes(place / CHANGES, image, link.pages)
        if pages.sha256(image) != links[-1].image_sha256:
            # One digest of the whole is enough while it is right; now each file is looked at.
            for link in links:
                manifest.check_files(self.folder / link.id, link)
            raise BackupRefusedError(f"{backup_id}: the pages do not make up the book it was of")
        return links[-1]

    def needed_bytes(self, kind: str) -> int:
        """Return how much space making a backup takes at most."""
        book = self.database.stat().st_size
        return {"full": book, "incremental": 2 * book}.get(kind, 0) + book // 128 + 65_536


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Work alone in the folder (503 `busy` while somebody else does); clear up after a crash."""
    with no_space():
        store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (store.folder / "lock").open("ab")
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem("busy", "Another backup or restore is at work.") from None
        for left in store.folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def scratch(store: Store) -> Iterator[Path]:
    """Give a folder that is gone afterwards, unless it was renamed."""
    with no_space():
        place = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=store.folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def no_space() -> Iterator[None]:
    """Turn a full disk into 507 `insufficient_storage`."""
    full = Problem("insufficient_storage", "The disk is full; nothing was kept.")
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full from error
        raise
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            raise full from error
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A backup that is to be made."""

    id: str
    type: str
    created_by: str
    moment_ms: int
    """Every change up to it is committed, none after it has begun to be made a copy of."""
    base_id: str | None = None
    settings: bytes = b""
    """What a configuration backup holds."""


def make(store: Store, order: Order) -> Manifest:
    """Make a backup; call it inside `alone`.

    Raises Problem `insufficient_storage`, and then nothing is left.
    """
    check_space(store, order.type)
    with no_space(), scratch(store) as place:
        if order.type == "configuration":
            (place / SETTINGS).write_bytes(order.settings)
            made = _describe(store, order, store.database)
        else:
            image = place / IMAGE
            pages.snapshot(store.database, image)
            made = _pack(store, order, image)
        made = _sign(store, made, place)
        (place / manifest.NAME).write_bytes(made.render())
        for path in place.iterdir():
            pages.sync(path)
        pages.sync(place)
        place.rename(store.folder / order.id)
        pages.sync(store.folder)
    return made


def check_space(store: Store, kind: str) -> None:
    """Refuse what would not fit, before anything is written."""
    free = shutil.disk_usage(store.folder).free
    if free < store.needed_bytes(kind) + store.free_min:
        raise Problem("insufficient_storage", f"{free} bytes are free; that is not enough.")


def _describe(store: Store, order: Order, book: Path) -> Manifest:
    """Return the manifest but for files and signature; of the book only what is recorded."""
    opened: Callable[[Path], sqlite3.Connection] = pages.open_image
    if book == store.database:
        opened = _open_live
    with closing(opened(book)) as connection:
        size, root = verify.audit_state(connection)
        last = connection.execute("SELECT coalesce(max(seq), 0) FROM transactions").fetchone()[0]
        return Manifest(
            format=manifest.FORMAT,
            id=order.id,
            type=order.type,
            base_id=order.base_id,
            created_at=order.moment_ms,
            created_by=order.created_by,
            epoch=int(database.meta(connection, "epoch")),
            schema_version=connection.execute("PRAGMA user_version").fetchone()[0],
            last_seq=last,
            audit_size=size,
            audit_root=root,
            key_number=max(sealed.read_keys(store.database)),
            pages=0,
            image_sha256="",
            files={},
        )


def _open_live(path: Path) -> sqlite3.Connection:
    return database.connect(path, read_only=True)


def _pack(store: Store, order: Order, image: Path) -> Manifest:
    """Write the index, and for an incremental backup the changed pages instead of the image."""
    made = replace(
        _describe(store, order, image),
        pages=image.stat().st_size // pages.PAGE_BYTES,
        image_sha256=pages.sha256(image),
    )
    index = image.with_name(INDEX)
    if order.type == "incremental":
        base = None if order.base_id is None else store.folder / order.base_id / INDEX
        pages.write_changes(image, index, image.with_name(CHANGES), base)
        image.unlink()
    else:
        pages.write_index(image, index)
    return made


def _sign(store: Store, made: Manifest, place: Path) -> Manifest:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": pages.sha256(path)}
        for path in sorted(place.iterdir())
    }
    made = replace(made, files=files)
    return replace(made, signature=store.signer.sign_message(made.message()))


def remove(store: Store, backup_id: str) -> None:
    """Delete a backup that nobody was told of."""
    shutil.rmtree(store.folder / backup_id, ignore_errors=True)


def base_for(store: Store) -> str | None:
    """Return the newest backup that an incremental one can continue; None: it holds every page.

    Every file of its chain is read: what continues a damaged chain could never be restored. That
    takes about as long as `verify` needs before it looks into the book; each reason why a backup
    is passed over is logged as a warning.
    """
    looked: dict[str, str] = {}
    for candidate in reversed(store.known()):
        if candidate.type == "configuration":
            continue
        reason = damage(store, candidate.id, looked)
        if not reason:
            return candidate.id
        _log.warning("%s is not continued: %s", candidate.id, reason)
    return None


def damage(store: Store, backup_id: str, looked: dict[str, str]) -> str:
    """Return what is wrong with a chain, empty if it is whole; `looked` keeps it for each link."""
    try:
        links = store.chain(backup_id)
    except BackupRefusedError as error:
        return str(error)
    for link in links:
        if link.id not in looked:
            try:
                manifest.check_files(store.folder / link.id, link)
                looked[link.id] = ""
            except (BackupRefusedError, OSError) as error:
                looked[link.id] = str(error)
        if looked[link.id]:
            return looked[link.id]
    return ""
