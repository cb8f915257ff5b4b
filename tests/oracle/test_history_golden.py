"""Histories whose verdict follows by hand from the contract; each rule has a mutant they kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from certification.oracle import history as model
from certification.oracle import (
    history_cycles,
    history_judge,
    history_order,
    history_search,
    history_story,
    history_versions,
)
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


def verdict(case: History) -> Name | None:
    found = history_judge.judge(case, searched=(A,))
    assert found.undecided is None
    return None if found.anomaly is None else found.anomaly.name


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_verdict_is_the_one_found_by_hand(name: str) -> None:
    case, expected = GOLDEN[name]

    assert verdict(case) is expected


def _never(*_: Any, **__: Any) -> Any:
    return iter(())


def _none(*_: Any, **__: Any) -> Any:
    return None


def _without_edges(why: history_order.Edge) -> Callable[..., Any]:
    original = history_order.graph_of

    def drawn(*args: Any) -> Any:
        graph = original(*args)
        graph.out = [[edge for edge in edges if edge[1] is not why] for edges in graph.out]
        return graph

    return drawn


def _one_scope(book: Any, history: Any) -> Any:
    """Mutant: the clock of one account only, none over all writes."""
    original = history_order.graph_of(book, history)
    scoped = [
        [edge for edge in edges if edge[2] or edge[0] >= original.moments] for edges in original.out
    ]
    original.out = scoped
    return original


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "lost writes are fine": (history_versions, "lost_writes", _never),
    "torn writes are fine": (history_versions, "torn_writes", _never),
    "any posting is fine": (history_versions, "unexplained_postings", _never),
    "any running balance is fine": (history_versions, "broken_running", _never),
    "overdrafts are fine": (history_versions, "overdrafts", _never),
    "an overdraft begins at zero": (
        history_versions,
        "overdrafts",
        lambda book, _floor, real=history_versions.overdrafts: real(book, -1_000),
    ),
    "any refusal is fine": (history_order, "wrong_refusals", _never),
    "no refusal is fine": (
        history_order,
        "wrong_refusals",
        lambda b, h, f, real=history_order.wrong_refusals: real(b, h, f - 10**6),
    ),
    "unreadable reads are fine": (history_versions, "unreadable", _none),
    "every read is unreadable": (
        history_versions,
        "unreadable",
        lambda book, row: history_versions.explain_balance(book, row, 1),
    ),
    "balances are never explained": (
        history_versions,
        "explain_balance",
        lambda book, row, _ledger: model.Anomaly(
            name=Name.IMPOSSIBLE_BALANCE, account=book.account, operations=(row,), reasons=()
        ),
    ),
    "statements are in the order listed": (history_versions, "ordered", lambda rows: rows),
    "the first place of a balance": (
        history_order,
        "shown_versions",
        lambda book, row, real=history_versions.shown_versions: real(book, row)[:1],
    ),
    "no order of writes": (
        history_order,
        "graph_of",
        _without_edges(history_order.Edge.WRITE_WRITE),
    ),
    "no write before its read": (
        history_order,
        "graph_of",
        _without_edges(history_order.Edge.WRITE_READ),
    ),
    "no read before what it misses": (
        history_order,
        "graph_of",
        _without_edges(history_order.Edge.READ_WRITE),
    ),
    "no clock": (history_order, "graph_of", _without_edges(history_order.Edge.CLOCK)),
    "no cycles": (history_cycles, "components", lambda _out: []),
    "every cycle is a stale read": (history_cycles, "named", lambda _steps: Name.STALE_READ),
    "no lag": (History, "earliest_ns", lambda _self, row: row.began_ns),
    "twice the lag": (
        History,
        "earliest_ns",
        lambda self, row: row.began_ns - (2 * self.lag_ns if row.reads else 0),
    ),
    "lag of writes too": (
        History,
        "earliest_ns",
        lambda self, row: row.began_ns - self.lag_ns - (20 if row.books else 0),
    ),
    "reads are not searched": (history_search, "shows", lambda *_: True),
    "holds end twice": (history_search, "ended", lambda _account, state, _row: state),
    "holds hold nothing": (history_search, "holds_of", lambda *_: 0),
    "money is endless": (history_search, "free", lambda *_: 2**60),
    "money is never there": (history_search, "free", lambda *_: -(2**60)),
    "nothing counts between segments": (
        history_search,
        "segments",
        lambda _history, rows: [[row] for row in rows],
    ),
    "all settle at the same place": (history_search, "hold_name", lambda _row: "one"),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_wrong_rule_does_not_give_these_verdicts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, attribute, mutant = MUTANTS[name]
    monkeypatch.setattr(module, attribute, mutant)

    def differs(case: History, expected: Name | None) -> bool:
        try:
            return verdict(case) is not expected
        except (AssertionError, LookupError, ValueError):
            return True

    assert any(differs(case, expected) for case, expected in GOLDEN.values())


def test_a_story_says_who_did_what_and_why_it_cannot_be() -> None:
    case, _ = GOLDEN["too old"]
    anomaly = history_judge.judge(case).anomaly
    assert anomaly is not None

    told = history_story.story(anomaly)

    assert told == (
        "This is a stale read: it does not show a write that was acknowledged before it.\n"
        "Account acc_a; times in ms since the first request shown:\n"
        "       0.0 ..      0.0  client-1  #1 books +3           -> accepted as txn_1\n"
        "       0.0 ..      0.0  client-5  #5 reads the balance  -> ledger 0\n"
        "It cannot be:\n"
        "  1. txn_1 of client-1 comes before the balance that client-5 read (#5): "
        "it was answered before the other was sent\n"
        "  2. the balance that client-5 read (#5) comes before txn_1 of client-1, "
        "which it does not show"
    )


def test_the_shortest_cycle_is_told_among_many() -> None:
    writes = [post(n, (n * 10, n * 10 + 5)) for n in range(1, 12)]
    late = [read(n, (200 + n, 201 + n), 3) for n in range(20, 30)]
    case = history(*writes, *late, final=booked(*range(1, 12)))

    anomaly = history_judge.judge(case).anomaly

    assert anomaly is not None
    assert len(anomaly.operations) == 2


def test_what_cannot_be_ordered_is_told_without_what_does_not_matter() -> None:
    noise = [read(n, (300 + n, 320 + n), Balance(ledger=60, holds=0)) for n in range(20, 30)]
    case, _ = GOLDEN["settled and voided"]
    long = replace(case, operations=(*case.operations, *noise))

    anomaly = history_judge.judge(long, searched=(A,)).anomaly

    assert anomaly is not None
    assert {row.kind for row in anomaly.operations} == {Kind.SETTLE, Kind.VOID}
    assert anomaly.start == Balance(ledger=100, holds=40)


def test_over_its_budget_the_second_opinion_guesses_nothing() -> None:
    case, _ = GOLDEN["settled and voided"]

    by_steps = history_judge.judge(case, searched=(A,), steps_max=2)
    looked = history_search.LOOKS
    assert by_steps.anomaly is None
    assert by_steps.undecided is not None
    assert "steps" in by_steps.undecided

    wide = [post(n, (0, 100)) for n in range(1, 15)]
    blind = history(*wide, read(30, (1, 99), -1), final=booked(*range(1, 15)))
    found = history_search.search(blind, A, guided=False, steps_max=10**9, expired=lambda: True)
    assert found.opinion is history_search.Opinion.UNDECIDED
    assert looked <= found.steps < 40 * looked


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([W1, W1], "same number"),
        ([replace(W1, ended_ns=-1)], "before it began"),
        ([replace(W1, ended_ns=None)], "unresolved"),
        ([read(3, (0, 1), 0, of="acc_none")], "no statement"),
    ],
)
def test_what_cannot_have_been_recorded_is_refused(rows: list[Operation], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        history_judge.judge(history(*rows, final=booked(1)))


@pytest.mark.parametrize("most", [10**7, 10**13, 10**15])
def test_amounts_name_their_operations(most: int) -> None:
    found = model.amounts(200, most=most, draw=7)

    assert len(set(found)) == 200
    assert all(0 < amount <= most for amount in found)
    near = found[40:46]
    sums = {0}
    for amount in near:
        sums = {total + sign * amount for total in sums for sign in (-1, 0, 1)}
    assert len(sums) == 3 ** len(near)


def test_too_little_room_for_amounts_is_said() -> None:
    with pytest.raises(ValueError, match="cannot name"):
        model.amounts(1_000, most=100, draw=0)
