"""What checks of idempotency share: keys, repeatable deposits, and what a replay must look like."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

REPLAYED = "Idempotency-Replayed"


def new_key() -> str:
    """Return a key that no run used before; a seeded one would replay an earlier run's answers."""
    return uuid4().hex


def deposit_body(ctx: Context, account: Json, amount: int) -> Json:
    """Return a deposit that can be sent more than once."""
    money = ctx.arrange.money(amount, account["currency"])
    return {"kind": "deposit", "amount": money, "to_account_id": account["id"], "memo": "once"}


def expect_entries(ctx: Context, account: Json, amounts: list[int], *on: Reply) -> None:
    """Fail unless the account's entries are exactly these, within the declared lag."""
    ctx.wait(ctx.arrange.lag_s)
    found = [entry["amount"] for entry in ctx.arrange.entries(account)]
    ctx.equal(found, amounts, "The entries of the account are not those of one execution", *on)


def is_replay(ctx: Context, first: Reply, second: Reply) -> None:
    """Fail unless the second answer is the first one again, and says so."""
    ctx.equal(second.status, first.status, "A repeated request has another status", first, second)
    ctx.equal(second.body, first.body, "A repeated request has another body", first, second)
    ctx.equal(
        (first.headers.get(REPLAYED), second.headers.get(REPLAYED)),
        (None, "true"),
        f"{REPLAYED} does not tell the first answer from its replay",
        first,
        second,
    )
