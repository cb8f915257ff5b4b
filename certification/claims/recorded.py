"""Compares what `result.json` states with what its evidence gives."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from certification.claims.contradiction import Contradiction, Rule, trimmed
from certification.errors import UsageError
from certification.judge import Judgement, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from certification.model import Json

RESULT_BYTES_MAX = 64 * 1024 * 1024


def check_recorded(evidence: Path, *, today: date) -> Iterator[Contradiction]:
    """Judge the evidence again and compare it with the `result.json` in the same folder.

    Raises `UsageError` where there is none or it is not one, `EvidenceError` for broken evidence.
    """
    path = evidence.parent / "result.json"
    result = _read(path)
    again = judge(evidence, today=today)
    for subject, stated, derived in _pairs(result, again, path):
        if stated != derived:
            yield Contradiction(
                rule=Rule.RECORDED_RESULT,
                subject=subject,
                documents=(str(path), str(evidence)),
                where=("result", "evidence"),
                stated=_show(stated),
                recomputed=_show(derived),
            )


def _pairs(result: Json, again: Judgement, path: Path) -> Iterator[tuple[str, object, object]]:
    verdict, score = again.verdict, again.score
    stated = _Reader(result, path)
    yield "level", stated.get("verdict", "level"), verdict.level
    yield "requested level", stated.get("verdict", "requested_level"), verdict.requested_level
    yield "requested level reached", stated.get("verdict", "reached"), verdict.reached
    yield "total, lower end", stated.exact("verdict", "total", "lower"), score.total.lower
    yield "total, upper end", stated.exact("verdict", "total", "upper"), score.total.upper
    yield "coverage", stated.exact("verdict", "coverage"), score.coverage
    named = stated.categories()
    for category in score.categories:
        name = category.category.value
        row = _Reader(named.pop(name, {}), path)
        yield f"{name}, lower end", row.exact("interval", "lower"), category.interval.lower
        yield f"{name}, upper end", row.exact("interval", "upper"), category.interval.upper
        yield f"{name}, weight", row.exact("weight"), category.weight
    for name in sorted(named):
        yield f"category {name}", "scored", "not in the profile"


class _Reader:
    """Looks up what a result states; `UsageError` names the key that is not there."""

    def __init__(self, document: Mapping[str, Any], path: Path) -> None:
        self._document = document
        self._path = path

    def get(self, *keys: str) -> Any:
        value: Any = self._document
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise UsageError(
                    f"{self._path}: {'.'.join(keys)} is missing",
                    hint="write it again with `certify report`",
                )
            value = value[key]
        return value

    def exact(self, *keys: str) -> Fraction | str:
        """Return the fraction; a text that is none comes back as it is and agrees with nothing."""
        text = str(self.get(*keys, "exact"))
        try:
            return Fraction(text) if len(text) <= 4096 and "e" not in text.lower() else text
        except (ValueError, ZeroDivisionError):
            return text

    def categories(self) -> dict[str, Any]:
        rows = self.get("categories")
        if not isinstance(rows, list):
            raise UsageError(f"{self._path}: categories is no list")
        return {str(row.get("name")): row for row in rows if isinstance(row, dict)}


def _read(path: Path) -> Json:
    try:
        with path.open("rb") as file:
            data = file.read(RESULT_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror})", hint="`certify report` writes one"
        ) from error
    if len(data) > RESULT_BYTES_MAX:
        raise UsageError(f"{path}: larger than {RESULT_BYTES_MAX} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: no JSON object")
    return document


def _show(value: object) -> str:
    if isinstance(value, Fraction):
        return f"{trimmed(value)} ({value})"
    return str(value)[:120]
