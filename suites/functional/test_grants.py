"""Grants: what is given beside the roles opens that and nothing else, until it is taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from certification import guests, offered
from certification.checks import check
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

OWNER_SCOPES = (
    "accounts:read",
    "transactions:read",
    "transactions:write",
    "growth:read",
    "analytics:read",
)
"""What the owner of an account may give to others."""
NEW_CONNECTION = {"Connection": "close"}
GRANT_S = 3.5
"""How long a grant that expires can be used for certain, whatever the deployment's clock says."""
STANDARDS = ["OWASP-API:2023-1", "OWASP-API:2023-5", "CWE-285"]


def give(giver: Actor, principal: Actor, scope: str, **fields: Any) -> Json:
    """Give a scope; return the grant."""
    body = {"principal_id": principal.user_id, "scope": scope, **fields}
    grant: Json = giver.call("createGrant", body=body, expect=201).body
    return grant


def take_back(giver: Actor, grant: Json) -> None:
    """Take a grant back."""
    giver.call("deleteGrant", path={"id": grant["id"]}, expect=204)


def probes(ctx: Context, account: Json, booked: Json) -> dict[str, tuple[str, Json]]:
    """Return by scope what asks for it on this account, as far as the deployment offers it."""
    path = {"id": account["id"]}
    requests: dict[str, tuple[str, Json]] = {
        "accounts:read": ("getAccount", {"path": path}),
        "transactions:read": ("listEntries", {"path": path}),
        "transactions:read ": ("getTransaction", {"path": {"id": booked["id"]}}),
        "transactions:write": (
            "createTransaction",
            {"body": ctx.arrange.withdrawal_body(account, 1)},
        ),
        "accounts:write": (
            "updateAccount",
            {"path": path, "if_match": '"1"', "body": {"name": ctx.name("given")}},
        ),
        "growth:read": ("getLineage", {"path": path}),
        "analytics:read": ("getAnalytics", {"path": {**path, "report": "performance"}}),
    }
    return {
        scope: request for scope, request in requests.items() if offered.offers(ctx, request[0])
    }


def is_closed(reply: Reply) -> bool:
    """Tell whether the answer says that this principal may not."""
    return reply.status in {403, 404}


def expect_only(
    ctx: Context, principal: Actor, asked: dict[str, tuple[str, Json]], opened: str | None
) -> None:
    """Fail unless the principal may do what the scope `opened` asks for, and nothing else."""
    for scope, (operation, request) in asked.items():
        reply = principal.call(operation, headers=NEW_CONNECTION, **request)
        may = scope.strip() == opened
        ctx.expect(
            is_closed(reply) is not may,
            f"{operation} is {'closed although' if may else 'open although nothing or'} "
            f"{opened or 'no scope'} was given",
            expected="open" if may else "403 or 404",
            observed=f"{reply.status} {reply.problem_code or ''}",
            on=[reply],
        )


def own_account(ctx: Context, owner: Actor) -> tuple[Json, Json]:
    """Open an account with money; return it and a transaction of it."""
    account = ctx.arrange.account(owner=owner)
    return account, ctx.arrange.deposit(account, 1_000, by=owner)


