"""Second opinion on one account: looks for an order of its operations (Wing and Gong, with memory).

Unlike the graph it knows holds and refusals: it tries orders until one explains every answer, or
none is left, or its budget is spent. What is booked comes in the order of the statement, as the
contract says; unguided, in any order, so that the statement is not believed either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from certification.oracle.history import (
    Balance,
    History,
    Kind,
    Operation,
    Outcome,
    Statement,
)
from certification.oracle.history_versions import versions_of

STEPS_MAX = 400_000
LOOKS = 4_096
"""How many steps go by between two looks at the clock."""


class Opinion(Enum):
    """What the search came to; closed."""

    POSSIBLE = "possible"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"
    """The budget was spent."""


State = tuple[int, frozenset[str], int]
"""Cash, the holds that are pending, and how many rows of the statement there are."""
NOTHING: State = (0, frozenset(), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the search knows of the account besides its operations."""

    name: str
    floor: int | None
    """The least available balance; None where no refusal is judged."""
    held: Mapping[str, int]
    """Amounts of holds by transaction."""
    rows: Mapping[int, int] | None
    """Which row of the statement an operation booked, by its number; None: any order is tried."""


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
    guided: bool = True,
    steps_max: int = STEPS_MAX,
    expired: Callable[[], bool] = lambda: False,
) -> Search:
    """Look for an order of the account's operations that explains every answer.

    `steps_max` bounds all segments together; `expired` is asked now and then and ends the search.
    """
    rows = [row for row in history.operations if row.touches(account) and _counts(row, account)]
    known = knowledge(history, account, guided=guided)
    state, steps = NOTHING, 0
    for segment in segments(history, rows):
        opinion, used = order(history, known, (state, segment), (steps_max - steps, expired))
        steps += used
        if opinion is not Opinion.POSSIBLE:
            return Search(opinion=opinion, steps=steps, start=state, operations=tuple(segment))
        state = _after(known, state, segment)
    return Search(opinion=Opinion.POSSIBLE, steps=steps)


def knowledge(history: History, account: str, *, guided: bool = True) -> Account:
    """Return what the search knows of an account."""
    floor = None if history.floors is None else history.floors.get(account)
    held = {
        hold_name(row): -row.amount_on(account)
        for row in history.operations
        if row.kind is Kind.HOLD
    }
    writers = versions_of(history)[account].writers if guided else ()
    rows = {row.number: place for place, row in enumerate(filter(None, writers))}
    return Account(name=account, floor=floor, held=held, rows=rows if guided else None)


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
    cash, pending, booked = state
    for row in segment:
        if row.outcome is Outcome.OK and not row.reads:
            cash += row.amount_on(account.name) if row.books else 0
            booked += row.books
            if row.kind is Kind.HOLD:
                pending |= {hold_name(row)}
    over = {
        row.transaction
        for row in segment
        if row.outcome is Outcome.OK and row.kind in {Kind.SETTLE, Kind.VOID}
    }
    return cash, pending - over, booked


def step(account: Account, state: State, operation: Operation) -> State | None:
    """Return the state after an operation that had its answer in this state; None if it cannot."""
    if operation.reads:
        return state if shows(account, state, operation) else None
    if operation.kind in {Kind.SETTLE, Kind.VOID}:
        return ended(account, state, operation)
    cash, pending, booked = state
    amount = operation.amount_on(account.name)
    short = account.floor is not None and amount < 0 and free(account, state) + amount < 0
    if operation.outcome is Outcome.REFUSED:
        return state if short or account.floor is None else None
    if short:
        return None
    if operation.kind is Kind.HOLD:
        return cash, pending | {hold_name(operation)}, booked
    return (cash + amount, pending, booked + 1) if in_turn(account, state, operation) else None


