"""Finds cycles in what must come before what, and names what a cycle shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from certification.oracle.history import Anomaly, History, Name, Operation
from certification.oracle.history_order import Edge, Graph

VISITS_MAX = 2_000_000
"""Nodes that the search for the shortest cycle may visit; then the shortest so far is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One edge of a cycle between operations; moments between them are folded into it."""

    before: Operation
    after: Operation
    why: Edge
    account: str


def components(out: Sequence[Sequence[tuple[int, Edge, str]]]) -> list[list[int]]:
    """Return the strongly connected components of two or more nodes (Tarjan, without recursion)."""
    index = [0] * len(out)
    low = [0] * len(out)
    on_stack = bytearray(len(out))
    stack: list[int] = []
    found: list[list[int]] = []
    counter = 0
    for root in range(len(out)):
        if index[root]:
            continue
        work = [(root, 0)]
        while work:
            node, position = work.pop()
            if position == 0:
                counter += 1
                index[node] = low[node] = counter
                stack.append(node)
                on_stack[node] = 1
            edges = out[node]
            while position < len(edges):
                following = edges[position][0]
                position += 1
                if not index[following]:
                    work.append((node, position))
                    work.append((following, 0))
                    break
                if on_stack[following]:
                    low[node] = min(low[node], index[following])
            else:
                if low[node] == index[node]:
                    _pop_component(node, stack, on_stack, found)
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
    return found


def _pop_component(
    node: int, stack: list[int], on_stack: bytearray, found: list[list[int]]
) -> None:
    component = []
    while True:
        member = stack.pop()
        on_stack[member] = 0
        component.append(member)
        if member == node:
            break
    if len(component) > 1:
        found.append(component)


def shortest_cycle(graph: Graph, component: Iterable[int]) -> list[Step]:
    """Return a cycle with as few operations as there are, within the bound on visits."""
    inside = set(component)
    best: list[tuple[int, int, Edge, str]] = []
    visits = 0
    for start in sorted(node for node in inside if node < graph.moments):
        path, used = _cycle_from(graph, inside, start)
        visits += used
        if path and (not best or _length(graph, path) < _length(graph, best)):
            best = path
        if visits > VISITS_MAX or (best and _length(graph, best) <= 2):
            break
    return _folded(graph, best)


def _length(graph: Graph, path: Sequence[tuple[int, int, Edge, str]]) -> int:
    return sum(1 for _, after, _, _ in path if after < graph.moments)


def _cycle_from(
    graph: Graph, inside: set[int], start: int
) -> tuple[list[tuple[int, int, Edge, str]], int]:
    """Search breadth first; a step to a moment costs nothing, one to an operation costs one."""
    came: dict[int, tuple[int, int, Edge, str]] = {}
    cost = {start: 0}
    waiting = deque([start])
    visits = 0
    while waiting:
        node = waiting.popleft()
        visits += 1
        if node == start and visits > 1:
            break
        for following, why, account in graph.out[node]:
            if following not in inside:
                continue
            step = 1 if following < graph.moments else 0
            known = cost.get(following)
            again = following == start and start not in came
            if again or known is None or (cost[node] + step < known and following != start):
                came[following] = (node, following, why, account)
                cost[following] = cost[node] + step
                if step:
                    waiting.append(following)
                else:
                    waiting.appendleft(following)
    if start not in came:
        return [], visits
    path = [came[start]]
    while path[-1][0] != start:
        path.append(came[path[-1][0]])
    return path[::-1], visits


def _folded(graph: Graph, path: Sequence[tuple[int, int, Edge, str]]) -> list[Step]:
    steps: list[Step] = []
    left: tuple[int, str] | None = None
    for before, after, why, account in path:
        if before < graph.moments:
            left = (before, account)
        if after < graph.moments and left is not None:
            steps.append(
                Step(
                    before=graph.operations[left[0]],
                    after=graph.operations[after],
                    why=why,
                    account=account or left[1],
                )
            )
    return steps


def named(steps: Sequence[Step]) -> Name:
    """Return what a cycle shows."""
    reads = {row.number: row for step in steps for row in (step.before, step.after) if row.reads}
    if not reads:
        return Name.OUT_OF_ORDER
    if len(reads) > 1:
        return Name.BACKWARDS
    (read,) = reads.values()
    for step in steps:
        if step.after is read and step.why is Edge.CLOCK:
            return Name.STALE_READ
    return Name.FUTURE_READ


def told(step: Step, history: History) -> str:
    """Return the sentence that says why one comes before the other."""
    first, second = called(step.before), called(step.after)
    if step.why is Edge.WRITE_WRITE:
        return f"{first} comes before {second}: so they stand in the statement of {step.account}"
    if step.why is Edge.WRITE_READ:
        return f"{first} comes before {second}, which shows it"
    if step.why is Edge.READ_WRITE:
        return f"{first} comes before {second}, which it does not show"
    lag_ms = history.lag_ns / 1e6
    late = f" by more than the declared {lag_ms:g} ms" if step.after.reads and lag_ms else ""
    return f"{first} comes before {second}: it was answered before the other was sent{late}"


def called(operation: Operation) -> str:
    """Return how a sentence names an operation; the timeline says the rest."""
    return f"#{operation.number} of {operation.client}"


def anomalies(graph: Graph, history: History) -> list[Anomaly]:
    """Return one anomaly for each knot of operations that cannot be put in order."""
    found = []
    for component in components(graph.out):
        steps = shortest_cycle(graph, component)
        operations = tuple({step.before.number: step.before for step in steps}.values())
        accounts = [step.account for step in steps if step.account]
        found.append(
            Anomaly(
                name=named(steps),
                account=accounts[0] if accounts else "",
                operations=tuple(sorted(operations, key=lambda row: row.began_ns)),
                reasons=tuple(told(step, history) for step in steps),
            )
        )
    return sorted(found, key=lambda row: len(row.operations))
