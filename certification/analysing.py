"""Arranges histories for checks of analytics, and compares reports with what their entries say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from certification.oracle import analytics, analytics_series
from certification.oracle.analytics_series import DAY_NS, Entry, instant_ns

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

REPORTS = ("performance", "risk", "trend", "prediction")
INTO = frozenset({"deposit", "premium", "interest"})
STAFF = frozenset({"premium", "interest", "fee", "tax", "assignment", "adjustment"})
"""Kinds that an operator books."""
BUSY_WEEK_MOST = 1_013_712
"""The largest balance of a busy week, in its units."""
BUILD_S = 30.0
"""How long a report may be in the making before a check says that it cannot tell."""


@dataclass(slots=True, kw_only=True)
class Diary:
    """An account whose transactions carry instants of days gone by."""

    ctx: Context
    account: Json
    owner: Actor
    midnight: datetime
    """Of the present UTC day, on the deployment's own clock."""
    booked: list[Json] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The account's id."""
        return str(self.account["id"])

    def at(self, day: float, *, ms: int = 0) -> str:
        """Return the instant so many days (and milliseconds) from the last midnight."""
        moment = self.midnight + timedelta(days=day, milliseconds=ms)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

    def book(self, kind: str, amount: int, day: float, **fields: Any) -> Json:
        """Post a transaction on the account with this effective day; return it."""
        effective = self.at(day, ms=fields.pop("ms", 0))
        body = {
            "kind": kind,
            "amount": self.ctx.arrange.money(amount, self.account["currency"]),
            "to_account_id" if kind in INTO else "from_account_id": self.id,
            "effective_at": effective,
            **fields,
        }
        by = self.ctx.operator if kind in STAFF else self.owner
        self.booked.append(self.ctx.arrange.transaction(body, by=by))
        return self.booked[-1]


def diary(ctx: Context, *, owner: Actor | None = None, **fields: Any) -> Diary:
    """Open an empty account for a history."""
    actor = owner or ctx.customer
    account = ctx.arrange.account(owner=actor, withdrawal_allowed=True, **fields)
    return keep(ctx, account, owner=actor)