def ended(account: Account, state: State, operation: Operation) -> State | None:
    """Return the state after a settle or a void: it ends a pending hold, or is refused."""
    cash, pending, booked = state
    refused = operation.outcome is Outcome.REFUSED
    if (operation.transaction in pending) is refused:
        return None
    if refused:
        return state
    left = pending - {operation.transaction or ""}
    if not operation.books:
        return cash, left, booked
    if not in_turn(account, state, operation):
        return None
    return cash + operation.amount_on(account.name), left, booked + 1


def in_turn(account: Account, state: State, operation: Operation) -> bool:
    """Tell whether what an operation booked is the next row of the statement."""
    return account.rows is None or account.rows.get(operation.number) == state[2]


def hold_name(operation: Operation) -> str:
    """Return the name of a hold: its transaction, or its number where no answer named it."""
    return operation.transaction or f"#{operation.number}"


def free(account: Account, state: State) -> int:
    """Return what could be taken: cash without holds and the floor."""
    cash, pending, _ = state
    return cash - holds_of(account, pending) - (account.floor or 0)


def holds_of(account: Account, pending: frozenset[str]) -> int:
    """Return what pending holds promise together."""
    return sum(account.held.get(name, 0) for name in pending)


def shows(account: Account, state: State, operation: Operation) -> bool:
    """Tell whether a read can have had its answer in this state."""
    cash, pending, _ = state
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


@dataclass(slots=True)
class _Try:
    """One way through a segment, as far as it has come."""

    history: History
    account: Account
    rows: Sequence[Operation]
    state: State
    head: _Node
    left: int
    """Answers that no place has been found for yet."""
    done: int = 0
    """The operations with a place, as bits."""
    path: list[tuple[_Node, State]] = field(default_factory=list)

    def take(self, node: _Node, following: State) -> None:
        """Give an operation the next place."""
        self.path.append((node, self.state))
        self.state = following
        self.done |= 1 << node.number
        self.left -= node.match is not None
        _lift(node)

    def take_what_changes_nothing(self) -> int:
        """Place every read and refusal that fits here: later it could only stand in the way."""
        node, steps = self.head.following, 0
        while node is not None and not node.is_return:
            steps += 1
            following = node.following
            row = self.rows[node.number]
            if _changes_nothing(row) and step(self.account, self.state, row) is not None:
                self.take(node, self.state)
                if following is node.match and following is not None:
                    following = following.following
            node = following
        return steps

    def back(self) -> _Node | None:
        """Take back the last write and all after it; return it, None where there is none."""
        while self.path:
            node, self.state = self.path.pop()
            self.done ^= 1 << node.number
            self.left += node.match is not None
            _put_back(node)
            if not _changes_nothing(self.rows[node.number]):
                return node
        return None


def order(
    history: History,
    account: Account,
    work: tuple[State, Sequence[Operation]],
    budget: tuple[int, Callable[[], bool]],
) -> tuple[Opinion, int]:
    """Try to put one segment in order; return the opinion and the steps it took."""
    state, rows = work
    left = sum(1 for row in rows if row.outcome is not Outcome.UNRESOLVED)
    way = _Try(history, account, rows, state, _linked(history, rows), left)
    tried: set[tuple[int, State]] = set()
    steps = way.take_what_changes_nothing()
    node = way.head.following
    looked = 0
    while way.left:
        steps += 1
        looked += 1
        if steps > budget[0] or (looked % LOOKS == 0 and budget[1]()):
            return Opinion.UNDECIDED, steps
        if node is None or node.is_return:
            last = way.back()
            if last is None:
                return Opinion.IMPOSSIBLE, steps
            node = last.following
            continue
        row = rows[node.number]
        following = None if _changes_nothing(row) else step(account, way.state, row)
        key = (way.done | 1 << node.number, following or NOTHING)
        if following is None or key in tried:
            node = node.following
            continue
        tried.add(key)
        way.take(node, following)
        steps += way.take_what_changes_nothing()
        node = way.head.following
    return Opinion.POSSIBLE, steps


def _changes_nothing(operation: Operation) -> bool:
    return operation.reads or operation.outcome is Outcome.REFUSED


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
