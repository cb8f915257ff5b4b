"""The manifest of a backup: what it holds, the digests of its files, and whose it is.

Signed with the key of the audit checkpoints, which is made of a seed in the database and a secret
in the key file: a backup of another deployment, or one that was changed, is told by its signature.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from reference_impl import checkpoints

from . import pages
from .refused import BackupRefusedError

CONTEXT = b"alluse-backup-manifest-v1\n"
NAME = "manifest.json"
FORMAT = 1
ID = re.compile(r"bak_[0-9a-f-]{36}\Z")
TYPES = ("full", "incremental", "configuration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one backup is."""

    format: int
    id: str
    type: str
    base_id: str | None
    created_at: int
    """Milliseconds since 1970: every change up to this instant is in it, and none after it was
    taken."""
    created_by: str
    epoch: int
    schema_version: int
    last_seq: int
    audit_size: int
    audit_root: str
    key_number: int
    """Of the newest key that encrypted values in it may need."""
    pages: int
    image_sha256: str
    """Of the whole database file that this backup stands for; empty for a configuration."""
    files: Mapping[str, Mapping[str, Any]]
    """Name -> {bytes, sha256}."""
    signature: str = ""

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        shown = asdict(self)
        del shown["signature"]
        return CONTEXT + checkpoints.canonical(shown)

    def render(self) -> bytes:
        """Return the file's content."""
        return checkpoints.canonical(asdict(self)) + b"\n"


def read(folder: Path, public_key: str) -> Manifest:
    """Return the manifest in a folder.

    Raises BackupRefusedError, naming the backup: not there, never finished, not JSON, of another
    format or name, or not signed by this deployment.
    """
    if not folder.is_dir():
        raise BackupRefusedError(f"{folder.name}: is missing: there is no such folder")
    try:
        raw = (folder / NAME).read_bytes()
    except OSError:
        raise BackupRefusedError(
            f"{folder.name}: has no {NAME}: it was never finished, or is none"
        ) from None
    try:
        shown = json.loads(raw)
        found = Manifest(**shown)
        signed = set(shown) == {field.name for field in fields(Manifest)}
        signed = signed and checkpoints.verifies(public_key, found.message(), found.signature)
    except (ValueError, TypeError, RecursionError):
        raise BackupRefusedError(f"{folder.name}: {NAME} is damaged") from None
    if not signed:
        raise BackupRefusedError(
            f"{folder.name}: {NAME} is not signed by this deployment: it is another one's, or was"
            " changed"
        )
    if found.format != FORMAT or found.id != folder.name:
        raise BackupRefusedError(f"{folder.name}: is backup {found.id} of format {found.format}")
    return found


def check_lengths(folder: Path, manifest: Manifest) -> None:
    """Compare the lengths of the files with the manifest; BackupRefusedError names the first."""
    for name, said in manifest.files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise BackupRefusedError(f"{manifest.id}: {name} is missing")
        size = path.stat().st_size
        if size != said["bytes"]:
            how = "truncated" if size < said["bytes"] else "too long"
            raise BackupRefusedError(
                f"{manifest.id}: {name} is {how} ({size} of {said['bytes']} bytes)"
            )


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare lengths and digests with the manifest; BackupRefusedError names the first."""
    check_lengths(folder, manifest)
    for name, said in manifest.files.items():
        if pages.sha256(folder / Path(name).name) != said["sha256"]:
            raise BackupRefusedError(f"{manifest.id}: {name} is corrupt (its digest differs)")
