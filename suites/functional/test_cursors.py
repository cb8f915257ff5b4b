"""Cursors: a place in one walk of one user, which nobody can make or bend."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json


def deposits(ctx: Context, account: Json, count: int) -> list[int]:
    """Book deposits of different amounts; return the amounts in order."""
    amounts = [100 + number for number in range(count)]
    for amount in amounts:
        ctx.arrange.deposit(account, amount)
    ctx.wait(ctx.arrange.lag_s)
    return amounts


@check(
    "functional/cursors/forged-cursor-is-refused",
    title="A cursor that was changed, cut or made for another list is refused",
    failure_title="A cursor that was changed, cut or made for another list is accepted",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listEntries", "listTransactions"],
    defects=["cursors-are-not-signed"],
)
@pytest.mark.parametrize(
    "forgery", ["garbage", "one character", "cut", "longer", "other list", "other account"]
)
def check_forged_cursor_is_refused(ctx: Context, forgery: str) -> None:
    """Send cursors that the deployment did not make for this list.

    Why: A cursor carries filters and a position; if it can be edited, so can the filter that keeps
    a customer on the own rows.
    How: Change a character of a cursor, cut it, lengthen it, use it on another list or account.
    Fails when: the answer is not 400 `invalid_cursor` or `cursor_mismatch`.
    Remedy: Authenticate the cursor (HMAC) together with the list and the filters that it belongs
    to.
    """
    account, other = ctx.arrange.account(), ctx.arrange.account()
    deposits(ctx, account, 4)
    deposits(ctx, other, 4)
    entries = f"/v1/accounts/{account['id']}/entries"
    first = ctx.customer.call(
        "listEntries", path={"id": account["id"]}, query={"limit": 1}, expect=200
    )
    cursor = first.body["next_cursor"]
    if not cursor:
        ctx.undecided("four entries fit on a page of one row")
    middle = len(cursor) // 2
    flipped = "A" if cursor[middle] != "A" else "B"
    forged, path = {
        "garbage": ("not-a-cursor", entries),
        "one character": (f"{cursor[:middle]}{flipped}{cursor[middle + 1 :]}", entries),
        "cut": (cursor[:middle], entries),
        "longer": (f"{cursor}AAAA", entries),
        "other list": (cursor, "/v1/transactions"),
        "other account": (cursor, f"/v1/accounts/{other['id']}/entries"),
    }[forgery]
    reply = send_raw(ctx.customer, "GET", f"{path}?limit=1&cursor={quote(forged)}")
    is_refused(ctx.customer, reply, "invalid_cursor", "cursor_mismatch")


@check(
    "functional/cursors/cursor-of-another-user",
    title="A cursor of one user shows another user nothing of the first",
    failure_title="A cursor of one user shows another user the first one's rows",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["listTransactions"],
    defects=["cursor-carries-the-owner"],
    identities=["customer", "customer2"],
    standards=["OWASP-API:2023-1"],
)
def check_cursor_of_another_user(ctx: Context) -> None:
    """Continue somebody else's walk.

    Why: A cursor is often logged or shared in a link; it must not carry the right to read.
    How: Start a walk over the first customer's transactions, and continue it as the second.
    Fails when: a row of the answer touches an account of the first customer.
    Remedy: Take the owner from the token at every page, or bind the cursor to the principal.
    """
    account = ctx.arrange.account()
    deposits(ctx, account, 4)
    first = ctx.customer.call("listTransactions", query={"limit": 1}, expect=200)
    cursor = first.body["next_cursor"]
    reply = ctx.customer2.call(
        "listTransactions", query={"limit": 1, "cursor": cursor}, expect=(200, 400)
    )
    if reply.status == 400:
        ctx.is_problem(reply, ("invalid_cursor", "cursor_mismatch"))
        return
    for row in reply.body["data"]:
        mine = {row["from_account_id"], row["to_account_id"]} - {None}
        owners = [
            ctx.customer2.call("getAccount", path={"id": one}, expect=(200, 404)) for one in mine
        ]
        ctx.expect(
            any(owner.status == 200 for owner in owners),
            "A page shows a transaction that touches no account of its reader",
            expected="only own transactions",
            observed=row["id"],
            on=[reply, *owners],
        )


@check(
    "functional/cursors/cursor-keeps-its-filters",
    title="A cursor is continued with its own filters only",
    failure_title="A cursor is continued with other filters, or not with its own",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listTransactions"],
    defects=["cursor-forgets-its-filters"],
)
def check_cursor_keeps_its_filters(ctx: Context) -> None:
    """Continue a filtered walk with the same, with no and with other filters.

    Why: A cursor that loses its filters turns page two of "deposits" into page two of everything.
    How: Walk the deposits of an account that also has withdrawals; continue once with the cursor
    alone, once with the filters repeated, and with another filter, sort and limit.
    Fails when: a page shows a row that the filters exclude, or another query is not 400
    `cursor_mismatch`.
    Remedy: Keep filters, sort and limit in the cursor, and compare what is repeated.
    """
    account = ctx.arrange.account()
    for amount in (500, 600, 700):
        ctx.arrange.deposit(account, amount)
        ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 10))
    ctx.wait(ctx.arrange.lag_s)
    query = {"account_id": account["id"], "kind": "deposit", "limit": 1}
    first = ctx.customer.call("listTransactions", query=query, expect=200)
    cursor = first.body["next_cursor"]
    for repeated in ({}, query):
        reply = ctx.customer.call(
            "listTransactions", query={**repeated, "cursor": cursor}, expect=200
        )
        shown = [(row["kind"], row["amount"]["amount"]) for row in reply.body["data"]]
        ctx.equal(shown, [("deposit", 600)], "The second page is not of the same query", reply)
    for name, value in (("kind", "withdrawal"), ("sort", "-seq"), ("limit", 3), ("from_seq", 1)):
        ctx.customer.call(
            "listTransactions",
            query={**query, name: value, "cursor": cursor},
            problem="cursor_mismatch",
        )
