"""`certify verify`: four questions about a certificate, answered apart and offline."""

from __future__ import annotations

import json
from pathlib import Path

import click

from certification.cli import options
from certification.errors import UsageError


@click.command("verify")
@click.argument("certificate", type=options.PATH)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=options.PATH,
    help="Public key you trust, or a folder of them; repeatable.",
)
@click.option("--evidence", type=options.PATH, help="Evidence file.  [default: the one beside it]")
@options.as_json
def command(certificate: Path, keys: tuple[Path, ...], evidence: Path | None, as_json: bool) -> int:
    """Verify CERTIFICATE (a file or a run's folder) offline, and the approval beside it, if any.

    Exit 0 only where every answer is yes; 1 for any no; 3 where something cannot be said, e.g. a
    key that you do not trust.
    """
    from certification.certificate import (
        APPROVAL_FILE,
        CERTIFICATE_FILE,
        exit_code,
        verify,
        verify_approval,
    )
    from certification.progress import printable

    path = certificate / CERTIFICATE_FILE if certificate.is_dir() else certificate
    try:
        beside = evidence or options.evidence_file(path.parent)
    except UsageError:
        beside = None
    report = verify(path, beside, trusted=keys, now=options.now())
    answers = list(report.answers)
    approval = path.with_name(APPROVAL_FILE)
    if approval.is_file():
        answers.append(verify_approval(approval, path, trusted=keys))
    if as_json:
        rows = {row.question: [row.answer.value, row.because] for row in answers}
        click.echo(json.dumps({"title": report.title, "keyid": report.keyid, **rows}, indent=2))
    else:
        click.echo(printable(report.title or "a certificate that cannot be read"))
        for row in answers:
            click.echo(printable(f"{row.question}  {row.answer.value}: {row.because}"))
    return exit_code(answers)
