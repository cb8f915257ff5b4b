"""Resources under /v1/accounts (their entries are with the transactions)."""

from collections.abc import Mapping, Sequence
from typing import Any

import flask
from msgspec import UNSET

from . import access, booking, idempotency, ids, journal, ledger, listing, requests, views, web
from .access import Caller, Rank
from .config import CURRENCIES
from .growth import policies
from .problems import Problem, bad_parameter
from .requests import given

blueprint = flask.Blueprint("accounts", __name__)

SEARCHED = ("type", "status")
"""Filters without an index of their own."""
SCAN_ROWS_MAX = 5000
"""Rows in which one page looks for these."""
MANAGED = ("status", "buffer_bps", "min_balance")
"""Members that only a manager changes."""


def need_row(tx: web.Tx, caller: Caller, account_id: str) -> Any:
    """Return the row behind an account that the caller sees; 404 otherwise."""
    row = views.account_row(tx.connection, account_id, tx.now_ms)
    if row is None:
        raise access.not_found(f"account {account_id}")
    access.check_visible(caller, f"account {account_id}", row["owner_id"], objects=[account_id])
    return row


def _reply(tx: web.Tx, caller: Caller, account_id: str, status: int) -> idempotency.Reply:
    row = views.account_row(tx.connection, account_id, tx.now_ms)
    headers = {"ETag": web.etag(row["version"])}
    if status == 201:
        headers["Location"] = f"/v1/accounts/{account_id}"
    shown = views.account(row, reads=(caller, tx.services.sealer))
    return web.json_reply(status, shown, target=account_id, headers=headers)


@blueprint.post("/v1/accounts")
def create_account() -> flask.Response:
    """Open an account."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(requests.CreateAccount)
    owner_id = given(body.owner_id) or caller.user_id
    if owner_id != caller.user_id or caller.service:
        access.check_rank(caller, Rank.OPERATOR)

    def change(tx: web.Tx) -> idempotency.Reply:
        found = tx.connection.execute("SELECT 1 FROM users WHERE id = ?", (owner_id,)).fetchone()
        if found is None:
            raise access.not_found(f"user {owner_id}")
        if body.currency not in CURRENCIES:
            raise Problem("unsupported_currency", f"There is {', '.join(CURRENCIES)}.")
        return _reply(tx, caller, insert(tx, body, owner_id), 201)

    return web.write(caller, "createAccount", change)


def insert(tx: web.Tx, body: requests.CreateAccount, owner_id: str) -> str:
    """Write a new account and its empty cash bucket; return its id."""
    account_id = ids.new_id("acc", tx.now_ms)
    withdrawal = given(body.withdrawal_allowed)
    row = {
        "id": account_id,
        "owner_id": owner_id,
        "type": body.type,
        "currency": body.currency,
        "name": body.name,
        "status": "active",
        "base_amount": body.base_amount,
        "min_balance": body.min_balance,
        "buffer_bps": body.buffer_bps,
        "withdrawal_allowed": body.type != "compounding" if withdrawal is None else withdrawal,
        "policy_ref": policies.ref_in_force(tx.connection, body.type),
        "root_id": account_id,
        "depth": 0,
        "created_at": tx.now_ms,
        "external_ref": tx.services.sealer.seal(given(body.external_account_ref)),
        "metadata": requests.compact(body.metadata),
    }
    insert_row(tx, row)
    return account_id


def insert_row(tx: web.Tx, row: Mapping[str, Any]) -> None:
    """Write the columns of a new account, and its empty cash bucket."""
    marks = ", ".join(f":{name}" for name in row)
    tx.connection.execute(
        f"INSERT INTO accounts ({', '.join(row)}) VALUES ({marks})",  # noqa: S608 - own column names
        row,
    )
    tx.connection.execute(
        "INSERT INTO buckets (account_id, kind, currency) VALUES (?, 'cash', ?)",
        (row["id"], row["currency"]),
    )


@blueprint.get("/v1/accounts")
def list_accounts() -> flask.Response:
    """Return a page of accounts; a customer's are the own ones."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    filters = {
        "owner_id": listing.identifier,
        "type": listing.one_of("generation", "revenue", "compounding"),
        "status": listing.one_of("active", "suspended", "closed", "merged"),
        "root_id": listing.identifier,
    }
    asked = listing.page("listAccounts", caller.user_id, ("seq", "name"), filters)
    columns = ("a.seq",) if asked.sort == "seq" else ("a.name", "a.seq")
    with web.snapshot() as tx:
        rows, stopped = _listed(tx, caller, asked, columns)
    reads = (caller, tx.services.sealer)

    def key(row: Any) -> list[Any]:
        return [row[column.removeprefix("a.")] for column in columns]

    shown = listing.answer(asked, rows, key, lambda row: views.account(row, reads=reads))
    if stopped is not None and shown["next_cursor"] is None:
        shown["next_cursor"] = listing.continue_after(asked, key(stopped))
    return web.respond_json(shown)


