"""Scenarios of transactions: the same business in many forms, compared with the book each time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Severity, Veto
from certification.scenario import Story
from certification.scenario_book import Ask, Deal, Page
from certification.scenario_texts import ODD_TEXTS, taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context

Step = tuple[str, int, str, str]
"""Kind, amount, the account that pays, the account that receives.

An amount of 0 or less counts down from the largest that the deployment takes.
"""

BUSINESS: tuple[Step, ...] = (
    ("deposit", 50_000, "", "a"),
    ("deposit", 7, "", "b"),
    ("transfer", 20_001, "a", "b"),
    ("premium", 333, "", "b"),
    ("fee", 25, "a", ""),
    ("tax", 1_234, "b", ""),
    ("withdrawal", 29_977, "a", ""),
    ("interest", 9, "", "a"),
    ("assignment", 8, "a", ""),
    ("adjustment", 77, "", "b"),
    ("adjustment", 3, "b", ""),
    ("transfer", 19_181, "b", "a"),
    ("withdrawal", 1, "b", ""),
)
"""Every kind; two steps want one unit more than is there."""
FITTING = tuple(
    step for step in BUSINESS if step[:2] not in {("withdrawal", 29_977), ("withdrawal", 1)}
)
LARGE: tuple[Step, ...] = (
    ("deposit", 0, "", "a"),
    ("deposit", 1, "", "a"),
    ("interest", -1, "", "a"),
    ("transfer", -1, "a", "b"),
    ("transfer", 2, "a", "b"),
    ("transfer", 1, "a", "b"),
    ("fee", -5, "b", ""),
    ("transfer", 5, "b", "a"),
    ("deposit", -5, "", "b"),
    ("withdrawal", -5, "b", ""),
)
SMALL: tuple[Step, ...] = (
    *[("deposit", 1, "", "a")] * 40,
    *[("transfer", 1, "a", "b"), ("transfer", 1, "b", "a"), ("transfer", 1, "a", "b")] * 20,
    *[("withdrawal", 1, "b", "")] * 25,
)
PAST = "2024-02-29T23:59:59.999-12:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What differs between two days of business."""

    steps: tuple[Step, ...] = BUSINESS
    digits: str | None = None
    delivery: str = "single"
    """single, batch, or whole: a batch of all or nothing."""
    twice: bool = False
    two_owners: bool = False
    manner: str = "plain"
    """What is done around each step, by name."""


DAYS = {
    "one-by-one": Day(),
    "one-batch-sent-twice": Day(delivery="batch", twice=True),
    "all-or-nothing": Day(steps=FITTING, delivery="whole"),
    "each-request-twice": Day(twice=True),
    "fewest-digits": Day(digits="fewest"),
    "most-digits": Day(digits="most", delivery="batch"),
    "largest-amounts": Day(steps=LARGE),
    "many-small-amounts": Day(steps=SMALL, delivery="batch"),
    "refusals-between": Day(manner="refusals"),
    "conditions-on-each": Day(manner="conditions"),
    "held-first": Day(manner="holds"),
    "odd-texts": Day(manner="texts"),
    "dated-back": Day(manner="dates"),
    "two-owners": Day(two_owners=True),
    "suspended-midway": Day(manner="suspended"),
    "undone-backwards": Day(manner="undone"),
    "undone-and-held": Day(manner="held-and-undone"),
}
HOLDABLE = frozenset({"withdrawal", "transfer", "fee", "tax"})


