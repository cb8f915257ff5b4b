"""Scenarios of growth: from a new system to its last account, by the policy in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from certification import growing
from certification.checks import check
from certification.model import Module, Severity, Veto
from certification.oracle import growth
from certification.scenario import Story
from certification.scenario_book import Ask, Page
from certification.scenario_growth import Growth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.context import Context
    from certification.scenario_book import Json

SHARES = (("generation", 3_333), ("revenue", 3_333), ("compounding", 3_334))


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What differs between two ways through growth."""

    amount: int = 3_000_001
    digits: str | None = None
    extra: int = 7
    """Minor units above the edge of the policy when the account forks."""
    explicit: bool = False
    trial_first: bool = False
    edge_first: bool = False
    """One unit below the edge is refused first."""
    held: bool = False
    """A hold is open on the parent while it forks."""
    suspended: bool = False
    target: str = "existing"
    """Whom the children merge into: existing, new, or none; parent: the parent merges into one."""
    reinvest: str = "after"
    """When: before or after the merge; whole: all that is available; quarters: two periods."""
    forks: int = 1
    twice: bool = False


WAYS = {
    "into-an-existing-account": Way(),
    "into-a-new-account": Way(target="new"),
    "explicit-shares": Way(explicit=True, target="new", extra=1_000_001),
    "dry-runs-first": Way(trial_first=True, edge_first=True),
    "hold-open-and-suspended": Way(held=True, suspended=True),
    "all-that-is-available": Way(reinvest="whole", target="new"),
    "two-quarters": Way(reinvest="quarters"),
    "parent-into-its-child": Way(target="parent"),
    "forks-of-forks": Way(forks=2, target="new", extra=3),
    "each-request-twice": Way(twice=True, trial_first=True),
    "fewest-digits": Way(digits="fewest", amount=300_001),
    "most-digits-reinvested-first": Way(digits="most", amount=30_000_001, reinvest="before"),
    "large-amounts": Way(amount=900_000_000_000_001, extra=1_234_567_891),
}


