"""Command line: `python -m reference_impl init|serve`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from . import __version__
from .config import DISK_FREE_MIN_BYTES, PASSWORD_LENGTH_MIN, StartRefusedError
from .late_commands import LateGroup

PEM = click.Path(path_type=Path)


class Refusal(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = 2


@click.group(cls=LateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reference_impl")
def main() -> None:
    """Run the reference account system."""


main.late = {
    "alert-rules": "alerting.cli:command",
    "audit": "audit_cli:group",
    "backup": "operations.backup_cli:group",
    "config": "operations.cli:config_group",
    "dashboards": "dashboards.cli:command",
    "migrate": "operations.cli:migrate",
    "retention": "retention_cli:group",
}


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


def whole_numbers(text: str, count: int) -> tuple[int, ...] | None:
    """Return the numbers of `N/N/...`, from 0 to ten digits each; None if it is anything else."""
    parts = text.split("/")
    if len(parts) != count or any(re.fullmatch("[0-9]{1,10}", part) is None for part in parts):
        return None
    return tuple(map(int, parts))


def rate(option: str, text: str) -> tuple[int, int]:
    """Return requests and seconds of `REQUESTS/SECONDS`."""
    match whole_numbers(text, 2):
        case (requests, seconds) if 1 <= requests <= 1_000_000_000 and 1 <= seconds <= 86_400:
            return requests, seconds
    raise Refusal(
        f"{option} {text}: give REQUESTS/SECONDS, two whole numbers from 1, such as 300/60"
    )


def webhook_times(text: str) -> tuple[int, int, int]:
    """Return the three times of `TIMEOUT/FIRST/MOST`, in milliseconds."""
    match whole_numbers(text, 3):
        case (timeout, first, most) if (
            1 <= timeout < 100_000_000 and 1 <= first <= most < 100_000_000
        ):
            return timeout, first, most
    raise Refusal(
        f"--webhook-timing {text}: give TIMEOUT/FIRST/MOST, three whole numbers of milliseconds"
        " from 1, FIRST not above MOST, such as 10000/500/900000"
    )


def call_times(text: str) -> tuple[int, int, int]:
    """Return the three numbers of TIMEOUT/WINDOW/OPEN."""
    match whole_numbers(text, 3):
        case (timeout, window, pause) if (
            10 <= timeout <= 60_000 and 1 <= window <= 3_600 and 1 <= pause <= 3_600
        ):
            return timeout, window, pause
    raise Refusal(
        f"--call-timing {text}: give TIMEOUT/WINDOW/OPEN, 10 to 60000 milliseconds and twice"
        " 1 to 3600 seconds, such as 2000/30/10"
    )


def classes(text: str) -> str:
    """Return the named classes of characters; refuse a name that is none."""
    from .password_policy import COMPLEXITY

    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in COMPLEXITY]
    if unknown:
        raise Refusal(f"--password-complexity {unknown[0]}: choose from {', '.join(COMPLEXITY)}")
    return ",".join(dict.fromkeys(names))


@main.group()
def keys() -> None:
    """Change the keys of the encrypted fields."""


@keys.command()
@click.option("--database", required=True, type=click.Path(path_type=Path), help="Made by init.")
def rotate(database: Path) -> None:
    """Add a key and encrypt every sensitive value with it; the server may be running."""
    from . import rotation

    try:
        number, values = rotation.rotate(database.absolute())
    except StartRefusedError as error:
        raise Refusal(str(error)) from error
    click.echo(f"key {number} is in use; {values} values encrypted with it", err=True)


@keys.command()
@click.option("--database", required=True, type=click.Path(path_type=Path), help="Made by init.")
def retire(database: Path) -> None:
    """Delete the old keys; backups from before the rotation cannot be read without them."""
    from . import rotation

    try:
        old = rotation.retire(database.absolute())
    except StartRefusedError as error:
        raise Refusal(str(error)) from error
    numbers = ", ".join(map(str, old)) or "none"
    click.echo(f"deleted keys: {numbers}", err=True)


@main.command()
@click.option("--config", type=PEM, envvar="ALLUSE_CONFIG", help="TOML file; see `config`.")
@click.option("--database", type=click.Path(path_type=Path), help="Made by init.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0: free."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--threads", default=32, show_default=True, type=click.IntRange(1, 512))
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
)
@click.option("--certificate", type=PEM, help="PEM file: serve TLS 1.3 only.")
@click.option("--key", "private_key", type=PEM, help="PEM file of the certificate's key.")
@click.option(
    "--rate-limit",
    default="100000/10",
    show_default=True,
    metavar="REQUESTS/SECONDS",
    help="Of one principal, over all workers.",
)
@click.option(
    "--login-rate-limit",
    default="6000/60",
    show_default=True,
    metavar="REQUESTS/SECONDS",
    help="Of logins, refreshes and codes from one address, over all workers.",
)
@click.option(
    "--password-complexity",
    default="",
    metavar="CLASS,...",
    help="Classes that a password needs: lower, upper, digit, symbol.",
)
@click.option("--metrics/--no-metrics", default=True, show_default=True, help="Serve /metrics.")
@click.option(
    "--access-log/--no-access-log",
    default=True,
    show_default=True,
    help="A line a request at level info, of 5xx at level error.",
)
@click.option(
    "--otlp-endpoint",
    default="",
    metavar="URL",
    help="OpenTelemetry collector that takes OTLP over HTTP, such as http://127.0.0.1:4318.",
)
@click.option(
    "--disk-free-min",
    default=DISK_FREE_MIN_BYTES,
    show_default=True,
    type=click.IntRange(0),
    metavar="BYTES",
    help="Free space of the database's disk below which the server is not ready.",
)
@click.option(
    "--call-timing",
    default="2000/30/10",
    show_default=True,
    metavar="TIMEOUT/WINDOW/OPEN",
    help="Of calls to outside systems: milliseconds of an attempt, seconds in which failures"
    " add up, and seconds for which a breaker stays open.",
)
@click.option(
    "--webhook-allow",
    default="",
    metavar="HOST[:PORT],...",
    help="Internal or plain http hosts that webhooks may lead to.",
)
@click.option(
    "--webhook-ca",
    type=PEM,
    help="PEM file of authorities that webhook receivers may have besides the usual.",
)
@click.option(
    "--webhook-timing",
    default="10000/500/900000",
    show_default=True,
    metavar="TIMEOUT/FIRST/MOST",
    help="Milliseconds of an attempt, and of the first and the longest pause after a failure.",
)
@click.option(
    "--alert-scale",
    default=1.0,
    show_default=True,
    envvar="ALLUSE_ALERT_SCALE",
    type=click.FloatRange(1, 3600),
    help="Divides all times of the alert rules, for tests that wait for them.",
)
@click.option(
    "--webhook-give-up",
    "webhook_give_up_s",
    default=86_400,
    show_default=True,
    type=click.IntRange(1),
    metavar="SECONDS",
    help="After so long an event is set aside that its receiver answers with errors only.",
)
@click.option("--allow-plain-http", is_flag=True, help="Serve without TLS beyond loopback.")
@click.option("--die-with-parent", is_flag=True, help="Stop when the starting process is gone.")
@click.pass_context
def serve(
    context: click.Context, /, *, config: Path | None, die_with_parent: bool, **options: Any
) -> None:
    """Serve a database until SIGTERM; prints one JSON line when every worker answers.

    What is given here goes before a variable ALLUSE_<KEY>, that before the file.
    """
    from . import serving
    from .operations import settings

    chosen = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) in GIVEN and value is not None
    }
    try:
        found, _ = settings.gather(config, os.environ, keyed(chosen))
        code = serving.serve(found, die_with_parent=die_with_parent)
    except StartRefusedError as error:
        raise Refusal(str(error)) from error
    raise SystemExit(code)


GIVEN = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT)


def keyed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that options stand for; some options are several in one."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        match name:
            case "rate_limit":
                found["rate_requests"], found["rate_window_s"] = rate("--rate-limit", value)
            case "login_rate_limit":
                numbers = rate("--login-rate-limit", value)
                found["login_requests"], found["login_window_s"] = numbers
            case "call_timing":
                names = ("call_timeout_ms", "breaker_window_s", "breaker_open_s")
                found |= zip(names, call_times(value), strict=True)
            case "webhook_timing":
                names = ("webhook_timeout_ms", "webhook_retry_ms", "webhook_retry_max_ms")
                found |= zip(names, webhook_times(value), strict=True)
            case "password_complexity":
                found[name] = classes(value)
            case _:
                found[name] = str(value) if isinstance(value, Path) else value
    return found


if __name__ == "__main__":
    main()
