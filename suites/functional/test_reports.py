"""Reports: built in the background, complete, alike in both formats, and only for whom they are."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING, Any

import pytest

from certification import analysing
from certification.arrange import unknown_id
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import analytics, analytics_series, members

if TYPE_CHECKING:
    from certification.context import Context

SYSTEM_AMOUNT = 10_000_001
FIGURES = (
    "opening_value",
    "inflows",
    "outflows",
    "gains",
    "fees",
    "net_gain",
    "closing_value",
    "time_weighted_return",
    "money_weighted_return",
)


def exports(ctx: Context, report: Json) -> tuple[Json, list[dict[str, str]]]:
    """Return both exports; each must be as long as the report says, with its digest."""
    stated = {row["format"]: row for row in report["exports"]}
    bodies = {}
    for name in ("json", "csv"):
        reply = analysing.export(ctx, report, name)
        bodies[name] = reply.body
        told = (stated[name]["bytes"], stated[name]["sha256"])
        right = (len(reply.raw), hashlib.sha256(reply.raw).hexdigest())
        ctx.equal(told, right, f"Length and digest of the {name} export", reply)
    # The csv module ends lines at \n too, which a quoted cell may hold: read it unsplit.
    rows = list(csv.DictReader(io.StringIO(bodies["csv"], newline="")))
    return bodies["json"], rows


def cell(value: Any) -> str:
    """Return a value as CSV has it."""
    return "" if value is None else str(value)


def expect_alike(ctx: Context, json_rows: list[Json], csv_rows: list[dict[str, str]]) -> None:
    """Fail unless the CSV has the rows of the JSON, cell by cell; text may be guarded."""
    ctx.equal(len(csv_rows), len(json_rows), "How many rows the CSV has, and the JSON")
    for number, (row, line) in enumerate(zip(json_rows, csv_rows, strict=True), start=1):
        for name, value in row.items():
            if line.get(name) not in {cell(value), f"'{cell(value)}"}:
                ctx.fail(
                    f"Row {number} of the CSV differs from the JSON in {name}",
                    expected=cell(value),
                    observed=line.get(name, "no such column"),
                )


def portfolio_differences(row: Json, rows: list[analytics_series.Entry], to: str) -> list[str]:
    """Compare a row of a portfolio with the entries that it is made of."""
    chosen = analytics_series.Window(
        start_ns=analytics_series.instant_ns(row["from"]),
        end_ns=analytics_series.instant_ns(row["to"]),
    )
    series = analytics_series.series(rows, chosen)
    right = analytics.performance(series)
    wrong = [
        f"{name}: stated {row[name]}, recomputed {analytics.shown(figure.value, figure.scale)}"
        for name, figure in right.items()
        if analytics.differs(figure, row[name])
    ]
    if row["entries"] != series.entries:
        wrong.append(f"entries: stated {row['entries']}, there are {series.entries}")
    if chosen.end_ns != analytics_series.instant_ns(to):
        wrong.append(f"to: stated {row['to']}, asked for {to}")
    return [f"{row.get('account_id', 'total')} {text}" for text in wrong]


def expect_portfolio(
    ctx: Context, report: Json, by_account: dict[str, list[analytics_series.Entry]]
) -> None:
    """Fail unless rows, totals and both formats are what the accounts' entries come to."""
    body, lines = exports(ctx, report)
    rows, totals = body["rows"], body["totals"]
    shown = sorted(row["account_id"] for row in rows)
    ctx.equal(shown, sorted(by_account), "The accounts of the portfolio")
    ctx.equal(report["rows"], len(rows), "How many rows the report says, and has")
    starts = {row["from"] for row in (*rows, *totals)}
    ctx.equal(len(starts), 1, "How many windows the rows of one portfolio have")
    everything = [entry for found in by_account.values() for entry in found]
    start = None if report["from"] is None else analytics_series.instant_ns(report["from"])
    end = analytics_series.instant_ns(report["to"])
    window = analytics_series.window(everything, start=start, end=end)
    told = analytics_series.instant_ns(starts.pop())
    ctx.equal(told, window.start_ns, "Where the window of the rows begins")
    wrong = [
        text
        for row in rows
        for text in portfolio_differences(row, by_account[row["account_id"]], report["to"])
    ]
    codes = sorted(row["currency"] for row in totals)
    ctx.equal(codes, sorted({row["currency"] for row in rows}), "The currencies of the totals")
    for total in totals:
        mine = [row["account_id"] for row in rows if row["currency"] == total["currency"]]
        ctx.equal(total["accounts"], len(mine), "How many accounts a total counts")
        counted = [entry for id_ in mine for entry in by_account[id_]]
        wrong += portfolio_differences(total, counted, report["to"])
    message = "The portfolio is not what the entries of its accounts come to"
    ctx.expect(not wrong, message, expected="every figure", observed="; ".join(wrong))
    kinds = [line["row"] for line in lines]
    ctx.equal(kinds, ["account"] * len(rows) + ["total"] * len(totals), "The column `row`")
    expect_alike(ctx, [*rows, *totals], lines)


