"""Analytics of an account: figures recomputed, windows to the millisecond, nobody else's data."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from certification import analysing
from certification.analysing import REPORTS
from certification.checks import check
from certification.model import Json, Module, Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply

WINDOWS: tuple[dict[str, float], ...] = (
    {},
    {"from": -6, "to": -1},
    {"from": -4, "to": 0},
    {"from": -5.3, "to": -2.1},
)
"""Days from the last midnight; with neither, the default."""


def _performance(ctx: Context, reply: Reply) -> dict[str, int]:
    ctx.has_status(reply, 200)
    figures = reply.body["figures"]
    names = ("opening_value", "inflows", "outflows", "gains", "fees", "closing_value")
    return {name: int(figures[name]["value"]) for name in names}


@check(
    "functional/analytics/figures-are-recomputed",
    title="Every figure of every report is what the entries come to, digit by digit",
    failure_title="A figure of analytics is not what the entries come to",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "E2E-ANA"],
    operations=["getAnalytics", "listEntries", "createTransaction"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "operator"],
    defects=[
        "analytics-use-floats",
        "analytics-drop-the-last-day",
        "deposits-count-as-gains",
        "fees-are-left-out-of-returns",
        "scatter-of-a-population",
        "drawdown-from-the-start",
        "trend-forgets-its-first-day",
        "predictions-stop-short",
        "positions-are-left-out-of-value",
    ],
)
@pytest.mark.parametrize("report", REPORTS)
def check_figures_are_recomputed(ctx: Context, report: str) -> None:
    """Whether window, figures, units, scales and direction agree with an exact recomputation.

    Why: A dashboard that is a little wrong is believed until somebody adds it up by hand.
    How: Book deposits, gains, fees, withdrawals and an assignment on ten days gone by, some on the
        first and last millisecond of a day; ask for a report with four windows, the default among
        them; read the entries and compute every figure exactly, rounded once, half to even.
    Fails when: A figure, its unit, scale or window differs; one unit in the last place is allowed
        where a root or a long product is involved.
    Remedy: Compute from entries by the contract's formulas, in integers or decimals, and round at
        the very end.
    """
    book = analysing.busy_week(ctx)
    rows = analysing.entries(ctx, book.id)
    for window in WINDOWS:
        asked = {name: book.at(day) for name, day in window.items()}
        reply = analysing.ask(ctx, book.id, report, asked)
        ctx.has_status(reply, 200)
        analysing.expect_right(ctx, reply, rows, asked)
    if report == "prediction":
        reply = analysing.ask(ctx, book.id, report, {"horizon": "7"})
        ctx.has_status(reply, 200)
        analysing.expect_right(ctx, reply, rows, horizon=7)


@check(
    "functional/analytics/holds-are-no-money",
    title="Money that is only held has not moved; what settles counts as settled",
    failure_title="Analytics count held money as moved, or settle another amount",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "E2E-ANA"],
    operations=["getAnalytics", "createTransaction", "settleTransaction", "voidTransaction"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "operator"],
    defects=["analytics-count-held-money"],
)
def check_holds_are_no_money(ctx: Context) -> None:
    """Whether figures wait for the settlement of a hold.

    Why: A held withdrawal may be voided; a loss that never was spoils the return for ever.
    How: Hold three withdrawals; ask; settle one whole and one in part, void one; ask again. The
        figures are recomputed from the entries each time.
    Fails when: The first answer shows outflows, or the second other ones than what was settled.
    Remedy: Read entries, not transactions; a hold has none before it settles.
    """
    book = analysing.diary(ctx)
    book.book("deposit", 100_000, -2)
    held = [book.book("withdrawal", amount, -1, hold=True) for amount in (1_000, 2_300, 40_000)]
    pending = analysing.ask(ctx, book.id, "performance")
    told = _performance(ctx, pending)
    moved = (told["outflows"], told["closing_value"])
    ctx.equal(moved, (0, 100_000), "Outflows and value while all is held", pending)
    settle = {"amount": ctx.arrange.money(1_700, book.account["currency"])}
    for hold, body in ((held[0], {}), (held[1], settle)):
        path = {"id": hold["id"]}
        ctx.operator.call("settleTransaction", path=path, body=body, expect=200)
    ctx.customer.call("voidTransaction", path={"id": held[2]["id"]}, body={}, expect=200)
    settled = analysing.ask(ctx, book.id, "performance")
    told = _performance(ctx, settled)
    moved = (told["outflows"], told["closing_value"])
    ctx.equal(moved, (-2_700, 97_300), "Outflows and value after settling", settled)
    rows = analysing.entries(ctx, book.id)
    for report in REPORTS:
        analysing.expect_right(ctx, analysing.ask(ctx, book.id, report), rows)


@check(
    "functional/analytics/reversals-undo-their-class",
    title="A reversal takes back what it reverses: a gain as a gain, a flow as a flow",
    failure_title="A reversed transaction goes on counting, or is undone as something else",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "E2E-ANA"],
    operations=["getAnalytics", "reverseTransaction", "listEntries"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "operator", "manager"],
    defects=["reversals-are-flows", "reversed-transactions-count"],
)
@pytest.mark.parametrize(
    ("kind", "figure"),
    [("premium", "gains"), ("fee", "fees"), ("withdrawal", "outflows"), ("deposit", "inflows")],
)
def check_reversals_undo_their_class(ctx: Context, kind: str, figure: str) -> None:
    """Whether a reversal on another day counts in the class of its original, with the other sign.

    Why: A premium booked twice and reversed once must not leave a gain and a strange withdrawal.
    How: Book the kind two days ago, reverse it now, ask for the window around both.
    Fails when: Net gain or closing value is not that of a history without both, or a figure is not
        what the entries come to.
    Remedy: Class a reversal by the kind of the transaction in reverses_id.
    """
    book = analysing.diary(ctx)
    book.book("deposit", 90_000, -4)
    wrong = book.book(kind, 7_100, -2)
    path = {"id": wrong["id"]}
    ctx.manager.call("reverseTransaction", path=path, body={"reason": "twice"}, expect=201)
    reply = analysing.ask(ctx, book.id, "performance")
    told = _performance(ctx, reply)
    earned = (told["gains"] + told["fees"], told["closing_value"])
    ctx.equal(earned, (0, 90_000), f"Net gain and value after a reversed {kind}", reply)
    ctx.equal(told["closing_value"] - told["opening_value"], 90_000, "The change", reply)
    if figure in {"gains", "fees"}:
        ctx.equal(told[figure], 0, f"{figure} after a reversed {kind}", reply)
    rows = analysing.entries(ctx, book.id)
    for report in REPORTS:
        analysing.expect_right(ctx, analysing.ask(ctx, book.id, report), rows)


def _stable(ctx: Context, subject: str, asked: Json) -> dict[str, Json]:
    """Return what the four reports say of a fixed window, the deployment's own members left out."""
    shown = {}
    for report in REPORTS:
        reply = analysing.ask(ctx, subject, report, asked)
        ctx.has_status(reply, 200)
        names = ("accounts", "as_of_seq", "as_of_line_no", "entries", "window", "figures")
        shown[report] = {name: reply.body[name] for name in names}
    return shown


