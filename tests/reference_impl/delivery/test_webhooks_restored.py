"""Webhooks that ended after the moment to which the book is restored: they go on from there."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.reference_impl._deployment import Deployment, now
from tests.reference_impl._waiting import wait_for

from ._receiver import Receiver, receiving
from .conftest import QUICK

HOOKS = "/v1/webhooks"
NAMES = ("kept", "deleted", "gone", "gone before and deleted")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path, *QUICK)
    yield made
    assert made.server.stop() == 0


@pytest.fixture
def receivers() -> Iterator[dict[str, Receiver]]:
    with ExitStack() as held:
        yield {name: held.enter_context(receiving()) for name in NAMES}


def named(receiver: Receiver, account: dict[str, Any]) -> bool:
    return any(account["id"] in got.event["data"]["account_ids"] for got in receiver.taken())


def go(admin: Any, receiver: Receiver, hook: dict[str, Any]) -> None:
    """Let a receiver end its webhook by 410."""
    receiver.answer = lambda _event, _attempt: 410
    admin.account()
    wait_for(lambda: shown(admin, hook)["status"], lambda status: status == "disabled")
    receiver.answer = lambda _event, _attempt: 204


def shown(admin: Any, hook: dict[str, Any]) -> dict[str, Any]:
    answer = admin.get(f"{HOOKS}/{hook['id']}")
    assert answer.status == 200, answer.body
    return dict(answer.body)


def pending(admin: Any, hook: dict[str, Any]) -> int:
    return int(shown(admin, hook)["deliveries"]["pending"])


def test_a_webhook_that_ended_after_the_moment_goes_on_from_there(
    deployment: Deployment, receivers: dict[str, Receiver]
) -> None:
    admin = deployment.admin
    before = admin.account()  # nobody hears of it, now or ever
    hooks = {
        name: admin.post(HOOKS, {"url": receiver.url, "event_types": ["*"]}).body
        for name, receiver in receivers.items()
    }
    heard = admin.account()
    for receiver in receivers.values():
        assert receiver.wait(lambda held: named(held, heard))
    go(admin, receivers[NAMES[3]], hooks[NAMES[3]])
    full = deployment.backup()
    moment = now()
    known = {each["id"] for each in admin.get("/v1/events?limit=200").body["data"]}
    go(admin, receivers["gone"], hooks["gone"])
    for name in ("deleted", NAMES[3]):
        place = f"{HOOKS}/{hooks[name]['id']}"
        assert admin.send("DELETE", place, headers={"If-Match": "*"}).status == 204
    for receiver in receivers.values():
        receiver.got.clear()

    deployment.restored(full, moment)
    listed = {each["id"]: each for each in admin.get(HOOKS).body["data"]}
    for name, hook in hooks.items():
        assert listed[hook["id"]]["status"] == ("disabled" if name == NAMES[3] else "active")
    after = admin.account()
    for name in NAMES[:3]:
        assert receivers[name].wait(lambda held: named(held, after)), name
        assert not named(receivers[name], before), name
        taken = {got.id for got in receivers[name].taken()}
        assert name == "kept" or known.isdisjoint(taken), name
        wait_for(functools.partial(pending, admin, hooks[name]), lambda number: number == 0)
    assert pending(admin, hooks[NAMES[3]]) == 0
    assert not receivers[NAMES[3]].got
    assert deployment.verify(deployment.backup()).body["findings"] == []
