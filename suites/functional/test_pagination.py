"""Lists: a walk over pages shows everything that was there, once, whatever is written meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

ITEMS = 11


def walk(
    ctx: Context,
    operation: str,
    *,
    between: Callable[[], object] = lambda: None,
    **request: Any,
) -> list[Json]:
    """Return all rows of a list; `between` runs after each page but the last.

    Fails the check for a page longer than the limit that was asked for, a shorter one is legal; for
    the rest as `Arrange.pages`.
    """
    limit = request.get("query", {}).get("limit", 200)

    def look(reply: Reply) -> None:
        page = reply.body["data"]
        ctx.expect(
            len(page) <= limit,
            "A page is longer than its limit",
            expected=f"at most {limit} rows",
            observed=len(page),
            on=[reply],
        )
        if reply.body["next_cursor"] is not None:
            between()

    return ctx.arrange.pages(operation, each=look, **request)


def deposits(ctx: Context, account: Json, count: int) -> list[int]:
    """Book deposits of different amounts; return the amounts in order."""
    amounts = [100 + number for number in range(count)]
    for amount in amounts:
        ctx.arrange.deposit(account, amount)
    ctx.wait(ctx.arrange.lag_s)
    return amounts


def page_max(ctx: Context) -> int:
    """Return the largest page that may be asked for."""
    return int(ctx.capabilities["limits"]["page_max"])


@check(
    "functional/pagination/any-page-size-shows-the-same",
    title="Every page size shows the same rows in the same order",
    failure_title="Rows are missed, repeated or reordered, depending on the page size",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listEntries", "listTransactions"],
    defects=["page-skips-a-row", "cursors-forget-the-page-size"],
)
@pytest.mark.parametrize("operation", ["listEntries", "listTransactions"])
def check_any_page_size_shows_the_same(ctx: Context, operation: str) -> None:
    """Walk a list with page sizes from one to more than all.

    Why: A statement that lacks a line is wrong, and the missing line is always at a page's edge.
    How: Book eleven deposits on a new account; walk its entries and its transactions with page
    sizes 1, 2, 5, 10, 11, 12 and the declared maximum.
    Fails when: a walk does not show exactly the eleven in the order of their seq.
    Remedy: Continue after the last key shown (keyset), not at an offset; test the edge of a page.
    """
    account = ctx.arrange.account()
    amounts = deposits(ctx, account, ITEMS)
    request: Json = {"path": {"id": account["id"]}}
    filters: Json = {}
    if operation == "listTransactions":
        request, filters = {}, {"account_id": account["id"]}
    for limit in sorted({1, 2, 5, 10, 11, 12, page_max(ctx)}):
        rows = walk(
            ctx, operation, query={"limit": min(limit, page_max(ctx)), **filters}, **request
        )
        shown = [
            row["amount"] if operation == "listEntries" else row["amount"]["amount"] for row in rows
        ]
        ctx.equal(shown, amounts, f"Pages of {limit} do not show the rows that are there")
        seqs = [row["seq"] for row in rows]
        ctx.equal(seqs, sorted(set(seqs)), f"Pages of {limit} are not in the order of seq")


def _eventful(ctx: Context) -> tuple[Json, list[int]]:
    """Return an account with every kind of booking, and the amounts of its entries in order."""
    account = ctx.arrange.account(withdrawal_allowed=True)
    other = ctx.arrange.account()
    mistaken = ctx.arrange.deposit(account, 1_000)
    ctx.arrange.deposit(account, 2_000)
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 31))
    hold = ctx.arrange.hold(account, 17)
    ctx.operator.call("settleTransaction", path={"id": hold["id"]}, body={}, expect=200)
    request: Json = {"path": {"id": mistaken["id"]}, "body": {"reason": "booked by mistake"}}
    ctx.manager.call("reverseTransaction", expect=201, **request)
    ctx.arrange.transaction(ctx.arrange.transfer_body(account, other, 5))
    ctx.arrange.transaction(ctx.arrange.transfer_body(other, account, 3))
    ctx.arrange.deposit(account, 7)
    ctx.wait(ctx.arrange.lag_s)
    return account, [1_000, 2_000, -31, -17, -1_000, -5, 3, 7]


@check(
    "functional/pagination/every-kind-is-shown",
    title="A statement in pages shows bookings of every kind, whichever one ends a page",
    failure_title="A page that ends with a booking of some kind loses or repeats a row",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listEntries", "settleTransaction", "reverseTransaction"],
    identities=("customer", "operator", "manager"),
    defects=["pages-after-a-reversal-lose-a-row"],
)
@pytest.mark.parametrize("sort", ["seq", "-seq"])
def check_every_kind_is_shown(ctx: Context, sort: str) -> None:
    """Walk a statement of every kind of booking, so that each of them once ends a page.

    Why: Settles and reversals are written by other code than deposits; where a page ends with one,
    a cursor that is taken from the wrong row loses the next.
    How: Deposit, withdraw, settle a hold, reverse, transfer out and in on a new account; walk its
    entries with pages of one to four rows, both ways.
    Fails when: a walk does not show the amounts of all of them, once and in order.
    Remedy: Take the cursor from the last row shown, whatever its kind.
    """
    account, amounts = _eventful(ctx)
    expected = amounts if sort == "seq" else amounts[::-1]
    for limit in (1, 2, 3, 4):
        query = {"limit": limit, "sort": sort}
        rows = walk(ctx, "listEntries", query=query, path={"id": account["id"]})
        shown = [row["amount"] for row in rows]
        ctx.equal(shown, expected, f"Pages of {limit} do not show the bookings that are there")


@check(
    "functional/pagination/walk-while-writing",
    title="A walk shows every row that was there exactly once, whatever is written meanwhile",
    failure_title="A walk misses or repeats rows while others are written",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN", "SYS-OPT"],
    operations=["listEntries", "listTransactions", "listAccounts"],
    defects=["pages-by-offset"],
)
@pytest.mark.parametrize("sort", ["seq", "-seq"])
@pytest.mark.parametrize("operation", ["listEntries", "listTransactions", "listAccounts"])
def check_walk_while_writing(ctx: Context, operation: str, sort: str) -> None:
    """Write between the pages of a walk.

    Why: Lists are read while business goes on; an offset shifts with every new row, so that
    newest-first lists repeat rows and others lose them.
    How: Walk with small pages, newest first and oldest first, and add a row after each of the first
    pages.
    Fails when: a row that existed before the walk is missing or appears twice.
    Remedy: Put the last key shown into the cursor and select beyond it.
    """
    account = ctx.arrange.account()
    request: Json = {}
    query: Json = {"limit": 2, "sort": sort}
    if operation == "listAccounts":
        initial = {ctx.arrange.account(type="revenue")["id"] for _ in range(5)}
        query |= {"limit": 5, "type": "revenue", "status": "active"}
    else:
        deposits(ctx, account, 7)
        initial = {entry["transaction_id"] for entry in ctx.arrange.entries(account)}
        if operation == "listEntries":
            request["path"] = {"id": account["id"]}
        else:
            query["account_id"] = account["id"]
    added = iter(range(3))

    def add() -> None:
        if next(added, None) is None:
            return
        if operation == "listAccounts":
            ctx.arrange.account(type="revenue")
        else:
            ctx.arrange.deposit(account, 1)

    ctx.wait(ctx.arrange.lag_s)
    rows = walk(ctx, operation, between=add, query=query, **request)
    name = "transaction_id" if operation == "listEntries" else "id"
    shown = [row[name] for row in rows if row[name] in initial]
    ctx.equal(len(shown), len(set(shown)), "A row appeared twice in one walk")
    ctx.equal(set(shown), initial, "A row that existed before the walk did not appear")


@check(
    "functional/pagination/sort-reverses",
    title="Descending order is the reverse of ascending order",
    failure_title="Descending order is not the reverse of ascending order",
    severity=Severity.LOW,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listEntries", "listTransactions", "listAccounts"],
    defects=["sort-is-ignored"],
)
@pytest.mark.parametrize(
    ("operation", "sort"),
    [
        ("listEntries", "seq"),
        ("listTransactions", "seq"),
        ("listAccounts", "seq"),
        ("listAccounts", "name"),
    ],
)
def check_sort_reverses(ctx: Context, operation: str, sort: str) -> None:
    """Walk a list in both directions.

    Why: A statement is read newest first; an order that is not total loses rows at the pages'
    edges.
    How: Walk with `sort` and with `-sort`, and compare the rows that this check made.
    Fails when: one is not the other in reverse.
    Remedy: Sort by the column in the direction asked for, and then by something unique.
    """
    request: Json = {}
    query: Json = {"limit": 3}
    if operation == "listAccounts":
        names = [ctx.name(letter) for letter in "bdac"]
        made = [ctx.arrange.account(type="revenue", name=name)["id"] for name in names]
        query |= {"limit": page_max(ctx), "type": "revenue"}
    else:
        account = ctx.arrange.account()
        deposits(ctx, account, 6)
        made = [entry["transaction_id"] for entry in ctx.arrange.entries(account)]
        if operation == "listEntries":
            request["path"] = {"id": account["id"]}
        else:
            query["account_id"] = account["id"]
    ctx.wait(ctx.arrange.lag_s)
    key = "transaction_id" if operation == "listEntries" else "id"
    shown = {}
    for direction in (sort, f"-{sort}"):
        rows = walk(ctx, operation, query={**query, "sort": direction}, **request)
        shown[direction] = [row[key] for row in rows if row[key] in made]
    ctx.equal(sorted(shown[sort]), sorted(made), "A sorted list does not show all rows")
    ctx.equal(shown[f"-{sort}"], shown[sort][::-1], "Descending is not the reverse of ascending")
    if sort == "seq":
        ctx.equal(shown[sort], made, "Ascending is not the order in which the rows were made")


@check(
    "functional/pagination/filters-combine",
    title="Two filters together show the intersection",
    failure_title="Two filters together do not show the intersection",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["listTransactions", "listAccounts", "voidTransaction"],
    defects=["second-filter-is-ignored"],
)
@pytest.mark.parametrize("operation", ["listTransactions", "listAccounts"])
def check_filters_combine(ctx: Context, operation: str) -> None:
    """Filter by one property, by another, and by both.

    Why: Reports are built on filters; one that is quietly ignored makes their totals wrong.
    How: Make rows of every combination of two properties; compare the list under both filters with
    the rows that are in both single lists.
    Fails when: a single filter shows a row of another value, or both together are not the
    intersection.
    Remedy: Join all filters with AND, and refuse those that are not known.
    """
    limit = page_max(ctx)
    if operation == "listTransactions":
        account = ctx.arrange.account(funds=9_000)
        ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 10))
        ctx.arrange.hold(account, 20)
        voided = ctx.arrange.hold(account, 30)
        ctx.customer.call("voidTransaction", path={"id": voided["id"]}, body={}, expect=200)
        fixed: Json = {"account_id": account["id"], "limit": limit}
        properties = {"kind": "withdrawal", "status": "posted"}
    else:
        made = [ctx.arrange.account(type=kind) for kind in ("generation", "revenue") * 2]
        for account in made[2:]:
            ctx.arrange.close(account, expect=200)
        fixed = {"limit": limit, "owner_id": ctx.customer.user_id}
        properties = {"type": "generation", "status": "closed"}
    ctx.wait(ctx.arrange.lag_s)
    mine = None if operation == "listTransactions" else {account["id"] for account in made}
    sets = {}
    for label, filters in (
        ("first", dict(list(properties.items())[:1])),
        ("second", dict(list(properties.items())[1:])),
        ("both", properties),
    ):
        rows = walk(ctx, operation, query={**fixed, **filters})
        wrong = [r["id"] for r in rows if any(r[name] != v for name, v in filters.items())]
        ctx.equal(wrong, [], f"The filter {filters} shows rows of other values")
        sets[label] = {row["id"] for row in rows if mine is None or row["id"] in mine}
    ctx.equal(sets["both"], sets["first"] & sets["second"], "Both filters are no intersection")
    ctx.equal(len(sets["both"]), 1, "Both filters do not show the one row that matches")


@check(
    "functional/pagination/limit-out-of-range",
    title="A limit outside 1 to 200 is refused",
    failure_title="A limit outside 1 to 200 is accepted or breaks the server",
    severity=Severity.LOW,
    requirements=["SYS-ACC"],
    operations=["listAccounts"],
    defects=["any-limit-will-do"],
)
@pytest.mark.parametrize(
    "limit", ["0", "-1", "201", "1000000", "ten", "1.5", "99999999999999999999"]
)
def check_limit_out_of_range(ctx: Context, limit: str) -> None:
    """Ask for pages of impossible size.

    Why: A page without bound lets one request read the whole book and hold its memory.
    How: List accounts with limits of 0, -1, 201, a million, and with texts.
    Fails when: the answer is not 400 `invalid_parameter`.
    Remedy: Validate the parameter; do not clamp it silently.
    """
    reply = send_raw(ctx.customer, "GET", f"/v1/accounts?limit={limit}")
    is_refused(ctx.customer, reply, "invalid_parameter")


@check(
    "functional/pagination/ties-are-broken",
    title="Rows of one instant, and accounts of one name, are each shown once",
    failure_title="Rows that are equal in what they are sorted by are missed or repeated",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN", "SYS-OPT"],
    operations=["listEntries", "listTransactions", "listAccounts", "createTransactionBatch"],
    defects=["pages-go-by-the-clock", "equal-names-are-one"],
)
@pytest.mark.parametrize("operation", ["listEntries", "listTransactions", "listAccounts"])
def check_ties_are_broken(ctx: Context, operation: str) -> None:
    """Walk rows that share their instant or their name.

    Why: A batch is booked in one instant; a list that continues after a timestamp loses the rest
    of that instant at the edge of a page.
    How: Book eleven deposits in one batch, or in as few as the limits allow; walk the entries and
    transactions in small pages, both ways; walk accounts of one name sorted by name.
    Fails when: a walk does not show each exactly once, or the two directions of seq are not
    reverses. In which order accounts of one name stand is the deployment's choice.
    Remedy: Continue after a key that is unique: seq, or the name together with seq.
    """
    account = ctx.arrange.account()
    request: Json = {"path": {"id": account["id"]}} if operation == "listEntries" else {}
    filters: Json = {"account_id": account["id"]} if operation == "listTransactions" else {}
    key, sort = "seq", "seq"
    if operation == "listAccounts":
        twins = [ctx.arrange.account(name=account["name"], type="revenue") for _ in range(4)]
        filters, key, sort = {"type": "revenue"}, "id", "name"
        expected = {twin["id"] for twin in twins}
    else:
        money = [ctx.arrange.money(100 + n, account["currency"]) for n in range(ITEMS)]
        items = [{"kind": "deposit", "amount": m, "to_account_id": account["id"]} for m in money]
        size = ctx.arrange.batch_items_max
        batches = [{"items": items[start : start + size]} for start in range(0, ITEMS, size)]
        booked = [ctx.customer.call("createTransactionBatch", body=b, expect=200) for b in batches]
        results = [row for reply in booked for row in reply.body["results"]]
        expected = {row["transaction"]["seq"] for row in results}
    ctx.arrange.let_writes_arrive()
    sizes = (2, 7) if operation != "listAccounts" else (page_max(ctx),)
    for limit in sizes:
        shown = [
            [
                row[key]
                for row in walk(
                    ctx, operation, query={"limit": limit, "sort": way, **filters}, **request
                )
                if row[key] in expected
            ]
            for way in (sort, f"-{sort}")
        ]
        for rows in shown:
            ctx.equal(sorted(rows), sorted(expected), f"Rows that pages of {limit} show")
        if sort == "seq":
            ctx.equal(shown[1], shown[0][::-1], f"Pages of {limit}, backwards")
