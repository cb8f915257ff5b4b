"""The one-sided 95 % lower bound of a rate, by exact integer arithmetic (Clopper and Pearson)."""

from __future__ import annotations

from fractions import Fraction
from math import comb

_ALPHA = Fraction(1, 20)


def bound_meets(k: int, n: int, rate: Fraction) -> bool:
    """Whether `k` successes of `n` trials show, at 95 % confidence, `rate` or more.

    The lower bound is at least `rate` just where P(X >= k) under `rate` is at most 5 %. Without a
    failure that needs 29 trials for 90 %, 59 for 95 %, 149 for 98 % and 1,497 for 99.8 %.
    """
    if rate <= 0:
        return True
    if n == 0 or k <= n * rate:
        # The median of the distribution is at least floor(n * rate): the tail is never near 5 %.
        return False
    if rate >= 1:
        return False
    good, whole = rate.numerator, rate.denominator
    bad = whole - good
    tail = sum(comb(n, i) * good**i * bad ** (n - i) for i in range(k, n + 1))
    return bool(tail * _ALPHA.denominator <= whole**n * _ALPHA.numerator)


def lower_bound(k: int, n: int) -> Fraction:
    """Return the bound cut off to thousandths."""
    low, high = 0, 1000
    while low < high:
        middle = (low + high + 1) // 2
        if bound_meets(k, n, Fraction(middle, 1000)):
            low = middle
        else:
            high = middle - 1
    return Fraction(low, 1000)
