"""Writes the generated pages: the checks, the commands, and the marked blocks of other pages."""  # noqa: INP001  run by path

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from certification import errors, evidence, model, profile_gates
from certification.checks import CheckSpec, load_catalogue
from certification.cli import COMMANDS, group
from certification.defects import Defect, load_defects
from certification.report.json import schema

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 78
"""What click leaves of 80 columns."""
NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n"


def main() -> None:
    """Write every page that is not as it should be, remove pages of areas that are gone."""
    pages = generated()
    for file in sorted((ROOT / "docs" / "checks").glob("*.md")):
        if file not in pages:
            file.unlink()
            sys.stdout.write(f"removed {file.relative_to(ROOT)}\n")
    for file, text in pages.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {file.relative_to(ROOT)}\n")


def generated() -> dict[Path, str]:
    """Return the text of every generated page and of every page with a marked block."""
    docs = ROOT / "docs"
    pages = {docs / "commands.md": commands_page()}
    catalogue = load_catalogue()
    defects = {defect.id: defect for defect in load_defects()}
    areas = {key: list(specs) for key, specs in groupby(catalogue, key=_area)}
    for (suite, area), specs in areas.items():
        pages[docs / "checks" / f"{suite}-{area}.md"] = area_page(suite, area, specs, defects)
    pages[docs / "checks" / "README.md"] = index_page(areas)
    blocks = {
        ROOT / "README.md": {"help": help_block(), "exit-codes": exit_code_rows()},
        docs / "exit-codes.md": {"exit-codes": exit_code_rows()},
        docs / "profiles.md": {"gate-kinds": member_rows(profile_gates.GateKind, "gate kind")},
        docs / "scoring.md": {"vetoes": member_rows(model.Veto, "veto")},
        docs / "evidence.md": {"records": record_tables(), "result": result_rows()},
    }
    for file, texts in blocks.items():
        pages[file] = with_blocks(file.read_text(encoding="utf-8"), texts)
    return pages


def with_blocks(page: str, texts: dict[str, str]) -> str:
    """Replace what stands between `<!-- generated: NAME -->` and `<!-- end -->`."""
    for name, text in texts.items():
        found = re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
        if found is None:
            raise SystemExit(f"the marks of the block {name!r} are gone")
        page = page[: found.start(1)] + text + page[found.end(1) :]
    return page


# -- commands --------------------------------------------------------------------------------


def help_of(*words: str) -> str:
    """Return what `certify WORDS --help` prints on a terminal of 80 columns."""
    done = CliRunner().invoke(
        group, [*words, "--help"], prog_name="certify", terminal_width=WIDTH, catch_exceptions=False
    )
    return done.output.rstrip() + "\n"


def help_block() -> str:
    """Return `certify --help` as a fenced block."""
    return f"```text\n{help_of()}```\n"


def commands_page() -> str:
    """Return the help of every command."""
    parts = [
        NOTE,
        "# Commands\n\n",
        (
            "What `certify COMMAND --help` prints. Exit codes are explained in "
            "[exit-codes.md](exit-codes.md).\n\n"
        ),
        help_block(),
    ]
    parts += [f"\n## certify {name}\n\n```text\n{help_of(name)}```\n" for name in COMMANDS]
    return "".join(parts)


# -- checks ----------------------------------------------------------------------------------


def _area(spec: CheckSpec) -> tuple[str, str]:
    return spec.suite, spec.area


def index_page(areas: dict[tuple[str, str], list[CheckSpec]]) -> str:
    """Return the list of areas and checks."""
    count = sum(len(specs) for specs in areas.values())
    lines = [
        NOTE,
        "# The checks\n\n",
        (
            f"{count} checks in {len(areas)} areas. `certify list` prints them, "
            "`certify explain ID` prints one.\n"
        ),
    ]
    for (suite, area), specs in areas.items():
        lines.append(f"\n## [{suite}/{area}]({suite}-{area}.md)\n\n")
        lines += [
            f"- [{spec.title}]({suite}-{area}.md#{_question(spec)}) ({spec.severity.value})\n"
            for spec in specs
        ]
    return "".join(lines)


