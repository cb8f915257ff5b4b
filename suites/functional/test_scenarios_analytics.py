"""The whole way of analytics: money in, growth, trades, figures, report; recomputed throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import analysing, growing
from certification.analysing import REPORTS, Diary
from certification.checks import check
from certification.model import Json, Module, Severity
from certification.oracle import analytics, analytics_series, members

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context


def _trades(book: Diary, unit: int = 1) -> None:
    """Book a few days of trading: premiums, an assignment, fees and a loss."""
    book.book("premium", 1_013 * unit, -3.9)
    book.book("fee", 97 * unit, -3.9, ms=1)
    book.book("assignment", 2_003 * unit, -2.5)
    book.book("interest", 41 * unit, -1)
    book.book("tax", 17 * unit, -1, ms=1)


def _usual(ctx: Context) -> list[Diary]:
    book = analysing.diary(ctx)
    book.book("deposit", 100_003, -5)
    _trades(book)
    book.book("withdrawal", 5_009, -0.5)
    return [book]


def _smallest(ctx: Context) -> list[Diary]:
    book = analysing.diary(ctx)
    book.book("deposit", 3, -3)
    book.book("interest", 1, -2)
    book.book("fee", 2, -1)
    return [book]


def _largest(ctx: Context) -> list[Diary]:
    most = growing.amount_max(ctx)
    book = analysing.diary(ctx)
    book.book("deposit", most // 3, -3)
    book.book("interest", most // 7, -2)
    book.book("fee", most // 11, -1)
    book.book("withdrawal", most // 13, -1)
    return [book]


def _currencies(ctx: Context) -> list[Diary]:
    codes = [row["code"] for row in ctx.declared("currencies")]
    books = [analysing.diary(ctx, currency=code) for code in codes[:3]]
    for number, book in enumerate(books, start=1):
        book.book("deposit", 100_003 * number, -5)
        _trades(book, number)
    return books


def _single(ctx: Context) -> list[Diary]:
    book = analysing.diary(ctx)
    book.book("deposit", 77, 0)
    return [book]


def _empty(ctx: Context) -> list[Diary]:
    return [analysing.diary(ctx)]


def _gone(ctx: Context) -> list[Diary]:
    book = analysing.diary(ctx)
    book.book("deposit", 10_000, -4)
    book.book("fee", 4_000, -3)
    book.book("withdrawal", 6_000, -2)
    book.book("deposit", 500, -1)
    return [book]


def _old(ctx: Context) -> list[Diary]:
    book = analysing.diary(ctx)
    book.book("deposit", 50_021, -800)
    book.book("premium", 3_001, -370.5)
    book.book("premium", 1_009, -30.5)
    return [book]


def _held(ctx: Context) -> list[Diary]:
    (book,) = _usual(ctx)
    hold = book.book("withdrawal", 3_007, -1, hold=True)
    ctx.operator.call("settleTransaction", path={"id": hold["id"]}, body={}, expect=200)
    book.book("withdrawal", 20_011, -1, hold=True)
    return [book]


def _reversed(ctx: Context) -> list[Diary]:
    (book,) = _usual(ctx)
    for kind in ("premium", "withdrawal"):
        wrong = book.book(kind, 6_011, -2)
        path = {"id": wrong["id"]}
        ctx.manager.call("reverseTransaction", path=path, body={"reason": "wrong"}, expect=201)
    return [book]


def _forked(ctx: Context) -> list[Diary]:
    ripe = growing.ripe(ctx, extra=101)
    children = growing.fork(ctx, ripe.account).body["children"]
    books = [analysing.keep(ctx, account) for account in (ripe.account, *children)]
    for number, book in enumerate(books, start=1):
        book.book("premium", 1_019 * number, -1)
    return books


def _merged(ctx: Context) -> list[Diary]:
    sources, target = growing.mergeable(ctx)
    for number, source in enumerate(sources, start=1):
        analysing.keep(ctx, source).book("premium", 503 * number, -2)
    growing.merge(ctx, sources, target)
    return [analysing.keep(ctx, account) for account in (*sources, target)]


VARIATIONS: dict[str, Callable[[Context], list[Diary]]] = {
    "usual": _usual,
    "smallest amounts": _smallest,
    "largest amounts": _largest,
    "every currency": _currencies,
    "single entry": _single,
    "no entry": _empty,
    "all gone and begun again": _gone,
    "older than a year": _old,
    "held and settled": _held,
    "reversed": _reversed,
    "forked": _forked,
    "merged": _merged,
}


def _figures(ctx: Context, book: Diary, rows: list[analytics_series.Entry]) -> None:
    """Ask for all reports of an account; each is right, or rightly refused."""
    end = analytics_series.day_of(analytics_series.instant_ns(book.at(0))) + analytics_series.DAY_NS
    series = analysing.series_of(ctx, rows, analytics_series.window(rows, start=None, end=end))
    asked = {"to": book.at(1)}
    for name in REPORTS:
        reply = analysing.ask(ctx, book.id, name, asked)
        if analytics.figures(name, series) is None:
            ctx.is_problem(reply, "insufficient_history")
        else:
            ctx.has_status(reply, 200)
            analysing.expect_right(ctx, reply, rows, asked)


def _statement(ctx: Context, book: Diary, rows: list[analytics_series.Entry]) -> None:
    """Export portfolio and entries of an account; both are what its entries come to."""
    subject: Json = {"account_id": book.id, "to": book.at(1)}
    report = analysing.built(ctx, {"report": "portfolio", **subject})
    shown = analysing.export(ctx, report, "json")
    (row,) = shown.body["rows"]
    start, end = (analytics_series.instant_ns(row[name]) for name in ("from", "to"))
    series = analytics_series.series(rows, analytics_series.Window(start_ns=start, end_ns=end))
    wrong = [
        f"{name}: stated {row[name]}, recomputed {analytics.shown(figure.value, figure.scale)}"
        for name, figure in analytics.performance(series).items()
        if analytics.differs(figure, row[name])
    ]
    message = "The portfolio is not what the entries come to"
    ctx.expect(not wrong, message, expected="alike", observed="; ".join(wrong), on=[shown])
    report = analysing.built(ctx, {"report": "entries", **subject})
    shown = analysing.export(ctx, report, "json")
    listed = [members.entry(row) for row in ctx.arrange.entries(book.account)]
    ctx.equal([members.entry(row) for row in shown.body["rows"]], listed, "The entries", shown)


@check(
    "functional/scenarios-analytics/money-in-to-report-out",
    title="From the first deposit to the exported report, every figure is what was booked",
    failure_title="On the way from deposit to report, a figure stops being what was booked",
    severity=Severity.HIGH,
    requirements=["E2E-ANA", "SYS-ANA", "SYS-EXT"],
    operations=[
        "createAccount",
        "createTransaction",
        "forkAccount",
        "mergeAccounts",
        "listEntries",
        "getAnalytics",
        "createReport",
        "getReport",
        "exportReport",
        "settleTransaction",
        "reverseTransaction",
    ],
    modules=(Module.ANALYTICS, Module.GROWTH),
    identities=["customer", "operator", "manager"],
    defects=["analytics-count-held-money", "reversals-are-flows", "exports-drop-the-last-day"],
    budget_s=120,
)
@pytest.mark.parametrize("variation", VARIATIONS)
def check_money_in_to_report_out(ctx: Context, variation: str) -> None:
    """Whether twelve histories, from empty to merged, are told rightly by figures and reports.

    Why: Each part may be right alone, and the report still not what the customer did.
    How: Bring money in, let it grow and trade as the variation says; ask for the four reports of
        every account, export portfolio and entries; recompute all of it from the entries.
    Fails when: A figure, a row or a refusal is not what the entries come to.
    Remedy: Derive figures, portfolio and statement from one reading of the entries.
    """
    for book in VARIATIONS[variation](ctx):
        rows = analysing.entries(ctx, book.id)
        _figures(ctx, book, rows)
        _statement(ctx, book, rows)
