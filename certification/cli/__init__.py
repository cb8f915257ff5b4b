"""The command `certify`: one file per command, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from certification import __version__
from certification.errors import CertificationError, ExitCode
from certification.progress import printable

COMMANDS = {
    "run": "Run the checks on a target and judge it.",
    "plan": "Show what would run on a target, with an estimate of time and requests.",
    "doctor": "Say what can and cannot be exercised on a target.",
    "counterparties": "Simulate the systems that a deployment talks to.",
    "init": "Write a commented target file for a deployment.",
    "list": "List the checks.",
    "explain": "Explain a check, a requirement or a problem code.",
    "matrix": "Show which check verifies which requirement, both ways.",
    "score": "Judge a recorded run again.",
    "report": "Write the reports of a recorded run again.",
    "compare": "Compare two recorded runs.",
    "merge": "Join the evidence of parallel CI jobs into one run.",
    "claims": "Recompute what a document claims and name its contradictions.",
    "keygen": "Make a key pair for signing certificates.",
    "sign": "Sign a certificate for a recorded run.",
    "approve": "Approve a certificate for go-live, with a key of one's own.",
    "verify": "Verify a certificate offline.",
    "prove": "Show that every check fails on the defect it names.",
}
"""Name and one line of help; the rest is in `certification/cli/<name>.py`."""


class LazyGroup(click.Group):
    """Imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"certification.cli.{cmd_name}_")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 reached or yes, 1 not reached or no, 2 usage, 3 inconclusive, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="certify")
def group() -> None:
    """Certify a deployment of an account system against the contract."""


def main() -> None:
    """Run the command line; every expected error becomes one message and its exit code."""
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away, e.g. `| head`; Python must not complain while closing.
        sys.stderr.close()
        sys.exit(ExitCode.REACHED)
    except CertificationError as error:
        click.echo(f"certify: {printable(error.message)}", err=True)
        if error.hint:
            click.echo(f"hint: {printable(error.hint)}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else ExitCode.REACHED)
