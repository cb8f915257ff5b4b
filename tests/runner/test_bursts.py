"""Bursts gather where either side may win, and one order alone decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest

from certification.bursts import DELAY_MAX_S, ROUNDS_MAX, SENDERS, Race, Stagger, equals, rounds
from certification.checks import Undecided
from certification.model import Measurement
from certification.target.reply import Reply
from tests.runner.test_context import Scripted, context, reply

SIDES = ("close", "deposit")


def measured(sides: tuple[str, str] = SIDES) -> tuple[Race, list[Measurement]]:
    found: list[Measurement] = []
    ctx = context(Scripted([]))
    ctx.measure = found.append
    return Race(ctx, sides), found


@pytest.mark.parametrize("tipping_s", [0.0, 0.013, -0.06, 0.2])
def test_rounds_gather_where_either_side_may_win(tipping_s: float) -> None:
    stagger, winners = Stagger(), []
    for _ in range(ROUNDS_MAX):
        winner = 1 if stagger.delay_s < tipping_s else -1
        winners.append(winner)
        stagger = stagger.after(winner)

    assert {1, -1} == set(winners)
    assert abs(stagger.delay_s - tipping_s) < 0.04


def test_the_stagger_never_becomes_one_after_the_other() -> None:
    stagger = Stagger()
    for _ in range(50):
        stagger = stagger.after(1)

    assert stagger.delay_s == DELAY_MAX_S


def test_both_orders_end_the_rounds_and_are_counted() -> None:
    race, found = measured()
    played = 0
    for number, turn in enumerate(rounds(race.ctx, SIDES)):
        turn.overlapped = True
        turn.came_first(SIDES[number % 2])
        played += 1

    assert played == 4
    assert [(row.name, row.value, row.n) for row in found] == [
        ("close first", 2, 4),
        ("deposit first", 2, 4),
    ]


def test_one_order_alone_is_undecided_with_its_counts() -> None:
    race, found = measured()

    def play() -> None:
        for turn in rounds(race.ctx, SIDES):
            turn.overlapped = True
            turn.came_first("close")

    with pytest.raises(Undecided, match="close first 20, deposit first 0"):
        play()

    assert [row.value for row in found] == [ROUNDS_MAX, 0]


def test_a_round_whose_sides_did_not_meet_shows_no_order() -> None:
    race, _ = measured()

    def play() -> None:
        for number, turn in enumerate(rounds(race.ctx, SIDES, most=5)):
            turn.overlapped = number == 0
            turn.came_first(None if number == 1 else SIDES[number % 2])

    with pytest.raises(Undecided, match=r"3 apart, 1 unclear"):
        play()


def test_answers_come_back_in_the_order_of_the_rivals_and_meetings_are_seen() -> None:
    race, _ = measured(SENDERS)
    gate = threading.Barrier(4)

    def send(number: int) -> Callable[[], Reply]:
        def sent() -> Reply:
            gate.wait(10)
            return reply(200 + number)

        return sent

    rivals = [(SENDERS[n % 2], send(n)) for n in range(4)]
    replies = race.together(rivals)

    assert [answer.status for answer in replies] == [200, 201, 202, 203]
    assert race.overlapped


def test_the_side_that_is_ahead_waits() -> None:
    race, _ = measured()
    race.stagger = Stagger(delay_s=0.15)
    order: list[str] = []

    def send(side: str) -> Callable[[], Reply]:
        def sent() -> Reply:
            order.append(side)
            return reply(200)

        return sent

    race.together([(side, send(side)) for side in SIDES])

    assert order == ["deposit", "close"]
    assert not race.overlapped


def test_equal_requests_are_told_apart_by_who_sent_them() -> None:
    rivals = equals(lambda: cast("Reply", None), 3)

    assert [side for side, _ in rivals] == [SENDERS[0], SENDERS[1], SENDERS[0]]
