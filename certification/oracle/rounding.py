"""Splits integer amounts by basis points, as the growth policy's schema says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE_BPS = 10_000


def share(amount: int, bps: int) -> int:
    """Return floor(amount * bps / 10000)."""
    return amount * bps // WHOLE_BPS


def split(amount: int, shares_bps: Sequence[int]) -> tuple[int, ...]:
    """Split minor units exactly: floors, then one unit each to the largest remainders.

    Ties go to the lower index (invariant F8). The shares must add up to 10,000; a caller that has
    others gets a `ValueError`, since no rule says what they come to.
    """
    if sum(shares_bps) != WHOLE_BPS:
        raise ValueError(f"shares add up to {sum(shares_bps)}, not {WHOLE_BPS}")
    legs = [share(amount, bps) for bps in shares_bps]
    for index in remainder_order(amount, shares_bps)[: amount - sum(legs)]:
        legs[index] += 1
    return tuple(legs)


def remainder_order(amount: int, shares_bps: Sequence[int]) -> list[int]:
    """Return the legs in the order in which they get a left-over unit."""
    remainders = [amount * bps % WHOLE_BPS for bps in shares_bps]
    return sorted(range(len(remainders)), key=lambda index: (-remainders[index], index))
