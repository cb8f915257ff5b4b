"""What has served its purpose is deleted in the background, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import housekeeping
from reference_impl.config import IDEMPOTENCY_RETENTION_S
from reference_impl.retention import Periods

from ._desk import Desk, opened

DAY_S = 24 * 3600


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def count(desk: Desk, table: str) -> int:
    query = f"SELECT count(*) FROM {table}"  # noqa: S608 - names of this file
    return int(desk.services.readers.get().execute(query).fetchone()[0])


def open_account(desk: Desk, key: str) -> Any:
    body = {"type": "generation", "currency": "USD", "name": "Weekly income"}
    return desk.send("POST", "/v1/accounts", body, **{"Idempotency-Key": key})


def test_answers_past_their_retention_go_and_younger_ones_stay(desk: Desk) -> None:
    for number in range(3):
        assert open_account(desk, f"an-old-key-number-{number}").status_code == 201
    desk.hands.advance(IDEMPOTENCY_RETENTION_S - 60)
    desk.log_in()
    young = open_account(desk, "a-young-key-of-today")
    assert housekeeping.rounds(desk.services)["stored_answers"] == 0
    desk.hands.advance(120)
    assert housekeeping.rounds(desk.services)["stored_answers"] == 3
    again = open_account(desk, "a-young-key-of-today")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json == young.json


def test_a_purge_goes_on_while_its_writes_are_full(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_impl.idempotency.PURGE_ROWS", 2)
    for number in range(5):
        assert open_account(desk, f"an-old-key-number-{number}").status_code == 201
    desk.hands.advance(IDEMPOTENCY_RETENTION_S + 1)
    assert housekeeping.rounds(desk.services)["stored_answers"] == 5


def test_sessions_that_ended_long_ago_go_with_their_tokens_and_leave_a_record(desk: Desk) -> None:
    sessions, tokens = count(desk, "sessions"), count(desk, "refresh_tokens")
    desk.hands.advance(Periods().sessions_days * DAY_S)
    desk.log_in()
    assert housekeeping.rounds(desk.services)["sessions"] == 0
    desk.hands.advance(DAY_S)
    desk.log_in()
    assert housekeeping.rounds(desk.services)["sessions"] == sessions
    assert (count(desk, "sessions"), count(desk, "refresh_tokens")) == (2, 2)
    assert tokens == sessions
    records = desk.get("/v1/audit?action=clearUp").json["data"]
    assert [(row["actor"], row["object"]) for row in records] == [("operator", "sessions")]
    assert desk.get("/v1/accounts").status_code == 200
