"""The rules of a growth policy that a JSON Schema cannot say: sums and orders."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from certification.contract.schemas import Violation, violation

_WHOLE_BPS = 10_000


def policy_rule_violations(document: object) -> tuple[Violation, ...]:
    """Check a policy that growth-policy.schema.json has accepted.

    Shares must add up to 10,000 basis points, a bucket may be named once, and a lower bound must
    not exceed its upper bound.
    """
    policy = cast("Mapping[str, Any]", document)
    fork, merge, reinvest = policy["fork"], policy["merge"], policy["reinvest"]
    return (
        *_sum_violations(policy["initial_split"], ("initial_split",)),
        *_sum_violations(fork["legs"], ("fork", "legs")),
        *_sum_violations(reinvest["legs"], ("reinvest", "legs")),
        *_bucket_violations(reinvest["legs"]),
        *_order_violations(merge, "merge", ("sources_min", "sources_max")),
        *_order_violations(reinvest, "reinvest", ("amount_min_major", "amount_max_major")),
        *_order_violations(reinvest, "reinvest", ("share_bps_min", "share_bps_max")),
    )


def _sum_violations(
    legs: Sequence[Mapping[str, int]], path: tuple[str, ...]
) -> Iterator[Violation]:
    total = sum(leg["bps"] for leg in legs)
    if total != _WHOLE_BPS:
        yield violation(f"the shares add up to {total}, not {_WHOLE_BPS} basis points", path)


def _bucket_violations(legs: Sequence[Mapping[str, str]]) -> Iterator[Violation]:
    buckets = [leg["bucket"] for leg in legs]
    for bucket in sorted({name for name in buckets if buckets.count(name) > 1}):
        yield violation(f"bucket {bucket} is named more than once", ("reinvest", "legs"))


def _order_violations(
    rules: Mapping[str, int], section: str, bounds: tuple[str, str]
) -> Iterator[Violation]:
    lower, upper = bounds
    if rules[lower] > rules[upper]:
        message = f"{lower} ({rules[lower]}) is above {upper} ({rules[upper]})"
        yield violation(message, (section, lower))
