"""Samples of the metrics for the charts: taken every few seconds, kept for an hour in two files.

The files lie in the server's runtime directory, so every worker reads the same history and none
outlives the server. The worker that owns the job appends; when a file is full it takes the place
of the older one. Nothing is written to the book.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from prometheus_client.core import Metric

from reference_impl import background, metrics_scrape, runtime_dir, web

from .expressions import Sample
from .pages import SUMS

JOB = "dashboard-samples"
EVERY_S = 5.0
KEPT = 720
"""Samples in a file; so at least an hour is there once the first file has been filled."""
POINTS_MAX = 120
NEW, OLD = "dashboard-samples", "dashboard-samples-old"


class _Line(msgspec.Struct, array_like=True):
    """A sample as it is stored: the vectors stand in the order of SUMS."""

    at_s: float
    vectors: list[list[tuple[tuple[str, ...], float]]]


_decode = msgspec.json.Decoder(_Line).decode


def take(shared: web.Services) -> Sample:
    """Return what the metrics say now."""
    return summed(metrics_scrape.Everything(shared).collect(), time.time())


def summed(families: Iterable[Metric], at_s: float) -> Sample:
    """Fold what was collected into the sums that the pages need."""
    wanted = {one.series for one in SUMS}
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for family in families:
        for sample in family.samples:
            if sample.name in wanted:
                found[sample.name].append((sample.labels, sample.value))
    return Sample(at_s=at_s, sums={one: one.read(found[one.series]) for one in SUMS})


class History:
    """The samples of one server."""

    def __init__(self, folder: Path) -> None:
        """Read and append in this folder."""
        self._new, self._old = folder / NEW, folder / OLD

    def append(self, sample: Sample) -> None:
        """Add a sample; a full file becomes the older one."""
        line = _Line(sample.at_s, [list(sample.sums[one].items()) for one in SUMS])
        if self._new.is_file() and self._new.read_bytes().count(b"\n") >= KEPT:
            self._new.replace(self._old)
        descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(line) + b"\n")  # one write: never half a line
        finally:
            os.close(descriptor)

    def since(self, start_s: float) -> list[Sample]:
        """Return at most POINTS_MAX samples from `start_s` on, oldest first, evenly apart."""
        lines = [line for path in (self._old, self._new) for line in _lines(path)]
        recent = [line for line in lines if _moment(line) >= start_s]
        every = max(-(-len(recent) // POINTS_MAX), 1)
        picked = recent[::-1][::every][::-1]  # counted from the newest, which is always there
        return [_sample(_decode(line)) for line in picked]


def _lines(path: Path) -> Sequence[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    return content[: content.rfind(b"\n") + 1].splitlines()


def _moment(line: bytes) -> float:
    return float(line[1 : line.index(b",")])


def _sample(line: _Line) -> Sample:
    return Sample(
        at_s=line.at_s,
        sums={one: dict(vector) for one, vector in zip(SUMS, line.vectors, strict=True)},
    )


def window(kept: Sequence[Sample], now: Sample) -> list[Sample]:
    """Return the samples of a chart that ends now.

    A kept sample that is nearly as young as `now` is left out: a rate over a moment says nothing.
    """
    span_s = kept[-1].at_s - kept[0].at_s if len(kept) > 1 else EVERY_S
    apart_s = span_s / max(len(kept) - 1, 1)
    return [*(one for one in kept if one.at_s <= now.at_s - apart_s / 2), now]


def history() -> History | None:
    """Return the history of the server that this process works for; None without a server."""
    folder = runtime_dir.current()
    return None if folder is None else History(folder)


def keep(jobs: background.Background, shared: web.Services) -> None:
    """Let the worker that owns the job take samples; without a server nothing is kept."""
    kept = history()
    if kept is not None:
        jobs.run_when_owner(JOB, EVERY_S, lambda: kept.append(take(shared)))
