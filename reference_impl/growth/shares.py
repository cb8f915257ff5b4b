"""Splitting an amount: basis points, largest remainder, and what a major unit is."""

from collections.abc import Sequence

from reference_impl.config import CURRENCIES
from reference_impl.problems import Problem

WHOLE_BPS = 10_000


def split(amount: int, shares_bps: Sequence[int]) -> tuple[int, ...]:
    """Return the legs of an amount; they add up to it exactly (contract section 1.3).

    Each leg is the share rounded down; the units left over go one each to the legs with the
    largest remainders, ties to the lower index. The shares must add up to 10,000.
    """
    legs = [amount * bps // WHOLE_BPS for bps in shares_bps]
    left_over = amount - sum(legs)
    by_remainder = sorted(
        range(len(legs)), key=lambda index: (-(amount * shares_bps[index] % WHOLE_BPS), index)
    )
    for index in by_remainder[:left_over]:
        legs[index] += 1
    return tuple(legs)


def check_shares(shares_bps: Sequence[int], buckets: Sequence[str] = ()) -> Problem | None:
    """Return the refusal of shares that are not a whole, or of a bucket that is named twice."""
    if sum(shares_bps) != WHOLE_BPS:
        return Problem(
            "shares_invalid", f"The legs are {sum(shares_bps)} basis points, not {WHOLE_BPS}."
        )
    if len(set(buckets)) != len(buckets):
        return Problem("shares_invalid", "A bucket is named twice.")
    return None


def check_legs(legs: Sequence[int]) -> Problem | None:
    """Return the refusal of an amount of which a leg would get nothing."""
    if min(legs) <= 0:
        return Problem("amount_too_small", f"The legs would be {', '.join(map(str, legs))}.")
    return None


def minor(major: int, currency: str) -> int:
    """Return whole major units as minor units of a currency."""
    return int(major * 10 ** CURRENCIES[currency])
