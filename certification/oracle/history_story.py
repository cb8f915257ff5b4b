"""Tells an anomaly so that a reader can follow it: who did what when, and why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence

from certification.oracle.history import (
    Anomaly,
    Balance,
    Kind,
    Operation,
    Outcome,
    Statement,
)

OPERATIONS_MAX = 14
POSTINGS_MAX = 4


def story(anomaly: Anomaly) -> str:
    """Return the story as lines of plain text."""
    rows = sorted(anomaly.operations, key=lambda row: row.began_ns)
    lines = [f"This is {anomaly.name.value}."]
    if rows:
        lines.append(f"Account {anomaly.account}; times in ms since the first request shown:")
    if anomaly.start is not None:
        lines.append(f"  before: {balance(anomaly.start)}")
    lines += timeline(rows, anomaly.account)
    lines.append("It cannot be:")
    lines += [f"  {number}. {reason}" for number, reason in enumerate(anomaly.reasons, 1)]
    return "\n".join(lines)


def timeline(rows: Sequence[Operation], account: str) -> list[str]:
    """Return a line for each operation: when, who, what, and what came of it."""
    if not rows:
        return []
    origin = rows[0].began_ns
    shown = list(rows[:OPERATIONS_MAX])
    cells = [
        (_times(row, origin), row.client, _asked(row, account), _answered(row)) for row in shown
    ]
    widths = [max(len(cell[column]) for cell in cells) for column in range(3)]
    lines = [
        "  "
        + "  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=False))
        + f"  -> {cell[3]}"
        for cell in cells
    ]
    if len(rows) > len(shown):
        lines.append(f"  ... and {len(rows) - len(shown)} more at the same time")
    return lines


def _times(row: Operation, origin_ns: int) -> str:
    began = f"{(row.began_ns - origin_ns) / 1e6:8.1f}"
    if row.ended_ns is None:
        return f"{began} ..         "
    return f"{began} .. {(row.ended_ns - origin_ns) / 1e6:8.1f}"


def _asked(row: Operation, account: str) -> str:
    if row.kind is Kind.BALANCE:
        return f"#{row.number} reads the balance"
    if row.kind is Kind.STATEMENT:
        return f"#{row.number} reads the statement"
    amount = row.amount_on(account) or sum(amount for _, amount in row.effects[:1])
    if row.kind is Kind.POST:
        what = f"books {amount:+d}" if len(row.effects) < 2 else f"transfers {amount:+d}"
    elif row.kind is Kind.HOLD:
        what = f"holds {-amount}"
    else:
        what = f"{'settles' if row.kind is Kind.SETTLE else 'voids'} {row.transaction}"
    return f"#{row.number} {what}"


def _answered(row: Operation) -> str:
    if row.outcome is Outcome.UNRESOLVED:
        return "no answer"
    if row.outcome is Outcome.REFUSED:
        return "refused: too little money" if row.for_funds else "refused"
    if isinstance(row.shown, Balance):
        return balance(row.shown)
    if isinstance(row.shown, Statement):
        return statement(row.shown)
    return f"accepted as {row.transaction}" if row.kind in {Kind.POST, Kind.HOLD} else "accepted"


def balance(shown: Balance) -> str:
    """Return balances as a sentence part."""
    return f"ledger {shown.ledger}" + (f", holds {shown.holds}" if shown.holds else "")


def statement(shown: Statement) -> str:
    """Return the end of a statement as a sentence part."""
    newest = [f"{row.transaction} {row.amount:+d}" for row in shown.postings[-POSTINGS_MAX:]]
    if not newest:
        return "no postings"
    more = "..., " if len(shown.postings) > POSTINGS_MAX or not shown.whole else ""
    return f"{more}{', '.join(newest)} (newest last)"
