"""Recomputes what a document states of its own rows, and names every contradiction.

What a document says is data (`document`); whether it follows is decided by a closed set of rules,
each a pure function (`within` one document, `across` two, `recorded` for a run and its result).
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING

from certification.claims.across import ACROSS
from certification.claims.contradiction import Contradiction, Rule
from certification.claims.document import Document, load_document, parse_document
from certification.claims.recorded import check_recorded
from certification.claims.within import WITHIN
from certification.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

REPORT_FORMAT = "certification-contradictions/1"


def find_contradictions(documents: Sequence[Document]) -> tuple[Contradiction, ...]:
    """Apply every rule to every document and to every pair, the earlier stage first.

    The order of `documents` does not matter. Raises `UsageError` where two have the same name.
    """
    ordered = sorted(documents, key=lambda document: (document.stage, document.name))
    if len({document.name for document in ordered}) != len(ordered):
        raise UsageError("two documents have the same name", hint="compare different documents")
    found = [one for document in ordered for rule in WITHIN for one in rule(document)]
    for earlier, later in combinations(ordered, 2):
        if earlier.stage < later.stage:
            found += [one for rule in ACROSS for one in rule(earlier, later)]
    return tuple(found)


def examine(paths: Sequence[Path], *, today: date) -> tuple[Contradiction, ...]:
    """Examine files: reported documents (`.toml`, `.json`) together, recorded runs each by itself.

    A recorded run is its folder, its evidence file or its `result.json`. Raises `UsageError` and
    `EvidenceError` for files that are neither.
    """
    documents: list[Document] = []
    found: list[Contradiction] = []
    for path in paths:
        evidence = _evidence_of(path)
        if evidence is None:
            documents.append(load_document(path))
        else:
            found += check_recorded(evidence, today=today)
    return (*find_contradictions(documents), *found)


def exit_code(contradictions: Sequence[Contradiction]) -> ExitCode:
    """Give 0 without a contradiction, else 1."""
    return ExitCode.NOT_REACHED if contradictions else ExitCode.REACHED


def claims_text(contradictions: Sequence[Contradiction]) -> str:
    """Render for a terminal: one finding in two lines, the count last."""
    lines = []
    for one in contradictions:
        lines.append(f"{one.rule.value}  {one.message}")
        lines.append(f"    {' / '.join(one.documents)}: {_places(one.where)}")
    count = len(contradictions)
    lines.append(f"{count or 'no'} contradiction{'' if count == 1 else 's'}")
    return "\n".join(lines) + "\n"


def claims_json(contradictions: Sequence[Contradiction]) -> str:
    """Render as a JSON document of format `certification-contradictions/1`."""
    rows = [
        {
            "rule": one.rule.value,
            "subject": one.subject,
            "documents": list(one.documents),
            "where": list(one.where),
            "stated": one.stated,
            "recomputed": one.recomputed,
            "note": one.note,
            "message": one.message,
        }
        for one in contradictions
    ]
    document = {"format": REPORT_FORMAT, "contradictions": rows}
    return json.dumps(document, indent=2) + "\n"


def _places(where: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(f"`{place}`" for place in where))


def _evidence_of(path: Path) -> Path | None:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return path
    if not path.is_dir() and path.name != "result.json":
        return None
    folder = path if path.is_dir() else path.parent
    for name in ("evidence.jsonl.gz", "evidence.jsonl"):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder}: holds no evidence", hint="name the folder of a recorded run")


__all__ = [
    "Contradiction",
    "Document",
    "Rule",
    "check_recorded",
    "claims_json",
    "claims_text",
    "examine",
    "exit_code",
    "find_contradictions",
    "load_document",
    "parse_document",
]
