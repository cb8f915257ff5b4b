"""The rules that compare a document with itself; each is a pure function of one document."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import TYPE_CHECKING

from certification.claims.contradiction import Contradiction, Rule, places, trimmed
from certification.claims.document import Document, Row, Statement, StatementKind, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUNDRED = Fraction(100)


def weighted_total(document: Document) -> Iterator[Contradiction]:
    """Sum weight x value; percentages count as shares of 1."""
    for statement in _statements(document, StatementKind.WEIGHTED_TOTAL):
        table = document.table(statement.tables[0])
        if statement.value is None:
            continue
        total = sum(
            (_share(row) * row.weight.value for row in table.rows if row.weight), Fraction()
        )
        if not statement.value.agrees(total):
            yield _found(
                Rule.WEIGHTED_TOTAL,
                document,
                (statement.section, table.section),
                subject="weighted total",
                stated=statement.value.text,
                recomputed=trimmed(total),
            )


def targets_met(document: Document) -> Iterator[Contradiction]:
    """Count the rows that meet their target against the share that is stated."""
    for statement in _statements(document, StatementKind.ALL_MET):
        rows = [row for name in statement.tables for row in document.table(name).rows]
        judged = [row for row in rows if row.met is not None]
        missed = [row for row in judged if not row.met]
        if not judged:
            continue
        share = Fraction(len(judged) - len(missed), len(judged))
        agrees = statement.value.agrees(share) if statement.value else share == 1
        if agrees and not (missed and statement.value is None):
            continue
        sections = [document.table(name).section for name in statement.tables]
        yield _found(
            Rule.TARGETS_MET,
            document,
            (statement.section, *sections),
            subject="targets met",
            stated=f"a share of {statement.value.text}" if statement.value else "all",
            recomputed=f"{len(judged) - len(missed)} of {len(judged)} = {trimmed(share)}",
            note="missed: " + "; ".join(map(_missed, missed)) if missed else "",
        )


def mean(document: Document) -> Iterator[Contradiction]:
    """Take the mean with words counted as 0, and without them; neither is what is stated."""
    for statement in _statements(document, StatementKind.MEAN):
        table = document.table(statement.tables[0])
        numbers = [row.value.value for row in table.rows if row.value]
        words = [row.word for row in table.rows if row.word]
        if not numbers or statement.value is None:
            continue
        readings = [sum(numbers, Fraction()) / len(numbers)]
        if words:
            readings.insert(0, sum(numbers, Fraction()) / (len(numbers) + len(words)))
        if any(statement.value.agrees(reading) for reading in readings):
            continue
        count = len(statement.value.text.partition(".")[2])
        note = f"with {words[0]!r} counted as 0, and left out" if words else ""
        yield _found(
            Rule.MEAN,
            document,
            (statement.section, table.section),
            subject=f"mean of {table.id}",
            stated=statement.value.text,
            recomputed=" or ".join(places(reading, count) for reading in readings),
            note=note,
        )


def complete(document: Document) -> Iterator[Contradiction]:
    """Find percentages below 100 of what is said to be complete."""
    for statement in _statements(document, StatementKind.COMPLETE):
        for quantity in statement.quantities:
            low = [
                (table, row)
                for table, row in document.rows()
                if row.quantity == quantity and row.value and row.value.value < HUNDRED
            ]
            if low:
                table, row = low[0]
                yield _found(
                    Rule.COMPLETE,
                    document,
                    (statement.section, table.section),
                    subject=quantity,
                    stated="all, 100 %",
                    recomputed=row.shown,
                )


def two_values(document: Document) -> Iterator[Contradiction]:
    """Find quantities with two values, and say whose value the second one really is."""
    pairs = combinations([(t, r) for t, r in document.rows() if r.quantity and r.value], 2)
    for (table_a, a), (table_b, b) in pairs:
        if (a.quantity, a.unit) != (b.quantity, b.unit) or a.value is None or b.value is None:
            continue
        if abs(a.value.value - b.value.value) <= a.value.half + b.value.half:
            continue
        yield _found(
            Rule.TWO_VALUES,
            document,
            (table_a.section, table_b.section),
            subject=a.quantity,
            stated=a.shown,
            recomputed=f"{b.shown} in the other place",
            note=_slip(a, table_b) or _slip(b, table_a),
        )


def two_names(document: Document) -> Iterator[Contradiction]:
    """Find one label with one value that is said to be a share of two things."""
    rows = [(table, row) for table, row in document.rows() if row.of and row.value]
    for (table_a, a), (table_b, b) in combinations(rows, 2):
        if (a.label, a.unit) != (b.label, b.unit) or a.of == b.of:
            continue
        if a.value and b.value and a.value.value == b.value.value:
            yield _found(
                Rule.TWO_NAMES,
                document,
                (table_a.section, table_b.section),
                subject=f"{a.label} {a.shown}",
                stated=f"of {a.of}",
                recomputed=f"the same figure of {b.of}",
            )


def percent(document: Document) -> Iterator[Contradiction]:
    """Recompute the change from `before`, or over the target; plans are judged across documents."""
    for table, row in document.rows():
        start = row.before or row.target
        if row.change is None or row.value is None or start is None or not start.value:
            continue
        change = (row.value.value - start.value) / start.value * 100
        if row.better == "lower":
            change = -change
        if not row.change.agrees(change):
            count = len(row.change.text.partition(".")[2])
            yield _found(
                Rule.PERCENT,
                document,
                (table.section,),
                subject=row.label,
                stated=f"{row.change.text} %",
                recomputed=f"{places(change, count)} %",
                note=f"from {start.text} to {row.value.text}",
            )


WITHIN: tuple[Callable[[Document], Iterator[Contradiction]], ...] = (
    weighted_total,
    targets_met,
    mean,
    complete,
    two_values,
    two_names,
    percent,
)
"""Every rule over one document, in the order of the output."""


def _statements(document: Document, kind: StatementKind) -> Iterator[Statement]:
    return (statement for statement in document.statements if statement.kind is kind)


def _share(row: Row) -> Fraction:
    if row.value is None:
        return Fraction()
    return row.value.value / 100 if row.unit == "%" else row.value.value


def _missed(row: Row) -> str:
    target = row.target_word or (f"{row.op} {row.target.text}" if row.target else "")
    return f"{row.label} {row.shown}, target {target}"


def _slip(row: Row, other: Table) -> str:
    """Say whose line was copied: a row of the other table that has the same printed value."""
    for candidate in other.rows:
        same = candidate.value and row.value and candidate.value.value == row.value.value
        if same and candidate.unit == row.unit and candidate.quantity != row.quantity:
            return f"{row.shown} is the value of {candidate.label} in {other.section}"
    return ""


def _found(  # noqa: PLR0913 - the fields of a finding
    rule: Rule,
    document: Document,
    where: tuple[str, ...],
    *,
    subject: str,
    stated: str,
    recomputed: str,
    note: str = "",
) -> Contradiction:
    return Contradiction(
        rule=rule,
        subject=subject,
        documents=(document.name,),
        where=where,
        stated=stated,
        recomputed=recomputed,
        note=note,
    )
