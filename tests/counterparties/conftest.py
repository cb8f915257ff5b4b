"""Simulators for a module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from certification.counterparties.parties import Counterparties
from tests.counterparties.raw_client import Raw


@pytest.fixture(scope="module")
def served() -> Iterator[Counterparties]:
    with Counterparties.start() as parties:
        yield parties


@pytest.fixture
def parties(served: Counterparties) -> Counterparties:
    served.reset()
    return served


@pytest.fixture
def market(parties: Counterparties) -> Raw:
    return Raw(parties.market)
