"""What fuzzing sends, what it spares, and what it takes for forbidden."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certification.contract import load_contract
from certification.fuzzing.cases import ABSENT, Generated, Stop, generate, integral
from certification.fuzzing.probe import forbidden_in_query

SUITE = Path(__file__).resolve().parents[2] / "suites" / "functional" / "test_fuzzing.py"
CREATE = ("/v1/accounts", "POST")


def suite() -> Any:
    source = importlib.util.spec_from_file_location("fuzzing_suite_under_test", SUITE)
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


def drawn(*, valid: bool, seed: str = "1", count: int = 20) -> list[Generated]:
    found: list[Generated] = []
    generate(CREATE, valid=valid, count=count, drawn=seed, use=found.append)
    return found


def test_every_settled_operation_is_fuzzed_or_spared_for_a_reason() -> None:
    module = suite()
    fuzzed = {*module.CORE, *module.GROWTH, *module.ANALYTICS, *module.OPERATIONS}
    settled = {each.id for each in load_contract().operations.values() if not each.draft}
    assert fuzzed | set(module.SPARED) == settled
    assert not fuzzed & set(module.SPARED)


def test_valid_bodies_are_valid_by_the_contract_and_the_seed_decides_them() -> None:
    operation = load_contract().operations["createAccount"]
    first = drawn(valid=True)
    assert all(not operation.request_violations(each.body) for each in first)
    assert [each.body for each in first] == [each.body for each in drawn(valid=True)]
    assert [each.body for each in first] != [each.body for each in drawn(valid=True, seed="2")]


def test_many_forbidden_bodies_are_forbidden_by_the_contract() -> None:
    operation = load_contract().operations["createAccount"]
    bodies = [each.body for each in drawn(valid=False, count=40)]
    json_bodies = [b for b in bodies if not isinstance(b, bytes) and b is not ABSENT]
    forbidden = sum(bool(operation.request_violations(body)) for body in json_bodies)
    # The seed fixes the draws within a process; what was imported before moves them.
    assert forbidden >= 5


def test_a_stop_ends_the_generation_at_once() -> None:
    taken: list[Generated] = []

    def use(made: Generated) -> None:
        taken.append(made)
        raise Stop

    generate(CREATE, valid=True, count=20, drawn="1", use=use)
    assert len(taken) == 1


def test_what_may_be_read_two_ways_is_not_called_forbidden() -> None:
    limit: Mapping[str, Mapping[str, Any]] = {
        "limit": {"type": "integer", "minimum": 1, "maximum": 200},
        "sort": {"type": "string", "enum": ["seq", "-seq"]},
    }
    for text in ("200", "+5", "05", " 7", "3.0", ""):
        assert forbidden_in_query(limit, {"limit": text}) == []
    for text in ("201", "-1", "many"):
        assert len(forbidden_in_query(limit, {"limit": text})) == 1
    assert forbidden_in_query(limit, {"sort": "name", "unknown": "x"})
    assert integral({"a": [10.0, 2.5]}) == {"a": [10, 2.5]}
