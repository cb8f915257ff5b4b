"""The vectors of each oracle pass on an unchanged copy: a mutant dies of its change alone."""

from __future__ import annotations

import types

import pytest

from certification import scenario_book
from certification.oracle import ledger, members
from certification.walking import book, rules
from tests.oracle import test_oracle_ledger, test_oracle_members, test_scenario_book
from tests.oracle.mutants import is_killed
from tests.walking import test_walk_book, test_walk_rules

ORACLES = {
    ledger: test_oracle_ledger,
    members: test_oracle_members,
    scenario_book: test_scenario_book,
    book: test_walk_book,
    rules: test_walk_rules,
}


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.__name__)
def test_an_unchanged_copy_lives(monkeypatch: pytest.MonkeyPatch, oracle: types.ModuleType) -> None:
    line = "from __future__ import annotations\n"
    assert not is_killed(monkeypatch, oracle, (line, line), vars(ORACLES[oracle]))
