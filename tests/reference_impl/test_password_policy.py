"""Which passwords are taken, which are not taken again, and how hashes grow stronger."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl import config, password_policy, passwords
from reference_impl.config import PASSWORD_HISTORY, PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN
from tests.reference_impl._desk import PASSWORD, Desk, opened


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "password",
    [
        "marble otter lantern 42",
        "an admin's long password",
        "Zx9!0f3c2a7b8d",
        "\u0437\u0438\u043c\u043d\u0438\u0439 \u0432\u0435\u0447\u0435\u0440 \u0434\u043e\u043c",
        "p" * 3 + "q7-otter-lantern",
    ],
)
def test_a_long_password_of_ones_own_is_taken(password: str) -> None:
    assert password_policy.fault(password, "ada") == ""


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "Password12345!",
        "P@ssw0rd!!2024",
        "passw0rd1234",
        "letmein-letmein-1",
        "adminadminadmin",
        "welcome 2026 !!",
        "correct horse battery staple",
        "aaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "123456789012",
        "098765432109",
        "abcdefghijklm",
        "qwertyuiopas",
        "zyxwvutsrqponm",
        "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff441234",
    ],
)
def test_what_attackers_try_first_is_refused(password: str) -> None:
    assert "attacker" in password_policy.fault(password)


@pytest.mark.parametrize(
    ("password", "username"),
    [
        ("ada.lovelace", "ada.lovelace"),
        ("Ada.Lovelace1", "ada.lovelace"),
        ("ecalevol.ada2026", "ada.lovelace"),
        ("ada@example.org", "ada@example.org"),
        ("lovelace-1815", "lovelace@example.org"),
    ],
)
def test_a_password_made_from_the_name_is_refused(password: str, username: str) -> None:
    assert "user name" in password_policy.fault(password, username)


def test_a_short_name_inside_a_long_password_does_no_harm() -> None:
    assert password_policy.fault("channel swims orange", "ann") == ""


def test_the_lengths_are_those_declared() -> None:
    tail = "xK7#"
    just = ("otter lantern marble " * 20)[: PASSWORD_LENGTH_MAX - len(tail)] + tail
    assert password_policy.fault(just) == ""
    assert "at most" in password_policy.fault(just + "x")
    shortest = "oT7#lanQ9zVb"
    assert len(shortest) == PASSWORD_LENGTH_MIN
    assert password_policy.fault(shortest) == ""
    assert "at least" in password_policy.fault(shortest[:-1])


def test_classes_are_asked_for_only_where_they_are_named() -> None:
    assert password_policy.fault("marble otter lantern") == ""
    names = ("lower", "upper", "digit", "symbol")
    assert "upper, digit, symbol" in password_policy.fault("marble otter lantern", "", names)
    assert password_policy.fault("Marble otter lantern 4!", "", names) == ""


@given(st.text(max_size=300), st.text(max_size=64))
def test_any_text_is_judged(password: str, username: str) -> None:
    found = password_policy.fault(password, username)
    short = len(password) < PASSWORD_LENGTH_MIN
    assert bool(found) or not short


def test_the_declared_complexity_is_asked_of_new_users(tmp_path: Path) -> None:
    with opened(tmp_path, password_complexity="upper,digit") as desk:
        rules = desk.get("/.well-known/alluse").json["auth"]["password"]
        assert rules["complexity"] == ["upper", "digit"]
        body = {"username": "ada", "password": PASSWORD, "roles": ["customer"]}
        assert desk.post("/v1/users", body).json["code"] == "password_policy"
        assert desk.post("/v1/users", {**body, "password": PASSWORD + " A1"}).status_code == 201


def change(user: Desk, old: str, new: str) -> str:
    """Change the own password; return the problem code, empty if it was changed."""
    tag = user.get(f"/v1/users/{user.user_id}").headers["ETag"]
    body = {"password": new, "current_password": old}
    answer = user.send("PATCH", f"/v1/users/{user.user_id}", body, **{"If-Match": tag})
    if answer.status_code == 200:
        user.log_in(user.session["username"], new)
        return ""
    return str(answer.json["code"])


def test_the_last_passwords_are_not_taken_again(desk: Desk) -> None:
    assert desk.get("/.well-known/alluse").json["auth"]["password"]["history"] == PASSWORD_HISTORY
    user = desk.new_user("customer")
    name = user.session["username"]
    chain = [PASSWORD, *(f"marble otter lantern {n}" for n in range(PASSWORD_HISTORY))]
    for number, (old, new) in enumerate(itertools.pairwise(chain)):
        for former in chain[: number + 1][-PASSWORD_HISTORY:]:
            assert change(user, old, former) == "password_policy"
        assert change(user, old, new) == ""
        user.session["username"] = name
    # The first one has left the history by now.
    assert change(user, chain[-1], PASSWORD) == ""


def test_an_admin_cannot_set_a_former_password_either(desk: Desk) -> None:
    user = desk.new_user("customer")
    body = {"password": PASSWORD}
    path = f"/v1/users/{user.user_id}"
    assert desk.send("PATCH", path, body, **{"If-Match": '"1"'}).json["code"] == "password_policy"


def stored_hash(desk: Desk, user_id: str) -> str:
    query = "SELECT password_hash FROM credentials WHERE user_id = ?"
    return str(desk.services.readers.get().execute(query, (user_id,)).fetchone()[0])


def test_a_login_renews_a_hash_of_other_parameters(desk: Desk) -> None:
    user = desk.new_user("customer")
    weaker = passwords.Passwords(wait_s=10, time_cost=1, memory_kib=8 * 1024).hash(PASSWORD)
    desk.services.writer.submit(
        lambda connection: connection.execute(
            "UPDATE credentials SET password_hash = ? WHERE user_id = ?", (weaker, user.user_id)
        )
    )
    assert "m=8192,t=1" in stored_hash(desk, user.user_id)
    user.log_in(user.session["username"], PASSWORD)
    renewed = stored_hash(desk, user.user_id)
    assert f"m={passwords.MEMORY_KIB},t={passwords.TIME_COST},p=1" in renewed
    user.log_in(str(desk.get(f"/v1/users/{user.user_id}").json["username"]), PASSWORD)
    assert stored_hash(desk, user.user_id) == renewed


def test_every_session_of_the_user_ends_with_the_password(desk: Desk) -> None:
    user = desk.new_user("customer")
    name = user.session["username"]
    elsewhere = desk.other("192.0.2.9").log_in(name, PASSWORD)
    assert change(user, PASSWORD, "marble otter lantern") == ""
    assert elsewhere.get("/v1/accounts").json["code"] == "token_invalid"
    refresh = {"refresh_token": elsewhere.session["refresh_token"]}
    assert elsewhere.post("/v1/auth/refresh", refresh).json["code"] == "token_invalid"


def test_the_setting_names_only_known_classes() -> None:
    settings = config.Settings(database=Path("x"), password_complexity="upper,digit")
    assert set(config.complexity(settings)) <= set(password_policy.COMPLEXITY)
