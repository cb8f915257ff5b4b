"""Sensitive fields: in full to owner and admin, masked to the desk, absent for everybody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification import guests, offered
from certification.checks import check
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

STANDARDS = ["OWASP-API:2023-3", "CWE-200"]
SHOWN_MAX = 0.5
"""A mask that leaves more than this share of the characters hides nothing."""


def reference() -> str:
    """Return a bank reference as nobody else has it."""
    number = uuid4().int % 10**20
    return f"DE{number:020d}"


def is_masked(full: str, shown: object) -> bool:
    """Tell whether a text hides enough of the full one: length, order and most characters."""
    if not isinstance(shown, str) or full in shown:
        return False
    kept = sum(a == b for a, b in zip(full[::-1], shown[::-1], strict=False))
    kept = max(kept, sum(a == b for a, b in zip(full, shown, strict=False)))
    return kept <= SHOWN_MAX * len(full)


def find(ctx: Context, actor: Actor, account: Json, place: str) -> tuple[Json, Reply]:
    """Return the account as this actor reads it there."""
    if place == "by id":
        reply = actor.call("getAccount", path={"id": account["id"]}, expect=200)
        return reply.body, reply
    reply = actor.call("listAccounts", query={"root_id": account["id"]}, expect=200)
    rows = [row for row in reply.body["data"] if row["id"] == account["id"]]
    ctx.equal(len(rows), 1, "A list does not show the account that it was asked for", reply)
    return rows[0], reply


@check(
    "functional/sensitive-fields/bank-references",
    title="A bank reference is full to owner and admin, masked to the desk, absent for others",
    failure_title="A bank reference is shown to somebody who must not see it",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createAccount", "getAccount", "listAccounts", "updateAccount"],
    defects=["masks-hide-nothing", "masks-hide-one-character", "auditors-see-references"],
    identities=["customer", "operator", "manager", "auditor", "admin"],
    standards=STANDARDS,
)
@pytest.mark.parametrize("place", ["by id", "in a list", "in a change"])
def check_bank_references(ctx: Context, place: str) -> None:
    """Read an account with a bank reference as everybody.

    Why: The number of a bank account elsewhere is what a fraudster needs for the next call; the
    desk needs its end, the auditor nothing of it.
    How: A customer opens an account with `external_account_ref`; owner, admin, operator, manager
    and auditor read it by id and in a list; a manager changes the account; a principal with a
    grant reads it.
    Fails when: owner or admin do not see it as it was sent, operator or manager see more than half
    of it or nothing, or anybody else sees any of it.
    Remedy: Decide by caller and owner in the one place that writes the field.
    """
    full = reference()
    account = ctx.arrange.account(external_account_ref=full)
    path = {"id": account["id"]}
    if place == "in a change":
        etag = ctx.manager.call("getAccount", path=path, expect=200).etag
        body = {"buffer_bps": 700}
        changed = ctx.manager.call("updateAccount", path=path, body=body, if_match=etag, expect=200)
        shown = changed.body.get("external_account_ref")
        ctx.equal(is_masked(full, shown), True, "A change shows the bank reference", changed)
        return
    for actor in (ctx.customer, ctx.admin):
        row, reply = find(ctx, actor, account, place)
        told = row.get("external_account_ref")
        ctx.equal(told, full, f"The {actor.role} does not see the bank reference", reply)
    for actor in (ctx.operator, ctx.manager):
        row, reply = find(ctx, actor, account, place)
        shown = row.get("external_account_ref")
        ctx.equal(is_masked(full, shown), True, f"No mask for the role {actor.role}", reply)
    others: list[Actor] = [ctx.auditor]
    if place == "by id" and offered.offers(ctx, "createGrant"):
        friend = guests.arrive(ctx)
        grant = {"principal_id": friend.id, "scope": "accounts:read", "object_id": account["id"]}
        ctx.customer.call("createGrant", body=grant, expect=201)
        others.append(friend)
    for actor in others:
        row, reply = find(ctx, actor, account, place)
        ctx.equal(
            row.get("external_account_ref"), None, "A stranger sees the bank reference", reply
        )


def person() -> dict[str, str]:
    """Return names that nobody else has."""
    mark = uuid4().hex
    return {"email": f"ada.{mark}@example.org", "legal_name": f"Ada {mark} Lovelace"}


@check(
    "functional/sensitive-fields/names-of-people",
    title="E-mail and legal name are shown to the user and admins, and to no auditor",
    failure_title="E-mail or legal name are shown to somebody who must not see them, or are lost",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createUser", "getUser", "listUsers", "updateUser"],
    defects=["auditors-see-names", "names-are-cut-when-stored"],
    identities=["admin", "auditor"],
    standards=STANDARDS,
)
def check_names_of_people(ctx: Context) -> None:
    """Read a user with e-mail and legal name as everybody who may.

    Why: An audit needs ids, not people; every place that shows a name is one to leak it.
    How: An admin creates a user with both; the user, the admin and an auditor read it by id; the
    auditor looks for it in the list of users.
    Fails when: user or admin do not see both as they were sent, or the auditor sees any of it.
    Remedy: Decide by caller and user in the one place that writes the fields.
    """
    private = person()
    guest = guests.arrive(ctx, **private)
    path = {"id": guest.id}
    for actor in (guest, ctx.admin):
        reply = actor.call("getUser", path=path, expect=200)
        shown = {name: reply.body.get(name) for name in private}
        ctx.equal(shown, private, "E-mail or legal name are not those that were sent", reply)
    mark = private["email"].split("@")[0]
    newest = {"sort": "-seq", "limit": ctx.capabilities["limits"]["page_max"]}
    for reply in (
        ctx.auditor.call("getUser", path=path, expect=200),
        ctx.auditor.call("listUsers", query=newest, expect=200),
    ):
        text = json.dumps(reply.body)
        told = [word for word in (mark, private["legal_name"]) if word in text]
        ctx.equal(told, [], "An auditor sees who a user is", reply)
        rows: list[Any] = reply.body.get("data", [reply.body])
        mine = [row for row in rows if row["id"] == guest.id]
        values = [row.get(name) for row in mine for name in private]
        ctx.equal([value for value in values if value is not None], [], "It is not absent", reply)


@check(
    "functional/sensitive-fields/not-in-the-audit-trail",
    title="The audit trail names people by their ids",
    failure_title="The audit trail holds what must be erased with a person",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["createUser", "createAccount", "listAudit"],
    defects=["audit-names-people"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "admin", "auditor"],
    standards=["CWE-532"],
)
def check_not_in_the_audit_trail(ctx: Context) -> None:
    """Search the audit records of a user and an account for what is sensitive in them.

    Why: The trail cannot be changed; a name in it can never be erased.
    How: Create a user with e-mail and legal name and an account with a bank reference; read the
    records about both and by the user, as auditor.
    Fails when: there is none about the creation, or one holds e-mail, name, password or reference.
    Remedy: Write ids and keyed digests, never payloads.
    """
    if not offered.offers(ctx, "listAudit"):
        ctx.not_exercised("the deployment offers no audit trail")
    private, full = person(), reference()
    guest = guests.arrive(ctx, **private)
    account = ctx.arrange.account(owner=guest, external_account_ref=full)
    rows: list[Json] = []
    for query in ({"object": guest.id}, {"object": account["id"]}, {"actor": guest.id}):
        found = ctx.arrange.pages("listAudit", by=ctx.auditor, query=query)
        ctx.expect(
            bool(found),
            "The audit trail has no record of what was created",
            expected="a record",
            observed=f"none for {query}",
        )
        rows += found
    text = json.dumps(rows)
    words = {**private, "password": guest.password, "external_account_ref": full}
    told = [name for name, word in words.items() if word in text]
    ctx.equal(told, [], "The audit trail holds sensitive text")
