"""`certify run`: observe, judge, write the outputs, sign."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certification.cli import options
from certification.errors import UsageError

if TYPE_CHECKING:
    from certification.runner import RunConfig, RunOutcome

CERTIFICATE_FILE = "certificate.intoto.json"


@click.command("run")
@options.target
@options.profile
@options.selection
@click.option(
    "--out", type=options.PATH, help="Folder for evidence and reports.  [default: runs/<UTC time>]"
)
@options.workers
@click.option("--level", help="Level to ask for.  [default: the profile's]")
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of everything drawn; a report states it."
)
@click.option("--sign", "key", type=options.PATH, metavar="KEY", help="Sign a certificate.")
@options.valid_days
@click.option("--operator", default="", help="Who runs this, for report and certificate.")
@click.option("--waivers", type=options.PATH, help="TOML file of waivers and workarounds.")
@click.option("--attestations", type=options.PATH, help="TOML file of attestations.")
@click.option("--quiet", "-q", is_flag=True, help="No progress; the verdict only.")
@options.as_json
def command(
    target_file: Path | None,
    profile_name: str,
    keyword: str | None,
    suites: tuple[str, ...],
    checks: tuple[str, ...],
    out: Path | None,
    workers: int,
    level: str | None,
    seed: int | None,
    key: Path | None,
    valid_days: int,
    operator: str,
    waivers: Path | None,
    attestations: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run the checks on a target and judge it.

    Without --target the reference is started on a free port with a temporary database. Exit code 0:
    the requested level was reached; 1: it was not; 3: the run cannot carry a verdict. A partial run
    (-k, --suite, --check) asks for SELECTION_PASSED: every selected check passed.
    """
    from certification.cli.interruption import interruption
    from certification.profile import load_profile
    from certification.progress import display_for
    from certification.run_folder import default_out
    from certification.runner import RunConfig, run
    from certification.waivers import load_attestations, load_waivers, load_workarounds

    profile = load_profile(profile_name)
    _refuse_unknown_level(level, [row.name for row in profile.levels])
    selection = options.selection_of(keyword, suites, checks)
    if key is not None:
        if selection.partial:
            raise UsageError(
                f"{selection.text}: a partial run is not signed", hint="run the whole profile"
            )
        _refuse_unusable_key(key)
    config = RunConfig(
        profile=profile,
        out=out or default_out(options.now()),
        target_file=target_file,
        selection=selection,
        workers=workers,
        level=level,
        seed=seed,
        operator=operator or os.environ.get("CERTIFY_OPERATOR", "") or getpass.getuser(),
        waivers=load_waivers(waivers) if waivers else (),
        workarounds=load_workarounds(waivers) if waivers else (),
        attestations=load_attestations(attestations) if attestations else (),
    )
    with interruption() as interrupted:
        display = display_for(quiet=quiet or as_json)
        outcome = run(config, display=display, interrupted=interrupted)
    return _outputs(outcome, config, key=key, valid_days=valid_days, as_json=as_json)


def _outputs(
    outcome: RunOutcome, config: RunConfig, *, key: Path | None, valid_days: int, as_json: bool
) -> int:
    from certification.cli.verdict import verdict_text
    from certification.outputs import Signing, write_outputs

    signing = None
    not_signed = outcome.judgement.verdict.not_certifiable if key else ()
    if key is not None and not not_signed:
        signing = Signing(
            key=key, operator=config.operator, now=options.now(), valid_days=valid_days
        )
    paths = write_outputs(outcome.judgement, outcome.evidence, config.out, signing=signing)
    if as_json:
        click.echo((config.out / "result.json").read_text(encoding="utf-8"))
    else:
        click.echo(verdict_text(outcome.judgement))
        named = {path.name: path for path in paths}
        click.echo(f"report: {named['report.html']}")
        if signing:
            click.echo(f"certificate: {named[CERTIFICATE_FILE]}")
    if not_signed:
        click.echo(f"not signed: {'; '.join(not_signed)}", err=True)
    return outcome.judgement.verdict.exit_code


def _refuse_unknown_level(level: str | None, known: Sequence[str]) -> None:
    if level is not None and level not in known:
        raise UsageError(f"--level {level}: not a level of the profile", hint=", ".join(known))


def _refuse_unusable_key(key: Path) -> None:
    """Refuse before the run what would only fail after it."""
    from certification.keys import load_private_key

    load_private_key(key)
