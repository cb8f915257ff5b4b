"""Money: what is refused changes nothing, what is booked adds up, at any moment of the past."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from certification.arrange import unknown_id
from certification.checks import check
from certification.model import Json, Severity, Veto
from certification.oracle import members
from certification.oracle.ledger import first_running_break

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply

REFUSALS = ("insufficient", "currency", "same", "closed", "suspended", "missing")


def _other_currency(ctx: Context) -> str:
    codes = [row["code"] for row in ctx.capabilities["currencies"]]
    others = [code for code in codes if code != ctx.arrange.currency]
    if not others:
        ctx.not_exercised("the deployment declares one currency only")
    return str(others[0])


def _refused(ctx: Context, case: str, source: Json, target: Json) -> tuple[Json, str]:
    """Return a transfer that must be refused, and the problem it must be refused with."""
    body = ctx.arrange.transfer_body(source, target, 100)
    if case == "insufficient":
        return ctx.arrange.transfer_body(source, target, 1_001), "insufficient_available"
    if case == "currency":
        body["amount"] = ctx.arrange.money(100, _other_currency(ctx))
        return body, "currency_mismatch"
    if case == "same":
        return ctx.arrange.transfer_body(source, source, 100), "same_account"
    if case == "closed":
        closed = ctx.arrange.account()
        ctx.arrange.close(closed, expect=200)
        return ctx.arrange.transfer_body(source, closed, 100), "account_closed"
    if case == "suspended":
        ctx.arrange.suspend(source)
        return body, "account_suspended"
    body["to_account_id"] = unknown_id(target)
    return body, "not_found"


def _expect_refusal(ctx: Context, reply: Reply, what: str) -> None:
    """Fail unless it was refused; which problem is named is the question of another check."""
    ctx.expect(
        400 <= reply.status < 500,
        f"{what} was not refused",
        expected="4xx",
        observed=reply.status,
        on=[reply],
    )


@check(
    "functional/money/refused-transfer-changes-nothing",
    title="A refused transfer changes nothing on either side",
    failure_title="A refused transfer changes something",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN", "E2E-ERR"],
    operations=["createTransaction", "getAccount", "listEntries"],
    identities=("customer", "manager"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["refusal-keeps-the-debit"],
)
@pytest.mark.parametrize("case", REFUSALS)
def check_refused_transfer_changes_nothing(ctx: Context, case: str) -> None:
    """Whether a transfer that must be refused, for any reason, leaves both accounts alone.

    Why: A debit without its credit is money lost; a refusal that books half is worse than an error.
    How: For each reason ask for the transfer; compare balances, versions and number of entries.
    Fails when: It is not refused, or anything of either account changed.
    Remedy: Book all or nothing: check and book in one database transaction.
    """
    source, target = ctx.arrange.account(funds=1_000), ctx.arrange.account(funds=1_000)
    body, problem = _refused(ctx, case, source, target)
    before = ctx.arrange.picture(source, target)
    reply = ctx.customer.call("createTransaction", body=body)
    _expect_refusal(ctx, reply, f"A transfer that must be refused as {problem}")
    ctx.arrange.expect_same(before, f"A transfer refused as {problem} changed an account", reply)


@check(
    "functional/money/refusals-say-why",
    title="A refused transfer names the reason",
    failure_title="A refused transfer names another reason",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    identities=("customer", "manager"),
    defects=["suspended-is-called-closed"],
)
@pytest.mark.parametrize("case", REFUSALS)
def check_refusals_say_why(ctx: Context, case: str) -> None:
    """Whether each reason to refuse a transfer has its own problem code and status.

    Why: Programs decide by the code whether to wait, to ask for money or to give up.
    How: For each reason ask for the transfer and read the problem.
    Fails when: The code or its status is another than the catalogue's for the reason.
    Remedy: Give each rule its code of the problem catalogue, in the order of refusals.
    """
    source, target = ctx.arrange.account(funds=1_000), ctx.arrange.account(funds=1_000)
    body, problem = _refused(ctx, case, source, target)
    ctx.customer.call("createTransaction", body=body, problem=problem)


@check(
    "functional/money/only-available-money-is-spent",
    title="Exactly the available money can be spent, not one unit more",
    failure_title="More than the available money is spent, or less cannot be",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=["createTransaction", "getAccount"],
    defects=["overdraft-by-one"],
)
@pytest.mark.parametrize("kind", ["withdrawal", "transfer", "hold"])
def check_only_available_money_is_spent(ctx: Context, kind: str) -> None:
    """Whether one unit too many is refused and exactly the rest is taken.

    Why: The boundary is where > and >= differ; an overdraft of one is an overdraft.
    How: Ask for available + 1, then for available, then for 1 more.
    Fails when: The first or third is taken, or the second refused.
    Remedy: Refuse when amount > available, compute available inside the booking transaction.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()

    def body(amount: int) -> Json:
        if kind == "transfer":
            return ctx.arrange.transfer_body(account, other, amount)
        return ctx.arrange.withdrawal_body(
            account, amount, **({"hold": True} if kind == "hold" else {})
        )

    ctx.customer.call("createTransaction", body=body(1_001), problem="insufficient_available")
    ctx.arrange.transaction(body(1_000))
    ctx.customer.call("createTransaction", body=body(1), problem="insufficient_available")
    left = 1_000 if kind == "hold" else 0
    message = f"After a {kind} of everything"
    ctx.arrange.expect_balances(account, message, ledger=left, available=0)


