"""Erasure: what names a person is gone everywhere; the book and the trail stay whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification import guests, offered
from certification.checks import check
from certification.malformed import send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certification.context import Actor, Context
    from certification.guests import Guest
    from certification.model import Json
    from certification.target.reply import Reply

STANDARDS = ["GDPR:17", "CWE-212"]
DISABLED = {"status": "disabled"}
IDENTITIES = ["customer", "manager", "auditor", "admin"]


def words() -> dict[str, str]:
    """Return what will name a person, each unlike anything else."""
    mark = uuid4().hex
    return {
        "email": f"ada.{mark}@example.org",
        "legal_name": f"Ada {mark} Lovelace",
        "account name": f"savings of Ada {mark}",
        "metadata": f"her sister {mark}",
        "reference": f"DE{uuid4().int % 10**20:020d}",
    }


def settle_in(ctx: Context, named: dict[str, str], **request: Any) -> tuple[Guest, Json, Json]:
    """Create a person with an account that money went through; return user, account, creation."""
    body = {
        "username": f"t{uuid4().hex[:24]}",
        "password": guests.new_password(ctx),
        "roles": ["customer"],
        "email": named["email"],
        "legal_name": named["legal_name"],
    }
    made = ctx.admin.call("createUser", body=body, expect=201, **request)
    guest = guests.log_in(
        guests.Guest(
            ctx.anonymous.session,
            ctx,
            id=made.body["id"],
            username=str(body["username"]),
            password=str(body["password"]),
        )
    )
    fields = {"metadata": {"note": named["metadata"]}, "external_account_ref": named["reference"]}
    opened = {"type": "generation", "currency": ctx.arrange.currency, **fields}
    opened["name"] = named["account name"]
    account = guest.call("createAccount", body=opened, expect=201).body
    ctx.created("account", account["id"], guest.role)
    ctx.arrange.deposit(account, 500, by=guest)
    return guest, account, body


def empty(ctx: Context, guest: Guest, account: Json) -> None:
    """Take the money out."""
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 500), by=guest)


def erase(ctx: Context, guest: Guest, *, by: Actor | None = None, **expected: object) -> Reply:
    """Ask for the erasure under the present version."""
    path = {"id": guest.id}
    etag = ctx.admin.call("getUser", path=path, expect=200).etag
    actor = by or ctx.admin
    return actor.call("erasePersonalData", path=path, if_match=etag, **expected)  # type: ignore[arg-type]  # expect or problem


def readings(ctx: Context, guest: Guest, account: Json) -> Iterator[Reply]:
    """Read user and account wherever they are shown, as admin, manager and auditor."""
    newest = {"sort": "-seq", "limit": ctx.capabilities["limits"]["page_max"]}
    path, one = {"id": account["id"]}, {"id": guest.id}
    for actor in (ctx.admin, ctx.auditor):
        yield actor.call("getUser", path=one, expect=200)
        yield actor.call("listUsers", query=newest, expect=200)
    for actor in (ctx.admin, ctx.manager, ctx.auditor):
        yield actor.call("getAccount", path=path, expect=200)
        yield actor.call("listAccounts", query={"owner_id": guest.id}, expect=200)
        yield actor.call("listTransactions", query={"account_id": account["id"]}, expect=200)
    if offered.offers(ctx, "getLineage"):
        yield ctx.manager.call("getLineage", path=path, expect=200)
    if offered.offers(ctx, "listAudit"):
        yield ctx.admin.call("listAudit", query={"object": guest.id}, expect=200)
        yield ctx.admin.call("listAudit", query={"actor": guest.id}, expect=200)


@check(
    "functional/personal-data/gone-everywhere",
    title="After an erasure nothing shows who the person was, and nobody enters as that user",
    failure_title="Something of an erased person is left",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=[
        "erasePersonalData",
        "getUser",
        "listUsers",
        "getAccount",
        "listAccounts",
        "login",
        "listTransactions",
    ],
    defects=["erasure-leaves-account-names", "erasure-leaves-references", "erasure-leaves-replays"],
    modules=offered.WITH_OPERATIONS,
    identities=IDENTITIES,
    standards=STANDARDS,
)
def check_gone_everywhere(ctx: Context) -> None:
    """Erase a person and search every answer for what named them.

    Why: Erased means everywhere: in the answers kept for repeated requests just as in the row.
    How: Create a person with e-mail, legal name, user name, an account with name, metadata and bank
    reference; empty the account; erase; read user, account, lists, lineage and audit as admin,
    manager and auditor; repeat the request that created the person; log in, refresh, and read with
    the old tokens.
    Fails when: an answer holds one of the words, a repeated request replays them, or a login or old
    token works.
    Remedy: Overwrite every place in one step, stored answers among them; end the sessions.
    """
    named, key = words(), uuid4().hex
    guest, account, body = settle_in(ctx, named, key=key)
    empty(ctx, guest, account)
    erase(ctx, guest, expect=204)
    gone = {**named, "username": guest.username}
    for reply in readings(ctx, guest, account):
        told = [name for name, word in gone.items() if word in json.dumps(reply.body)]
        ctx.equal(told, [], "An answer still names an erased person", reply)
    # Repeating it may create another person of that name, but not replay the first one.
    again = ctx.admin.call("createUser", body=body, key=key)
    if again.status == 201 and again.body["id"] != guest.id:
        guests.update(ctx, guests.Guest(guest.session, ctx, id=again.body["id"]), DISABLED)
    ctx.expect(
        again.status != 201 or again.body["id"] != guest.id,
        "A repeated request replays an erased person",
        expected="no answer that was kept",
        observed=f"{again.status} with the id of the erased user",
        on=[again],
    )
    refreshed = ctx.anonymous.call("refreshSession", body={"refresh_token": guest.refresh_token})
    guests.is_refused_entry(
        ctx, "An erased user", send_raw(guest, "GET", "/v1/accounts?limit=1"), refreshed
    )
    if again.status != 201:
        guests.try_log_in(guest, problem="bad_credentials")


@check(
    "functional/personal-data/book-stays-whole",
    title="After an erasure account, transactions and audit read as before, under the same ids",
    failure_title="An erasure takes something out of the book or the trail",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=[
        "erasePersonalData",
        "getAccount",
        "listEntries",
        "getTransaction",
        "listAudit",
        "listTransactions",
    ],
    defects=["erased-accounts-disappear", "erasures-leave-no-record"],
    modules=offered.WITH_OPERATIONS,
    identities=IDENTITIES,
    standards=STANDARDS,
)
def check_book_stays_whole(ctx: Context) -> None:
    """Compare book and trail before and after an erasure.

    Why: A law that forgets people does not forget money; entries that vanish with their owner leave
    a book that does not add up.
    How: Create a person with an account and money that came and went; read balances, entries,
    transactions and audit records as auditor; erase; read them again.
    Fails when: one of them is missing or differs, or the erasure has no record.
    Remedy: Keep ids in journal and trail, and names beside them only.
    """
    guest, account, _ = settle_in(ctx, words())
    empty(ctx, guest, account)
    trail = offered.offers(ctx, "listAudit")

    def picture() -> tuple[Json, list[Json], list[Json], list[str]]:
        by = ctx.auditor
        balances = dict(ctx.arrange.balances(account, by=by))
        balances.pop("as_of_seq")
        entries = ctx.arrange.pages("listEntries", path={"id": account["id"]}, by=by)
        query = {"account_id": account["id"]}
        booked = ctx.arrange.pages("listTransactions", query=query, by=by)
        query = {"object": guest.id}
        records = ctx.arrange.pages("listAudit", query=query, by=by) if trail else []
        return balances, entries, booked, [row["leaf_hash"] for row in records]

    before = picture()
    erase(ctx, guest, expect=204)
    after = picture()
    for place, name in enumerate(("balances", "entries", "transactions")):
        ctx.equal(after[place], before[place], f"An erasure changed the {name}")
    ctx.equal(after[3][: len(before[3])], before[3], "An erasure changed the audit trail")
    if trail:
        more = len(after[3]) > len(before[3])
        ctx.equal(more, True, "The audit trail has no record of an erasure")


@check(
    "functional/personal-data/waits-for-the-money",
    title="Nobody with money is erased, and only an admin erases somebody else",
    failure_title="An erasure is done that must be refused",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["erasePersonalData", "getUser", "getAccount"],
    defects=["erasure-forgets-the-money", "managers-erase"],
    modules=offered.WITH_OPERATIONS,
    identities=IDENTITIES,
    standards=STANDARDS,
)
@pytest.mark.parametrize("case", ["money", "by oneself", "by a manager", "old version", "admin"])
def check_waits_for_the_money(ctx: Context, case: str) -> None:
    """Ask for erasures that must not be done.

    Why: Money whose owner nobody knows cannot be paid out; and an erasure cannot be undone.
    How: Erase a person with money; as the person itself; as a manager; under another version; and
    an admin the own user. Read person and account afterwards.
    Fails when: it is not refused with the contract's problem, or anything is erased.
    Remedy: Check role, version and balances in the step that erases.
    """
    named = words()
    guest, account, _ = settle_in(ctx, named)
    if case != "money":
        empty(ctx, guest, account)
    path = {"id": guest.id}
    if case == "money":
        reply, problems = erase(ctx, guest), ["balance_not_zero"]
    elif case == "by oneself":
        reply, problems = erase(ctx, guest, by=guest), ["forbidden"]
    elif case == "by a manager":
        reply, problems = erase(ctx, guest, by=ctx.manager), ["forbidden"]
    elif case == "old version":
        reply = ctx.admin.call("erasePersonalData", path=path, if_match='"987654321"')
        problems = ["precondition_failed"]
    else:
        chief = guests.arrive(ctx, "admin")
        reply, problems = erase(ctx, chief, by=chief), ["forbidden"]
    user = guest.call("getUser", path=path)
    ctx.equal(user.status, 200, "A refused erasure ended the session", reply, user)
    shown = (user.body.get("email"), guest.call("getAccount", path={"id": account["id"]}).body)
    told = (shown[0], shown[1].get("name"))
    ctx.equal(told, (named["email"], named["account name"]), "A refused erasure erased", reply)
    ctx.is_problem(reply, problems)
