"""Restores to a moment: whatever came after it is gone, and whatever it refers to with it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reference_impl import clock, rotation, totp
from reference_impl.operations import migrations, undo

from ._deployment import Deployment, flip, now
from ._desk import Desk, opened
from .conftest import PASSWORD, Client, log_in

LATE = 4_000_000_000_000
"""An instant, and a number, after all others."""
NOT_ROWS_OF_THE_BOOK = frozenset(
    {
        *undo.LIVE,
        *("audit", "audit_nodes", "event_tallies"),
        *("meta", "outbox_state", "undo_log", "undo_state"),
    }
)
"""What a restore does not take back, is one row for ever, is a sum, or is proved by hashes."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("moments"))
    yield made
    assert made.server.stop() == 0


def person(running: Deployment, name: str, *roles: str) -> Client:
    """Make a user and log in."""
    body = {"username": name, "password": PASSWORD, "roles": list(roles or ("customer",))}
    made = running.admin.post("/v1/users", body)
    assert made.status == 201, made.body
    return log_in(running.server.port, name, PASSWORD)


def test_whoever_came_later_and_logged_in_is_gone(running: Deployment) -> None:
    admin = running.admin
    early = person(running, "early")
    account = early.funded(100)
    full = running.backup()
    moment = now()
    late = person(running, "late-and-busy")
    secret = late.post("/v1/auth/mfa/enroll", {"method": "totp"}, key="").body["secret"]
    code = totp.code(secret, totp.step_of(int(time.time() * 1000)))
    late.post("/v1/auth/mfa/enroll", {"method": "totp", "code": code}, key="")
    given = {"username": "late-and-busy", "password": PASSWORD}
    asked = Client(running.server.port).post("/v1/auth/login", given, key="")
    assert asked.body["challenge"]
    late.funded(5)
    grant = {"principal_id": late.user_id, "scope": "accounts:read", "object_id": account["id"]}
    assert admin.post("/v1/grants", grant).status == 201
    assert late.post("/v1/reports", {"report": "entries"}).status == 201

    running.restored(full, moment)
    assert admin.get(f"/v1/users/{late.user_id}").status == 404
    assert admin.balances(account)["ledger"] == 100
    assert early.get("/v1/accounts").status == 401
    assert log_in(running.server.port, "early", PASSWORD).user_id == early.user_id
    assert running.verify(running.backup()).body["findings"] == []


def test_a_moment_is_taken_from_whatever_is_whole(running: Deployment) -> None:
    """Of the backups after the moment the first whole one, and the book itself without one."""
    admin = running.admin
    account = admin.funded(100)
    for whole in (True, False):
        full = running.backup()
        moment = now()
        admin.book("deposit", 7, to_account_id=account["id"])
        damaged = [running.backup(), running.backup("incremental")]
        assert damaged[1]["base_id"] == damaged[0]["id"]
        flip(running.folder / damaged[0]["id"] / "book.db")
        if whole:
            running.backup()
        running.restored(full, moment)
        assert admin.balances(account)["ledger"] == 100


def test_without_a_whole_backup_the_damage_is_named(running: Deployment) -> None:
    full = running.backup()
    moment = now()
    damaged = running.backup()
    running.restored(damaged)  # the present book is of another epoch now
    [safe] = running.admin.get("/v1/backups?sort=-seq&limit=1").body["data"]
    for one in (damaged, safe):
        flip(running.folder / one["id"] / "book.db")
    assert running.maintenance(True).status == 200
    refused = running.restore(full, moment)
    assert running.maintenance(False).status == 200
    assert refused.code == "backup_invalid"
    for one in (damaged, safe):
        assert f"{one['id']}: book.db is corrupt" in refused.body["detail"]


def test_who_is_only_called_erased_lives_on_and_who_was_erased_does_not(
    running: Deployment,
) -> None:
    admin = running.admin
    person(running, "erased-items")
    gone = person(running, "somebody-known")
    alive = person(running, f"erased-{gone.user_id}-not")
    full = running.backup()
    shown = [admin.get(f"/v1/users/{one.user_id}") for one in (gone, alive)]
    where = f"/v1/users/{gone.user_id}/personal-data"
    tag = {"If-Match": shown[0].headers["etag"]}
    assert admin.send("DELETE", where, headers=tag).status == 204
    for _ in range(2):  # what was erased again is known as erased from then on
        running.restored(full)
        assert admin.get(f"/v1/users/{alive.user_id}").body == shown[1].body
        assert log_in(running.server.port, "erased-items", PASSWORD).user_id
        found = admin.get(f"/v1/users/{gone.user_id}").body
        assert found["username"] == f"erased-{gone.user_id}"
        assert found["status"] == "disabled"


def rows_of_later(path: Path) -> dict[str, int]:
    """Give every table of the book a row of later, which refers to those of the other tables."""
    with rotation.writing(path) as book:  # one commit
        guards = book.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name NOT LIKE ?",
            (f"{undo.PREFIX}%",),
        ).fetchall()
        for guard in guards:
            book.execute(f"DROP TRIGGER {guard['name']}")
        book.execute("PRAGMA ignore_check_constraints = ON")
        book.execute("PRAGMA defer_foreign_keys = ON")
        values = {"INTEGER": LATE, "REAL": LATE, "TEXT": "late", "BLOB": b"late"}
        for table in tables(book):
            columns = book.execute(f"PRAGMA table_info({table})").fetchall()
            row = [values[column["type"]] for column in columns]
            marks = ", ".join("?" * len(row))
            book.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608 - own names
        for guard in guards:
            book.execute(guard["sql"])
    return left(path)


def tables(book: sqlite3.Connection) -> list[str]:
    names = {name for kind, name in migrations.objects(book) if kind == "table"}
    return sorted(names - NOT_ROWS_OF_THE_BOOK)


def left(path: Path) -> dict[str, int]:
    """Return how many rows of later each table has."""
    found = {}
    with closing(sqlite3.connect(path)) as book:
        for table in tables(book):
            columns = [row[1] for row in book.execute(f"PRAGMA table_info({table})")]
            late = " OR ".join(f"{name} IN ({LATE}, 'late', x'6c617465')" for name in columns)
            query = f"SELECT count(*) FROM {table} WHERE {late}"  # noqa: S608 - own names
            found[table] = book.execute(query).fetchone()[0]
    return found


def restored(desk: Desk, backup_id: str, until_ms: int) -> None:
    desk.send("PUT", "/v1/maintenance", {"read_only": True})
    body = {"until": clock.text(until_ms)}
    answer = desk.post(f"/v1/backups/{backup_id}/restore", body)
    assert answer.status_code == 200, answer.json


def test_no_table_keeps_what_refers_to_later_rows(tmp_path: Path) -> None:
    """Of the schema: a new table that refers to what is taken back must be thought of too."""
    with opened(tmp_path) as desk:
        desk.enroll()
        full = desk.post("/v1/backups", {"type": "full"}).json["id"]
        desk.hands.advance(1)
        moment_ms = desk.hands.now
        desk.hands.advance(1)
        assert set(rows_of_later(desk.database).values()) == {1}
        restored(desk, full, moment_ms)
        assert {table for table, count in left(desk.database).items() if count} == set()
