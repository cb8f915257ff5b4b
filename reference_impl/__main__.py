"""Command line: `python -m reference_impl init|serve`."""

import os
from pathlib import Path

import click

from . import __version__
from .config import PASSWORD_LENGTH_MIN, Settings, StartRefusedError


class Refusal(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reference_impl")
def main() -> None:
    """Run the reference account system."""


@main.command()
@click.option("--database", required=True, type=click.Path(path_type=Path), help="File to create.")
@click.option(
    "--admin-password",
    required=True,
    metavar="env:NAME|file:PATH",
    help="Where the first admin's password is; never the password itself.",
)
@click.option("--admin-username", default="admin", show_default=True)
def init(database: Path, admin_password: str, admin_username: str) -> None:
    """Create a database with its first admin."""
    from . import setup

    try:
        setup.create(database, admin_username, secret(admin_password))
    except StartRefusedError as error:
        raise Refusal(str(error)) from error
    click.echo(f"created {database} with the admin {admin_username}", err=True)


def secret(reference: str) -> str:
    """Return the secret that `env:NAME` or `file:PATH` refers to.

    Raises StartRefusedError for a literal, and for a reference that leads nowhere; the message
    never repeats what could be a secret.
    """
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        value = os.environ.get(place)
        if value is None:
            raise StartRefusedError(f"--admin-password env:{place}: the variable is not set")
    elif kind == "file" and place:
        try:
            value = Path(place).read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise StartRefusedError(f"--admin-password file:{place}: {error}") from error
    else:
        raise StartRefusedError(
            "--admin-password takes env:NAME or file:PATH, not the password itself"
        )
    if len(value) < PASSWORD_LENGTH_MIN:
        raise StartRefusedError(
            f"--admin-password {kind}:{place}: needs at least {PASSWORD_LENGTH_MIN} characters"
        )
    return value


@main.command()
@click.option("--database", required=True, type=click.Path(path_type=Path), help="Made by init.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0: free."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--threads", default=16, show_default=True, type=click.IntRange(1, 512))
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
)
@click.option("--allow-plain-http", is_flag=True, help="Serve without TLS beyond loopback.")
@click.option("--die-with-parent", is_flag=True, help="Stop when the starting process is gone.")
def serve(  # noqa: PLR0913 - one argument for each option
    *,
    database: Path,
    host: str,
    port: int,
    workers: int,
    threads: int,
    log_level: str,
    allow_plain_http: bool,
    die_with_parent: bool,
) -> None:
    """Serve a database until SIGTERM; prints one JSON line when every worker answers."""
    from . import serving

    if host not in serving.LOOPBACK and not allow_plain_http:
        raise Refusal(
            f"--host {host}: plain HTTP is served on loopback only; put TLS in front of it"
            " or add --allow-plain-http"
        )
    settings = Settings(
        database=database.absolute(),
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        log_level=log_level,
    )
    try:
        code = serving.serve(settings, die_with_parent=die_with_parent)
    except StartRefusedError as error:
        raise Refusal(str(error)) from error
    raise SystemExit(code)


if __name__ == "__main__":
    main()