@check(
    "functional/reports/portfolios-are-recomputed",
    title="A portfolio's rows and totals are what the entries come to, in CSV and in JSON",
    failure_title="A portfolio is not what the entries come to, or its two formats differ",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "SYS-EXT", "E2E-ANA"],
    operations=["createReport", "getReport", "exportReport", "openSystem", "listEntries"],
    modules=(Module.ANALYTICS, Module.GROWTH),
    identities=["customer", "operator"],
    defects=["totals-count-moves-inside", "reports-are-stale", "exports-differ"],
)
@pytest.mark.parametrize("window", ["default", "chosen"])
def check_portfolios_are_recomputed(ctx: Context, window: str) -> None:
    """Whether each account's row and the total of all are right, before and after a change.

    Why: What goes to the tax adviser is the export, not the screen.
    How: Open a system, book gains, fees, and a transfer inside; ask for its portfolio, wait, fetch
        both formats, and recompute every figure. Book one more gain and ask for another report.
    Fails when: A figure, a count, a window or a cell differs, length or digest are not those that
        the report states, or the second report shows the first one's figures.
    Remedy: Build both formats from the same rows, and the rows from entries up to as_of.
    """
    ctx.arrange.within_limits(SYSTEM_AMOUNT)
    body = {"name": ctx.name("system"), "amount": ctx.arrange.money(SYSTEM_AMOUNT)}
    opened = ctx.customer.call("openSystem", body=body, expect=201).body
    for account in opened["accounts"]:
        ctx.created("account", account["id"], ctx.customer.role)
    books = [analysing.keep(ctx, account) for account in opened["accounts"]]
    for number, book in enumerate(books, start=1):
        book.book("premium", 1_009 * number, -3)
        book.book("fee", 101 * number, -2)
    books[0].book("transfer", 7_001, -1, to_account_id=books[1].id)
    asked: Json = {"report": "portfolio", "system_id": opened["id"]}
    if window == "chosen":
        asked |= {"from": books[0].at(-2), "to": books[0].at(0)}
    for extra in (0, 5_003):
        if extra:
            books[1].book("premium", extra, -1.5)
        report = analysing.built(ctx, asked)
        ids = [book.id for book in books]
        expect_portfolio(ctx, report, {id_: analysing.entries(ctx, id_) for id_ in ids})


@check(
    "functional/reports/every-entry-is-exported",
    title="A long statement is exported whole, in the order of the book",
    failure_title="An export loses or repeats entries",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "SYS-EXT", "E2E-ANA"],
    operations=[
        "createReport",
        "exportReport",
        "createTransactionBatch",
        "listEntries",
        "getReport",
    ],
    modules=(Module.ANALYTICS,),
    defects=["exports-drop-rows"],
    budget_s=120,
)
def check_every_entry_is_exported(ctx: Context) -> None:
    """Whether an export of more than a thousand entries has each of them, once.

    Why: Rows are lost where one page ends and the next begins, and nobody counts a thousand rows.
    How: Book 1,203 deposits in batches, ask for the entries, compare rows and running balances
        with the list of entries; compare the CSV with the JSON, cell by cell.
    Fails when: A row is missing, twice, in another place, or different.
    Remedy: Page by (seq, line_no) of the last row, over all buckets; write until nothing is left.
    """
    batch_max = ctx.arrange.batch_items_max
    if batch_max < 50:
        ctx.not_exercised(f"a batch takes {batch_max} items")
    account = ctx.arrange.account(funds=1)
    body = {"kind": "deposit", "to_account_id": account["id"]}
    items = [{**body, "amount": ctx.arrange.money(number)} for number in range(2, 1_204)]
    for start in range(0, len(items), batch_max):
        batch = {"items": items[start : start + batch_max], "all_or_nothing": True}
        ctx.customer.call("createTransactionBatch", body=batch, expect=(200, 201))
    report = analysing.built(ctx, {"report": "entries", "account_id": account["id"]})
    shown, lines = exports(ctx, report)
    limit = {"limit": ctx.declared("limits", "page_max")}
    listed = ctx.arrange.pages("listEntries", path={"id": account["id"]}, query=limit)
    told = [members.entry(row) for row in shown["rows"]]
    ctx.equal(report["rows"], len(listed), "How many rows the report says, and entries there are")
    ctx.equal(told == [members.entry(row) for row in listed], True, "The rows are the entries")
    expect_alike(ctx, shown["rows"], lines)


