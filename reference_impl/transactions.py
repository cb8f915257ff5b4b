"""Resources under /v1/transactions and the entries of an account."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import flask

from . import access, accounts, booking, idempotency, journal, listing, requests, views, web
from .access import Caller, Rank
from .integration import order_rows
from .problems import Problem

blueprint = flask.Blueprint("transactions", __name__)

KINDS = (
    *get_args(requests.RequestKind),
    "reversal",
    "opening",
    "fork",
    "merge",
    "reinvest",
    "sweep",
    "trade",
)
STATUSES = ("posted", "pending", "settled", "voided", "expired", "reversed")
BUCKETS = ("cash", "tax_reserve", "position:contracts", "position:leaps", "position:shares")
SCAN_ROWS_MAX = 5000
"""Rows that one page looks at; a rare filter then yields a short page and a cursor."""

_ENTRIES = """
SELECT l.seq, l.line_no, l.amount, l.balance_after, b.kind AS bucket, b.currency,
       t.id AS transaction_id, t.kind, t.effective_at, coalesce(c.closed_at, t.recorded_at)
       AS recorded_at, o.id AS reverses_id
FROM lines l JOIN buckets b ON b.id = l.bucket_id
JOIN transactions t ON t.seq = l.transaction_seq
LEFT JOIN transactions o ON o.seq = t.reverses_seq
LEFT JOIN closings c ON c.hold_seq = l.closing_seq
"""


def _shown(tx: web.Tx, transaction_id: str) -> dict[str, Any]:
    row = views.transaction_row(tx.connection, transaction_id)
    return views.transaction(tx.connection, row, tx.now_ms)


def _reply(tx: web.Tx, transaction_id: str, status: int) -> idempotency.Reply:
    headers = {"Location": f"/v1/transactions/{transaction_id}"} if status == 201 else {}
    shown = _shown(tx, transaction_id)
    return web.json_reply(status, shown, target=transaction_id, headers=headers)


@blueprint.post("/v1/transactions")
def create_transaction() -> flask.Response:
    """Post a transaction, or hold its amount."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(requests.CreateTransaction)
    if_match = web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        return _reply(tx, booking.book(tx, caller, body, if_match), 201)

    return web.write(caller, "createTransaction", change)


@blueprint.post("/v1/transactions/batch")
def create_batch() -> flask.Response:
    """Post up to 1,000 transactions, each with its own outcome or all or none."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(requests.CreateBatch)

    def change(tx: web.Tx) -> idempotency.Reply:
        first = journal.tip(tx.connection) + 1
        results = [_item(tx, caller, index, item) for index, item in enumerate(body.items)]
        shown = views.transactions_from(tx.connection, first, tx.now_ms)
        for result in results:
            name = result.get("transaction")
            if isinstance(name, str):
                result["transaction"] = shown.get(name) or _shown(tx, name)
        refused = [result for result in results if "problem" in result]
        if body.all_or_nothing and refused:
            errors = [
                {"pointer": f"/items/{result['index']}", "code": result["problem"]["code"]}
                for result in refused
            ]
            raise Problem("batch_rejected", f"{len(refused)} items were refused.", errors=errors)
        return web.json_reply(200, {"results": results}, target="batch")

    return web.write(caller, "createTransactionBatch", change)


def _item(
    tx: web.Tx, caller: Caller, index: int, item: requests.CreateTransaction
) -> dict[str, Any]:
    """Book one item; a booked one holds its id until all are shown together."""
    try:
        transaction_id = booking.book(tx, caller, item)
    except Problem as problem:
        if problem.kind.status >= 500:
            raise
        document = problem.document(instance=f"/items/{index}", trace_id="")
        del document["trace_id"]
        return {"index": index, "status": problem.kind.status, "problem": document}
    return {"index": index, "status": 201, "transaction": transaction_id}


@blueprint.get("/v1/transactions/<transaction_id>")
def get_transaction(transaction_id: str) -> flask.Response:
    """Return one transaction."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    with web.snapshot() as tx:
        row = booking.need_transaction(tx, caller, transaction_id)
        return web.respond_json(views.transaction(tx.connection, row, tx.now_ms))


@blueprint.post("/v1/transactions/<transaction_id>/settle")
def settle_transaction(transaction_id: str) -> flask.Response:
    """Book a held amount."""
    caller = web.caller(Rank.OPERATOR)
    body = web.body(requests.SettleTransaction)

    def change(tx: web.Tx) -> idempotency.Reply:
        booking.settle(tx, caller, transaction_id, body)
        order_rows.check_own_hold(tx.connection, transaction_id)
        return _reply(tx, transaction_id, 200)

    return web.write(caller, "settleTransaction", change)


@blueprint.post("/v1/transactions/<transaction_id>/void")
def void_transaction(transaction_id: str) -> flask.Response:
    """Release a hold."""
    caller = web.caller(Rank.CUSTOMER)
    web.body(requests.VoidTransaction)

    def change(tx: web.Tx) -> idempotency.Reply:
        booking.void(tx, caller, transaction_id)
        order_rows.check_own_hold(tx.connection, transaction_id)
        return _reply(tx, transaction_id, 200)

    return web.write(caller, "voidTransaction", change)


@blueprint.post("/v1/transactions/<transaction_id>/reverse")
def reverse_transaction(transaction_id: str) -> flask.Response:
    """Post the opposite of a transaction."""
    caller = web.caller(Rank.MANAGER)
    body = web.body(requests.ReverseTransaction)

    def change(tx: web.Tx) -> idempotency.Reply:
        return _reply(tx, booking.reverse(tx, caller, transaction_id, body.reason), 201)

    return web.write(caller, "reverseTransaction", change)


