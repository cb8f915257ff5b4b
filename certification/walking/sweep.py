"""Holds what a target shows of a walk's accounts against the book, one account or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from certification.oracle import ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.model import Json
    from certification.target.reply import Reply
    from certification.walking.book import Account, Book
    from certification.walking.tale import Tale
    from certification.walking.walk import Walk

PAGES_MAX = 50


def compare_account(walk: Walk, tale: Tale, reply: Reply, book: Book, account: Account) -> None:
    """Fail unless an account reads as the book has it (A1, A2, T3 and the lineage edges)."""
    for pointer, expected in book.shown(account).items():
        name = pointer.rsplit("/", 1)[-1]
        message = f"After a legal sequence, {name} of an account is not what it must be"
        walk.same(tale, reply, pointer, expected, message)
    shown = reply.body["balances"].get("buckets", {"cash": account.cash})
    for bucket in sorted(account.buckets.keys() | shown.keys()):
        expected = account.buckets.get(bucket, 0)
        if shown.get(bucket, 0) != expected:
            message = f"After a legal sequence, the bucket {bucket} is not what it must be"
            walk.same(tale, reply, f"/balances/buckets/{bucket}", expected, message)


def sweep(walk: Walk, tale: Tale, book: Book) -> None:
    """Read everything of every account; fail unless it is one story (A1, T1 to T6)."""
    walk.ctx.arrange.let_writes_arrive()
    entries: list[ledger.Entry] = []
    stated: dict[str, ledger.Transaction] = {}
    worth: dict[str, int] = {}
    last: Reply | None = None
    for account in book.accounts.values():
        reply = walk.send(tale, "customer", "getAccount", path={"id": account.id})
        walk.expect(tale, reply, status=200, refusals=(), why="getAccount")
        compare_account(walk, tale, reply, book, account)
        code = account.currency
        worth[code] = worth.get(code, 0) + reply.body["balances"]["total_value"]
        own, last = _entries(walk, tale, account)
        _running(walk, account, own, last)
        entries += own
        rows, last = _rows(walk, tale, "listTransactions", query={"account_id": account.id})
        _statuses(walk, book, account, (rows, last))
        stated |= {row["id"]: transaction_of(row) for row in rows}
    _one_story(walk, frozenset(book.accounts), entries, list(stated.values()), (worth, last))


def _rows(walk: Walk, tale: Tale, operation: str, **request: Any) -> tuple[list[Json], Reply]:
    query = {"limit": walk.ctx.capabilities["limits"]["page_max"], **request.pop("query", {})}
    rows: list[Json] = []
    for _ in range(PAGES_MAX):
        reply = walk.send(tale, "customer", operation, query=query, **request)
        walk.expect(tale, reply, status=200, refusals=(), why=operation)
        rows += reply.body["data"]
        if reply.body["next_cursor"] is None:
            return rows, reply
        query = {**query, "cursor": reply.body["next_cursor"]}
    return walk.ctx.fail(
        "A list of a few rows never ends",
        expected=f"at most {PAGES_MAX} pages",
        observed=f"{len(rows)} rows and another cursor",
        on=[reply],
    )


def _entries(walk: Walk, tale: Tale, account: Account) -> tuple[list[ledger.Entry], Reply]:
    rows, reply = _rows(walk, tale, "listEntries", path={"id": account.id})
    found = [
        ledger.Entry(
            account=account.id,
            transaction=row["transaction_id"],
            bucket=row["bucket"],
            currency=row["currency"],
            amount=row["amount"],
            running=row["running_balance"],
        )
        for row in rows
    ]
    shown = sorted((entry.bucket, entry.amount) for entry in found)
    message = "The entries of an account are not the lines of what was booked"
    walk.ctx.equal(shown, sorted(account.entries), message, reply)
    return found, reply


def _running(walk: Walk, account: Account, entries: Sequence[ledger.Entry], reply: Reply) -> None:
    for bucket in {entry.bucket for entry in entries}:
        rows = [(entry.amount, entry.running) for entry in entries if entry.bucket == bucket]
        walk.ctx.expect(
            ledger.chains(rows),
            "The running balances of an account do not add up",
            expected="each the one before plus the amount",
            observed=f"{account.id} {bucket}: {rows}",
            on=[reply],
        )


def _statuses(walk: Walk, book: Book, account: Account, listed: tuple[list[Json], Reply]) -> None:
    rows, reply = listed
    shown = {row["id"]: row["status"] for row in rows}
    expected, besides = book.listed(account.id)
    expected |= {id_: status for id_, status in besides.items() if id_ in shown}
    message = "The transactions of an account are not those that were booked"
    walk.ctx.equal(shown, expected, message, reply)


def transaction_of(row: Json) -> ledger.Transaction:
    """Read a transaction's wire form."""
    settled = row["settled_amount"]
    return ledger.Transaction(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        currency=row["amount"]["currency"],
        amount=row["amount"]["amount"],
        settled=None if settled is None else settled["amount"],
        source=row["from_account_id"],
        target=row["to_account_id"],
        reverses=row["reverses_id"],
        held=row["hold"],
        lines=tuple(
            ledger.Line(account=line["account_id"], bucket=line["bucket"], amount=line["amount"])
            for line in row["lines"]
        ),
    )


def _one_story(
    walk: Walk,
    accounts: frozenset[str],
    entries: Sequence[ledger.Entry],
    transactions: Sequence[ledger.Transaction],
    there: tuple[dict[str, int], Reply | None],
) -> None:
    worth, last = there
    wrong = [
        f"the lines of {row.id} ({row.kind}) add up to {ledger.unbalanced(row)}"
        for row in transactions
        if ledger.unbalanced(row)
    ]
    wrong += ledger.line_differences(entries, transactions, accounts)
    came = ledger.inflow_by_currency(transactions, accounts)
    wrong += [
        f"{code}: {came.get(code, 0)} came in from outside, {worth.get(code, 0)} is there"
        for code in sorted(came.keys() | worth.keys())
        if came.get(code, 0) != worth.get(code, 0)
    ]
    walk.ctx.expect(
        not wrong,
        "Entries, transactions and balances do not tell one story",
        expected="one story",
        observed="; ".join(wrong[:5]),
        on=[last] if last is not None else [],
    )
