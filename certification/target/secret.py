"""Secrets that are named in the target file, read late, and never shown."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from certification.errors import UsageError

SECRET_FILE_MAX_BYTES = 64 * 1024
"""A secret longer than this is a wrong path, not a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A password or token: either named by its source, or made by this run.

    `repr` and `str` show the source only. `reveal` is called where the value goes onto the wire.
    """

    source: str
    """`env:NAME`, `file:PATH` (absolute), or `generated`."""
    _value: str | None = field(default=None, repr=False)
    """Only for `generated`."""

    def __repr__(self) -> str:
        """Show where the value comes from, never the value."""
        return f"Secret({self.source})"

    def __str__(self) -> str:
        """Show the same as `repr`: a secret in a message is a mistake."""
        return repr(self)

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be pickled; worker processes resolve or derive their own."""
        raise TypeError("a Secret does not leave its process")

    @classmethod
    def generated(cls, value: str) -> Self:
        """Hold a value that this run made itself."""
        return cls(source="generated", _value=value)

    def reveal(self) -> str:
        """Return the value; `UsageError` where its source is gone, empty or not text."""
        if self._value is not None:
            return self._value
        kind, _, name = self.source.partition(":")
        return _from_environment(name) if kind == "env" else _from_file(Path(name))


def named_secret(text: str, *, folder: Path) -> Secret | None:
    """Read `env:NAME` or `file:PATH` (relative to `folder`); None where it is neither."""
    kind, colon, name = text.partition(":")
    if not colon or not name:
        return None
    if kind == "env":
        return Secret(source=text) if name.isidentifier() else None
    if kind == "file":
        return Secret(source=f"file:{folder / Path(name).expanduser()}")
    return None


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise UsageError(
            f"the environment variable {name} is not set",
            hint=f"export {name}=... before the run",
        )
    if not value:
        raise UsageError(f"the environment variable {name} is empty", hint=f"set {name}")
    return value


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the secret file {path} cannot be read: {error.strerror}",
            hint="give the path of a readable file that holds the secret alone",
        ) from None
    if len(content) > SECRET_FILE_MAX_BYTES:
        raise UsageError(f"the secret file {path} is over {SECRET_FILE_MAX_BYTES} bytes")
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        # Chained, the error's own text would carry bytes of the secret.
        raise UsageError(f"the secret file {path} is not UTF-8 text") from None
    if not value:
        raise UsageError(f"the secret file {path} is empty")
    return value
