"""Life cycle: an account moves only between declared states, and never ends with money inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Json, Severity
from certification.oracle import members

if TYPE_CHECKING:
    from certification.context import Context


@check(
    "functional/lifecycle/suspended-takes-but-does-not-give",
    title="A suspended account takes deposits and refuses debits",
    failure_title="A suspended account lets money out, or keeps money from coming in",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=["updateAccount", "createTransaction"],
    identities=("customer", "manager"),
    defects=["suspended-lets-money-out"],
)
@pytest.mark.parametrize("debit", ["withdrawal", "transfer", "hold"])
def check_suspended_takes_but_does_not_give(ctx: Context, debit: str) -> None:
    """Whether a suspension stops debits and new holds, lets credits in, and can be lifted.

    Why: Suspension is the emergency brake; one that leaks, or blocks incoming money, is none.
    How: Suspend, deposit, ask for a debit, reactivate, ask again.
    Fails when: The deposit is refused, the debit is not 409 account_suspended, or activity does
        not come back.
    Remedy: Check the status of the source on every debit and hold, of the target never.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()
    ctx.equal(ctx.arrange.suspend(account)["status"], "suspended", "The suspension does not show")
    ctx.arrange.deposit(account, 50)
    body = ctx.arrange.withdrawal_body(account, 100, **({"hold": True} if debit == "hold" else {}))
    if debit == "transfer":
        body = ctx.arrange.transfer_body(account, other, 100)
    before = ctx.arrange.picture(account, other)
    reply = ctx.customer.call("createTransaction", body=body, problem="account_suspended")
    ctx.arrange.expect_same(before, "A refused debit changed an account", reply)
    ctx.arrange.set_status(account, "active")
    ctx.arrange.transaction(body)


@check(
    "functional/lifecycle/suspended-holds-still-end",
    title="Holds of a suspended account can still be settled and voided",
    failure_title="Holds of a suspended account cannot end",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["settleTransaction", "voidTransaction", "updateAccount"],
    identities=("customer", "manager", "operator"),
    defects=["suspension-freezes-holds"],
)
@pytest.mark.parametrize("end", ["settle", "void"])
def check_suspended_holds_still_end(ctx: Context, end: str) -> None:
    """Whether obligations from before the suspension can be met or released.

    Why: Money promised before a suspension is owed; money kept for nothing is not.
    How: Hold, suspend, settle or void, compare the balances.
    Fails when: The end is refused or the balances differ.
    Remedy: Do not ask for an active account when a hold ends.
    """
    account = ctx.arrange.account(funds=1_000)
    hold = ctx.arrange.hold(account, 400)
    ctx.arrange.suspend(account)
    path = {"id": hold["id"]}
    if end == "settle":
        ctx.operator.call("settleTransaction", path=path, body={}, expect=200)
    else:
        ctx.customer.call("voidTransaction", path=path, body={}, expect=200)
    ledger = 600 if end == "settle" else 1_000
    message = f"After {end} on a suspended account"
    ctx.arrange.expect_balances(account, message, ledger=ledger, holds=0, available=ledger)


@check(
    "functional/lifecycle/close-needs-an-empty-account",
    title="An account with money is not closed",
    failure_title="An account is closed with money inside",
    severity=Severity.CRITICAL,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=["closeAccount", "getAccount"],
    defects=["close-strands-money"],
)
@pytest.mark.parametrize("funds", [1, 1_000])
def check_close_needs_an_empty_account(ctx: Context, funds: int) -> None:
    """Whether closing is refused while one unit is inside, and works when it is out.

    Why: Money in a closed account cannot be reached by anyone.
    How: Close with money, compare, withdraw it, close again.
    Fails when: The first is not 409 balance_not_zero, changed something, or the second is refused.
    Remedy: Check total_value in the transaction that closes.
    """
    account = ctx.arrange.account(funds=funds)
    before = ctx.arrange.picture(account)
    reply = ctx.arrange.close(account, problem="balance_not_zero")
    ctx.arrange.expect_same(before, "A refused close changed the account", reply)
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, funds))
    closed = ctx.arrange.close(account, expect=200)
    ctx.equal(closed.body["status"], "closed", "The closed account has another status", closed)
    ctx.expect(
        closed.body["closed_at"] is not None,
        "A closed account does not say when it was closed",
        expected="closed_at",
        observed=None,
        on=[closed],
    )


