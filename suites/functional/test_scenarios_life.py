"""Scenarios of one account's whole life, each compared with the book after every step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from certification.checks import check
from certification.model import Severity, Veto
from certification.oracle import rounding
from certification.scenario import Story
from certification.scenario_book import SHARES, Ask
from certification.scenario_texts import ODD_TEXTS, taken

if TYPE_CHECKING:
    from certification.context import Context
    from certification.scenario_book import Json, Page

LARGEST = "largest"
"""An amount: the largest that the deployment takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What differs between two lives."""

    fields: Json = field(default_factory=dict)
    """Members of the opening."""
    currency: str | None = None
    """Which of the declared currencies: fewest or most digits; None: the checks' own."""
    deposits: tuple[int | str, ...] = (70_000, 3, 29_997)
    in_batches: bool = False
    floor: int = 0
    """A minimum balance that is set midway, and lifted before the end."""
    hold: str | None = None
    """How a hold ends: voided, part, whole."""
    suspended: bool = False
    position: int = 0
    """Minor units moved into shares before the end."""
    swept: bool = False
    """Closed with a sweep instead of empty."""
    by_staff: bool = False
    """Opened by the operator for the customer."""
    twice: bool = False
    texts: tuple[str, ...] = ()


LIVES = {
    "generation": Life(),
    "revenue": Life(fields={"type": "revenue", "base_amount": 12_345, "buffer_bps": 777}),
    "compounding": Life(fields={"type": "compounding", "withdrawal_allowed": True}, swept=True),
    "fewest-digits": Life(currency="fewest"),
    "most-digits": Life(currency="most", position=1_001, swept=True),
    "largest-amount": Life(deposits=(LARGEST,), swept=True),
    "many-small-amounts": Life(deposits=(1,) * 60 + (2,) * 20, in_batches=True),
    "odd-texts": Life(texts=ODD_TEXTS),
    "minimum-balance": Life(fields={"min_balance": 500}, floor=90_000),
    "hold-voided": Life(hold="voided"),
    "hold-settled-in-part": Life(hold="part", swept=True),
    "hold-settled-whole": Life(hold="whole"),
    "suspended-midway": Life(suspended=True),
    "position-swept": Life(position=33_333, swept=True),
    "opened-by-staff": Life(by_staff=True, hold="part", suspended=True),
    "each-request-twice": Life(twice=True, hold="part", position=5, swept=True),
}


@check(
    "functional/scenarios-life/whole-life",
    title="An account's whole life leaves exactly the balances and entries that its steps make",
    failure_title="Somewhere in its life an account reads otherwise than its steps make it",
    severity=Severity.CRITICAL,
    requirements=["E2E-LIFE", "SYS-ACC"],
    operations=[
        "createAccount",
        "updateAccount",
        "closeAccount",
        "getAccount",
        "listEntries",
        "listTransactions",
        "createTransaction",
        "createTransactionBatch",
        "settleTransaction",
        "voidTransaction",
    ],
    identities=("customer", "operator", "manager"),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=[
        "closed-accounts-lose-their-history",
        "rename-forgets-the-metadata",
        "a-sweep-leaves-positions-behind",
        "voided-holds-are-booked",
        "balances-without-exponent",
    ],
)
@pytest.mark.parametrize("life", sorted(LIVES))
def check_whole_life(ctx: Context, life: str) -> None:
    """Whether every member, version, balance and entry is right from the opening to the close.

    Why: Each step alone may be right while the way from one to the next loses something.
    How: Open, bring money, rename, spend, hold, suspend, set a minimum, invest, try to close too
        early, close, and write to the closed account; the names of the cases say what differs.
        After each step read account and entries and compare them with the book.
    Fails when: A balance, entry, version or member differs, a step is refused that must be
        accepted, or accepted that must be refused.
    Remedy: The message names the step; compare the transaction before it with the journal.
    """
    data = LIVES[life]
    data = replace(data, texts=taken(ctx, data.texts))
    story = Story(ctx=ctx, twice=data.twice)
    account, other = _opened(story, data)
    _money_comes_in(story, data, account)
    _configured_anew(story, data, account)
    _money_goes_out(story, data, account, other)
    _interrupted(story, data, account)
    _ended(story, data, account, other)
    _stays_ended(story, account)
    story.finish()