@check(
    "functional/scenarios-growth/whole-life-of-a-system",
    title="A system's whole life leaves the balances, family and events that its steps make",
    failure_title="Somewhere in its growth a system reads otherwise than its steps make it",
    severity=Severity.CRITICAL,
    requirements=["E2E-GRO", "E2E-LIFE", "SYS-GRO"],
    operations=[
        "openSystem",
        "createTransaction",
        "forkAccount",
        "mergeAccounts",
        "getMerge",
        "reinvestAccount",
        "getLineage",
        "listGrowthEvents",
        "getGrowthSummary",
        "listGrowthCandidates",
        "closeAccount",
        "getAccount",
        "listEntries",
        "settleTransaction",
        "listTransactions",
    ],
    modules=(Module.GROWTH,),
    identities=("customer", "operator", "manager"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=[
        "only-the-first-source-ends",
        "new-targets-have-no-base",
        "grandchildren-are-children-of-the-root",
        "second-reinvestment-swaps-its-legs",
        "events-forget-the-merged",
        "merging-is-a-state",
    ],
)
@pytest.mark.parametrize("way", sorted(WAYS))
def check_whole_life_of_a_system(ctx: Context, way: str) -> None:
    """Whether every step of growth does what the declared policy says, one after another.

    Why: Fork, merge and reinvestment build on each other; an error of one is the input of the next.
    How: Open a system, bring and trade money up to the edge of the policy, fork, merge, reinvest,
        read lineage, events and summary, close everything into one account. The names of the
        cases say what differs. After each step accounts and entries are compared with the book,
        which computes forks, legs and bounds from the policy.
    Fails when: A balance, entry, family edge, event or version differs after any step.
    Remedy: The message names the step; compare it with the arithmetic of the policy in force.
    """
    data = WAYS[way]
    story = Story(ctx=ctx, twice=data.twice)
    grown = Growth(story=story, currency=_currency(ctx, data.digits))
    before = grown.totals()
    system = grown.open_system(min(data.amount, story.amount_max // 10))
    feeder = story.open(currency=grown.currency, withdrawal_allowed=True)
    parent = _grower(grown, system)
    _trade(story, parent, system)
    family = [parent]
    for _ in range(data.forks):
        family += _fork(grown, data, _grower(grown, [*family[1:], parent]), feeder)
    _merge_and_reinvest(grown, data, system, family, feeder)
    _told(grown, before, [*system, *family])
    _close(grown, system, family, feeder)
    story.finish()


def _currency(ctx: Context, digits: str | None) -> str:
    rows = sorted(ctx.declared("currencies"), key=lambda row: (row["exponent"], row["code"]))
    if digits is None:
        return ctx.arrange.currency
    return str(rows[0 if digits == "fewest" else -1]["code"])


def _grower(grown: Growth, system: Sequence[Page]) -> Page:
    """Return the account of the system that forks by the policy in force."""
    for page in system:
        if grown.least(page) is not None:
            return page
    return grown.story.ctx.not_exercised("no account of a system forks within the limits")


def _trade(story: Story, parent: Page, system: Sequence[Page]) -> None:
    """Earn, pay a fee, and move some money about."""
    other = next((page for page in system if page is not parent), parent)
    story.post(Ask(kind="premium", amount=1_234, target=parent))
    story.post(Ask(kind="fee", amount=17, source=parent))
    story.post(Ask(kind="transfer", amount=101, source=parent, target=other))


def _fork(grown: Growth, data: Way, page: Page, feeder: Page) -> list[Page]:
    """Bring an account to the edge, and fork it."""
    story, ctx = grown.story, grown.story.ctx
    path = {"id": page.id}
    hold = None
    if data.held:
        hold = story.booked("withdrawal", 13, source=page, hold=True)
    least = grown.least(page)
    if least is None:
        ctx.not_exercised("the account does not fork within the deployment's limits")
    if data.edge_first:
        grown.bring(page, least - 1 - page.cash, feeder)
        if not grown.judge(page).eligible:
            grown.preview(page)
    grown.bring(page, least + data.extra - page.cash, feeder)
    if data.suspended:
        story.update(page, by=ctx.manager, status="suspended")
        story.refuse(
            ctx.customer, "forkAccount", "account_suspended", near=[page], path=path, body={}
        )
        story.update(page, by=ctx.manager, status="active")
    if data.trial_first:
        _listed(grown, page)
        grown.preview(page)
    children = _split_off(grown, page) if data.explicit else grown.fork(page)
    if hold is not None:
        sources = [page.id]
        body = {"sources": sources, "target_id": children[0].id}
        accepted = growing.source_count(grown.story.ctx, grown.policy(children[0]), 1) == 1
        if accepted:
            story.refuse(
                ctx.customer, "mergeAccounts", "pending_holds", near=[page, children[0]], body=body
            )
        story.settle(hold, 6)
    return children


def _split_off(grown: Growth, page: Page) -> list[Page]:
    """Fork with a manager's own amount and shares, as far as surplus and floor allow."""
    standing, rules = grown.standing(page), grown.policy(page)["fork"]
    most = min(standing.surplus, page.available, page.cash - growth.floor_of(rules, standing))
    amount = most - 1
    if amount < len(SHARES) * 10:
        grown.story.ctx.not_exercised("the policy leaves no surplus to fork with own shares")
    return grown.fork_explicitly(page, amount, SHARES)


def _listed(grown: Growth, page: Page) -> None:
    """Expect the account among the candidates, with the amount of the policy."""
    query = {"account_id": page.id, "kind": "fork"}
    rows = grown.story.ctx.arrange.pages("listGrowthCandidates", query=query)
    decision = grown.judge(page)
    shown = [(row["eligible"], (row["amount"] or {}).get("amount")) for row in rows]
    expected = [(True, decision.amount)]
    grown.story.ctx.equal(shown, expected, "The candidate that an account at the edge is")


def _merge_and_reinvest(
    grown: Growth, data: Way, system: Sequence[Page], family: list[Page], feeder: Page
) -> None:
    if data.reinvest == "before":
        _reinvest(grown, data, [*system, *family], feeder)
    target = _merge(grown, data, system, family)
    if data.reinvest != "before":
        _reinvest(grown, data, [*system, *family, target], feeder)
    if not any(page is target for page in family):
        family.append(target)


def _merge(grown: Growth, data: Way, system: Sequence[Page], family: Sequence[Page]) -> Page:
    """Merge as many of the family as the policy takes; return the target."""
    ctx = grown.story.ctx
    wanted, rules = growing.target_type(ctx)
    fitting = rules["merge"]["target_types"]
    least, most = (
        growing.source_count(grown.story.ctx, rules, 1),
        growing.source_count(grown.story.ctx, rules, 100),
    )
    children, target = [page for page in family[1:] if page.status == "active"], None
    sources = [*reversed(children), family[0]]
    if data.target == "new" and "compounding" not in fitting:
        ctx.not_exercised("no compounding account is a target under the policy in force")
    if data.target == "existing":
        target = next(
            (p for p in system if p.configured["type"] in fitting and p is not family[0]), None
        )
        target = target or grown.story.open(type=wanted, currency=grown.currency)
    if data.target == "parent":
        target = next((page for page in children if page.configured["type"] in fitting), None)
        if target is None:
            ctx.not_exercised("no child is a target under the policy in force")
        sources = [family[0], *(page for page in children if page is not target)]
        children = []
    count = max(least, min(len(children), most))
    while len(sources) < count:
        sources.append(grown.story.open(currency=grown.currency))
    return grown.merge(sources[:count], target)


def _reinvest(grown: Growth, data: Way, pages: Sequence[Page], feeder: Page) -> None:
    """Reinvest of an account whose type does, as much as the policy's bounds allow."""
    page = _reinvestor(grown, pages)
    rules = grown.policy(page)
    period = growing.period_now(grown.story.ctx.arrange.read({"id": page.id}), rules)
    _within_bounds(grown, page, rules["reinvest"], feeder)
    amount = _bounds(grown, page, rules["reinvest"])[1]
    if data.reinvest != "whole":
        amount = max(_bounds(grown, page, rules["reinvest"])[0], amount // 3)
        while amount * rules["reinvest"]["tax_reserve_bps"] % 10_000 >= 5_000:
            amount += 1
    grown.reinvest(page, (period, amount), everything=data.reinvest == "whole")
    money = grown.story.ctx.arrange.money(max(amount, 1), grown.currency)
    path, body = {"id": page.id}, {"period": period, "amount": money}
    customer = grown.story.ctx.customer
    grown.story.refuse(
        customer, "reinvestAccount", "already_reinvested", near=[page], path=path, body=body
    )
    if data.reinvest == "quarters":
        _within_bounds(grown, page, rules["reinvest"], feeder)
        amount = _bounds(grown, page, rules["reinvest"])[0]
        grown.reinvest(page, (growth.quarter_before(period), amount))
        body = {"period": _far_ahead(period), "amount": money}
        grown.story.refuse(
            customer, "reinvestAccount", "period_not_open", near=[page], path=path, body=body
        )


def _reinvestor(grown: Growth, pages: Sequence[Page]) -> Page:
    """Return a living account whose type reinvests and whose cash the bounds allow for."""
    wanted = None
    for page in pages:
        rules = grown.policy(page)["reinvest"]
        if page.configured["type"] not in rules["account_types"]:
            continue
        wanted = page.configured["type"]
        least, most = _bounds(grown, page, rules)
        if page.status == "active" and (least <= most or least == _bounds_of_none(grown, rules)):
            return page
    if wanted is None:
        return grown.story.ctx.not_exercised("no account reinvests under the policies in force")
    return grown.story.open(type=wanted, currency=grown.currency)


def _bounds_of_none(grown: Growth, rules: Json) -> int:
    """Return the least amount of an account without cash: money can be brought for it."""
    return max(growth.minor(rules["amount_min_major"], grown.exponent), 1_000)


def _far_ahead(period: str) -> str:
    """Return the quarter after next: not open whatever day the run ends."""
    return growth.quarter_after(growth.quarter_after(period))


def _bounds(grown: Growth, page: Page, rules: Json) -> tuple[int, int]:
    """Return the least and the greatest amount that an account may reinvest now."""
    free = growth.reinvestable(grown.standing(page))
    least = _bounds_of_none(grown, rules)
    least = max(least, -(-free * rules["share_bps_min"] // 10_000))
    most = min(free, page.available, growth.minor(rules["amount_max_major"], grown.exponent))
    return least, min(most, free * rules["share_bps_max"] // 10_000)


def _within_bounds(grown: Growth, page: Page, rules: Json, feeder: Page) -> None:
    """Bring what is missing to reinvest the least amount."""
    least, most = _bounds(grown, page, rules)
    if most < least:
        share = max(rules["share_bps_max"], 1)
        missing = -(-least * 10_000 // share) - growth.reinvestable(grown.standing(page))
        grown.bring(page, missing + 2, feeder)
        least, most = _bounds(grown, page, rules)
    if most < least:
        grown.story.ctx.not_exercised("the bounds of the policy leave no amount to reinvest")


def _told(grown: Growth, before: dict[str, int], pages: Sequence[Page]) -> None:
    """Read lineage, events and summary; others of the same customer may grow meanwhile."""
    named = {page.id: page for page in pages}
    grown.events_agree(*named.values())
    for page in (pages[0], pages[-1]):
        grown.lineage_agrees(page)
    after = grown.totals()
    rise = {"forks": 0, "merges": 0, "reinvestments": 0, "forked": 0, "merged": 0, "reinvested": 0}
    words = {"fork": ("forks", "forked"), "merge": ("merges", "merged")}
    words["reinvest"] = ("reinvestments", "reinvested")
    for event in grown.events:
        count, amount = words[event.kind]
        rise[count] += 1
        rise[amount] += event.amount
    missing = {n: rise[n] for n in rise if after[n] - before[n] < rise[n]}
    grown.story.ctx.equal(missing, {}, "What the summary did not rise by at least")


def _close(grown: Growth, system: Sequence[Page], family: Sequence[Page], feeder: Page) -> None:
    """Close everything into one account; nothing may be lost on the way."""
    living = [page for page in (*system, *family) if page.status == "active"]
    total = sum(page.total for page in grown.story.pages.values())
    keeper = living[0] if living else feeder
    grown.close_into(keeper)
    shown = grown.story.ctx.arrange.balances({"id": keeper.id})["total_value"]
    grown.story.ctx.equal(shown, total, "What the last account holds of the whole")
