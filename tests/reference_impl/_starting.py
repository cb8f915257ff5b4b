"""Servers of an application that the test itself wrote."""

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from pathlib import Path
from reference_impl import serving
from reference_impl.config import Settings
sys.path.insert(0, sys.argv[1])
settings = Settings(database=Path(sys.argv[2]), workers=1)
sys.exit(serving.serve(settings, sys.argv[3], die_with_parent=True))
"""


def command_of(factory: str, database: Path, folder: Path) -> list[str]:
    """Return what serves `module:function`, a module in this folder, with one worker."""
    return [sys.executable, "-c", _SCRIPT, str(folder), str(database), factory]


def start(factory: str, database: Path, folder: Path) -> subprocess.Popen[str]:
    """Start it; its standard output can be read, and whoever starts it ends it."""
    command = command_of(factory, database, folder)
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
