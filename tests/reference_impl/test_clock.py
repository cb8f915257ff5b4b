"""What depends on time, with a clock that the test moves."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reference_impl import clock, config, ids, setup
from reference_impl.app import create_app

PASSWORD = "an admin's long password"


@dataclass
class Hands:
    """A clock that stands still until it is moved."""

    now: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


@dataclass
class Desk:
    """An application without a server, and its clock."""

    client: Any
    hands: Hands
    token: str = ""

    def post(self, path: str, body: Any, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body)
        return self.client.post(path, data=data, headers=headers, content_type="application/json")

    def get(self, path: str) -> Any:
        return self.client.get(path, headers={"Authorization": f"Bearer {self.token}"})

    def log_in(self) -> dict[str, Any]:
        answer = self.post("/v1/auth/login", {"username": "admin", "password": PASSWORD})
        session: dict[str, Any] = answer.json
        self.token = session["access_token"]
        return session


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    path = tmp_path / "book.db"
    setup.create(path, "admin", PASSWORD)
    hands = Hands()
    app = create_app(config.Settings(database=path), hands)
    made = Desk(app.test_client(), hands)
    made.log_in()
    yield made
    shared = app.extensions["alluse"]
    shared.writer.close()
    shared.readers.get().close()


def test_an_access_token_expires_and_is_refreshed(desk: Desk) -> None:
    session = desk.log_in()
    desk.hands.advance(session["expires_in"] - 0.001)
    assert desk.get("/v1/accounts").status_code == 200
    desk.hands.advance(0.001)
    assert desk.get("/v1/accounts").json["code"] == "token_expired"
    body = {"refresh_token": session["refresh_token"]}
    desk.token = desk.post("/v1/auth/refresh", body).json["access_token"]
    assert desk.get("/v1/accounts").status_code == 200


def test_a_refresh_token_expires(desk: Desk) -> None:
    session = desk.log_in()
    desk.hands.advance(session["refresh_expires_in"])
    body = {"refresh_token": session["refresh_token"]}
    assert desk.post("/v1/auth/refresh", body).json["code"] == "token_expired"


def test_a_session_ends_whatever_is_refreshed(desk: Desk) -> None:
    session = desk.log_in()
    for _ in range(config.SESSION_TTL_S // config.REFRESH_TTL_S):
        desk.hands.advance(config.REFRESH_TTL_S - 10)
        body = {"refresh_token": session["refresh_token"]}
        session = desk.post("/v1/auth/refresh", body).json
    desk.hands.advance(config.SESSION_TTL_S % config.REFRESH_TTL_S + 300)
    body = {"refresh_token": session["refresh_token"]}
    assert desk.post("/v1/auth/refresh", body).json["code"] == "token_expired"


def open_account(desk: Desk) -> str:
    body = {"type": "generation", "currency": "USD", "name": "n"}
    return str(desk.post("/v1/accounts", body).json["id"])


def test_a_key_is_kept_for_its_retention_and_then_new(desk: Desk) -> None:
    account_id, key = open_account(desk), str(uuid.uuid4())
    money = {"amount": 5, "currency": "USD"}
    body = {"kind": "deposit", "amount": money, "to_account_id": account_id}
    first = desk.post("/v1/transactions", body, key)
    desk.hands.advance(24 * 3600)
    desk.log_in()
    again = desk.post("/v1/transactions", body, key)
    assert again.data == first.data
    desk.hands.advance(config.IDEMPOTENCY_RETENTION_S)
    desk.log_in()
    later = desk.post("/v1/transactions", body, key)
    assert later.json["id"] != first.json["id"]
    assert "Idempotency-Replayed" not in later.headers


def test_a_key_that_a_reader_looks_up_is_new_after_its_retention_as_well(desk: Desk) -> None:
    key = str(uuid.uuid4())
    first = desk.post("/v1/backups", {"type": "full"}, key)
    assert (first.status_code, desk.post("/v1/backups", {"type": "full"}, key).data) == (
        201,
        first.data,
    )
    desk.hands.advance(config.IDEMPOTENCY_RETENTION_S)
    desk.log_in()
    later = desk.post("/v1/backups", {"type": "full"}, key)
    assert (later.status_code, later.json["id"] == first.json["id"]) == (201, False)


def test_a_hold_ends_at_its_instant(desk: Desk) -> None:
    account_id = open_account(desk)
    money = {"amount": 5, "currency": "USD"}
    deposit = {"kind": "deposit", "amount": money, "to_account_id": account_id}
    desk.post("/v1/transactions", deposit)
    hold = {
        "kind": "withdrawal",
        "amount": money,
        "from_account_id": account_id,
        "hold": True,
        "expires_at": clock.text(desk.hands.now + 60_000),
    }
    held = desk.post("/v1/transactions", hold).json
    desk.hands.advance(59.999)
    assert desk.get(f"/v1/transactions/{held['id']}").json["status"] == "pending"
    desk.hands.advance(0.001)
    assert desk.get(f"/v1/transactions/{held['id']}").json["status"] == "expired"
    assert desk.get(f"/v1/accounts/{account_id}").json["balances"]["available"] == 5


def test_instants_are_exact_to_the_millisecond() -> None:
    for instant_ms in (-61_000_000_000_001, -1, 0, 1, 999, 1_800_000_000_123, 253_402_300_799_999):
        text = clock.text(instant_ms)
        assert clock.milliseconds(datetime.fromisoformat(text)) == instant_ms
        assert datetime.fromisoformat(text).tzinfo == UTC


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [
        ids.new_id("acc", instant_ms) for instant_ms in range(1_800_000_000_000, 10**12 * 2, 10**11)
    ]
    assert made == sorted(made)
    assert all(ids.PATTERN.match(one) for one in made)
    assert len({ids.new_id("acc", 5) for _ in range(1000)}) == 1000
