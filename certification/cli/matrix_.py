"""`certify matrix`: requirement x check, both ways."""

from __future__ import annotations

import click

from certification.errors import ExitCode


@click.command("matrix")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv"]),
    default="text",
    show_default=True,
    help="How the matrix is printed.",
)
def command(form: str) -> int:
    """Show which check verifies which requirement, both ways.

    Exit code 1 where a check cites a requirement that is not registered.
    """
    from certification.checks import load_catalogue
    from certification.matrix import build_matrix, matrix_csv, matrix_json, matrix_text
    from certification.register import load_register

    matrix = build_matrix(load_register(), load_catalogue())
    views = {"text": matrix_text, "json": matrix_json, "csv": matrix_csv}
    click.echo(views[form](matrix), nl=False)
    return ExitCode.NOT_REACHED if matrix.unknown else ExitCode.REACHED
