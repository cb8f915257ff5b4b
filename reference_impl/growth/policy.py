"""The growth policy as a document: its shape, what a shape cannot say, and its identity."""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reference_impl import idempotency
from reference_impl.problems import Problem, invalid
from reference_impl.requests import AccountType, BasisPoints

from .shares import WHOLE_BPS

LegPoints = Annotated[int, Meta(ge=1, le=10_000)]
Major = Annotated[int, Meta(ge=0, le=9_007_199_254_740)]
Count = Annotated[int, Meta(ge=1, le=10)]
AccountTypes = Annotated[list[AccountType], Meta(min_length=1)]
Position = Literal["position:contracts", "position:leaps", "position:shares"]


class Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A closed part of the document."""


class Allowed(Part):
    """Which types of account let money out."""

    generation: bool
    revenue: bool
    compounding: bool


class SplitLeg(Part):
    """A share of a new system."""

    type: AccountType
    bps: LegPoints


class ForkLeg(Part):
    """A share of a fork; `same` is the type of the parent."""

    type: Literal["generation", "revenue", "compounding", "same"]
    bps: LegPoints


class ReinvestLeg(Part):
    """A share of a reinvestment."""

    bucket: Position
    bps: LegPoints


class Matures(Part):
    """When the children of a fork become candidates for a merge, whichever is first."""

    age_s: Annotated[int, Meta(ge=1)]
    multiple_bps: Annotated[int, Meta(ge=10_001)]


class ForkPolicy(Part):
    """When and how an account forks."""

    account_types: AccountTypes
    trigger: Literal["surplus", "balance", "gain_since_last_fork"]
    comparison: Literal["at_least", "more_than"]
    threshold_major: Major
    fork_amount: Literal["surplus", "threshold", "fraction_of_balance"]
    fraction_bps: LegPoints | None
    legs: Annotated[list[ForkLeg], Meta(min_length=1, max_length=10)]
    min_remaining_major: Major
    cool_down_s: Annotated[int, Meta(ge=0, le=31_536_000)]
    per_day_max: Annotated[int, Meta(ge=1)] | None
    max_depth: Annotated[int, Meta(ge=1)] | None
    matures: Matures | None


class MergePolicy(Part):
    """What a merge in mode policy asks."""

    sources_min: Count
    sources_max: Count
    target_types: AccountTypes
    eligible: Literal["any", "fork_family", "matured"]
    threshold_major: Major | None


class Opens(Part):
    """From when in a quarter it may be reinvested."""

    month: Annotated[int, Meta(ge=1, le=3)]
    day: Annotated[int, Meta(ge=1, le=28)]


class ReinvestPolicy(Part):
    """When, how much and into what an account reinvests."""

    account_types: AccountTypes
    period: Literal["quarter"]
    opens: Opens | None
    amount_min_major: Major
    amount_max_major: Major
    share_bps_min: BasisPoints
    share_bps_max: BasisPoints
    tax_reserve_bps: Annotated[int, Meta(ge=0, le=9999)]
    legs: Annotated[list[ReinvestLeg], Meta(min_length=1, max_length=3)]


class Policy(Part, kw_only=True, omit_defaults=True):
    """Every number by which accounts grow."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}\Z")]
    version: Annotated[int, Meta(ge=1)]
    description: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    base_mode: Literal["opening", "contributed"]
    buffer_bps: BasisPoints
    withdrawal_allowed: Allowed
    initial_split: Annotated[list[SplitLeg], Meta(min_length=1, max_length=10)]
    fork: ForkPolicy
    merge: MergePolicy
    reinvest: ReinvestPolicy

    @property
    def ref(self) -> str:
        """The name and version that events and accounts refer to."""
        return f"{self.name}@{self.version}"


def canonical(policy: Policy) -> bytes:
    """Return the document that the identity of a policy is compared by."""
    return idempotency.canonical(msgspec.to_builtins(policy))


def digest(policy: Policy) -> str:
    """Return the SHA-256 of the canonical document, in hex."""
    return hashlib.sha256(canonical(policy)).hexdigest()


@functools.lru_cache(maxsize=64)
def read(document: bytes) -> Policy:
    """Return a policy that was stored."""
    return msgspec.json.decode(document, type=Policy)


def check_shape(policy: Policy, at: str) -> None:
    """Refuse (400) what the contract's schema refuses and the structs cannot say."""
    fork, merge = policy.fork, policy.merge
    if (fork.fork_amount == "fraction_of_balance") != (fork.fraction_bps is not None):
        detail = "fraction_bps belongs to fork_amount fraction_of_balance"
        raise invalid(f"{at}/fork/fraction_bps", "kind", detail)
    if (merge.eligible == "fork_family") != (merge.threshold_major is not None):
        detail = "threshold_major belongs to eligible fork_family"
        raise invalid(f"{at}/merge/threshold_major", "kind", detail)
    for path, types in (
        ("fork/account_types", fork.account_types),
        ("merge/target_types", merge.target_types),
        ("reinvest/account_types", policy.reinvest.account_types),
    ):
        if len(set(types)) != len(types):
            raise invalid(f"{at}/{path}", "unique", "A type is named twice")


def check_rules(policy: Policy, at: str) -> None:
    """Refuse (422 `policy_invalid`) shares that are not a whole and bounds that cross."""
    found = [{"pointer": f"{at}{path}", "code": code} for path, code in violations(policy)]
    if found:
        names = ", ".join(error["pointer"] for error in found)
        raise Problem("policy_invalid", f"Look at {names}.", errors=found)


def violations(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield where a policy of the right shape contradicts itself: (pointer, code)."""
    merge, reinvest = policy.merge, policy.reinvest
    yield from _not_whole("/initial_split", [leg.bps for leg in policy.initial_split])
    yield from _not_whole("/fork/legs", [leg.bps for leg in policy.fork.legs])
    yield from _not_whole("/reinvest/legs", [leg.bps for leg in reinvest.legs])
    if len({leg.bucket for leg in reinvest.legs}) != len(reinvest.legs):
        yield "/reinvest/legs", "duplicate_bucket"
    if merge.sources_min > merge.sources_max:
        yield "/merge/sources_min", "bounds_crossed"
    if reinvest.amount_min_major > reinvest.amount_max_major:
        yield "/reinvest/amount_min_major", "bounds_crossed"
    if reinvest.share_bps_min > reinvest.share_bps_max:
        yield "/reinvest/share_bps_min", "bounds_crossed"


def _not_whole(pointer: str, shares_bps: Sequence[int]) -> Iterator[tuple[str, str]]:
    if sum(shares_bps) != WHOLE_BPS:
        yield pointer, "shares_not_whole"


def document(policy: Policy) -> Mapping[str, Any]:
    """Return a policy as it goes over the wire."""
    shown: Mapping[str, Any] = msgspec.to_builtins(policy)
    return shown
