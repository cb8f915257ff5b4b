"""Accounts: what is asked for is kept, read back, listed and changed, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Json, Severity
from certification.oracle import members

if TYPE_CHECKING:
    from certification.context import Context

ASKED = ("type", "currency", "name", "base_amount", "min_balance", "buffer_bps", "metadata")
BUFFERS = (
    # base_amount, buffer_bps, floor of the product: both would round up at .5 or above
    (9_999, 5_000, 4_999),
    (12_345, 333, 411),
    (1, 9_999, 0),
    (9_007_199_254_740_991, 1, 900_719_925_474),
)


def _created(ctx: Context, body: Json) -> Json:
    reply = ctx.customer.call("createAccount", body=body, expect=201)
    account: Json = reply.body
    ctx.created("account", account["id"], "customer")
    return account


@check(
    "functional/accounts/created-account-reads-back",
    title="An account reads back as it was asked for",
    failure_title="An account does not read back as it was asked for",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "E2E-LIFE"],
    operations=["createAccount", "getAccount"],
    defects=["account-metadata-dropped"],
)
def check_created_account_reads_back(ctx: Context) -> None:
    """Whether every member of the request is in the answer and in the next read.

    Why: A setting that is accepted and forgotten (a minimum balance, a label) is found out when it
        is needed.
    How: Open an account with every optional member set, compare the answer and a read with the
        request.
    Fails when: A member differs, or the two answers differ.
    Remedy: Store every member of CreateAccount in the transaction that opens the account.
    """
    body = {
        "type": "revenue",
        "currency": ctx.arrange.currency,
        "name": ctx.name("Ünïcode & <b>"),
        "base_amount": 123_456,
        "min_balance": 700,
        "buffer_bps": 250,
        "metadata": {"team": "blue", "nested": {"list": [1, None, "x"], "flag": False}},
    }
    account = _created(ctx, body)
    for name in ASKED:
        ctx.equal(account[name], body[name], f"The answer to createAccount has another {name}")
    reply = ctx.arrange.read_reply(account)
    for name in ASKED:
        ctx.equal(
            reply.body[name], body[name], f"The account reads back with another {name}", reply
        )
    ctx.equal(reply.body["owner_id"], ctx.customer.user_id, "The owner is not the caller", reply)


@check(
    "functional/accounts/defaults-follow-the-type",
    title="A new account has the defaults of its type",
    failure_title="A new account has other defaults than its type says",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["createAccount", "getAccount"],
    defects=["compounding-lets-money-out"],
)
@pytest.mark.parametrize("type_", ["generation", "revenue", "compounding"])
def check_defaults_follow_the_type(ctx: Context, type_: str) -> None:
    """Whether what is not asked for gets the contract's default.

    Why: Defaults are rules: compounding accounts keep their money in unless somebody says
        otherwise.
    How: Open an account of each type with the least members and compare every default.
    Fails when: A default, the state, the place in the family, or a balance is another.
    Remedy: Apply the defaults of CreateAccount by type.
    """
    least = {"type": type_, "currency": ctx.arrange.currency, "name": ctx.name(type_)}
    account = ctx.arrange.read(_created(ctx, least))
    expected = {
        "type": type_,
        "status": "active",
        "base_amount": 0,
        "min_balance": 0,
        "buffer_bps": 500,
        "withdrawal_allowed": type_ != "compounding",
        "parent_id": None,
        "root_id": account["id"],
        "depth": 0,
        "closed_at": None,
        "metadata": {},
    }
    for name, value in expected.items():
        ctx.equal(account[name], value, f"A new {type_} account has another {name}")
    for name in ("ledger", "holds", "available", "total_value"):
        ctx.equal(account["balances"][name], 0, f"A new account has {name}")


@check(
    "functional/accounts/list-filters",
    title="The list of accounts holds exactly what its filters name",
    failure_title="A filter of the list of accounts lets the wrong ones through",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["listAccounts", "createAccount", "updateAccount"],
    identities=("customer", "manager"),
    defects=["account-filter-ignored"],
)
def check_list_filters(ctx: Context) -> None:
    """Whether type, status, owner and root filters, alone and together, name the right accounts.

    Why: A filter that is ignored shows, counts or closes the wrong accounts.
    How: Make three accounts that differ in type and status; list with each filter; look for one's
        own.
    Fails when: An own account is missing or shown against the filter, or a row contradicts it.
    Remedy: Put every declared filter into the query.
    """
    generation = ctx.arrange.account()
    revenue = ctx.arrange.account(type="revenue")
    suspended = ctx.arrange.suspend(ctx.arrange.account(type="revenue"))
    mine = {account["id"] for account in (generation, revenue, suspended)}
    owner = generation["owner_id"]
    cases: list[tuple[Json, set[str]]] = [
        ({"type": "revenue"}, {revenue["id"], suspended["id"]}),
        ({"type": "revenue", "status": "suspended"}, {suspended["id"]}),
        ({"status": "active"}, {generation["id"], revenue["id"]}),
        ({"owner_id": owner}, mine),
        ({"root_id": revenue["id"]}, {revenue["id"]}),
        ({"root_id": revenue["id"], "type": "generation"}, set()),
    ]
    limit = ctx.capabilities["limits"]["page_max"]
    for query, expected in cases:
        rows = ctx.arrange.pages("listAccounts", query={**query, "limit": limit})
        shown = {row["id"] for row in rows} & mine
        ctx.equal(shown, expected, f"The list filtered by {query} shows other own accounts")
        against = [row["id"] for row in rows if any(row[k] != v for k, v in query.items())]
        ctx.equal(against, [], f"The list filtered by {query} has rows against the filter")


@check(
    "functional/accounts/update-changes-only-what-it-names",
    title="An update changes what it names and nothing else",
    failure_title="An update changes more or less than it names",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["updateAccount", "getAccount"],
    defects=["metadata-merged-on-update"],
)
def check_update_changes_only_what_it_names(ctx: Context) -> None:
    """Whether name and metadata change alone, metadata as a whole, and the version rises.

    Why: Labels are what people find an account by; a patch that resets or mixes others loses them.
    How: Patch the name, then the metadata, and compare every member after each.
    Fails when: Another member changed, the new value is not there, or the version did not rise.
    Remedy: Write only the named members; metadata replaces the whole object.
    """
    before = ctx.arrange.account(funds=500, metadata={"old": 1, "kept": False})
    for patch in ({"name": ctx.name("renamed")}, {"metadata": {"new": [2]}}):
        etag = ctx.arrange.read_reply(before).etag
        path = {"id": before["id"]}
        ctx.customer.call("updateAccount", path=path, body=patch, if_match=etag, expect=200)
        reply = ctx.arrange.read_reply(before)
        after = reply.body
        for name in set(members.ACCOUNT) - {"version", *patch}:
            ctx.equal(
                after.get(name), before[name], f"Patching {list(patch)} changed {name}", reply
            )
        for name, value in patch.items():
            ctx.equal(after[name], value, f"The patched {name} does not read back", reply)
        rose = after["version"] > before["version"]
        ctx.expect(
            rose,
            "The version did not rise",
            expected=f"more than {before['version']}",
            observed=after["version"],
            on=[reply],
        )
        ctx.equal(after["balances"]["ledger"], 500, "An update moved money", reply)
        before = after


@check(
    "functional/accounts/buffer-is-rounded-down",
    title="The cash buffer is the floor of base amount times rate",
    failure_title="The cash buffer is not the floor of base amount times rate",
    severity=Severity.LOW,
    requirements=["SYS-ACC"],
    operations=["createAccount", "getAccount"],
    defects=["buffer-rounds-up"],
)
@pytest.mark.parametrize(("base", "bps", "floor"), BUFFERS)
def check_buffer_is_rounded_down(ctx: Context, base: int, bps: int, floor: int) -> None:
    """Whether the derived buffer is exact for odd products, up to the largest base.

    Why: A buffer off by one refuses or allows a growth step that another reading would not.
    How: Open accounts whose product is not a whole number, and one beyond the precision of a
        double.
    Fails when: The buffer is not floor(base_amount * buffer_bps / 10000).
    Remedy: Compute with integers: base * bps // 10000.
    """
    most = ctx.capabilities["limits"]["amount_max"]
    if base > most:
        base, floor = most, most * bps // 10_000
    account = ctx.arrange.account(base_amount=base, buffer_bps=bps)
    ctx.arrange.expect_balances(account, "The buffer is not the floor", buffer=floor)


@check(
    "functional/accounts/minimum-balance-is-kept",
    title="The minimum balance cannot be spent",
    failure_title="The minimum balance can be spent",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["createAccount", "createTransaction", "getAccount"],
    defects=["minimum-balance-ignored"],
)
def check_minimum_balance_is_kept(ctx: Context) -> None:
    """Whether available = ledger - holds - min_balance, and a debit of one more is refused.

    Why: The minimum is there for obligations that are not in the book yet.
    How: Fund an account that has a minimum; spend one unit more than available, then exactly that.
    Fails when: The figures differ, the first debit is taken or the second refused.
    Remedy: Judge every debit by available, inside the transaction that books it.
    """
    account = ctx.arrange.account(funds=1_000, min_balance=300)
    message = "Available is not ledger - holds - min_balance"
    ctx.arrange.expect_balances(account, message, ledger=1_000, holds=0, available=700)
    more = ctx.arrange.withdrawal_body(account, 701)
    ctx.customer.call("createTransaction", body=more, problem="insufficient_available")
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 700))
    message = "After spending all that is available"
    ctx.arrange.expect_balances(account, message, ledger=300, available=0)


@check(
    "functional/accounts/withdrawal-needs-permission",
    title="An account that allows no withdrawals lets none through",
    failure_title="Money is withdrawn from an account that allows no withdrawals",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN"],
    operations=["createAccount", "createTransaction"],
    defects=["withdrawal-flag-ignored"],
)
@pytest.mark.parametrize("hold", [False, True], ids=["posted", "held"])
def check_withdrawal_needs_permission(ctx: Context, hold: bool) -> None:
    """Whether a compounding account refuses withdrawals, held ones too, and still takes deposits.

    Why: Compounding money is to stay; a withdrawal against the flag undoes the plan unseen.
    How: Fund a compounding account and ask for a withdrawal, posted at once or as a hold.
    Fails when: It is not refused as withdrawal_not_allowed, or anything changed.
    Remedy: Check withdrawal_allowed on every withdrawal, also when it only holds.
    """
    account = ctx.arrange.account(funds=1_000, type="compounding")
    before = ctx.arrange.picture(account)
    body = ctx.arrange.withdrawal_body(account, 100, **({"hold": True} if hold else {}))
    reply = ctx.customer.call("createTransaction", body=body, problem="withdrawal_not_allowed")
    ctx.arrange.expect_same(before, "A refused withdrawal changed the account", reply)
