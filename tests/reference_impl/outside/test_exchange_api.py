"""Identity tokens of user management: what is taken, what is not, and how keys are kept."""

import secrets
import time
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from reference_impl import totp
from tests.reference_impl.conftest import PASSWORD, Answer, Client

from .conftest import Place, a_user, at_once

ISSUER = "user-management"
FORGED = (
    "wrong_key",
    "unknown_kid",
    "algorithm_none",
    "symmetric",
    "wrong_audience",
    "wrong_issuer",
    "not_yet",
    "no_expiry",
    "changed",
)


def issue(place: Place, username: str, **options: Any) -> str:
    found = place.parties.user_management.act("issue", username=username, **options)
    return str(found["token"])


def exchange(place: Place, token: str) -> Answer:
    client = Client(place.server.port)
    return client.post("/v1/auth/exchange", {"identity_token": token}, key="")


def a_name(place: Place, *roles: str) -> tuple[str, Client]:
    name = f"u-{secrets.token_hex(8)}"
    return name, a_user(place.server, place.admin, *(roles or ("customer",)), name=name)


def fetched(place: Place, mark: int) -> int:
    return len(place.parties.user_management.journal(since=mark, operation="getKeys"))


def test_a_token_becomes_a_session_of_the_user_with_that_name(place: Place) -> None:
    name, user = a_name(place)
    answer = exchange(place, issue(place, name))
    assert answer.status == 200
    assert answer.body["user"] == {"id": user.user_id, "roles": ["customer"]}
    session = Client(place.server.port, answer.body["access_token"])
    assert session.get(f"/v1/users/{user.user_id}").status == 200
    again = Client(place.server.port)
    refreshed = again.post(
        "/v1/auth/refresh", {"refresh_token": answer.body["refresh_token"]}, key=""
    )
    assert refreshed.status == 200


@pytest.mark.parametrize("tamper", FORGED)
def test_a_token_that_does_not_hold_is_refused(place: Place, tamper: str) -> None:
    name, _ = a_name(place)
    answer = exchange(place, issue(place, name, tamper=tamper))
    assert (answer.status, answer.code) == (401, "token_invalid")
    assert name not in answer.body["detail"]


def test_an_expired_token_says_so(place: Place) -> None:
    name, _ = a_name(place)
    answer = exchange(place, issue(place, name, tamper="expired"))
    assert (answer.status, answer.code) == (401, "token_expired")


@pytest.mark.parametrize(
    "token",
    ["x", "a.b.c", "e30.e30.", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "\U0001f600", "." * 16_000],
)
def test_what_is_no_token_is_refused(place: Place, token: str) -> None:
    answer = exchange(place, token)
    assert (answer.status, answer.code) == (401, "token_invalid")


def test_a_forged_token_leaves_a_record(place: Place) -> None:
    name, _ = a_name(place)
    exchange(place, issue(place, name, tamper="wrong_key"))
    rows = place.admin.get("/v1/audit?sort=-seq&limit=5").body["data"]
    assert any(row["outcome"] == "token_invalid" for row in rows)


def test_a_token_is_exchanged_once_even_at_the_same_time(place: Place) -> None:
    name, _ = a_name(place)
    token = issue(place, name)
    answers = at_once(8, lambda _: exchange(place, token))
    assert sorted(answer.status for answer in answers) == [200] + [401] * 7


def test_nobody_is_made_and_a_disabled_user_does_not_enter(place: Place) -> None:
    assert exchange(place, issue(place, f"nobody-{secrets.token_hex(4)}")).code == "token_invalid"
    name, user = a_name(place)
    path = f"/v1/users/{user.user_id}"
    tag = place.admin.get(path).headers["etag"]
    assert place.admin.patch(path, {"status": "disabled"}, tag=tag).status == 200
    assert exchange(place, issue(place, name)).code == "token_invalid"


def test_a_person_is_bound_at_the_first_exchange(place: Place) -> None:
    name, user = a_name(place)
    other, _ = a_name(place)
    subject = f"person-{secrets.token_hex(4)}"
    assert exchange(place, issue(place, name, subject=subject)).status == 200
    renamed = exchange(place, issue(place, other, subject=subject))
    assert renamed.body["user"]["id"] == user.user_id
    taken = exchange(place, issue(place, name, subject=f"{subject}-else"))
    assert (taken.status, taken.code) == (401, "token_invalid")