def currency_with(ctx: Context, digits: str | None) -> str:
    """Return the declared currency with the fewest or most digits; the checks' own for None."""
    if digits is None:
        return ctx.arrange.currency
    rows = sorted(ctx.declared("currencies"), key=lambda row: (row["exponent"], row["code"]))
    return str(rows[0 if digits == "fewest" else -1]["code"])


def _opened(story: Story, data: Life) -> tuple[Page, Page]:
    ctx = story.ctx
    shared: Json = {"currency": currency_with(ctx, data.currency)}
    fields: Json = shared | {"withdrawal_allowed": True} | data.fields
    fields |= {"metadata": {"case": ctx.case, "n": 1}}
    account = story.open(by=ctx.operator if data.by_staff else None, **fields)
    return account, story.open(**shared)


def _money_comes_in(story: Story, data: Life, account: Page) -> None:
    amounts = [story.amount_max if amount == LARGEST else amount for amount in data.deposits]
    asks = [Ask(kind="deposit", amount=int(amount), target=account) for amount in amounts]
    if data.in_batches:
        size = story.ctx.arrange.batch_items_max
        for start in range(0, len(asks), size):
            story.batch(asks[start : start + size])
        return
    for ask in asks:
        story.post(ask)
    if LARGEST in data.deposits:
        # No balance exceeds the largest amount: the book says amount_out_of_range.
        story.post(Ask(kind="deposit", amount=1, target=account))


def _configured_anew(story: Story, data: Life, account: Page) -> None:
    names = [story.ctx.name("renamed"), *data.texts]
    for name in names:
        story.update(account, name=name)
    story.update(account, metadata={"texts": list(data.texts), "nested": {"n": [1, None, True]}})
    if data.floor:
        story.update(account, by=story.ctx.manager, min_balance=data.floor)


def _money_goes_out(story: Story, data: Life, account: Page, other: Page) -> None:
    free = account.available
    texts: dict[str, Any] = {"memo": data.texts[0]} if data.texts else {}
    if free < story.amount_max:
        story.post(Ask(kind="withdrawal", amount=free + 1, source=account))
    story.post(Ask(kind="transfer", amount=free // 3, source=account, target=other, more=texts))
    story.post(Ask(kind="withdrawal", amount=free // 7, source=account, more=texts))
    if data.position:
        story.post(Ask(kind="assignment", amount=data.position, source=account))
    if data.floor:
        story.update(account, by=story.ctx.manager, min_balance=0)


def _interrupted(story: Story, data: Life, account: Page) -> None:
    """Hold, and suspend while the hold is pending."""
    hold = None
    if data.hold:
        half = account.available // 2
        hold = story.booked("withdrawal", half, source=account, hold=True)
        story.post(Ask(kind="withdrawal", amount=account.available + 1, source=account))
        story.refuse_close(account, "pending_holds")
    if data.suspended:
        story.update(account, by=story.ctx.manager, status="suspended")
        story.post(Ask(kind="withdrawal", amount=1, source=account))
        story.post(Ask(kind="deposit", amount=11, target=account))
    if hold is not None and data.hold == "voided":
        story.void(hold)
    elif hold is not None:
        part = rounding.share(hold.ask.amount, 3_333) if data.hold == "part" else None
        story.settle(hold, part)
    if data.suspended:
        story.update(account, by=story.ctx.manager, status="active")


def _ended(story: Story, data: Life, account: Page, other: Page) -> None:
    story.refuse_close(account, "balance_not_zero")
    if data.swept:
        story.close(account, other)
        kept = other.buckets[SHARES]
        if kept != data.position:
            raise ValueError(f"the scenario swept {kept} shares instead of {data.position}")
        return
    if account.configured["min_balance"]:
        story.update(account, by=story.ctx.manager, min_balance=0)
    story.post(Ask(kind="transfer", amount=account.cash, source=account, target=other))
    story.close(account)


def _stays_ended(story: Story, account: Page) -> None:
    """Every write to the closed account is refused, and its history stays."""
    story.post(Ask(kind="deposit", amount=1, target=account))
    story.refuse_close(account, "account_closed")
