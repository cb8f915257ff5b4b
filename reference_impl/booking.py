"""Booking money: the steps from a checked request to rows, in the order of refusals.

Every function runs inside the writer's transaction. The order is the contract's: role (403),
existence (404), If-Match (412), state (409), rules (422); nothing is written before all have
passed, so a refused item of a batch leaves nothing behind.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from . import access, clock, journal, ledger, requests, views, web
from .access import Caller, Rank
from .config import HOLD_TTL_S_MAX
from .ledger import Place
from .problems import Problem
from .requests import given


def book(
    tx: web.Tx, caller: Caller, body: requests.CreateTransaction, if_match: str | None = None
) -> str:
    """Post a transaction, or hold its amount; return its id."""
    rule = ledger.kind_rule(body.kind, given(body.direction))
    if not rule.customer:
        access.check_rank(caller, Rank.OPERATOR)
    source = find_account(tx, caller, given(body.from_account_id))
    target = find_account(tx, caller, given(body.to_account_id))
    conditions = [
        (condition, need_account(tx, caller, condition.account_id))
        for condition in body.preconditions
    ]
    guarded = source or target
    if guarded is not None:
        web.check_if_match(if_match, guarded.version, required=False)
    check_parties(body, source, target)
    draft = _draft(tx, caller, body)
    for condition, account in conditions:
        check_condition(condition, account)
    if source is not None:
        ledger.check_funds(source, body.amount.amount)
    source_bucket = place_bucket(tx, rule.source, source or target, body.amount.currency)
    other = target if rule.target is Place.CASH else source
    target_bucket = place_bucket(tx, rule.target, other, body.amount.currency)
    if body.hold:
        return journal.hold(tx.connection, draft, source_bucket, target_bucket)
    lines = ledger.move(source_bucket, target_bucket, body.amount.amount)
    return journal.post(tx.connection, draft, lines)


def find_account(tx: web.Tx, caller: Caller, account_id: str | None) -> ledger.Account | None:
    """Return the account that a request names, if it names one; 404 if not there for the caller."""
    return None if account_id is None else need_account(tx, caller, account_id)


def need_account(tx: web.Tx, caller: Caller, account_id: str) -> ledger.Account:
    """Return an account that the caller may touch; 404 otherwise.

    For a change: what is due on the account is closed first, which a reader may not write. A read
    calls `accounts.need_row`.
    """
    account = journal.account(tx.connection, account_id, tx.now_ms)
    if account is None:
        raise access.not_found(f"account {account_id}")
    access.check_visible(caller, f"account {account_id}", account.owner_id, objects=[account_id])
    return account


def check_parties(
    body: requests.CreateTransaction,
    source: ledger.Account | None,
    target: ledger.Account | None,
) -> None:
    """Check the state of both accounts (409), then what they allow (422)."""
    if source is not None:
        ledger.check_debit_allowed(source)
    if target is not None:
        ledger.check_not_ended(target)
    if source is not None and target is not None:
        ledger.check_not_same(source, target)
    for account in (source, target):
        if account is not None:
            ledger.check_currency(body.amount.currency, account.cash)
    if source is not None:
        ledger.check_withdrawal_allowed(source, body.kind)


def check_condition(condition: requests.Precondition, account: ledger.Account) -> None:
    """Refuse when a precondition of the request does not hold at this moment."""
    cash = account.cash
    free = ledger.available(ledger=cash.balance, holds=cash.holds, min_balance=account.min_balance)
    unmet = (
        given(condition.version) not in {None, account.version}
        or given(condition.ledger_eq) not in {None, cash.balance}
        or (condition.available_gte is not UNSET and free < condition.available_gte)
    )
    if unmet:
        raise Problem("precondition_unmet", f"A precondition on {account.id} is not met.")


def _draft(tx: web.Tx, caller: Caller, body: requests.CreateTransaction) -> journal.Draft:
    expires = given(body.expires_at)
    expires_ms = None if expires is None else clock.milliseconds(expires)
    check_expiry(expires_ms, tx.now_ms)
    effective = given(body.effective_at)
    return journal.Draft(
        kind=body.kind,
        amount=body.amount.amount,
        currency=body.amount.currency,
        from_account_id=given(body.from_account_id),
        to_account_id=given(body.to_account_id),
        actor=caller.user_id,
        now_ms=tx.now_ms,
        effective_at=None if effective is None else clock.milliseconds(effective),
        expires_at=expires_ms,
        memo=given(body.memo),
        reason=given(body.reason),
        metadata=requests.compact(body.metadata),
    )


def check_expiry(expires_ms: int | None, now_ms: int) -> None:
    """Refuse a hold that ends before it begins, or that lasts longer than declared."""
    if expires_ms is None:
        return
    if ledger.expired(expires_ms, now_ms):
        raise Problem("invalid_expiry", "expires_at is in the past.")
    if expires_ms > now_ms + HOLD_TTL_S_MAX * 1000:
        raise Problem("invalid_expiry", f"A hold lasts at most {HOLD_TTL_S_MAX} seconds.")


def place_bucket(
    tx: web.Tx, place: Place, account: ledger.Account | None, currency: str
) -> ledger.Bucket:
    """Return the bucket that a place of a rule stands for."""
    if place is Place.CASH or place is Place.SHARES:
        if account is None:
            raise LookupError(f"{place} needs an account")
        if place is Place.CASH:
            return account.cash
        return journal.own_bucket(tx.connection, account.id, place.value, currency)
    return journal.system_bucket(tx.connection, place.value, currency)


def need_transaction(tx: web.Tx, caller: Caller, transaction_id: str) -> Any:
    """Return the row of a transaction that touches what the caller sees; 404 otherwise."""
    row = views.transaction_row(tx.connection, transaction_id)
    if row is None:
        raise access.not_found(f"transaction {transaction_id}")
    owners = owner_ids(tx.connection, (row["from_account_id"], row["to_account_id"]))
    parties = journal.parties(tx.connection, row["seq"])
    owners += [owner_id for _, owner_id in parties]
    named = [row["from_account_id"], row["to_account_id"]]
    touched = [name for name in named if name is not None]
    touched += [account_id for account_id, _ in parties]
    access.check_visible(caller, f"transaction {transaction_id}", *owners, objects=touched)
    return row


def owner_ids(connection: Any, account_ids: Iterable[str | None]) -> list[str]:
    """Return the owners of the accounts that a transaction names."""
    found = [
        connection.execute("SELECT owner_id FROM accounts WHERE id = ?", (account_id,)).fetchone()
        for account_id in account_ids
        if account_id is not None
    ]
    return [row["owner_id"] for row in found]


def pending_hold(tx: web.Tx, row: Any) -> journal.Hold:
    """Return the hold of a transaction that is still pending; 409 `not_pending` otherwise."""
    held = journal.find_hold(tx.connection, row["seq"])
    status = views.transaction_status(row, tx.now_ms)
    if held is None or status != "pending":
        raise Problem("not_pending", f"The transaction is {status}.")
    return held


def settle(
    tx: web.Tx, caller: Caller, transaction_id: str, body: requests.SettleTransaction
) -> None:
    """Book a held amount, all of it or less; what remains is released."""
    row = need_transaction(tx, caller, transaction_id)
    held = pending_hold(tx, row)
    for account_id in (row["from_account_id"], row["to_account_id"]):
        account = find_account(tx, caller, account_id)
        if account is not None:
            ledger.check_not_ended(account)
    source = journal.bucket(tx.connection, held.bucket_id)
    target = journal.bucket(tx.connection, held.to_bucket_id)
    money = given(body.amount)
    amount = held.amount if money is None else money.amount
    if money is not None:
        ledger.check_currency(money.currency, source)
    ledger.check_settle_amount(amount, held.amount)
    lines = ledger.move(source, target, amount)
    journal.settle(tx.connection, held, lines, (caller.user_id, tx.now_ms))


def void(tx: web.Tx, caller: Caller, transaction_id: str) -> None:
    """Release a hold; a customer only on an own account."""
    row = need_transaction(tx, caller, transaction_id)
    source = row["from_account_id"]
    if not access.acts_for(caller, owner_ids(tx.connection, [source]), [source or ""]):
        access.check_rank(caller, Rank.OPERATOR)
    held = pending_hold(tx, row)
    journal.release(tx.connection, held.seq, "void", (caller.user_id, tx.now_ms))


def reverse(tx: web.Tx, caller: Caller, transaction_id: str, reason: str) -> str:
    """Post the opposite of a transaction; return the id of the reversal."""
    row = need_transaction(tx, caller, transaction_id)
    status = views.transaction_status(row, tx.now_ms)
    for account_id in (row["from_account_id"], row["to_account_id"]):
        account = find_account(tx, caller, account_id)
        if account is not None:
            ledger.check_not_ended(account)
    ledger.check_reversible(kind=row["kind"], status=status)
    lines = ledger.reversal_lines(booked(tx, row))
    for line in lines:
        check_line_funds(tx, caller, line)
    draft = journal.Draft(
        kind="reversal",
        amount=journal.sum_in(lines),
        currency=row["currency"],
        from_account_id=row["to_account_id"],
        to_account_id=row["from_account_id"],
        actor=caller.user_id,
        now_ms=tx.now_ms,
        reverses_seq=row["seq"],
        reason=reason,
    )
    return journal.post(tx.connection, draft, lines)


def booked(tx: web.Tx, row: Any) -> list[tuple[ledger.Bucket, int]]:
    """Return what a transaction booked: buckets as they are now, and the amounts of then."""
    rows = tx.connection.execute(
        "SELECT bucket_id, amount FROM lines"
        " WHERE (seq = :seq AND closing_seq IS NULL) OR closing_seq = :seq ORDER BY seq, line_no",
        {"seq": row["seq"]},
    ).fetchall()
    return [(journal.bucket(tx.connection, line["bucket_id"]), line["amount"]) for line in rows]


def check_line_funds(tx: web.Tx, caller: Caller, line: ledger.Line) -> None:
    """Refuse a reversal that takes from an account what is not there any more."""
    if line.amount > 0 or line.bucket.account_id is None:
        return
    if line.bucket.kind == Place.CASH.value:
        ledger.check_funds(need_account(tx, caller, line.bucket.account_id), -line.amount)
    elif line.balance_after < 0:
        raise Problem("insufficient_available", f"{line.bucket.kind} holds too little.")


def sweep(
    tx: web.Tx,
    caller: Caller,
    accounts: tuple[ledger.Account, ledger.Account],
    reason: str | None,
) -> None:
    """Move every bucket of one account into the same bucket of another, in one transaction."""
    source, target = accounts
    lines: list[ledger.Line] = []
    for bucket in journal.account_buckets(tx.connection, source.id):
        if bucket.balance:
            into = journal.own_bucket(tx.connection, target.id, bucket.kind, bucket.currency)
            lines += ledger.move(bucket, into, bucket.balance)
    if not lines:
        return
    draft = journal.Draft(
        kind="sweep",
        amount=journal.sum_in(lines),
        currency=source.cash.currency,
        from_account_id=source.id,
        to_account_id=target.id,
        actor=caller.user_id,
        now_ms=tx.now_ms,
        reason=reason,
    )
    journal.post(tx.connection, draft, lines)
