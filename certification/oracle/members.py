"""The members that the contract lists of each object: what may be compared between two answers.

An answer may carry members of the deployment's own, which may differ at every read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# fmt: off
BALANCES = (
    "currency", "exponent", "ledger", "holds", "buffer", "available", "total_value",
)
"""Without as_of_seq, which moves with everyone's transactions."""
ACCOUNT = (
    "id", "owner_id", "type", "currency", "name", "status", "base_amount", "min_balance",
    "buffer_bps", "withdrawal_allowed", "policy_ref", "parent_id", "root_id", "depth",
    "merged_into_id", "version", "balance_version", "created_at", "closed_at", "metadata",
)
TRANSACTION = (
    "id", "seq", "kind", "status", "amount", "from_account_id", "to_account_id", "hold",
    "expires_at", "reverses_id", "reversed_by_id", "settled_amount", "memo", "reason",
    "effective_at", "recorded_at", "created_by", "metadata",
)
ENTRY = (
    "seq", "transaction_id", "line_no", "kind", "bucket", "amount", "currency",
    "running_balance", "effective_at", "recorded_at",
)
LINE = ("account_id", "bucket", "amount")
# fmt: on


def account(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the contract lists of an account, its balances beside it as `balances.<name>`."""
    balances = row["balances"]
    shown = {name: row[name] for name in ACCOUNT}
    return shown | {f"balances.{name}": balances[name] for name in BALANCES}


def transaction(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the contract lists of a transaction, its lines included."""
    lines = [{name: line[name] for name in LINE} for line in row["lines"]]
    return {**{name: row[name] for name in TRANSACTION}, "lines": lines}


def entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the contract lists of an entry."""
    return {name: row[name] for name in ENTRY}
