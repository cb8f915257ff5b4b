"""Transactions: each kind books what the contract says, in two lines, and is undone once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from certification.checks import check
from certification.model import Json, Severity, Veto
from certification.oracle import members

if TYPE_CHECKING:
    from certification.context import Context

# The members that name the kind, the sign of its effect on cash, and the system account at the
# other end; None where that is another bucket of the same account.
SPECIAL: dict[str, tuple[Json, int, str | None]] = {
    "premium": ({"kind": "premium"}, 1, "external"),
    "interest": ({"kind": "interest"}, 1, "external"),
    "fee": ({"kind": "fee"}, -1, "fees"),
    "tax": ({"kind": "tax"}, -1, "tax"),
    "assignment": ({"kind": "assignment"}, -1, None),
    "credit": (
        {"kind": "adjustment", "direction": "credit", "reason": "correction"},
        1,
        "suspense",
    ),
    "debit": ({"kind": "adjustment", "direction": "debit", "reason": "correction"}, -1, "suspense"),
}
BASIC = ("deposit", "withdrawal", "transfer")


def _special_body(ctx: Context, account: Json, name: str, amount: int) -> Json:
    members, sign, _ = SPECIAL[name]
    end = "to_account_id" if sign > 0 else "from_account_id"
    money = ctx.arrange.money(amount, account["currency"])
    return {**members, "amount": money, end: account["id"]}


def _basic_body(ctx: Context, kind: str, source: Json, target: Json, amount: int) -> Json:
    if kind == "transfer":
        return ctx.arrange.transfer_body(source, target, amount)
    if kind == "withdrawal":
        return ctx.arrange.withdrawal_body(source, amount)
    money = ctx.arrange.money(amount, target["currency"])
    return {"kind": "deposit", "amount": money, "to_account_id": target["id"]}


def _signed(transaction: Json) -> Counter[tuple[str, str]]:
    """Return the signed amount by (account or system account, bucket)."""
    amounts: Counter[tuple[str, str]] = Counter()
    for line in transaction["lines"]:
        amounts[line["account_id"] or f"system:{line['system']}", line["bucket"]] += line["amount"]
    return amounts


def _reverse(ctx: Context, transaction: Json, **expected: Any) -> Json:
    path = {"id": transaction["id"]}
    body = {"reason": "booked by mistake"}
    reply = ctx.manager.call("reverseTransaction", path=path, body=body, **expected)
    answer: Json = reply.body
    return answer


@check(
    "functional/transactions/double-entry",
    title="Deposit, withdrawal and transfer book two equal and opposite sides",
    failure_title="A transaction does not book two equal and opposite sides",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getTransaction", "getAccount"],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["transfer-skims-a-unit"],
)
@pytest.mark.parametrize("kind", BASIC)
def check_double_entry(ctx: Context, kind: str) -> None:
    """Whether the lines are exactly the two that the contract names, and both balances follow.

    Why: A line without its opposite creates or destroys money.
    How: Book one transaction of each kind, compare its lines, its second read and both balances.
    Fails when: The lines differ from the contract's, do not add up to zero, or a balance moved
        otherwise.
    Remedy: Book all lines of a transaction together, and refuse an entry whose lines do not add up.
    """
    source, target = ctx.arrange.account(funds=1_000), ctx.arrange.account(funds=1_000)
    created = ctx.arrange.transaction(_basic_body(ctx, kind, source, target, 137))
    out = "system:external" if kind == "deposit" else source["id"]
    into = "system:external" if kind == "withdrawal" else target["id"]
    expected = Counter({(out, "cash"): -137, (into, "cash"): 137})
    ctx.equal(dict(_signed(created)), dict(expected), f"A {kind} books other lines")
    ctx.equal(created["status"], "posted", f"A {kind} is not posted at once")
    read = members.transaction(ctx.arrange.read_transaction(created))
    ctx.equal(read, members.transaction(created), "The transaction reads back otherwise")
    spent = 0 if kind == "deposit" else 137
    gained = 0 if kind == "withdrawal" else 137
    message = f"The source after a {kind} of 137"
    ctx.arrange.expect_balances(source, message, ledger=1_000 - spent, available=1_000 - spent)
    message = f"The target after a {kind} of 137"
    ctx.arrange.expect_balances(target, message, ledger=1_000 + gained, available=1_000 + gained)


@check(
    "functional/transactions/special-kinds",
    title="Fees, taxes, interest, premiums, assignments and adjustments book what they say",
    failure_title="A special transaction books something else than it says",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount"],
    identities=("customer", "operator"),
    defects=["interest-is-charged"],
)
@pytest.mark.parametrize("name", sorted(SPECIAL))
def check_special_kinds(ctx: Context, name: str) -> None:
    """Whether each kind moves cash in its direction and names its system account.

    Why: Interest that is charged, or a fee booked to the world, passes every sum and is still
        wrong.
    How: An operator books each kind on a customer's account; lines and balances are compared.
    Fails when: Lines or balances differ from the contract's table for the kind.
    Remedy: Follow the table of CreateTransaction: which system account, which bucket, which sign.
    """
    _, sign, system = SPECIAL[name]
    account = ctx.arrange.account(funds=1_000)
    body = _special_body(ctx, account, name, 65)
    created = ctx.arrange.transaction(body, by=ctx.operator)
    other = (f"system:{system}", "cash") if system else (account["id"], "position:shares")
    expected = {(account["id"], "cash"): sign * 65, other: -sign * 65}
    ctx.equal(dict(_signed(created)), expected, f"{name} books other lines")
    ledger = 1_000 + sign * 65
    total = 1_000 if system is None else ledger
    message = f"The account after {name} of 65"
    ctx.arrange.expect_balances(account, message, ledger=ledger, total_value=total)


@check(
    "functional/transactions/special-kinds-need-operator",
    title="A customer cannot book fees, interest or adjustments",
    failure_title="A customer can book fees, interest or adjustments",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "SYS-SEC", "E2E-SEC"],
    operations=["createTransaction"],
    defects=["customer-books-adjustments"],
)
@pytest.mark.parametrize("name", sorted(SPECIAL))
def check_special_kinds_need_operator(ctx: Context, name: str) -> None:
    """Whether each special kind asked for by the owner is 403 and changes nothing.

    Why: A customer who can book interest or an adjustment prints money.
    How: The owner asks for each special kind on the own account.
    Fails when: The answer is not 403 forbidden, or anything changed.
    Remedy: Let only operator and above name kinds other than deposit, withdrawal and transfer.
    """
    account = ctx.arrange.account(funds=1_000)
    before = ctx.arrange.picture(account)
    body = _special_body(ctx, account, name, 65)
    reply = ctx.customer.call("createTransaction", body=body, problem="forbidden")
    ctx.arrange.expect_same(before, f"A forbidden {name} changed the account", reply)


@check(
    "functional/transactions/list-shows-each-once",
    title="The list of an account's transactions shows each exactly once",
    failure_title="The list of an account's transactions misses, repeats or invents some",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN"],
    operations=["listTransactions", "createTransaction"],
    defects=["transaction-filter-ignored"],
)
def check_list_shows_each_once(ctx: Context) -> None:
    """Whether the account, kind and status filters name exactly the transactions made.

    Why: A statement is a list; a row too many or too few is a wrong statement.
    How: Make deposits, a withdrawal, a transfer and a hold; list by account, by kind and by status.
    Fails when: The ids differ from those made, or a row contradicts its filter.
    Remedy: Put account_id, kind and status into the query.
    """
    first, second = ctx.arrange.account(), ctx.arrange.account()
    made = [ctx.arrange.deposit(first, 1_000), ctx.arrange.deposit(first, 500)]
    made.append(ctx.arrange.transaction(ctx.arrange.withdrawal_body(first, 10)))
    made.append(ctx.arrange.transaction(ctx.arrange.transfer_body(first, second, 20)))
    made.append(ctx.arrange.hold(first, 30))
    ids = [row["id"] for row in made]
    cases: list[tuple[Json, list[str]]] = [
        ({"account_id": first["id"]}, ids),
        ({"account_id": second["id"]}, [ids[3]]),
        ({"account_id": first["id"], "kind": "deposit"}, ids[:2]),
        ({"account_id": first["id"], "kind": "withdrawal"}, [ids[2], ids[4]]),
        ({"account_id": first["id"], "kind": "withdrawal", "status": "pending"}, [ids[4]]),
    ]
    limit = ctx.capabilities["limits"]["page_max"]
    for query, expected in cases:
        rows = ctx.arrange.pages("listTransactions", query={**query, "limit": limit})
        message = f"The list filtered by {query} shows others, in order of seq"
        ctx.equal([row["id"] for row in rows], expected, message)


@check(
    "functional/transactions/reversal-restores-both-balances",
    title="A reversal restores both balances and marks the original",
    failure_title="A reversal leaves a balance or the original as it was",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["reverseTransaction", "getTransaction", "getAccount"],
    identities=("customer", "manager"),
    defects=["reversal-leaves-original-posted"],
)
@pytest.mark.parametrize("kind", BASIC)
def check_reversal_restores_both_balances(ctx: Context, kind: str) -> None:
    """Whether the opposite lines are booked and the two transactions name each other.

    Why: Corrections add, never edit; a one-sided correction is a second mistake.
    How: Book, reverse as a manager, compare lines, balances, and both transactions.
    Fails when: A balance differs from before, lines are not negated, or the link is missing.
    Remedy: Book the negated lines and the mark on the original in one transaction.
    """
    source, target = ctx.arrange.account(funds=1_000), ctx.arrange.account(funds=1_000)
    original = ctx.arrange.transaction(_basic_body(ctx, kind, source, target, 250))
    reversal = _reverse(ctx, original, expect=201)
    negated = {key: -amount for key, amount in _signed(original).items()}
    ctx.equal(
        dict(_signed(reversal)), negated, "The reversal's lines are not the original's, negated"
    )
    ctx.equal(reversal["kind"], "reversal", "The reversal has another kind")
    ctx.equal(reversal["reverses_id"], original["id"], "The reversal does not name the original")
    read = ctx.arrange.read_transaction(original)
    ctx.equal(read["status"], "reversed", "The original is not marked as reversed")
    ctx.equal(read["reversed_by_id"], reversal["id"], "The original names no reversal")
    for account in (source, target):
        message = f"An account after a {kind} and its reversal"
        ctx.arrange.expect_balances(account, message, ledger=1_000, available=1_000)


@check(
    "functional/transactions/second-reversal-refused",
    title="A transaction is reversed once",
    failure_title="A transaction can be reversed twice",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["reverseTransaction", "updateAccount"],
    identities=("customer", "manager"),
    defects=["refund-twice", "a-new-minimum-allows-a-second-refund"],
)
@pytest.mark.parametrize("between", ["nothing", "a-new-name", "another-booking"])
def check_second_reversal_refused(ctx: Context, between: str) -> None:
    """Whether the second reversal, under a key of its own, is refused and changes nothing.

    Why: Two refunds for one payment is the oldest double spend.
    How: Reverse a withdrawal, then ask for it again: at once, after the account was renamed, and
        after another booking.
    Fails when: The second is not 409 already_reversed, or the balance moved.
    Remedy: Make the reversed transaction's id unique among reversals.
    """
    account = ctx.arrange.account(funds=1_000)
    original = ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 250))
    _reverse(ctx, original, expect=201)
    if between == "a-new-name":
        etag = ctx.arrange.read_reply(account).etag
        request: Json = {"path": {"id": account["id"]}, "body": {"name": ctx.name("renamed")}}
        ctx.customer.call("updateAccount", if_match=etag, expect=200, **request)
    elif between == "another-booking":
        ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 250))
    before = ctx.arrange.picture(account)
    _reverse(ctx, original, problem="already_reversed")
    ctx.arrange.expect_same(before, "A refused reversal changed the account")


@check(
    "functional/transactions/not-reversible",
    title="Reversals and what was never booked cannot be reversed",
    failure_title="Something is reversed that cannot be",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["reverseTransaction", "voidTransaction"],
    identities=("customer", "manager"),
    defects=["reversal-of-a-reversal"],
)
@pytest.mark.parametrize("case", ["reversal", "pending", "voided"])
def check_not_reversible(ctx: Context, case: str) -> None:
    """Whether a reversal, a pending and a voided transaction are refused as not_reversible.

    Why: Undoing what moved no money makes money.
    How: Make each, ask a manager to reverse it, compare the account.
    Fails when: The answer is not 422 not_reversible, or anything changed.
    Remedy: Reverse only posted or settled transactions of the kinds that a request can name.
    """
    account = ctx.arrange.account(funds=1_000)
    if case == "reversal":
        booked = ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 100))
        transaction = _reverse(ctx, booked, expect=201)
    else:
        transaction = ctx.arrange.hold(account, 100)
    if case == "voided":
        path = {"id": transaction["id"]}
        ctx.customer.call("voidTransaction", path=path, body={}, expect=200)
    before = ctx.arrange.picture(account)
    _reverse(ctx, transaction, problem="not_reversible")
    ctx.arrange.expect_same(before, f"A refused reversal of a {case} changed the account")


@check(
    "functional/transactions/reversal-needs-the-money",
    title="A deposit that was spent cannot be reversed",
    failure_title="A reversal takes money that is not there",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["reverseTransaction", "createTransaction"],
    identities=("customer", "manager"),
    defects=["reversal-skips-funds-check"],
)
@pytest.mark.parametrize("use", ["spent", "held"])
def check_reversal_needs_the_money(ctx: Context, use: str) -> None:
    """Whether reversing a deposit whose money is spent or held is refused and changes nothing.

    Why: T3: available is never below zero after a debit, and a reversal is a debit.
    How: Deposit, then spend or hold it, then ask for the deposit's reversal.
    Fails when: The answer is not 422 insufficient_available, or anything changed.
    Remedy: Judge the negated lines by available like any other debit.
    """
    account = ctx.arrange.account()
    deposit = ctx.arrange.deposit(account, 1_000)
    if use == "spent":
        ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 600))
    else:
        ctx.arrange.hold(account, 600)
    before = ctx.arrange.picture(account)
    _reverse(ctx, deposit, problem="insufficient_available")
    ctx.arrange.expect_same(before, "A refused reversal changed the account")
