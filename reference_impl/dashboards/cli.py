"""Command line: `python -m reference_impl dashboards`."""

from pathlib import Path

import click


@click.command("dashboards")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; without it, the shipped ops/grafana.",
)
def command(out: Path | None) -> None:
    """Write the dashboards as JSON files for Grafana."""
    from . import grafana

    for path in grafana.write(out or grafana.FOLDER):
        click.echo(str(path))
