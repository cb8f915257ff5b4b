"""A rare filter of a list is looked for in a bounded number of rows, page after page."""

from collections.abc import Iterator

import pytest

from reference_impl import accounts

from ._desk import Desk, opened

BOUND = 5


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with opened(tmp_path_factory.mktemp("search")) as found:
        for number in range(23):
            kind = "revenue" if number % 9 == 0 else "generation"
            body = {"type": kind, "currency": "USD", "name": f"Account {number % 4}"}
            assert found.post("/v1/accounts", body).status_code == 201
        yield found


def walk(desk: Desk, query: str) -> tuple[list[str], list[int]]:
    """Return the ids of all pages in order, and the lengths of the pages."""
    ids: list[str] = []
    lengths: list[int] = []
    path = f"/v1/accounts?{query}"
    while True:
        page = desk.get(path)
        assert page.status_code == 200
        ids += [row["id"] for row in page.json["data"]]
        lengths.append(len(page.json["data"]))
        if page.json["next_cursor"] is None:
            return ids, lengths
        path = f"/v1/accounts?cursor={page.json['next_cursor']}"


@pytest.mark.parametrize("sort", ["seq", "-seq", "name", "-name"])
@pytest.mark.parametrize("limit", [1, 2, 200])
def test_the_walk_finds_each_match_once_whatever_the_bound(
    desk: Desk, sort: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = desk.get(f"/v1/accounts?sort={sort}&limit=200").json["data"]
    wanted = [row["id"] for row in everything if row["type"] == "revenue"]
    assert len(wanted) == 3
    query = f"type=revenue&status=active&sort={sort}&limit={limit}"
    assert walk(desk, query)[0] == wanted
    monkeypatch.setattr(accounts, "SCAN_ROWS_MAX", BOUND)
    found, lengths = walk(desk, query)
    assert found == wanted
    assert len(lengths) >= 23 // BOUND


def test_a_filter_that_nothing_meets_ends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "SCAN_ROWS_MAX", BOUND)
    assert walk(desk, "status=closed") == ([], [0] * (23 // BOUND + 1))
