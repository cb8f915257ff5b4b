"""When a session ends by itself, and that what it declares is when."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_impl import config
from tests.reference_impl._desk import Desk, opened


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as made:
        yield made


def refresh(desk: Desk) -> str:
    """Refresh; return the problem code, empty if there is a new pair."""
    body = {"refresh_token": desk.session["refresh_token"]}
    answer = desk.other().post("/v1/auth/refresh", body)
    if answer.status_code == 200:
        desk.enter(answer.json)
        return ""
    return str(answer.json["code"])


def test_a_session_that_is_not_refreshed_ends(desk: Desk) -> None:
    idle_s = desk.get("/.well-known/alluse").json["auth"]["session"]["idle_s"]
    assert desk.session["refresh_expires_in"] == idle_s
    desk.hands.advance(idle_s - 0.001)
    assert refresh(desk) == ""
    desk.hands.advance(idle_s)
    assert refresh(desk) == "token_expired"


def test_a_session_ends_at_its_absolute_time(desk: Desk) -> None:
    absolute_s = desk.get("/.well-known/alluse").json["auth"]["session"]["absolute_s"]
    end_ms = desk.hands.now + absolute_s * 1000
    while desk.hands.now + 1000 * config.ACCESS_TTL_S < end_ms:
        desk.hands.advance(config.ACCESS_TTL_S)
        assert refresh(desk) == ""
    left_s = (end_ms - desk.hands.now) / 1000
    assert desk.session["refresh_expires_in"] <= left_s
    assert desk.session["expires_in"] <= left_s
    desk.hands.now = end_ms - 1
    assert refresh(desk) == ""
    assert desk.get("/v1/accounts").status_code == 200
    desk.hands.now = end_ms
    assert desk.get("/v1/accounts").json["code"] == "token_expired"
    assert refresh(desk) == "token_expired"


def test_no_token_lives_longer_than_an_hour(desk: Desk) -> None:
    assert desk.get("/.well-known/alluse").json["auth"]["token_ttl"] <= 3600
    assert desk.session["expires_in"] <= 3600
