"""The book as it must be: accounts and transactions of one walk, moved by what was accepted.

Pure arithmetic on integers of minor units; written from the contract's text. Nothing is read from
the target but the ids and those settings of new accounts that the contract leaves to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from certification.oracle import growth, ledger

CASH = ledger.CASH
ENDED = frozenset({"closed", "merged"})
SHARES = "position:shares"


@dataclass(slots=True, kw_only=True)
class Account:
    """An account of the walk."""

    id: str
    type: str
    currency: str
    exponent: int
    base: int
    min_balance: int
    buffer_bps: int
    withdrawal_allowed: bool
    parent: str | None = None
    root: str = ""
    depth: int = 0
    status: str = "active"
    merged_into: str | None = None
    buckets: dict[str, int] = field(default_factory=dict)
    entries: list[tuple[str, int]] = field(default_factory=list)
    """(bucket, amount) of every line so far."""
    forks: int = 0
    ledger_after_fork: int | None = None
    periods: set[str] = field(default_factory=set)
    past: list[tuple[int, int, int]] = field(default_factory=list)
    """(seq, ledger, total value): moments that no later booking can change."""

    @property
    def cash(self) -> int:
        """The ledger balance."""
        return self.buckets.get(CASH, 0)

    @property
    def total(self) -> int:
        """Every bucket together."""
        return sum(self.buckets.values())

    @property
    def buffer(self) -> int:
        """floor(base_amount * buffer_bps / 10000)."""
        return self.base * self.buffer_bps // 10_000

    @property
    def ended(self) -> bool:
        """Whether the account is closed or merged."""
        return self.status in ENDED


@dataclass(slots=True, kw_only=True)
class Booking:
    """A transaction of the walk."""

    id: str
    kind: str
    status: str
    currency: str
    amount: int
    source: str | None = None
    target: str | None = None
    held: bool = False
    settled: int | None = None
    reverses: str | None = None
    lines: list[tuple[str, str, int]] = field(default_factory=list)
    """(account, bucket, amount) of the customer's side."""
    emptied: tuple[str, ...] = ()
    """Sources of a merge, some of which may have had nothing that could move."""

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that it touches or would touch, each once."""
        named = [self.source, self.target, *(account for account, _, _ in self.lines)]
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def may_touch(self) -> frozenset[str]:
        """Accounts that end in it without a line: the contract leaves open if they list it."""
        return frozenset(self.emptied) - frozenset(self.accounts)


@dataclass(slots=True, kw_only=True)
class Book:
    """Everything that a walk made."""

    policies: Mapping[str, Mapping[str, Any]]
    """By account type; empty where growth is not walked."""
    accounts: dict[str, Account] = field(default_factory=dict)
    bookings: dict[str, Booking] = field(default_factory=dict)

    # -- figures ---------------------------------------------------------------------------------

    def holds(self, account_id: str) -> int:
        """Outflow still pending."""
        return sum(row.amount for row in self.pending() if row.source == account_id)

    def pending(self) -> list[Booking]:
        """Return the holds that have not ended."""
        return [row for row in self.bookings.values() if row.status == "pending"]

    def awaits(self, account_id: str) -> bool:
        """Tell whether a pending transfer could still pay into the account."""
        return any(row.target == account_id for row in self.pending())

    def available(self, account: Account) -> int:
        """Ledger - holds - min_balance."""
        return account.cash - self.holds(account.id) - account.min_balance

    def standing(self, account: Account) -> growth.Standing:
        """Return what the growth oracle needs to know."""
        return growth.Standing(
            type=account.type,
            exponent=account.exponent,
            ledger=account.cash,
            holds=self.holds(account.id),
            base_amount=account.base,
            buffer=account.buffer,
            min_balance=account.min_balance,
            total_value=account.total,
            depth=account.depth,
            status=account.status,
        )

    def shown(self, account: Account) -> dict[str, Any]:
        """Return the members of the account's wire form that the book decides, by JSON pointer."""
        figures: dict[str, Any] = {
            "/status": account.status,
            "/type": account.type,
            "/currency": account.currency,
            "/base_amount": account.base,
            "/buffer_bps": account.buffer_bps,
            "/parent_id": account.parent,
            "/root_id": account.root,
            "/depth": account.depth,
            "/merged_into_id": account.merged_into,
            "/balances/ledger": account.cash,
            "/balances/holds": self.holds(account.id),
            "/balances/buffer": account.buffer,
            "/balances/total_value": account.total,
        }
        if not account.ended:
            # What an ended account keeps at least means nothing; deployments may reset it.
            figures["/min_balance"] = account.min_balance
            figures["/balances/available"] = self.available(account)
        return figures

    def listed(self, account_id: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the status by id of what an account must list, and of what it may list besides."""
        rows = self.bookings.values()
        must = {row.id: row.status for row in rows if account_id in row.accounts}
        return must, {row.id: row.status for row in rows if account_id in row.may_touch}

    # -- changes ---------------------------------------------------------------------------------

    def adopt(self, wire: Mapping[str, Any], **known: Any) -> Account:
        """Take over an account that was opened; `known` are the settings that the book decides."""
        settings = {
            "base": wire["base_amount"],
            "min_balance": wire["min_balance"],
            "buffer_bps": wire["buffer_bps"],
            "withdrawal_allowed": wire["withdrawal_allowed"],
            "root": wire["id"],
            "type": wire["type"],
            "currency": wire["currency"],
        }
        exponent = wire["balances"]["exponent"]
        account = Account(id=wire["id"], exponent=exponent, **(settings | known))
        self.accounts[account.id] = account
        return account

    def post(self, booking: Booking, lines: Sequence[tuple[str, str, int]]) -> Booking:
        """Book lines under a transaction."""
        self.bookings[booking.id] = booking
        for account_id, bucket, amount in lines:
            account = self.accounts[account_id]
            account.buckets[bucket] = account.buckets.get(bucket, 0) + amount
            account.entries.append((bucket, amount))
            booking.lines.append((account_id, bucket, amount))
        return booking

    def request(self, id_: str, body: Mapping[str, Any]) -> Booking:
        """Book, or hold, what an accepted request asked for."""
        held = bool(body.get("hold", False))
        booking = Booking(
            id=id_,
            kind=body["kind"],
            status="pending" if held else "posted",
            currency=body["amount"]["currency"],
            amount=body["amount"]["amount"],
            source=body.get("from_account_id"),
            target=body.get("to_account_id"),
            held=held,
        )
        self.post(booking, [] if held else self._lines(booking, booking.amount))
        if not held:
            self._contribute(booking, booking.amount)
        return booking

    def _lines(self, booking: Booking, amount: int) -> list[tuple[str, str, int]]:
        lines = []
        if booking.source is not None:
            lines.append((booking.source, CASH, -amount))
            if booking.kind == "assignment":
                lines.append((booking.source, SHARES, amount))
        if booking.target is not None:
            lines.append((booking.target, CASH, amount))
        return lines

    def _contribute(self, booking: Booking, amount: int) -> None:
        """Move the base of accounts whose policy counts contributions; a reversal's is negative."""
        for account_id, kind, moved in (
            (booking.target, "deposit", amount),
            (booking.source, "withdrawal", -amount),
        ):
            account = self.accounts.get(account_id or "")
            if account is None or booking.kind != kind:
                continue
            if self.policies.get(account.type, {}).get("base_mode") == "contributed":
                account.base = max(0, account.base + moved)

    def settle(self, booking: Booking, amount: int) -> None:
        """Book a hold, all of it or less."""
        booking.status, booking.settled = "settled", amount
        self.post(booking, self._lines(booking, amount))
        self._contribute(booking, amount)

    def reverse(self, id_: str, original: Booking) -> Booking:
        """Book the opposite of a transaction."""
        original.status = "reversed"
        lines = [(account, bucket, -amount) for account, bucket, amount in original.lines]
        moved = original.amount if original.settled is None else original.settled
        reversal = Booking(
            id=id_,
            kind="reversal",
            status="posted",
            currency=original.currency,
            amount=moved,
            reverses=original.id,
        )
        self._contribute(original, -moved)
        return self.post(reversal, lines)

    def move_all(self, booking: Booking, sources: Sequence[Account], target: Account) -> int:
        """Move every bucket of the sources to the target; return the cash that moved."""
        lines = [
            (account.id, bucket, amount)
            for account in sources
            for bucket, amount in account.buckets.items()
            if amount
        ]
        cash = sum(amount for _, bucket, amount in lines if bucket == CASH)
        booking.emptied = tuple(account.id for account in sources)
        out = [(account, bucket, -amount) for account, bucket, amount in lines]
        self.post(booking, out + [(target.id, bucket, amount) for _, bucket, amount in lines])
        return cash