def test_the_second_factor_of_the_user_is_asked_for(place: Place) -> None:
    name, user = a_name(place)
    begun = user.post("/v1/auth/mfa/enroll", {"method": "totp"}, key="")
    assert begun.status in {200, 201}, begun.body
    secret = begun.body["secret"]
    code = totp.code(secret, int(time.time()) // totp.PERIOD_S)
    confirmed = user.post("/v1/auth/mfa/enroll", {"method": "totp", "code": code}, key="")
    assert confirmed.status in {200, 201}, confirmed.body
    answer = exchange(place, issue(place, name))
    assert (answer.status, answer.body["mfa_required"]) == (200, True)
    assert "access_token" not in answer.body


def test_keys_are_kept_and_a_new_kid_is_the_reason_for_one_fetch(place: Place) -> None:
    name, _ = a_name(place)
    assert exchange(place, issue(place, name)).status == 200
    issuer = place.parties.user_management
    mark = issuer.mark()
    assert [exchange(place, issue(place, name)).status for _ in range(5)] == [200] * 5
    assert fetched(place, mark) == 0
    issuer.act("rotate")
    assert exchange(place, issue(place, name)).status == 200
    assert fetched(place, mark) == 1
    forged = issue(place, name, tamper="unknown_kid")
    assert [exchange(place, forged).code for _ in range(6)] == ["token_invalid"] * 6
    assert fetched(place, mark) == 2
    tokens = [issue(place, name, tamper="unknown_kid") for _ in range(30)]
    assert {exchange(place, token).status for token in tokens} == {401}
    assert fetched(place, mark) < 20
    assert issuer.violations(since=mark) == ()


def test_kept_keys_serve_on_while_the_issuer_is_away(place: Place) -> None:
    name, _ = a_name(place)
    assert exchange(place, issue(place, name)).status == 200
    token, foreign = issue(place, name), issue(place, name, tamper="unknown_kid")
    time.sleep(3)  # fetches are limited, and the tests before used some
    with place.parties.user_management.fault(FaultKind.REFUSE):
        assert exchange(place, token).status == 200
        found = exchange(place, foreign)
        assert (found.status, found.code) in {
            (401, "token_invalid"),
            (503, "integration_unavailable"),
            (503, "circuit_open"),
        }
        login = {"username": name, "password": PASSWORD}
        assert Client(place.server.port).post("/v1/auth/login", login, key="").status == 200
    place.close(ISSUER)


def test_a_withdrawn_key_counts_no_more_once_the_set_is_fetched(place: Place) -> None:
    name, _ = a_name(place)
    old = issue(place, name)
    assert exchange(place, issue(place, name)).status == 200
    place.parties.user_management.act("rotate", withdraw=True)
    deadline_s = time.monotonic() + 15
    while exchange(place, issue(place, name)).status != 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.5)
    assert exchange(place, old).code == "token_invalid"


def test_an_erasure_forgets_the_person_and_the_parameters(place: Place) -> None:
    name, user = a_name(place)
    subject = f"person-{secrets.token_hex(4)}"
    assert exchange(place, issue(place, name, subject=subject)).status == 200
    account = user.account()
    path = f"/v1/accounts/{account['id']}/strategy"
    body = {"name": "idle", "parameters": {"note": "my secret"}}
    assert user.send("PUT", path, body, headers={"If-Match": '"0"'}).status == 200
    assert user.post(f"{path}/executions", {}).status == 201
    whole = f"/v1/users/{user.user_id}"
    tag = {"If-Match": place.admin.get(whole).headers["etag"]}
    erased = place.admin.send("DELETE", f"{whole}/personal-data", headers=tag)
    assert erased.status in {200, 204}, erased.body
    assert exchange(place, issue(place, name, subject=subject)).code == "token_invalid"
    assert place.admin.get(path).body["parameters"] == {}


def test_without_an_issuer_the_answer_is_503(
    place: Place, tmp_path: Any, run_server: Any, make_database: Any
) -> None:
    alone = run_server(make_database(tmp_path / "book.db"))
    answer = Client(alone.port).post(
        "/v1/auth/exchange", {"identity_token": issue(place, "admin")}, key=""
    )
    assert (answer.status, answer.code) == (503, "integration_unavailable")
    assert answer.body["integration"] == ISSUER
