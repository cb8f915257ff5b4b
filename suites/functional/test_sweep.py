"""The sweep at the end: every balance of the run is added up again from its entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from certification.checks import check
from certification.model import Json, Severity, Veto
from certification.oracle import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certification.context import Actor, Context

READERS = ("auditor", "operator", "manager", "admin")
"""Roles that may read every account, the lowest first; without one, the owners read."""
AT_ONCE = 8
PATIENCE_S = 2.0
"""How long a difference may last before it is one: neighbours of the same phase still write."""
SHOWN = 5
FEW = 20
"""Up to so many accounts are asked for their transactions one by one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One account and its entries, read one after the other."""

    account: Json
    entries: Sequence[ledger.Entry]
    first_seq: int | None
    """The lowest seq of the entries; None without entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What the run's accounts and their transactions looked like at one moment."""

    readings: dict[str, Reading]
    """By account."""
    transactions: dict[str, ledger.Transaction]
    """By id; those that touch the accounts, others may be among them."""


_LEFT: dict[str, Book] = {}
"""What the first sweep read and found right, by the run's prefix; the second one takes it over.

The phase of the sweeps is one process and comes last, so that nothing writes between the two but
themselves, into new accounts. What is taken is gone: a repeated check reads anew.
"""


def _some_business(ctx: Context) -> None:
    """Move some money, so that there is something to re-add even if nothing else ran."""
    first, second = ctx.arrange.account(funds=10_000), ctx.arrange.account(funds=500)
    ctx.arrange.transaction(ctx.arrange.transfer_body(first, second, 1_234))
    ctx.arrange.transaction(ctx.arrange.withdrawal_body(first, 66))
    ctx.arrange.hold(first, 300)
    hold = ctx.arrange.transaction(ctx.arrange.transfer_body(first, second, 700, hold=True))
    ctx.arrange.deposit(second, 1)
    if "operator" in ctx.sessions:
        body = {"amount": ctx.arrange.money(450, first["currency"])}
        path = {"id": hold["id"]}
        ctx.operator.call("settleTransaction", path=path, body=body, expect=200)
    if "manager" in ctx.sessions:
        deposit = ctx.arrange.deposit(second, 40)
        path = {"id": deposit["id"]}
        ctx.manager.call("reverseTransaction", path=path, body={"reason": "x"}, expect=201)


def _readers(ctx: Context) -> dict[str, Actor]:
    """Return who reads each account of the run, by account id."""
    common = next((ctx.actor(role) for role in READERS if role in ctx.sessions), None)
    accounts = [(id_, role) for kind, id_, role in ctx.objects() if kind == "account"]
    return {id_: common or ctx.actor(role) for id_, role in accounts}


def _in_groups(ctx: Context, actions: Sequence[Callable[[], T]]) -> list[T]:
    results: list[T] = []
    for start in range(0, len(actions), AT_ONCE):
        results += ctx.together(actions[start : start + AT_ONCE])
    return results


def _largest_page(ctx: Context) -> Json:
    return {"limit": ctx.capabilities["limits"]["page_max"]}


def _reading(ctx: Context, id_: str, by: Actor) -> Reading:
    account: Json = by.call("getAccount", path={"id": id_}, expect=200).body
    rows = ctx.arrange.pages("listEntries", path={"id": id_}, query=_largest_page(ctx), by=by)
    entries = [
        ledger.Entry(
            account=id_,
            transaction=row["transaction_id"],
            bucket=row["bucket"],
            currency=row["currency"],
            amount=row["amount"],
            running=row["running_balance"],
        )
        for row in rows
    ]
    first_seq = min((row["seq"] for row in rows), default=None)
    return Reading(account=account, entries=entries, first_seq=first_seq)


def _transactions(ctx: Context, id_: str, by: Actor) -> list[ledger.Transaction]:
    query = {"account_id": id_, **_largest_page(ctx)}
    return [_transaction(row) for row in ctx.arrange.pages("listTransactions", query=query, by=by)]


def _transaction(row: Json) -> ledger.Transaction:
    settled = row["settled_amount"]
    lines = (
        ledger.Line(account=line["account_id"], bucket=line["bucket"], amount=line["amount"])
        for line in row["lines"]
    )
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
        lines=tuple(lines),
    )


