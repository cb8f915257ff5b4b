"""Decides forks, merges and reinvestments from the policy document that a target declares.

Written from the contract's text: what it asks of growth, and the descriptions of the policy's
members. Pure arithmetic on integers of minor units; a policy is the JSON document in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from certification.oracle import rounding

Policy = Mapping[str, Any]

DAY_S = 86_400
POSITIVE = 1
"""The least amount that can move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An account as a decision sees it; minor units of a currency with this exponent."""

    type: str
    exponent: int
    ledger: int
    base_amount: int
    buffer: int
    holds: int = 0
    min_balance: int = 0
    total_value: int = 0
    depth: int = 0
    status: str = "active"

    @property
    def free(self) -> int:
        """Cash that nothing is promised of: ledger - holds."""
        return self.ledger - self.holds

    @property
    def surplus(self) -> int:
        """Cash beyond the base: ledger - holds - base_amount."""
        return self.free - self.base_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The forks that an account has made."""

    ages_s: tuple[float, ...] = ()
    """Seconds since each, newest first."""
    ledger_after: int | None = None
    """What the newest left in cash; None before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A share of an amount: of a fork by account type, of a reinvestment by bucket."""

    to: str
    bps: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What would move and why it may not; `reasons` are codes of the problem catalogue."""

    amount: int
    legs: tuple[Leg, ...]
    facts: Mapping[str, int]
    reasons: tuple[str, ...]

    @property
    def eligible(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def minor(major: int, exponent: int) -> int:
    """Return whole major units of a policy as minor units of a currency."""
    return int(major * 10**exponent)


# -- fork ------------------------------------------------------------------------------------------


def fork_amount(rules: Policy, account: Standing) -> int:
    """Return F by `fork_amount` of the policy."""
    if rules["fork_amount"] == "surplus":
        return account.surplus
    if rules["fork_amount"] == "threshold":
        return minor(rules["threshold_major"], account.exponent)
    return rounding.share(account.free, rules["fraction_bps"])


def trigger_value(rules: Policy, account: Standing, history: History) -> int:
    """Return what is compared with the threshold."""
    if rules["trigger"] == "surplus":
        return account.surplus
    if rules["trigger"] == "balance":
        return account.free
    since = account.base_amount if history.ledger_after is None else history.ledger_after
    return account.free - since


def triggered(rules: Policy, value: int, threshold: int) -> bool:
    """Tell whether the trigger is reached, by `comparison`."""
    return value > threshold if rules["comparison"] == "more_than" else value >= threshold


def floor_of(rules: Policy, account: Standing) -> int:
    """Return what must remain in the parent (invariant F2)."""
    return max(account.buffer, minor(rules["min_remaining_major"], account.exponent))


def cooling(rules: Policy, history: History) -> bool:
    """Tell whether the cool-down or the limit of a day forbids a fork now."""
    if history.ages_s and history.ages_s[0] < rules["cool_down_s"]:
        return True
    most = rules["per_day_max"]
    return most is not None and sum(age < DAY_S for age in history.ages_s) >= most


def too_deep(rules: Policy, account: Standing, depth_max: int | None) -> bool:
    """Tell whether the depth limit of the policy, or of the deployment, is reached."""
    limits = [limit for limit in (rules["max_depth"], depth_max) if limit is not None]
    return any(account.depth >= limit for limit in limits)


def ended(status: str) -> tuple[str, ...]:
    """Return the problem that an account's state makes for a fork or a reinvestment."""
    return () if status == "active" else (f"account_{status}",)


def fork_legs(rules: Policy, account: Standing, amount: int) -> tuple[Leg, ...]:
    """Return the children of a fork by the policy; `same` is the type of the parent."""
    types = [account.type if leg["type"] == "same" else leg["type"] for leg in rules["legs"]]
    return legs_of(amount, types, [leg["bps"] for leg in rules["legs"]])


def legs_of(amount: int, to: Sequence[str], shares_bps: Sequence[int]) -> tuple[Leg, ...]:
    """Return the legs of an amount; nothing is split off an amount below 1."""
    amounts = rounding.split(max(amount, 0), shares_bps)
    rows = zip(to, shares_bps, amounts, strict=True)
    return tuple(Leg(to=name, bps=bps, amount=part) for name, bps, part in rows)


def too_small(legs: Sequence[Leg]) -> bool:
    """Tell whether a leg would be 0."""
    return any(leg.amount < POSITIVE for leg in legs)


def fork_facts(rules: Policy, account: Standing, history: History) -> dict[str, int]:
    """Return the figures that a fork is decided by."""
    return {
        **facts_of(account),
        "surplus": account.surplus,
        "trigger_value": trigger_value(rules, account, history),
        "threshold": minor(rules["threshold_major"], account.exponent),
    }


def facts_of(account: Standing) -> dict[str, int]:
    """Return the figures that every growth event states."""
    return {
        "ledger": account.ledger,
        "holds": account.holds,
        "base_amount": account.base_amount,
        "buffer": account.buffer,
    }


NEVER_FORKED = History()


def judge_fork(
    policy: Policy,
    account: Standing,
    history: History = NEVER_FORKED,
    *,
    depth_max: int | None = None,
) -> Decision:
    """Decide the fork that the policy would make of an account now."""
    rules = policy["fork"]
    amount, facts = fork_amount(rules, account), fork_facts(rules, account, history)
    legs = fork_legs(rules, account, amount)
    reasons = [*ended(account.status)]
    if cooling(rules, history):
        reasons.append("fork_cooldown_active")
    if too_deep(rules, account, depth_max):
        reasons.append("lineage_depth_exceeded")
    if not may_fork(rules, account, amount, facts):
        reasons.append("not_eligible")
    elif too_small(legs):
        reasons.append("amount_too_small")
    return Decision(amount=amount, legs=legs, facts=facts, reasons=tuple(reasons))


