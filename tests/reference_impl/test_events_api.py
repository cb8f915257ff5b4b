"""The feed of events: what is told, in which order, to whom, for how long, and what never is."""

import contextlib
import json
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import config, database, events, outbox, setup

from ._desk import Desk, opened

CANARY = "canary-7f3a"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with opened(tmp_path_factory.mktemp("events")) as made:
        yield made


def tip(desk: Desk) -> int:
    newest = desk.get("/v1/events?sort=-seq&limit=1").json["data"]
    return int(newest[0]["seq"])


def since(desk: Desk, seq: int, query: str = "") -> list[dict[str, Any]]:
    """Return the events behind seq, over as many pages as it takes."""
    found: list[dict[str, Any]] = []
    path = f"/v1/events?from_seq={seq + 1}{query}"
    page = desk.get(path).json
    found += page["data"]
    while page["next_cursor"]:
        page = desk.get(f"/v1/events?cursor={page['next_cursor']}").json
        found += page["data"]
    return found


def account(desk: Desk, **members: Any) -> str:
    body = {"type": "generation", "currency": "USD", "name": f"{CANARY} name", **members}
    return str(desk.post("/v1/accounts", body).json["id"])


def book(desk: Desk, kind: str, amount: int, **members: Any) -> Any:
    body = {"kind": kind, "amount": {"amount": amount, "currency": "USD"}, **members}
    return desk.post("/v1/transactions", body)


def brief(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["type"].removeprefix("alluse."), one["subject"]) for one in found]


def test_each_change_is_told_once_in_its_order(admin: Desk) -> None:
    start = tip(admin)
    one, other = account(admin), account(admin)
    posted = book(admin, "deposit", 500, to_account_id=one).json["id"]
    assert book(admin, "withdrawal", 501, from_account_id=one).status_code == 422
    held = book(admin, "withdrawal", 100, from_account_id=one, hold=True).json["id"]
    admin.post(f"/v1/transactions/{held}/settle", {"amount": {"amount": 60, "currency": "USD"}})
    voided = book(admin, "withdrawal", 5, from_account_id=one, hold=True).json["id"]
    admin.post(f"/v1/transactions/{voided}/void", {})
    ended = admin.post(f"/v1/accounts/{other}/close", {})
    assert ended.status_code in {200, 428}
    if ended.status_code == 428:
        sent = {"If-Match": "*"}
        assert admin.send("POST", f"/v1/accounts/{other}/close", {}, **sent).status_code == 200
    found = since(admin, start)
    assert brief(found) == [
        ("account.opened", one),
        ("account.opened", other),
        ("transaction.posted", posted),
        ("transaction.held", held),
        ("transaction.settled", held),
        ("transaction.held", voided),
        ("transaction.voided", voided),
        ("account.closed", other),
    ]
    assert [row["data"].get("amount", {}).get("amount") for row in found[2:7]] == [
        *(500, 100, 60, 5, 5)
    ]
    assert found[2]["data"]["account_ids"] == [one]
    assert len({row["id"] for row in found}) == len(found)
    assert len({row["source"] for row in found}) == 1


def test_a_replay_and_a_rolled_back_batch_tell_nothing(admin: Desk) -> None:
    one = account(admin)
    start = tip(admin)
    item = {
        "kind": "deposit",
        "amount": {"amount": 5, "currency": "USD"},
        "to_account_id": one,
    }
    key = {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(3):
        assert admin.send("POST", "/v1/transactions", item, **key).status_code == 201
    assert len(since(admin, start)) == 1
    wrong = {"kind": "withdrawal", "amount": item["amount"], "from_account_id": account(admin)}
    start = tip(admin)
    body: dict[str, Any] = {"items": [item, wrong], "all_or_nothing": True}
    assert admin.post("/v1/transactions/batch", body).status_code == 422
    assert since(admin, start) == []
    body["all_or_nothing"] = False
    assert admin.post("/v1/transactions/batch", body).status_code == 200
    assert [row["data"]["kind"] for row in since(admin, start)] == ["deposit"]


def test_growth_and_people_are_told_too(admin: Desk) -> None:
    start = tip(admin)
    user = admin.new_user("customer")
    system = {
        "name": "s",
        "amount": {"amount": 100_000_00, "currency": "USD"},
    }
    answer = user.post("/v1/systems", system)
    assert answer.status_code == 201, answer.data
    grown = account(user, base_amount=0)
    book(user, "deposit", 900_000_00, to_account_id=grown)
    forked = user.post(f"/v1/accounts/{grown}/fork", {"mode": "policy"})
    assert forked.status_code == 201, forked.data
    admin.post("/v1/grants", {"principal_id": user.user_id, "scope": "accounts:read"})
    user.post("/v1/auth/logout")
    for _ in range(config.LOCKOUT_THRESHOLD):
        admin.other("192.0.2.77").try_login(user.session["username"], "wrong-wrong-wrong")
    told = [kind for kind, _ in brief(since(admin, start))]
    for kind in (
        *("user.created", "session.started", "growth.system_opened", "growth.forked"),
        *("grant.given", "session.ended", "login.locked"),
    ):
        assert kind in told, kind
    (fork,) = since(admin, start, "&type=alluse.growth.forked")
    legs = [leg["account_id"] for leg in fork["data"]["legs"]]
    assert fork["data"]["account_ids"] == [grown, *legs]
    assert [row["type"] for row in since(admin, start, f"&account_id={legs[0]}")] == [
        *("alluse.account.opened", "alluse.growth.forked")
    ]


def test_the_trace_goes_on_in_the_event(admin: Desk) -> None:
    start = tip(admin)
    body = {"type": "generation", "currency": "USD", "name": "n"}
    sent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}
    assert admin.send("POST", "/v1/accounts", body, **sent).status_code == 201
    assert admin.post("/v1/accounts", body).status_code == 201
    continued, begun = (row["traceparent"] for row in since(admin, start))
    assert re.fullmatch(rf"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-00", continued)
    assert TRACE not in begun


