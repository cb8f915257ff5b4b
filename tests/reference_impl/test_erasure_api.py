"""Erasure and retention: what names a person leaves rows and files, not journal and audit."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reference_impl import audit, audit_verify, database, reports_builder, retention
from reference_impl.__main__ import main

from ._desk import Desk, opened

USERNAME = "Ada.Lovelace_1815"
EMAIL = "ada.lovelace@engine.example"
LEGAL_NAME = "Augusta Ada King"
ACCOUNT = "Ada's savings for the engine"
NOTE = "note-about-ada-7f3a"
BANK = "DE89370400440532013000"
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def person(desk: Desk) -> tuple[Desk, str, str]:
    """Make somebody with a closed and an open account, a second factor and stored answers."""
    ada = desk.new_user("customer", username=USERNAME, email=EMAIL, legal_name=LEGAL_NAME)
    body = {
        "type": "generation",
        "currency": "USD",
        "name": ACCOUNT,
        "metadata": {"note": NOTE},
        "external_account_ref": BANK,
    }
    closed, empty = (str(ada.post("/v1/accounts", body).json["id"]) for _ in range(2))
    money = {"amount": 700, "currency": "USD"}
    deposit = {"kind": "deposit", "amount": money, "to_account_id": closed}
    assert ada.post("/v1/transactions", deposit).status_code == 201
    ada.enroll()
    return ada, closed, empty


def erase(desk: Desk, user_id: str) -> Any:
    tag = desk.get(f"/v1/users/{user_id}").headers["ETag"]
    return desk.send("DELETE", f"/v1/users/{user_id}/personal-data", **{"If-Match": tag})


def files(desk: Desk) -> bytes:
    return b"".join(
        path.read_bytes() for path in (desk.database, Path(f"{desk.database}-wal")) if path.exists()
    )


def test_what_names_a_person_is_gone_from_rows_and_files(desk: Desk, tmp_path: Path) -> None:
    ada, closed, empty = person(desk)
    others = [desk.new_user("customer") for _ in range(3)]
    assert erase(desk, ada.user_id).json["code"] == "balance_not_zero"
    money = {"amount": 700, "currency": "USD"}
    back = {"kind": "withdrawal", "amount": money, "from_account_id": closed}
    assert ada.post("/v1/transactions", back).status_code == 201
    assert ada.send("POST", f"/v1/accounts/{closed}/close", {}, **{"If-Match": '"1"'}).json
    words = [USERNAME, USERNAME.casefold(), ACCOUNT, NOTE]
    before = files(desk)
    assert [word.encode() in before for word in words] == [True] * 4
    secrets = [word.encode() in before for word in (EMAIL, LEGAL_NAME, BANK)]
    assert secrets == [False] * 3
    assert erase(desk, ada.user_id).status_code == 204
    after = files(desk)
    assert [word for word in words if word.encode() in after] == []
    shown = desk.get(f"/v1/users/{ada.user_id}").json
    assert shown["username"] == f"erased-{ada.user_id}"
    assert (shown["email"], shown["legal_name"], shown["status"]) == (None, None, "disabled")
    account = desk.get(f"/v1/accounts/{closed}").json
    assert (account["name"], account["metadata"], account["status"]) == ("erased", {}, "closed")
    assert account["external_account_ref"] is None
    assert desk.get(f"/v1/accounts/{empty}").json["name"] == "erased"
    assert ada.get("/v1/accounts").json["code"] == "token_invalid"
    again = desk.other().try_login(USERNAME, "a long enough password")
    assert again.json["code"] == "bad_credentials"
    taken = desk.new_user("customer", username=USERNAME)
    assert taken.user_id != ada.user_id
    assert others[0].get("/v1/accounts").status_code == 200
    entries = desk.get(f"/v1/accounts/{closed}/entries").json["data"]
    assert [row["amount"] for row in entries] == [700, -700]
    log = tmp_path / "log.jsonl"
    arguments = ["audit", "export", "--database", str(desk.database), "--out", str(log)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    verified = audit_verify.verify_log(log, desk.services.signer.public_key)
    assert verified.size == len(log.read_bytes().splitlines()) - 1
    assert not any(word.encode() in log.read_bytes() for word in [*words, EMAIL, LEGAL_NAME])


def test_nobody_can_take_the_name_that_an_erased_user_gets(desk: Desk) -> None:
    user_id = desk.new_user("customer").user_id
    body = {"username": f"Erased-{user_id}", "password": "a long enough password"}
    refused = desk.post("/v1/users", {**body, "roles": ["customer"]})
    assert (refused.status_code, refused.json["code"]) == (409, "username_taken")
    assert erase(desk, user_id).status_code == 204
    desk.new_user("customer", username="erased-items")


def test_rows_of_the_login_are_deleted(desk: Desk) -> None:
    ada, closed, _ = person(desk)
    money = {"amount": 700, "currency": "USD"}
    ada.post("/v1/transactions", {"kind": "withdrawal", "amount": money, "from_account_id": closed})
    friend = desk.new_user("customer")
    given = {"principal_id": friend.user_id, "scope": "accounts:read", "object_id": closed}
    assert ada.post("/v1/grants", given).status_code == 201
    assert erase(desk, ada.user_id).status_code == 204
    connection = database.connect(desk.database, read_only=True)
    for table in ("credentials", "totp", "password_history", "mfa_challenges"):
        query = f"SELECT count(*) FROM {table} WHERE user_id = ?"  # noqa: S608 - own table names
        assert connection.execute(query, (ada.user_id,)).fetchone()[0] == 0, table
    for query in (
        "SELECT count(*) FROM idempotency WHERE principal = ?",
        """SELECT count(*) FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
           WHERE s.user_id = ?""",
    ):
        assert connection.execute(query, (ada.user_id,)).fetchone()[0] == 0
    assert connection.execute("SELECT count(*) FROM grants").fetchone()[0] == 0
    connection.close()


def test_reports_go_with_the_person_and_exports_are_on_record(desk: Desk) -> None:
    ada = desk.new_user("customer", username=USERNAME)
    body = {"type": "generation", "currency": "USD", "name": ACCOUNT}
    assert ada.post("/v1/accounts", body).status_code == 201
    report = ada.post("/v1/reports", {"report": "portfolio"}).json["id"]
    patience = threading.Event()
    for _ in range(200):
        if ada.get(f"/v1/reports/{report}").json["status"] == "done":
            break
        patience.wait(0.05)
    shown = ada.get(f"/v1/reports/{report}/export?format=json")
    assert (shown.status_code, ACCOUNT.encode() in shown.data) == (200, True)
    records = desk.get("/v1/audit?action=exportReport").json["data"]
    assert [(row["actor"], row["object"]) for row in records] == [(ada.user_id, report)]
    folder = reports_builder.folder(desk.services)
    assert list(folder.glob(f"{report}.*"))
    assert erase(desk, ada.user_id).status_code == 204
    assert list(folder.glob(f"{report}.*")) == []
    assert desk.get(f"/v1/reports/{report}").json["code"] == "not_found"


def test_only_an_admin_erases_somebody_else_who_has_not_changed(desk: Desk) -> None:
    ada = desk.new_user("customer", username=USERNAME)
    path = f"/v1/users/{ada.user_id}/personal-data"
    tag = {"If-Match": '"1"'}
    for role in ("customer", "operator", "manager", "auditor"):
        assert desk.new_user(role).send("DELETE", path, **tag).json["code"] == "forbidden"
    assert desk.send("DELETE", path).json["code"] == "precondition_required"
    assert desk.send("DELETE", path, **{"If-Match": '"7"'}).json["code"] == "precondition_failed"
    nobody = "/v1/users/usr_none/personal-data"
    assert desk.send("DELETE", nobody, **tag).json["code"] == "not_found"
    own = f"/v1/users/{desk.user_id}/personal-data"
    assert desk.send("DELETE", own, **tag).json["code"] == "forbidden"
    assert desk.get(f"/v1/users/{ada.user_id}").json["username"] == USERNAME
    assert desk.send("DELETE", path, **tag).status_code == 204
    assert desk.send("DELETE", path, **{"If-Match": '"2"'}).status_code == 204


def test_a_closed_account_changes_in_no_other_way(desk: Desk) -> None:
    _, closed, _ = person(desk)
    connection = database.connect(desk.database)
    connection.execute("DELETE FROM idempotency")
    connection.execute("DROP TRIGGER accounts_end_empty")
    connection.execute(
        "UPDATE accounts SET status = 'closed', closed_at = 1 WHERE id = ?", (closed,)
    )
    for change in (
        "name = 'x'",
        "status = 'active', closed_at = NULL",
        "name = 'erased', metadata = '{}', external_ref = NULL, min_balance = 5",
        "name = 'erased', metadata = '{}', external_ref = NULL, closed_at = 2",
        "name = 'erased', external_ref = NULL",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="terminal"):
            connection.execute(f"UPDATE accounts SET {change} WHERE id = ?", (closed,))  # noqa: S608 - from above
    connection.close()


def counts(path: Path) -> dict[str, int]:
    connection = database.connect(path, read_only=True)
    tables = ("sessions", "refresh_tokens", "grants", "idempotency", "transactions", "users")
    found = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - own table names
        for table in tables
    }
    connection.close()
    return found


def test_retention_deletes_what_is_over_and_nothing_else(desk: Desk) -> None:
    ada, closed, _ = person(desk)
    friend = desk.new_user("customer")
    given = {"principal_id": friend.user_id, "scope": "accounts:read", "object_id": closed}
    assert ada.post("/v1/grants", given).status_code == 201
    ends = {**given, "expires_at": "2027-01-15T09:00:00Z"}
    assert ada.post("/v1/grants", ends).status_code == 201
    now, before = desk.hands.now, counts(desk.database)
    periods = retention.Periods(sessions_days=30, grants_days=60)
    assert sum(retention.apply(desk.database, periods, now).values()) == 0
    soon = retention.apply(desk.database, periods, now + 10 * DAY_MS)
    assert (soon["sessions"], soon["grants"]) == (0, 0)
    assert soon["stored_answers"] == before["idempotency"]
    later = retention.apply(desk.database, periods, now + 40 * DAY_MS)
    assert (later["sessions"], later["grants"]) == (before["sessions"], 0)
    assert retention.apply(desk.database, periods, now + 70 * DAY_MS)["grants"] == 1
    left = counts(desk.database)
    assert left == {**before, "sessions": 0, "refresh_tokens": 0, "grants": 1, "idempotency": 0}
    connection = database.connect(desk.database, read_only=True)
    last = list(audit.documents(connection))[-1]
    connection.close()
    assert (last["action"], last["actor"]) == ("applyRetention", "operator")


def test_retention_from_the_command_line(desk: Desk, tmp_path: Path) -> None:
    base = ["retention", "apply", "--database"]
    done = CliRunner().invoke(main, [*base, str(desk.database), "--sessions-days", "1"])
    assert (done.exit_code, "sessions: " in done.output) == (0, True)
    missing = CliRunner().invoke(main, [*base, str(tmp_path / "none.db")])
    assert (missing.exit_code, "there is no database" in missing.output) == (2, True)
    wrong = CliRunner().invoke(main, [*base, str(desk.database), "--grants-days", "0"])
    assert wrong.exit_code == 2


def test_a_busy_server_of_two_processes_leaves_no_trace_either(
    tmp_path: Path,
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
    log_in_as: Callable[..., Any],
    admin_password: str,
) -> None:
    path = make_database(tmp_path / "book.db")
    server = run_server(path)
    admin = log_in_as(server.port, "admin", admin_password)
    people = []
    for number in range(40):
        name = f"traceable-person-{number:03d}"
        body = {"username": name, "password": "a long enough password", "roles": ["customer"]}
        answer = admin.post("/v1/users", {**body, "legal_name": name})
        people.append((answer.body["id"], name))
    stop = threading.Event()

    def work() -> None:
        busy = log_in_as(server.port, "admin", admin_password)
        account = busy.account()
        while not stop.is_set():
            busy.book("deposit", 1, to_account_id=account["id"])
            busy.get("/v1/transactions?limit=200")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for user_id, _ in people[::4]:
            path_of_data = f"/v1/users/{user_id}/personal-data"
            erased = admin.send("DELETE", path_of_data, headers={"If-Match": '"1"'})
            assert erased.status == 204, erased.body
            left = path.read_bytes() + Path(f"{path}-wal").read_bytes()
            assert dict(people)[user_id].encode() not in left
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert server.stop() == 0
    assert people[1][1].encode() in path.read_bytes()
