"""Every problem code of core and growth is provoked by a check, or its reason why not stands."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from certification.contract import load_contract
from certification.scenario_refusals_core import CORE, USERS
from certification.scenario_refusals_growth import GROWTH, UNDER_OWN_RULES

SUITE = Path(__file__).parents[2] / "suites" / "functional" / "test_scenarios_errors.py"
TABLES = (CORE, USERS, GROWTH, UNDER_OWN_RULES)


def out_of_reach() -> dict[str, str]:
    """The codes that the suite gives up, from the file itself."""
    source = importlib.util.spec_from_file_location("_scenarios_errors", SUITE)
    assert source is not None
    assert source.loader is not None
    module: Any = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    reasons: dict[str, str] = module.OUT_OF_REACH
    return reasons


def test_no_declared_code_is_forgotten() -> None:
    operations = load_contract().operations.values()
    declared = {
        code
        for operation in operations
        if operation.module in ("core", "growth")
        for code in operation.problems
    }
    provoked = [code for table in TABLES for code in table]
    assert len(provoked) == len(set(provoked))
    assert not set(provoked) & out_of_reach().keys()
    assert declared == set(provoked) | out_of_reach().keys()
    assert all(out_of_reach().values())
