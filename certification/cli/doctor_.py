"""`certify doctor`: what can and cannot be exercised on a target, before anything is written."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certification.cli import options
from certification.errors import ExitCode

if TYPE_CHECKING:
    from certification.connection import Opened
    from certification.model import PlannedCheck


@click.command("doctor")
@options.target
@options.profile
@options.as_json
def command(target_file: Path | None, profile_name: str, as_json: bool) -> int:
    """Say what can and cannot be exercised on a target, and why.

    Sends reads and logins only. Exit 0: every check of the profile can be tried; 1: some cannot.
    """
    from certification.checks import load_catalogue
    from certification.connection import open_target
    from certification.plan import make_plan, offer_of
    from certification.profile import load_profile
    from certification.progress import printable

    profile, catalogue = load_profile(profile_name), load_catalogue()
    with (
        tempfile.TemporaryDirectory(prefix="certify-doctor-") as folder,
        open_target(target_file, work=Path(folder), seed=0, writes=False) as opened,
    ):
        offer = offer_of(
            opened.capabilities,
            identities=opened.identities,
            grants=opened.grants,
            missing=opened.missing,
        )
        plan = make_plan(catalogue, profile, offer, [spec.id for spec in catalogue])
    blocked = [row for row in plan if row.fixed_outcome is not None]
    facts = _facts(opened)
    if as_json:
        rows = {row.id: row.fixed_reason for row in blocked}
        document = {**facts, "checks": len(plan), "not_exercised": rows}
        click.echo(json.dumps(document, indent=2))
    else:
        for name, value in facts.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(printable(f"{name:<20} {shown or 'none'}"))
        click.echo(f"{len(plan) - len(blocked)} of {len(plan)} checks can be tried")
        for reason, ids in sorted(_by_reason(blocked).items()):
            click.echo(printable(f"  {len(ids)} not: {reason}"))
    return ExitCode.NOT_REACHED if blocked else ExitCode.REACHED


def _facts(opened: Opened) -> dict[str, str | list[str]]:
    identity = opened.identity
    return {
        "target": identity.target_id,
        "base URL": identity.base_url,
        "implementation": f"{identity.implementation} {identity.version}",
        "build": identity.build,
        "instances": list(identity.instances),
        "contract": identity.contract_version,
        "modules": list(identity.modules),
        "identities": sorted(opened.identities),
        "identities missing": list(opened.missing),
        "grants": sorted(opened.grants),
        "counterparties": _counterparties(opened),
    }


def _counterparties(opened: Opened) -> list[str]:
    """Say of each simulated counterparty whether calls of the deployment arrive."""
    beside = opened.counterparties
    if beside is None:
        return ["not simulated: real ones, or none"]
    if beside.host is not None:
        return ["simulated by the run"]
    with contextlib.closing(beside.parties()) as parties:
        rows = parties.overview()["counterparties"]
    return [
        f"{row['name']}: {row['requests']} requests, last {row['last_arrival_at'] or 'never'}, "
        f"{row['violations']} not as its contract says"
        for row in rows
    ]


def _by_reason(rows: list[PlannedCheck]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row.fixed_reason or "", []).append(row.id)
    return reasons
