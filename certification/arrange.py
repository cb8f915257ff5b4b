"""Makes what a check works on: accounts with money, holds, users, all with the run's prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certification.oracle import members
from certification.target.capability import read_lag_s

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply


BATCH_ITEMS_MAX = 1_000
"""The most items that the contract lets a batch have."""
ITEM_BYTES = 512
"""More than a transaction of a batch has without memo and metadata, with the longest ids."""


def unknown_id(known: Json) -> str:
    """Return an id that nothing has, of the form and about the length of a known object's.

    A character more would break the contract's shape where ids have all of the 64 allowed.
    """
    return f"{known['id'][:-4]}zzzz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What accounts looked like at one moment; `Arrange.expect_same` compares a later one."""

    accounts: Sequence[Json]
    by: Actor | None
    seen: Sequence[Json]
    """Of each account: its configuration, balances and number of entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrange:
    """The arranging half of a check; every step must succeed or the check fails on it."""

    context: Context

    @property
    def currency(self) -> str:
        """The currency that the checks use: USD where the deployment has it, else its first."""
        declared = [row["code"] for row in self.context.declared("currencies")]
        return "USD" if "USD" in declared else str(declared[0])

    @property
    def batch_items_max(self) -> int:
        """How many transactions fit into one batch, by the declared number and size."""
        limits = self.context.declared("limits")
        items = int(limits.get("batch_items_max", BATCH_ITEMS_MAX))
        return min(items, int(limits["body_bytes_max"]) // ITEM_BYTES)

    def within_limits(self, amount: int) -> None:
        """End the check as NOT_EXERCISED where no amount or balance may be as large as this."""
        most = int(self.context.declared("limits", "amount_max"))
        if amount > most:
            self.context.not_exercised(f"limits.amount_max is {most}, below {amount}")

    def money(self, amount: int, currency: str | None = None) -> Json:
        """Return the money object for integer minor units."""
        return {"amount": amount, "currency": currency or self.currency}

    def account(
        self,
        *,
        funds: int = 0,
        owner: Actor | None = None,
        type: str = "generation",  # noqa: A002  the contract's word
        currency: str | None = None,
        **fields: Any,
    ) -> Json:
        """Open an account, deposit `funds` minor units, and return the account as it then reads."""
        ctx = self.context
        actor = owner or ctx.customer
        body = {
            "type": type,
            "currency": currency or self.currency,
            "name": ctx.name("account"),
            **fields,
        }
        reply = actor.call("createAccount", body=body, expect=201)
        account: Json = reply.body
        ctx.created("account", account["id"], actor.role)
        if not funds:
            return account
        self.deposit(account, funds, by=actor)
        return self.read(account, by=actor)

    def deposit(self, account: Json, amount: int, *, by: Actor | None = None) -> Json:
        """Deposit minor units from the outside world; return the transaction."""
        return self.transaction(
            {
                "kind": "deposit",
                "amount": self.money(amount, account["currency"]),
                "to_account_id": account["id"],
            },
            by=by,
        )

    def transfer_body(self, source: Json, target: Json, amount: int, **fields: Any) -> Json:
        """Return the body of a transfer of minor units."""
        return {
            "kind": "transfer",
            "amount": self.money(amount, source["currency"]),
            "from_account_id": source["id"],
            "to_account_id": target["id"],
            **fields,
        }

    def withdrawal_body(self, source: Json, amount: int, **fields: Any) -> Json:
        """Return the body of a withdrawal of minor units."""
        return {
            "kind": "withdrawal",
            "amount": self.money(amount, source["currency"]),
            "from_account_id": source["id"],
            **fields,
        }

    def transaction(self, body: Mapping[str, Any], *, by: Actor | None = None) -> Json:
        """Post a transaction that must be accepted; return it."""
        reply = (by or self.context.customer).call("createTransaction", body=body, expect=201)
        created: Json = reply.body
        return created

    def hold(self, source: Json, amount: int, *, by: Actor | None = None, **fields: Any) -> Json:
        """Place a pending withdrawal of minor units; return the transaction."""
        return self.transaction(self.withdrawal_body(source, amount, hold=True, **fields), by=by)

    def read(self, account: Json, *, by: Actor | None = None) -> Json:
        """Return the account as it reads now."""
        fresh: Json = self.read_reply(account, by=by).body
        return fresh

    def read_reply(self, account: Json, *, by: Actor | None = None) -> Reply:
        """Return the whole answer of reading the account, for its ETag."""
        actor = by or self.context.customer
        self.let_writes_arrive()
        return actor.call("getAccount", path={"id": account["id"]}, expect=200)

    def read_transaction(self, transaction: Json, *, by: Actor | None = None) -> Json:
        """Return the transaction as it reads now."""
        actor = by or self.context.customer
        self.let_writes_arrive()
        fresh: Json = actor.call("getTransaction", path={"id": transaction["id"]}, expect=200).body
        return fresh

    def balances(self, account: Json, *, by: Actor | None = None) -> Json:
        """Return the account's balances as they read now."""
        balances: Json = self.read(account, by=by)["balances"]
        return balances

    def entries(self, account: Json, *, by: Actor | None = None) -> list[Json]:
        """Return every entry of the account, over all pages."""
        return self.pages("listEntries", path={"id": account["id"]}, by=by)

    def pages(
        self,
        operation: str,
        *,
        by: Actor | None = None,
        each: Callable[[Reply], object] = lambda _: None,
        pages_max: int = 1000,
        **request: Any,
    ) -> list[Json]:
        """Walk a list to its end and return all rows; `each` is given every page as it comes.

        A cursor that cycles fails the check; more pages than `pages_max` are INCONCLUSIVE.
        """
        ctx = self.context
        actor = by or ctx.customer
        query = dict(request.pop("query", {}))
        rows: list[Json] = []
        seen: set[str] = set()
        self.let_writes_arrive()
        for _ in range(pages_max):
            reply = actor.call(operation, query=query, expect=200, **request)
            rows += reply.body["data"]
            each(reply)
            cursor = reply.body["next_cursor"]
            if cursor is None:
                return rows
            if cursor in seen:
                ctx.fail(
                    "The list never ends: a cursor came back a second time",
                    expected="a new cursor or null",
                    observed=cursor,
                    on=[reply],
                )
            seen.add(cursor)
            query["cursor"] = cursor
        return ctx.undecided(f"{operation} has more than {pages_max} pages")

    @property
    def lag_s(self) -> float:
        """How long a read may lag behind a write, as declared; 0 where writes are read at once."""
        return read_lag_s(self.context.capabilities)

    def let_writes_arrive(self) -> None:
        """Wait until whatever happened before must be readable, where a lag is declared.

        A read after writes of the case itself waits without being told: `let_own_writes_arrive`.
        This is for what the deployment did by itself, and for writes of others.
        """
        if self.lag_s:
            self.context.wait(self.lag_s)

    def let_own_writes_arrive(self) -> None:
        """Wait until the writes of this case must be readable, where a lag is declared."""
        if self.lag_s:
            arrived_s = self.context.wrote_s + self.lag_s
            self.context.wait(max(0.0, arrived_s - self.context.clock()))

    def expect_balances(
        self, account: Json, message: str, *, by: Actor | None = None, **expected: int
    ) -> Json:
        """Fail unless these balances read so; return all of them."""
        reply = self.read_reply(account, by=by)
        balances: Json = reply.body["balances"]
        shown = {name: balances[name] for name in expected}
        self.context.equal(shown, expected, message, reply)
        return balances

    def picture(self, *accounts: Json, by: Actor | None = None) -> Picture:
        """Return what a refused request must leave alone."""
        return Picture(
            accounts=accounts, by=by, seen=[self._seen(account, by) for account in accounts]
        )

    def expect_same(self, before: Picture, message: str, *on: Reply) -> None:
        """Fail if anything of the picture has changed."""
        for account, seen in zip(before.accounts, before.seen, strict=True):
            now = self._seen(account, before.by)
            changed = {name for name in seen if now[name] != seen[name]}
            then = {name: seen[name] for name in sorted(changed)}
            self.context.equal({name: now[name] for name in then}, then, message, *on)

    def _seen(self, account: Json, by: Actor | None) -> Json:
        seen = members.account(self.read(account, by=by))
        return {**seen, "entries": len(self.entries(account, by=by))}

    def suspend(self, account: Json) -> Json:
        """Suspend the account as a manager; return it as it then reads."""
        return self.set_status(account, "suspended")

    def set_status(self, account: Json, status: str) -> Json:
        """Set the account's status as a manager; return it as it then reads."""
        ctx = self.context
        etag = self.read_reply(account, by=ctx.manager).etag
        reply = ctx.manager.call(
            "updateAccount",
            path={"id": account["id"]},
            body={"status": status},
            if_match=etag,
            expect=200,
        )
        changed: Json = reply.body
        return changed

    def close(self, account: Json, *, by: Actor | None = None, **request: Any) -> Reply:
        """Send closeAccount with the account's present ETag; `request` as `Actor.call` takes it."""
        actor = by or self.context.customer
        etag = self.read_reply(account, by=by).etag
        body = request.pop("body", {})
        path = {"id": account["id"]}
        return actor.call("closeAccount", path=path, body=body, if_match=etag, **request)
