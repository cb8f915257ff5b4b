"""`certify sign`: a certificate for a run that was recorded without one."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from certification.cli import options


@click.command("sign")
@click.argument("evidence", type=options.PATH)
@click.option("--key", required=True, type=options.PATH, help="Private key made by keygen.")
@click.option("--operator", default="", help="Who signs.  [default: the login name]")
@options.valid_days
def command(evidence: Path, key: Path, operator: str, valid_days: int) -> None:
    """Sign EVIDENCE (a file or a run's folder), whatever level it came to.

    The level stands in the certificate's title. Partial, interrupted and reported runs are refused.
    """
    from certification.certificate import sign, write_certificate
    from certification.judge import judge

    path = options.evidence_file(evidence)
    now = options.now()
    signed = sign(
        judge(path, today=now.date()),
        path,
        private_key_path=key,
        operator=operator or getpass.getuser(),
        now=now,
        valid_days=valid_days,
    )
    for file in write_certificate(signed, path.parent):
        click.echo(file)
