"""Acknowledges every write and forgets every second one."""

from __future__ import annotations

import itertools
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.toys._wire import CAPABILITIES, MOMENT, Toy, serve, session
from tests.toys.says_yes import ACCOUNT, TRANSACTION, USER

LOCK = threading.Lock()
COUNT = itertools.count(1)
ACCOUNTS: dict[str, dict[str, Any]] = {}
BOOKED: list[dict[str, Any]] = []


def problem(status: int, code: str) -> tuple[int, dict[str, Any]]:
    """Return a problem document."""
    return status, {
        "type": f"urn:alluse:problem:{code}",
        "title": code,
        "status": status,
        "detail": code,
        "code": code,
        "retryable": False,
        "errors": [{"pointer": "", "code": "toy"}],
    }


def entries(account_id: str) -> list[dict[str, Any]]:
    """Return the lines of one account with running balances."""
    rows, running = [], 0
    for booking in BOOKED:
        for number, line in enumerate(booking["lines"]):
            if line["account_id"] != account_id:
                continue
            running += line["amount"]
            rows.append(
                {
                    "seq": booking["seq"],
                    "transaction_id": booking["id"],
                    "line_no": number,
                    "kind": booking["kind"],
                    "bucket": "cash",
                    "amount": line["amount"],
                    "currency": booking["amount"]["currency"],
                    "running_balance": running,
                    "effective_at": MOMENT,
                    "recorded_at": MOMENT,
                }
            )
    return rows


def shown(account: dict[str, Any]) -> dict[str, Any]:
    """Return an account with its balances."""
    ledger = sum(row["amount"] for row in entries(account["id"]))
    balances = dict.fromkeys(("ledger", "available", "total_value"), ledger)
    fixed = {"currency": account["currency"], "exponent": 2, "holds": 0, "buffer": 0}
    return {**account, "balances": {**balances, **fixed, "as_of_seq": len(BOOKED)}}


def open_account(owner: str, body: dict[str, Any], *, keep: bool) -> tuple[int, Any]:
    """Open an account, or say so."""
    if not {"type", "currency", "name"} <= body.keys():
        return problem(400, "validation_failed")
    name = f"acc_{next(COUNT)}"
    account = {**ACCOUNT, **body, "id": name, "root_id": name, "owner_id": owner}
    if keep:
        ACCOUNTS[name] = account
    return 201, shown(account)


def book(body: dict[str, Any], *, keep: bool) -> tuple[int, Any]:
    """Book a transaction, or say so."""
    if not {"kind", "amount"} <= body.keys() or not isinstance(body["amount"], dict):
        return problem(400, "validation_failed")
    amount = body["amount"].get("amount")
    if not isinstance(amount, int):
        return problem(400, "validation_failed")
    ends = (body.get("from_account_id"), body.get("to_account_id"))
    lines = [
        {
            "account_id": end,
            "system": None if end else "external",
            "bucket": "cash",
            "amount": sign * amount,
        }
        for end, sign in zip(ends, (-1, 1), strict=True)
    ]
    number = next(COUNT)
    booking = {**TRANSACTION, "from_account_id": None, "to_account_id": None, **body}
    booking |= {"id": f"txn_{number}", "seq": number, "lines": lines}
    if keep:
        BOOKED.append(booking)
    return 201, booking


class Forgets(Toy):
    """Remembers half of what it is told."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Route the few requests that this toy knows."""
        parts = urlsplit(path)
        names = parts.path.strip("/").split("/")
        if names[0] != "v1":
            return 200, {"status": "pass"} if names[0] == "health" else CAPABILITIES
        if names[1] == "auth":
            return 200, session(str(body.get("username", "customer")))
        owner = (self.headers.get("Authorization") or "").removeprefix("Bearer token-of-")
        if not owner:
            return problem(401, "token_missing")
        with LOCK:
            if method == "POST" and names[1:] == ["accounts"]:
                return open_account(owner, body, keep=next(COUNT) % 2 == 0)
            if method == "POST" and names[1:] == ["transactions"]:
                return book(body, keep=next(COUNT) % 2 == 0)
            return self.read(names[1:], parse_qs(parts.query))

    def read(self, names: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        """Answer reads, all on one page."""
        asked = query.get("limit", ["50"])[0]
        limit = int(asked) if asked.isdecimal() else 50
        if names == ["accounts"]:
            rows = [shown(account) for account in ACCOUNTS.values()]
            return 200, {"data": rows[-limit:], "next_cursor": None}
        if names[0] == "accounts" and names[-1] == "entries":
            return 200, {"data": entries(names[1])[-limit:], "next_cursor": None}
        if names[0] == "accounts" and names[1] in ACCOUNTS:
            return 200, shown(ACCOUNTS[names[1]])
        if names[0] == "users":
            return 200, USER
        return problem(404, "not_found")


if __name__ == "__main__":
    serve(Forgets)