FORMULAS = (
    "=1+1",
    "+49 30 123",
    "-2+3",
    "@SUM(A1)",
    "  =1+1",
    "=HYPERLINK(1)",
    "＝1+1",  # noqa: RUF001  the wide form is what is tested
    "a, b; \"c\" 'd'",
)


@check(
    "functional/reports/cells-are-no-formulas",
    title="Text of a user stands in the CSV as text, and whole",
    failure_title="A text of a user is a formula in the CSV, or arrives changed",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "SYS-EXT"],
    operations=["createReport", "exportReport", "createTransaction", "getReport"],
    modules=(Module.ANALYTICS,),
    defects=["cells-become-formulas"],
    standards=["CWE-1236"],
)
@pytest.mark.parametrize("text", FORMULAS)
def check_cells_are_no_formulas(ctx: Context, text: str) -> None:
    """Whether memos and names that begin like a formula are guarded in CSV and untouched in JSON.

    Why: A memo "=HYPERLINK(...)" runs in the spreadsheet of whoever opens the statement.
    How: Use the text as memo and as the name of an account; export its entries in both formats.
    Fails when: JSON has another text, the CSV cell is not the text (with an apostrophe in front
        where it begins like a formula), or a number has one.
    Remedy: Put an apostrophe before text that begins, white space aside, with = + - @ or their wide
        forms; quote as RFC 4180 says; leave numbers alone.
    """
    account = ctx.arrange.account(funds=0, name=text.strip())
    book = analysing.keep(ctx, account)
    book.book("deposit", 900, -1, memo=text)
    book.book("withdrawal", 7, -1, memo="plain")
    report = analysing.built(ctx, {"report": "entries", "account_id": account["id"]})
    shown, lines = exports(ctx, report)
    name = account["name"]
    told = [(row["memo"], row["account_name"]) for row in shown["rows"]]
    ctx.equal(told, [(text, name), ("plain", name)], "Memo and name in JSON")
    cells = [(line["memo"], line["account_name"], line["amount"]) for line in lines]
    expected = [(guarded(text), guarded(name), "900"), ("plain", guarded(name), "-7")]
    ctx.equal(cells, expected, "Memo, name and amount in CSV")


def guarded(text: str) -> str:
    """Return text as a CSV cell that is no formula."""
    starts = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001  the wide forms
    return f"'{text}" if text.lstrip().startswith(starts) else text


@check(
    "functional/reports/fixed-when-asked-for",
    title="A report shows the book as it was when the report was asked for",
    failure_title="A report shows what was booked after it was asked for",
    severity=Severity.MEDIUM,
    requirements=["SYS-ANA", "SYS-EXT"],
    operations=["createReport", "getReport", "exportReport"],
    modules=(Module.ANALYTICS,),
    defects=["reports-move-on"],
)
def check_fixed_when_asked_for(ctx: Context) -> None:
    """Whether as_of, one key and one report hold while the book goes on.

    Why: Two exports of one report that differ cannot both be filed.
    How: Ask for entries, book two more deposits at once, wait, export; repeat the request with its
        key; export again.
    Fails when: The rows are not exactly those up to as_of, the replay names another report, or a
        second export differs.
    Remedy: Store (seq, line_no) with the report in the transaction that makes it; read up to it.
    """
    account = ctx.arrange.account(funds=5_000)
    body = {"report": "entries", "account_id": account["id"]}
    made = ctx.customer.call("createReport", body=body, expect=201)
    late = [ctx.arrange.deposit(account, amount)["seq"] for amount in (11, 13)]
    report = analysing.done(ctx, made.body)
    shown, _ = exports(ctx, report)
    amounts = [row["amount"] for row in shown["rows"]]
    ctx.equal(amounts, [5_000], "What was booked before the report was asked for", made)
    before = made.body["as_of_seq"] < min(late)
    ctx.equal(before, True, "as_of_seq lies before what was booked later", made)
    again = ctx.customer.call("createReport", body=body, key=made.sent_key, expect=201)
    ctx.equal(again.body["id"], made.body["id"], "The report of a repeated request", made, again)
    ctx.equal(exports(ctx, report)[0], shown, "A second export of one report")


