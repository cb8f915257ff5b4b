"""The rules of the book as pure functions: which lines a transaction has, and when it is refused.

Nothing here reads the clock or the database: callers pass what they read, and get lines or a
Problem. Amounts are integer minor units, instants milliseconds since 1970.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .config import MAX_AMOUNT, MAX_SYSTEM_BALANCE
from .problems import Problem


class Place(Enum):
    """Where the money of a transaction can be."""

    CASH = "cash"
    SHARES = "position:shares"
    EXTERNAL = "external"
    SUSPENSE = "suspense"
    FEES = "fees"
    TAX = "tax"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRule:
    """One way of booking: from where to where, who may ask for it, and whether it can be held."""

    source: Place
    target: Place
    customer: bool = False
    holdable: bool = False


_KINDS: Mapping[str, KindRule] = {
    "deposit": KindRule(source=Place.EXTERNAL, target=Place.CASH, customer=True),
    "withdrawal": KindRule(source=Place.CASH, target=Place.EXTERNAL, customer=True, holdable=True),
    "transfer": KindRule(source=Place.CASH, target=Place.CASH, customer=True, holdable=True),
    "premium": KindRule(source=Place.EXTERNAL, target=Place.CASH),
    "assignment": KindRule(source=Place.CASH, target=Place.SHARES),
    "fee": KindRule(source=Place.CASH, target=Place.FEES, holdable=True),
    "tax": KindRule(source=Place.CASH, target=Place.TAX, holdable=True),
    "interest": KindRule(source=Place.EXTERNAL, target=Place.CASH),
}
_ADJUSTMENTS: Mapping[str, KindRule] = {
    "credit": KindRule(source=Place.SUSPENSE, target=Place.CASH),
    "debit": KindRule(source=Place.CASH, target=Place.SUSPENSE),
}
REQUEST_KINDS = frozenset({*_KINDS, "adjustment"})
"""The kinds that a request may name; the others come about as effects of operations."""


def kind_rule(kind: str, direction: str | None = None) -> KindRule:
    """Return how a kind is booked; only an adjustment has a direction."""
    return _ADJUSTMENTS[direction or "credit"] if kind == "adjustment" else _KINDS[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One place where money is, with its cached sums."""

    id: int
    currency: str
    balance: int
    holds: int = 0
    account_id: str | None = None
    """None for a bucket of the system."""
    system: str | None = None
    kind: str = "cash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the rules need to know of a customer account."""

    id: str
    owner_id: str
    status: str
    min_balance: int
    withdrawal_allowed: bool
    merged_into_id: str | None
    version: int
    cash: Bucket


@dataclass(frozen=True, slots=True)
class Line:
    """A signed amount on one bucket, and the bucket's balance after it."""

    bucket: Bucket
    amount: int
    balance_after: int


def buffer(base_amount: int, buffer_bps: int) -> int:
    """Return the cash buffer that growth operations leave alone (contract section 1.1)."""
    return base_amount * buffer_bps // 10_000


def available(*, ledger: int, holds: int, min_balance: int) -> int:
    """Return what may be spent: pending outflow and the minimum balance are not."""
    return ledger - holds - min_balance


def expired(expires_at: int | None, now_ms: int) -> bool:
    """Tell whether a hold has ended by itself; it ends at the instant itself."""
    return expires_at is not None and expires_at <= now_ms


def check_not_ended(account: Account) -> None:
    """Refuse to write to an account that is closed or merged."""
    if account.status == "closed":
        raise Problem("account_closed", f"{account.id} is closed.")
    if account.status == "merged":
        extra = {"merged_into_id": account.merged_into_id}
        raise Problem("account_merged", f"{account.id} was merged.", extra=extra)


def check_debit_allowed(account: Account) -> None:
    """Refuse a debit from an account that is not active."""
    check_not_ended(account)
    if account.status == "suspended":
        raise Problem("account_suspended", f"{account.id} is suspended; only credits are taken.")


def check_withdrawal_allowed(account: Account, kind: str) -> None:
    """Refuse a withdrawal that the account's policy flag forbids."""
    if kind == "withdrawal" and not account.withdrawal_allowed:
        raise Problem("withdrawal_not_allowed", f"{account.id} does not allow withdrawals.")


def check_not_same(source: Account, target: Account) -> None:
    """Refuse to move money to where it is."""
    if source.id == target.id:
        raise Problem("same_account", "Source and target are the same account.")


def check_currency(currency: str, *buckets: Bucket) -> None:
    """Refuse money in another currency than the accounts'."""
    for bucket in buckets:
        if bucket.currency != currency:
            detail = f"{bucket.account_id} is in {bucket.currency}, the amount in {currency}."
            raise Problem("currency_mismatch", detail)


def check_funds(account: Account, amount: int) -> None:
    """Refuse a debit beyond what is available, holds included (invariant T3)."""
    free = available(
        ledger=account.cash.balance, holds=account.cash.holds, min_balance=account.min_balance
    )
    if amount > free:
        detail = f"{account.id} has {free} available, {amount} are needed."
        raise Problem("insufficient_available", detail)


def check_settle_amount(amount: int, held: int) -> None:
    """Refuse to settle more than was held."""
    if amount > held:
        raise Problem("exceeds_hold", f"The hold is {held}, {amount} were asked for.")


def move(source: Bucket, target: Bucket, amount: int) -> tuple[Line, ...]:
    """Return the two lines that move an amount; they add up to zero."""
    return (line(source, -amount), line(target, amount))


def line(bucket: Bucket, amount: int) -> Line:
    """Return one line; Problem `balance_limit_exceeded` if the balance leaves its range."""
    after = bucket.balance + amount
    limit = MAX_SYSTEM_BALANCE if bucket.account_id is None else MAX_AMOUNT
    if abs(after) > limit:
        raise Problem("amount_out_of_range", f"A balance may not exceed {limit} minor units.")
    return Line(bucket, amount, after)


def reversal_lines(lines: Sequence[tuple[Bucket, int]]) -> tuple[Line, ...]:
    """Return the lines that undo an entry: the same buckets, opposite signs.

    The buckets carry their balances of now, not of then.
    """
    return tuple(line(bucket, -amount) for bucket, amount in lines)


def check_reversible(*, kind: str, status: str) -> None:
    """Refuse what cannot be reversed: growth, reversals, and what moved no money."""
    if status == "reversed":
        raise Problem("already_reversed", "A transaction is reversed once.")
    if kind not in REQUEST_KINDS or status not in {"posted", "settled"}:
        raise Problem("not_reversible", f"A {kind} that is {status} cannot be reversed.")


def status(
    *, phase: str, outcome: str | None, reversed_by: str | None, expires_at: int | None, now_ms: int
) -> str:
    """Return the state of a transaction from the rows that stand for it.

    A hold past its time is expired as soon as it is read, whether or not that was recorded.
    """
    if reversed_by is not None:
        return "reversed"
    if phase == "post":
        return "posted"
    if outcome is not None:
        return {"settle": "settled", "void": "voided", "expire": "expired"}[outcome]
    return "expired" if expired(expires_at, now_ms) else "pending"
