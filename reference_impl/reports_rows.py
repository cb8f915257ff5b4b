"""The rows of a report, read page by page up to the place in the book where it was asked for."""

import heapq
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .analytics import performance, reading, subjects
from .analytics.window import Asked, Window, choose
from .clock import text

PAGE_ROWS = 1000

PORTFOLIO_COLUMNS = (
    "row",
    "account_id",
    "name",
    "type",
    "status",
    "currency",
    "accounts",
    "from",
    "to",
    "entries",
    *performance.FORMULAS,
)
ENTRY_COLUMNS = (
    "account_id",
    "account_name",
    "seq",
    "line_no",
    "transaction_id",
    "kind",
    "bucket",
    "amount",
    "currency",
    "running_balance",
    "effective_at",
    "recorded_at",
    "reverses_id",
    "memo",
)
ENTRIES = """
SELECT l.seq, l.line_no, t.id AS transaction_id, t.kind, l.amount, l.balance_after,
       t.effective_at, coalesce(c.closed_at, t.recorded_at) AS recorded_at,
       o.id AS reverses_id, t.memo
FROM lines l JOIN transactions t ON t.seq = l.transaction_seq
LEFT JOIN transactions o ON o.seq = t.reverses_seq
LEFT JOIN closings c ON c.hold_seq = l.closing_seq
WHERE l.bucket_id = :bucket AND (l.seq, l.line_no) > (:after_seq, :after_line)
  AND (l.seq, l.line_no) <= (:seq, :line)
ORDER BY l.seq, l.line_no LIMIT :page
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The accounts of a report: SQL that yields their ids, and its named parameters."""

    select: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a report shows."""

    accounts: Accounts
    start_ms: int | None
    end_ms: int
    as_of: reading.Extent

    def covers(self, instant_ms: int) -> bool:
        """Tell whether an instant lies in the window."""
        begun = self.start_ms is None or self.start_ms <= instant_ms
        return begun and instant_ms < self.end_ms


Row = tuple[str, dict[str, Any]]
"""Kind (account, total, entry) and members."""


def accounts(connection: sqlite3.Connection, chosen: Accounts) -> Iterator[sqlite3.Row]:
    """Yield the accounts in the order of their opening."""
    after = 0
    while True:
        page = connection.execute(
            f"SELECT seq, id, name, type, status, currency FROM accounts WHERE id IN"  # noqa: S608 - own text
            f" ({chosen.select}) AND seq > :after ORDER BY seq LIMIT {PAGE_ROWS}",
            {**chosen.values, "after": after},
        ).fetchall()
        yield from page
        if len(page) < PAGE_ROWS:
            return
        after = page[-1]["seq"]


def entries(connection: sqlite3.Connection, terms: Terms) -> Iterator[Row]:
    """Yield every entry of the window, account by account, in the order of the book."""
    for account in accounts(connection, terms.accounts):
        buckets = connection.execute(
            "SELECT id, kind FROM buckets WHERE account_id = ?", (account["id"],)
        ).fetchall()
        merged = heapq.merge(
            *(_lines(connection, bucket, terms.as_of) for bucket in buckets),
            key=lambda found: (found[0]["seq"], found[0]["line_no"]),
        )
        for line, bucket in merged:
            if terms.covers(line["effective_at"]):
                yield "entry", entry(account, bucket, line)


def _lines(
    connection: sqlite3.Connection, bucket: sqlite3.Row, as_of: reading.Extent
) -> Iterator[tuple[sqlite3.Row, str]]:
    after = reading.Extent(seq=-1, line=0)
    while True:
        page = connection.execute(
            ENTRIES,
            {
                "bucket": bucket["id"],
                "after_seq": after.seq,
                "after_line": after.line,
                "seq": as_of.seq,
                "line": as_of.line,
                "page": PAGE_ROWS,
            },
        ).fetchall()
        for line in page:
            yield line, bucket["kind"]
        if len(page) < PAGE_ROWS:
            return
        after = reading.Extent(seq=page[-1]["seq"], line=page[-1]["line_no"])


def entry(account: sqlite3.Row, bucket: str, line: sqlite3.Row) -> dict[str, Any]:
    """Return one entry as a row."""
    return {
        "account_id": account["id"],
        "account_name": account["name"],
        "seq": line["seq"],
        "line_no": line["line_no"],
        "transaction_id": line["transaction_id"],
        "kind": line["kind"],
        "bucket": bucket,
        "amount": line["amount"],
        "currency": account["currency"],
        "running_balance": line["balance_after"],
        "effective_at": text(line["effective_at"]),
        "recorded_at": text(line["recorded_at"]),
        "reverses_id": line["reverses_id"],
        "memo": line["memo"],
    }


def portfolio(connection: sqlite3.Connection, terms: Terms) -> Iterator[Row]:
    """Yield the performance of each account, then of all accounts of a currency as one.

    Every row has the same window. What moved between accounts of the report is no flow of a total.
    """
    counts: dict[str, int] = {}
    window = portfolio_window(connection, terms)
    for account in accounts(connection, terms.accounts):
        currency = account["currency"]
        counts[currency] = counts.get(currency, 0) + 1
        about = subjects.of_account(account["id"], currency)
        yield (
            "account",
            {
                "account_id": account["id"],
                "name": account["name"],
                "type": account["type"],
                "status": account["status"],
                "currency": currency,
                **figures(connection, about, window, terms.as_of),
            },
        )
    for currency in sorted(counts):
        shown = figures(connection, group(terms.accounts, currency), window, terms.as_of)
        yield "total", {"currency": currency, "accounts": counts[currency], **shown}


def group(chosen: Accounts, currency: str) -> subjects.Subject:
    """Return the accounts of one currency as a subject."""
    return subjects.Subject(
        type="portfolio",
        id="-",
        currency=currency,
        select=f"SELECT id FROM accounts WHERE currency = :currency AND id IN ({chosen.select})",  # noqa: S608 - own text
        values={**chosen.values, "currency": currency},
    )


def portfolio_window(connection: sqlite3.Connection, terms: Terms) -> Window:
    """Return the window of all rows; by default it starts with the first entry of them all."""
    everything = subjects.Subject(
        type="portfolio",
        id="-",
        currency="-",
        select=terms.accounts.select,
        values=terms.accounts.values,
    )
    found = reading.find(connection, everything, terms.as_of)
    first_ms = found.first_ms if found else terms.end_ms - 1
    asked = Asked(start_ms=terms.start_ms, end_ms=terms.end_ms)
    return choose(asked, terms.end_ms - 1, min(first_ms, terms.end_ms - 1))


def figures(
    connection: sqlite3.Connection, about: subjects.Subject, window: Window, as_of: reading.Extent
) -> dict[str, Any]:
    """Return the figures of performance as members of a row; zeros without entries."""
    found = reading.find(connection, about, as_of)
    place = found or reading.Found(first_ms=window.start_ms, last=as_of)
    read = reading.read(connection, about, window, place)
    rendered = {figure.name: figure.shown()["value"] for figure in performance.figures(read.series)}
    return {
        "from": text(window.start_ms),
        "to": text(window.end_ms),
        "entries": read.entries,
        **rendered,
    }
