"""`python -m reference_impl alert-rules`: the rules as a file for Prometheus."""

from pathlib import Path

import click

from . import promfile


@click.command("alert-rules")
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=click.FloatRange(1, 3600),
    help="Divide all times, as --alert-scale does.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File; else standard output."
)
def command(scale: float, out: Path | None) -> None:
    """Write the alert rules as a rule file for Prometheus."""
    text = promfile.text(scale)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise click.ClickException(f"{out}: {error.strerror}") from error
