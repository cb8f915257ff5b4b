"""An account as growth sees it: the figures that decisions rest on, read at one moment."""

from dataclasses import dataclass
from typing import Any

from reference_impl import access, booking, ledger, views, web
from reference_impl.access import Caller, Rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An account with its cash, its base and its place in the family; minor units."""

    account: ledger.Account
    type: str
    name: str
    base_amount: int
    buffer_bps: int
    total_value: int
    depth: int
    root_id: str
    policy_ref: str | None

    @property
    def id(self) -> str:
        """The id of the account."""
        return self.account.id

    @property
    def currency(self) -> str:
        """The currency of every bucket."""
        return self.account.cash.currency

    @property
    def ledger(self) -> int:
        """The cash that is booked."""
        return self.account.cash.balance

    @property
    def holds(self) -> int:
        """The cash that is kept back."""
        return self.account.cash.holds

    @property
    def buffer(self) -> int:
        """The cash that growth leaves alone."""
        return ledger.buffer(self.base_amount, self.buffer_bps)

    @property
    def surplus(self) -> int:
        """The cash beyond the base (contract section 1.3)."""
        return self.ledger - self.holds - self.base_amount

    @property
    def available(self) -> int:
        """What may be spent."""
        minimum = self.account.min_balance
        return ledger.available(ledger=self.ledger, holds=self.holds, min_balance=minimum)


def of(row: Any) -> Standing:
    """Return the standing in a row of `views.ACCOUNTS`; holds past their time do not count."""
    account = ledger.Account(
        id=row["id"],
        owner_id=row["owner_id"],
        status=row["status"],
        min_balance=row["min_balance"],
        withdrawal_allowed=bool(row["withdrawal_allowed"]),
        merged_into_id=row["merged_into_id"],
        version=row["version"],
        cash=ledger.Bucket(
            id=row["bucket_id"],
            currency=row["currency"],
            balance=row["ledger"],
            holds=row["held"] - row["overdue"],
            account_id=row["id"],
        ),
    )
    return Standing(
        account=account,
        type=row["type"],
        name=row["name"],
        base_amount=row["base_amount"],
        buffer_bps=row["buffer_bps"],
        total_value=row["total_value"],
        depth=row["depth"],
        root_id=row["root_id"],
        policy_ref=row["policy_ref"],
    )


def need(tx: web.Tx, caller: Caller, account_id: str) -> Standing:
    """Return an account for a change; 404 if the caller does not see it.

    What is due on it is closed first, so that it can end.
    """
    booking.need_account(tx, caller, account_id)
    return of(views.account_row(tx.connection, account_id, tx.now_ms))


def check_may_grow(caller: Caller, standing: Standing) -> None:
    """Refuse (403) growth of another owner's account below manager."""
    if not access.acts_for(caller, [standing.account.owner_id], [standing.id]):
        access.check_rank(caller, Rank.MANAGER)
