"""Receivers that fail and processes that die, at random: nothing is lost or overtaken."""

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import database, outbox
from reference_impl.delivery import store
from reference_impl.delivery.pump import Terms, Webhook
from reference_impl.delivery.rules import Limits, Outcome
from tests.reference_impl._desk import Desk, opened

LIMITS = Limits(first_s=0.1, most_s=2.0, attempts_max=4, give_up_s=60.0)


class Fake:
    """A line to a receiver that fails by chance, or always on some events."""

    def __init__(self, chance: random.Random, share: float) -> None:
        self.chance, self.share = chance, share
        self.taken: list[dict[str, Any]] = []
        self.poison: set[str] = set()
        self.tried: dict[str, int] = {}

    def post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        event = json.loads(body)
        self.tried[event["id"]] = self.tried.get(event["id"], 0) + 1
        assert headers["webhook-id"] == event["id"]
        if event["id"] in self.poison:
            return Outcome(status=500)
        if self.chance.random() < self.share:
            kind = self.chance.choice(("timeout", "lost answer", "500", "503"))
            if kind == "lost answer":
                self.taken.append(event)
            if kind == "503":
                return Outcome(status=503, retry_after_s=1.0)
            return Outcome(status=500 if kind == "500" else None, error="timeout")
        self.taken.append(event)
        return Outcome(status=204)

    def close(self) -> None:
        pass


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - cases, not secrets


def terms(desk: Desk, line: Fake, chance: random.Random) -> Terms:
    return Terms(
        shared=desk.services,
        fence=lambda _connection: True,
        owned=lambda: True,
        limits=LIMITS,
        line=lambda _url: line,  # type: ignore[arg-type,return-value]
        chance=chance.random,
    )


def plant(desk: Desk, chance: random.Random, number: int) -> None:
    names = ["acc_a", "acc_b", "acc_c", "acc_d"]

    def write(connection: Any) -> None:
        for _ in range(number):
            one, other = chance.sample(names, 2)
            data = {"account_id": one}
            if chance.random() < 0.5:
                data = {"from_account_id": one, "to_account_id": other}
            connection.execute(
                "INSERT INTO outbox (type, subject, data, created_at) VALUES (?, ?, ?, ?)",
                ("alluse.transaction.posted", "txn_1", json.dumps(data), desk.hands.now),
            )

    desk.services.writer.submit(write)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as found:
        yield found


def hook(desk: Desk) -> Any:
    body = {"url": "https://hooks.example.invalid/", "event_types": ["*"]}
    made = desk.post("/v1/webhooks", body).json
    return row(desk, made["id"])


def row(desk: Desk, hook_id: str) -> Any:
    connection = desk.services.readers.get()
    return connection.execute("SELECT * FROM webhooks WHERE id = ?", (hook_id,)).fetchone()


def waiting(desk: Desk) -> int:
    connection = desk.services.readers.get()
    return int(connection.execute("SELECT count(*) FROM delivery_waiting").fetchone()[0])


def accounts_of(event: dict[str, Any]) -> list[str]:
    return list(event["data"]["account_ids"])


def firsts(taken: list[dict[str, Any]], account: str) -> list[int]:
    return list(dict.fromkeys(e["seq"] for e in taken if account in accounts_of(e)))


@pytest.mark.parametrize("seed", range(8))
def test_each_event_arrives_and_none_overtakes_whatever_fails_and_dies(
    desk: Desk, seed: int
) -> None:
    chance = drawn(seed)
    held = hook(desk)
    start = outbox.position(desk.services.readers.get(), held["id"])
    line = Fake(chance, share=chance.choice((0.05, 0.3, 0.6)))
    given = terms(desk, line, chance)
    with contextlib.ExitStack() as stack:
        pump = stack.enter_context(contextlib.closing(Webhook(given, held)))
        for turn in range(400):
            if turn % 7 == 0 and turn < 200:
                plant(desk, chance, chance.randrange(30))
            if turn == 300:
                line.share = 0.0
            if chance.random() < 0.1:  # it dies: what was in memory is gone
                pump = stack.enter_context(contextlib.closing(Webhook(given, held)))
            pump.turn()
            desk.hands.advance(chance.choice((0.0, 0.05, 1.5)))
        for _ in range(30):
            pump.turn()
            desk.hands.advance(5.0)
    connection = desk.services.readers.get()
    rows = outbox.pending(connection, start, 100_000)
    events = [outbox.document(each, "x") for each in rows]
    aside = connection.execute("SELECT seq FROM delivery_set_aside").fetchall()
    given_up = {each["seq"] for each in aside}
    for account in ("acc_a", "acc_b", "acc_c", "acc_d"):
        wanted = [e["seq"] for e in events if account in accounts_of(e)]
        got = firsts(line.taken, account)
        assert [seq for seq in wanted if seq not in set(got)] == [
            seq for seq in wanted if seq in given_up and seq not in set(got)
        ]
        assert got == sorted(got)
    assert waiting(desk) == 0
    assert len(events) > 100


