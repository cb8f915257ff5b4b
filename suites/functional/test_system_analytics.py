"""Analytics of a system: its accounts and all that grew out of them, as one subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import analysing, growing
from certification.analysing import REPORTS
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import growth

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context

AMOUNT = 10_000_001
SHAPES = ("as opened", "moved inside", "forked", "merged into a new one", "merged into another")


def _open(ctx: Context) -> tuple[str, list[Json]]:
    """Open a system; return the subject and its accounts."""
    ctx.arrange.within_limits(AMOUNT)
    body = {"name": ctx.name("system"), "amount": ctx.arrange.money(AMOUNT)}
    reply = ctx.customer.call("openSystem", body=body)
    if reply.problem_code in {"amount_too_small", "amount_out_of_range"}:
        ctx.not_exercised(f"a system of {AMOUNT} cannot be opened: {reply.problem_code}")
    ctx.has_status(reply, 201)
    for account in reply.body["accounts"]:
        ctx.created("account", account["id"], ctx.customer.role)
    return f"system:{reply.body['id']}", reply.body["accounts"]


def _business(ctx: Context, accounts: list[Json]) -> None:
    """Give each account gains, fees and flows of days gone by."""
    for number, account in enumerate(accounts, start=1):
        book = analysing.keep(ctx, account)
        book.book("deposit", 10_007 * number, -6 + number)
        book.book("premium", 1_301 * number, -5)
        book.book("fee", 211 * number, -3.5)


def _as_opened(_: Context, __: list[Json]) -> list[str]:
    return []


def _moved_inside(ctx: Context, accounts: list[Json]) -> list[str]:
    book = analysing.keep(ctx, accounts[0])
    book.book("transfer", 5_003, -2, to_account_id=accounts[1]["id"])
    back = analysing.keep(ctx, accounts[1])
    back.book("transfer", 401, -1, to_account_id=accounts[0]["id"])
    return []


def _forked(ctx: Context, accounts: list[Json]) -> list[str]:
    for account in accounts:
        rules, fresh = growing.policy(ctx, account["type"]), ctx.arrange.read(account)
        most = growing.amount_max(ctx) // 2
        least = growth.least_ledger(rules, growing.standing(fresh), most=most)
        if least is None:
            continue
        growing.endow(ctx, fresh, least - fresh["balances"]["ledger"])
        if growing.judge(ctx, ctx.arrange.read(account)).eligible:
            children = growing.fork(ctx, account).body["children"]
            _business(ctx, children)
            return [child["id"] for child in children]
    return ctx.not_exercised("no account of a new system forks under the policies in force")


def _merge(ctx: Context, sources: list[Json], target: Json | None) -> Json:
    body = growing.merge_body(sources, target)
    reply = growing.forked(ctx, growing.patiently(ctx, "mergeAccounts", body=body))
    if reply.status == 422:
        ctx.not_exercised(f"accounts of a system do not merge: {reply.problem_code}")
    ctx.has_status(reply, 201)
    merged: Json = reply.body["target"]
    return merged


def _merged_new(ctx: Context, accounts: list[Json]) -> list[str]:
    target = _merge(ctx, accounts[:2], None)
    analysing.keep(ctx, target).book("premium", 777, 0)
    return [target["id"]]


def _merged_other(ctx: Context, accounts: list[Json]) -> list[str]:
    account_type, _ = growing.target_type(ctx)
    outside = ctx.arrange.account(type=account_type, funds=13, withdrawal_allowed=True)
    _merge(ctx, accounts[:2], outside)
    analysing.keep(ctx, outside).book("premium", 777, 0)
    return []


GROW: dict[str, Callable[[Context, list[Json]], list[str]]] = {
    "as opened": _as_opened,
    "moved inside": _moved_inside,
    "forked": _forked,
    "merged into a new one": _merged_new,
    "merged into another": _merged_other,
}


@check(
    "functional/system-analytics/figures-are-recomputed",
    title="The figures of a system are those of all its accounts as one, however it grew",
    failure_title="The figures of a system miss an account, count one twice, or count moves inside",
    severity=Severity.HIGH,
    requirements=["SYS-ANA", "SYS-GRO", "E2E-ANA"],
    operations=["getSystemAnalytics", "openSystem", "listEntries", "forkAccount", "mergeAccounts"],
    modules=(Module.ANALYTICS, Module.GROWTH),
    identities=["customer", "operator"],
    defects=["systems-miss-merged-accounts", "systems-miss-children", "moves-inside-are-flows"],
    budget_s=120,
)
@pytest.mark.parametrize("shape", SHAPES)
def check_figures_are_recomputed(ctx: Context, shape: str) -> None:
    """Whether members and figures are right after opening, moving, forking and merging.

    Why: Money that only changed its account inside a family is neither earned nor lost.
    How: Open a system, book gains, fees and flows on days gone by; then let it grow as the case
        says. The members must be those of the contract; every figure of the four reports is
        recomputed from the entries of all of them.
    Fails when: A member is missing or strange, or a figure is not what the entries come to.
    Remedy: Collect members over birth and over merges of members alone; add up each transaction's
        entries on all of them before it is classed.
    """
    subject, accounts = _open(ctx)
    _business(ctx, accounts)
    grown = GROW[shape](ctx, accounts)
    expected = sorted([*(account["id"] for account in accounts), *grown])
    book = analysing.keep(ctx, accounts[0])
    rows = analysing.entries(ctx, *expected)
    for report in REPORTS:
        for asked in ({}, {"from": book.at(-4), "to": book.at(0)}):
            reply = analysing.ask(ctx, subject, report, asked)
            ctx.has_status(reply, 200)
            ctx.equal(sorted(reply.body["accounts"]), expected, "The accounts of the system", reply)
            analysing.expect_right(ctx, reply, rows, asked)


@check(
    "functional/system-analytics/strangers-see-and-change-nothing",
    title="A system's figures show nothing of other accounts, and nothing to other customers",
    failure_title="A system's figures hold other accounts, or are shown to other customers",
    severity=Severity.CRITICAL,
    requirements=["SYS-ANA", "SYS-SEC"],
    operations=["getSystemAnalytics", "openSystem"],
    modules=(Module.ANALYTICS, Module.GROWTH),
    identities=["customer", "customer2", "operator", "auditor"],
    defects=["systems-for-anybody"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1"],
)
def check_strangers_see_and_change_nothing(ctx: Context) -> None:
    """Whether a second owner neither reads a system nor moves its figures.

    Why: A family's wealth as one number is what a stranger would most like to know.
    How: Ask as owner, operator and auditor; ask as another customer; let the other customer and
        another account of the owner do business in the same days, and ask again.
    Fails when: The other customer gets anything but 404 `not_found`, or a figure has changed.
    Remedy: Find the system as reading it does; select by its members only.
    """
    subject, accounts = _open(ctx)
    _business(ctx, accounts)
    book = analysing.keep(ctx, accounts[0])
    asked = {"from": book.at(-4), "to": book.at(0)}
    first = analysing.ask(ctx, subject, "performance", asked)
    ctx.has_status(first, 200)
    for owner in (ctx.customer2, ctx.customer):
        other = analysing.diary(ctx, owner=owner)
        other.book("deposit", 99_991, -3)
        other.book("premium", 1_009, -2)
    for reader in (ctx.customer, ctx.operator, ctx.auditor):
        again = analysing.ask(ctx, subject, "performance", asked, by=reader)
        ctx.has_status(again, 200)
        ctx.equal(again.body["figures"], first.body["figures"], "The figures", first, again)
    for report in REPORTS:
        foreign = analysing.ask(ctx, subject, report, asked, by=ctx.customer2)
        ctx.is_problem(foreign, "not_found")
