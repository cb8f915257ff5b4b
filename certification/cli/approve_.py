"""`certify approve`: a person's go-live approval of a certificate."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options
from certification.errors import UsageError


@click.command("approve")
@click.argument("certificate", type=options.PATH)
@click.option("--key", required=True, type=options.PATH, help="The approver's own private key.")
@click.option("--person", required=True, help="Who approves.")
@click.option("--role", required=True, help="In which role, e.g. 'head of operations'.")
def command(certificate: Path, key: Path, person: str, role: str) -> None:
    """Approve CERTIFICATE (a file or a run's folder) for go-live, in an envelope beside it.

    The key must not be the one that signed the certificate: four eyes need two keys.
    """
    from certification.certificate import APPROVAL_FILE, CERTIFICATE_FILE, Approver, countersign

    path = certificate / CERTIFICATE_FILE if certificate.is_dir() else certificate
    sealed = countersign(
        path,
        private_key_path=key,
        approver=Approver(person=person, role=role),
        now=options.now(),
    )
    out = path.with_name(APPROVAL_FILE)
    try:
        with out.open("xb") as file:
            file.write(sealed)
    except FileExistsError as error:
        raise UsageError(f"{out} is there already", hint="move it away first") from error
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error
    click.echo(out)
