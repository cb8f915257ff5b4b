"""Command line of retention: delete what is past its period."""

from pathlib import Path

import click

from . import retention
from .config import StartRefusedError

DEFAULTS = retention.Periods()
DAYS = click.IntRange(1, 36_500)


@click.group("retention")
def group() -> None:
    """Delete what has served its purpose."""


@group.command("apply")
@click.option("--database", required=True, type=click.Path(path_type=Path), help="Made by init.")
@click.option("--sessions-days", default=DEFAULTS.sessions_days, show_default=True, type=DAYS)
@click.option("--grants-days", default=DEFAULTS.grants_days, show_default=True, type=DAYS)
@click.option("--passwords-days", default=DEFAULTS.passwords_days, show_default=True, type=DAYS)
def apply_(database: Path, sessions_days: int, grants_days: int, passwords_days: int) -> None:
    """Delete ended sessions, expired grants and the like; the server may be running.

    The days count from the end of a session or grant, or from the replacement of a password.
    """
    periods = retention.Periods(
        sessions_days=sessions_days, grants_days=grants_days, passwords_days=passwords_days
    )
    try:
        deleted = retention.apply(database.absolute(), periods)
    except StartRefusedError as error:
        raise click.UsageError(str(error)) from error
    for kind, count in deleted.items():
        click.echo(f"{kind}: {count} deleted")
