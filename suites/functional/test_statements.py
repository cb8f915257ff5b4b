"""Statements: parts of an account's history join without gap or overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certification.checks import check
from certification.model import Json, Severity
from certification.oracle import members

if TYPE_CHECKING:
    from certification.context import Context


def _business(ctx: Context) -> Json:
    """Return an account with credits, debits, a settled and a voided hold."""
    account, other = ctx.arrange.account(funds=10_000), ctx.arrange.account()
    ctx.arrange.transaction(ctx.arrange.transfer_body(account, other, 1_111))
    settled = ctx.arrange.hold(account, 700)
    voided = ctx.arrange.hold(account, 50)
    ctx.arrange.deposit(account, 33)
    body = {"amount": ctx.arrange.money(650, account["currency"])}
    ctx.operator.call("settleTransaction", path={"id": settled["id"]}, body=body, expect=200)
    ctx.customer.call("voidTransaction", path={"id": voided["id"]}, body={}, expect=200)
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 22))
    return ctx.arrange.read(account)


@check(
    "functional/statements/adjacent-ranges-join",
    title="Two adjacent parts of a statement are the whole, and the balance between them fits",
    failure_title="Adjacent parts of a statement leave a gap, overlap, or do not fit the balance",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-TXN"],
    operations=[
        "listEntries",
        "listTransactions",
        "getAccount",
        "settleTransaction",
        "voidTransaction",
    ],
    identities=("customer", "operator"),
    defects=["from-seq-is-exclusive"],
)
def check_adjacent_ranges_join(ctx: Context) -> None:
    """Whether the history before and from any point adds up to all of it, to the line.

    Why: A month that ends where the next begins must show each line in exactly one of them.
    How: Book credits, debits and holds; for each seq read the entries and transactions from it on,
        and the balances as of the one before; join them with what is known of the whole.
    Fails when: A line stands in none or in both parts, or the balance as of the cut plus what
        follows is not the balance now.
    Remedy: Let from_seq include its own seq, and as_of_seq everything up to its own.
    """
    account = _business(ctx)
    path = {"id": account["id"]}
    whole = [members.entry(row) for row in ctx.arrange.entries(account)]
    listed = ctx.arrange.pages("listTransactions", query={"account_id": account["id"]})
    for seq in sorted({row["seq"] for row in whole}):
        later = ctx.arrange.pages("listEntries", path=path, query={"from_seq": seq})
        expected = [row for row in whole if row["seq"] >= seq]
        ctx.equal([members.entry(row) for row in later], expected, f"The entries from {seq} on")
        query = {"account_id": account["id"], "from_seq": seq}
        following = [row["id"] for row in ctx.arrange.pages("listTransactions", query=query)]
        right = [row["id"] for row in listed if row["seq"] >= seq]
        ctx.equal(following, right, f"The transactions from {seq} on")
        if seq < 2:
            continue
        past = ctx.customer.call("getAccount", path=path, query={"as_of_seq": seq - 1}, expect=200)
        joined = past.body["balances"]["ledger"] + sum(row["amount"] for row in expected)
        now = account["balances"]["ledger"]
        ctx.equal(joined, now, f"The ledger as of {seq - 1} and what follows", past)