def area_page(suite: str, area: str, specs: list[CheckSpec], defects: dict[str, Defect]) -> str:
    """Return the page of one area: every check with its four sections and its facts."""
    parts = [
        NOTE,
        f"# {suite}/{area}\n\n",
        (
            f"Source: [`suites/{specs[0].path.split('::')[0]}`]"
            f"(../../suites/{specs[0].path.split('::')[0]}). All checks: [README.md](README.md).\n"
        ),
    ]
    for spec in specs:
        parts.append(f"\n## {_question(spec)}\n\n{spec.title}.\n\n")
        parts += [f"**{name}.** {_text(text)}\n\n" for name, text in spec.docs.items()]
        parts += ["| | |\n|---|---|\n"]
        parts += [f"| {name} | {value} |\n" for name, value in _facts(spec).items()]
        parts += ["\nPlanted defects that it must catch:\n\n"]
        parts += [_defect(name, defects.get(name)) for name in spec.defects]
    return "".join(parts)


def _question(spec: CheckSpec) -> str:
    return spec.id.split("/")[2]


def _facts(spec: CheckSpec) -> dict[str, str]:
    facts = {
        "id": f"`{spec.id}`",
        "when it fails": _text(spec.failure_title),
        "severity": spec.severity.value,
        "veto": spec.veto.value if spec.veto else "",
        "requirements": ", ".join(spec.requirements),
        "standards": ", ".join(spec.standards),
        "operations": ", ".join(f"`{name}`" for name in spec.operations),
        "modules": ", ".join(module.value for module in spec.modules),
        "identities": ", ".join(spec.identities),
        "grants": ", ".join(spec.grants),
        "phase": spec.phase,
        "after": ", ".join(spec.after),
        "version": str(spec.version),
    }
    return {name: value for name, value in facts.items() if value}


def _defect(name: str, defect: Defect | None) -> str:
    if defect is None:
        return f"- `{name}`\n"
    race = " (race)" if defect.race else ""
    return f"- `{name}`{race}: {_text(defect.summary)}\n"


def _text(text: str) -> str:
    """Keep words that look like markup from becoming markup, except within backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([<>*_])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts).replace("|", r"\|")


# -- types, as their sources document them ---------------------------------------------------


def exit_code_rows() -> str:
    """Return the exit codes as table rows."""
    rows = _member_docs(errors.ExitCode)
    body = "".join(f"| {code.value} | {rows[code.name]} |\n" for code in errors.ExitCode)
    return f"| code | means |\n|---|---|\n{body}"


def member_rows(kind: type[Enum], heading: str) -> str:
    """Return the members of an enum as table rows."""
    rows = _member_docs(kind)
    body = "".join(
        f"| `{member.value}` | {rows.get(member.name) or member.value.replace('_', ' ')} |\n"
        for member in kind
    )
    return f"| {heading} | means |\n|---|---|\n{body}"


def record_tables() -> str:
    """Return a table of fields for every kind of record, and for what they hold."""
    kinds = evidence._KINDS  # noqa: SLF001  the one list of them
    parts = [_record_table(f"`{kind}`", record) for kind, record in kinds.items()]
    inner = (
        model.PlannedCheck,
        model.Requirement,
        model.TargetIdentity,
        model.Finding,
        model.LeftBehind,
        model.Waiver,
        model.Workaround,
        model.Attestation,
    )
    parts += [_record_table(record.__name__, record) for record in inner]
    return "\n".join(parts)


def _record_table(name: str, record: type[Any]) -> str:
    docs = _member_docs(record)
    what = " ".join((record.__doc__ or "").split())
    body = "".join(
        f"| `{row.name}` | {_text(str(row.type))} | {_text(docs.get(row.name, ''))} |\n"
        for row in fields(record)
    )
    return f"### {name}\n\n{_text(what)}\n\n| field | type | |\n|---|---|---|\n{body}"


def result_rows() -> str:
    """Return the members of `result.json`, one level deep, from its published schema."""
    document = schema()
    rows = []
    for name, part in document["properties"].items():
        inner = part.get("properties") or part.get("items", {}).get("properties")
        if "$ref" in part.get("items", {}):
            inner = document["$defs"][part["items"]["$ref"].rsplit("/", 1)[1]].get("properties")
        listed = ", ".join(f"`{key}`" for key in inner or ())
        rows.append(f"| `{name}` | {part.get('type', 'text')} | {listed} |\n")
    return f"| member | type | holds |\n|---|---|---|\n{''.join(rows)}"


def _member_docs(kind: type[Any]) -> dict[str, str]:
    """Return the text below each member of a class, as its source has it."""
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return {name: " ".join(text.split()) for name, text in _pairs(body)}


def _pairs(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    name = None
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield name, str(node.value.value)
            name = None
        else:
            name = None


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
