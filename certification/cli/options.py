"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from certification.errors import UsageError
from certification.plan import Selection

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)

target = click.option(
    "--target",
    "target_file",
    type=PATH,
    metavar="FILE",
    help="Target file of the deployment; without it the reference is started here.",
)
profile = click.option(
    "--profile",
    "profile_name",
    default="standard",
    show_default=True,
    metavar="NAME|FILE",
    help="Profile: smoke, standard, gold, ws3-2025, or a file of your own.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
valid_days = click.option(
    "--valid-days",
    type=click.IntRange(1, 366),
    default=90,
    show_default=True,
    help="How long the certificate is valid.",
)
workers = click.option(
    "--workers",
    "-n",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Processes of the parallel phase.",
)


def selection(function: F) -> F:
    """Add -k, --suite and --check."""
    for option in (
        click.option("-k", "keyword", metavar="EXPR", help="Only checks that match, as in pytest."),
        click.option("--suite", "suites", multiple=True, help="Only this suite; repeatable."),
        click.option(
            "--check", "checks", multiple=True, metavar="GLOB", help="Only these ids; repeatable."
        ),
    ):
        function = option(function)
    return function


def selection_of(
    keyword: str | None, suites: tuple[str, ...], checks: tuple[str, ...]
) -> Selection:
    """Return the selection; raises `UsageError` for a suite that does not exist."""
    from certification.model import SUITE_CATEGORY

    for name in suites:
        if name not in SUITE_CATEGORY:
            raise UsageError(f"--suite {name}: no such suite", hint=", ".join(SUITE_CATEGORY))
    return Selection(suites=suites, checks=checks, keyword=keyword)


def evidence_file(path: Path) -> Path:
    """Return the evidence file that a path names: itself, or the one in a run's folder."""
    if not path.is_dir():
        return path
    for name in ("evidence.jsonl.gz", "evidence.jsonl"):
        if (path / name).is_file():
            return path / name
    raise UsageError(f"{path}: holds no evidence.jsonl.gz", hint="name a run's folder or its file")


def now() -> datetime:
    """Return now; the one place where offline commands read the clock."""
    return datetime.now(UTC)
