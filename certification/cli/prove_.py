"""`certify prove`: show that every check can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certification.cli import options
from certification.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from certification.checks import CheckSpec
    from certification.defects import Defect
    from certification.prove import Proof


@click.command("prove")
@click.argument("names", nargs=-1, metavar="[DEFECT]...")
@click.option("--list", "listing", is_flag=True, help="List the planted defects and stop.")
@click.option(
    "--tries",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Tries of each defect that is no race.",
)
@click.option(
    "--race-tries",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Tries of each race defect; every try must be caught.",
)
@click.option(
    "--matrix",
    type=options.PATH,
    metavar="FILE",
    help="Run every check of one question on each defect; FILE keeps what is done.",
)
@click.option("--record", "recording", is_flag=True, help="Record the result for certificates.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 16),
    default=2,
    show_default=True,
    help="Defects proved at the same time.",
)
@options.as_json
def command(
    names: tuple[str, ...],
    listing: bool,
    tries: int,
    race_tries: int,
    matrix: Path | None,
    recording: bool,
    parallel: int,
    as_json: bool,
) -> int:
    """Start the reference with each planted DEFECT (all by default) and run the checks it names.

    Each named check must FAIL and the planted code must have run; the clean reference must pass
    every check. Exit 0 only then.
    """
    from certification.checks import load_catalogue
    from certification.cli.interruption import interruption
    from certification.defects import choose, load_defects, mismatches
    from certification.profile import load_profile
    from certification.prove import ProofRun, prove_clean, prove_defects, resumable

    catalogue, defects = load_catalogue(), load_defects()
    chosen = choose(defects, names)
    if listing:
        for defect in chosen:
            click.echo(f"{defect.id}: {defect.summary} Caught by {', '.join(defect.catches)}.")
        return ExitCode.REACHED
    if wrong := mismatches(catalogue, defects):
        raise UsageError(wrong[0], hint=f"{len(wrong)} such mismatches in all")
    if recording and names:
        raise UsageError("--record needs all defects", hint="leave the names out")
    settings = ProofRun(
        profile=load_profile("standard"),
        tries=tries,
        race_tries=race_tries,
        parallel=parallel,
        everything=matrix is not None,
    )
    with interruption() as interrupted:
        clean = [] if names else [prove_clean(catalogue, settings)]
        found: Iterator[Proof]
        if matrix is None:
            found = prove_defects(chosen, settings, interrupted=interrupted)
        else:
            found = resumable(
                chosen, matrix, lambda rest: prove_defects(rest, settings, interrupted=interrupted)
            )
        proofs = list(_told([*clean], found, quiet=as_json))
    complete = len(proofs) == len(chosen) + len(clean)
    holds = complete and all(proof.holds for proof in proofs)
    if recording and complete:
        _record(catalogue, proofs)
    _summary(proofs, chosen, as_json=as_json)
    if not complete:
        return ExitCode.INTERRUPTED
    return ExitCode.REACHED if holds else ExitCode.NOT_REACHED


def _told(clean: list[Proof], found: Iterator[Proof], *, quiet: bool) -> Iterator[Proof]:
    from itertools import chain

    for proof in chain(clean, found):
        if not quiet:
            word = "caught" if proof.holds else "MISSED"
            name = "clean reference" if proof.defect == "-" else proof.defect
            word = word.replace("caught", "passes") if proof.defect == "-" else word
            click.echo(f"{word} {name} {proof.caught}/{proof.tried}")
            for line in (*proof.missed, *(f"outside its reach: {x}" for x in proof.collateral)):
                click.echo(f"    {line}")
        yield proof


def _summary(proofs: Sequence[Proof], chosen: Sequence[Defect], *, as_json: bool) -> None:
    caught = sum(proof.holds for proof in proofs if proof.defect != "-")
    if as_json:
        rows = [asdict(proof) for proof in proofs]
        document = {"caught": caught, "defects": len(chosen), "proofs": rows}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"{caught} of {len(chosen)} planted defects caught")


def _record(catalogue: Sequence[CheckSpec], proofs: Sequence[Proof]) -> None:
    from certification import detection

    clean = next(proof for proof in proofs if proof.defect == "-")
    planted = [proof for proof in proofs if proof.defect != "-"]
    detection.record(
        catalogue,
        defects=len(planted),
        caught=sum(proof.holds for proof in planted),
        clean_checks=clean.tried,
        false_alarms=len(clean.missed),
        measured_at=options.now().date().isoformat(),
    )
