"""Command line of operating: config, migrate, backup."""

import os
from pathlib import Path
from typing import NoReturn

import click

from reference_impl.config import StartRefusedError

from . import backup_cli

FILE = click.Path(path_type=Path)
DATABASE = click.option("--database", required=True, type=FILE, help="Made by init.")
CONFIG = click.option("--config", type=FILE, envvar="ALLUSE_CONFIG", help="TOML file.")


def refuse(error: Exception) -> NoReturn:
    """End with the reason on standard error and exit code 2."""
    raise backup_cli.Refusal(str(error)) from error


@click.group("config")
def config_group() -> None:
    """Show and check the configuration of `serve`."""


@config_group.command("reference")
def config_reference() -> None:
    """Print every key with its meaning, range, variable and default, as a TOML file."""
    from . import settings

    click.echo(settings.reference(), nl=False)


@config_group.command("check")
@CONFIG
@click.option("--database", type=FILE, help="As `serve` is given it.")
def config_check(config: Path | None, database: Path | None) -> None:
    """Check a file and the environment without starting; name every wrong key and the way out."""
    from . import settings

    given = {} if database is None else {"database": str(database)}
    try:
        _, origins = settings.gather(config, os.environ, given)
    except StartRefusedError as error:
        refuse(error)
    for origin in origins:
        click.echo(origin)
    click.echo("ok", err=True)


@click.command()
@DATABASE
@click.option("--to", type=int, help="Go back to this older version of the schema.")
def migrate(database: Path, to: int | None) -> None:
    """Bring a database of an older version up, or back; stop the server first."""
    from . import migrations

    path = database.absolute()
    try:
        if to is not None:
            steps = migrations.go_back(path, to)
            click.echo(f"{steps} steps back; the schema is {to}", err=True)
            return
        steps, copy = migrations.migrate(path)
    except StartRefusedError as error:
        refuse(error)
    kept = f"; as it was: {copy}" if copy else ""
    click.echo(f"{steps} steps up{kept}", err=True)
