"""Second opinion on one account: looks for an order of its operations (Wing and Gong, with memory).

Unlike the graph it knows holds and refusals, and does not believe the statement: it tries orders
until one explains every answer, or none is left, or its budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from certification.oracle.history import (
    Balance,
    History,
    Kind,
    Operation,
    Outcome,
    Statement,
)

STEPS_MAX = 400_000
LOOKS = 4_096
"""How many steps go by between two looks at the clock."""


class Opinion(Enum):
    """What the search came to; closed."""

    POSSIBLE = "possible"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"
    """The budget was spent."""


State = tuple[int, frozenset[str]]
"""Cash, and the holds that are pending."""
NOTHING: State = (0, frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the search knows of the account besides its operations."""

    name: str
    floor: int | None
    """The least available balance; None where no refusal is judged."""
    held: dict[str, int]
    """Amounts of holds by transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The opinion, and what cannot be ordered where it is `IMPOSSIBLE`."""

    opinion: Opinion
    steps: int
    start: State = NOTHING
    """What was there before `operations`."""
    operations: tuple[Operation, ...] = ()


def search(
    history: History,
    account: str,
    *,
    steps_max: int = STEPS_MAX,
    expired: Callable[[], bool] = lambda: False,
) -> Search:
    """Look for an order of the account's operations that explains every answer.

    `steps_max` bounds all segments together; `expired` is asked now and then and ends the search.
    """
    rows = [row for row in history.operations if row.touches(account) and _counts(row, account)]
    known = _known(history, account)
    state, steps = NOTHING, 0
    for segment in segments(history, rows):
        opinion, used = _order(history, known, (state, segment), (steps_max - steps, expired))
        steps += used
        if opinion is not Opinion.POSSIBLE:
            return Search(opinion=opinion, steps=steps, start=state, operations=tuple(segment))
        state = _after(known, state, segment)
    return Search(opinion=Opinion.POSSIBLE, steps=steps)


def _known(history: History, account: str) -> Account:
    floor = None if history.floors is None else history.floors.get(account)
    held = {
        hold_name(row): -row.amount_on(account)
        for row in history.operations
        if row.kind is Kind.HOLD
    }
    return Account(name=account, floor=floor, held=held)


def _counts(operation: Operation, account: str) -> bool:
    """Leave out what changes nothing here and shows nothing."""
    if operation.reads:
        return operation.outcome is Outcome.OK and operation.shown is not None
    if operation.outcome is Outcome.REFUSED:
        return operation.kind in {Kind.SETTLE, Kind.VOID} or (
            operation.for_funds and operation.amount_on(account) < 0
        )
    return True


def segments(history: History, operations: Sequence[Operation]) -> list[list[Operation]]:
    """Cut where nothing is under way: there only one state is possible, whatever the order was."""
    found: list[list[Operation]] = []
    until: int | None = -1
    last: int | None = None
    for row in sorted(operations, key=history.earliest_ns):
        if last is None or (until is not None and history.earliest_ns(row) > until):
            found.append([])
            until = last = -(2**62)
        found[-1].append(row)
        until = None if until is None or row.ended_ns is None else max(until, row.ended_ns)
    return found


def _after(account: Account, state: State, segment: Sequence[Operation]) -> State:
    """Return the state after a segment in which everything was answered."""
    cash, pending = state
    for row in segment:
        if row.outcome is Outcome.OK and not row.reads:
            cash += row.amount_on(account.name) if row.books else 0
            if row.kind is Kind.HOLD:
                pending |= {hold_name(row)}
    over = {
        row.transaction
        for row in segment
        if row.outcome is Outcome.OK and row.kind in {Kind.SETTLE, Kind.VOID}
    }
    return cash, pending - over


def step(account: Account, state: State, operation: Operation) -> State | None:
    """Return the state after an operation that had its answer in this state; None if it cannot."""
    if operation.reads:
        return state if shows(account, state, operation) else None
    if operation.kind in {Kind.SETTLE, Kind.VOID}:
        return ended(account, state, operation)
    cash, pending = state
    amount = operation.amount_on(account.name)
    short = account.floor is not None and amount < 0 and free(account, state) + amount < 0
    if operation.outcome is Outcome.REFUSED:
        return state if short or account.floor is None else None
    if short:
        return None
    if operation.kind is Kind.HOLD:
        return cash, pending | {hold_name(operation)}
    return cash + amount, pending


def ended(account: Account, state: State, operation: Operation) -> State | None:
    """Return the state after a settle or a void: it ends a pending hold, or is refused."""
    cash, pending = state
    refused = operation.outcome is Outcome.REFUSED
    if (operation.transaction in pending) is refused:
        return None
    if refused:
        return state
    booked = operation.amount_on(account.name) if operation.books else 0
    return cash + booked, pending - {operation.transaction or ""}


def hold_name(operation: Operation) -> str:
    """Return the name of a hold: its transaction, or its number where no answer named it."""
    return operation.transaction or f"#{operation.number}"


