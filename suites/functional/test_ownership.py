"""Ownership: to everybody else, a customer's objects do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

WRITES = ("rename", "close", "sweep", "withdraw", "transfer", "hold", "batch", "void")
READS = ("account", "entries", "transaction")


def read_paths(account: Json, booked: Json) -> dict[str, str]:
    """Return where the objects of a customer can be read."""
    return {
        "account": f"/v1/accounts/{account['id']}",
        "entries": f"/v1/accounts/{account['id']}/entries",
        "transaction": f"/v1/transactions/{booked['id']}",
    }


def intrude(ctx: Context, account: Json, pending: Json, write: str) -> Reply:
    """Send one write about the first customer's objects as the second one."""
    mine = ctx.arrange.account(owner=ctx.customer2)
    one = f"/v1/accounts/{account['id']}"
    transfer = ctx.arrange.transfer_body(account, mine, 100)
    method, path, body = {
        "rename": ("PATCH", one, {"name": ctx.name("stolen")}),
        "close": ("POST", f"{one}/close", {}),
        "sweep": ("POST", f"{one}/close", {"sweep_to": mine["id"]}),
        "withdraw": ("POST", "/v1/transactions", ctx.arrange.withdrawal_body(account, 100)),
        "transfer": ("POST", "/v1/transactions", transfer),
        "hold": ("POST", "/v1/transactions", {**transfer, "hold": True}),
        "batch": ("POST", "/v1/transactions/batch", {"items": [transfer]}),
        "void": ("POST", f"/v1/transactions/{pending['id']}/void", {}),
    }[write]
    headers = {"Idempotency-Key": uuid4().hex}
    if path.startswith(one):
        headers["If-Match"] = ctx.arrange.read_reply(account).etag or ""
    return send_raw(ctx.customer2, method, path, headers=headers, body=body)


def find(ctx: Context, actor: Actor, operation: str, wanted: str, **query: Any) -> bool:
    """Tell whether a list shows the id to this actor."""
    query["limit"] = ctx.capabilities["limits"]["page_max"]
    rows = ctx.arrange.pages(operation, by=actor, query=query)
    return any(row["id"] == wanted for row in rows)


@check(
    "functional/ownership/nobody-reads-anothers-objects",
    title="Another customer's account, entries and transactions cannot be read",
    failure_title="A customer can read another customer's objects",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["getAccount", "listEntries", "getTransaction", "listAccounts", "listTransactions"],
    defects=["ids-open-every-door"],
    identities=["customer", "customer2"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1", "CWE-639"],
)
@pytest.mark.parametrize("target", [*READS, "lists"])
def check_nobody_reads_anothers_objects(ctx: Context, target: str) -> None:
    """Read as the second customer what the first one owns, by id and through lists.

    Why: The commonest hole of APIs (OWASP API1): the id is checked, the owner is not.
    How: The first customer opens and funds an account; the second asks for it, its entries and its
    transaction by id, and lists with its id as filter.
    Fails when: a read is answered with anything but a refusal, or a list shows the object.
    Remedy: Select by id and owner together, in one place that every read goes through.
    """
    account = ctx.arrange.account(funds=100)
    booked = ctx.arrange.deposit(account, 50)
    intruder = ctx.customer2
    if target == "lists":
        shown = (
            find(ctx, intruder, "listAccounts", account["id"], owner_id=ctx.customer.user_id),
            find(ctx, intruder, "listAccounts", account["id"], root_id=account["id"]),
            find(ctx, intruder, "listTransactions", booked["id"], account_id=account["id"]),
        )
        ctx.equal(shown, (False, False, False), "A list shows another customer's objects")
        return
    reply = send_raw(intruder, "GET", read_paths(account, booked)[target])
    ctx.expect(
        reply.status >= 300,
        "A customer reads what another one owns",
        expected="a refusal",
        observed=reply.status,
        on=[reply],
    )


@check(
    "functional/ownership/nobody-changes-anothers-objects",
    title="Another customer's account and money cannot be touched",
    failure_title="A customer can change another customer's account or move its money",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["updateAccount", "closeAccount", "createTransaction", "voidTransaction"],
    defects=["writes-skip-the-owner"],
    identities=["customer", "customer2"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1", "CWE-639"],
)
@pytest.mark.parametrize("write", WRITES)
def check_nobody_changes_anothers_objects(ctx: Context, write: str) -> None:
    """Write as the second customer to what the first one owns, then let the owner look.

    Why: A refusal on paper is worth nothing if the money has moved; only the owner's view proves
    it.
    How: The second customer renames, closes, sweeps, withdraws, transfers, holds and voids with the
    right ids and the right ETag; the first one reads account and entries before and after.
    Fails when: anything of the owner has changed.
    Remedy: Check the owner inside the transaction of every write, for each account that it names.
    """
    account = ctx.arrange.account(funds=1_000)
    pending = ctx.arrange.hold(account, 100)
    before = ctx.arrange.picture(account)
    reply = intrude(ctx, account, pending, write)
    ctx.arrange.expect_same(before, "Another customer's write changed the account", reply)


@check(
    "functional/ownership/foreign-objects-do-not-exist",
    title="A foreign object is answered like one that does not exist",
    failure_title="A refusal tells that a foreign object exists, or does not refuse",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["getAccount", "listEntries", "getTransaction", "createTransaction"],
    defects=["foreign-objects-are-forbidden"],
    identities=["customer", "customer2"],
    standards=["OWASP-API:2023-1", "CWE-204"],
)
@pytest.mark.parametrize("access", [*READS, *WRITES])
def check_foreign_objects_do_not_exist(ctx: Context, access: str) -> None:
    """Compare the refusal for a foreign object with the one for no object.

    Why: A 403 instead of a 404 tells which ids exist, and with them who banks here.
    How: The second customer reads and writes what the first one owns.
    Fails when: the answer (of a batch: its item) is not 404 `not_found`.
    Remedy: Answer 404 wherever the object is not the caller's.
    """
    account = ctx.arrange.account(funds=1_000)
    pending = ctx.arrange.hold(account, 100)
    if access in READS:
        reply = send_raw(ctx.customer2, "GET", read_paths(account, pending)[access])
    else:
        reply = intrude(ctx, account, pending, access)
    if access != "batch":
        is_refused(ctx.customer2, reply, "not_found")
        return
    results = reply.body.get("results") if isinstance(reply.body, dict) else None
    told = [row.get("problem", {}).get("code") for row in results or []]
    ctx.equal(told, ["not_found"], "The item of a batch was not refused as not found", reply)