def test_an_event_that_breaks_its_receiver_and_blocks_all_is_given_up_in_time(desk: Desk) -> None:
    chance = drawn(1)
    held = hook(desk)
    plant(desk, chance, 40)
    line = Fake(chance, share=0.0)
    start = outbox.position(desk.services.readers.get(), held["id"])
    first = outbox.pending(desk.services.readers.get(), start, 1)[0]
    line.poison = {outbox.event_id(first)}
    with contextlib.closing(Webhook(terms(desk, line, chance), held)) as pump:
        for _ in range(40):
            pump.turn()
            desk.hands.advance(3.0)
            plant(desk, chance, 1)
        pump.turn()
        shown = desk.get(f"/v1/webhooks/{held['id']}").json
    assert [each["event_id"] for each in shown["set_aside"]] == list(line.poison)
    assert line.tried[outbox.event_id(first)] >= LIMITS.attempts_max
    assert shown["deliveries"]["succeeded"] == len(line.taken) == 79
    assert shown["deliveries"]["pending"] == 0


def test_a_receiver_that_takes_nothing_is_asked_seldom_and_loses_nothing(desk: Desk) -> None:
    chance = drawn(2)
    held = hook(desk)
    line = Fake(chance, share=1.0)
    with contextlib.closing(Webhook(terms(desk, line, chance), held)) as pump:
        for _ in range(60):
            for _ in range(3):
                desk.services.writer.submit(
                    lambda tx: tx.execute(
                        "INSERT INTO outbox (type, subject, data, created_at)"
                        " VALUES ('alluse.user.updated', hex(randomblob(8)), '{}', 1)"
                    )
                )
            pump.turn()
            desk.hands.advance(1.0)
        assert sum(line.tried.values()) < 60
        assert waiting(desk) < 60
        line.share = 0.0
        for _ in range(20):
            pump.turn()
            desk.hands.advance(3.0)
    assert len({event["id"] for event in line.taken}) == 180


def test_what_the_feed_forgot_is_counted_and_said(desk: Desk) -> None:
    chance = drawn(3)
    held = hook(desk)
    plant(desk, chance, 50)
    line = Fake(chance, share=0.0)
    newest = store.newest(desk.services.readers.get())
    desk.services.writer.submit(
        lambda tx: tx.execute("DELETE FROM outbox WHERE seq <= ?", (newest - 10,))
    )
    with contextlib.closing(Webhook(terms(desk, line, chance), held)) as pump:
        pump.turn()
    figures = desk.get(f"/v1/webhooks/{held['id']}").json["deliveries"]
    assert figures["missed"] == 40
    assert figures["succeeded"] == 10


def test_a_restored_book_ends_what_is_in_memory(desk: Desk) -> None:
    chance = drawn(4)
    held = hook(desk)
    with contextlib.closing(Webhook(terms(desk, Fake(chance, 0.0), chance), held)) as pump:
        plant(desk, chance, 5)
        pump.turn()
        desk.services.writer.submit(
            lambda tx: tx.execute("UPDATE meta SET value = '2' WHERE key = 'epoch'")
        )
        plant(desk, chance, 5)
        with pytest.raises(store.LostError):
            pump.turn()
    assert database.meta(desk.services.readers.get(), "epoch") == "2"


def test_a_worker_that_lost_its_turn_writes_nothing(desk: Desk) -> None:
    chance = drawn(5)
    held = hook(desk)
    plant(desk, chance, 5)
    given = terms(desk, Fake(chance, 0.0), chance)
    lost = Terms(
        shared=given.shared,
        fence=lambda _connection: False,
        owned=given.owned,
        limits=given.limits,
        line=given.line,
    )
    with (
        contextlib.closing(Webhook(lost, held)) as pump,
        pytest.raises(store.LostError),
    ):
        pump.turn()
    assert desk.get(f"/v1/webhooks/{held['id']}").json["deliveries"]["succeeded"] == 0
