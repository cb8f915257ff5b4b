"""`certify keygen`: a key pair for certificates."""

from __future__ import annotations

from pathlib import Path

import click

from certification.cli import options


@click.command("keygen")
@click.argument("prefix", type=options.PATH)
def command(prefix: Path) -> None:
    """Write PREFIX.pem (private, readable by you alone) and PREFIX.pub; nothing is overwritten."""
    from certification.keys import generate_key

    pair = generate_key(prefix)
    click.echo(
        f"private key: {pair.private}\npublic key:  {pair.public}\nkey id:      {pair.keyid}"
    )
