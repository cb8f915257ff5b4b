"""`certify init`: a commented target file for a deployment."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from certification.cli import options
from certification.errors import UsageError


@click.command("init")
@click.argument("url")
@click.option(
    "--out",
    type=options.PATH,
    default=Path("target.toml"),
    show_default=True,
    help="File to write.",
)
@click.option("--ca", type=options.PATH, help="Private certificate authority of the deployment.")
def command(url: str, out: Path, ca: Path | None) -> None:
    """Write a commented target file for the deployment at URL, from what it declares about itself.

    Sends one read. Nothing is overwritten.
    """
    from certification.connection import read_public
    from certification.target.address import parse_base_url
    from certification.target.template import target_template

    try:
        base_url = parse_base_url(url)
    except ValueError as error:
        raise UsageError(f"{url}: {error}", hint="give the URL as http(s)://host[:port]") from error
    if out.exists():
        raise UsageError(f"{out} is there already", hint="choose another --out")
    with tempfile.TemporaryDirectory(prefix="certify-init-") as folder:
        document = read_public(base_url, ca=ca, work=Path(folder))
    try:
        out.write_text(target_template(base_url, document), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error
    click.echo(f"{out}: edit the identities, then `certify doctor --target {out}`")
