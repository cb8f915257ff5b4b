"""Histories whose verdict follows by hand from the contract's Moments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from certification.oracle.history import (
    Balance,
    History,
    Kind,
    Name,
    Operation,
    Outcome,
    Posting,
    Statement,
)
from tests.oracle.histories import A, B, booked, history, post, read, statement

Golden = tuple[History, Name | None]

W1, W2 = post(1, (0, 10)), post(2, (20, 30))


def transfer(number: int, times: tuple[int, int], **fields: Any) -> Operation:
    return post(number, times, effects=((A, -(3**number)), (B, 3**number)), **fields)


def held(number: int, times: tuple[int, int], amount: int) -> Operation:
    return post(number, times, amount=-amount, kind=Kind.HOLD)


def ending(number: int, times: tuple[int, int], of: int, amount: int, **fields: Any) -> Operation:
    kind = Kind.SETTLE if amount else Kind.VOID
    effects = ((A, -amount),) if amount else ()
    name = f"txn_{of}"
    return post(number, times, kind=kind, effects=effects, transaction=name, account=A, **fields)


def refused(number: int, times: tuple[int, int], amount: int) -> Operation:
    return post(number, times, amount=-amount, outcome=Outcome.REFUSED, for_funds=True)


FUNDED = post(1, (0, 10), amount=100)
ALL_OF_IT = statement((1, 100), (2, -100))
LAGGING = history(W1, read(5, (20, 30), 0), final=booked(1), lag_ns=15)
TIED = (
    Posting(transaction="txn_2", amount=9, running=12, seq=1),
    Posting(transaction="txn_1", amount=3, running=3, seq=1),
)

GOLDEN: dict[str, Golden] = {
    "one after the other": (history(W1, W2, read(5, (40, 50), 12), final=booked(1, 2)), None),
    "at once, either order": (
        history(post(1, (0, 30)), post(2, (5, 20)), read(5, (6, 8), 9), final=booked(2, 1)),
        None,
    ),
    "an acknowledged write is gone": (history(W1, W2, final=booked(2)), Name.LOST_WRITE),
    "one side of a transfer is gone": (
        history(W1, transfer(2, (20, 30)), final={A: booked(1), B: booked(2)}),
        Name.TORN_WRITE,
    ),
    "one side of an unanswered transfer is there": (
        history(
            W1,
            replace(transfer(2, (20, 30)), ended_ns=None, outcome=Outcome.UNRESOLVED),
            final={A: booked(1), B: booked(2)},
        ),
        Name.TORN_WRITE,
    ),
    "an unanswered write is there": (
        history(W1, post(2, (20, None)), final=booked(1, 2)),
        None,
    ),
    "an unanswered write is not there": (history(W1, post(2, (20, None)), final=booked(1)), None),
    "one write stands twice": (
        history(W1, final=statement((1, 3), (7, 3))),
        Name.DOUBLE_EFFECT,
    ),
    "one transaction stands twice": (
        history(W1, final=statement((1, 3), (1, 3))),
        Name.DOUBLE_EFFECT,
    ),
    "a refused write stands": (
        history(W1, post(2, (20, 30), outcome=Outcome.REFUSED), final=booked(1, 2)),
        Name.REFUSED_EFFECT,
    ),
    "nobody asked": (history(W1, final=statement((1, 3), (8, 5))), Name.PHANTOM),
    "another amount": (history(W1, final=statement((1, 4))), Name.ALTERED),
    "a balance computed without the one before": (
        history(W1, W2, final=(*booked(1), Posting(transaction="txn_2", amount=9, running=9))),
        Name.LOST_UPDATE,
    ),
    "a settled hold has the seq of the one before": (history(W1, W2, final=TIED), None),
    "spent twice": (
        history(
            FUNDED,
            post(2, (20, 40), amount=-100),
            post(3, (20, 40), amount=-99),
            final=statement((1, 100), (2, -100), (3, -99)),
            floors={A: 0},
        ),
        Name.OVERDRAWN,
    ),
    "refused for want of money that is there": (
        history(FUNDED, refused(2, (20, 30), 100), final=statement((1, 100)), floors={A: 0}),
        Name.WRONG_REFUSAL,
    ),
    "refused while the money was coming": (
        history(FUNDED, refused(2, (5, 30), 100), final=statement((1, 100)), floors={A: 0}),
        None,
    ),
    "refused while the money was going": (
        history(
            FUNDED,
            post(2, (20, 40), amount=-100),
            refused(3, (30, 50), 50),
            final=ALL_OF_IT,
            floors={A: 0},
        ),
        None,
    ),
    "a read of a balance that never was": (
        history(W1, W2, read(5, (40, 50), 11), final=booked(1, 2)),
        Name.IMPOSSIBLE_BALANCE,
    ),
    "a read without one of two": (
        history(W1, W2, read(5, (40, 50), 9), final=booked(1, 2)),
        Name.LOST_UPDATE,
    ),
    "a read with what was refused": (
        history(
            W1, post(2, (20, 60), outcome=Outcome.REFUSED), read(5, (30, 40), 12), final=booked(1)
        ),
        Name.DIRTY_READ,
    ),
    "a read with the third and not the second": (
        history(
            W1, post(2, (20, 60)), post(3, (20, 60)), read(5, (30, 40), 30), final=booked(1, 2, 3)
        ),
        Name.LOST_UPDATE,
    ),
    "a statement with what is not in the book": (
        history(W1, read(5, (20, 30), Statement(postings=booked(1, 2))), final=booked(1)),
        Name.DIRTY_READ,
    ),
    "a statement with a hole": (
        history(W1, W2, read(5, (40, 50), Statement(postings=booked(2))), final=booked(1, 2)),
        Name.HOLE,
    ),
    "the end of a statement": (
        history(
            W1,
            W2,
            read(5, (40, 50), Statement(postings=booked(1, 2)[1:], whole=False)),
            final=booked(1, 2),
        ),
        None,
    ),
    "a statement that read otherwise": (
        history(W1, read(5, (20, 30), Statement(postings=statement((1, 4)))), final=booked(1)),
        Name.ALTERED,
    ),
    "too old": (history(W1, read(5, (20, 30), 0), final=booked(1)), Name.STALE_READ),
    "as old as declared": (LAGGING, None),
    "older than declared": (replace(LAGGING, lag_ns=9), Name.STALE_READ),
    "of the future": (
        history(read(5, (0, 5), 3), post(1, (10, 20)), final=booked(1)),
        Name.FUTURE_READ,
    ),
    "backwards": (
        history(post(1, (0, 90)), read(5, (10, 20), 3), read(6, (30, 40), 0), final=booked(1)),
        Name.BACKWARDS,
    ),
    "backwards within the bound": (
        history(
            post(1, (0, 90)),
            read(5, (10, 20), 3),
            read(6, (30, 40), 0),
            final=booked(1),
            lag_ns=15,
        ),
        None,
    ),
    "the later write first": (history(W1, W2, final=booked(2, 1)), Name.OUT_OF_ORDER),
    "two accounts in two orders": (
        history(
            transfer(1, (0, 10)),
            transfer(2, (5, 30)),
            final={A: statement((2, -9), (1, -3)), B: booked(1, 2)},
        ),
        Name.OUT_OF_ORDER,
    ),
    "two accounts and the clock between them": (
        history(
            post(1, (20, 30)),
            post(2, (40, 50), to=B),
            transfer(3, (0, 90)),
            final={A: statement((3, -27), (1, 3)), B: statement((2, 9), (3, 27))},
        ),
        Name.OUT_OF_ORDER,
    ),
    "two accounts are not one moment": (
        history(
            transfer(1, (0, 90)),
            read(5, (10, 20), -3),
            read(6, (30, 40), 0, of=B),
            final={A: statement((1, -3)), B: booked(1)},
        ),
        None,
    ),
    "a balance that comes again": (
        history(
            post(1, (0, 10), amount=5),
            read(6, (12, 14), 5),
            post(2, (20, 30), amount=7),
            post(3, (40, 50), amount=-7),
            read(7, (60, 70), 5),
            final=statement((1, 5), (2, 7), (3, -7)),
        ),
        None,
    ),
    "available ignores a hold": (
        history(
            FUNDED,
            held(2, (20, 30), 40),
            read(5, (40, 50), Balance(ledger=100, holds=0)),
            final=statement((1, 100)),
            floors={A: 0},
        ),
        Name.NO_ORDER,
    ),
    "settled and voided": (
        history(
            FUNDED,
            held(2, (20, 30), 40),
            ending(3, (40, 60), 2, 40),
            ending(4, (40, 60), 2, 0),
            final=statement((1, 100), (2, -40)),
            floors={A: 0},
        ),
        Name.NO_ORDER,
    ),
    "settled, and the void refused": (
        history(
            FUNDED,
            held(2, (20, 30), 40),
            ending(3, (40, 60), 2, 40),
            ending(4, (40, 60), 2, 0, outcome=Outcome.REFUSED),
            read(5, (70, 80), Balance(ledger=60, holds=0)),
            final=statement((1, 100), (2, -40)),
            floors={A: 0},
        ),
        None,
    ),
    "a void is refused and the hold goes on": (
        history(
            FUNDED,
            held(2, (20, 30), 40),
            ending(4, (40, 60), 2, 0, outcome=Outcome.REFUSED),
            final=statement((1, 100)),
            floors={A: 0},
        ),
        Name.NO_ORDER,
    ),
    "more held than there is": (
        history(
            FUNDED,
            held(2, (20, 40), 60),
            held(3, (20, 40), 60),
            final=statement((1, 100)),
            floors={A: 0},
        ),
        Name.NO_ORDER,
    ),
    "refused because of a hold": (
        history(
            FUNDED,
            held(2, (20, 40), 60),
            refused(3, (45, 50), 60),
            final=statement((1, 100)),
            floors={A: 0},
        ),
        None,
    ),
    "refused after the hold had ended": (
        history(
            FUNDED,
            held(2, (20, 40), 60),
            ending(3, (42, 44), 2, 0),
            refused(4, (45, 50), 60),
            final=statement((1, 100)),
            floors={A: 0},
        ),
        Name.NO_ORDER,
    ),
}
