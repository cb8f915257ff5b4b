"""`certify claims`: recompute what documents and runs state, and name what does not follow."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options


@click.command("claims")
@click.argument("files", nargs=-1, required=True, type=options.PATH, metavar="FILE...")
@options.as_json
def command(files: tuple[Path, ...], as_json: bool) -> int:
    """Recompute every total, share and mean of FILEs from their own rows, and compare the files.

    A FILE is a reported document (TOML or JSON, see docs/claims.md) or a recorded run. Exit 0: no
    contradiction; 1: contradictions, each named.
    """
    from certification.claims import claims_json, claims_text, examine, exit_code

    found = examine(files, today=options.now().date())
    click.echo(claims_json(found) if as_json else claims_text(found), nl=False)
    return exit_code(found)
