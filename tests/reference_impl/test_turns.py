"""Threads take turns: none waits for ever, and one that waits for a client holds up nobody."""

import threading
from typing import Any

import pytest

from reference_impl import front, turns


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> turns.Turns:
    made = turns.Turns()
    monkeypatch.setattr(front, "TURNS", made)
    return made


def in_thread(work: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(5)
    return found[0]


def test_one_runs_and_the_others_get_their_turn_when_it_waits(fresh: turns.Turns) -> None:
    assert fresh.take()
    assert in_thread(fresh.take) is False
    with fresh.away():
        assert in_thread(lambda: fresh.take() and fresh.give_back()) is True
    assert in_thread(fresh.take) is False
    assert fresh.give_back()


def test_who_has_no_turn_gives_none_back_and_takes_none_after_a_wait(fresh: turns.Turns) -> None:
    assert not fresh.give_back()
    with fresh.away():
        pass
    assert in_thread(lambda: fresh.take() and fresh.give_back()) is True


class Slow:
    """A client's body that comes only when somebody else has had a turn."""

    def __init__(self, turns_: turns.Turns) -> None:
        self._turns = turns_

    def read(self, size: int = -1) -> bytes:
        assert in_thread(lambda: self._turns.take() and self._turns.give_back()) is True
        return b"{}"[:size]


@pytest.mark.parametrize("length", ["2", ""])
def test_a_slow_body_keeps_nobody_from_a_turn(fresh: turns.Turns, length: str) -> None:
    seen = []

    def application(environ: dict[str, Any], _: Any) -> list[bytes]:
        seen.append(environ["wsgi.input"].read(2))
        assert in_thread(fresh.take) is False
        return []

    environ = {
        "wsgi.input": Slow(fresh),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": length,
        **({} if length else {"HTTP_TRANSFER_ENCODING": "chunked"}),
    }
    front.in_turns(application)(environ, None)
    assert seen == [b"{}"]
    assert not fresh.give_back()
