"""Lock-out after failed logins: when it begins, how it grows, whom it tells nothing."""

import concurrent.futures
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import lockout
from reference_impl.config import (
    LOCKOUT_DELAYS_S,
    LOCKOUT_MEMORY_S,
    LOCKOUT_NAME_THRESHOLD,
    LOCKOUT_THRESHOLD,
)
from tests.reference_impl._desk import PASSWORD, Desk, opened

WRONG = "wrong wrong wrong"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def name(desk: Desk) -> str:
    return str(desk.new_user("customer").session["username"])


def fail(desk: Desk, name: str, times: int = LOCKOUT_THRESHOLD) -> None:
    for _ in range(times):
        assert desk.try_login(name, WRONG).json["code"] == "bad_credentials"


def test_it_is_declared_as_it_is(desk: Desk) -> None:
    declared = desk.get("/.well-known/alluse").json["auth"]["lockout"]
    assert declared["threshold"] == LOCKOUT_THRESHOLD
    assert tuple(declared["delays_s"]) == LOCKOUT_DELAYS_S
    assert declared["seconds"] == max(LOCKOUT_DELAYS_S)


def test_each_lock_is_as_long_as_declared_and_then_opens(desk: Desk, name: str) -> None:
    somebody = desk.other()
    fail(somebody, name, LOCKOUT_THRESHOLD - 1)
    for delay_s in (*LOCKOUT_DELAYS_S, LOCKOUT_DELAYS_S[-1]):
        fail(somebody, name, 1)
        locked = somebody.try_login(name, PASSWORD)
        assert (locked.status_code, locked.json["code"]) == (423, "locked")
        assert locked.json["retryable"] is True
        assert int(locked.headers["Retry-After"]) == delay_s
        desk.hands.advance(delay_s - 0.001)
        assert somebody.try_login(name, PASSWORD).status_code == 423
        desk.hands.advance(0.001)
    assert somebody.try_login(name, PASSWORD).status_code == 200


def test_a_success_forgets_the_failures(desk: Desk, name: str) -> None:
    somebody = desk.other()
    for _ in range(3):
        fail(somebody, name, LOCKOUT_THRESHOLD - 1)
        assert somebody.try_login(name, PASSWORD).status_code == 200


def test_failures_of_long_ago_are_forgotten(desk: Desk, name: str) -> None:
    somebody = desk.other()
    fail(somebody, name, LOCKOUT_THRESHOLD - 1)
    desk.hands.advance(LOCKOUT_MEMORY_S + 1)
    fail(somebody, name, LOCKOUT_THRESHOLD - 1)
    assert somebody.try_login(name, PASSWORD).status_code == 200


def test_what_is_tried_during_a_lock_does_not_count(desk: Desk, name: str) -> None:
    somebody = desk.other()
    fail(somebody, name)
    for _ in range(20):
        assert somebody.try_login(name, WRONG).status_code == 423
    desk.hands.advance(LOCKOUT_DELAYS_S[0])
    assert somebody.try_login(name, PASSWORD).status_code == 200


def test_another_source_and_another_name_are_not_locked(desk: Desk, name: str) -> None:
    other_name = desk.new_user("customer").session["username"]
    fail(desk.other("198.51.100.7"), name)
    assert desk.other("198.51.100.7").try_login(name, PASSWORD).status_code == 423
    assert desk.other("198.51.100.7").try_login(other_name, PASSWORD).status_code == 200
    assert desk.other("198.51.100.8").try_login(name, PASSWORD).status_code == 200


