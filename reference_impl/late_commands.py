"""A group of commands whose modules are imported when they are asked for: starting stays quick."""

from collections.abc import Mapping
from importlib import import_module

import click


class LateGroup(click.Group):
    """Loads a command by `module:attribute`, relative to this package, on its first use."""

    late: Mapping[str, str] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, loaded or not."""
        return sorted({*super().list_commands(ctx), *self.late})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be."""
        place = self.late.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), name)
        return command
