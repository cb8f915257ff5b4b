"""docs/counterparties.md names everything that can be set, and its examples run."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from certification.counterparties.callbacks import Tamper
from certification.counterparties.faults import (
    PARAMETERS,
    WHEN_PARAMETERS,
    FaultKind,
    WhenKind,
    parse_fault,
)
from certification.counterparties.journal import Entry
from certification.counterparties.market import Market
from certification.counterparties.names import Party
from certification.counterparties.outbound import load_outbound
from certification.counterparties.strategy import STRATEGIES
from certification.counterparties.users import TAMPERS, UserManagement

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "counterparties.md").read_text("utf-8")


def part(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def row(text: str, name: str) -> str:
    found = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
    assert len(found) == 1, name
    return found[0]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_is_listed_with_its_parameters(kind: FaultKind) -> None:
    line = row(part("Faults"), kind.value)
    for name in PARAMETERS[kind]:
        assert f"`{name}`" in line


@pytest.mark.parametrize("kind", list(WhenKind))
def test_every_when_is_listed_with_its_parameters(kind: WhenKind) -> None:
    line = row(part("Faults"), kind.value)
    for name in WHEN_PARAMETERS[kind]:
        assert f"`{name}`" in line


def test_every_action_and_tamper_is_listed() -> None:
    text = part("Actions")
    for name in (*Market.actions, *UserManagement.actions):
        assert f"| `{name}` |" in text
    for name in (*TAMPERS, *(kind.value for kind in Tamper)):
        assert f"`{name}`" in text


def test_every_member_of_the_journal_and_every_strategy_is_listed() -> None:
    for member in fields(Entry):
        if member.name != "counterparty":
            assert f"`{member.name}`" in part("The journal")
    for name in STRATEGIES:
        assert f"`{name}`" in part("What each one does")


def test_the_example_in_python_runs() -> None:
    exec(compile(block("python"), "docs/counterparties.md", "exec"), {})  # noqa: S102  our own page


def test_the_example_of_a_fault_is_one() -> None:
    known = load_outbound(Party.MARKET).operations
    fault = parse_fault(json.loads(block("json")), party=Party.MARKET, operations=known)
    assert fault.kind is FaultKind.STATUS