@check(
    "functional/grants/opens-what-was-given",
    title="A grant opens the granted operations on the granted account, and nothing else",
    failure_title="A grant opens more than was given, or nothing",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["createGrant", "getAccount", "listEntries", "createTransaction", "getLineage"],
    defects=["grants-open-every-scope", "grants-open-every-account", "grants-open-nothing"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "admin"],
    veto=Veto.FOREIGN_DATA,
    standards=STANDARDS,
)
@pytest.mark.parametrize("scope", OWNER_SCOPES)
@pytest.mark.parametrize("grantee", ["customer", "service"])
def check_opens_what_was_given(ctx: Context, grantee: str, scope: str) -> None:
    """Give one scope on one account and try everything.

    Why: Who lets a bookkeeper read must not have let the bookkeeper pay.
    How: The owner of two accounts gives one scope on the first to a customer or a service; that
    principal asks for everything on both before and after.
    Fails when: anything is open before, the granted operations are closed after, or anything else
    is open.
    Remedy: Compare scope and account of the grant with those of the operation, in one place.
    """
    if scope not in probes(ctx, {"id": "x", "currency": "USD"}, {"id": "x"}):
        ctx.not_exercised(f"the deployment offers nothing that needs {scope}")
    principal = guests.arrive(ctx, grantee)
    first, second = (own_account(ctx, ctx.customer) for _ in range(2))
    expect_only(ctx, principal, probes(ctx, *first), None)
    give(ctx.customer, principal, scope, object_id=first[0]["id"])
    expect_only(ctx, principal, probes(ctx, *first), scope)
    expect_only(ctx, principal, probes(ctx, *second), None)


@check(
    "functional/grants/ends-at-once",
    title="A grant that was taken back or has expired opens nothing from then on",
    failure_title="A grant still opens after it was taken back or has expired",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createGrant", "deleteGrant", "getAccount"],
    defects=["revoked-grants-are-cached", "grants-never-expire"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "admin"],
    standards=[*STANDARDS, "CWE-613"],
)
@pytest.mark.parametrize("end", ["by who gave it", "by an admin", "expired"])
def check_ends_at_once(ctx: Context, end: str) -> None:
    """Use a grant, let it end, and use it again.

    Why: Access is taken back because something went wrong; a cache turns minutes of trust into
    minutes of damage.
    How: Give accounts:read on an account, read it over several connections, take the grant back as
    its giver or as admin, or let it expire after some seconds; read again over several connections.
    Fails when: one of the later reads is open, or one of the first is closed; or a grant that ends
    in the past is not refused.
    Remedy: Read grants at every request, with the deployment's own clock.
    """
    principal = guests.arrive(ctx)
    account, _ = own_account(ctx, ctx.customer)
    fields: Json = {"object_id": account["id"]}
    ends_at = None
    if end == "expired":
        reply = ctx.customer.call("getUser", path={"id": ctx.customer.user_id}, expect=200)
        now = datetime.now(UTC) + timedelta(seconds=guests.ahead_s(reply))
        past = {"expires_at": (now - timedelta(minutes=1)).isoformat()}
        body = {"principal_id": principal.id, "scope": "accounts:read", **fields, **past}
        ctx.customer.call("createGrant", body=body, problem="invalid_expiry")
        lasts_s = GRANT_S + guests.CLOCK_OFF_MAX_S + ctx.arrange.lag_s
        fields["expires_at"] = (now + timedelta(seconds=lasts_s)).isoformat()
        ends_at = ctx.clock() + lasts_s
    grant = give(ctx.customer, principal, "accounts:read", **fields)
    path = {"id": account["id"]}
    before = [principal.call("getAccount", path=path, headers=NEW_CONNECTION) for _ in range(4)]
    if ends_at is not None and ctx.clock() > ends_at - guests.CLOCK_OFF_MAX_S:
        ctx.undecided("the grant may have expired before it could be used")
    if ends_at is not None:
        ctx.wait(ends_at + guests.CLOCK_OFF_MAX_S + ctx.arrange.lag_s - ctx.clock())
    else:
        take_back(ctx.admin if end == "by an admin" else ctx.customer, grant)
    after = [principal.call("getAccount", path=path, headers=NEW_CONNECTION) for _ in range(6)]
    ctx.equal([r.status for r in before], [200] * 4, "A grant does not open", *before)
    still = [reply for reply in after if not is_closed(reply)]
    ctx.equal(len(still), 0, "A grant opens after its end", *still)


