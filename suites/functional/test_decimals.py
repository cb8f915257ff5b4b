"""Amounts: whole minor units up to a limit, exact, and nothing that only looks like them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Json, Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply

NOT_AMOUNTS = {
    "fraction": "10.5",
    "string": '"10"',
    "beyond-double": "1e400",
    "tiny": "1e-7",
    "not-a-number": "NaN",
    "infinity": "Infinity",
    "minus-infinity": "-Infinity",
    "true": "true",
    "null": "null",
    "list": "[10]",
    "object": '{"value":10}',
    "zero": "0",
    "minus-zero": "-0",
    "negative": "-5",
    "safe-integer-plus-two": "9007199254740993",
    "ten-to-18": "1000000000000000000",
    "int64-plus-one": "9223372036854775808",
    "hundred-digits": "1" + "0" * 100,
    "leading-zero": "010",
    "plus-sign": "+10",
    "hexadecimal": "0x10",
    "separator": "1_000",
    "empty-string": '""',
    "arabic-digits": '"\\u0661\\u0660"',
}
"""JSON texts in the place of an amount; none is an integer from 1 to the largest exact one."""


def _send(ctx: Context, template: Json, literal: str) -> Reply:
    """Send a transaction whose amount is this text, byte for byte."""
    content = json.dumps(template).replace('"@"', literal).encode()
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": f"{ctx.random.getrandbits(128):032x}",
    }
    return ctx.customer.raw("POST", "/v1/transactions", headers=headers, content=content)


def _expect_refusal(ctx: Context, reply: Reply, literal: str) -> None:
    """Fail unless the answer is a problem document with a 4xx code of the catalogue."""
    code = reply.problem_code or ""
    known = ctx.contract.problems.get(code)
    right = known is not None and known.status == reply.status and 400 <= reply.status < 500
    ctx.expect(
        right,
        f"The amount {literal} is not refused with a problem",
        expected="4xx with a problem code of the catalogue",
        observed=f"{reply.status} {code}",
        on=[reply],
    )


@check(
    "functional/decimals/only-exact-amounts",
    title="Only exact whole amounts above zero are taken",
    failure_title="An amount that is no exact whole number above zero is taken",
    severity=Severity.HIGH,
    requirements=["SYS-TXN", "E2E-ERR"],
    operations=["createTransaction"],
    defects=["amounts-are-coerced"],
)
@pytest.mark.parametrize("name", sorted(NOT_AMOUNTS))
@pytest.mark.parametrize("kind", ["deposit", "withdrawal"])
def check_only_exact_amounts(ctx: Context, kind: str, name: str) -> None:
    """Whether fractions, strings, NaN, huge and negative numbers are refused, and nothing changes.

    Why: A lenient parser truncates 10.5, reads 2^53+1 as 2^53, or pays out for a negative amount.
    How: Send the exact bytes as the amount of a deposit and of a withdrawal; compare the account.
    Fails when: The answer is no 4xx problem of the catalogue, or anything changed.
    Remedy: Decode amounts strictly: JSON integers from 1 to 9,007,199,254,740,991, nothing
        converted.
    """
    account = ctx.arrange.account(funds=1_000)
    end = "to_account_id" if kind == "deposit" else "from_account_id"
    template = {
        "kind": kind,
        "amount": {"amount": "@", "currency": account["currency"]},
        end: account["id"],
    }
    before = ctx.arrange.picture(account)
    reply = _send(ctx, template, NOT_AMOUNTS[name])
    _expect_refusal(ctx, reply, NOT_AMOUNTS[name])
    ctx.arrange.expect_same(before, f"The amount {NOT_AMOUNTS[name]} changed the account", reply)


@check(
    "functional/decimals/large-amounts-are-exact",
    title="The largest amounts are booked and read back to the last unit",
    failure_title="A large amount loses a unit",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getAccount", "listEntries"],
    defects=["balances-pass-through-float32"],
)
@pytest.mark.parametrize("below", [0, 1, 2, 999_983])
def check_large_amounts_are_exact(ctx: Context, below: int) -> None:
    """Whether the declared maximum and numbers just below keep every digit, in and out.

    Why: A float on the way rounds the last units of large sums, and nobody sees it in small tests.
    How: Deposit the maximum less a few units, read balance and entry, withdraw it again.
    Fails when: A digit differs anywhere, or the account is not empty at the end.
    Remedy: Keep money as 64-bit integers from parser to storage to answer.
    """
    amount = ctx.capabilities["limits"]["amount_max"] - below
    account = ctx.arrange.account()
    created = ctx.arrange.deposit(account, amount)
    ctx.equal(created["amount"]["amount"], amount, "The transaction shows another amount")
    ctx.arrange.expect_balances(account, "The large balance", ledger=amount, available=amount)
    running = [row["running_balance"] for row in ctx.arrange.entries(account)]
    ctx.equal(running, [amount], "The entry's running balance")
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, amount - 1))
    ctx.arrange.expect_balances(account, "The last unit", ledger=1, available=1)


@check(
    "functional/decimals/balance-limit-is-kept",
    title="A balance that would exceed the declared largest amount is refused",
    failure_title="A balance exceeds the declared largest amount",
    severity=Severity.HIGH,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getAccount"],
    defects=["balance-limit-missing"],
)
def check_balance_limit_is_kept(ctx: Context) -> None:
    """Whether one unit on top of the largest balance is refused and changes nothing.

    Why: Clients reserve room for what is declared, at most 2^53 - 1; beyond that other programs
        read another balance than the one that is stored.
    How: Fill an account to `limits.amount_max`, deposit one more minor unit, then empty it.
    Fails when: The deposit is not 422 amount_out_of_range, or anything changed.
    Remedy: Check the balance after every line against the limit.
    """
    limit = ctx.declared("limits", "amount_max")
    account = ctx.arrange.account(funds=limit)
    before = ctx.arrange.picture(account)
    body = {
        "kind": "deposit",
        "amount": ctx.arrange.money(1, account["currency"]),
        "to_account_id": account["id"],
    }
    reply = ctx.customer.call("createTransaction", body=body, problem="amount_out_of_range")
    ctx.arrange.expect_same(before, "A refused deposit changed the account", reply)
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, limit))


@check(
    "functional/decimals/every-declared-currency",
    title="Every declared currency can be held, with its declared exponent",
    failure_title="A declared currency cannot be held with its declared exponent",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["createAccount", "createTransaction", "getAccount", "getCapabilities"],
    defects=["exponent-always-two"],
)
def check_every_declared_currency(ctx: Context) -> None:
    """Whether amounts stay in minor units and balances show the declared exponent, 0, 2 or 3.

    Why: A hard-coded two multiplies yen by a hundred.
    How: In each declared currency: open, deposit 12,345 minor units, move 1, compare.
    Fails when: A balance, its currency or its exponent differs from what is declared.
    Remedy: Take the exponent from the currency table; never scale amounts.
    """
    for declared in ctx.capabilities["currencies"]:
        code = declared["code"]
        account = ctx.arrange.account(currency=code, funds=12_345)
        other = ctx.arrange.account(currency=code)
        ctx.arrange.transaction(ctx.arrange.transfer_body(account, other, 1))
        ctx.arrange.expect_balances(other, f"One minor unit of {code}", ledger=1)
        balances = ctx.arrange.expect_balances(account, f"The rest in {code}", ledger=12_344)
        shown = (balances["currency"], balances["exponent"])
        ctx.equal(shown, (code, declared["exponent"]), f"Balances of a {code} account")


@check(
    "functional/decimals/undeclared-currency-refused",
    title="A currency that is not declared is refused",
    failure_title="A currency that is not declared is taken",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["createAccount"],
    defects=["any-currency-taken"],
)
def check_undeclared_currency_refused(ctx: Context) -> None:
    """Whether opening an account in an undeclared currency is 422 unsupported_currency.

    Why: Without a declared exponent nobody can say what an amount is worth.
    How: Ask for an account in a well-formed code that the capability document does not list.
    Fails when: The answer is not 422 unsupported_currency.
    Remedy: Look the code up in the currency table before opening the account.
    """
    declared = {row["code"] for row in ctx.capabilities["currencies"]}
    code = next(code for code in ("XTS", "XXX", "ZZZ", "QQQ") if code not in declared)
    body = {"type": "generation", "currency": code, "name": ctx.name("undeclared")}
    ctx.customer.call("createAccount", body=body, problem="unsupported_currency")
