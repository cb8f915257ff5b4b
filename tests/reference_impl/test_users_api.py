"""Users and sessions over a real server."""

import concurrent.futures
import uuid
from typing import Any

import pytest


def name() -> str:
    return f"u-{uuid.uuid4().hex[:20]}"


def test_a_user_is_created_once_without_regard_to_case(admin: Any, user_password: str) -> None:
    username = name()
    body = {"username": username, "password": user_password, "roles": ["customer", "auditor"]}
    full = {**body, "email": "ada@example.org", "legal_name": "Ada Lovelace"}
    created = admin.post("/v1/users", full)
    assert created.status == 201
    assert created.body["roles"] == ["auditor", "customer"]
    assert created.body["email"] == "ada@example.org"
    assert "password" not in created.raw.decode()
    assert admin.get(created.headers["location"]).body == created.body
    again = {**body, "username": username.upper()}
    assert admin.post("/v1/users", again).code == "username_taken"


@pytest.mark.parametrize("password", ["short", "passwordpassword", "x" * 300])
def test_weak_passwords_are_refused(admin: Any, password: str) -> None:
    body = {"username": name(), "password": password, "roles": ["customer"]}
    assert admin.post("/v1/users", body).code == "password_policy"
    assert admin.post("/v1/users", {**body, "password": body["username"]}).code == (
        "password_policy"
    )


def test_users_are_for_admins_and_oneself(
    customer: Any, manager: Any, auditor: Any, user_password: str
) -> None:
    body = {"username": name(), "password": user_password, "roles": ["customer"]}
    assert manager.post("/v1/users", body).status == 403
    assert customer.get("/v1/users").status == 403
    assert auditor.get("/v1/users?limit=1").status == 200
    assert customer.get(f"/v1/users/{customer.user_id}").status == 200
    assert customer.get(f"/v1/users/{manager.user_id}").status == 404
    assert auditor.get(f"/v1/users/{manager.user_id}").status == 200


def test_personal_data_is_for_the_user_and_admin(
    admin: Any, auditor: Any, user_password: str
) -> None:
    body = {"username": name(), "password": user_password, "roles": ["customer"]}
    user = admin.post("/v1/users", {**body, "email": "ada@example.org"}).body
    assert "email" not in auditor.get(f"/v1/users/{user['id']}").body


def test_nobody_raises_the_own_roles(admin: Any, customer: Any) -> None:
    own = customer.patch(f"/v1/users/{customer.user_id}", {"roles": ["admin"]}, tag='"1"')
    assert own.code == "role_escalation"
    mine = admin.patch(f"/v1/users/{admin.user_id}", {"roles": ["customer"]}, tag='"1"')
    assert mine.code == "role_escalation"


def test_a_new_role_counts_at_once_and_ends_the_sessions(
    server: Any, admin: Any, customer: Any, log_in_as: Any, user_password: str
) -> None:
    user = admin.get(f"/v1/users/{customer.user_id}")
    assert admin.patch(f"/v1/users/{customer.user_id}", {"roles": ["operator"]}).status == 428
    path = f"/v1/users/{customer.user_id}"
    changed = admin.patch(path, {"roles": ["operator"]}, tag=user.headers["etag"])
    assert changed.body["version"] == 2
    assert customer.get("/v1/accounts").code == "token_invalid"
    again = log_in_as(server.port, user.body["username"], user_password)
    assert again.session["user"]["roles"] == ["operator"]


@pytest.mark.parametrize("status", ["locked", "disabled"])
def test_a_locked_user_is_out_at_once(
    admin: Any, customer: Any, status: str, user_password: str
) -> None:
    path = f"/v1/users/{customer.user_id}"
    username = admin.get(path).body["username"]
    assert admin.patch(path, {"status": status}, tag='"1"').status == 200
    assert customer.get("/v1/accounts").status == 401
    body = {"username": username, "password": user_password}
    assert customer.post("/v1/auth/login", body, key="").code == "bad_credentials"
    refresh = {"refresh_token": customer.session["refresh_token"]}
    assert customer.post("/v1/auth/refresh", refresh, key="").status == 401


def test_the_own_password_needs_the_current_one(
    server: Any, customer: Any, log_in_as: Any, user_password: str
) -> None:
    path = f"/v1/users/{customer.user_id}"
    username = customer.get(path).body["username"]
    new = "another long password"
    for wrong in ({"password": new}, {"password": new, "current_password": "wrong wrong wrong"}):
        assert customer.patch(path, wrong, tag='"1"').code == "current_password_wrong"
    weak = {"password": "short", "current_password": user_password}
    assert customer.patch(path, weak, tag='"1"').code == "password_policy"
    good = {"password": new, "current_password": user_password}
    assert customer.patch(path, good, tag='"1"').status == 200
    assert customer.get(path).status == 401
    assert log_in_as(server.port, username, new).get(path).status == 200


def test_wrong_name_and_wrong_password_are_answered_alike(customer: Any) -> None:
    login = "/v1/auth/login"
    unknown = customer.post(login, {"username": "nobody", "password": "whatever it is"}, key="")
    wrong = customer.post(login, {"username": "admin", "password": "whatever it is"}, key="")
    for answer in (unknown, wrong):
        answer.body.pop("trace_id")
    assert unknown.status == wrong.status == 401
    assert unknown.body == wrong.body


def test_a_refresh_token_works_once_and_its_reuse_ends_the_family(customer: Any) -> None:
    first = {"refresh_token": customer.session["refresh_token"]}
    rotated = customer.post("/v1/auth/refresh", first, key="").body
    customer.token = rotated["access_token"]
    assert customer.get("/v1/accounts").status == 200
    assert customer.post("/v1/auth/refresh", first, key="").code == "token_reused"
    assert customer.get("/v1/accounts").code == "token_invalid"
    second = {"refresh_token": rotated["refresh_token"]}
    assert customer.post("/v1/auth/refresh", second, key="").status == 401


def test_of_two_refreshes_at_once_one_wins(server: Any, customer: Any) -> None:
    body = {"refresh_token": customer.session["refresh_token"]}

    def refresh(_: int) -> int:
        other = type(customer)(server.port)
        return int(other.post("/v1/auth/refresh", body, key="").status)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(refresh, range(6))) == [200] + [401] * 5


def test_a_logout_ends_access_and_refresh(customer: Any) -> None:
    assert customer.post("/v1/auth/logout", key="").status == 204
    assert customer.get("/v1/accounts").code == "token_invalid"
    refresh = {"refresh_token": customer.session["refresh_token"]}
    assert customer.post("/v1/auth/refresh", refresh, key="").code == "token_invalid"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token_missing"),
        ("Basic YTpi", "token_invalid"),
        ("Bearer ", "token_invalid"),
        ("Bearer abc.def.ghi", "token_invalid"),
        ("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "token_invalid"),
    ],
)
def test_no_session_no_answer(server: Any, customer: Any, header: str | None, code: str) -> None:
    headers = {"Authorization": header} if header else {}
    assert type(customer)(server.port).get("/v1/accounts", headers=headers).code == code


def test_sixteen_logins_at_once_all_succeed_or_are_told_to_come_back(
    server: Any, log_in_as: Any, admin_password: str, admin: Any
) -> None:
    def attempt(_: int) -> int:
        client = type(admin)(server.port)
        body = {"username": "admin", "password": admin_password}
        return int(client.post("/v1/auth/login", body, key="").status)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(attempt, range(16))) <= {200, 503}
