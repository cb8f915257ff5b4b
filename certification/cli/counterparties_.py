"""`certify counterparties`: the simulated systems alone, for an implementer's own use."""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certification.cli import options
from certification.errors import UsageError

if TYPE_CHECKING:
    from certification.counterparties.hosting import Host

VARIABLE = "CERTIFY_COUNTERPARTIES_TOKEN"
PREFIX = "COUNTERPARTY_"
FILES_WANTED = 12_000
TOKEN_CHARS_MIN = 16


@click.command("counterparties")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--public-host", metavar="NAME", help="Name under which the deployment finds it.")
@click.option(
    "--ports-from",
    type=click.IntRange(0, 65_530),
    default=9400,
    show_default=True,
    help="Port of the control API; the five take the next ones. 0 takes free ones.",
)
@click.option("--deployment", metavar="URL", help="Base URL that callbacks are sent to.")
@click.option("--ca", type=options.PATH, help="PEM file of the deployment's private authority.")
@click.option("--journal", "folder", type=options.PATH, help="Folder to keep the journals in.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of prices and fills.")
@options.as_json
def command(
    host: str,
    public_host: str | None,
    ports_from: int,
    deployment: str | None,
    ca: Path | None,
    folder: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate the five systems that a deployment talks to, until Ctrl-C.

    Prints where they listen, the tokens that the deployment needs, and the control API that injects
    faults and shows what arrived. The control API listens on the loopback only; its token is taken
    from CERTIFY_COUNTERPARTIES_TOKEN or made and shown once. From one token follow the same others.
    """
    from certification.counterparties.hosting import Host, Hosting
    from certification.counterparties.parties import Counterparties

    _more_files()
    given = os.environ.get(VARIABLE)
    if given is not None and len(given) < TOKEN_CHARS_MIN:
        raise UsageError(
            f"{VARIABLE} has fewer than {TOKEN_CHARS_MIN} characters", hint="give a longer one"
        )
    token = given or secrets.token_urlsafe(32)
    served = Host(
        Hosting(
            token=token,
            host=host,
            public_host=public_host,
            ports_from=ports_from,
            seed=seed,
            folder=folder,
        )
    )
    try:
        served.serve()
        if deployment is not None:
            parties = Counterparties.attach(served.control_url, token)
            parties.point_at(deployment, ca=ca)
            parties.close()
        ended = threading.Event()
        # Ending it is the normal way out, so that nothing is said and the exit code is 0.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda _number, _frame: ended.set())
        _show(served, made=given is None, as_json=as_json)
        ended.wait()
    finally:
        served.stop()


def _show(served: Host, *, made: bool, as_json: bool) -> None:
    from certification.counterparties.beside import Beside
    from certification.counterparties.names import Party

    beside = Beside(control_url=served.control_url, token=served.hosting.token, host=served)
    settings = beside.told(PREFIX)
    if as_json:
        document = {
            "control": {"url": served.control_url, "token": served.hosting.token},
            "counterparties": {party.value: served.url(party) for party in Party},
            "settings": settings,
            "journal": str(served.folder),
        }
        click.echo(json.dumps(document))
        return
    click.echo(f"control API      {served.control_url}")
    if made:
        click.echo(
            f"its token        {served.hosting.token}  (made for this start; see {VARIABLE})"
        )
    kept = "" if served.hosting.folder else "  (removed at the end; --journal keeps them)"
    click.echo(f"journals         {served.folder}{kept}\n")
    click.echo("Give the deployment these, under the names of its own settings:\n")
    for name, value in settings.items():
        click.echo(f"{name}={value}")
    click.echo(
        "\nand the target file these:\n\n[counterparties]\n"
        f'control = "{served.control_url}"\ntoken = "env:{VARIABLE}"\n\nCtrl-C ends it.'
    )


def _more_files() -> None:
    """Allow as many connections as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard < 0 else min(FILES_WANTED, hard)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
