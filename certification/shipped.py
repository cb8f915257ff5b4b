"""Find the data folders that travel with the runner, in a checkout or in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from certification.errors import HarnessError

SHIPPED = ("suites", "reports/templates", "fixtures/defects", "fixtures/replays")
"""The folders that `pyproject.toml` puts into the wheel under `certification/_shipped/`."""

_PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Return the folder `name`, one of `SHIPPED`.

    The wheel's copy comes first: in an installation the folder beside the package is
    `site-packages`, where a `suites` of somebody else may stand.

    Raises HarnessError where the folder is missing: the installation is damaged.
    """
    if name not in SHIPPED:
        raise HarnessError(f"{name!r} is not shipped; the shipped folders are {', '.join(SHIPPED)}")
    for root in (_PACKAGE / "_shipped", _PACKAGE.parent):
        folder = root / name
        if folder.is_dir():
            return folder
    raise HarnessError(
        f"the folder {name!r} is missing from this installation",
        hint="install the package again, or run from a complete checkout",
    )
