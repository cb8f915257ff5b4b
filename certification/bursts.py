"""Bursts of two sides, released so that now the one and now the other comes first, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certification.model import Measurement

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply

ROUNDS_MIN = 4
ROUNDS_MAX = 20
STEP_S = 0.002
DELAY_MAX_S = 0.25
JITTER_S = 0.001

SENDERS = ("the even senders", "the odd senders")
"""The sides of a burst of equal requests."""

Rival = tuple[str, "Callable[[], Reply]"]
"""A side, and what sends its request."""


@dataclass(frozen=True, slots=True)
class Stagger:
    """How much later the first side is sent than the second; negative: earlier."""

    delay_s: float = 0.0
    step_s: float = STEP_S
    last: int = 0

    def after(self, winner: int) -> Stagger:
        """Return the stagger for the next round: the side that came first is sent later.

        The step doubles while the same side wins and halves when the other does, so that the
        rounds gather around the delay at which either may win.
        """
        step = min(self.step_s * 2, DELAY_MAX_S / 2) if winner == self.last else self.step_s / 2
        step = max(step, STEP_S / 4)
        delay = self.delay_s + (step if winner > 0 else -step)
        bounded = max(-DELAY_MAX_S, min(DELAY_MAX_S, delay))
        return Stagger(delay_s=bounded, step_s=step, last=winner)


@dataclass(slots=True)
class Race:
    """Rounds of one burst; a check sends each round through it and says which side came first."""

    ctx: Context
    sides: tuple[str, str]
    stagger: Stagger = field(default_factory=Stagger)
    first: Counter[str] = field(default_factory=Counter)
    """How often each side came first in rounds in which both were under way at once."""
    unclear: int = 0
    """Rounds whose answers either order explains."""
    apart: int = 0
    """Rounds in which one side was answered before the other was sent."""
    overlapped: bool = False

    def together(self, rivals: Sequence[Rival]) -> list[Reply]:
        """Release all at once but for the stagger of their sides; return the answers in order."""
        ctx = self.ctx
        delays = [self._delay_s(side) + ctx.random.uniform(0, JITTER_S) for side, _ in rivals]
        times: dict[int, tuple[float, float]] = {}

        def sending(number: int, send: Callable[[], Reply]) -> Callable[[], Reply]:
            def send_later() -> Reply:
                ctx.wait(delays[number])
                began = ctx.clock()
                reply = send()
                times[number] = (began, ctx.clock())
                return reply

            return send_later

        order = ctx.random.sample(range(len(rivals)), len(rivals))
        sent = ctx.together([sending(number, rivals[number][1]) for number in order])
        spans = {
            side: [times[n] for n, (of, _) in enumerate(rivals) if of == side]
            for side in self.sides
        }
        one, other = (spans[side] for side in self.sides)
        self.overlapped = any(a[0] < b[1] and b[0] < a[1] for a in one for b in other)
        return [reply for _, reply in sorted(zip(order, sent, strict=True), key=_number)]

    def came_first(self, side: str | None) -> None:
        """Count the round; None where either order explains its answers."""
        if side is None:
            self.unclear += 1
            return
        if self.overlapped:
            self.first[side] += 1
        else:
            self.apart += 1
        self.stagger = self.stagger.after(1 if side == self.sides[0] else -1)

    @property
    def seen(self) -> bool:
        """Whether each side came first at least once."""
        return all(self.first[side] for side in self.sides)

    def report(self) -> None:
        """Record the counts; INCONCLUSIVE where only one order was ever seen."""
        ctx, (one, other) = self.ctx, self.sides
        rounds = sum(self.first.values())
        for side in self.sides:
            ctx.measure(
                Measurement(
                    check=ctx.spec.id,
                    name=f"{side} first",
                    value=self.first[side],
                    unit="rounds",
                    n=rounds,
                )
            )
        if not self.seen:
            ctx.undecided(
                f"only one order was seen in {rounds} rounds at once: {one} first"
                f" {self.first[one]}, {other} first {self.first[other]}"
                f" (besides {self.apart} apart, {self.unclear} unclear)"
            )

    def _delay_s(self, side: str) -> float:
        delay = self.stagger.delay_s
        return max(0.0, delay if side == self.sides[0] else -delay)


def _number(row: tuple[int, Reply]) -> int:
    return row[0]


def rounds(
    ctx: Context, sides: tuple[str, str], *, least: int = ROUNDS_MIN, most: int = ROUNDS_MAX
) -> Iterator[Race]:
    """Yield the race for each round: at least `least`, and on until both orders were seen.

    After the last round the counts are recorded; INCONCLUSIVE where `most` rounds showed one order.
    """
    race = Race(ctx, sides)
    for number in range(most):
        if number >= least and race.seen:
            break
        yield race
    race.report()


def equals(send: Callable[[], Reply], count: int) -> list[Rival]:
    """Return equal requests of the two sides `SENDERS`, in turn."""
    return [(SENDERS[number % 2], send) for number in range(count)]


def sender(replies: Sequence[Reply], winner: Reply) -> str:
    """Return on which of the sides `SENDERS` the request of an answer was."""
    numbers = [reply.exchange_number for reply in replies]
    return SENDERS[numbers.index(winner.exchange_number) % 2]