def test_nothing_personal_is_told(admin: Desk) -> None:
    user = admin.new_user(
        "customer",
        username=f"{CANARY}-user",
        password=f"{CANARY} password",
        email=f"{CANARY}@example.org",
        legal_name=f"{CANARY} legal",
    )
    own = account(user, metadata={"note": CANARY}, external_account_ref=f"{CANARY}-iban")
    book(user, "deposit", 7, to_account_id=own, memo=CANARY, metadata={"note": CANARY})
    tag = user.get(f"/v1/accounts/{own}").headers["ETag"]
    user.send("PATCH", f"/v1/accounts/{own}", {"name": f"{CANARY} 2"}, **{"If-Match": tag})
    with contextlib.closing(sqlite3.connect(admin.database)) as connection:
        rows = connection.execute(_ALL).fetchall()
    assert len(rows) > 4
    assert CANARY not in json.dumps(rows)
    assert CANARY not in json.dumps(since(admin, 0))


_ALL = (
    "SELECT seq || type || subject || coalesce(kind, '') || data || coalesce(traceparent, '')"
    " FROM outbox"
)


def test_lists_have_their_rules(admin: Desk) -> None:
    for _ in range(3):
        account(admin)
    whole = [row["seq"] for row in since(admin, 0)]
    assert whole == sorted(set(whole))
    page = admin.get("/v1/events?limit=2&type=alluse.account.opened").json
    assert len(page["data"]) == 2
    cursor = page["next_cursor"]
    again = admin.get(f"/v1/events?cursor={cursor}&limit=2&type=alluse.account.opened").json
    assert again["data"][0]["seq"] > page["data"][1]["seq"]
    mismatch = admin.get(f"/v1/events?cursor={cursor}&type=alluse.account.closed")
    assert mismatch.json["code"] == "cursor_mismatch"
    backwards = admin.get("/v1/events?sort=-seq&limit=200").json["data"]
    assert [row["seq"] for row in backwards] == sorted(whole, reverse=True)[: len(backwards)]
    for wrong in ("type=none", "limit=0", "from_seq=-1", "account_id=%20", "what=1", "cursor=x"):
        assert admin.get(f"/v1/events?{wrong}").status_code == 400, wrong


def test_who_may_read_them(admin: Desk) -> None:
    assert admin.other().get("/v1/events").status_code == 401
    assert admin.new_user("customer").get("/v1/events").status_code == 403
    for role in ("operator", "manager", "auditor"):
        assert admin.new_user(role).get("/v1/events").status_code == 200
    machine = admin.new_user("service")
    assert machine.get("/v1/events").status_code == 403
    grant = {"principal_id": machine.user_id, "scope": "events:read"}
    assert admin.post("/v1/grants", grant).status_code == 201
    assert machine.get("/v1/events").status_code == 200


def test_the_sums_are_those_of_all_events_however_many_were_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    setup.create(path, "admin", "an admin's long password")
    connection = database.connect(path)
    week = config.EVENTS_RETENTION_S * 1000
    insert = (
        "INSERT INTO outbox (type, subject, kind, amount, currency, data, created_at)"
        " VALUES (?, 'x', 'fee', 2, 'USD', '{}', ?)"
    )
    (begun,) = connection.execute("SELECT created_at FROM outbox").fetchone()
    old = [("alluse.transaction.posted", begun + number) for number in range(2000)]
    connection.execute("BEGIN")
    connection.executemany(insert, old)
    assert outbox.kept(connection) == 2001  # and the user that init made
    connection.executemany(insert, [(kind, at + week + 5_000) for kind, at in old])
    connection.execute("COMMIT")
    sums = {row[0]: row[3:] for row in outbox.tallied(connection)}
    assert sums == {"alluse.transaction.posted": (4000, 8000.0), "alluse.user.created": (1, 0.0)}
    assert outbox.kept(connection) < 2500
    last = outbox.pending(connection, 0, 10_000)[-1]["seq"]
    assert last == 4001
    connection.close()


def test_consumers_are_told_apart(tmp_path: Path) -> None:
    setup.create(tmp_path / "b.db", "admin", "an admin's long password")
    connection = database.connect(tmp_path / "b.db")
    assert outbox.backlog(connection) == {}
    outbox.advance(connection, "mail", 0)
    assert outbox.backlog(connection) == {"mail": 1}
    (row,) = outbox.pending(connection, outbox.position(connection, "mail"), 10)
    outbox.advance(connection, "mail", row["seq"])
    outbox.advance(connection, "mail", 0)  # never back
    assert outbox.position(connection, "mail") == row["seq"]
    assert outbox.backlog(connection) == {"mail": 0}
    connection.close()


def test_the_schema_says_what_is_declared() -> None:
    folder = Path(outbox.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("schema_*.sql"))
    named = set(re.findall(r"'(alluse\.[a-z]+\.[a-z_]+)'", text)) - {"alluse.account."}
    made = {f"alluse.account.{status}" for status in ("suspended", "closed", "merged")}
    assert named | made == set(events.TYPES)
    assert f"- {config.EVENTS_RETENTION_S * 1000}" in text
    assert f"- {config.EVENTS_KEPT_MAX}" in text
