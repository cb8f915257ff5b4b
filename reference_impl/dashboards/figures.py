"""The figures of a page: its expressions over the samples, ready to be drawn."""

from collections.abc import Sequence
from typing import Any

from .expressions import Sample, Vector
from .panels import Kind, Page, Panel, Query

LINES_MAX = 8
"""More lines than this in one chart cannot be told apart; the largest are shown."""
RANKS_MAX = 12


def document(page: Page, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the times of the samples in seconds, and by panel its series with their values.

    `samples` is oldest first and has at least one member; a value that cannot be told is None.
    """
    return {
        "times": [round(sample.at_s, 3) for sample in samples],
        "panels": {panel.id: shown(panel, samples) for panel in page.panels},
    }


def shown(panel: Panel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the series of a panel; where there are too many, how many are left out."""
    history = samples if panel.kind is Kind.LINE else samples[-2:]
    found = [one for query in panel.queries for one in series(query, history)]
    limit = LINES_MAX if panel.kind is Kind.LINE else RANKS_MAX
    if panel.kind is Kind.RANK or len(found) > limit:
        found.sort(key=lambda one: (-(one["values"][-1] or 0), one["name"]))
    if panel.kind is not Kind.LINE:
        found = [{**one, "values": one["values"][-1:]} for one in found]
    return {"series": found[:limit], "left_out": max(len(found) - limit, 0)}


def series(query: Query, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return the series of one expression: name, and a value for each sample."""
    moments: list[Vector] = [
        query.show.values(samples[number - 1] if number else None, sample)
        for number, sample in enumerate(samples)
    ]
    labels = list(dict.fromkeys(labels for moment in moments for labels in sorted(moment)))
    return [
        {"name": name(query, label), "values": [moment.get(label) for moment in moments]}
        for label in labels
    ]


def name(query: Query, labels: tuple[str, ...]) -> str:
    """Return what a series is called."""
    return " ".join(part for part in (query.name, *labels) if part)