@check(
    "functional/money/same-account-refused",
    title="A transfer to the same account is refused",
    failure_title="A transfer to the same account is taken",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["createTransaction"],
    defects=["transfer-to-itself"],
)
@pytest.mark.parametrize("hold", [False, True], ids=["posted", "held"])
def check_same_account_refused(ctx: Context, hold: bool) -> None:
    """Whether money cannot be moved to where it is.

    Why: A self transfer that reads one balance twice credits without debiting.
    How: Ask for a transfer from an account to itself, posted and held.
    Fails when: It is not 422 same_account, or anything changed.
    Remedy: Compare the two ids before booking.
    """
    account = ctx.arrange.account(funds=1_000)
    before = ctx.arrange.picture(account)
    body = ctx.arrange.transfer_body(account, account, 100, **({"hold": True} if hold else {}))
    reply = ctx.customer.call("createTransaction", body=body, problem="same_account")
    ctx.arrange.expect_same(before, "A self transfer changed the account", reply)


@check(
    "functional/money/currencies-do-not-mix",
    title="Money of one currency never enters an account of another",
    failure_title="Money of one currency enters an account of another",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "createAccount"],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["currency-not-compared"],
)
@pytest.mark.parametrize("case", ["deposit", "withdrawal", "transfer-from", "transfer-into"])
def check_currencies_do_not_mix(ctx: Context, case: str) -> None:
    """Whether a deposit, a withdrawal and transfers either way in another currency are refused.

    Why: 100 yen that arrive as 100 dollars are money from nothing.
    How: Two accounts of two currencies; ask for each movement in the wrong one.
    Fails when: It is not refused, or anything changed.
    Remedy: Compare the amount's currency with that of every account it touches.
    """
    foreign = _other_currency(ctx)
    home = ctx.arrange.account(funds=1_000)
    abroad = ctx.arrange.account(funds=1_000, currency=foreign)
    bodies = {
        "deposit": {"kind": "deposit", "to_account_id": home["id"]},
        "withdrawal": {"kind": "withdrawal", "from_account_id": home["id"]},
        "transfer-from": ctx.arrange.transfer_body(home, abroad, 1),
        "transfer-into": ctx.arrange.transfer_body(abroad, home, 1),
    }
    body = {**bodies[case], "amount": ctx.arrange.money(100, foreign)}
    before = ctx.arrange.picture(home, abroad)
    reply = ctx.customer.call("createTransaction", body=body)
    _expect_refusal(ctx, reply, f"A {case} in the wrong currency")
    ctx.arrange.expect_same(before, f"A {case} in the wrong currency changed an account", reply)


