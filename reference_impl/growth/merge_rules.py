"""Which accounts merge, and what moves: pure functions of policy, standings and forks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reference_impl import ledger
from reference_impl.config import MAX_AMOUNT, MERGE_SOURCES_MAX
from reference_impl.problems import Problem

from . import shares
from .fork_rules import Forked
from .policy import MergePolicy
from .standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The fork that a source was born from, and whether it has matured."""

    fork: Forked
    matured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that a merge is decided by."""

    policy: MergePolicy
    sources: Sequence[Standing]
    target: Standing | None
    """None where the merge opens a new compounding account."""
    by_policy: bool
    override: bool
    held: frozenset[str] = frozenset()
    """The accounts into or out of which a hold could still move money."""
    origins: Sequence[Origin | None] = ()
    """Of each source, in mode policy."""

    @property
    def everyone(self) -> tuple[Standing, ...]:
        """The sources, and the target if it is there already."""
        return (*self.sources, *((self.target,) if self.target else ()))

    @property
    def value(self) -> int:
        """What the sources are worth, every bucket counted."""
        return sum(source.total_value for source in self.sources)

    @property
    def threshold(self) -> int | None:
        """What the policy asks of a family, in minor units."""
        if self.policy.threshold_major is None:
            return None
        return shares.minor(self.policy.threshold_major, self.sources[0].currency)


def refusals(case: Case) -> Iterator[Problem]:
    """Yield every reason against a merge, in the order in which a request is refused."""
    yield from _state_refusals(case)
    ids = [source.id for source in case.sources]
    if len(set(ids)) != len(ids):
        yield Problem("duplicate_source", "A source is named twice.")
    if case.target is not None and case.target.id in ids:
        yield Problem("target_in_sources", f"{case.target.id} is source and target.")
    most = min(case.policy.sources_max, MERGE_SOURCES_MAX)
    if not case.policy.sources_min <= len(ids) <= most:
        detail = f"{len(ids)} sources; {case.policy.sources_min} to {most} are taken."
        yield Problem("too_many_sources", detail)
    if len({account.currency for account in case.everyone}) > 1:
        yield Problem("currency_mismatch", "The accounts are not in one currency.")
    if owners_mismatch(case):
        yield Problem("owner_mismatch", "The accounts do not belong to one owner.")
    if case.value == 0:
        yield Problem("nothing_to_merge", "No source has value.")
    if case.by_policy and (reason := _not_asked_for(case)):
        yield Problem("below_merge_threshold", reason)
    if case.value > MAX_AMOUNT - (case.target.total_value if case.target else 0):
        yield Problem("amount_out_of_range", f"A balance may not exceed {MAX_AMOUNT} minor units.")


def _state_refusals(case: Case) -> Iterator[Problem]:
    for account in case.everyone:
        if account.account.status == "merged":
            extra = {"merged_into_id": account.account.merged_into_id}
            yield Problem("account_merged", f"{account.id} was merged.", extra=extra)
        elif account.account.status != "active":
            detail = f"{account.id} is {account.account.status}."
            yield Problem("account_not_active", detail)
    for account in case.everyone:
        if account.id in case.held:
            yield Problem("pending_holds", f"{account.id} has a hold; settle or void it first.")


def owners_mismatch(case: Case) -> bool:
    """Tell whether owners differ; with an override they may inside one root."""
    if len({account.account.owner_id for account in case.everyone}) == 1:
        return False
    return not (case.override and len({account.root_id for account in case.everyone}) == 1)


def _not_asked_for(case: Case) -> str | None:
    """Return what the policy misses in the target or the sources."""
    policy = case.policy
    target_type = case.target.type if case.target else "compounding"
    if target_type not in policy.target_types:
        return f"The policy merges into {', '.join(policy.target_types)}."
    if policy.eligible == "fork_family":
        if not one_family(case):
            return "The sources are not all the children of one fork."
        if case.value < (case.threshold or 0):
            return f"The family is worth {case.value}, the threshold is {case.threshold}."
    if policy.eligible == "matured" and not all(
        origin is not None and origin.matured for origin in case.origins
    ):
        return "A source is not the child of a fork that has matured."
    return None


def one_family(case: Case) -> bool:
    """Tell whether the sources are exactly the children of one fork."""
    forks = {origin.fork.seq if origin else None for origin in case.origins}
    first = case.origins[0] if case.origins else None
    ids = {source.id for source in case.sources}
    return first is not None and len(forks) == 1 and first.fork.children == ids


def lines(
    sources: Sequence[Sequence[ledger.Bucket]], into: Mapping[str, ledger.Bucket]
) -> list[ledger.Line]:
    """Return the entry of a merge: every bucket of every source into the target's of its kind."""
    targets = dict(into)
    found: list[ledger.Line] = []
    for bucket in (bucket for buckets in sources for bucket in buckets if bucket.balance):
        found.append(ledger.line(bucket, -bucket.balance))
        credit = ledger.line(targets[bucket.kind], bucket.balance)
        found.append(credit)
        targets[bucket.kind] = replace(credit.bucket, balance=credit.balance_after)
    return found


def merged_cash(lines_booked: Sequence[ledger.Line]) -> int:
    """Return the cash that arrived: by this the base of the target rises."""
    return sum(
        line.amount for line in lines_booked if line.amount > 0 and line.bucket.kind == "cash"
    )


def new_target_place(sources: Sequence[Standing]) -> tuple[str | None, int]:
    """Return root (None for its own) and depth of a target that the merge opens."""
    roots = {source.root_id for source in sources}
    depth = min(source.depth for source in sources)
    return (roots.pop() if len(roots) == 1 else None), depth
