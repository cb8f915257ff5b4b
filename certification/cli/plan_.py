"""`certify plan`: what would run, without running it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from certification.cli import options


@click.command("plan")
@options.target
@options.profile
@options.selection
@options.workers
@options.as_json
def command(
    target_file: Path | None,
    profile_name: str,
    keyword: str | None,
    suites: tuple[str, ...],
    checks: tuple[str, ...],
    workers: int,
    as_json: bool,
) -> None:
    """Show what would run on a target, with a rough estimate of time and requests.

    Sends reads and logins only.
    """
    import tempfile

    from certification.checks import load_catalogue
    from certification.connection import open_target
    from certification.plan import estimate
    from certification.profile import load_profile
    from certification.progress import printable
    from certification.runner import RunConfig, plan_run

    with tempfile.TemporaryDirectory(prefix="certify-plan-") as folder:
        config = RunConfig(
            profile=load_profile(profile_name),
            out=Path(folder),
            target_file=target_file,
            selection=options.selection_of(keyword, suites, checks),
            workers=workers,
        )
        with open_target(target_file, work=Path(folder), seed=0, writes=False) as opened:
            plan = plan_run(config, load_catalogue(), opened)
    requests, seconds = estimate(plan, workers=workers)
    if as_json:
        rows = [
            {
                "id": row.id,
                "phase": row.phase,
                "severity": row.severity.value,
                "outcome": row.fixed_outcome.value if row.fixed_outcome else None,
                "reason": row.fixed_reason,
            }
            for row in plan
        ]
        document = {"checks": rows, "requests": requests, "seconds": round(seconds, 1)}
        click.echo(json.dumps(document, indent=2))
        return
    for row in plan:
        fixed = f"{row.fixed_outcome.value}: {row.fixed_reason}" if row.fixed_outcome else "runs"
        click.echo(printable(f"{row.phase:<8}  {row.id}  {fixed}"))
    counts = Counter("runs" if row.fixed_outcome is None else "does not run" for row in plan)
    click.echo(", ".join(f"{count} {word}" for word, count in sorted(counts.items(), reverse=True)))
    click.echo(f"about {requests} requests, {seconds:.0f} s with {workers} workers (a rough guess)")
