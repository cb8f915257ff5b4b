"""How well this harness detects planted defects: recorded by `certify prove`, quoted in runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from certification.checks import CheckSpec
from certification.errors import HarnessError
from certification.model import Json

FILE = Path(__file__).with_name("detection.json")
"""Written by `certify prove --record`, committed with the release."""


def catalogue_digest(catalogue: Sequence[CheckSpec]) -> str:
    """Return a digest over every check's id, version and defects: it names the catalogue."""
    rows = [[spec.id, spec.version, sorted(spec.defects)] for spec in catalogue]
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def load(catalogue: Sequence[CheckSpec], *, file: Path = FILE) -> Json:
    """Return the recorded detection power, or say that there is none for this catalogue.

    A record of another catalogue is never quoted as this one's.
    """
    try:
        document: Json = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"state": "not measured for this version"}
    except (OSError, ValueError) as error:
        raise HarnessError(f"{file}: the recorded detection power cannot be read") from error
    if document.get("catalogue_sha256") != catalogue_digest(catalogue):
        return {"state": "not measured for this version"}
    return {"state": "measured", **document}


def record(  # noqa: PLR0913  each is one plain figure of the record
    catalogue: Sequence[CheckSpec],
    *,
    defects: int,
    caught: int,
    clean_checks: int,
    false_alarms: int,
    measured_at: str,
    file: Path = FILE,
) -> None:
    """Write what `certify prove` saw."""
    document = {
        "catalogue_sha256": catalogue_digest(catalogue),
        "checks": len(catalogue),
        "defects": defects,
        "caught": caught,
        "clean_checks": clean_checks,
        "false_alarms": false_alarms,
        "measured_at": measured_at,
    }
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