def _since(
    ctx: Context, by: Actor, from_seq: int, *, pages_max: int
) -> list[ledger.Transaction] | None:
    """List the whole book from a seq on; None where it takes more pages than that."""
    query = {"from_seq": from_seq, **_largest_page(ctx)}
    rows: list[Json] = []
    ctx.arrange.let_writes_arrive()
    for _ in range(pages_max):
        page = by.call("listTransactions", query=query, expect=200).body
        rows += page["data"]
        if page["next_cursor"] is None:
            return [_transaction(row) for row in rows]
        query["cursor"] = page["next_cursor"]
    return None


def _listed(
    ctx: Context, readings: dict[str, Reading], readers: dict[str, Actor]
) -> list[ledger.Transaction]:
    """List the transactions of these accounts, in the way that takes fewer requests.

    Whoever reads every account reads the book of the run once, from its first entry. A hold that
    is older than all entries would be missing; `_unsettled` asks again by account.
    """
    common = next((ctx.actor(role) for role in READERS if role in ctx.sessions), None)
    first = min((r.first_seq for r in readings.values() if r.first_seq is not None), default=None)
    if common is not None and first is not None and len(readings) > FEW:
        # Others may write into the same book; then the accounts' own lists are shorter.
        rows = _since(ctx, common, first, pages_max=len(readings))
        if rows is not None:
            return rows
    lists = [partial(_transactions, ctx, id_, readers[id_]) for id_ in readings]
    return [row for rows in _in_groups(ctx, lists) for row in rows]


def _book(ctx: Context, readers: dict[str, Actor], *, known: Book | None = None) -> Book:
    """Read every account that is not known yet, and its transactions."""
    known = known or Book(readings={}, transactions={})
    ids = sorted(readers.keys() - known.readings.keys())
    read = _in_groups(ctx, [partial(_reading, ctx, id_, readers[id_]) for id_ in ids])
    new = dict(zip(ids, read, strict=True))
    listed = {row.id: row for row in _listed(ctx, new, readers)}
    return Book(readings=known.readings | new, transactions=known.transactions | listed)


def _touching(transactions: Sequence[ledger.Transaction]) -> dict[str, list[ledger.Transaction]]:
    """Return the transactions by each account that they name or have lines on."""
    found: dict[str, list[ledger.Transaction]] = {}
    for row in transactions:
        for id_ in {row.source, row.target, *(line.account for line in row.lines)} - {None}:
            found.setdefault(str(id_), []).append(row)
    return found


def _differences(reading: Reading, transactions: Sequence[ledger.Transaction]) -> list[str]:
    """Return what the account states and its entries and holds do not bear out."""
    account, entries = reading.account, reading.entries
    sums = ledger.sums_by_bucket(entries)
    pending = sum(
        row.amount
        for row in transactions
        if row.status == "pending" and row.source == account["id"]
    )
    cash = sums.get(ledger.CASH, 0)
    expected = {
        "ledger": cash,
        "holds": pending,
        "available": cash - pending - account["min_balance"],
        "total_value": sum(sums.values()),
        "buffer": account["base_amount"] * account["buffer_bps"] // 10_000,
    }
    wrong = [
        f"{account['id']} {name}: stated {account['balances'][name]}, re-added {value}"
        for name, value in expected.items()
        if account["balances"][name] != value
    ]
    # A settle keeps the seq of its hold: only without one is the list in the order of booking.
    late = {row.id for row in transactions if row.held}
    for bucket in sums:
        rows = [(e.amount, e.running) for e in entries if e.bucket == bucket]
        in_order = not any(e.transaction in late for e in entries)
        if ledger.first_running_break(rows) if in_order else not ledger.chains(rows):
            wrong.append(f"{account['id']} {bucket}: the running balances do not add up")
    return wrong


def _unsettled(ctx: Context, id_: str, by: Actor) -> list[str]:
    """Return the differences of one account that do not go away."""
    found: list[list[str]] = []

    def agree() -> bool:
        reading = _reading(ctx, id_, by)
        found.append(_differences(reading, _transactions(ctx, id_, by)))
        return not found[-1]

    ctx.until(agree, deadline_s=PATIENCE_S + ctx.arrange.lag_s)
    return found[-1]


