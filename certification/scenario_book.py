"""The book of a scenario: what each account must read after every step, computed by the contract.

Pure arithmetic on integers of minor units; `certification.scenario` sends the steps and compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from certification.oracle.ledger import CASH

Json = dict[str, Any]

SHARES = "position:shares"
INTO = frozenset({"deposit", "premium", "interest"})
"""Kinds that name the account that receives only."""
OUT_OF = frozenset({"withdrawal", "fee", "tax"})
"""Kinds that name the account that pays only."""

CONFIGURED = (
    "owner_id",
    "type",
    "currency",
    "name",
    "status",
    "base_amount",
    "min_balance",
    "buffer_bps",
    "withdrawal_allowed",
    "policy_ref",
    "parent_id",
    "root_id",
    "depth",
    "merged_into_id",
    "metadata",
)
"""What an account reads besides its balances and versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one transaction did to one bucket of an account."""

    transaction: str
    """Its id, or a mark of the book's own where the target did not name it."""
    kind: str
    bucket: str
    amount: int


@dataclass(slots=True, kw_only=True)
class Page:
    """One account as it must read now."""

    id: str
    configured: Json
    version: int
    balance_version: int
    buckets: Counter[str] = field(default_factory=Counter)
    holds: dict[str, int] = field(default_factory=dict)
    """Minor units by the id of the pending transaction."""
    lines: list[Line] = field(default_factory=list)
    moved: bool | None = False
    """Whether money moved since the last comparison; None: the contract leaves it open."""
    changed: bool | None = False
    """Whether state or configuration changed since then; None: the contract leaves it open."""
    in_order: bool = True
    """Whether the entries stand in the order of booking: a settled hold may keep its place."""

    @property
    def cash(self) -> int:
        """The sum of the posted cash lines."""
        return self.buckets[CASH]

    @property
    def available(self) -> int:
        """What may be spent: ledger - holds - min_balance."""
        return self.cash - sum(self.holds.values()) - int(self.configured["min_balance"])

    @property
    def total(self) -> int:
        """Cash and every other bucket."""
        return sum(self.buckets.values())

    @property
    def status(self) -> str:
        """The state: active, suspended, closed or merged."""
        return str(self.configured["status"])

    def reading(self) -> Json:
        """Return every member that the account must show, balances as `balances.<name>`."""
        buffer = self.configured["base_amount"] * self.configured["buffer_bps"] // 10_000
        balances = {
            "ledger": self.cash,
            "holds": sum(self.holds.values()),
            "buffer": buffer,
            "available": self.available,
            "total_value": self.total,
        }
        return self.configured | {f"balances.{name}": value for name, value in balances.items()}

    def statement(self) -> list[tuple[str | None, str, dict[str, int], dict[str, int]]]:
        """Return (transaction, kind, amounts, balances after) by bucket, in the order of booking.

        Several lines of one transaction on one bucket count as their sum.
        """
        found: list[tuple[str | None, str, dict[str, int], dict[str, int]]] = []
        running: Counter[str] = Counter()
        last = None
        for line in self.lines:
            running[line.bucket] += line.amount
            if line.transaction != last:
                found.append((named(line.transaction), line.kind, {}, {}))
                last = line.transaction
            amounts, after = found[-1][2:]
            amounts[line.bucket] = amounts.get(line.bucket, 0) + line.amount
            after[line.bucket] = running[line.bucket]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A signed amount on a bucket of a page."""

    page: Page
    bucket: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A transaction as it is asked for."""

    kind: str
    amount: int
    source: Page | None = None
    target: Page | None = None
    hold: bool = False
    currency: str | None = None
    """Another currency than that of the accounts, to be refused."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the body, e.g. memo and metadata."""

    @property
    def pages(self) -> tuple[Page, ...]:
        """The accounts that it names, each once."""
        named = {page.id: page for page in (self.source, self.target) if page is not None}
        return tuple(named.values())

    @property
    def own_currency(self) -> str:
        """The currency of the account that pays, or that receives."""
        return str(self.pages[0].configured["currency"])

    def body(self) -> Json:
        """Return the request body."""
        body: Json = {
            "kind": self.kind,
            "amount": {"amount": self.amount, "currency": self.currency or self.own_currency},
        }
        if self.source is not None:
            body["from_account_id"] = self.source.id
        if self.target is not None:
            body["to_account_id"] = self.target.id
        if self.kind == "adjustment":
            body["direction"] = "credit" if self.source is None else "debit"
            body["reason"] = "a scenario"
        if self.hold:
            body["hold"] = True
        return body | dict(self.more)

    def moves(self, amount: int | None = None) -> tuple[Move, ...]:
        """Return what is booked on the named accounts, of the amount or of a settled part."""
        units = self.amount if amount is None else amount
        found = []
        if self.source is not None:
            found.append(Move(page=self.source, bucket=CASH, amount=-units))
            if self.kind == "assignment":
                found.append(Move(page=self.source, bucket=SHARES, amount=units))
        if self.target is not None:
            found.append(Move(page=self.target, bucket=CASH, amount=units))
        return tuple(found)

    def refusals(self, amount_max: int) -> frozenset[str]:
        """Return the codes that this may be refused with now; empty where it must be booked.

        State goes before rules; of several reasons of one rank any may be named.
        """
        ended = {f"account_{p.status}" for p in self.pages if p.status in ("closed", "merged")}
        if self.source is not None and self.source.status == "suspended":
            ended.add("account_suspended")
        return frozenset(ended) or frozenset(self._broken_rules(amount_max))

    def _broken_rules(self, amount_max: int) -> Iterable[str]:
        source, target = self.source, self.target
        if any(page.configured["currency"] != self.body_currency for page in self.pages):
            yield "currency_mismatch"
        if source is not None and source is target:
            yield "same_account"
        withdrawn = source if self.kind == "withdrawal" else None
        if withdrawn is not None and not withdrawn.configured["withdrawal_allowed"]:
            yield "withdrawal_not_allowed"
        if source is not None and self.amount > source.available:
            yield "insufficient_available"
        if target is not None and target.cash + self.amount > amount_max:
            yield "amount_out_of_range"

    @property
    def body_currency(self) -> str:
        """The currency that the body names."""
        return self.currency or self.own_currency