@blueprint.get("/v1/transactions")
def list_transactions() -> flask.Response:
    """Return a page of transactions; a customer's are those that touch own accounts."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    filters = {
        "account_id": listing.identifier,
        "kind": listing.one_of(*KINDS),
        "status": listing.one_of(*STATUSES),
        "from_seq": listing.sequence_number,
    }
    asked = listing.page("listTransactions", caller.user_id, ("seq",), filters)
    with web.snapshot() as tx:
        seen, hidden = _own_accounts(tx, caller, asked), access.hidden_accounts(caller)
        rows, last_seen = _matching(tx, asked, seen, hidden)
        document = listing.answer(
            asked,
            rows,
            lambda row: [row["seq"]],
            lambda row: views.transaction(tx.connection, row, tx.now_ms),
        )
    if last_seen is not None and document["next_cursor"] is None:
        document["next_cursor"] = listing.continue_after(asked, [last_seen])
    return web.respond_json(document)


def _own_accounts(tx: web.Tx, caller: Caller, asked: listing.Page) -> list[str] | None:
    """Return the accounts that a list is confined to; None for the whole book."""
    wanted = asked.filter("account_id")
    if access.sees_all(caller):
        return None if wanted is None else [wanted]
    query = "SELECT id FROM accounts WHERE owner_id = ?"
    own = [row["id"] for row in tx.connection.execute(query, (caller.user_id,))]
    own += [name for name in caller.objects if name not in own]
    return own if wanted is None else [wanted] if wanted in own else []


def _matching(
    tx: web.Tx, asked: listing.Page, accounts_seen: Sequence[str] | None, hidden: Sequence[str]
) -> tuple[list[Any], int | None]:
    """Return up to limit + 1 rows that match, and where the scan stopped if it was cut short.

    Transactions that touch a hidden account are left out.
    """
    wanted = asked.filter("status")
    rows: list[Any] = []
    for count, row in enumerate(_candidates(tx, asked, accounts_seen), 1):
        unseen = hidden and not _touched(tx, row).isdisjoint(hidden)
        if not unseen and wanted in {None, views.transaction_status(row, tx.now_ms)}:
            rows.append(row)
        if len(rows) > asked.limit:
            break
        if count == SCAN_ROWS_MAX:
            return rows, int(row["seq"])
    return rows, None


def _touched(tx: web.Tx, row: Any) -> set[str | None]:
    """Return the accounts that a transaction names or that growth touched in it."""
    parties = {account_id for account_id, _ in journal.parties(tx.connection, row["seq"])}
    return {row["from_account_id"], row["to_account_id"], *parties}


def _candidates(
    tx: web.Tx, asked: listing.Page, accounts_seen: Sequence[str] | None
) -> Iterator[Any]:
    """Yield rows in order: the whole book by seq, or the accounts' own by their indexes."""
    after, values, order = listing.keyset(asked, ("t.seq",))
    conditions = [after, "t.seq >= ?"]
    values.append(asked.filter("from_seq") or 0)
    if asked.filter("kind") is not None:
        conditions.append("t.kind = ?")
        values.append(asked.filter("kind"))
    where = " AND ".join(conditions)
    if accounts_seen is None:
        query = f"{views.TRANSACTIONS} WHERE {where} ORDER BY {order}"
        yield from tx.connection.execute(query, values)
        return
    found: set[int] = set()
    for account_id in accounts_seen:
        for column in ("from_account_id", "to_account_id"):
            query = (
                f"SELECT t.seq FROM transactions t WHERE t.{column} = ? AND {where}"  # noqa: S608 - column names and marks only
                f" ORDER BY {order} LIMIT {SCAN_ROWS_MAX}"
            )
            found.update(row["seq"] for row in tx.connection.execute(query, (account_id, *values)))
        query = (
            "SELECT t.seq FROM parties p JOIN transactions t ON t.seq = p.seq"  # noqa: S608 - marks only
            f" WHERE p.account_id = ? AND {where} ORDER BY {order.replace('t.', 'p.')}"
            f" LIMIT {SCAN_ROWS_MAX}"
        )
        found.update(row["seq"] for row in tx.connection.execute(query, (account_id, *values)))
    for seq in sorted(found, reverse=asked.descending):
        query = f"{views.TRANSACTIONS} WHERE t.seq = ?"
        yield tx.connection.execute(query, (seq,)).fetchone()


@blueprint.get("/v1/accounts/<account_id>/entries")
def list_entries(account_id: str) -> flask.Response:
    """Return a page of an account's journal lines with their running balances."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    filters = {"bucket": listing.one_of(*BUCKETS), "from_seq": listing.sequence_number}
    operation = f"listEntries {account_id}"
    asked = listing.page(operation, caller.user_id, ("seq",), filters)
    with web.snapshot() as tx:
        accounts.need_row(tx, caller, account_id)
        after, values, order = listing.keyset(asked, ("l.seq", "l.line_no"))
        buckets = tx.connection.execute(
            "SELECT id FROM buckets WHERE account_id = ? AND kind = coalesce(?, kind)",
            (account_id, asked.filter("bucket")),
        ).fetchall()
        rows: list[Any] = []
        for bucket in buckets:
            query = (
                f"{_ENTRIES} WHERE l.bucket_id = ? AND {after} AND l.seq >= ?"
                f" ORDER BY {order} LIMIT {asked.limit + 1}"
            )
            given = (bucket["id"], *values, asked.filter("from_seq") or 0)
            rows += tx.connection.execute(query, given)
    rows.sort(key=lambda row: (row["seq"], row["line_no"]), reverse=asked.descending)
    return web.respond_json(
        listing.answer(asked, rows, lambda row: [row["seq"], row["line_no"]], views.entry)
    )