def free(account: Account, state: State) -> int:
    """Return what could be taken: cash without holds and the floor."""
    cash, pending = state
    return cash - holds_of(account, pending) - (account.floor or 0)


def holds_of(account: Account, pending: frozenset[str]) -> int:
    """Return what pending holds promise together."""
    return sum(account.held.get(name, 0) for name in pending)


def shows(account: Account, state: State, operation: Operation) -> bool:
    """Tell whether a read can have had its answer in this state."""
    cash, pending = state
    shown = operation.shown
    if isinstance(shown, Statement):
        return (shown.postings[-1].running if shown.postings else 0) == cash
    if isinstance(shown, Balance):
        return shown.ledger == cash and shown.holds in {None, holds_of(account, pending)}
    return True


@dataclass(slots=True)
class _Node:
    """A call or a return in a doubly linked list in the order of time."""

    number: int
    is_return: bool
    previous: _Node | None = None
    following: _Node | None = None
    match: _Node | None = None


def _linked(history: History, rows: Sequence[Operation]) -> _Node:
    events: list[tuple[int, int, int]] = []
    for number, row in enumerate(rows):
        events.append((history.earliest_ns(row), 0, number))
        if row.ended_ns is not None and row.outcome is not Outcome.UNRESOLVED:
            events.append((row.ended_ns, 1, number))
    head = last = _Node(-1, is_return=False)
    calls: dict[int, _Node] = {}
    for _, is_return, number in sorted(events):
        node = _Node(number, is_return=bool(is_return), previous=last)
        last.following = node
        last = node
        if is_return:
            calls[number].match = node
        else:
            calls[number] = node
    return head


def _order(
    history: History,
    account: Account,
    work: tuple[State, Sequence[Operation]],
    budget: tuple[int, Callable[[], bool]],
) -> tuple[Opinion, int]:
    """Try to put one segment in order; return the opinion and the steps it took."""
    state, rows = work
    head = _linked(history, rows)
    left = sum(1 for row in rows if row.outcome is not Outcome.UNRESOLVED)
    done, tried = 0, {(0, state)}
    path: list[tuple[_Node, State]] = []
    node, steps = head.following, 0
    while left:
        steps += 1
        if steps > budget[0] or (steps % LOOKS == 0 and budget[1]()):
            return Opinion.UNDECIDED, steps
        if node is not None and not node.is_return:
            following = step(account, state, rows[node.number])
            now = done | 1 << node.number
            if following is not None and (now, following) not in tried:
                tried.add((now, following))
                path.append((node, state))
                state, done = following, now
                left -= node.match is not None
                _lift(node)
                node = head.following
            else:
                node = node.following
            continue
        if not path:
            return Opinion.IMPOSSIBLE, steps
        node, state = path.pop()
        done ^= 1 << node.number
        left += node.match is not None
        _put_back(node)
        node = node.following
    return Opinion.POSSIBLE, steps


def _lift(call: _Node) -> None:
    for node in (call, call.match):
        if node is not None and node.previous is not None:
            node.previous.following = node.following
            if node.following is not None:
                node.following.previous = node.previous


def _put_back(call: _Node) -> None:
    for node in (call.match, call):
        if node is not None and node.previous is not None:
            node.previous.following = node
            if node.following is not None:
                node.following.previous = node


def smallest(history: History, account: str, found: Search, *, steps_max: int) -> Search:
    """Leave out of what cannot be ordered all that is not needed for that.

    First everything that was sent after the first answer that nothing explains; then reads and
    refusals, one by one, as long as there is still no order.
    """

    def impossible(rows: Sequence[Operation]) -> bool:
        opinion, _ = _order(history, known, (found.start, rows), (steps_max, lambda: False))
        return opinion is Opinion.IMPOSSIBLE

    known = _known(history, account)
    ends = sorted(row.ended_ns for row in found.operations if row.ended_ns is not None)
    least, most = 0, len(ends) - 1
    while least < most:
        middle = (least + most) // 2
        if impossible(until(history, found.operations, ends[middle])):
            most = middle
        else:
            least = middle + 1
    kept = until(history, found.operations, ends[least]) if ends else list(found.operations)
    for row in sorted(kept, key=lambda row: -row.began_ns):
        needed = not row.reads and row.outcome is Outcome.OK
        rest = [other for other in kept if other is not row]
        if not needed and impossible(rest):
            kept = rest
    return replace(found, operations=tuple(kept))


def until(history: History, rows: Sequence[Operation], moment_ns: int) -> list[Operation]:
    """Return what was known at a moment: later answers are unknown, later requests not sent."""
    kept = []
    for row in rows:
        if history.earliest_ns(row) > moment_ns:
            continue
        if row.ended_ns is None or row.ended_ns <= moment_ns:
            kept.append(row)
        elif not row.reads and row.outcome is Outcome.OK:
            kept.append(replace(row, ended_ns=None, outcome=Outcome.UNRESOLVED))
    return kept
