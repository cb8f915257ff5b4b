"""What is declared of lock-outs, and what may be said of an answer that came after a lock began."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.context import Context
    from certification.target.reply import Reply


def delays_of(ctx: Context) -> list[float] | None:
    """Return how long the locks last, one after the other; the last one repeats.

    None where that is not declared: `auth.lockout.seconds` alone only bounds every one of them.
    """
    delays: list[float] | None = ctx.capabilities["auth"]["lockout"].get("delays_s")
    return delays or None


def sure_s(ctx: Context, replies: Sequence[Reply]) -> float:
    """Return how long the first lock lasts at least: as declared, else as its 423s say.

    0 where neither says it: then an answer other than 423 never shows that a lock is missing. A
    Retry-After is a whole number and rounded up, so a lock may be over almost a second before.
    """
    delays = delays_of(ctx)
    if delays is not None:
        return delays[0]
    said = [reply.retry_after_s or 0.0 for reply in replies if reply.status == 423]
    return max([1.0, *said]) - 1


def may_be_over(ctx: Context, since_s: float, replies: Sequence[Reply] = ()) -> bool:
    """Tell whether a lock that began no earlier than `since_s` may have ended meanwhile.

    `replies`: answers among which are the 423s of that lock, if it gave any.
    """
    return ctx.clock() - since_s >= sure_s(ctx, replies)


def is_locked(
    ctx: Context, reply: Reply, since_s: float, *seen: Reply, others: Sequence[str] = ()
) -> None:
    """Fail unless the answer is 423 `locked`; undecided where the first lock may be over.

    `since_s`: a moment before which no lock began; `seen`: its earlier answers; `others`: codes
    that are as good.
    """
    allowed = ["locked", *others]
    other = reply.status != 423 and reply.problem_code not in allowed
    if other and may_be_over(ctx, since_s, seen):
        ctx.undecided("the lock may have been over before it could be looked at")
    ctx.is_problem(reply, allowed)
