"""The folder in which the processes of one server leave notes for each other while it runs."""

import os
from pathlib import Path

VARIABLE = "ALLUSE_RUNTIME_DIR"
"""Environment variable in which the supervisor tells its workers where it is."""


def current() -> Path | None:
    """Return the folder of the server that this process works for; None without a server."""
    found = os.environ.get(VARIABLE)
    return Path(found) if found else None