def _listed(
    tx: web.Tx, caller: Caller, asked: listing.Page, columns: Sequence[str]
) -> tuple[list[Any], Any]:
    """Return up to limit + 1 accounts, and the row at which a search was cut short, or None.

    Owner, lineage and order have indexes; what else is filtered by is looked for in a bounded
    number of rows, so that a rare filter yields a short page and a cursor.
    """
    after, values, order = listing.keyset(asked, columns)
    only, names = listing.confined(caller, "a.owner_id", "a.id")
    conditions, values = [after, *only], [*values, *names]
    for name in ("owner_id", "root_id"):
        if asked.filter(name) is not None:
            conditions.append(f"a.{name} = ?")
            values.append(asked.filter(name))
    where = f"WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT"
    rare = [name for name in SEARCHED if asked.filter(name) is not None]
    if not rare:
        query = f"{views.ACCOUNTS} {where} {asked.limit + 1}"
        return tx.connection.execute(query, (tx.now_ms, *values)).fetchall(), None
    matches = " AND ".join(f"a.{name} = ?" for name in rare)
    query = (
        f"SELECT a.id, a.name, a.seq, {matches} AS matches FROM accounts a {where} {SCAN_ROWS_MAX}"  # noqa: S608 - own names and marks
    )
    found: list[str] = []
    count, row = 0, None
    for count, row in enumerate(  # noqa: B007 - both are looked at after the last row
        tx.connection.execute(query, (*(asked.filter(name) for name in rare), *values)), 1
    ):
        if row["matches"]:
            found.append(row["id"])
            if len(found) > asked.limit:
                break
    accounts = [views.account_row(tx.connection, name, tx.now_ms) for name in found]
    return accounts, row if count == SCAN_ROWS_MAX else None


@blueprint.get("/v1/accounts/<account_id>")
def get_account(account_id: str) -> flask.Response:
    """Return one account with its balances, of now or of a moment in the book."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    as_of = listing.parameters({"as_of_seq": listing.sequence_number}).get("as_of_seq")
    with web.snapshot(single=as_of is None) as tx:
        row = need_row(tx, caller, account_id)
        moment = None
        if as_of is not None:
            if as_of > row["tip"]:
                raise bad_parameter("as_of_seq", f"the book ends at {row['tip']}")
            moment = views.balances_at(tx.connection, row, as_of, tx.now_ms)
    tag = web.etag(row["version"])
    if as_of is None and (unchanged := web.not_modified(tag)):
        return unchanged
    shown = views.account(row, reads=(caller, tx.services.sealer), moment=moment)
    return web.respond_json(shown, {"ETag": tag})


@blueprint.patch("/v1/accounts/<account_id>")
def update_account(account_id: str) -> flask.Response:
    """Change name and metadata; as a manager also status, buffer and minimum balance."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(requests.UpdateAccount)
    if_match = web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        account = booking.need_account(tx, caller, account_id)
        managed = any(getattr(body, name) is not UNSET for name in MANAGED)
        if managed or not access.acts_for(caller, [account.owner_id], [account_id]):
            access.check_rank(caller, Rank.MANAGER)
        web.check_if_match(if_match, account.version)
        ledger.check_not_ended(account)
        check_transition(account.status, given(body.status))
        update(tx, account_id, body)
        return _reply(tx, caller, account_id, 200)

    return web.write(caller, "updateAccount", change, once=False)


def check_transition(status: str, wanted: str | None) -> None:
    """Refuse a change of status that leads nowhere."""
    if wanted == status:
        raise Problem("invalid_transition", f"The account is {status} already.")


def update(tx: web.Tx, account_id: str, body: requests.UpdateAccount) -> None:
    """Write what the body names, and the next version."""
    changes = {
        name: value
        for name in body.__struct_fields__
        if (value := getattr(body, name)) is not UNSET
    }
    if "metadata" in changes:
        changes["metadata"] = requests.compact(changes["metadata"])
    sets = "".join(f", {name} = :{name}" for name in changes)
    tx.connection.execute(
        f"UPDATE accounts SET version = version + 1{sets} WHERE id = :id",  # noqa: S608 - own field names
        {**changes, "id": account_id},
    )


@blueprint.post("/v1/accounts/<account_id>/close")
def close_account(account_id: str) -> flask.Response:
    """Close an account for good; with `sweep_to`, what it holds moves there first."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(requests.CloseAccount)
    if_match = web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        account = booking.need_account(tx, caller, account_id)
        if not access.acts_for(caller, [account.owner_id], [account_id]):
            access.check_rank(caller, Rank.MANAGER)
        target = booking.find_account(tx, caller, given(body.sweep_to))
        web.check_if_match(if_match, account.version)
        check_closable(tx, account, target)
        if target is not None:
            booking.sweep(tx, caller, (account, target), given(body.reason))
        tx.connection.execute(
            "UPDATE accounts SET status = 'closed', closed_at = ?, version = version + 1"
            " WHERE id = ?",
            (tx.now_ms, account_id),
        )
        return _reply(tx, caller, account_id, 200)

    return web.write(caller, "closeAccount", change)


def check_closable(tx: web.Tx, account: ledger.Account, target: ledger.Account | None) -> None:
    """Refuse to close an account with holds, or with money that has nowhere to go or may not go."""
    ledger.check_not_ended(account)
    if journal.has_open_holds(tx.connection, account.id, tx.now_ms):
        raise Problem("pending_holds", "Settle or void the holds first.")
    filled = any(bucket.balance for bucket in journal.account_buckets(tx.connection, account.id))
    if target is None:
        if filled:
            raise Problem("balance_not_zero", "Empty the account, or send sweep_to.")
        return
    if filled:
        ledger.check_debit_allowed(account)
    ledger.check_debit_allowed(target)
    ledger.check_not_same(account, target)
    ledger.check_currency(account.cash.currency, target.cash)
    if account.owner_id != target.owner_id:
        raise Problem("owner_mismatch", "sweep_to belongs to another owner.")
