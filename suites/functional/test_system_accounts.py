"""System accounts: where money of outside comes from and goes to, and nobody else reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Json, Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context

SYSTEM = ("external", "suspense", "fees", "tax")


@check(
    "functional/system-accounts/out-of-reach",
    title="No request names a system account, and no list shows one",
    failure_title="A system account can be named, or is listed like a customer's",
    severity=Severity.CRITICAL,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["createTransaction", "getAccount", "listAccounts", "getTransaction"],
    identities=("customer", "operator"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["system-accounts-have-handles"],
)
@pytest.mark.parametrize("system", SYSTEM)
def check_out_of_reach(ctx: Context, system: str) -> None:
    """Whether fees, tax, suspense and the outside world cannot be read, paid from or paid into.

    Why: Whoever can transfer from `external` makes money; from `fees`, takes the house's.
    How: Book a fee, a tax, an adjustment or a deposit and look at the line of the system's side;
        then read an account of its name, transfer from it and into it, as customer and operator.
    Fails when: A read or transfer is not refused, a line shows the system's side as an account,
        or an account changed.
    Remedy: Keep system accounts outside the table of ids that requests are looked up in.
    """
    account, other = ctx.arrange.account(funds=1_000), ctx.arrange.account()
    _side_is_named(ctx, account, system)
    before = ctx.arrange.picture(account, other)
    for actor in (ctx.customer, ctx.operator):
        reply = actor.call("getAccount", path={"id": system})
        ctx.is_problem(reply, {"not_found", "invalid_parameter"})
        for source, into in ((system, other["id"]), (account["id"], system)):
            body = ctx.arrange.transfer_body({**account, "id": source}, {"id": into}, 5)
            reply = actor.call("createTransaction", body=body)
            ctx.is_problem(reply, {"not_found", "validation_failed"})
    ctx.arrange.expect_same(before, "Refused transfers changed an account")


def _side_is_named(ctx: Context, account: Json, system: str) -> None:
    """Book what the system account takes part in; its line names the system and no account."""
    money = ctx.arrange.money(10, account["currency"])
    body: Json = {
        "fees": {"kind": "fee", "from_account_id": account["id"]},
        "tax": {"kind": "tax", "from_account_id": account["id"]},
        "external": {"kind": "deposit", "to_account_id": account["id"]},
        "suspense": {
            "kind": "adjustment",
            "direction": "credit",
            "reason": "a check",
            "to_account_id": account["id"],
        },
    }[system]
    booked = ctx.arrange.transaction(body | {"amount": money}, by=ctx.operator)
    sides = [line for line in booked["lines"] if line["account_id"] != account["id"]]
    named = [(line["account_id"], line.get("system")) for line in sides]
    ctx.equal(named, [(None, system)], f"The side of the system of a {booked['kind']}")
