"""Command line of the audit trail: export it, print its public key, verify it offline."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import click

from . import audit, audit_verify, checkpoints, clock, database, merkle, rotation, sealed
from .config import StartRefusedError

DATABASE = click.option(
    "--database", required=True, type=click.Path(path_type=Path), help="Made by init."
)
KEY = click.option(
    "--key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Public key in PEM, from `audit key` or the capability document.",
)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Bad(click.ClickException):
    """One line on standard error, and an exit code.

    1: it does not verify; 2: it cannot be read; 3: it holds, but for checkpoints of a loss that the
    verifier did not name.
    """

    def __init__(self, message: str, *, code: int = 1) -> None:
        """Choose the exit code."""
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click declares it for the class, reads it from self


@click.group("audit")
def group() -> None:
    """Export and verify the audit trail."""


@group.command("export")
@DATABASE
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to create.")
def export_(database: Path, out: Path) -> None:
    """Write every record and a signed checkpoint as JSON lines; the server may be running."""
    try:
        checkpoint = export(database.absolute(), out)
    except (StartRefusedError, OSError) as error:
        raise Bad(str(error), code=2) from error
    click.echo(f"{checkpoint.size} records, root {checkpoint.root}", err=True)


def export(path: Path, out: Path) -> checkpoints.Checkpoint:
    """Write the log of now, its own export included; return its checkpoint.

    Raises StartRefusedError for a file that is no database, FileExistsError if `out` is there.
    """
    database.check(path)
    signer = signer_of(path)
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        rotation.record(path, "exportAudit", "audit")
        connection = database.connect(path, read_only=True)
        try:
            connection.execute("BEGIN")
            frontier = merkle.Frontier()
            for record in audit.documents(connection):
                file.write(checkpoints.canonical(record) + b"\n")
                frontier.add(bytes.fromhex(record["leaf_hash"]))
            checkpoint = signer.sign(
                size=frontier.size,
                root=frontier.root(),
                ts=clock.text(clock.SystemClock().now_ms()),
                epoch=int(database.meta(connection, "epoch")),
            )
        finally:
            connection.close()
        file.write(checkpoints.canonical({"checkpoint": checkpoint.document()}) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return checkpoint


def signer_of(path: Path, book: Path | None = None) -> checkpoints.Signer:
    """Return the signer of a deployment, from its key file and its database, or a copy of that."""
    keys = sealed.read_keys(path)
    connection = sqlite3.connect(f"file:{book or path}?mode=ro", uri=True)
    try:
        seed = bytes.fromhex(database.meta(connection, "audit_seed"))
    finally:
        connection.close()
    return checkpoints.Signer(sealed.peppered(keys, seed))


@group.command("key")
@DATABASE
def key_(database: Path) -> None:
    """Print the public key of the checkpoints (PEM)."""
    try:
        public = _checked_signer(database.absolute()).public_key
    except StartRefusedError as error:
        raise Bad(str(error), code=2) from error
    click.echo(public, nl=False)


def _checked_signer(path: Path) -> checkpoints.Signer:
    database.check(path)
    return signer_of(path)


@group.command("verify")
@click.option("--log", required=True, type=FILE, help="File of `audit export`.")
@KEY
@click.option(
    "--checkpoint",
    "kept",
    multiple=True,
    type=FILE,
    help="A checkpoint kept elsewhere (JSON); may be repeated.",
)
@click.option(
    "--known-loss",
    "known",
    multiple=True,
    type=click.IntRange(min=1),
    help="Record by which a lost book was made again, as you know; may be repeated.",
)
def verify_(log: Path, key: Path, kept: tuple[Path, ...], known: tuple[int, ...]) -> None:
    """Verify chain, tree and signature of an exported log; needs no database and no network.

    Exit code 3: all holds, but a checkpoint is of what was lost at a record that --known-loss did
    not name.
    """
    anchors = [read_checkpoint(path) for path in kept]
    try:
        found = audit_verify.verify_log(log, key.read_text("utf-8"), anchors, known_losses=known)
    except audit_verify.UnknownLossError as error:
        raise Bad(f"{log}: {error}", code=3) from error
    except audit_verify.LogError as error:
        raise Bad(f"{log}: {error}") from error
    except ValueError as error:
        raise Bad(f"{key}: {error}", code=2) from error
    also = f", and continues {found.anchors} kept checkpoints" if found.anchors else ""
    if found.abandoned:
        also += f"; {found.abandoned} kept checkpoints are of what a restore abandoned"
    for loss in found.losses:
        also += f"; the book was lost: what came after record {loss.kept} is not known"
        if loss.anchors:
            also += f", and {len(loss.anchors)} kept checkpoints of it were compared with nothing"
    epoch = f", epoch {found.epoch}" if found.epoch > 1 else ""
    click.echo(
        f"ok: {found.size} records{epoch}, root {found.root}, signed {found.checkpoint.ts}{also}"
    )


@group.command("check-proof")
@click.option("--answer", required=True, type=FILE, help="GET /v1/audit/checkpoint, saved.")
@KEY
@click.option("--record", type=FILE, help="A record that ?prove= was asked for (JSON).")
@click.option("--older", type=FILE, help="The checkpoint that ?since= was asked for (JSON).")
def check_proof(answer: Path, key: Path, record: Path | None, older: Path | None) -> None:
    """Verify a saved answer of the API: signature, inclusion of a record, consistency."""
    try:
        found = audit_verify.verify_answer(
            read_json(answer),
            key.read_text("utf-8"),
            record=None if record is None else read_json(record),
            older=None if older is None else read_checkpoint(older),
        )
    except audit_verify.LogError as error:
        raise Bad(f"{answer}: {error}") from error
    except ValueError as error:
        raise Bad(f"{key}: {error}", code=2) from error
    click.echo(f"ok: {found.size} records, root {found.root}, signed {found.ts}")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path}: is not JSON ({error})", code=2) from error
    if not isinstance(found, dict):
        raise Bad(f"{path}: is not a JSON object", code=2)
    return found


def read_checkpoint(path: Path) -> checkpoints.Checkpoint:
    """Return the checkpoint in a file: one from the API, or the last line of a log."""
    found = read_json(path)
    checkpoint = checkpoints.parse(found.get("checkpoint", found))
    if checkpoint is None:
        raise Bad(f"{path}: is not a checkpoint with size, root, ts, epoch, signature", code=2)
    return checkpoint
