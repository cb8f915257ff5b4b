"""The rules that compare two documents; each is a pure function of an earlier and a later one."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from certification.claims.contradiction import Contradiction, Rule, trimmed
from certification.claims.document import Document, Row, StatementKind, Table, meets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Place = tuple[Table, Row]


def worse_after(earlier: Document, later: Document) -> Iterator[Contradiction]:
    """Find what got worse although the later document states an improvement."""
    improved = [s for s in later.statements if s.kind is StatementKind.IMPROVED]
    if not improved:
        return
    for (table_a, a), (table_b, b) in _pairs(_measured(earlier), _measured(later)):
        before, after = _value(a), _value(b)
        if a.unit != b.unit or not _worse(before, after, a.better or b.better):
            continue
        yield Contradiction(
            rule=Rule.WORSE_AFTER,
            subject=b.quantity,
            documents=(earlier.name, later.name),
            where=(improved[0].section, table_a.section, table_b.section),
            stated="improved",
            recomputed=f"{a.shown} before, {b.shown} after",
            note=f"{trimmed((after - before) / before * 100, 1)} %" if before else "",
        )


def target_missed(earlier: Document, later: Document) -> Iterator[Contradiction]:
    """Find targets of the earlier document that the later one's figures miss."""
    for (table_a, plan), (table_b, row) in _pairs(_planned(earlier), _measured(later)):
        if plan.target is None or plan.unit != row.unit:
            continue
        if not meets(_value(row), plan.op, plan.target.value):
            yield Contradiction(
                rule=Rule.TARGET_MISSED,
                subject=plan.quantity,
                documents=(earlier.name, later.name),
                where=(table_a.section, table_b.section),
                stated=_target(plan),
                recomputed=row.shown,
            )


def target_already_met(earlier: Document, later: Document) -> Iterator[Contradiction]:
    """Find targets that the later document sets although the earlier one meets them already."""
    for (table_a, row), (table_b, plan) in _pairs(_measured(earlier), _planned(later)):
        if plan.target is None or plan.unit != row.unit:
            continue
        if meets(_value(row), plan.op, plan.target.value):
            yield Contradiction(
                rule=Rule.TARGET_ALREADY_MET,
                subject=plan.quantity,
                documents=(earlier.name, later.name),
                where=(table_b.section, table_a.section),
                stated=_target(plan),
                recomputed=f"{row.shown} before the work began",
            )


def promised_change(earlier: Document, later: Document) -> Iterator[Contradiction]:
    """Find targets that fall short of the change that the plan promises with them.

    A target beyond the promise (30 % promised, 33 % needed) contradicts nothing.
    """
    for (table_a, row), (table_b, plan) in _pairs(_measured(earlier), _planned(later)):
        if plan.change is None or plan.target is None or plan.unit != row.unit or not _value(row):
            continue
        gain = (plan.target.value - _value(row)) / _value(row) * 100
        if plan.better == "lower":
            gain = -gain
        if gain < plan.change.value - plan.change.half:
            yield Contradiction(
                rule=Rule.PROMISED_CHANGE,
                subject=plan.quantity,
                documents=(earlier.name, later.name),
                where=(table_b.section, table_a.section),
                stated=f"{plan.change.text} % better by reaching {_target(plan)}",
                recomputed=f"{trimmed(gain, 1)} %",
                note=f"from {row.shown}",
            )


ACROSS: tuple[Callable[[Document, Document], Iterator[Contradiction]], ...] = (
    worse_after,
    target_missed,
    target_already_met,
    promised_change,
)
"""Every rule over two documents, in the order of the output."""


def _measured(document: Document) -> list[Place]:
    return [(t, r) for t, r in document.rows() if r.quantity and r.value is not None]


def _planned(document: Document) -> list[Place]:
    """Rows with a target and no value: what a plan asks for."""
    rows = document.rows()
    return [(t, r) for t, r in rows if r.quantity and r.value is None and r.target is not None]


def _pairs(first: list[Place], second: list[Place]) -> Iterator[tuple[Place, Place]]:
    """Join by quantity; of several rows in one document the last stands: it is the detailed one."""
    by_quantity = {row.quantity: (table, row) for table, row in second}
    for place in {row.quantity: (table, row) for table, row in first}.values():
        if place[1].quantity in by_quantity:
            yield place, by_quantity[place[1].quantity]


def _value(row: Row) -> Fraction:
    return row.value.value if row.value else Fraction()


def _worse(before: Fraction, after: Fraction, better: str) -> bool:
    match better:
        case "higher":
            return after < before
        case "lower":
            return after > before
        case _:
            return False


def _target(row: Row) -> str:
    return f"{row.op} {row.target.text} {row.unit}".strip() if row.target else ""
