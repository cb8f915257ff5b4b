"""`certify list`: the catalogue, a line each."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from certification.cli import options


@click.command("list")
@click.option("--suite", "suites", multiple=True, help="Only this suite; repeatable.")
@options.as_json
def command(suites: tuple[str, ...], as_json: bool) -> None:
    """List the checks: id, severity, phase, title."""
    from certification.checks import load_catalogue

    rows = [spec for spec in load_catalogue() if not suites or spec.suite in suites]
    if as_json:
        documents = [asdict(spec) for spec in rows]
        click.echo(json.dumps(documents, indent=2, default=lambda value: value.value))
        return
    width = max((len(spec.id) for spec in rows), default=0)
    for spec in rows:
        click.echo(f"{spec.id:<{width}}  {spec.severity.value:<8}  {spec.phase:<8}  {spec.title}")
    click.echo(f"{len(rows)} checks")
