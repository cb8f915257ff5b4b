"""The folder that one run writes: named, made, and removed again where nothing came of it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from certification.errors import UsageError


def default_out(now: datetime) -> Path:
    """Return the folder of a run that was given none: `runs/<UTC time>`."""
    return Path("runs") / now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def prepare_folder(out: Path) -> None:
    """Make the run's folder; raises `UsageError` where it holds a run already or cannot be made."""
    try:
        if out.exists() and any(out.iterdir()):
            raise UsageError(
                f"{out} is not empty", hint="choose another --out folder, or remove this one"
            )
        (out / "work").mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"{out}: cannot be used as --out folder: {error.strerror}",
            hint="name a folder that can be created",
        ) from error


def remove_unused(out: Path) -> None:
    """Remove the folder again where the run ended before there was any evidence."""
    if not list(out.glob("evidence.jsonl*")):
        shutil.rmtree(out, ignore_errors=True)
