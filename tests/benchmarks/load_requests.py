"""The requests that the benchmarks send, of the reference's contract."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import planted_book
from loadgen import get, patch, post
from reference_under_load import Running


class Keys(Protocol):
    """Where fresh idempotency keys come from."""

    def key(self) -> str:
        """Return a key that was not used before."""
        ...


def transfers(bench: Keys, server: Running, ids: Sequence[str]) -> Callable[[int], bytes]:
    """Make single transfers of one unit between accounts drawn at random."""
    drawn = random.Random(7)  # noqa: S311 - the same draws in every run

    def make(_: int) -> bytes:
        source, target = drawn.sample(ids, 2)
        return post(
            "/v1/transactions", transfer(source, target), token=server.token, key=bench.key()
        )

    return make


def transfer(source: str, target: str) -> dict[str, object]:
    return {
        "kind": "transfer",
        "amount": {"amount": 1, "currency": "USD"},
        "from_account_id": source,
        "to_account_id": target,
    }


def batches(bench: Keys, server: Running, ids: Sequence[str], size: int) -> Callable[[int], bytes]:
    """Make batches of transfers."""
    drawn = random.Random(8)  # noqa: S311 - the same draws in every run

    def make(_: int) -> bytes:
        items = [transfer(*drawn.sample(ids, 2)) for _ in range(size)]
        body = {"items": items}
        return post("/v1/transactions/batch", body, token=server.token, key=bench.key())

    return make


def reads(server: Running, ids: Sequence[str]) -> Callable[[int], bytes]:
    """Make reads of single accounts."""
    wanted = [get(f"/v1/accounts/{name}", token=server.token) for name in ids]
    return lambda number: wanted[number % len(wanted)]


Makers = dict[str, Callable[[Iterator[str], int], Iterator[bytes]]]


REPORTS = ("performance", "risk", "trend", "prediction")
BUSY = 200
"""Accounts with a history of two months, the first of a planted book."""


def analytics(token: str, report: str) -> Callable[[Iterator[str], int], Iterator[bytes]]:
    """Make reads of a report on the accounts with a history."""
    paths = [
        f"/v1/accounts/{planted_book.account_id(number)}/analytics/{report}"
        for number in range(BUSY)
    ]
    return lambda _, count: (get(paths[number % BUSY], token=token) for number in range(count // 4))


def operations(bench: Keys, server: Running) -> Makers:
    token, quarter = server.token, quarter_now()
    money = {"amount": 2_000_000, "currency": "USD"}
    new = {"type": "generation", "currency": "USD", "name": "Weekly income"}

    def odd(ids: Iterator[str]) -> str:
        next(ids)
        return next(ids)

    def even(ids: Iterator[str]) -> str:
        found = next(ids)
        next(ids)
        return found

    def send(path: str, body: object) -> bytes:
        return post(path, body, token=token, key=bench.key())

    def three(ids: Iterator[str]) -> dict[str, object]:
        return {"sources": [even(ids), even(ids)], "target_id": even(ids)}

    def times(count: int, make: Callable[[], bytes]) -> Iterator[bytes]:
        return (make() for _ in range(count))

    return {
        "createAccount": lambda _, n: times(n, lambda: send("/v1/accounts", new)),
        "getAccount": lambda ids, n: times(
            n, lambda: get(f"/v1/accounts/{next(ids)}", token=token)
        ),
        "updateAccount": lambda ids, n: times(
            n, lambda: patch(f"/v1/accounts/{next(ids)}", {"name": "Other"}, token=token)
        ),
        "createTransaction": lambda ids, n: times(
            n, lambda: send("/v1/transactions", transfer(even(ids), even(ids)))
        ),
        **{f"analytics {report}": analytics(token, report) for report in REPORTS},
        "forkAccount": lambda ids, n: times(
            n // 2, lambda: send(f"/v1/accounts/{even(ids)}/fork", {})
        ),
        "mergeAccounts": lambda ids, n: times(n // 2, lambda: send("/v1/merges", three(ids))),
        "reinvest": lambda ids, n: times(
            n // 2,
            lambda: send(f"/v1/accounts/{odd(ids)}/reinvest", {"period": quarter, "amount": money}),
        ),
    }


def quarter_now() -> str:
    now = datetime.now(UTC)
    return f"{now.year}-Q{(now.month + 2) // 3}"


def scaled(bench: Keys, server: Running, name: str, size: int) -> Callable[[int], bytes]:
    drawn = random.Random(9)  # noqa: S311 - the same draws in every run
    anyone = [planted_book.account_id(drawn.randrange(size)) for _ in range(5000)]
    busy = [planted_book.account_id(number) for number in range(BUSY)]
    paths = {
        "point read": [f"/v1/accounts/{one}" for one in anyone],
        "entry page": [f"/v1/accounts/{one}/entries?limit=50" for one in busy],
        "keyset page": [
            f"/v1/accounts?cursor={_cursor(server, drawn.randrange(size))}" for _ in range(200)
        ],
    }
    if name == "transfer":
        return transfers(bench, server, anyone)
    wanted = [get(path, token=server.token) for path in paths[name]]
    return lambda number: wanted[number % len(wanted)]


def _cursor(server: Running, after: int) -> str:
    """Return the cursor of the page after an account, as if the pages before it had been read."""
    from reference_impl import cursors, database

    assert server.database is not None
    with contextlib.closing(sqlite3.connect(server.database)) as db:
        secret = bytes.fromhex(database.meta(db, "cursor_secret"))
    query = {"limit": 50, "sort": "seq", "operation": "listAccounts", "principal": server.user_id}
    return cursors.next_cursor(secret, query, [after])
