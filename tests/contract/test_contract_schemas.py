"""The capability and growth-policy schemas, and the presets."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from certification.contract import load_contract
from certification.contract.document import read_document, read_schema

PRESETS = ("classic", "halving", "constitution-1.3")
Mutation = Callable[[dict[str, Any]], object]


def _preset(name: str) -> dict[str, Any]:
    return read_schema(f"presets/{name}.json")


def _capabilities() -> dict[str, Any]:
    value: dict[str, Any] = read_document()["components"]["examples"]["capabilities"]["value"]
    return value


@pytest.mark.parametrize("name", ["capability.schema.json", "growth-policy.schema.json"])
def test_the_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(read_schema(name))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_policy_under_its_name(name: str) -> None:
    assert load_contract().policy_violations(_preset(name)) == ()
    assert _preset(name)["name"] == name
    schema = read_schema("growth-policy.schema.json")
    assert list(Draft202012Validator(schema).iter_errors(_preset(name))) == []


def test_presets_differ_where_the_sources_do() -> None:
    classic, halving, constitution = (_preset(name) for name in PRESETS)
    assert [p["fork"]["threshold_major"] for p in (classic, halving, constitution)] == [
        50_000,
        50_000,
        100_000,
    ]
    assert [p["fork"]["fork_amount"] for p in (classic, halving, constitution)] == [
        "surplus",
        "fraction_of_balance",
        "threshold",
    ]
    assert [p["reinvest"]["tax_reserve_bps"] for p in (classic, halving, constitution)] == [
        0,
        0,
        3_000,
    ]
    assert not any(p["withdrawal_allowed"]["compounding"] for p in (classic, halving, constitution))


def _set(*path: Any, value: object) -> Mutation:
    def mutate(policy: dict[str, Any]) -> None:
        node: Any = policy
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return mutate


@pytest.mark.parametrize(
    ("mutate", "pointer"),
    [
        (_set("initial_split", 0, "bps", value=3_999), "/initial_split"),
        (_set("fork", "legs", 0, "bps", value=5_001), "/fork/legs"),
        (_set("reinvest", "legs", 0, "bps", value=1), "/reinvest/legs"),
        (_set("reinvest", "legs", 1, "bucket", value="position:contracts"), "/reinvest/legs"),
        (_set("merge", "sources_max", value=0), "/merge/sources_max"),
        (_set("merge", "sources_min", value=10), None),
        (_set("reinvest", "amount_min_major", value=2_000_000), "/reinvest/amount_min_major"),
        (_set("reinvest", "share_bps_max", value=10_001), "/reinvest/share_bps_max"),
        (_set("fork", "fork_amount", value="fraction_of_balance"), "/fork/fraction_bps"),
        (_set("merge", "threshold_major", value=None), "/merge/threshold_major"),
        (_set("fork", "threshold_major", value=50_000.5), "/fork/threshold_major"),
        (_set("bonus", value=1), ""),
        (lambda policy: policy.pop("base_mode"), ""),
    ],
)
def test_a_wrong_policy_is_named(mutate: Mutation, pointer: str | None) -> None:
    policy = _preset("classic")
    mutate(policy)
    found = {item.pointer for item in load_contract().policy_violations(policy)}
    assert found == (set() if pointer is None else {pointer})


def test_bounds_that_cross_are_found() -> None:
    policy = _preset("halving")
    policy["merge"]["sources_min"], policy["merge"]["sources_max"] = 10, 2
    found = load_contract().policy_violations(policy)
    assert [item.pointer for item in found] == ["/merge/sources_min"]


def test_no_document_at_all_is_a_violation() -> None:
    documents: tuple[object, ...] = (None, [], "x", 1, {})
    for document in documents:
        assert load_contract().policy_violations(document)
        assert load_contract().capability_violations(document)


def test_the_capability_example_is_the_minimum_and_may_grow() -> None:
    contract = load_contract()
    assert contract.capability_violations(_capabilities()) == ()
    assert contract.capability_violations(_capabilities() | {"x-own": {"a": 1}}) == ()


@pytest.mark.parametrize("member", read_schema("capability.schema.json")["required"])
def test_each_required_capability_is_missed(member: str) -> None:
    document = _capabilities()
    del document[member]
    found = load_contract().capability_violations(document)
    assert any(member in item.message for item in found)


@pytest.mark.parametrize(
    "change",
    [
        {"modules": [{"id": "growth", "version": "0.1.0", "level": "full"}]},
        {"modules": [{"id": "core", "version": "0.1.0", "level": "partial"}]},
        {"modules": [{"id": "core", "version": "one", "level": "full"}]},
        {"currencies": []},
        {"currencies": [{"code": "USD"}]},
        {"idempotency": {"retention_seconds": 3_600, "stored_statuses": [201]}},
        {"consistency": {"read_your_writes": False}},
        {"contract_version": "1"},
        {"openapi_sha256": "abc"},
        {"backup": {"types": ["weekly"]}},
    ],
)
def test_a_wrong_capability_is_found(change: dict[str, object]) -> None:
    assert load_contract().capability_violations(copy.deepcopy(_capabilities()) | change)