def may_fork(rules: Policy, account: Standing, amount: int, facts: Mapping[str, int]) -> bool:
    """Tell whether type, trigger, amount and what remains allow the fork."""
    return (
        account.type in rules["account_types"]
        and triggered(rules, facts["trigger_value"], facts["threshold"])
        and amount >= POSITIVE
        and (rules["trigger"] != "surplus" or amount <= account.surplus)
        and account.ledger - amount >= floor_of(rules, account)
        and account.free - amount >= account.min_balance
    )


def least_ledger(policy: Policy, account: Standing, *, most: int) -> int | None:
    """Return the least cash at which this account forks by the policy; None if not up to `most`.

    Every rule for an amount is one-sided in the ledger, so that halving finds the edge; the edge
    itself is judged once more.
    """
    low, high = -1, most
    if not judge_fork(policy, replace(account, ledger=high)).eligible:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if judge_fork(policy, replace(account, ledger=middle)).eligible:
            high = middle
        else:
            low = middle
    return high


# -- merge -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinship:
    """What the births of the sources come to."""

    whole_family: bool = False
    """They are all the children of one fork, and nothing else."""
    matured: bool = False
    """Each is the child of a fork that has matured."""


def merge_reasons(
    policy: Policy, sources: Sequence[Standing], target_type: str, kinship: Kinship
) -> tuple[str, ...]:
    """Return what the policy has against a merge in mode policy; accounts are taken as fit."""
    rules = policy["merge"]
    reasons = []
    if not rules["sources_min"] <= len(sources) <= rules["sources_max"]:
        reasons.append("too_many_sources")
    if sum(source.total_value for source in sources) == 0:
        reasons.append("nothing_to_merge")
    if target_type not in rules["target_types"] or not merge_asked(rules, sources, kinship):
        reasons.append("below_merge_threshold")
    return tuple(reasons)


def merge_asked(rules: Policy, sources: Sequence[Standing], kinship: Kinship) -> bool:
    """Tell whether the sources are what `eligible` asks for."""
    if rules["eligible"] == "matured":
        return kinship.matured
    if rules["eligible"] == "fork_family":
        least = minor(rules["threshold_major"], sources[0].exponent)
        return kinship.whole_family and sum(s.total_value for s in sources) >= least
    return True


def base_after_merge(base_amount: int, merged_cash: int) -> int:
    """Return the target's base: raised by the cash, so that a merge triggers no fork by itself."""
    return base_amount + merged_cash


# -- reinvest --------------------------------------------------------------------------------------


def reinvestable(account: Standing) -> int:
    """Return ledger - holds - buffer."""
    return account.free - account.buffer


def reinvest_legs(rules: Policy, amount: int) -> tuple[Leg, ...]:
    """Return where the amount goes: the tax reserve first, what is left by the legs."""
    reserve = rules["tax_reserve_bps"]
    found: tuple[Leg, ...] = ()
    left = max(amount, 0)
    if reserve:
        taxed, left = rounding.split(left, (reserve, rounding.WHOLE_BPS - reserve))
        found = (Leg(to="tax_reserve", bps=reserve, amount=taxed),)
    buckets = [leg["bucket"] for leg in rules["legs"]]
    return found + legs_of(left, buckets, [leg["bps"] for leg in rules["legs"]])


def judge_reinvest(policy: Policy, account: Standing, amount: int, *, done: bool) -> Decision:
    """Decide a reinvestment of this amount in a period that is open; `done`: it had its one."""
    rules = policy["reinvest"]
    legs = reinvest_legs(rules, amount)
    reasons = [*ended(account.status)]
    if done:
        reasons.append("already_reinvested")
    if account.type not in rules["account_types"]:
        reasons.append("not_eligible")
    reasons += amount_reasons(rules, account, amount)
    if amount >= POSITIVE and too_small(legs):
        reasons.append("amount_too_small")
    facts = facts_of(account)
    return Decision(amount=amount, legs=legs, facts=facts, reasons=tuple(dict.fromkeys(reasons)))


def amount_reasons(rules: Policy, account: Standing, amount: int) -> list[str]:
    """Return what the bounds of the policy have against an amount."""
    free = reinvestable(account)
    least = max(minor(rules["amount_min_major"], account.exponent), POSITIVE)
    most = minor(rules["amount_max_major"], account.exponent)
    shown = amount * rounding.WHOLE_BPS
    found = {
        "insufficient_available": amount > min(free, account.free - account.min_balance),
        "below_minimum": amount < least or shown < free * rules["share_bps_min"],
        "above_maximum": amount > most or shown > free * rules["share_bps_max"],
    }
    return [code for code, against in found.items() if against]


def quarter(year: int, month: int) -> str:
    """Return the calendar quarter, written 2026-Q4."""
    return f"{year:04d}-Q{(month + 2) // 3}"


def quarter_before(period: str) -> str:
    """Return the quarter before."""
    year, number = int(period[:4]), int(period[-1])
    return f"{year:04d}-Q{number - 1}" if number > 1 else f"{year - 1:04d}-Q4"


def quarter_after(period: str) -> str:
    """Return the quarter after."""
    year, number = int(period[:4]), int(period[-1])
    return f"{year:04d}-Q{number + 1}" if number < 4 else f"{year + 1:04d}-Q1"


def opened(policy: Policy, *, month: int, day: int) -> bool:
    """Tell whether the quarter of this date may already be reinvested on it."""
    opens = policy["reinvest"]["opens"]
    if opens is None:
        return True
    return ((month - 1) % 3 + 1, day) >= (opens["month"], opens["day"])