@check(
    "functional/reports/who-may-read",
    title="A report is for the owner of its accounts, the staff and the auditor",
    failure_title="Another customer reaches a report, or an auditor can ask for one",
    severity=Severity.CRITICAL,
    requirements=["SYS-ANA", "SYS-SEC"],
    operations=["createReport", "getReport", "exportReport"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "customer2", "operator", "auditor"],
    defects=["reports-for-anybody", "auditors-ask-for-reports"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1"],
)
def check_who_may_read(ctx: Context) -> None:
    """Whether state and rows of a report, and reports of others' accounts, are out of reach.

    Why: An export is the whole history in one file; its id must not be all that one needs.
    How: Ask for a report; read and export it as owner, operator, auditor and another customer; let
        the other one ask for a report of the same account and of its owner, the auditor for any.
    Fails when: The other customer gets anything but 404 (403 for another owner's whole portfolio),
        the auditor makes a report, or owner, operator and auditor see different rows.
    Remedy: Check the owner at every read, not only when the report is made.
    """
    account = ctx.arrange.account(funds=321)
    body = {"report": "entries", "account_id": account["id"]}
    report = analysing.built(ctx, body)
    path = {"id": report["id"]}
    shown = analysing.export(ctx, report, "json").body
    for reader in (ctx.operator, ctx.auditor):
        reader.call("getReport", path=path, expect=200)
        same = analysing.export(ctx, report, "json", by=reader)
        ctx.equal(same.body, shown, f"What the {reader.role} is shown", same)
    for operation in ("getReport", "exportReport"):
        ctx.customer2.call(operation, path=path, problem="not_found")
    ctx.customer2.call("createReport", body=body, problem="not_found")
    theirs = {"report": "portfolio", "owner_id": ctx.customer.user_id}
    ctx.customer2.call("createReport", body=theirs, problem=("forbidden", "not_found"))
    ctx.auditor.call("createReport", body=body, problem="forbidden")


@check(
    "functional/reports/impossible-requests",
    title="A report that cannot be is refused when it is asked for",
    failure_title="An impossible report is accepted, or refused for the wrong reason",
    severity=Severity.LOW,
    requirements=["SYS-ANA"],
    operations=["createReport", "getReport", "exportReport"],
    modules=(Module.ANALYTICS,),
    defects=["reports-of-two-subjects", "windows-of-the-future"],
)
def check_impossible_requests(ctx: Context) -> None:
    """Whether two subjects, crossed windows, unknown names and ids are refused.

    Why: A report that fails in the background tells its reader nothing of the reason.
    How: Ask with two subjects, crossed and future windows, an unknown kind and unknown accounts;
        read and export a report that is not there.
    Fails when: The answer is not 400 `validation_failed`, or 404 for what does not exist.
    Remedy: Check everything that can be checked before the report is queued.
    """
    account = ctx.arrange.account(funds=1)
    book = analysing.keep(ctx, account)
    mine: Json = {"report": "entries", "account_id": account["id"]}
    malformed: list[Json] = [
        {**mine, "owner_id": ctx.customer.user_id},
        {**mine, "from": book.at(-1), "to": book.at(-2)},
        {**mine, "to": book.at(3)},
        {**mine, "report": "everything"},
        {"account_id": account["id"]},
    ]
    for body in malformed:
        ctx.customer.call("createReport", body=body, problem="validation_failed")
    unknown = unknown_id(account)
    body = {"report": "entries", "account_id": unknown}
    ctx.customer.call("createReport", body=body, problem="not_found")
    for operation in ("getReport", "exportReport"):
        ctx.customer.call(operation, path={"id": unknown}, problem="not_found")