@check(
    "functional/analytics/others-change-nothing",
    title="What happens on other accounts changes no figure of mine",
    failure_title="Another account's data is in my figures",
    severity=Severity.CRITICAL,
    requirements=["SYS-ANA", "E2E-ANA"],
    operations=["getAnalytics", "createTransaction"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "customer2", "operator"],
    defects=["analytics-leak-other-accounts"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1"],
)
def check_others_change_nothing(ctx: Context) -> None:
    """Whether four reports stay the same, byte by byte, while others do business.

    Why: One missing condition in one query shows a customer the sums of all.
    How: Ask for four reports of a fixed window. Another owner deposits, gains and pays into the
        same days, and so does another account of the same owner. Ask again.
    Fails when: Any figure, count or as_of differs.
    Remedy: Select by account first; test each query with a second owner.
    """
    book = analysing.busy_week(ctx)
    asked = {"from": book.at(-7), "to": book.at(0)}
    before = _stable(ctx, book.id, asked)
    for owner in (ctx.customer2, ctx.customer):
        other = analysing.diary(ctx, owner=owner)
        other.book("deposit", 777_777, -6)
        other.book("premium", 11_111, -5)
        other.book("fee", 333, -5)
        other.book("withdrawal", 5_555, -3)
    after = _stable(ctx, book.id, asked)
    ctx.equal(after, before, "My reports after the business of others")


@check(
    "functional/analytics/doubling-doubles",
    title="Twice the amounts give twice the money and the same ratios",
    failure_title="A figure does not scale with the amounts",
    severity=Severity.MEDIUM,
    requirements=["SYS-ANA"],
    operations=["getAnalytics"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "operator"],
    defects=["large-amounts-lose-digits"],
)
@pytest.mark.parametrize("unit", [2, 1_000_003])
def check_doubling_doubles(ctx: Context, unit: int) -> None:
    """Whether ratios are equal and sums scale exactly, also with amounts of thirteen digits.

    Why: An error that grows with the amount hides in every test with small ones.
    How: Book the same week twice, once with every amount multiplied; compare the four reports.
    Fails when: A ratio or count differs at all, or money is not multiplied, to half a unit in the
        last place of the smaller one.
    Remedy: Sum integers without limit; floats hold sixteen digits, squares of such sums need more.
    """
    small, large = analysing.busy_week(ctx), analysing.busy_week(ctx, unit=unit)
    wrong = []
    for report in REPORTS:
        asked = {"from": small.at(-8), "to": small.at(-1)}
        one = analysing.ask(ctx, small.id, report, asked)
        other = analysing.ask(ctx, large.id, report, asked)
        for reply in (one, other):
            ctx.has_status(reply, 200)
        for name, figure in one.body["figures"].items():
            factor = unit if figure["unit"].startswith("minor_units") else 1
            told, wanted = other.body["figures"][name]["value"], figure["value"]
            if (told is None) != (wanted is None) or (
                told is not None
                and abs(Fraction(told) - factor * Fraction(wanted))
                > Fraction(factor + 2, 10 ** figure["scale"])
            ):
                wrong.append(f"{report} {name}: {wanted} times {factor} became {told}")
    message = f"Figures of a week whose amounts are {unit} times as large"
    ctx.expect(not wrong, message, expected="scaled alike", observed="; ".join(wrong))


@check(
    "functional/analytics/who-may-ask",
    title="Figures are for the owner, the staff and the auditor, and for nobody else",
    failure_title="Another customer can read figures, or an auditor cannot",
    severity=Severity.CRITICAL,
    requirements=["SYS-ANA", "SYS-SEC"],
    operations=["getAnalytics"],
    modules=(Module.ANALYTICS,),
    identities=["customer", "customer2", "operator", "auditor"],
    defects=["analytics-for-anybody"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1"],
)
@pytest.mark.parametrize("report", REPORTS)
def check_who_may_ask(ctx: Context, report: str) -> None:
    """Whether the account of another owner does not exist, for each report.

    Why: A return and a largest outflow say as much of somebody as a statement.
    How: Ask as owner, operator and auditor, who get the same figures, and as another customer.
    Fails when: The other customer gets anything but 404 `not_found`, or the others differ.
    Remedy: Find the account as reading it does, before anything is computed.
    """
    book = analysing.diary(ctx)
    book.book("deposit", 5_000, -4)
    asked = {"from": book.at(-4), "to": book.at(0)}
    mine = analysing.ask(ctx, book.id, report, asked)
    ctx.has_status(mine, 200)
    for reader in (ctx.operator, ctx.auditor):
        reply = analysing.ask(ctx, book.id, report, asked, by=reader)
        ctx.has_status(reply, 200)
        ctx.equal(reply.body["figures"], mine.body["figures"], "What staff is shown", mine, reply)
    foreign = analysing.ask(ctx, book.id, report, asked, by=ctx.customer2)
    ctx.is_problem(foreign, "not_found")
