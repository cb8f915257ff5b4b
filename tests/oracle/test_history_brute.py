"""The history checker against one that tries every order, on small random histories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from certification.oracle import history_judge, history_search, history_versions, history_witness
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
from certification.oracle.history_search import Opinion
from tests.oracle.histories import A, B, explained, history, read, statement

OPERATIONS_MAX = 6
KINDS = ("post", "post", "balance", "statement", "unanswered", "hold", "end")


@st.composite
def served(
    draw: st.DrawFn, *, kinds: tuple[str, ...] = KINDS, lag: int = 0, amounts: Any = None
) -> History:
    """What a right deployment answers: each operation takes effect at one moment of its time.

    Moments are 10, 20, ...; requests begin and end anywhere around them, so that they overlap.
    """
    rows: list[Operation] = []
    states: list[tuple[tuple[tuple[int, int], ...], int]] = [((), 0)]
    pending: dict[int, int] = {}
    for number in range(1, draw(st.integers(2, OPERATIONS_MAX)) + 1):
        kind, at = draw(st.sampled_from(kinds)), number * 10
        times = (at - draw(st.integers(0, 25)), at + draw(st.integers(0, 25)))
        booked, _ = states[-1]
        cash, holds = sum(amount for _, amount in booked), sum(pending.values())
        if kind in {"balance", "statement"}:
            age = draw(st.integers(0, lag // 10)) if lag else 0
            age = min(age, number - 1)
            # The read began at most 25 before its moment; older states are within the bound too.
            seen, _ = states[number - 1 - age]
            cash = sum(amount for _, amount in seen)
            shown = Statement(postings=statement(*seen)) if kind == "statement" else None
            value = shown or Balance(ledger=cash, holds=None if lag else holds)
            rows.append(read(number, times, value))
        else:
            row, booked = _written(draw, (number, kind, times), booked, (pending, cash, amounts))
            rows.append(row)
        states.append((booked, 0))
    return history(*rows, final=statement(*states[-1][0]), lag_ns=lag, floors={A: 0})


def _written(
    draw: st.DrawFn,
    what: tuple[int, str, tuple[int, int]],
    booked: tuple[tuple[int, int], ...],
    state: tuple[dict[int, int], int, Any],
) -> tuple[Operation, tuple[tuple[int, int], ...]]:
    (number, kind, times), (pending, cash, amounts) = what, state
    named: dict[str, Any] = {"number": number, "client": f"c{number}", "began_ns": times[0]}
    if kind == "end" and pending:
        of = draw(st.sampled_from(sorted(pending)))
        held = pending.pop(of)
        settles = draw(st.booleans())
        row = Operation(
            **named,
            kind=Kind.SETTLE if settles else Kind.VOID,
            ended_ns=times[1],
            effects=((A, -held),) if settles else (),
            transaction=f"txn_{of}",
            account=A,
        )
        return row, (*booked, (of, -held)) if settles else booked
    sign = draw(st.sampled_from((1, 1, -1)))
    amount = draw(amounts) if amounts is not None else sign * 3**number
    refused = amount < 0 and cash - sum(pending.values()) + amount < 0
    unanswered = kind == "unanswered" and amounts is None
    holds = kind == "hold" and amount < 0
    outcome = Outcome.REFUSED if refused else Outcome.OK
    row = Operation(
        **named,
        kind=Kind.HOLD if holds else Kind.POST,
        ended_ns=None if unanswered else times[1],
        outcome=Outcome.UNRESOLVED if unanswered else outcome,
        effects=((A, amount),),
        transaction=None if unanswered or refused else f"txn_{number}",
        for_funds=refused and not unanswered,
    )
    if holds and not refused and not unanswered:
        pending[number] = -amount
    happens = not refused and not holds and (not unanswered or draw(st.booleans()))
    return row, (*booked, (number, amount)) if happens else booked


@st.composite
def spoiled(draw: st.DrawFn, cases: st.SearchStrategy[History]) -> History:
    """What a wrong deployment answers: one thing is changed, which may or may not be seen."""
    case = draw(cases)
    final = list(case.final[A])
    reads = [row for row in case.operations if row.reads]
    how = draw(st.sampled_from(("lose", "swap", "twice", "read", "clock", "holds")))
    if how == "lose" and final:
        del final[draw(st.integers(0, len(final) - 1))]
    elif how == "swap" and len(final) > 1:
        at = draw(st.integers(0, len(final) - 2))
        final[at], final[at + 1] = final[at + 1], final[at]
    elif how == "twice" and final:
        final.append(final[0])
    elif how == "read" and len(reads) > 1:
        one, other = draw(st.permutations(reads))[:2]
        changed = replace(one, kind=other.kind, shown=other.shown)
        kept = [changed if row is one else row for row in case.operations]
        case = replace(case, operations=tuple(kept))
    elif how == "holds" and any(isinstance(row.shown, Balance) for row in reads):
        one = draw(st.sampled_from([row for row in reads if isinstance(row.shown, Balance)]))
        holds = draw(st.sampled_from((0, 9, 27, 81)))
        ledger = one.shown.ledger if isinstance(one.shown, Balance) else 0
        changed = replace(one, shown=Balance(ledger=ledger, holds=holds))
        kept = [changed if row is one else row for row in case.operations]
        case = replace(case, operations=tuple(kept))
    else:
        row = draw(st.sampled_from(case.operations))
        if row.ended_ns is not None:
            later = replace(row, began_ns=row.began_ns + 40, ended_ns=row.ended_ns + 40)
            kept = [later if other is row else other for other in case.operations]
            case = replace(case, operations=tuple(kept))
    names = [int(posting.transaction.removeprefix("txn_")) for posting in final]
    rows = statement(*((name, row.amount) for name, row in zip(names, final, strict=True)))
    return replace(case, final={A: rows})


def found(case: History) -> bool:
    judged = history_judge.judge(case, searched=(A,))
    assert judged.undecided is None
    return judged.anomaly is not None


PLAIN = ("post", "post", "balance", "statement")
FEW = st.integers(-2, 3).filter(bool)


@given(st.one_of(served(), served(kinds=(*PLAIN, "unanswered"), lag=20), served(amounts=FEW)))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_a_right_deployment_is_never_accused(case: History) -> None:
    assert not found(case)


@given(
    spoiled(
        st.one_of(
            served(kinds=PLAIN),
            served(kinds=(*PLAIN, "unanswered")),
            served(kinds=PLAIN, lag=20),
            served(kinds=PLAIN, amounts=FEW),
        )
    )
)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_without_holds_an_anomaly_is_found_exactly_where_no_order_explains(case: History) -> None:
    # Refusals are left to the next test: the graph does not place them.
    refused = [row for row in case.operations if row.outcome is Outcome.REFUSED]
    kept = tuple(row for row in case.operations if row not in refused)
    case = replace(case, operations=kept, floors=None)
    impossible = not explained(case)
    event("impossible" if impossible else "possible")

    assert found(case) is impossible


@given(spoiled(served()))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_the_search_finds_an_order_exactly_where_there_is_one(case: History) -> None:
    possible = explained(case, by_statement=False)
    event("possible" if possible else "impossible")

    # What the statement's rows are is for the graph; the search sees balances.
    unnamed = tuple(row for row in case.operations if row.kind is not Kind.STATEMENT)
    case = replace(case, operations=unnamed)
    possible = explained(case, by_statement=False)
    opinion = history_search.search(case, A, guided=False).opinion

    assert opinion is (Opinion.POSSIBLE if possible else Opinion.IMPOSSIBLE)


@given(spoiled(served()))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_guided_it_finds_an_order_exactly_where_the_statement_has_one(case: History) -> None:
    unnamed = tuple(row for row in case.operations if row.kind is not Kind.STATEMENT)
    case = replace(case, operations=unnamed)
    (book,) = history_versions.versions_of(case).values()
    # A row that nobody asked for is not the search's to find.
    if None in book.writers:
        return
    possible = explained(case)

    opinion = history_search.search(case, A).opinion

    assert opinion is (Opinion.POSSIBLE if possible else Opinion.IMPOSSIBLE)


@given(spoiled(served()))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_nothing_that_an_order_explains_is_accused(case: History) -> None:
    if explained(case):
        assert not found(case)


@given(spoiled(served(kinds=("post", "balance", "balance", "hold", "end"))))
@settings(max_examples=600, deadline=None, derandomize=True)
def test_what_is_told_of_a_search_is_itself_impossible(case: History) -> None:
    judged = history_judge.judge(case, searched=(A,)).anomaly
    if judged is None or judged.name is not Name.NO_ORDER:
        return
    sought = history_search.search(case, A)
    (book,) = history_versions.versions_of(case).values()
    event("impossible")
    least = history_witness.smallest(case, A, sought, steps_max=10_000)

    assert 0 < len(least.operations) <= len(sought.operations)
    if sought.start == history_search.NOTHING:
        names = [row.number for row in least.operations]
        booked = [row for row in book.writers if row and row.number in names]
        rows = [(row.number, row.amount_on(A)) for row in booked]
        named = tuple(
            replace(row, transaction=f"txn_{row.number}") if row in booked else row
            for row in least.operations
        )
        told = history(*named, final=statement(*rows), lag_ns=case.lag_ns, floors=case.floors)
        assert not explained(told) or not explained(replace(told, floors=None))


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25), st.booleans()), max_size=12))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_transfers_between_two_accounts_are_never_accused(
    plan: list[tuple[int, int, bool]],
) -> None:
    rows: list[Operation] = []
    books: dict[str, list[Posting]] = {A: [], B: []}
    for number, (early, late, looks) in enumerate(plan, 1):
        times = (number * 10 - early, number * 10 + late)
        account = (A, B)[number % 2]
        if looks:
            shown = Statement(postings=tuple(books[account]))
            rows.append(read(number, times, shown, of=account))
            continue
        effects = ((A, 3**number), (B, -(3**number)))
        rows.append(
            Operation(
                number=number,
                client="c",
                kind=Kind.POST,
                began_ns=times[0],
                ended_ns=times[1],
                effects=effects,
                transaction=f"txn_{number}",
            )
        )
        for name, amount in effects:
            before = books[name][-1].running if books[name] else 0
            books[name].append(
                Posting(
                    transaction=f"txn_{number}",
                    amount=amount,
                    running=before + amount,
                    seq=number,
                )
            )
    case = history(*rows, final={name: tuple(postings) for name, postings in books.items()})

    assert history_judge.judge(case).anomaly is None
