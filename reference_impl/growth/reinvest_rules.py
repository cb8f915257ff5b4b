"""When an account reinvests, how much, and into what: pure functions of policy and standing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reference_impl import ledger
from reference_impl.problems import Problem

from . import shares
from .policy import Opens, ReinvestPolicy
from .standing import Standing

Legs = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a reinvestment is decided by."""

    policy: ReinvestPolicy
    account: Standing
    period: str
    amount: int
    currency: str
    legs: Legs
    """(bucket, basis points) of what is left after the tax reserve."""
    done: bool
    """Whether this period was reinvested before."""
    now: datetime

    @property
    def moves(self) -> tuple[tuple[str, int, int], ...]:
        """What goes where: (bucket, basis points, amount); the tax reserve comes first."""
        return moves(self.amount, self.policy.tax_reserve_bps, self.legs)


def base(account: Standing) -> int:
    """Return the cash that may be reinvested (contract section 1.5)."""
    return account.ledger - account.holds - account.buffer


def share(amount: int, bps: int) -> int:
    """Return a share of an amount, rounded down."""
    return amount * bps // shares.WHOLE_BPS


def all_available(policy: ReinvestPolicy, account: Standing) -> int:
    """Return the most that an account may reinvest; it can be nothing or less."""
    most = shares.minor(policy.amount_max_major, account.currency)
    by_share = share(base(account), policy.share_bps_max)
    return min(base(account), by_share, account.available, most)


def moves(amount: int, tax_reserve_bps: int, legs: Legs) -> tuple[tuple[str, int, int], ...]:
    """Split an amount: the tax reserve first, what is left by the legs."""
    found: list[tuple[str, int, int]] = []
    if tax_reserve_bps:
        reserve, amount = shares.split(
            amount, (tax_reserve_bps, shares.WHOLE_BPS - tax_reserve_bps)
        )
        found.append(("tax_reserve", tax_reserve_bps, reserve))
    amounts = shares.split(amount, [bps for _, bps in legs])
    found += [(bucket, bps, leg) for (bucket, bps), leg in zip(legs, amounts, strict=True)]
    return tuple(found)


def is_open(period: str, opens: Opens | None, now: datetime) -> bool:
    """Tell whether a quarter may be reinvested: from its first moment, or from the policy's day."""
    found = re.fullmatch(r"(\d{4})-Q([1-4])", period)
    if found is None:
        return False
    begins = (int(found[1]), int(found[2]), opens.month if opens else 1, opens.day if opens else 1)
    quarter, month = divmod(now.month - 1, 3)
    return begins <= (now.year, quarter + 1, month + 1, now.day)


def refusals(case: Case) -> Iterator[Problem]:
    """Yield every reason against a reinvestment, in the order in which a request is refused."""
    policy, account = case.policy, case.account
    try:
        ledger.check_debit_allowed(account.account)
    except Problem as ended:
        yield ended
    if case.done:
        detail = f"{account.id} has reinvested {case.period} already."
        yield Problem("already_reinvested", detail)
    if account.type not in policy.account_types:
        detail = f"A {account.type} account does not reinvest under this policy."
        yield Problem("not_eligible", detail)
    if not is_open(case.period, policy.opens, case.now):
        yield Problem("period_not_open", f"{case.period} is not open yet.")
    if case.currency != account.currency:
        detail = f"{account.id} is in {account.currency}, the amount in {case.currency}."
        yield Problem("currency_mismatch", detail)
    problem = shares.check_shares([bps for _, bps in case.legs], [name for name, _ in case.legs])
    if problem:
        yield problem
    yield from _amount_refusals(case)
    if problem is None and case.amount > 0 and min(leg for _, _, leg in case.moves) <= 0:
        yield Problem("amount_too_small", f"{case.amount} cannot be split into these legs.")


def _amount_refusals(case: Case) -> Iterator[Problem]:
    policy, account, amount = case.policy, case.account, case.amount
    least = shares.minor(policy.amount_min_major, account.currency)
    most = shares.minor(policy.amount_max_major, account.currency)
    free = base(account)
    if amount < max(least, 1):
        yield Problem("below_minimum", f"{amount} is less than {max(least, 1)}.")
    if amount > most:
        yield Problem("above_maximum", f"{amount} is more than {most}.")
    if amount > min(free, account.available):
        detail = f"{account.id} has {free} beyond its buffer, {amount} are needed."
        yield Problem("insufficient_available", detail)
        return
    if amount < share(free, policy.share_bps_min):
        yield Problem("below_minimum", f"At least {policy.share_bps_min} bps of {free} are taken.")
    if amount > share(free, policy.share_bps_max):
        yield Problem("above_maximum", f"At most {policy.share_bps_max} bps of {free} are taken.")


def lines(
    cash: ledger.Bucket, into: Mapping[str, ledger.Bucket], parts: Sequence[tuple[str, int, int]]
) -> list[ledger.Line]:
    """Return the entry of a reinvestment: cash falls by what the other buckets rise (R2)."""
    rises = [ledger.line(into[bucket], amount) for bucket, _, amount in parts]
    return [ledger.line(cash, -sum(amount for _, _, amount in parts)), *rises]
