"""Stopping in good order: readiness says no first, and what is being answered is answered."""

import time
from pathlib import Path

from reference_impl import metrics, metrics_store, runtime_dir

DRAINING = "draining"
"""Note in the runtime directory: the server is about to stop."""


def drain(runtime: Path, seconds: float) -> None:
    """Say in every worker's readiness that this server is about to stop, and go on for a while."""
    (runtime / DRAINING).touch()
    time.sleep(seconds)


def draining() -> bool:
    """Tell, in a worker, whether its server is about to stop."""
    folder = runtime_dir.current()
    return folder is not None and (folder / DRAINING).exists()


def busy(runtime: Path) -> bool:
    """Tell whether a worker is still answering a request; without any count it may be."""
    if not any(runtime.glob("metrics-*")):
        return True
    return any(
        series.live and series.family == metrics.ACTIVE.name and series.values[0] > 0
        for series in metrics_store.read(runtime)
    )
