"""The dashboards as Grafana reads them: one JSON document a page, from the same panels.

Grafana asks a Prometheus that scrapes /metrics. What a page reads from the API instead is named in
a text panel, since Prometheus does not know it.
"""

import json
from pathlib import Path
from typing import Any

from .figures import RANKS_MAX
from .pages import PAGES
from .panels import Kind, Page, Panel, Query, Table, Unit

FOLDER = Path(__file__).parents[1] / "ops" / "grafana"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
UNITS = {
    Unit.SECONDS: "s",
    Unit.DURATION: "s",
    Unit.BYTES: "bytes",
    Unit.RATIO: "percentunit",
    Unit.PER_SECOND: "cps",
    Unit.COUNT: "short",
    Unit.CORES: "short",
    Unit.MINOR: "short",
    Unit.MONEY: "short",
    Unit.YES: "bool_yes_no",
}
TYPES = {Kind.LINE: "timeseries", Kind.FIGURE: "stat", Kind.RANK: "bargauge"}
SIZES = {Kind.LINE: (12, 8), Kind.FIGURE: (4, 4), Kind.RANK: (12, 8)}
"""Width and height in cells of Grafana's grid."""


def document(page: Page) -> dict[str, Any]:
    """Return a dashboard; the numbers and places of its panels follow their order."""
    panels: list[dict[str, Any]] = []
    left, top, tallest = 0, 0, 0
    for number, part in enumerate(in_order(page), 1):
        width, height = (COLUMNS, 3) if isinstance(part, Table) else SIZES[part.kind]
        if left + width > COLUMNS or (panels and height != tallest):
            left, top, tallest = 0, top + tallest, 0
        made = pointer(part) if isinstance(part, Table) else panel(part)
        place = {"x": left, "y": top, "w": width, "h": height}
        panels.append({"id": number, "gridPos": place, **made})
        left, tallest = left + width, height
    return {
        "uid": f"alluse-{page.id}",
        "title": f"ALL-USE {page.title.lower()}",
        "description": page.about,
        "tags": ["alluse"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable()]},
        "annotations": {"list": []},
        "links": links(page),
        "panels": panels,
    }


def in_order(page: Page) -> list[Panel | Table]:
    """Return the parts as the built-in page has them: the figures of now stand first."""
    return sorted(page.parts, key=lambda part: not is_figure(part))


def is_figure(part: Panel | Table) -> bool:
    """Tell whether a part is a single value."""
    return isinstance(part, Panel) and part.kind is Kind.FIGURE


def variable() -> dict[str, Any]:
    """Return the choice of the data source."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def links(page: Page) -> list[dict[str, Any]]:
    """Return links to the other dashboards."""
    return [
        {"title": other.title, "type": "link", "url": f"/d/alluse-{other.id}", "keepTime": True}
        for other in PAGES
        if other is not page
    ]


def panel(part: Panel) -> dict[str, Any]:
    """Return a panel without its place."""
    defaults: dict[str, Any] = {"unit": UNITS[part.unit], "min": 0}
    if part.limit is not None:
        low, high = ("red", "green") if part.limit.below else ("green", "red")
        steps = [{"color": low, "value": None}, {"color": high, "value": part.limit.value}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        if part.kind is Kind.LINE:
            defaults["custom"] = {"thresholdsStyle": {"mode": "dashed"}}
    targets = [target(part, query, "ABCDEFGH"[n]) for n, query in enumerate(part.queries)]
    return {
        "type": TYPES[part.kind],
        "title": part.title,
        "description": described(part),
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options(part),
    }


def described(part: Panel) -> str:
    """Return what a panel tells; Grafana does not know the decimals of a currency."""
    if part.unit is Unit.MONEY:
        return f"{part.about} In minor units, such as cents.".strip()
    return part.about


def options(part: Panel) -> dict[str, Any]:
    """Return how a kind of panel shows its values."""
    if part.kind is Kind.LINE:
        return {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["last", "max"]},
            "tooltip": {"mode": "multi"},
        }
    found: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}}
    if part.kind is Kind.RANK:
        found["orientation"] = "horizontal"
    return found


def target(part: Panel, query: Query, name: str) -> dict[str, Any]:
    """Return one query of a panel."""
    expression = query.show.promql()
    if part.kind is Kind.RANK:
        expression = f"topk({RANKS_MAX}, {expression})"
    labels = [f"{{{{{label}}}}}" for label in kept(query)]
    return {
        "refId": name,
        "expr": expression,
        "legendFormat": " ".join(part for part in (query.name, *labels) if part) or part.title,
        "instant": part.kind is Kind.RANK,
        "range": part.kind is not Kind.RANK,
    }


def kept(query: Query) -> tuple[str, ...]:
    """Return the labels by which an expression keeps its series apart."""
    return tuple(label for label in query.show.needs()[0].by if label != "le")


def pointer(part: Table) -> dict[str, Any]:
    """Return a text panel that says where a table is read."""
    content = f"{part.title}: `GET {part.read}` of the deployment's API, or its own dashboards."
    return {
        "type": "text",
        "title": part.title,
        "options": {"mode": "markdown", "content": content},
    }


def files() -> dict[str, str]:
    """Return the name and content of every file."""
    return {
        f"{page.id}.json": json.dumps(document(page), indent=1, ensure_ascii=False) + "\n"
        for page in PAGES
    }


def write(folder: Path) -> list[Path]:
    """Write the files; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in files().items():
        path = folder / name
        path.write_text(content, "utf-8")
        written.append(path)
    return written
