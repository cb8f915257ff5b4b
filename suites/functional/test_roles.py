"""Roles: everybody sees and does what the role allows, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply


def find(ctx: Context, actor: Actor, operation: str, wanted: str, **query: Any) -> bool:
    """Tell whether a list shows the id to this actor."""
    query["limit"] = ctx.capabilities["limits"]["page_max"]
    rows = ctx.arrange.pages(operation, by=actor, query=query)
    return any(row["id"] == wanted for row in rows)


def staff_requests(ctx: Context, account: Json, pending: Json) -> dict[str, tuple[str, Json]]:
    """Return requests that need more than a customer's role, all on the customer's own objects."""
    money = ctx.arrange.money(7, account["currency"])
    into = {"amount": money, "to_account_id": account["id"]}
    out = {"amount": money, "from_account_id": account["id"]}
    etag = ctx.arrange.read_reply(account).etag
    patch: Json = {"path": {"id": account["id"]}, "if_match": etag}
    user = {
        "username": f"u{uuid4().hex[:20]}",
        "password": uuid4().hex + "-Aa1",
        "roles": ["customer"],
    }
    adjust = {**into, "kind": "adjustment", "direction": "credit", "reason": "because"}
    return {
        "interest": ("createTransaction", {"body": {**into, "kind": "interest"}}),
        "premium": ("createTransaction", {"body": {**into, "kind": "premium"}}),
        "adjustment": ("createTransaction", {"body": adjust}),
        "fee": ("createTransaction", {"body": {**out, "kind": "fee"}}),
        "assignment": ("createTransaction", {"body": {**out, "kind": "assignment"}}),
        "settle": ("settleTransaction", {"path": {"id": pending["id"]}, "body": {}}),
        "reverse": ("reverseTransaction", {"path": {"id": pending["id"]}, "body": {"reason": "x"}}),
        "suspend": ("updateAccount", {**patch, "body": {"status": "suspended"}}),
        "minimum": ("updateAccount", {**patch, "body": {"min_balance": 1}}),
        "buffer": ("updateAccount", {**patch, "body": {"buffer_bps": 1}}),
        "create user": ("createUser", {"body": user}),
        "list users": ("listUsers", {}),
    }


STAFF_REQUESTS = (
    "interest",
    "premium",
    "adjustment",
    "fee",
    "assignment",
    "settle",
    "reverse",
    "suspend",
    "minimum",
    "buffer",
    "create user",
    "list users",
)


@check(
    "functional/roles/customers-are-no-staff",
    title="A customer cannot do what needs a role of the staff",
    failure_title="A customer can do what needs a role of the staff",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=[
        "createTransaction",
        "settleTransaction",
        "updateAccount",
        "createUser",
        "listUsers",
        "reverseTransaction",
    ],
    defects=["customers-book-anything", "ranks-are-not-checked"],
    standards=["OWASP-API:2023-5", "CWE-285"],
)
@pytest.mark.parametrize("action", STAFF_REQUESTS)
def check_customers_are_no_staff(ctx: Context, action: str) -> None:
    """Ask as a customer for interest, adjustments, settlement, reversal and settings.

    Why: A customer who can book interest on the own account makes money.
    How: A customer sends each request of the staff about own objects; the account is compared.
    Fails when: the answer is not 403 `forbidden`, or anything has changed.
    Remedy: Check the role before anything else, by operation and by kind of transaction.
    """
    account = ctx.arrange.account(funds=1_000)
    pending = ctx.arrange.hold(account, 100)
    operation, request = staff_requests(ctx, account, pending)[action]
    before = ctx.arrange.picture(account)
    reply = ctx.customer.call(operation, **request)
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A request beyond the role had an effect", reply)
    ctx.is_problem(reply, "forbidden")


@check(
    "functional/roles/accounts-for-others",
    title="A customer opens accounts for no one else",
    failure_title="A customer can open an account in somebody else's name",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["createAccount"],
    defects=["owner-is-taken-from-the-body"],
    identities=["customer", "customer2"],
    standards=["OWASP-API:2023-3"],
)
def check_accounts_for_others(ctx: Context) -> None:
    """Name another owner in an account opening.

    Why: A member that the server should set, but takes from the body, is the second commonest hole
    (OWASP API3, mass assignment).
    How: A customer opens an account with another customer's `owner_id`; that one lists accounts.
    Fails when: the answer is not 403 `forbidden`, or the account exists.
    Remedy: Take the owner from the token unless the role is operator or above.
    """
    body = {
        "type": "generation",
        "currency": ctx.arrange.currency,
        "name": ctx.name("planted"),
        "owner_id": ctx.customer2.user_id,
    }
    reply = ctx.customer.call("createAccount", body=body)
    if reply.status == 201:
        ctx.created("account", reply.body["id"], ctx.customer2.role)
    ctx.is_problem(reply, "forbidden")


@check(
    "functional/roles/ranks-of-the-staff",
    title="Operators and managers cannot do what needs a higher role",
    failure_title="An operator or manager can do what needs a higher role",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=["reverseTransaction", "updateAccount", "createUser", "listUsers"],
    defects=["ranks-are-not-checked"],
    identities=["customer", "operator", "manager"],
    standards=["OWASP-API:2023-5"],
)
@pytest.mark.parametrize(
    ("role", "action"),
    [
        ("operator", "reverse"),
        ("operator", "suspend"),
        ("operator", "create user"),
        ("operator", "list users"),
        ("manager", "create user"),
        ("manager", "list users"),
    ],
)
def check_ranks_of_the_staff(ctx: Context, role: str, action: str) -> None:
    """Ask as an operator for what managers do, and as a manager for what admins do.

    Why: Roles limit what one stolen password or one dishonest colleague can do.
    How: Send a reversal, a suspension and user administration with the role just below.
    Fails when: the answer is not 403 `forbidden`, or anything has changed.
    Remedy: Compare with the role that the operation names, not with "is staff".
    """
    account = ctx.arrange.account(funds=1_000)
    booked = ctx.arrange.deposit(account, 10)
    operation, request = staff_requests(ctx, account, booked)[action]
    before = ctx.arrange.picture(account)
    reply = ctx.actor(role).call(operation, **request)
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "A request beyond the role had an effect", reply)
    ctx.is_problem(reply, "forbidden")


@check(
    "functional/roles/auditors-only-read",
    title="An auditor reads everything and writes nothing",
    failure_title="An auditor can write, or cannot read",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=[
        "getAccount",
        "listEntries",
        "getTransaction",
        "listUsers",
        "createTransaction",
        "voidTransaction",
    ],
    defects=["auditors-may-write"],
    identities=["customer", "auditor"],
)
@pytest.mark.parametrize(
    "action", ["read", "open", "deposit", "withdraw", "rename", "close", "void"]
)
def check_auditors_only_read(ctx: Context, action: str) -> None:
    """Read and write as an auditor.

    Why: An audit is worth something only if the auditor sees all and cannot have changed it.
    How: Read a customer's account, entries, transaction and user as auditor; send each kind of
    write.
    Fails when: a read is refused, a write is not 403 `forbidden`, or it had an effect.
    Remedy: Keep the auditor outside the hierarchy of roles that may write.
    """
    account = ctx.arrange.account(funds=1_000)
    pending = ctx.arrange.hold(account, 10)
    auditor, path = ctx.auditor, {"id": account["id"]}
    if action == "read":
        auditor.call("getAccount", path=path, expect=200)
        auditor.call("listEntries", path=path, expect=200)
        auditor.call("getTransaction", path={"id": pending["id"]}, expect=200)
        auditor.call("getUser", path={"id": ctx.customer.user_id}, expect=200)
        shown = find(ctx, auditor, "listAccounts", account["id"], root_id=account["id"])
        ctx.equal(shown, True, "An auditor's list does not show a customer's account")
        return
    deposit = {
        "kind": "deposit",
        "amount": ctx.arrange.money(5, account["currency"]),
        "to_account_id": account["id"],
    }
    new = {"type": "generation", "currency": account["currency"], "name": ctx.name("audited")}
    etag = ctx.arrange.read_reply(account).etag
    requests: dict[str, tuple[str, Json]] = {
        "open": ("createAccount", {"body": new}),
        "deposit": ("createTransaction", {"body": deposit}),
        "withdraw": ("createTransaction", {"body": ctx.arrange.withdrawal_body(account, 5)}),
        "rename": ("updateAccount", {"path": path, "if_match": etag, "body": {"name": "x"}}),
        "close": ("closeAccount", {"path": path, "if_match": etag, "body": {}}),
        "void": ("voidTransaction", {"path": {"id": pending["id"]}, "body": {}}),
    }
    operation, request = requests[action]
    before = ctx.arrange.picture(account)
    reply = auditor.call(operation, **request)
    ctx.wait(ctx.arrange.lag_s)
    ctx.arrange.expect_same(before, "An auditor's write had an effect", reply)
    ctx.is_problem(reply, "forbidden")


def new_user(ctx: Context, roles: list[str]) -> tuple[Json, Reply]:
    """Create a throw-away user as admin and log in; return the user and the answer to the login."""
    rules = ctx.capabilities["auth"].get("password", {})
    password = f"Zx9!{uuid4().hex}".ljust(rules.get("min_length", 0), "x")
    name = f"t{uuid4().hex[:24]}"
    body = {"username": name, "password": password, "roles": roles}
    user: Json = ctx.admin.call("createUser", body=body, expect=201).body
    login = ctx.anonymous.call("login", body={"username": name, "password": password}, expect=200)
    if "access_token" not in login.body:
        ctx.not_exercised("a new user must enrol a second factor first")
    return user, login


@check(
    "functional/roles/nobody-raises-roles",
    title="Nobody changes the own roles or those of others without being admin",
    failure_title="Somebody can raise the own roles",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["updateUser", "getUser"],
    defects=["own-roles-can-be-raised"],
    identities=["customer", "customer2", "admin"],
    standards=["OWASP-API:2023-5", "CWE-269"],
)
@pytest.mark.parametrize("case", ["customer, own", "admin, own", "customer, of another"])
def check_nobody_raises_roles(ctx: Context, case: str) -> None:
    """Change roles as somebody who may not.

    Why: Whoever can raise the own roles has all roles.
    How: A throw-away customer and a throw-away admin each change their own roles, and the customer
    those of another user; the admin reads the roles afterwards.
    Fails when: the answer is not 403 (404 for another user), or the roles have changed.
    Remedy: Refuse changes of the own roles for everyone, and of others' roles below admin.
    """
    who, whose = case.split(", ")
    user, login = new_user(ctx, [who])
    victim = user if whose == "own" else new_user(ctx, ["customer"])[0]
    path = {"id": victim["id"]}
    before = ctx.admin.call("getUser", path=path, expect=200)
    changed = ["customer", "admin"] if who == "customer" else ["customer", "manager", "admin"]
    reply = send_raw(
        ctx.anonymous,
        "PATCH",
        f"/v1/users/{victim['id']}",
        headers={
            "Authorization": f"Bearer {login.body['access_token']}",
            "If-Match": before.etag or "",
        },
        body={"roles": changed},
    )
    ctx.wait(ctx.arrange.lag_s)
    after = ctx.admin.call("getUser", path=path, expect=200)
    ctx.equal(after.body["roles"], before.body["roles"], "The roles have changed", reply, after)
    others = ["not_found"] if whose != "own" else []
    is_refused(ctx.anonymous, reply, "role_escalation", "forbidden", *others)
