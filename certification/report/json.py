"""`result.json`: the whole view as one JSON document with a published schema."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from certification.report.text import score_text
from certification.report.view import CaseView, CheckView, ReportView

if TYPE_CHECKING:
    from certification.model import Json

RESULT_SCHEMA: Final = "certification-result/1"
"""Format and version; a change that breaks a reader of the schema raises the number."""

_LEFT_OUT: Final = {
    CheckView: frozenset({"anchor"}),
    CaseView: frozenset({"exchanges"}),
}
"""What only the HTML report needs; exchanges are read from the evidence file, by number."""


def result_document(view: ReportView) -> Json:
    """Return the view as JSON types; fractions are exact, beside a decimal cut at six places."""
    document = _plain(view)
    headline = document.pop("headline")
    facts = document.pop("facts")
    for name in ("counts", "defects"):
        headline[name] = dict(headline[name])
    headline["vetoes"] = [{"veto": veto, "check": check} for veto, check in headline["vetoes"]]
    facts["target"] = dict(facts["target"])
    facts["detection"] = dict(facts["detection"])
    document["waivers"] = [
        {**waiver, "excuses_a_failure": excuses} for waiver, excuses in document["waivers"]
    ]
    document["reported"] = [
        {"category": category, "score": score, "source": source}
        for category, score, source in document["reported"]
    ]
    return {"schema": RESULT_SCHEMA, "verdict": headline, "run": facts, **document}


def _plain(value: Any) -> Any:
    """Return dataclasses, enums, tuples and fractions as JSON types."""
    if isinstance(value, Fraction):
        return {
            "exact": f"{value.numerator}/{value.denominator}",
            "value": float(score_text(value, 6)),
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        left_out = _LEFT_OUT.get(type(value), frozenset())
        names = (row.name for row in fields(value) if row.name not in left_out)
        return {name: _plain(getattr(value, name)) for name in names}
    return value


def render(view: ReportView) -> str:
    """Return `result.json`; ASCII only, so that no reader trips over a lone surrogate."""
    return json.dumps(result_document(view), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def schema() -> Json:
    """Return the published JSON Schema of `result.json`."""
    path = Path(__file__).parent.parent / "schemas" / "result.schema.json"
    document: Json = json.loads(path.read_text(encoding="utf-8"))
    return document
