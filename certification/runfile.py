"""What the runner tells a check process: one JSON file that holds no secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from certification.errors import HarnessError
from certification.model import CheckId, Json

VARIABLE = "CERTIFICATION_RUN_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """All that a check process needs besides the secrets, which it resolves by reference."""

    run_id: str
    prefix: str
    seed: int
    phase: str
    target_file: str
    planned: tuple[CheckId, ...]
    roles: tuple[str, ...]
    """Identities with a session; each process logs in anew."""
    capabilities: Json
    spool: str
    """Folder of the phase's spool files."""
    shared: str
    """Folder with what processes share: request budget, stop file, created objects."""
    requests_max: int | None
    """The least that the target file and the profile allow for the whole run."""
    trials: Mapping[str, int]
    """The profile's trial counts by name."""
    ready_deadline_s: float
    """How long readiness is waited for after a lost connection."""

    def write(self, path: Path) -> None:
        """Write the file, readable by the owner only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_run_file(path: Path) -> RunFile:
    """Read a run file; raises `HarnessError` where it is not one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["planned"] = tuple(CheckId(name) for name in document["planned"])
        document["roles"] = tuple(document["roles"])
        return RunFile(**document)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HarnessError(f"{path} is not a run file: {error}") from error
