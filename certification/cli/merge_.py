"""`certify merge`: one run out of the evidence of parallel CI jobs."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options


@click.command("merge")
@click.argument("evidence", nargs=-1, required=True, type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="Folder for the merged run.")
def command(evidence: tuple[Path, ...], out: Path) -> int:
    """Join EVIDENCE of one build and one profile into one verdict and write its reports."""
    from certification.cli.verdict import verdict_text
    from certification.judge import judge
    from certification.merge import merge
    from certification.outputs import write_outputs

    merged = merge([options.evidence_file(path) for path in evidence], out)
    judgement = judge(merged, today=options.now().date())
    write_outputs(judgement, merged, merged.parent)
    click.echo(verdict_text(judgement))
    return judgement.verdict.exit_code
