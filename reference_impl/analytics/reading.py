"""Reading entries: sums of a subject's journal lines by period, kind and direction.

Sums are taken in two halves of 32 bits, so that no number of entries overflows an integer of the
database; Python puts them together exactly.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import risk
from .series import FLOW, Day, Series, build, kinds_of
from .subjects import Subject
from .window import DAY_MS, Window

_LOW = 0xFFFF_FFFF
_SUMS = f"sum(amount >> 32) AS high, sum(amount & {_LOW}) AS low"
_LINES = """
FROM buckets b CROSS JOIN lines l ON l.bucket_id = b.id
JOIN transactions t ON t.seq = l.transaction_seq
LEFT JOIN transactions o ON o.seq = t.reverses_seq
WHERE b.account_id IN ({select}) AND (l.seq, l.line_no) <= (:seq, :line)
"""
FIRST = f"SELECT min(t.effective_at) AS first, max(l.seq) AS seq {_LINES}"
LAST_LINE = f"SELECT max(l.line_no) AS line {_LINES} AND l.seq = :last"
_MOVEMENTS = f"""
SELECT coalesce(o.kind, t.kind) AS kind, t.effective_at, sum(l.amount) AS amount,
       count(*) AS entries
{_LINES} AND t.effective_at < :end GROUP BY t.seq
"""
DAYS = f"""
SELECT CASE WHEN effective_at < :start THEN -1
       ELSE (effective_at - :start) / {DAY_MS} END AS period,
       kind, {_SUMS}, sum(entries) AS entries
FROM ({_MOVEMENTS}) GROUP BY 1, kind, amount > 0
"""  # noqa: S608 - constants of this module
LARGEST = f"""
SELECT min(amount) AS amount FROM ({_MOVEMENTS})
WHERE effective_at >= :start AND kind IN ({", ".join(f"'{kind}'" for kind in kinds_of(FLOW))})
"""  # noqa: S608 - constants of this module
BUCKETS = f"""
SELECT kind, {_SUMS} FROM (
  SELECT b.kind, l.amount {_LINES} AND t.effective_at < :end)
GROUP BY kind
"""  # noqa: S608 - constants of this module


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A place in the book: everything up to this line, and nothing after it, counts."""

    seq: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a subject's entries begin and end."""

    first_ms: int
    """The earliest effective time of an entry."""
    last: Extent
    """The newest entry in the order of the book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A subject's days in a window, and how many entries they come from."""

    series: Series
    entries: int


def end_of_book(connection: sqlite3.Connection) -> Extent:
    """Return the place of the newest line."""
    row = connection.execute(
        "SELECT seq, line_no FROM lines ORDER BY seq DESC, line_no DESC LIMIT 1"
    ).fetchone()
    return Extent(seq=row["seq"], line=row["line_no"]) if row else Extent(seq=0, line=0)


def _values(subject: Subject, extent: Extent) -> dict[str, Any]:
    return {**subject.values, "seq": extent.seq, "line": extent.line}


def find(connection: sqlite3.Connection, subject: Subject, extent: Extent) -> Found | None:
    """Return where a subject's entries are, None if it has none."""
    values = _values(subject, extent)
    row = connection.execute(FIRST.format(select=subject.select), values).fetchone()
    if row["seq"] is None:
        return None
    last = connection.execute(
        LAST_LINE.format(select=subject.select), {**values, "last": row["seq"]}
    ).fetchone()
    return Found(first_ms=row["first"], last=Extent(seq=row["seq"], line=last["line"]))


def read(connection: sqlite3.Connection, subject: Subject, window: Window, found: Found) -> Read:
    """Return the days of a window, from every entry up to `found.last`."""
    values = _values(subject, found.last) | {"start": window.start_ms, "end": window.end_ms}
    days, entries = [], 0
    for row in connection.execute(DAYS.format(select=subject.select), values):
        days.append(Day(period=row["period"], kind=row["kind"], amount=whole(row)))
        entries += row["entries"]
    first = window.period_of(found.first_ms)
    return Read(series=build(days, count=window.periods, first=first), entries=entries)


def whole(row: Mapping[str, int] | sqlite3.Row) -> int:
    """Put the two halves of a sum together."""
    return (int(row["high"]) << 32) + int(row["low"])


def exposure(
    connection: sqlite3.Connection, subject: Subject, window: Window, found: Found
) -> risk.Exposure:
    """Return the largest outflow of a window, and the buckets at its end."""
    values = _values(subject, found.last) | {"end": window.end_ms}
    rows = connection.execute(BUCKETS.format(select=subject.select), values)
    buckets = {row["kind"]: whole(row) for row in rows}
    values["start"] = window.start_ms
    least = connection.execute(LARGEST.format(select=subject.select), values).fetchone()
    return risk.Exposure(largest_outflow=max(0, -(least["amount"] or 0)), buckets=buckets)
