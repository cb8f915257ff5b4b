"""Windows of analytics: half-open to the millisecond, never of the future, never of too little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import analysing
from certification.analysing import REPORTS
from certification.checks import check
from certification.model import Json, Module, Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply


def _sums(ctx: Context, reply: Reply) -> dict[str, int]:
    ctx.has_status(reply, 200)
    figures = reply.body["figures"]
    names = ("opening_value", "inflows", "closing_value")
    return {name: int(figures[name]["value"]) for name in names}


@check(
    "functional/analytics-windows/windows-meet",
    title="Windows that meet leave no movement out and count none twice",
    failure_title="A movement on the edge of a window is counted twice, or not at all",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "E2E-ANA"],
    operations=["getAnalytics", "createTransaction"],
    modules=(Module.ANALYTICS,),
    defects=["windows-share-their-edge", "analytics-drop-the-last-day"],
)
@pytest.mark.parametrize("offset", ["Z", "+05:30", "-08:00"])
def check_windows_meet(ctx: Context, offset: str) -> None:
    """Whether a window is half-open, to the millisecond, whatever offset its ends are written in.

    Why: A statement that repeats the last booking of the month before is disputed every month.
    How: Deposit on the last millisecond before an edge, on the edge and on the first after it; ask
        for the window before, the one after, and both as one, their ends with an offset.
    Fails when: A deposit is on the wrong side, the one does not close with what the other opens
        with, or the two do not add up to the whole.
    Remedy: `from <= effective_at < to`, compared as instants.
    """
    book = analysing.diary(ctx)
    for amount, ms in ((1, -86_400_000), (10, -1), (100, 0), (1_000, 1), (10_000, 86_400_000)):
        book.book("deposit", amount, -5, ms=ms)
    start, edge, end = (_written(book, day, offset) for day in (-6, -5, -4))
    before = _sums(ctx, analysing.ask(ctx, book.id, "performance", {"from": start, "to": edge}))
    after = _sums(ctx, analysing.ask(ctx, book.id, "performance", {"from": edge, "to": end}))
    whole = _sums(ctx, analysing.ask(ctx, book.id, "performance", {"from": start, "to": end}))
    shown = [(told["opening_value"], told["inflows"]) for told in (before, after, whole)]
    message = "Opening value and inflows before the edge, after it, and of both as one"
    ctx.equal(shown, [(0, 11), (11, 1_100), (0, 1_111)], message)
    ctx.equal(before["closing_value"], after["opening_value"], "Where the windows meet")


def _written(book: analysing.Diary, day: float, offset: str) -> str:
    """Return a midnight of UTC in another offset."""
    if offset == "Z":
        return book.at(day)
    hours, minutes = int(offset[:3]), int(offset[0] + offset[4:])
    return book.at(day, ms=(hours * 60 + minutes) * 60_000).removesuffix("Z") + offset


@check(
    "functional/analytics-windows/short-histories-are-refused",
    title="A report that would need more history is refused, and one day more is enough",
    failure_title="A report is made of too little history, or refused with enough",
    severity=Severity.MEDIUM,
    requirements=["SYS-ANA"],
    operations=["getAnalytics"],
    modules=(Module.ANALYTICS,),
    defects=["predictions-of-two-points"],
)
@pytest.mark.parametrize("report", REPORTS)
def check_short_histories_are_refused(ctx: Context, report: str) -> None:
    """Whether the least history that each report needs is asked for, and no more.

    Why: A line through one point predicts anything.
    How: Ask for the report of an empty account; deposit three days ago, and ask for windows that
        end before it, and one, two and three days after it.
    Fails when: Less than an entry (performance), 2 returns (risk), 2 points (trend) or 3 points
        (prediction) gives figures, or that many does not.
    Remedy: Count returns and points from the first entry, and compare with the contract's least.
    """
    book = analysing.diary(ctx)
    refused = "insufficient_history"
    ctx.is_problem(analysing.ask(ctx, book.id, report), refused)
    book.book("deposit", 1_000, -3)
    start = book.at(-5)
    least = {"performance": 1, "risk": 2, "trend": 2, "prediction": 3}[report]
    ctx.is_problem(analysing.ask(ctx, book.id, report, {"from": start, "to": book.at(-3)}), refused)
    for days in (1, 2, 3):
        reply = analysing.ask(ctx, book.id, report, {"from": start, "to": book.at(-3 + days)})
        if days < least:
            ctx.is_problem(reply, refused)
        else:
            ctx.has_status(reply, 200)
            analysing.expect_right(
                ctx,
                reply,
                analysing.entries(ctx, book.id),
                {"from": start, "to": book.at(-3 + days)},
            )


@check(
    "functional/analytics-windows/impossible-windows",
    title="A window that cannot be, and a horizon where there is none, are refused",
    failure_title="A crossed, endless or future window is accepted, or breaks the deployment",
    severity=Severity.MEDIUM,
    requirements=["SYS-ANA"],
    operations=["getAnalytics"],
    modules=(Module.ANALYTICS,),
    defects=["windows-of-the-future"],
)
@pytest.mark.parametrize("funds", [0, 100])
def check_impossible_windows(ctx: Context, funds: int) -> None:
    """Whether each is 400 `invalid_parameter`, with history and without.

    Why: A window of tomorrow shows today's value as tomorrow's; a crossed one shows nothing.
    How: Send ends that are equal, crossed, beyond the present day, more than 3660 days apart, no
        instants; a horizon of 0, of 366, and with a report that has none.
    Fails when: The answer is not 400 `invalid_parameter`.
    Remedy: Check the window before the history; both before reading a single entry.
    """
    account = ctx.arrange.account(funds=funds)
    book = analysing.keep(ctx, account)
    impossible: list[Json] = [
        {"from": book.at(-1), "to": book.at(-1)},
        {"from": book.at(-1), "to": book.at(-2)},
        {"to": book.at(3)},
        {"from": book.at(30)},
        {"from": book.at(-3_662), "to": book.at(0)},
        {"from": "yesterday"},
        {"to": "2026-02-30T00:00:00Z"},
        {"horizon": "5"},
    ]
    for query in impossible:
        reply = analysing.ask(ctx, book.id, "performance", query)
        ctx.is_problem(reply, "invalid_parameter")
    for horizon in ("0", "366", "-1", "1.5"):
        reply = analysing.ask(ctx, book.id, "prediction", {"horizon": horizon})
        ctx.is_problem(reply, "invalid_parameter")