@check(
    "functional/money/split-transfer-equals-whole",
    title="One transfer of a + b equals transfers of a and of b",
    failure_title="Splitting a transfer changes what arrives",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getAccount"],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["small-transfers-lose-a-unit"],
)
def check_split_transfer_equals_whole(ctx: Context) -> None:
    """Whether the balances after one transfer equal those after its parts, for odd splits.

    Why: Rounding or a hidden fee by transfer shows only when two ways to the same end are compared.
    How: Three pairs of accounts; the same sum in one, in two and in seven transfers.
    Fails when: Balances of the pairs differ.
    Remedy: Book the amount asked for, in integers, with any fee as a transaction of its own.
    """
    total = 9_999
    ends: list[tuple[int, int]] = []
    for parts in ((total,), (3_333, 6_666), (1, 2, 33, 777, 1_111, 4_075, 4_000)):
        source, target = ctx.arrange.account(funds=20_000), ctx.arrange.account()
        for part in parts:
            ctx.arrange.transaction(ctx.arrange.transfer_body(source, target, part))
        message = f"After {len(parts)} transfers of {total} together"
        ctx.arrange.expect_balances(source, message, ledger=20_000 - total)
        after = ctx.arrange.expect_balances(target, message, ledger=total)
        ends.append((after["ledger"], after["available"]))
    ctx.equal(len(set(ends)), 1, f"The targets differ: {ends}")


@check(
    "functional/money/running-balance",
    title="Each running balance is the sum of the entries up to it",
    failure_title="A running balance is not the sum of the entries up to it",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "SYS-ACC"],
    operations=["listEntries", "createTransaction"],
    defects=["running-balance-skips-debits"],
)
def check_running_balance(ctx: Context) -> None:
    """Whether running balances and ledger can be recomputed from the entries, in both sort orders.

    Why: A statement is read line by line; a running balance that does not add up is a wrong
        statement.
    How: Eight movements in and out; recompute from the entries sorted by seq; read them reversed.
    Fails when: A running balance or the ledger differs from the sum, or the reverse order differs.
    Remedy: Compute the balance after a line in the transaction that books it.
    """
    account, other = ctx.arrange.account(), ctx.arrange.account(funds=500)
    amounts = [1_000, -300, 77, -1, 450, -226, 5, -5]
    for amount in amounts:
        source, target = (account, other) if amount < 0 else (other, account)
        if amount == 1_000:
            ctx.arrange.deposit(account, amount)
        else:
            ctx.arrange.transaction(ctx.arrange.transfer_body(source, target, abs(amount)))
    ctx.arrange.expect_balances(account, "The ledger is not the sum", ledger=sum(amounts))
    entries = ctx.arrange.entries(account)
    ctx.equal([row["amount"] for row in entries], amounts, "The entries are not the movements made")
    broken = first_running_break((row["amount"], row["running_balance"]) for row in entries)
    ctx.equal(broken, None, "A running balance is not the sum of the entries up to it")
    path = {"id": account["id"]}
    newest = ctx.arrange.pages("listEntries", path=path, query={"sort": "-seq"})
    backwards = [members.entry(row) for row in reversed(newest)]
    forwards = [members.entry(row) for row in entries]
    ctx.equal(backwards, forwards, "The reverse order shows other entries")


@check(
    "functional/money/balance-of-the-past",
    title="A balance of the past equals the sum of the entries up to then",
    failure_title="A balance of the past is not the sum of the entries up to then",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["getAccount", "createTransaction"],
    defects=["past-balance-is-todays"],
)
def check_balance_of_the_past(ctx: Context) -> None:
    """Whether as_of_seq gives the balance after each transaction and just before the next.

    Why: T6: disputes and audits ask what the balance was then, not what it is now.
    How: Five movements; read the account as of each one's seq and as of one before it.
    Fails when: The ledger as of then is not the sum up to then.
    Remedy: Compute a balance of the past from the lines up to that seq.
    """
    account = ctx.arrange.account()
    amounts = [1_000, -10, -200, 33, -7]
    made: list[Json] = []
    for amount in amounts:
        if amount > 0:
            made.append(ctx.arrange.deposit(account, amount))
        else:
            body = ctx.arrange.withdrawal_body(account, -amount)
            made.append(ctx.arrange.transaction(body))
    ctx.arrange.expect_balances(account, "The ledger of today", ledger=sum(amounts))
    after = list(itertools.accumulate(amounts))
    for transaction, ledger, amount in zip(made, after, amounts, strict=True):
        for seq, expected in (
            (transaction["seq"], ledger),
            (transaction["seq"] - 1, ledger - amount),
        ):
            query = {"as_of_seq": seq}
            reply = ctx.customer.call(
                "getAccount", path={"id": account["id"]}, query=query, expect=200
            )
            message = f"The ledger as of seq {seq}"
            ctx.equal(reply.body["balances"]["ledger"], expected, message, reply)
