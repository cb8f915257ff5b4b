"""The decision function: pure, in bounds of its plan, the same for the same past."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from certification.counterparties.decision import Armed, CountKey, Facts, decide, refused
from certification.counterparties.faults import (
    BY_TIME_ONLY,
    CALLBACK_KINDS,
    PARAMETERS,
    WHEN_PARAMETERS,
    Bound,
    FaultKind,
    Value,
    WhenKind,
    parse_fault,
)
from certification.counterparties.names import Party
from certification.counterparties.view import max_in_flight

OPERATIONS = ("placeOrder", "getOrder", "getQuote")


def values(bound: Bound) -> st.SearchStrategy[Value]:
    if isinstance(bound.default, bool):
        return st.booleans()
    if bound.among:
        return st.sampled_from(bound.among)
    if isinstance(bound.default, int):
        return st.integers(int(bound.low), int(bound.high))
    return st.floats(bound.low, bound.high)


def whens(kind: FaultKind) -> st.SearchStrategy[dict[str, object]]:
    allowed = [WhenKind.ALWAYS, WhenKind.WINDOW] if kind in BY_TIME_ONLY else list(WhenKind)
    return st.sampled_from(allowed).flatmap(
        lambda when: st.fixed_dictionaries(
            {name: values(bound) for name, bound in WHEN_PARAMETERS[when].items()}
        ).map(lambda found: {"kind": when.value, **found})
    )


def documents(kind: FaultKind) -> st.SearchStrategy[dict[str, object]]:
    countable = kind not in CALLBACK_KINDS | {FaultKind.REFUSE}
    return st.fixed_dictionaries(
        {
            "kind": st.just(kind.value),
            "when": whens(kind),
            "operations": st.lists(st.sampled_from(OPERATIONS)) if countable else st.just([]),
            "lease_s": st.floats(0.001, 3600),
            **{name: values(bound) for name, bound in PARAMETERS[kind].items()},
        }
    )


faults = st.sampled_from(FaultKind).flatmap(documents)
plans = st.lists(st.tuples(faults, st.floats(0, 100)), max_size=5).map(
    lambda rows: [
        Armed(
            id=number,
            fault=parse_fault(document, party=Party.MARKET, operations=OPERATIONS),
            armed_s=armed_s,
        )
        for number, (document, armed_s) in enumerate(rows)
    ]
)
facts = st.builds(
    Facts,
    operation=st.none() | st.sampled_from(OPERATIONS),
    key=st.none() | st.sampled_from(["a" * 16, "b" * 16]),
    callback=st.booleans(),
)
pasts = st.dictionaries(
    st.tuples(st.integers(0, 4), st.sampled_from(["", "a" * 16])), st.integers(0, 10)
)


@given(document=faults)
def test_a_fault_is_read_back_from_its_own_form(document: dict[str, object]) -> None:
    fault = parse_fault(document, party=Party.MARKET, operations=OPERATIONS)
    assert parse_fault(fault.document(), party=Party.MARKET, operations=OPERATIONS) == fault


@given(plan=plans, past=pasts, asked=facts, now_s=st.floats(100, 4000), seed=st.integers(0, 9))
def test_what_is_chosen_is_alive_matches_and_was_counted(
    plan: list[Armed], past: dict[CountKey, int], asked: Facts, now_s: float, seed: int
) -> None:
    before = dict(past)
    decision = decide(plan, past, asked, now_s=now_s, seed=seed)
    assert past == before
    assert decision == decide(plan, past, asked, now_s=now_s, seed=seed)
    ids = [fault_id for fault_id, _ in decision.counted]
    assert len(ids) == len(set(ids))
    for armed in plan:
        matches = not armed.fault.operations or asked.operation in armed.fault.operations
        matches &= (armed.fault.kind in CALLBACK_KINDS) is asked.callback
        matches &= armed.fault.kind is not FaultKind.REFUSE
        assert (armed.id in ids) is (matches and armed.alive(now_s))
    if decision.armed is not None:
        assert decision.armed.id in ids


@given(n=st.integers(1, 20), requests=st.integers(0, 40))
def test_first_n_of_any_number(n: int, requests: int) -> None:
    assert sum(hits("first", requests, n=n)) == min(n, requests)


@given(n=st.integers(1, 20), requests=st.integers(0, 80))
def test_every_nth_of_any_number(n: int, requests: int) -> None:
    assert sum(hits("every", requests, n=n)) == requests // n


@given(seed=st.integers(0, 1000))
def test_a_ramp_follows_its_share(seed: int) -> None:
    share = sum(hits("ramp", 1000, seed=seed, from_share=0.0, to_share=0.5, over_s=0.001)) / 1000
    assert 0.4 < share < 0.6


@given(at_s=st.floats(0, 30), after_s=st.floats(0, 10), for_s=st.floats(0, 10))
def test_the_port_is_closed_within_the_window_only(
    at_s: float, after_s: float, for_s: float
) -> None:
    fault = parse_fault(
        {"kind": "refuse", "when": {"kind": "window", "after_s": after_s, "for_s": for_s}},
        party=Party.MARKET,
        operations=(),
    )
    armed = Armed(id=1, fault=fault, armed_s=0.0)
    assert refused([armed], at_s) is (after_s <= at_s < after_s + for_s)


@given(
    spans=st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda row: (row[0], sum(row)))
    )
)
def test_requests_at_once_are_counted_right(spans: list[tuple[int, int]]) -> None:
    at_each = [sum(start <= moment < end for start, end in spans) for moment in range(71)]
    assert max_in_flight(spans) == max(at_each)


def hits(kind: str, requests: int, *, seed: int = 0, **when: object) -> list[bool]:
    """Which of so many requests, ten seconds after arming, the fault applies to."""
    fault = parse_fault(
        {"kind": "hang", "when": {"kind": kind, **when}}, party=Party.MARKET, operations=()
    )
    plan = [Armed(id=1, fault=fault, armed_s=0.0)]
    counts: dict[CountKey, int] = {}
    found = []
    for _ in range(requests):
        decision = decide(plan, counts, Facts(operation=None, key=None), now_s=10.0, seed=seed)
        for key in decision.counted:
            counts[key] = counts.get(key, 0) + 1
        found.append(decision.armed is not None)
    return found