@dataclass(slots=True, kw_only=True)
class Deal:
    """A transaction that was accepted."""

    id: str
    ask: Ask
    moves: Sequence[Move] = ()
    """What is booked of it; nothing while it is pending."""


UNNAMED = "?"
"""Begins the mark of a transaction whose id the target did not name, e.g. of a sweep."""


def named(transaction: str) -> str | None:
    """Return the id of a transaction, None for a mark of the book's own."""
    return None if transaction.startswith(UNNAMED) else transaction


def book(transaction: str, kind: str, moves: Sequence[Move]) -> None:
    """Book the moves of one transaction on their pages."""
    for move in moves:
        if not move.amount:
            continue
        move.page.buckets[move.bucket] += move.amount
        line = Line(transaction=transaction, kind=kind, bucket=move.bucket, amount=move.amount)
        move.page.lines.append(line)
        move.page.moved = True


def emptying(page: Page, into: Page) -> list[Move]:
    """Return the moves that bring every bucket of a page into another."""
    left = [(name, amount) for name, amount in sorted(page.buckets.items()) if amount]
    return [
        move
        for name, amount in left
        for move in (
            Move(page=page, bucket=name, amount=-amount),
            Move(page=into, bucket=name, amount=amount),
        )
    ]


def in_groups(rows: Sequence[Json], known: frozenset[str]) -> list[tuple[Any, ...]]:
    """Bring an account's entries into the form of `Page.statement`.

    A transaction whose id the book does not know is None.
    """
    found: list[tuple[Any, ...]] = []
    last = None
    for row in rows:
        if row["transaction_id"] != last:
            name = row["transaction_id"] if row["transaction_id"] in known else None
            found.append((name, row["kind"], {}, {}))
            last = row["transaction_id"]
        amounts, after = found[-1][2:]
        amounts[row["bucket"]] = amounts.get(row["bucket"], 0) + row["amount"]
        after[row["bucket"]] = row["running_balance"]
    return found
