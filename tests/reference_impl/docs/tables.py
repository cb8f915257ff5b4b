"""Tables of the pages that repeat a source; `python -m tests.reference_impl.docs.tables` writes.

A page marks the place: a comment `table: NAME ARGUMENT`, the table, a comment `end of table`.
"""

import ast
import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import yaml

from certification.contract import load_contract
from reference_impl import __main__ as command_line
from reference_impl import events, health, metrics, metrics_scrape, principals, retention
from reference_impl.alerting import rule, rules
from reference_impl.config import Settings
from reference_impl.dashboards.pages import PAGES
from reference_impl.dashboards.panels import Panel
from reference_impl.integration import registry
from reference_impl.operations import settings

ROOT = Path(__file__).resolve().parents[3]
CONTRACT = ROOT / "certification" / "contract"
PACKAGE = ROOT / "reference_impl"
MARK = re.compile(
    r"(<!-- table: (?P<name>[a-z-]+)(?: (?P<argument>[a-z_-]+))? -->\n).*?(<!-- end of table -->)",
    re.DOTALL,
)
Rows = Iterable[tuple[object, ...]]
METHODS = ("get", "post", "put", "patch", "delete")


def table(heads: str, rows: Rows) -> str:
    """Return a table in Markdown; bars inside cells are escaped."""
    names = heads.split("|")
    lines = [heads, "|".join("---" for _ in names)]
    lines += ["|".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "".join(f"|{line}|\n" for line in lines)


@functools.cache
def document() -> dict[str, Any]:
    text = (CONTRACT / "openapi.yaml").read_text("utf-8")
    found: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return found


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document()["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def endpoints(module: str) -> str:
    rows = []
    for method, path, found in operations():
        if found["x-alluse-module"] != module:
            continue
        marks = [
            "key" if found["x-alluse-idempotency"] == "required" else "",
            {"required": "If-Match", "optional": "(If-Match)"}.get(found["x-alluse-if-match"], ""),
        ]
        roles = ", ".join(found["x-alluse-roles"])
        needs = " ".join(filter(None, marks))
        about = f"{found['summary']} (`{found['operationId']}`)"
        rows.append((f"`{method} {path}`", about, roles, needs))
    return table("endpoint|what it does|roles|needs", rows)


def problems(status: str) -> str:
    """One table for each family of statuses: request, access, state, rule, away."""
    families = {
        "request": (400, 405, 413, 415, 428),
        "access": (401, 403, 404, 423, 429),
        "state": (409, 412),
        "rule": (422,),
        "away": (500, 501, 503, 507),
    }
    known = load_contract().problems.values()
    listed = [one for one in known if one.status in families[status]]
    assert {one.status for one in known} <= {code for codes in families.values() for code in codes}
    return table(
        "code|status|why|what to do|retry",
        (
            (f"`{one.code}`", one.status, one.cause, one.remedy, "yes" if one.retryable else "")
            for one in sorted(listed, key=lambda one: (one.status, one.code))
        ),
    )


def problem_groups(_: str) -> str:
    groups = document()["x-alluse-common-problems"]
    return table(
        "operations|answer also with", ((name, quoted(codes)) for name, codes in groups.items())
    )


def own_problems(_: str) -> str:
    rows = (
        (f"`{found['operationId']}`", quoted(found["x-alluse-problems"]))
        for _, _, found in operations()
        if found.get("x-alluse-problems") and found["x-alluse-module"] != "dual_control"
    )
    return table("operation|refuses with", rows)


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def settings_table(_: str) -> str:
    rows = []
    for field in fields(Settings):
        kind = settings.kinds()[field.name]
        allowed = settings.advice(field.name) if kind in {int, float} else settings.KINDS[kind]
        if field.name in settings.CHOICES:
            allowed = settings.advice(field.name)
        allowed = allowed.removeprefix("choose ").removeprefix("a ")
        allowed = allowed.replace(f" to {settings.MOST}", " on")
        default = "required" if field.name == "database" else f"`{json.dumps(field.default)}`"
        meaning = settings.meanings().get(field.name, "")
        rows.append((f"`{field.name}`", default, allowed, meaning))
    return table("key|default|allowed|meaning", rows)


def commands(_: str) -> str:
    rows: list[tuple[object, ...]] = []

    def walk(name: str, found: click.Command) -> None:
        if isinstance(found, click.Group):
            context = click.Context(found)
            for part in found.list_commands(context):
                below = found.get_command(context, part)
                assert below is not None
                walk(f"{name} {part}".strip(), below)
        else:
            said = (found.help or "").split("\n\n")[0].replace("\n", " ")
            options = [one for one in found.params if isinstance(one, click.Option)]
            needed = [one.opts[0] for one in options if one.required]
            more = quoted(needed) or (f"{len(options)} options" if len(options) > 5 else "")
            rows.append((f"`{name}`", said, more))

    walk("", command_line.main)
    return table("command|what it does|needs", rows)


def metric_table(which: str) -> str:
    meanings = {name: meaning for meaning, name in metrics_scrape.MEANINGS.items()}
    read = tuple(metrics_scrape.READ_FAMILIES.values())
    rows = (
        (f"`{one.name}`", one.kind, ", ".join(one.labels), one.help, meanings.get(one.name, ""))
        for one in (metrics.COUNTED if which == "counted" else read)
    )
    return table("name|kind|labels|what it is|meaning in the capability document", rows)


def alerts(severity: str) -> str:
    rows = (
        (one.name, one.group, one.kind, period(one.for_s), one.summary)
        for one in rules.IN_PROMETHEUS
        if severity == ("outside" if one.name not in rules.BY_NAME else one.severity)
    )
    return table("alert|about|kind|for|says", rows)


def inhibits(_: str) -> str:
    rows = (
        (one.name, ", ".join(one.inhibits), ", ".join(one.labels))
        for one in rules.RULES
        if one.inhibits
    )
    return table("while this fires|these are held back|where equal", rows)


def runbooks(severity: str) -> str:
    every = rules.IN_PROMETHEUS
    rows = ((one.name, one.summary, one.remedy) for one in every if one.severity == severity)
    return table("alert|what it means|what to do", rows)


def period(seconds: float) -> str:
    """Return a time in words: 90 s, 15 min, 4 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def routes(_: str) -> str:
    rows = (
        (
            severity,
            ", ".join(found.receivers),
            "; ".join(
                f"after {period(step.after_s)}: {', '.join(step.receivers)}"
                for step in found.escalations
            ),
        )
        for severity, found in rule.ROUTES.items()
    )
    return table("severity|heard by|if nobody acknowledges", rows)


def systems(_: str) -> str:
    rows = []
    for kind in registry.KINDS:
        names = ["URL", "TOKEN", *(["SECRET"] if kind.signs else [])]
        variables = ", ".join(f"`{registry.variable(kind.name, name)}`" for name in names)
        rows.append((kind.name, kind.purpose, kind.fallback, variables))
    return table("system|what for|without it|variables", rows)


def calls(_: str) -> str:
    """What the outbound contracts offer, and what of it the adapters name."""
    named = {
        node.value
        for folder in ("integration", "delivery")
        for path in (PACKAGE / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    rows = []
    for kind in registry.KINDS:
        text = (CONTRACT / "outbound" / f"{kind.name}.yaml").read_text("utf-8")
        items = yaml.load(text, yaml.CSafeLoader)["paths"].values()
        offered = [item[way]["operationId"] for item in items for way in METHODS if way in item]
        called, left = (
            [one for one in offered if (one in named) is kept] for kept in (True, False)
        )
        rows.append((kind.name, quoted(called), quoted(left)))
    return table("system|called|never called", rows)


def scopes(_: str) -> str:
    bound = principals.OBJECT_SCOPES
    rows = ((f"`{one}`", "yes" if one in bound else "") for one in principals.SCOPES)
    return table("scope|on one account too", rows)


def event_types(_: str) -> str:
    areas: dict[str, list[str]] = {}
    for name in events.TYPES:
        areas.setdefault(name.split(".")[1], []).append(name)
    return table("about|types", ((area, quoted(names)) for area, names in areas.items()))


def checks(_: str) -> str:
    rows = (
        (component, f"`{name}`", health.CHECKS[name][0])
        for component, name in health.COMPONENTS.items()
    )
    return table("component|check|type", rows)


def sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, or nothing."""
    return " ".join((text or "").split("\n\n")[0].split()).removesuffix(".")


def files(folder: str) -> str:
    """The Python files of a folder, `root` for the package itself, with what each says it is."""
    place = PACKAGE if folder == "root" else PACKAGE / folder
    rows = []
    for path in sorted(place.glob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        if path.name != "__init__.py":
            rows.append((f"`{path.name}`", sentence(said)))
    return table("file|what it is", rows)


def packages(_: str) -> str:
    rows = []
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        rows.append((f"`{path.parent.name}/`", sentence(said), len(list(path.parent.glob("*.py")))))
    return table("folder|what it is|files", rows)


def database_tables(_: str) -> str:
    rows = []
    for path in [PACKAGE / "schema.sql", *sorted(PACKAGE.glob("schema_*.sql"))]:
        names = re.findall(r"^CREATE TABLE (\w+)", path.read_text("utf-8"), re.MULTILINE)
        rows.append((f"`{path.name}`", quoted(names)))
    return table("file|tables", rows)


def panels(page: str) -> str:
    [found] = [one for one in PAGES if one.id == page]
    rows = []
    for part in found.parts:
        shown = (
            part.unit.value.replace("_", " ") if isinstance(part, Panel) else f"from `{part.read}`"
        )
        rows.append((part.title, shown, part.about))
    return table("panel|unit or source|what it tells", rows)


def retained(_: str) -> str:
    rows = ((one.kind.replace("_", " "), f"`{one.table}`") for one in retention.RULES)
    return table("what is deleted|table", rows)


def ci(_: str) -> str:
    """The steps of the script that decides whether a change lands."""
    said = re.findall(r'^ *step "(.+)"$', (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    return table("step|what", ((number, name) for number, name in enumerate(said, 1)))


def sessions(_: str) -> str:
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    made = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    return table(
        "session|what", ((f"`{one.name}`", sentence(ast.get_docstring(one))) for one in made)
    )


TABLES: dict[str, Callable[[str], str]] = {
    "alerts": alerts,
    "calls": calls,
    "checks": checks,
    "ci": ci,
    "commands": commands,
    "database": database_tables,
    "endpoints": endpoints,
    "events": event_types,
    "files": files,
    "inhibits": inhibits,
    "metrics": metric_table,
    "own-problems": own_problems,
    "packages": packages,
    "panels": panels,
    "problem-groups": problem_groups,
    "problems": problems,
    "retained": retained,
    "routes": routes,
    "runbooks": runbooks,
    "scopes": scopes,
    "sessions": sessions,
    "settings": settings_table,
    "systems": systems,
}


def filled(text: str) -> str:
    """Return a page with its tables as they should be."""

    def made(found: re.Match[str]) -> str:
        lines = TABLES[found["name"]](found["argument"] or "")
        return f"{found[1]}\n{lines}\n{found[4]}"

    return MARK.sub(made, text)


def main() -> None:
    """Write every page whose tables are not those of their sources."""
    for page in sorted((PACKAGE / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (now := filled(text)) != text:
            page.write_text(now, encoding="utf-8")
            sys.stdout.write(f"wrote {page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
