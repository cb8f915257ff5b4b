"""The figures of a page: its expressions over the samples, ready to be drawn."""

from collections.abc import Sequence
from typing import Any

from .expressions import Sample, Vector
from .panels import Kind, Page, Panel, Query, Unit

LINES_MAX = 8
"""More lines than this in one chart cannot be told apart; the largest are shown."""
RANKS_MAX = 12
IDLE_LINES_MAX = 4


def document(page: Page, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the times of the samples in seconds, and by panel its series with their values.

    `samples` is oldest first and has at least one member; a value that cannot be told is None.
    """
    return {
        "times": [round(sample.at_s, 3) for sample in samples],
        "panels": {panel.id: shown(panel, samples) for panel in page.panels},
    }


def shown(panel: Panel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the series of a panel, the names of those at zero, and how many are left out.

    Series by label that are zero throughout are only named.
    """
    history = samples if panel.kind is Kind.LINE else samples[-2:]
    found = [one for query in panel.queries for one in series(query, history)]
    if panel.kind is not Kind.LINE:
        found = [{**one, "values": one["values"][-1:]} for one in found]
    idle = [] if panel.unit in _ALWAYS or panel.kind is Kind.FIGURE else at_zero(panel, found)
    found = [one for one in found if one["name"] not in idle]
    limit = LINES_MAX if panel.kind is Kind.LINE else RANKS_MAX
    if panel.kind is Kind.RANK or len(found) > limit:
        found.sort(key=lambda one: (-(one["values"][-1] or 0), one["name"]))
    return {"series": found[:limit], "left_out": max(len(found) - limit, 0), "at_zero": idle}


_ALWAYS = frozenset({Unit.RATIO, Unit.SECONDS, Unit.BYTES, Unit.CORES})


def at_zero(panel: Panel, found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the series that are zero throughout; none if all are, and few."""
    fixed = {query.name for query in panel.queries}
    idle = [one["name"] for one in found if one["name"] not in fixed and not any(one["values"])]
    return idle if len(idle) < len(found) or len(found) > IDLE_LINES_MAX else []


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
