"""What a refusal must look like and leave, and the requests that provoke one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from certification.malformed import is_refused

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A request that must be refused, and the accounts that it may not change."""

    send: Callable[[], Reply]
    accounts: Sequence[Json] = ()
    also: tuple[str, ...] = ()
    """Codes that the contract allows instead."""


Provoke = Callable[["Context"], Trial]


def refused(ctx: Context, code: str, trial: Trial) -> None:
    """Send the trial; fail unless it is refused with this code, changes nothing, and work goes on.

    Compared are the form of the problem (RFC 9457 and the catalogue), pointers that lead into the
    request, and of each account its members, balances, versions and entries.
    """
    before = ctx.arrange.picture(*trial.accounts)
    reply = trial.send()
    is_refused(ctx.customer, reply, code, *trial.also)
    row = ctx.contract.problems[reply.body["code"]]
    stated = reply.body["retryable"]
    ctx.equal(stated, row.retryable, f"Whether {row.code} may succeed later", reply)
    for error in reply.body.get("errors", []):
        pointer, own = error.get("pointer"), error.get("code")
        ctx.expect(
            isinstance(pointer, str) and pointer[:1] in ("", "/") and bool(own),
            "An error of the problem has no JSON pointer or no code",
            expected="a pointer such as /amount/currency, and a code",
            observed=error,
            on=[reply],
        )
    if row.code in ("validation_failed", "batch_rejected"):
        ctx.expect(
            bool(reply.body.get("errors")),
            f"{row.code} does not say what is wrong",
            expected="at least one member of errors",
            observed=reply.body.get("errors"),
            on=[reply],
        )
    ctx.arrange.expect_same(before, f"What was refused with {row.code} changed an account", reply)
    again = ctx.arrange.account(funds=3)
    ctx.arrange.expect_balances(again, f"Work after {row.code}", ledger=3, available=3)


def post(ctx: Context, body: Json, *accounts: Json, by: Actor | None = None) -> Trial:
    """Return a trial that sends a transaction."""
    actor = by or ctx.customer
    return Trial(send=partial(actor.call, "createTransaction", body=body), accounts=accounts)


def on(  # noqa: PLR0913  a request by its parts
    ctx: Context,
    operation: str,
    target: Json,
    body: Json,
    *accounts: Json,
    by: Actor | None = None,
    if_match: str | None = None,
) -> Trial:
    """Return a trial that sends an operation on one object."""
    actor = by or ctx.customer
    path = {"id": target["id"]}
    send = partial(actor.call, operation, path=path, body=body, if_match=if_match)
    return Trial(send=send, accounts=accounts)


def deposit_body(account: Json, amount: object = 5) -> Json:
    """Return a deposit; an amount that is no number is for a refusal."""
    money = {"amount": amount, "currency": account["currency"]}
    return {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
