"""Fixtures of the tests of growth."""

from collections.abc import Callable
from typing import Any

import pytest

Client = Any


@pytest.fixture
def usd(admin: Client) -> Callable[[], int]:
    """Sum what customers hold, over every account and bucket."""

    def total() -> int:
        found, path = 0, "/v1/accounts?limit=200"
        while path:
            page = admin.get(path).body
            found += sum(account["balances"]["total_value"] for account in page["data"])
            cursor = page["next_cursor"]
            path = f"/v1/accounts?limit=200&cursor={cursor}" if cursor else ""
        return found

    return total