def test_a_forwarded_address_does_not_change_the_source(desk: Desk, name: str) -> None:
    somebody = desk.other()
    fail(somebody, name)
    body = {"username": name, "password": PASSWORD}
    answer = somebody.send("POST", "/v1/auth/login", body, **{"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 423


def test_many_sources_together_lock_the_name(desk: Desk) -> None:
    """Counted on the rows: a hundred hashes would only take time."""
    connection = desk.services.readers.get()
    now = desk.hands.now

    def attempt(number: int) -> lockout.Attempt:
        return lockout.Attempt(name=b"n" * 32, source=f"198.51.100.{number}", request_id="-")

    def count(number: int) -> bool:
        return desk.services.writer.submit(lambda c: lockout.fail(c, attempt(number), now))

    locks = [count(number) for number in range(LOCKOUT_NAME_THRESHOLD)]
    assert locks == [False] * (LOCKOUT_NAME_THRESHOLD - 1) + [True]
    stranger = attempt(10_000)
    assert lockout.left_ms(connection, stranger, now) == LOCKOUT_DELAYS_S[0] * 1000


def test_it_tells_nobody_who_exists(desk: Desk, name: str) -> None:
    """Known, unknown, disabled: answer by answer the same, through the lock and after it."""
    gone = desk.new_user("customer")
    path = f"/v1/users/{gone.user_id}"
    desk.send("PATCH", path, {"status": "disabled"}, **{"If-Match": '"1"'})

    def told(username: str) -> list[tuple[Any, ...]]:
        answers = []
        for _ in range(LOCKOUT_THRESHOLD + 2):
            answer = desk.other().try_login(username, WRONG)
            shown = {k: v for k, v in answer.json.items() if k != "trace_id"}
            answers.append((answer.status_code, shown, answer.headers.get("Retry-After")))
        return answers

    first = told(name)
    assert [status for status, *_ in first] == [401] * LOCKOUT_THRESHOLD + [423] * 2
    assert told("nobody-of-this-name") == first
    assert told(gone.session["username"]) == first


def test_an_unknown_name_costs_the_same_work(desk: Desk, name: str) -> None:
    hashes: list[bool] = []
    verify = desk.services.passwords.verify

    def counted(stored: str | None, password: str) -> bool:
        started = time.perf_counter()
        right = verify(stored, password)
        hashes.append(time.perf_counter() - started > 0)
        return right

    desk.services.passwords.verify = counted  # type: ignore[method-assign]  # counts the calls
    desk.other().try_login(name, WRONG)
    desk.other().try_login("nobody-of-this-name", WRONG)
    assert len(hashes) == 2
    spans: dict[str | None, list[float]] = {}
    stored = desk.services.passwords.hash(PASSWORD)
    for one in (None, stored) * 5:
        started = time.perf_counter()
        verify(one, WRONG)
        spans.setdefault(one, []).append(time.perf_counter() - started)
    known, unknown = statistics.median(spans[stored]), statistics.median(spans[None])
    assert unknown > known / 4


def test_the_name_of_a_failed_login_is_not_stored(desk: Desk) -> None:
    """People type their password into the field of the name."""
    slip = "my-secret-password-slip"
    desk.other().try_login(slip, WRONG)
    dump = "\n".join(desk.services.readers.get().iterdump())
    assert slip not in dump
    assert WRONG not in dump


def test_an_admin_unlocks(desk: Desk, name: str) -> None:
    fail(desk.other(), name)
    user = next(u for u in desk.get("/v1/users?limit=200").json["data"] if u["username"] == name)
    path, tag = f"/v1/users/{user['id']}", f'"{user["version"]}"'
    assert desk.send("PATCH", path, {"status": "active"}, **{"If-Match": tag}).status_code == 200
    assert desk.other().try_login(name, PASSWORD).status_code == 200


def test_the_lock_is_in_the_audit_trail(desk: Desk, name: str) -> None:
    fail(desk.other(), name)
    rows = desk.services.readers.get().execute("SELECT action, outcome FROM audit")
    recorded = [tuple(row) for row in rows]
    assert recorded.count(("login", "bad_credentials")) == LOCKOUT_THRESHOLD
    assert recorded.count(("lockOut", "locked")) == 1


def test_a_burst_of_guesses_gets_no_more_of_them(desk: Desk, name: str) -> None:
    """The right password among them is not told apart once the lock has begun."""

    def guess(number: int) -> int:
        password = PASSWORD if number == 39 else WRONG
        return int(desk.other().try_login(name, password).status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(guess, range(40)))
    assert statuses.count(401) == LOCKOUT_THRESHOLD
    assert set(statuses) == {401, 423}


def test_all_workers_count_together(server: Any, admin: Any, user_password: str) -> None:
    username = f"lock-{time.time_ns()}"
    body = {"username": username, "password": user_password, "roles": ["customer"]}
    assert admin.post("/v1/users", body).status == 201

    def attempt(password: str) -> Any:
        """On a connection of its own, so that either worker may answer."""
        client = type(admin)(server.port)
        login = {"username": username, "password": password}
        return client.post("/v1/auth/login", login, key="")

    statuses = [attempt(WRONG).status for _ in range(LOCKOUT_THRESHOLD)]
    assert statuses == [401] * LOCKOUT_THRESHOLD
    answers = [attempt(user_password) for _ in range(6)]
    assert {answer.status for answer in answers} == {423}
    time.sleep(LOCKOUT_DELAYS_S[0] + 0.1)
    assert attempt(user_password).status == 200


def test_guesses_of_the_current_password_count_and_are_recorded(desk: Desk) -> None:
    guest = desk.new_user("customer")
    name, path = guest.session["username"], f"/v1/users/{guest.user_id}"
    new = {"password": "another long password"}

    def change(**more: str) -> Any:
        return guest.send("PATCH", path, {**new, **more}, **{"If-Match": '"1"'})

    for _ in range(LOCKOUT_THRESHOLD):  # nobody guesses by leaving it out
        assert change().json["code"] == "current_password_wrong"
    for _ in range(LOCKOUT_THRESHOLD):
        assert change(current_password=WRONG).json["code"] == "current_password_wrong"
    locked = change(current_password=PASSWORD)
    assert (locked.status_code, locked.json["code"]) == (423, "locked")
    assert int(locked.headers["Retry-After"]) == LOCKOUT_DELAYS_S[0]
    assert guest.other().try_login(name, PASSWORD).status_code == 423
    rows = desk.services.readers.get().execute(
        "SELECT action, outcome FROM audit WHERE actor = ?", (guest.user_id,)
    )
    found = [tuple(row) for row in rows]
    refused = ("updateUser password", "current_password_wrong")
    assert found.count(refused) == 2 * LOCKOUT_THRESHOLD
    assert found.count(("lockOut", "locked")) == 1
    desk.hands.advance(LOCKOUT_DELAYS_S[0])
    assert change(current_password=PASSWORD).status_code == 200
    assert guest.other().try_login(name, new["password"]).status_code == 200