@check(
    "functional/scenarios-transactions/business-of-a-day",
    title="A day of transactions leaves exactly the balances and entries that the book has",
    failure_title="After a day of transactions a balance or an entry differs from the book",
    severity=Severity.CRITICAL,
    requirements=["E2E-TXN", "SYS-TXN"],
    operations=[
        "createTransaction",
        "createTransactionBatch",
        "settleTransaction",
        "voidTransaction",
        "reverseTransaction",
        "getTransaction",
        "getAccount",
        "listEntries",
        "listTransactions",
    ],
    identities=("customer", "operator", "manager"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=[
        "large-fees-are-rounded",
        "batch-books-equal-items-once",
        "settle-keeps-the-remainder",
        "voided-holds-are-booked",
    ],
)
@pytest.mark.parametrize("day", sorted(DAYS))
def check_business_of_a_day(ctx: Context, day: str) -> None:
    """Whether each of many forms of the same business comes to what the contract says.

    Why: A kind, a form of delivery and a state are each right alone; faults live where they meet.
    How: Book every kind between accounts: one by one, as batches, twice under each key, in other
        currencies, at the largest amounts, by single units, held first, with conditions, refusals
        in between, suspended midway, undone backwards. The book says before each request whether
        it must be booked or refused; after it, accounts and entries are compared.
    Fails when: A request is decided otherwise, or a balance, version or entry differs.
    Remedy: The message names the step; compare its lines with the kind's rule in the contract.
    """
    data = DAYS[day]
    story = Story(ctx=ctx, twice=data.twice)
    accounts = _accounts(story, data)
    asks = [_ask(story, accounts, step) for step in data.steps]
    if data.delivery == "single":
        MANNERS[data.manner](story, asks)
    else:
        _in_batches(story, asks, whole=data.delivery == "whole")
    story.finish()


def _accounts(story: Story, data: Day) -> dict[str, Page]:
    ctx = story.ctx
    rows = sorted(ctx.declared("currencies"), key=lambda row: (row["exponent"], row["code"]))
    code = ctx.arrange.currency
    if data.digits is not None:
        code = str(rows[0 if data.digits == "fewest" else -1]["code"])
    if data.two_owners and "customer2" not in ctx.sessions:
        ctx.not_exercised("no second customer")
    owner = ctx.customer2 if data.two_owners else ctx.customer
    first = story.open(currency=code, withdrawal_allowed=True)
    return {"a": first, "b": story.open(owner=owner, currency=code, withdrawal_allowed=True)}


def _ask(story: Story, accounts: dict[str, Page], step: Step) -> Ask:
    kind, amount, source, target = step
    units = amount if amount > 0 else story.amount_max + amount
    return Ask(kind=kind, amount=units, source=accounts.get(source), target=accounts.get(target))


def _in_batches(story: Story, asks: list[Ask], *, whole: bool) -> None:
    size = story.ctx.arrange.batch_items_max
    for start in range(0, len(asks), size):
        part = asks[start : start + size]
        if whole:
            bad = Ask(kind="withdrawal", amount=story.amount_max, source=part[0].pages[0])
            body = {"items": [a.body() for a in (*part, bad)], "all_or_nothing": True}
            operator, operation = story.ctx.operator, "createTransactionBatch"
            if len(part) < size:
                story.refuse(operator, operation, "batch_rejected", body=body)
        story.batch(part, whole=whole)


# -- manners: what is done around each step ----------------------------------------------------


def _plainly(story: Story, asks: list[Ask]) -> None:
    for ask in asks:
        story.post(ask)


def _with_refusals(story: Story, asks: list[Ask]) -> None:
    """Ask before each step for what must be refused: too much, another currency, itself."""
    codes = [row["code"] for row in story.ctx.declared("currencies")]
    for ask in asks:
        page = ask.pages[0]
        others = [code for code in codes if code != ask.own_currency]
        story.post(Ask(kind="transfer", amount=1, source=page, target=page))
        if ask.source is not None:
            story.post(replace(ask, amount=ask.source.available + 1))
        elif others:
            story.post(replace(ask, currency=others[0]))
        story.post(ask)


def _with_conditions(story: Story, asks: list[Ask]) -> None:
    """Send each step once under a condition that does not hold, then under some that do."""
    for ask in asks:
        page = ask.pages[0]
        wrong = {"account_id": page.id, "ledger_eq": page.cash + 1}
        actor = story.ctx.operator
        body = ask.body() | {"preconditions": [wrong]}
        story.refuse(actor, "createTransaction", "precondition_unmet", near=[page], body=body)
        right = [
            {"account_id": page.id, "ledger_eq": page.cash, "version": page.version},
            {"account_id": page.id, "available_gte": page.available},
        ]
        story.post(replace(ask, more={"preconditions": right}))


def _held_first(story: Story, asks: list[Ask]) -> list[Deal]:
    """Hold what can be held; settle in part, in whole, or void, in turn."""
    done: list[Deal] = []
    for number, ask in enumerate(asks):
        deal = story.post(replace(ask, hold=ask.kind in HOLDABLE))
        if deal is None:
            continue
        if not deal.ask.hold:
            done.append(deal)
        elif number % 3 == 2:
            story.void(deal)
        else:
            story.settle(deal, (ask.amount + 1) // 2 if number % 3 else None)
            done.append(deal)
    return done


def _with_texts(story: Story, asks: list[Ask]) -> None:
    memos = taken(story.ctx, ODD_TEXTS)
    if not memos:
        story.ctx.not_exercised("the deployment takes none of the texts")
    for number, ask in enumerate(asks):
        memo = memos[number % len(memos)]
        metadata = {memo: [memo, number, {"n": None}]}
        story.post(replace(ask, more={"memo": memo, "metadata": metadata}))


def _dated_back(story: Story, asks: list[Ask]) -> None:
    """Date every step back: effective_at is a label, balances follow the order of booking."""
    for ask in asks:
        story.post(replace(ask, more={"effective_at": PAST}))


def _suspended(story: Story, asks: list[Ask]) -> None:
    """Suspend the first account for the middle third."""
    manager, page = story.ctx.manager, asks[0].pages[0]
    third = len(asks) // 3
    _plainly(story, asks[:third])
    story.update(page, by=manager, status="suspended")
    _plainly(story, asks[third : 2 * third])
    story.update(page, by=manager, status="active")
    _plainly(story, asks[2 * third :])


def _undone(story: Story, asks: list[Ask]) -> None:
    """Reverse everything, the last first: all that is left is nothing."""
    _reverse_all(story, [deal for ask in asks if (deal := story.post(ask)) is not None])


def _held_and_undone(story: Story, asks: list[Ask]) -> None:
    _reverse_all(story, _held_first(story, asks))


def _reverse_all(story: Story, deals: list[Deal]) -> None:
    for deal in reversed(deals):
        story.reverse(deal)
    left = {page.id: page.total for page in story.pages.values()}
    if any(left.values()):
        raise ValueError(f"the book of the scenario keeps {left} after undoing everything")


MANNERS: dict[str, Callable[[Story, list[Ask]], object]] = {
    "plain": _plainly,
    "refusals": _with_refusals,
    "conditions": _with_conditions,
    "holds": _held_first,
    "texts": _with_texts,
    "dates": _dated_back,
    "suspended": _suspended,
    "undone": _undone,
    "held-and-undone": _held_and_undone,
}