@check(
    "functional/sweep/every-balance-re-added",
    title="Every balance of the run equals its entries, added up again",
    failure_title="A balance of the run does not equal its entries",
    severity=Severity.CRITICAL,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-TXN"],
    operations=[
        "getAccount",
        "listEntries",
        "listTransactions",
        "settleTransaction",
        "reverseTransaction",
    ],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["cached-balance-drifts"],
    last=True,
    budget_s=600,
)
def check_every_balance_re_added(ctx: Context) -> None:
    """Whether ledger, holds, available, buffer, total value and running balances all re-add.

    Why: A cached balance that drifts is right in every small test and wrong at the end of the day.
    How: After all other checks, read every account that the run made, its entries and the
        transactions of the run; add up. Where that differs, read the account again with its own.
    Fails when: A stated figure differs from the re-added one and goes on differing.
    Remedy: Move the cached balance in the transaction that books the lines, and reconcile it.
    """
    _some_business(ctx)
    readers = _readers(ctx)
    book = _book(ctx, readers)
    touching = _touching(list(book.transactions.values()))
    suspects = [id_ for id_ in readers if _differences(book.readings[id_], touching.get(id_, []))]
    agreeing = {id_: row for id_, row in book.readings.items() if id_ not in suspects}
    _LEFT[ctx.prefix] = Book(readings=agreeing, transactions=book.transactions)
    actions = [partial(_unsettled, ctx, id_, readers[id_]) for id_ in sorted(suspects)]
    wrong = [text for texts in _in_groups(ctx, actions) for text in texts]
    message = f"Of {len(readers)} accounts, these figures do not re-add"
    ctx.expect(not wrong, message, expected="none", observed="; ".join(wrong[:SHOWN]))


def _created_or_lost(book: Book) -> list[str]:
    """Return every way in which the book contradicts the transactions it is made of."""
    ids = frozenset(book.readings)
    touching = _touching(list(book.transactions.values()))
    transactions = list({row.id: row for id_ in ids for row in touching.get(id_, [])}.values())
    wrong = [
        f"the lines of {row.id} ({row.kind}) add up to {ledger.unbalanced(row)}"
        for row in transactions
        if ledger.unbalanced(row)
    ]
    entries = [entry for reading in book.readings.values() for entry in reading.entries]
    wrong += ledger.line_differences(entries, transactions, ids)
    came = ledger.inflow_by_currency(transactions, ids)
    there: dict[str, int] = {}
    for reading in book.readings.values():
        code = reading.account["currency"]
        there[code] = there.get(code, 0) + reading.account["balances"]["total_value"]
    wrong += [
        f"{code}: {came.get(code, 0)} came in from outside, {there.get(code, 0)} is there"
        for code in sorted(came.keys() | there.keys())
        if came.get(code, 0) != there.get(code, 0)
    ]
    return wrong


@check(
    "functional/sweep/money-is-conserved",
    title="What is in the run's accounts is what came in from outside",
    failure_title="Money was created or lost during the run",
    severity=Severity.CRITICAL,
    requirements=["SYS-TXN", "E2E-TXN"],
    operations=[
        "getAccount",
        "listEntries",
        "listTransactions",
        "settleTransaction",
        "reverseTransaction",
    ],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["transfer-credits-too-much"],
    last=True,
    budget_s=600,
)
def check_money_is_conserved(ctx: Context) -> None:
    """Whether balances, entries, lines and the amounts asked for tell one story, by currency.

    Why: Each check looks at its own accounts; money that leaks between them shows only in the
        whole.
    How: Read every account of the run with entries and transactions, but those that the sweep of
        balances has just read and found right, whose figures are taken over. Lines of a
        transaction must add up to zero and stand in the entries of their accounts, once; the sum
        of all accounts must be what deposits, interest and transfers from elsewhere brought, less
        what withdrawals, fees, taxes and transfers to elsewhere took.
    Fails when: Any of the three differs and goes on differing.
    Remedy: Compare the named transactions with the journal; book every line with its opposite.
    """
    _some_business(ctx)
    found: list[list[str]] = []
    readers = _readers(ctx)
    left = [_LEFT.pop(ctx.prefix, None)]

    def agree() -> bool:
        known = left.pop() if left else None
        book = _book(ctx, readers, known=known)
        found.append(_created_or_lost(book))
        return not found[-1]

    ctx.until(agree, deadline_s=PATIENCE_S + ctx.arrange.lag_s)
    message = f"Of {len(readers)} accounts, money was created or lost"
    ctx.expect(not found[-1], message, expected="none", observed="; ".join(found[-1][:SHOWN]))
