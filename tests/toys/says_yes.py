"""Answers 200 to everything, with JSON that looks like what was asked for."""

from __future__ import annotations

from typing import Any

from tests.toys._wire import CAPABILITIES, MOMENT, Toy, serve, session

BALANCES = {
    "currency": "USD",
    "exponent": 2,
    "ledger": 1_000,
    "holds": 0,
    "buffer": 0,
    "available": 1_000,
    "total_value": 1_000,
    "as_of_seq": 1,
}
ACCOUNT: dict[str, Any] = {
    "id": "acc_1",
    "owner_id": "customer",
    "type": "generation",
    "currency": "USD",
    "name": "an account",
    "status": "active",
    "base_amount": 0,
    "min_balance": 0,
    "buffer_bps": 500,
    "withdrawal_allowed": True,
    "policy_ref": None,
    "parent_id": None,
    "root_id": "acc_1",
    "depth": 0,
    "merged_into_id": None,
    "version": 1,
    "balance_version": 1,
    "created_at": MOMENT,
    "closed_at": None,
    "metadata": {},
    "balances": BALANCES,
}
TRANSACTION: dict[str, Any] = {
    "id": "txn_1",
    "seq": 1,
    "kind": "deposit",
    "status": "posted",
    "amount": {"amount": 1_000, "currency": "USD"},
    "from_account_id": None,
    "to_account_id": "acc_1",
    "hold": False,
    "expires_at": None,
    "reverses_id": None,
    "reversed_by_id": None,
    "settled_amount": None,
    "memo": None,
    "reason": None,
    "effective_at": MOMENT,
    "recorded_at": MOMENT,
    "created_by": "customer",
    "lines": [
        {"account_id": None, "system": "external", "bucket": "cash", "amount": -1_000},
        {"account_id": "acc_1", "bucket": "cash", "amount": 1_000},
    ],
    "metadata": {},
}
USER = {
    "id": "customer",
    "username": "customer",
    "roles": ["customer"],
    "status": "active",
    "version": 1,
    "created_at": MOMENT,
}


class SaysYes(Toy):
    """Agrees with everybody."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return 200 and what such a request might be answered with."""
        path = path.partition("?")[0]
        if path == "/.well-known/alluse":
            return 200, CAPABILITIES
        if path.startswith("/v1/auth"):
            return 200, session(str(body.get("username", "customer")))
        if path.startswith("/health"):
            return 200, {"status": "pass"}
        kind = next((part for part in path.split("/") if part in KINDS), "accounts")
        if method == "GET" and path.endswith((kind, "entries")):
            return 200, {"data": [KINDS[kind]], "next_cursor": None}
        return 200, {**KINDS[kind], **body}


KINDS = {"accounts": ACCOUNT, "transactions": TRANSACTION, "users": USER}

if __name__ == "__main__":
    serve(SaysYes)
