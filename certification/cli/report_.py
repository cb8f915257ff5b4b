"""`certify report`: write the reports of a recorded run again."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options


@click.command("report")
@click.argument("evidence", type=options.PATH)
@click.option("--out", type=options.PATH, help="Folder for the reports.  [default: beside it]")
@click.option("--profile", "profile_name", metavar="NAME|FILE", help="Judge under this profile.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    help="html, json, junit, sarif, csv, markdown; repeatable.",
)
def command(
    evidence: Path, out: Path | None, profile_name: str | None, formats: tuple[str, ...]
) -> None:
    """Write the reports of EVIDENCE (a file or a run's folder)."""
    from certification.checks import load_catalogue
    from certification.judge import judge
    from certification.outputs import remedies
    from certification.profile import load_profile
    from certification.report import FORMATS, write_reports

    path = options.evidence_file(evidence)
    profile = load_profile(profile_name) if profile_name else None
    judgement = judge(path, profile=profile, today=options.now().date())
    written = write_reports(
        judgement,
        path,
        out or path.parent,
        remedies=remedies(load_catalogue()),
        formats=formats or FORMATS,
    )
    for file in written:
        click.echo(file)
