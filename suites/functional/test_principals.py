"""Principals: every role and every service does what the contract gives it, on every operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification import guests, offered
from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context
    from certification.contract import Operation
    from certification.guests import Guest
    from certification.model import Json
    from certification.target.reply import Reply

CHAIN = ("customer", "operator", "manager", "admin")
ROLES = ("customer", "operator", "manager", "auditor")
STANDARDS = ["OWASP-API:2023-5", "CWE-285"]
NEW_CONNECTION = {"Connection": "close"}


def is_closed(ctx: Context, who: str, operation: Operation, reply: Reply) -> None:
    """Fail unless the principal may not; where a thing may be absent, so may the operation."""
    allowed = {403, *(offered.ABSENT if operation.optional else ())}
    if "self" in operation.roles:
        # Open to everybody about oneself: its body comes first, and of others it knows nothing.
        allowed |= {400, 404}
    ctx.expect(
        reply.status in allowed,
        f"{who} is not refused by {operation.id}",
        expected="403 forbidden",
        observed=f"{reply.status} {reply.problem_code or ''}",
        on=[reply],
    )
    if reply.status == 403:
        is_refused(ctx.anonymous, reply, "forbidden")


def is_open(ctx: Context, who: str, operation: Operation, reply: Reply) -> None:
    """Fail if the principal is told that it may not; that there is no such object is fine."""
    ctx.expect(
        reply.status not in {401, 403},
        f"{who} is refused by {operation.id}",
        expected="anything but 401 and 403",
        observed=f"{reply.status} {reply.problem_code or ''}",
        on=[reply],
    )


@check(
    "functional/principals/role-matrix",
    title="Every operation refuses the roles that the contract does not give it, and no others",
    failure_title="An operation is open to a role that must not use it, or closed to one that may",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["listUsers", "createUser", "settleTransaction", "reverseTransaction"],
    defects=[
        "managers-list-users",
        "auditors-order-reports",
        "auditors-see-no-growth",
        "customers-settle",
    ],
    identities=["customer", "operator", "manager", "auditor"],
    standards=STANDARDS,
)
@pytest.mark.parametrize("role", ROLES)
def check_role_matrix(ctx: Context, role: str) -> None:
    """Knock at every operation of the declared modules with every role.

    Why: A role is checked in each handler or in a table; one that was forgotten is open to all, and
    it is always a newer one that nobody tried.
    How: From `x-alluse-roles` of the contract: send every operation that the role may not use,
    about objects that nobody has and with an empty body; and every read that it may use.
    Fails when: what is not given is not 403 `forbidden`, or what is given is 401 or 403. An auditor
    is so shown to read everything and to write nothing.
    Remedy: Check the role before the body, from one table that is tested against the contract.
    """
    actor = ctx.actor(role)
    # The chain is hierarchical: an operator may have accounts and is their customer.
    below = CHAIN[: CHAIN.index(role)] if role in CHAIN else ()
    for operation in offered.operations(ctx):
        if role in operation.roles:
            if operation.method == "GET":
                is_open(ctx, role, operation, offered.knock(actor, operation))
        elif not set(below) & set(operation.roles):
            is_closed(ctx, role, operation, offered.knock(actor, operation))


@check(
    "functional/principals/services-have-their-scopes",
    title="A service uses exactly the operations whose scope it was given",
    failure_title="A service uses operations whose scope it was not given, or not those it was",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["createGrant", "listAccounts", "createTransaction", "listUsers", "listAudit"],
    defects=["services-list-users", "services-need-no-scope-to-write", "scopes-open-nothing"],
    modules=offered.WITH_OPERATIONS,
    identities=["admin"],
    standards=STANDARDS,
)
@pytest.mark.parametrize(
    "scope",
    ["none", "accounts:read", "transactions:write", "growth:read", "analytics:read", "audit:read"],
)
def check_services_have_their_scopes(ctx: Context, scope: str) -> None:
    """Give a service one scope and knock at every operation.

    Why: The key of a machine lies in a file on another machine; it must open one door, not the
    house.
    How: Create a service, give it one scope everywhere (or none), and send every operation of the
    declared modules; log out with it.
    Fails when: an operation of another scope is not 403 `forbidden`, one of the given scope that an
    operator may use is 401 or 403, or the service cannot log out.
    Remedy: Derive the scope from the route in one place; a service has no other rights.
    """
    needed = {operation.id: offered.scope_of(operation) for operation in offered.operations(ctx)}
    if scope != "none" and scope not in needed.values():
        ctx.not_exercised(f"the deployment offers nothing that needs {scope}")
    service = guests.arrive(ctx, "service")
    if scope != "none":
        body = {"principal_id": service.id, "scope": scope}
        ctx.admin.call("createGrant", body=body, expect=201)
    who = f"A service with the scope {scope}"
    for operation in offered.operations(ctx):
        asked = needed[operation.id]
        # Its own user is its own; everything else needs the scope.
        if not asked or operation.id == "getUser":
            continue
        if asked != scope:
            is_closed(ctx, who, operation, offered.knock(service, operation))
        elif "operator" in operation.roles:
            is_open(ctx, who, operation, offered.knock(service, operation))
    service.call("logout", expect=204)


@check(
    "functional/principals/services-are-nothing-else",
    title="A service with other roles has the scopes it was given and no more",
    failure_title="A service works by roles that it has besides",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createUser", "listAccounts", "listUsers", "createAccount"],
    defects=["services-work-by-their-roles"],
    modules=offered.WITH_OPERATIONS,
    identities=["admin"],
    standards=STANDARDS,
)
@pytest.mark.parametrize("role", ["customer", "operator", "admin"])
def check_services_are_nothing_else(ctx: Context, role: str) -> None:
    """Use a service that has another role, too.

    Why: Somebody gives a machine a second role to get something going; the contract says that it
    must not help.
    How: Create a user with the role service and another one, without any grant; list accounts and
    users and open an account.
    Fails when: one of them is not 403 `forbidden`.
    Remedy: Where the role service is among the roles, look at grants only.
    """
    service = guests.arrive(ctx, "service", role)
    new = {"type": "generation", "currency": ctx.arrange.currency, "name": ctx.name("machine")}
    service.call("listAccounts", query={"limit": 1}, problem="forbidden")
    service.call("listUsers", query={"limit": 1}, problem="forbidden")
    service.call("createAccount", body=new, problem="forbidden")


@check(
    "functional/principals/services-are-revoked-at-once",
    title="A service that is disabled or gets a new secret is out at once",
    failure_title="A service works on with what was taken from it",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["updateUser", "login", "listAccounts", "createGrant"],
    defects=["sessions-are-cached", "services-keep-their-old-secret"],
    modules=offered.WITH_OPERATIONS,
    identities=["admin"],
    standards=["OWASP-API:2023-2", "CWE-613"],
)
@pytest.mark.parametrize("how", ["disabled", "new secret"])
def check_services_are_revoked_at_once(ctx: Context, how: str) -> None:
    """Use a service, take its access, and use it again.

    Why: The day a machine's secret leaks, minutes count; and the machine must go on with a new one.
    How: A service with accounts:read lists accounts over several connections; an admin disables it,
    or sets a new secret; it lists over several connections and logs in with the old secret, then
    with the new one.
    Fails when: the old session or the old secret still works, or the new secret does not.
    Remedy: Look session and user up at every request, or tell every process of a change.
    """
    service = guests.arrive(ctx, "service")
    body = {"principal_id": service.id, "scope": "accounts:read"}
    ctx.admin.call("createGrant", body=body, expect=201)

    def read(who: Guest) -> Reply:
        return send_raw(who, "GET", "/v1/accounts?limit=1", headers=NEW_CONNECTION)

    before = [read(service) for _ in range(4)]
    ctx.equal([r.status for r in before], [200] * 4, "A service cannot use its scope", *before)
    new = guests.new_password(ctx)
    change: Json = {"status": "disabled"} if how == "disabled" else {"password": new}
    guests.update(ctx, service, change, expect=200)
    after = [read(service) for _ in range(6)]
    guests.is_refused_entry(ctx, "A service whose access was taken", *after)
    guests.try_log_in(service, problem="bad_credentials")
    if how == "new secret":
        fresh = read(guests.log_in(service, password=new))
        ctx.equal(fresh.status, 200, "The new secret of a service opens nothing", fresh)


def private_objects(ctx: Context) -> dict[str, tuple[str, str, Json]]:
    """Make objects of the first customer; return method, path and body of what shows or uses them.

    The newer operations only: accounts, entries and transactions are looked at elsewhere.
    """
    account = ctx.arrange.account(funds=1_000)
    one = f"/v1/accounts/{account['id']}"
    report = {"report": "entries", "account_id": account["id"]}
    merge = {"sources": [account["id"]], "create_target": {"type": "compounding"}}
    found: dict[str, tuple[str, str, Json]] = {
        "getLineage": ("GET", f"{one}/lineage", {}),
        "forkAccount": ("POST", f"{one}/fork", {"mode": "policy"}),
        "mergeAccounts": ("POST", "/v1/merges", merge),
        "getAnalytics": ("GET", f"{one}/analytics/performance", {}),
        "createReport": ("POST", "/v1/reports", report),
    }
    found = {name: way for name, way in found.items() if offered.offers(ctx, name)}
    if offered.offers(ctx, "openSystem"):
        body = {"name": ctx.name("system"), "amount": ctx.arrange.money(100_000)}
        system = ctx.customer.call("openSystem", body=body, expect=201).body
        for made in system["accounts"]:
            ctx.created("account", made["id"], ctx.customer.role)
        found["getSystem"] = ("GET", f"/v1/systems/{system['id']}", {})
        if offered.offers(ctx, "getSystemAnalytics"):
            way = f"/v1/systems/{system['id']}/analytics/performance"
            found["getSystemAnalytics"] = ("GET", way, {})
    if "createReport" in found:
        made = ctx.customer.call("createReport", body=report, expect=[201, 202]).body
        found["getReport"] = ("GET", f"/v1/reports/{made['id']}", {})
        found["exportReport"] = ("GET", f"/v1/reports/{made['id']}/export", {})
    if not found:
        ctx.not_exercised("the deployment offers none of the newer operations")
    return found


@check(
    "functional/principals/foreign-objects-everywhere",
    title="Lineage, analytics, systems and reports of another customer do not exist",
    failure_title="A newer operation shows or uses what another customer owns",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["createAccount"],
    defects=["reports-are-open-to-all", "analytics-skip-the-owner"],
    identities=["customer", "customer2"],
    veto=Veto.FOREIGN_DATA,
    standards=["OWASP-API:2023-1", "CWE-639"],
)
def check_foreign_objects_everywhere(ctx: Context) -> None:
    """Ask as the second customer for everything that shows what the first one owns.

    Why: The owner is checked where accounts are read; figures, reports and lineage show the same
    money by another door.
    How: The first customer opens an account, a system and a report; the second one asks for their
    lineage, analytics, parts and export, orders a report, forks and merges.
    Fails when: the answer is not 404 `not_found`.
    Remedy: Select by id and owner together, in one place that every read goes through.
    """
    for name, (method, path, body) in private_objects(ctx).items():
        request: dict[str, Any] = {"body": body} if method == "POST" else {}
        headers = {"Idempotency-Key": uuid4().hex} if method == "POST" else {}
        reply = send_raw(ctx.customer2, method, path, headers=headers, **request)
        ctx.expect(
            reply.status == 404,
            f"{name} answers about what another customer owns",
            expected="404 not_found",
            observed=f"{reply.status} {reply.problem_code or ''}",
            on=[reply],
        )
        is_refused(ctx.customer2, reply, "not_found")
