"""Small histories for the tests of the history checker, and their judge by trying every order."""

from __future__ import annotations

from itertools import accumulate, permutations
from typing import Any

from certification.oracle.history import (
    Balance,
    History,
    Kind,
    Operation,
    Outcome,
    Posting,
    Statement,
)

A, B = "acc_a", "acc_b"


def post(number: int, times: tuple[int, int | None], *, to: str = A, **fields: Any) -> Operation:
    """A write of 3 to the power of its number, or `amount`, accepted unless told otherwise."""
    amount = fields.pop("amount", 3**number)
    effects = fields.pop("effects", ((to, amount),))
    outcome = fields.pop("outcome", Outcome.OK if times[1] is not None else Outcome.UNRESOLVED)
    known = outcome is Outcome.OK
    return Operation(
        number=number,
        client=fields.pop("client", f"client-{number}"),
        kind=fields.pop("kind", Kind.POST),
        began_ns=times[0],
        ended_ns=times[1],
        outcome=outcome,
        effects=effects,
        transaction=fields.pop("transaction", f"txn_{number}" if known else None),
        **fields,
    )


def read(
    number: int, times: tuple[int, int], shown: Balance | Statement | int, *, of: str = A
) -> Operation:
    """A read of balances (a number is the ledger) or of the statement."""
    value = Balance(ledger=shown) if isinstance(shown, int) else shown
    return Operation(
        number=number,
        client=f"client-{number}",
        kind=Kind.STATEMENT if isinstance(value, Statement) else Kind.BALANCE,
        began_ns=times[0],
        ended_ns=times[1],
        account=of,
        shown=value,
    )


def statement(*rows: tuple[int, int]) -> tuple[Posting, ...]:
    """The postings of (number of the write, amount), with right running balances."""
    running = accumulate(amount for _, amount in rows)
    return tuple(
        Posting(transaction=f"txn_{number}", amount=amount, running=balance, seq=seq)
        for seq, ((number, amount), balance) in enumerate(zip(rows, running, strict=True), 1)
    )


def booked(*numbers: int) -> tuple[Posting, ...]:
    """The statement of writes that `post` makes."""
    return statement(*((number, 3**number) for number in numbers))


def history(*operations: Operation, final: Any, **fields: Any) -> History:
    """A history of one account, or of several where `final` is a mapping."""
    statements = final if isinstance(final, dict) else {A: final}
    return History(operations=operations, final=statements, **fields)


def explained(case: History, *, by_statement: bool = True) -> bool:
    """Tell whether some order of the operations of account A explains every answer.

    Every order of every choice of the unanswered writes is tried; written from the contract's
    Moments, and sharing nothing with the checker.
    """
    certain = [row for row in case.operations if row.outcome is not Outcome.UNRESOLVED]
    maybe = [row for row in case.operations if row.outcome is Outcome.UNRESOLVED]
    for chosen in range(2 ** len(maybe)):
        rows = certain + [row for n, row in enumerate(maybe) if chosen >> n & 1]
        for order in permutations(rows):
            if in_time(case, order) and _explains(case, order, by_statement=by_statement):
                return True
    return False


def in_time(case: History, order: tuple[Operation, ...]) -> bool:
    """Tell whether moments can be chosen for this order."""
    latest = -(2**62)
    for row in order:
        latest = max(latest, case.earliest_ns(row))
        if row.ended_ns is not None and row.ended_ns < latest:
            return False
    return True


def _explains(  # noqa: C901, PLR0912  a branch for each kind and answer
    case: History, order: tuple[Operation, ...], *, by_statement: bool
) -> bool:
    rows: list[tuple[str | None, int]] = []
    cash = 0
    holds: dict[str | None, int] = {}
    floor = (case.floors or {}).get(A)
    for row in order:
        amount = sum(n for name, n in row.effects if name == A)
        short = floor is not None and amount < 0 and cash - sum(holds.values()) + amount < floor
        if isinstance(row.shown, Balance):
            if row.shown.ledger != cash or row.shown.holds not in {None, sum(holds.values())}:
                return False
        elif isinstance(row.shown, Statement):
            if not same(rows, row.shown.postings):
                return False
        elif row.kind in {Kind.SETTLE, Kind.VOID}:
            if (row.transaction in holds) is (row.outcome is Outcome.REFUSED):
                return False
            if row.outcome is not Outcome.REFUSED:
                holds.pop(row.transaction)
                if row.kind is Kind.SETTLE:
                    cash += amount
                    rows.append((row.transaction, amount))
        elif row.outcome is Outcome.REFUSED:
            if not short and floor is not None:
                return False
        elif short:
            return False
        elif row.kind is Kind.HOLD:
            holds[row.transaction] = -amount
        else:
            cash += amount
            rows.append((row.transaction, amount))
    return not by_statement or same(rows, case.final[A])


def same(rows: list[tuple[str | None, int]], shown: tuple[Posting, ...]) -> bool:
    """Tell whether these are the rows; a write that had no answer has no name to compare."""
    return len(rows) == len(shown) and all(
        amount == posting.amount and name in {None, posting.transaction}
        for (name, amount), posting in zip(rows, shown, strict=True)
    )