def keep(ctx: Context, account: Json, *, owner: Actor | None = None) -> Diary:
    """Return the diary of an account that is there already."""
    created = account["created_at"]
    now = datetime.fromtimestamp(instant_ns(created) // 10**9, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Diary(ctx=ctx, account=account, owner=owner or ctx.customer, midnight=midnight)


def busy_week(ctx: Context, *, unit: int = 1, **fields: Any) -> Diary:
    """Return an account with every class of movement, on edges and in the middle of days.

    Every amount is `unit` times one that no other movement, and no sum of some, has.
    NOT_EXERCISED where the deployment does not take amounts so large.
    """
    ctx.arrange.within_limits(BUSY_WEEK_MOST * unit)
    book = diary(ctx, **fields)
    book.book("deposit", 1_000_003 * unit, -8)
    book.book("premium", 13_709 * unit, -7.4)
    book.book("fee", 1_361 * unit, -7.4, ms=1)
    book.book("withdrawal", 200_117 * unit, -4, ms=-1)
    book.book("deposit", 50_021 * unit, -4)
    book.book("interest", 7_331 * unit, -3.25)
    book.book("tax", 2_179 * unit, -3.25, ms=1)
    book.book("assignment", 81_919 * unit, -2.5)
    book.book("withdrawal", 33_013 * unit, -1.1)
    book.book("fee", 52_673 * unit, 0)
    return book


def entries(ctx: Context, *ids: str, by: Actor | None = None) -> list[Entry]:
    """Read every entry of these accounts."""
    limit = {"limit": ctx.declared("limits", "page_max")}
    return [
        analytics_series.entry(id_, row)
        for id_ in ids
        for row in ctx.arrange.pages("listEntries", path={"id": id_}, query=limit, by=by)
    ]


def ask(
    ctx: Context,
    subject: str,
    report: str,
    query: Mapping[str, str] | None = None,
    *,
    by: Actor | None = None,
) -> Reply:
    """Ask for a report of an account, or of a system if the id follows `system:`."""
    kind, _, id_ = subject.rpartition(":")
    operation = "getSystemAnalytics" if kind == "system" else "getAnalytics"
    ctx.arrange.let_writes_arrive()
    actor = by or ctx.customer
    return actor.call(operation, path={"id": id_, "report": report}, query=query)


def series_of(
    ctx: Context, rows: Sequence[Entry], chosen: analytics_series.Window
) -> analytics_series.Series:
    """Sort entries into a window; fail the check where they do not say what they reverse."""
    try:
        return analytics_series.series(rows, chosen)
    except ValueError as error:
        return ctx.fail(
            "The entries do not give all that is needed to recompute a report",
            expected="reverses_id of an entry of the same account",
            observed=str(error),
        )


def expect_right(
    ctx: Context,
    reply: Reply,
    rows: Sequence[Entry],
    asked: Mapping[str, str] | None = None,
    *,
    horizon: int = analytics.HORIZON_DEFAULT,
) -> None:
    """Fail unless a report, its window and its figures are what these entries come to.

    `asked` is the query that was sent; `rows` every entry of the subject.
    """
    report = reply.body
    chosen = _window(ctx, reply, rows, asked or {})
    series = series_of(ctx, rows, chosen)
    name = report["report"]
    figures = analytics.figures(name, series, horizon=horizon)
    if figures is None:
        ctx.fail(
            f"A {name} was made of too little history",
            expected="422 insufficient_history",
            observed=f"figures of {series.entries} entries in {chosen.count} periods",
            on=[reply],
        )
    ends = {"from": chosen.start_ns, "to": chosen.end_ns}
    wrong = analytics.heading_differences(series, ends, report)
    wrong += analytics.differences(figures, report["figures"])
    newest = max((row.seq, row.line_no) for row in rows)
    told = (report["as_of_seq"], report["as_of_line_no"])
    if told != newest:
        wrong.append(f"as_of: stated {told}, the newest entry is {newest}")
    if name == "trend":
        found = analytics.trend(series)
        if found and report["direction"] != found[1]:
            wrong.append(f"direction: stated {report['direction']}, recomputed {found[1]}")
    ctx.expect(
        not wrong,
        f"The {name} is not what its entries come to",
        expected="every figure as recomputed from the entries",
        observed="; ".join(wrong),
        on=[reply],
    )


def _window(
    ctx: Context, reply: Reply, rows: Sequence[Entry], asked: Mapping[str, str]
) -> analytics_series.Window:
    """Return the window that a request must lead to; its end may be any midnight of now."""
    start = instant_ns(asked["from"]) if "from" in asked else None
    if "to" in asked:
        return analytics_series.window(rows, start=start, end=instant_ns(asked["to"]))
    end = instant_ns(reply.body["window"]["to"])
    newest = max(
        instant_ns(row["recorded_at"])
        for row in ctx.arrange.pages("listEntries", path={"id": rows[-1].account}, by=_reader(ctx))
    )
    first = analytics_series.day_of(newest) + DAY_NS
    # A midnight may have passed between the last booking and the report.
    ctx.expect(
        end in {first, first + DAY_NS},
        "The default window does not end with the present UTC day",
        expected="the end of the day of the newest entry, or of the next",
        observed=reply.body["window"]["to"],
        on=[reply],
    )
    return analytics_series.window(rows, start=start, end=end)


def _reader(ctx: Context) -> Actor:
    return ctx.auditor if "auditor" in ctx.sessions else ctx.customer


def built(ctx: Context, body: Json, *, by: Actor | None = None) -> Json:
    """Ask for a report that must be made; return it when it is done."""
    actor = by or ctx.customer
    ctx.arrange.let_writes_arrive()
    made = actor.call("createReport", body=body, expect=201)
    return done(ctx, made.body, by=actor)


def done(ctx: Context, report: Json, *, by: Actor | None = None) -> Json:
    """Wait until a report is done and return it; fail the check if it failed."""
    actor = by or ctx.customer
    replies: list[Reply] = []

    def ended() -> bool:
        reply = actor.call("getReport", path={"id": report["id"]}, expect=200)
        replies.append(reply)
        return reply.body["status"] in {"done", "failed"}

    if not ctx.until(ended, deadline_s=BUILD_S):
        ctx.undecided(f"{report['id']} was not built within {BUILD_S:g} s")
    ctx.equal(replies[-1].body["status"], "done", "The report failed", replies[-1])
    finished: Json = replies[-1].body
    return finished


def export(ctx: Context, report: Json, format_: str, *, by: Actor | None = None) -> Reply:
    """Fetch the rows of a report that is done."""
    actor = by or ctx.customer
    path = {"id": report["id"]}
    return actor.call("exportReport", path=path, query={"format": format_}, expect=200)
