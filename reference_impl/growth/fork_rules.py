"""When an account forks, how much, and into what: pure functions of policy, standing and past."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reference_impl import ledger
from reference_impl.problems import Problem

from . import shares
from .policy import ForkPolicy
from .standing import Standing

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The earlier forks of an account."""

    instants: tuple[int, ...] = ()
    """When they were, newest first; at least those that the limits of the policy look at."""
    ledger_after: int | None = None
    """What the last one left in cash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to fork off: the amount and the (type, basis points) of each leg."""

    amount: int
    currency: str
    legs: tuple[tuple[str, int], ...]
    explicit: bool = False
    override: bool = False

    @property
    def amounts(self) -> tuple[int, ...]:
        """The amount of each leg."""
        return shares.split(self.amount, [bps for _, bps in self.legs])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a fork is decided by."""

    policy: ForkPolicy
    parent: Standing
    past: Past
    plan: Plan
    now_ms: int


def plan_by_policy(policy: ForkPolicy, parent: Standing) -> Plan:
    """Return the fork that the policy makes of an account as it stands."""
    legs = tuple((parent.type if leg.type == "same" else leg.type, leg.bps) for leg in policy.legs)
    return Plan(amount=policy_amount(policy, parent), currency=parent.currency, legs=legs)


def policy_amount(policy: ForkPolicy, parent: Standing) -> int:
    """Return F, the amount that forks off by the policy."""
    match policy.fork_amount:
        case "surplus":
            return parent.surplus
        case "threshold":
            return threshold(policy, parent)
        case _:
            fraction = policy.fraction_bps or 0
            return (parent.ledger - parent.holds) * fraction // shares.WHOLE_BPS


def threshold(policy: ForkPolicy, parent: Standing) -> int:
    """Return what the trigger is compared with, in minor units of the account."""
    return shares.minor(policy.threshold_major, parent.currency)


def trigger_value(policy: ForkPolicy, parent: Standing, past: Past) -> int:
    """Return the figure that is compared with the threshold."""
    free = parent.ledger - parent.holds
    match policy.trigger:
        case "surplus":
            return parent.surplus
        case "balance":
            return free
        case _:
            return free - (parent.base_amount if past.ledger_after is None else past.ledger_after)


def reached(policy: ForkPolicy, value: int, limit: int) -> bool:
    """Tell whether the trigger is reached: at the threshold or only beyond it."""
    return value > limit if policy.comparison == "more_than" else value >= limit


def floor(policy: ForkPolicy, parent: Standing) -> int:
    """Return what the parent keeps in cash at least (invariant F2)."""
    return max(parent.buffer, shares.minor(policy.min_remaining_major, parent.currency))


def wait_ms(policy: ForkPolicy, past: Past, now_ms: int) -> int:
    """Return how long the account may not fork yet: cool-down and daily limit, 0 if it may."""
    until = [now_ms]
    if past.instants and policy.cool_down_s:
        until.append(past.instants[0] + policy.cool_down_s * 1000)
    if policy.per_day_max is not None and len(past.instants) >= policy.per_day_max:
        until.append(past.instants[policy.per_day_max - 1] + DAY_MS)
    return max(until) - now_ms


def refusals(case: Case) -> Iterator[Problem]:
    """Yield every reason against a fork, in the order in which a request is refused.

    A fork in mode explicit needs no trigger, and may not take more than the surplus unless it
    overrides that; everything else holds for both modes.
    """
    policy, parent, plan = case.policy, case.parent, case.plan
    try:
        ledger.check_debit_allowed(parent.account)
    except Problem as ended:
        yield ended
    if wait := wait_ms(policy, case.past, case.now_ms):
        seconds = -(-wait // 1000)
        detail = f"{parent.id} may fork again in {seconds} s."
        yield Problem("fork_cooldown_active", detail, headers={"Retry-After": str(seconds)})
    if plan.currency != parent.currency:
        detail = f"{parent.id} is in {parent.currency}, the amount in {plan.currency}."
        yield Problem("currency_mismatch", detail)
    if problem := shares.check_shares([bps for _, bps in plan.legs]):
        yield problem
    if policy.max_depth is not None and parent.depth >= policy.max_depth:
        detail = f"{parent.id} is at depth {parent.depth}, the policy ends at {policy.max_depth}."
        yield Problem("lineage_depth_exceeded", detail)
    if reason := next(_ineligible(case), None):
        yield Problem("not_eligible", reason)
    elif sum(bps for _, bps in plan.legs) == shares.WHOLE_BPS and (
        problem := shares.check_legs(plan.amounts)
    ):
        yield problem


def _ineligible(case: Case) -> Iterator[str]:
    """Yield the facts that do not allow the fork."""
    policy, parent, plan = case.policy, case.parent, case.plan
    value, limit = trigger_value(policy, parent, case.past), threshold(policy, parent)
    remains, keeps = parent.ledger - plan.amount, floor(policy, parent)
    if parent.type not in policy.account_types:
        yield f"A {parent.type} account does not fork under this policy."
    if not plan.explicit and not reached(policy, value, limit):
        yield f"{policy.trigger} is {value}, the threshold {limit} ({policy.comparison})."
    if plan.amount <= 0:
        yield f"There is nothing to fork: the amount would be {plan.amount}."
    bounded = plan.explicit or policy.trigger == "surplus"
    if bounded and not plan.override and plan.amount > parent.surplus:
        yield f"The surplus is {parent.surplus}, {plan.amount} would fork off."
    if remains < keeps:
        yield f"{remains} would remain, {keeps} must."
    if parent.available < plan.amount:
        yield f"{parent.available} are available, {plan.amount} would fork off."


def lines(
    parent: ledger.Bucket, children: Sequence[tuple[ledger.Bucket, int]]
) -> list[ledger.Line]:
    """Return the entry of a fork: one debit, and a credit for each child."""
    total = sum(amount for _, amount in children)
    return [
        ledger.line(parent, -total),
        *(ledger.line(bucket, amount) for bucket, amount in children),
    ]


def matured(policy: ForkPolicy, fork: "Forked", now_ms: int) -> bool:
    """Tell whether the children of a fork may merge: by age, or by what they are worth together."""
    rule = policy.matures
    if rule is None:
        return False
    if now_ms >= fork.created_at + rule.age_s * 1000:
        return True
    return fork.value * shares.WHOLE_BPS >= fork.amount * rule.multiple_bps


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A fork as it stands now: what it opened with, and what its children are worth."""

    seq: int
    policy_ref: str
    created_at: int
    amount: int
    children: frozenset[str]
    value: int
