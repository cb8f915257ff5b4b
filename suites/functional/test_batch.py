"""Batches: an outcome for each item, in order, and all or nothing where that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certification.checks import check
from certification.model import Json, Severity
from certification.oracle import members

if TYPE_CHECKING:
    from certification.context import Context


def _deposit(ctx: Context, account: Json, amount: int) -> Json:
    money = ctx.arrange.money(amount, account["currency"])
    return {"kind": "deposit", "amount": money, "to_account_id": account["id"]}


@check(
    "functional/batch/each-item-has-its-outcome",
    title="Each item of a batch has its own outcome, in order",
    failure_title="A batch mixes up or hides the outcome of an item",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-TXN", "SYS-OPT"],
    operations=["createTransactionBatch", "getTransaction", "getAccount"],
    defects=["batch-hides-refusals"],
)
def check_each_item_has_its_outcome(ctx: Context) -> None:
    """Whether good items are booked, bad ones named with their problem, and order is kept.

    Why: A file of payments where one refusal is reported as success is a payment that nobody
        chases.
    How: A batch whose second item can only be paid from its first, with two items that must be
        refused.
    Fails when: An index, status, problem or balance differs, or a booked item cannot be read.
    Remedy: Book the items in order, each in its own savepoint, and answer with what each came to.
    """
    account, other = ctx.arrange.account(), ctx.arrange.account()
    items_max = ctx.arrange.batch_items_max
    items = [
        _deposit(ctx, account, 1_000),
        ctx.arrange.transfer_body(account, other, 400),
        ctx.arrange.withdrawal_body(account, 601),
        ctx.arrange.transfer_body(account, account, 1),
        ctx.arrange.withdrawal_body(account, 600),
    ]
    if items_max < len(items):
        ctx.not_exercised(f"a batch takes {items_max} items")
    body = {"items": items}
    reply = ctx.customer.call("createTransactionBatch", body=body, expect=200)
    results = reply.body["results"]
    outcomes = [
        (row["index"], row["status"], row.get("problem", {}).get("code")) for row in results
    ]
    expected = [
        (0, 201, None),
        (1, 201, None),
        (2, 422, "insufficient_available"),
        (3, 422, "same_account"),
        (4, 201, None),
    ]
    ctx.equal(outcomes, expected, "The outcomes of the items", reply)
    for row in results:
        if row["status"] == 201:
            read = members.transaction(ctx.arrange.read_transaction(row["transaction"]))
            booked = members.transaction(row["transaction"])
            ctx.equal(read, booked, "A booked item reads back otherwise")
    ctx.arrange.expect_balances(account, "After the batch", ledger=0, available=0)
    ctx.arrange.expect_balances(other, "After the batch", ledger=400)


@check(
    "functional/batch/all-or-nothing",
    title="A batch of all or nothing books everything or nothing",
    failure_title="A batch of all or nothing books a part",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransactionBatch", "getAccount", "listEntries"],
    defects=["batch-books-a-part"],
)
def check_all_or_nothing(ctx: Context) -> None:
    """Whether one refused item refuses all, and a batch without one books all.

    Why: A payroll that is half paid is worse than one that is refused.
    How: A batch with a refused item last, then first; compare both accounts; then one that fits.
    Fails when: It is not 422 batch_rejected with a pointer at the item, or anything changed; or
        the good one fails.
    Remedy: Book the whole batch in one transaction and roll it back on the first refusal.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()
    amounts = (100, 200, 300)[: ctx.arrange.batch_items_max - 1]
    good = [ctx.arrange.transfer_body(account, other, amount) for amount in amounts]
    bad = ctx.arrange.withdrawal_body(account, 5_000)
    before = ctx.arrange.picture(account, other)
    for items, index in (([*good, bad], len(good)), ([bad, *good], 0)):
        body = {"items": items, "all_or_nothing": True}
        reply = ctx.customer.call("createTransactionBatch", body=body, problem="batch_rejected")
        pointers = [error["pointer"] for error in reply.body.get("errors", [])]
        named = any(pointer.split("/")[1:3] == ["items", str(index)] for pointer in pointers)
        ctx.expect(
            named,
            "The refusal does not name the item",
            expected=f"a pointer at /items/{index}",
            observed=pointers,
            on=[reply],
        )
        ctx.arrange.expect_same(before, "A refused batch changed an account", reply)
    body = {"items": good, "all_or_nothing": True}
    reply = ctx.customer.call("createTransactionBatch", body=body, expect=200)
    statuses = [row["status"] for row in reply.body["results"]]
    ctx.equal(statuses, [201] * len(good), "The outcomes of a batch that fits", reply)
    ctx.arrange.expect_balances(other, "After the batch that fits", ledger=sum(amounts))


@check(
    "functional/batch/malformed-item-books-nothing",
    title="A batch with a malformed item is refused whole",
    failure_title="A batch with a malformed item is booked in part",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransactionBatch", "getAccount"],
    defects=["batch-skips-malformed-items"],
)
def check_malformed_item_books_nothing(ctx: Context) -> None:
    """Whether a wrong shape in one item is 400 for the batch, and nothing is booked.

    Why: A file that cannot be read whole must not be paid by half.
    How: A good item and one whose amount is a fraction; compare the account.
    Fails when: The answer is not 400 validation_failed, or anything changed.
    Remedy: Check the whole body against the schema before the first booking.
    """
    account = ctx.arrange.account(funds=1_000)
    broken = ctx.arrange.withdrawal_body(account, 5)
    broken["amount"] = {"amount": 10.5, "currency": account["currency"]}
    before = ctx.arrange.picture(account)
    body = {"items": [_deposit(ctx, account, 100), broken]}
    reply = ctx.customer.call("createTransactionBatch", body=body, problem="validation_failed")
    ctx.arrange.expect_same(before, "A refused batch changed the account", reply)