@check(
    "functional/grants/nobody-gives-more-than-the-own",
    title="Nobody gives what is not the own to give, nor rights to oneself",
    failure_title="Somebody can give rights beyond the own",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["createGrant", "getAccount"],
    defects=["any-account-can-be-given", "grants-are-not-judged"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "customer2", "operator", "admin"],
    veto=Veto.FOREIGN_DATA,
    standards=[*STANDARDS, "CWE-269"],
)
@pytest.mark.parametrize(
    "case",
    [
        "foreign account",
        "passed on",
        "of a customer, by an operator",
        "to oneself",
        "to oneself, as admin",
        "without an object",
        "denial",
        "accounts:write",
        "unknown principal",
        "object of no account scope",
    ],
)
def check_nobody_gives_more_than_the_own(ctx: Context, case: str) -> None:
    """Give what one may not give.

    Why: A grant is a role that customers write; whoever can write one too many has the book.
    How: A customer gives another's account, one that was granted, an own one to itself, without an
    object, as denial, and for writing; an operator gives a customer's account; an admin gives a
    scope to itself; to nobody; and binds users:read to an account. Who would have gained, reads.
    Fails when: one of them is not refused with the contract's problem, or the read is open.
    Remedy: Check giver, account, scope and principal before the grant is written.
    """
    principal = guests.arrive(ctx)
    account, _ = own_account(ctx, ctx.customer)
    giver: Actor = ctx.customer
    body = {"principal_id": principal.id, "scope": "accounts:read", "object_id": account["id"]}
    problems = ["forbidden"]
    if case == "foreign account":
        giver, problems = ctx.customer2, ["not_found", "forbidden"]
    elif case == "passed on":
        giver, problems = guests.arrive(ctx), ["not_found", "forbidden"]
        give(ctx.customer, giver, "accounts:read", object_id=account["id"])
    elif case == "of a customer, by an operator":
        giver = ctx.operator
    elif case == "to oneself":
        body["principal_id"], problems = giver.user_id, ["role_escalation"]
    elif case == "to oneself, as admin":
        giver, problems = ctx.admin, ["role_escalation"]
        body = {"principal_id": giver.user_id, "scope": "audit:read"}
    elif case == "without an object":
        del body["object_id"]
    elif case == "denial":
        body["effect"] = "deny"
    elif case == "accounts:write":
        body["scope"] = case
    elif case == "unknown principal":
        body["principal_id"], problems = offered.NOBODY, ["not_found", "validation_failed"]
    else:
        giver, problems = ctx.admin, ["validation_failed"]
        body["scope"] = "users:read"
    reply = giver.call("createGrant", body=body)
    shown = principal.call("getAccount", path={"id": account["id"]})
    ctx.equal(is_closed(shown), True, "What could not be given is open", reply, shown)
    ctx.is_problem(reply, problems)


