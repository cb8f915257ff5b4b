"""Accounts that growth opens: of a system, of a fork, and as the target of a merge."""

from dataclasses import dataclass

from reference_impl import accounts, ids, journal, ledger, web

from .policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """A new account; without `root_id` it is its own root."""

    owner_id: str
    type: str
    currency: str
    name: str
    base_amount: int
    buffer_bps: int
    policy: Policy
    policy_ref: str | None
    parent_id: str | None = None
    root_id: str | None = None
    depth: int = 0
    metadata: str = "{}"


def open_account(tx: web.Tx, birth: Birth) -> ledger.Bucket:
    """Write an account with an empty cash bucket; return the bucket."""
    account_id = ids.new_id("acc", tx.now_ms)
    accounts.insert_row(
        tx,
        {
            "id": account_id,
            "owner_id": birth.owner_id,
            "type": birth.type,
            "currency": birth.currency,
            "name": birth.name,
            "status": "active",
            "base_amount": birth.base_amount,
            "min_balance": 0,
            "buffer_bps": birth.buffer_bps,
            "withdrawal_allowed": getattr(birth.policy.withdrawal_allowed, birth.type),
            "policy_ref": birth.policy_ref,
            "parent_id": birth.parent_id,
            "root_id": birth.root_id or account_id,
            "depth": birth.depth,
            "created_at": tx.now_ms,
            "metadata": birth.metadata,
        },
    )
    return journal.own_bucket(tx.connection, account_id, "cash", birth.currency)
