"""`certify compare`: what changed between two recorded runs."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options


@click.command("compare")
@click.argument("baseline", type=options.PATH)
@click.argument("evidence", type=options.PATH)
@click.option("--any-profile", is_flag=True, help="Compare across profiles or profile versions.")
@options.as_json
def command(baseline: Path, evidence: Path, any_profile: bool, as_json: bool) -> int:
    """Compare BASELINE with EVIDENCE (files or runs' folders); exit 1 where something got worse."""
    from certification.compare import compare, comparison_json, comparison_text
    from certification.errors import ExitCode
    from certification.judge import judge

    day = options.now().date()
    old, new = (judge(options.evidence_file(path), today=day) for path in (baseline, evidence))
    comparison = compare(old, new, any_profile=any_profile)
    click.echo(comparison_json(comparison) if as_json else comparison_text(comparison))
    return ExitCode.NOT_REACHED if comparison.worse else ExitCode.REACHED
