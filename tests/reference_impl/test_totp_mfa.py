"""The second factor: its codes, its enrolment, what a challenge opens and what it does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import config, totp
from tests.reference_impl._desk import ADMIN_PASSWORD, PASSWORD, Desk, opened

VERIFY, ENROLL, DISABLE = "/v1/auth/mfa/verify", "/v1/auth/mfa/enroll", "/v1/auth/mfa/disable"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def user(desk: Desk) -> Desk:
    return desk.new_user("customer")


def challenge_of(user: Desk) -> str:
    """Log in with the password; return the challenge that answers it."""
    answer = user.other().try_login(user.session["username"], PASSWORD)
    assert answer.json["mfa_required"] is True
    assert "access_token" not in answer.json
    assert answer.json["expires_in"] == config.MFA_CHALLENGE_TTL_S
    return str(answer.json["challenge"])


def verify(user: Desk, challenge: str, code: str) -> Any:
    return user.other().post(VERIFY, {"challenge": challenge, "code": code})


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_codes_are_those_of_rfc_6238(second: int, code: str) -> None:
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # "12345678901234567890" of appendix B
    assert totp.code(secret, totp.step_of(second * 1000)) == code


def test_the_declared_skew_is_the_skew(desk: Desk, user: Desk) -> None:
    (declared,) = desk.get("/.well-known/alluse").json["auth"]["mfa"]
    assert declared == {"method": "totp", "digits": 6, "period": 30, "skew": 1}
    secret = user.enroll()
    desk.hands.advance(600)
    for steps, status in ((-2, 401), (2, 401), (-1, 200), (0, 200), (1, 200)):
        answer = verify(user, challenge_of(user), user.code(secret, steps))
        assert answer.status_code == status, steps


def test_from_enrolment_to_a_session(desk: Desk, user: Desk) -> None:
    elsewhere = desk.other().log_in(user.session["username"], PASSWORD)
    begun = user.post(ENROLL, {"method": "totp"})
    assert begun.json["confirmed"] is False
    secret = begun.json["secret"]
    assert f"secret={secret}" in begun.json["otpauth_uri"]
    assert desk.other().try_login(user.session["username"], PASSWORD).json["access_token"]
    wrong = user.post(ENROLL, {"method": "totp", "code": user.code(secret, 9)})
    assert wrong.json["code"] == "mfa_invalid"
    done = user.post(ENROLL, {"method": "totp", "code": user.code(secret)})
    assert done.json == {"method": "totp", "confirmed": True}
    assert user.get("/v1/accounts").status_code == 200
    assert elsewhere.get("/v1/accounts").json["code"] == "token_invalid"
    again = user.post(ENROLL, {"method": "totp"})
    assert again.json["code"] == "mfa_already_enrolled"
    desk.hands.advance(30)
    session = verify(user, challenge_of(user), user.code(secret))
    assert session.status_code == 200
    assert desk.other().enter(session.json).get("/v1/accounts").status_code == 200


def test_confirming_what_was_not_begun_is_refused(user: Desk) -> None:
    assert user.post(ENROLL, {"method": "totp", "code": "123456"}).json["code"] == "mfa_invalid"


def test_a_code_is_taken_once_whatever_the_challenge(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    first, second = challenge_of(user), challenge_of(user)
    code = user.code(secret)
    assert verify(user, first, code).status_code == 200
    assert verify(user, second, code).json["code"] == "mfa_replayed"
    earlier = user.code(secret, -1)
    assert verify(user, second, earlier).json["code"] == "mfa_replayed"
    desk.hands.advance(30)
    assert verify(user, second, user.code(secret)).status_code == 200


def test_the_code_that_confirmed_is_used_up(user: Desk) -> None:
    secret = user.post(ENROLL, {"method": "totp"}).json["secret"]
    code = user.code(secret)
    assert user.post(ENROLL, {"method": "totp", "code": code}).status_code == 200
    assert verify(user, challenge_of(user), code).json["code"] == "mfa_replayed"


def test_a_challenge_opens_one_session_and_nothing_else(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    challenge = challenge_of(user)
    holder = desk.other()
    holder.token = challenge
    assert holder.get("/v1/accounts").json["code"] == "token_invalid"
    holder.token = ""
    refresh = holder.post("/v1/auth/refresh", {"refresh_token": challenge})
    assert refresh.json["code"] == "token_invalid"
    session = verify(user, challenge, user.code(secret)).json
    desk.hands.advance(30)
    assert verify(user, challenge, user.code(secret)).json["code"] == "token_invalid"
    for no_challenge in (session["access_token"], session["refresh_token"], "ch_made_up"):
        answer = verify(user, no_challenge, user.code(secret))
        assert answer.json["code"] == "token_invalid"


def test_a_challenge_expires(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    challenge = challenge_of(user)
    desk.hands.advance(config.MFA_CHALLENGE_TTL_S)
    assert verify(user, challenge, user.code(secret)).json["code"] == "token_expired"


def test_a_challenge_does_not_outlive_the_password(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    challenge = challenge_of(user)
    desk.hands.advance(1)
    path, tag = f"/v1/users/{user.user_id}", '"1"'
    body = {"password": "marble otter lantern"}
    assert desk.send("PATCH", path, body, **{"If-Match": tag}).status_code == 200
    assert verify(user, challenge, user.code(secret)).json["code"] == "token_invalid"


def test_wrong_codes_lock_like_wrong_passwords(desk: Desk, user: Desk) -> None:
    """A new login does not buy new guesses."""
    secret = user.enroll()
    for _ in range(config.LOCKOUT_THRESHOLD):
        assert verify(user, challenge_of(user), "000000").json["code"] == "mfa_invalid"
    answer = desk.other().try_login(user.session["username"], PASSWORD)
    assert answer.json["code"] == "locked"
    desk.hands.advance(int(answer.headers["Retry-After"]))
    assert verify(user, challenge_of(user), user.code(secret)).status_code == 200


def test_a_challenge_is_not_answered_during_a_lock(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    challenge = challenge_of(user)
    for _ in range(config.LOCKOUT_THRESHOLD):
        desk.other().try_login(user.session["username"], "wrong wrong wrong")
    answer = verify(user, challenge, user.code(secret))
    assert (answer.status_code, answer.json["code"]) == (423, "locked")
    assert int(answer.headers["Retry-After"]) >= 1


def test_one_challenge_takes_few_codes(desk: Desk, user: Desk) -> None:
    """Even where the lock is lifted or waited for each time."""
    secret = user.enroll()
    challenge = challenge_of(user)
    for _ in range(config.MFA_ATTEMPTS_MAX):
        assert verify(user, challenge, "000000").json["code"] == "mfa_invalid"
        body = {"status": "active"}
        path = f"/v1/users/{user.user_id}"
        tag = desk.get(path).headers["ETag"]
        assert desk.send("PATCH", path, body, **{"If-Match": tag}).status_code == 200
    assert verify(user, challenge, user.code(secret)).json["code"] == "token_invalid"


def test_switching_off_needs_a_fresh_code(desk: Desk, user: Desk) -> None:
    assert user.post(DISABLE, {"code": "123456"}).json["code"] == "not_found"
    secret = user.enroll()
    assert user.post(DISABLE, {"code": "000000"}).json["code"] == "mfa_invalid"
    assert user.post(DISABLE, {"code": user.code(secret)}).status_code == 204
    desk.other().log_in(user.session["username"], PASSWORD)


def test_a_stolen_session_cannot_guess_the_factor_away(desk: Desk, user: Desk) -> None:
    user.enroll()
    codes = [user.post(DISABLE, {"code": "000000"}).status_code for _ in range(7)]
    assert codes == [401] * config.LOCKOUT_THRESHOLD + [423] * 2


def test_an_admin_resets_the_factor_of_another(desk: Desk, user: Desk) -> None:
    user.enroll()
    path = f"/v1/users/{user.user_id}/mfa"
    assert user.send("DELETE", path).status_code == 403
    assert desk.send("DELETE", path).status_code == 204
    assert user.get("/v1/accounts").json["code"] == "token_invalid"
    desk.other().log_in(user.session["username"], PASSWORD)
    assert desk.send("DELETE", path).json["code"] == "not_found"
    assert desk.send("DELETE", "/v1/users/usr_nobody/mfa").json["code"] == "not_found"
    assert desk.send("DELETE", f"/v1/users/{desk.user_id}/mfa").json["code"] == "forbidden"


def test_a_machine_has_no_second_factor(desk: Desk) -> None:
    machine = desk.new_user("service")
    assert machine.post(ENROLL, {"method": "totp"}).status_code == 403


def test_the_secret_is_shown_once_and_stored_encrypted(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    answer = user.post(ENROLL, {"method": "totp"})
    assert secret not in answer.text
    assert secret not in desk.get(f"/v1/users/{user.user_id}").text
    stored = desk.services.readers.get().execute("SELECT secret FROM totp").fetchone()[0]
    assert secret.encode() not in stored
    assert desk.services.sealer.open(stored) == secret


def test_the_moment_of_the_code_is_kept_with_the_session(desk: Desk, user: Desk) -> None:
    secret = user.enroll()
    assert verify(user, challenge_of(user), user.code(secret)).status_code == 200
    rows = desk.services.readers.get().execute(
        "SELECT mfa_at FROM sessions WHERE user_id = ? ORDER BY created_at", (user.user_id,)
    )
    moments = [row[0] for row in rows]
    assert moments[-1] == desk.hands.now


@pytest.mark.parametrize("body", [{}, {"code": "12345"}, {"code": 123456}, {"code": "12345\u0666"}])
def test_a_code_of_another_form_is_no_code(user: Desk, body: dict[str, Any]) -> None:
    assert user.post(DISABLE, body).json["code"] == "validation_failed"
    assert user.post(VERIFY, {"challenge": "x", **body}).json["code"] == "validation_failed"


def test_the_admin_is_not_spared(desk: Desk) -> None:
    secret = desk.enroll()
    answer = desk.other().try_login("admin", ADMIN_PASSWORD)
    assert answer.json["mfa_required"] is True
    assert verify(desk, answer.json["challenge"], desk.code(secret)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/auth/login", VERIFY, ENROLL, DISABLE])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"code": NaN}',
        b'{"code": 1e400}',
        b'{"code": "123456", "code": "123456"}',
        b'{"method": "totp", "code": "\xff"}',
        b'{"challenge": "\\ud800", "code": "123456"}',
        b'{"challenge": {}, "code": []}',
        b'{"username": "\\u0000\\u202e", "password": ""}',
        b'{"username": "a", "password": "b", "admin": true}',
        b"[" * 50_000,
        b'{"code": "' + b"1" * 100_000 + b'"}',
    ],
)
def test_a_hostile_body_is_a_problem_of_its_sender(user: Desk, path: str, raw: bytes) -> None:
    answer = user.app.test_client().post(
        path,
        data=raw,
        headers={"Authorization": f"Bearer {user.token}"},
        content_type="application/json",
        environ_base={"REMOTE_ADDR": user.source},
    )
    assert answer.status_code == 400
    assert answer.json["code"] in {"malformed_json", "validation_failed"}