@check(
    "functional/grants/denials-go-first",
    title="What was denied is refused, whatever role or ownership says, until it is taken back",
    failure_title="A denial has no effect, or outlives its end",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createGrant", "deleteGrant", "createTransaction", "getAccount", "listAccounts"],
    defects=["denials-are-ignored", "denials-spare-the-lists"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "admin"],
    standards=STANDARDS,
)
@pytest.mark.parametrize(
    "case", ["of the owner", "on one account", "of an operator", "of an admin"]
)
def check_denials_go_first(ctx: Context, case: str) -> None:
    """Deny something to somebody who may.

    Why: A denial is how access is stopped in the middle of an incident, without taking a role away.
    How: An admin denies transactions:write to an owner, accounts:read on one account to its owner,
    accounts:read to an operator, and something to an admin; they try, also through lists; the
    denial is taken back and they try again.
    Fails when: what was denied is open, something else is closed, or it stays closed afterwards; or
    a denial of an admin is not 403 `role_escalation`.
    Remedy: Ask for denials before role, owner and grants, for lists as for single objects.
    """
    if case == "of an admin":
        other = guests.create(ctx, "admin")[0]
        body = {"principal_id": other.id, "scope": "accounts:read", "effect": "deny"}
        ctx.admin.call("createGrant", body=body, problem="role_escalation")
        return
    guest = guests.arrive(ctx, "operator" if case == "of an operator" else "customer")
    account, _ = own_account(ctx, ctx.customer if case == "of an operator" else guest)
    path = {"id": account["id"]}
    query = {"root_id": account["id"]}
    if case == "of the owner":
        pay: Json = {"body": ctx.arrange.withdrawal_body(account, 1)}
        denial = give(ctx.admin, guest, "transactions:write", effect="deny")
        guest.call("createTransaction", problem=["forbidden", "not_found"], **pay)
        guest.call("getAccount", path=path, expect=200)
        take_back(ctx.admin, denial)
        guest.call("createTransaction", expect=201, **pay)
        return
    bound = {"object_id": account["id"]} if case == "on one account" else {}
    denial = give(ctx.admin, guest, "accounts:read", effect="deny", **bound)
    guest.call("getAccount", path=path, problem=["forbidden", "not_found"])
    listed = guest.call("listAccounts", query=query, expect=[200, 403])
    if listed.status == 200:
        ctx.equal(listed.body["data"], [], "A list shows what was denied", listed)
    if case == "on one account":
        beside, _ = own_account(ctx, guest)
        guest.call("getAccount", path={"id": beside["id"]}, expect=200)
    take_back(ctx.admin, denial)
    guest.call("getAccount", path=path, expect=200)


@check(
    "functional/grants/shown-to-those-concerned",
    title="A grant is shown to giver, principal, admin and auditor, and taken back by its giver",
    failure_title="A grant is shown to strangers, hidden from those concerned, or anybody's to end",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["createGrant", "listGrants", "getGrant", "deleteGrant"],
    defects=["grants-are-shown-to-all", "grants-are-anybodys-to-end", "lists-forget-grants"],
    modules=offered.WITH_OPERATIONS,
    identities=["customer", "customer2", "auditor", "admin"],
    standards=STANDARDS,
)
def check_shown_to_those_concerned(ctx: Context) -> None:
    """Read and delete a grant as everybody.

    Why: Who trusts whom with an account is nobody else's business; and a grant that its principal
    or a stranger can end is none.
    How: Give a scope; read the grant by id and in lists as giver, principal, auditor, admin and a
    stranger; delete it as principal and stranger.
    Fails when: one of the first four does not see it as it was given, the stranger does, or one of
    the deletions is not refused.
    Remedy: Select grants by giver and principal for everybody but admin and auditor.
    """
    principal = guests.arrive(ctx)
    account, _ = own_account(ctx, ctx.customer)
    grant = give(ctx.customer, principal, "accounts:read", object_id=account["id"])
    path, query = {"id": grant["id"]}, {"object_id": account["id"]}
    told = ("principal_id", "scope", "effect", "object_id", "created_by")
    given = [principal.id, "accounts:read", "allow", account["id"], ctx.customer.user_id]
    for actor in (ctx.customer, principal, ctx.auditor, ctx.admin):
        one = actor.call("getGrant", path=path, expect=200)
        ctx.equal([one.body[name] for name in told], given, "A grant reads otherwise", one)
        rows = ctx.arrange.pages("listGrants", by=actor, query=query)
        ctx.equal([row["id"] for row in rows], [grant["id"]], "A list of grants is not complete")
    stranger = ctx.customer2
    hidden = ctx.arrange.pages("listGrants", by=stranger, query=query)
    ctx.equal(hidden, [], "A list shows the grants of others")
    stranger.call("getGrant", path=path, problem=["not_found", "forbidden"])
    stranger.call("deleteGrant", path=path, problem=["not_found", "forbidden"])
    principal.call("deleteGrant", path=path, problem=["not_found", "forbidden"])
    principal.call("getAccount", path={"id": account["id"]}, expect=200)