@check(
    "functional/lifecycle/close-needs-no-holds",
    title="An account with a pending hold is not closed",
    failure_title="An account is closed while a hold is pending",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["closeAccount", "createTransaction", "voidTransaction"],
    defects=["close-ignores-holds"],
)
@pytest.mark.parametrize("sweep", [False, True], ids=["plain", "sweep"])
def check_close_needs_no_holds(ctx: Context, sweep: bool) -> None:
    """Whether closing, also with a sweep, waits until no hold can change the balance any more.

    Why: A hold that settles after the close books money on an account that has ended.
    How: Hold, close with and without a sweep, void the hold, close with a sweep.
    Fails when: The first is not 409 pending_holds (or balance_not_zero without a sweep), or
        changed something.
    Remedy: Refuse to close while holds exist.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()
    hold = ctx.arrange.hold(account, 400)
    body = {"sweep_to": other["id"]} if sweep else {}
    # Without a sweep both reasons hold at once, and the contract names no order between two 409.
    problem = {"pending_holds"} if sweep else {"pending_holds", "balance_not_zero"}
    before = ctx.arrange.picture(account, other)
    reply = ctx.arrange.close(account, body=body, problem=problem)
    ctx.arrange.expect_same(before, "A refused close changed an account", reply)
    ctx.customer.call("voidTransaction", path={"id": hold["id"]}, body={}, expect=200)
    ctx.arrange.close(account, body={"sweep_to": other["id"]}, expect=200)


@check(
    "functional/lifecycle/close-sweeps-everything",
    title="Closing with a sweep moves every unit to the named account",
    failure_title="Closing with a sweep loses or keeps money",
    severity=Severity.CRITICAL,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=["closeAccount", "getAccount", "listEntries"],
    defects=["sweep-skims-a-unit"],
)
def check_close_sweeps_everything(ctx: Context) -> None:
    """Whether the money arrives whole, in the same step, and the history of both shows it.

    Why: The last transfer of an account is the one that nobody checks afterwards.
    How: Close an account with 12,345 units into another with 5; compare both balances and entries.
    Fails when: Either balance, the status, or the entries differ.
    Remedy: Book the sweep and the close in one transaction.
    """
    account, other = ctx.arrange.account(funds=12_345), ctx.arrange.account(funds=5)
    reply = ctx.arrange.close(account, body={"sweep_to": other["id"]}, expect=200)
    ctx.equal(reply.body["status"], "closed", "The swept account has another status", reply)
    message = "The closed account"
    ctx.arrange.expect_balances(account, message, ledger=0, available=0, total_value=0)
    ctx.arrange.expect_balances(other, "The account swept into", ledger=12_350, available=12_350)
    out = [row["amount"] for row in ctx.arrange.entries(account)]
    into = [row["amount"] for row in ctx.arrange.entries(other)]
    ctx.equal((out, into), ([12_345, -12_345], [5, 12_345]), "The entries of both accounts")


@check(
    "functional/lifecycle/sweep-target-must-fit",
    title="A sweep into an account that does not fit is refused",
    failure_title="A sweep goes into an account that does not fit",
    severity=Severity.HIGH,
    requirements=["SYS-ACC"],
    operations=["closeAccount"],
    identities=("customer", "customer2"),
    defects=["sweep-into-anything"],
)
@pytest.mark.parametrize("case", ["itself", "closed", "foreign", "currency"])
def check_sweep_target_must_fit(ctx: Context, case: str) -> None:
    """Whether the target must be another active account of the same owner and currency.

    Why: Sweeping into a closed, foreign or own closing account loses the money.
    How: Close with each wrong target; compare the account.
    Fails when: The answer is not the problem of the case, or anything changed.
    Remedy: Judge the target as a transfer would, and require the same owner.
    """
    account = ctx.arrange.account(funds=1_000)
    if case == "itself":
        target, problem = account, {"same_account"}
    elif case == "closed":
        target, problem = ctx.arrange.account(), {"account_closed"}
        ctx.arrange.close(target, expect=200)
    elif case == "foreign":
        target, problem = ctx.arrange.account(owner=ctx.customer2), {"not_found", "owner_mismatch"}
    else:
        codes = [row["code"] for row in ctx.capabilities["currencies"]]
        other = next((code for code in codes if code != account["currency"]), None)
        if other is None:
            ctx.not_exercised("the deployment declares one currency only")
        target, problem = ctx.arrange.account(currency=other), {"currency_mismatch"}
    before = ctx.arrange.picture(account)
    reply = ctx.arrange.close(account, body={"sweep_to": target["id"]}, problem=problem)
    ctx.arrange.expect_same(before, f"A refused sweep ({case}) changed the account", reply)


def _writes(ctx: Context, account: Json, active: Json) -> dict[str, Json]:
    """Return transactions that touch the account, from either side."""
    deposit = {"kind": "deposit", "to_account_id": account["id"]}
    return {
        "deposit": {**deposit, "amount": ctx.arrange.money(10, account["currency"])},
        "withdrawal": ctx.arrange.withdrawal_body(account, 10),
        "hold": ctx.arrange.withdrawal_body(account, 10, hold=True),
        "transfer-from": ctx.arrange.transfer_body(account, active, 10),
        "transfer-into": ctx.arrange.transfer_body(active, account, 10),
    }


@check(
    "functional/lifecycle/closed-stays-readable-and-still",
    title="A closed account stays readable and takes no more writes",
    failure_title="A closed account changes, or its history is gone",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=[
        "closeAccount",
        "getAccount",
        "listEntries",
        "listTransactions",
        "createTransaction",
    ],
    defects=["closed-takes-deposits"],
)
@pytest.mark.parametrize(
    "write", ["deposit", "withdrawal", "hold", "transfer-from", "transfer-into"]
)
def check_closed_stays_readable_and_still(ctx: Context, write: str) -> None:
    """Whether every write is 409 account_closed and balances, entries and transactions still read.

    Why: Closing ends an account, not its history; a zombie account swallows money.
    How: Book, empty, close; read everything again; try each write.
    Fails when: A read fails or differs, or a write is not 409 account_closed.
    Remedy: Check the status of both ends on every write; never delete.
    """
    account, active = ctx.arrange.account(funds=1_000), ctx.arrange.account(funds=100)
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 1_000))
    history = [members.entry(row) for row in ctx.arrange.entries(account)]
    ctx.equal(len(history), 2, "The entries before closing")
    ctx.arrange.close(account, expect=200)
    before = ctx.arrange.picture(account, active)
    after = [members.entry(row) for row in ctx.arrange.entries(account)]
    ctx.equal(after, history, "The entries after closing")
    query = {"account_id": account["id"]}
    listed = ctx.arrange.pages("listTransactions", query=query)
    ctx.equal(len(listed), 2, "The transactions after closing")
    body = _writes(ctx, account, active)[write]
    reply = ctx.customer.call("createTransaction", body=body, problem="account_closed")
    ctx.arrange.expect_same(before, f"A refused {write} changed an account", reply)


@check(
    "functional/lifecycle/closed-is-final",
    title="A closed account is not closed again, renamed or reopened",
    failure_title="A closed account is changed or reopened",
    severity=Severity.HIGH,
    requirements=["SYS-ACC"],
    operations=["closeAccount", "updateAccount"],
    identities=("customer", "manager"),
    defects=["closed-can-be-reopened"],
)
@pytest.mark.parametrize("case", ["close", "rename", "activate", "suspend"])
def check_closed_is_final(ctx: Context, case: str) -> None:
    """Whether closing, patching and reopening a closed account are refused.

    Why: Reports and taxes rely on an ended account staying as it ended.
    How: Close an account; close it again; patch its name; set its status as a manager.
    Fails when: Any of them is taken, refused as something else than 409, or changed the account.
    Remedy: Treat closed as terminal in every write.
    """
    account = ctx.arrange.account()
    ctx.arrange.close(account, expect=200)
    before = ctx.arrange.picture(account)
    if case == "close":
        reply = ctx.arrange.close(account, problem="account_closed")
    else:
        patches = {
            "rename": {"name": ctx.name("x")},
            "activate": {"status": "active"},
            "suspend": {"status": "suspended"},
        }
        actor = ctx.customer if case == "rename" else ctx.manager
        reply = actor.call(
            "updateAccount",
            path={"id": account["id"]},
            body=patches[case],
            if_match=ctx.arrange.read_reply(account).etag,
            problem={"account_closed", "invalid_transition"},
        )
    ctx.arrange.expect_same(before, f"A refused {case} changed the closed account", reply)


@check(
    "functional/lifecycle/only-declared-states",
    title="A status that is not declared cannot be set",
    failure_title="A status is set that cannot be",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["updateAccount"],
    identities=("customer", "manager"),
    defects=["any-status-taken"],
)
@pytest.mark.parametrize("status", ["closed", "merged", "forking", "deleted", "ACTIVE", ""])
def check_only_declared_states(ctx: Context, status: str) -> None:
    """Whether a manager can set active and suspended only; closing has its own operation.

    Why: A state outside the declared set is one that no rule covers; closing by patch skips every
        check.
    How: Patch the status of a funded account to each other word; compare the account.
    Fails when: The answer is not a 400 or 409 problem, or anything changed.
    Remedy: Take only the two states of UpdateAccount.
    """
    account = ctx.arrange.account(funds=1_000)
    before = ctx.arrange.picture(account)
    reply = ctx.manager.call(
        "updateAccount",
        path={"id": account["id"]},
        body={"status": status},
        if_match=ctx.arrange.read_reply(account).etag,
        problem={"validation_failed", "invalid_transition"},
    )
    ctx.arrange.expect_same(before, f"Setting the status {status!r} changed the account", reply)
