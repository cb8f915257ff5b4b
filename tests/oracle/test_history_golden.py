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
)
from tests.oracle.histories import A, booked, history, post, read
from tests.oracle.history_cases import GOLDEN, W1


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


def _clock_of_each_account(*args: Any, real: Any = history_order.graph_of) -> Any:
    graph = real(*args)
    graph.out = [
        [edge for edge in edges if edge[2] or node >= graph.moments]
        for node, edges in enumerate(graph.out)
    ]
    return graph


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
    "a clock for each account only": (history_order, "graph_of", _clock_of_each_account),
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
        "  1. #1 of client-1 comes before #5 of client-5: "
        "it was answered before the other was sent\n"
        "  2. #5 of client-5 comes before #1 of client-1, which it does not show"
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
