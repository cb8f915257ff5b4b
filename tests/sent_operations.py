"""Compares what checks of a run really sent with what they say that they send."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

from certification.checks import ARRANGED, load_catalogue
from certification.contract import load_contract

ASKED_FIRST = {
    "functional/fuzzing/*": frozenset(load_contract().operations),
    "functional/grants/opens-what-was-given": frozenset({"getAnalytics"}),
    "functional/personal-data/gone-everywhere": frozenset({"getLineage", "listAudit"}),
    "functional/principals/foreign-objects-everywhere": frozenset({"createReport", "openSystem"}),
    "functional/sensitive-fields/bank-references": frozenset({"createGrant"}),
}
"""What checks send only where the deployment offers it: without it the rest of them stands."""


def unnamed(folder: Path) -> dict[str, set[str]]:
    """Return, by check, what it sent in the run of this folder and does not name."""
    named = {str(spec.id): ARRANGED.union(spec.operations) for spec in load_catalogue()}
    for glob, operations in ASKED_FIRST.items():
        for check in named:
            if fnmatchcase(check, glob):
                named[check] |= operations
    found: dict[str, set[str]] = defaultdict(set)
    with gzip.open(folder / "evidence.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["kind"] != "exchange" or row["check"] not in named:
                continue
            operation = row["operation"]
            if operation is not None and operation not in named[row["check"]]:
                found[row["check"]].add(operation)
    return dict(found)
