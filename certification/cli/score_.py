"""`certify score`: judge a recorded run again, under its own profile or another."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options


@click.command("score")
@click.argument("evidence", type=options.PATH)
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Judge under this profile.")
@options.as_json
def command(evidence: Path, profile_name: str | None, as_json: bool) -> int:
    """Judge EVIDENCE (a file or a run's folder) and exit as the run did."""
    from certification.cli.verdict import verdict_text
    from certification.judge import judge
    from certification.profile import load_profile
    from certification.report import render, report_view

    profile = load_profile(profile_name) if profile_name else None
    path = options.evidence_file(evidence)
    judgement = judge(path, profile=profile, today=options.now().date())
    if as_json:
        click.echo(render(report_view(judgement, None), "json"))
    else:
        click.echo(verdict_text(judgement))
    return judgement.verdict.exit_code
