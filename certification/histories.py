"""Records what concurrent clients do to accounts and see of them, and has the oracle judge it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from certification.checks import CheckFailed
from certification.model import Finding, Measurement
from certification.oracle import history as model
from certification.oracle import history_judge, history_search
from certification.oracle.history import Anomaly, Balance, History, Kind, Operation, Outcome
from certification.oracle.history_story import story
from certification.retrying import new_key
from certification.target.outcomes import ConnectionLost

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

SEARCH_S = 10.0
"""How long the second opinion may take."""
RESOLVE_TRIES = 40
PAGE_ROWS = 50
TOTAL_MAX = 2**52
"""What all amounts of a history may add up to: below what JSON holds exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A request that changes accounts, and what it does when it is accepted."""

    kind: Kind
    operation: str
    body: Json
    effects: tuple[tuple[str, int], ...]
    actor: Actor
    path: Json | None = None
    account: str = ""
    transaction: str | None = None
    """The hold that it ends."""


@dataclass(slots=True)
class Recorder:
    """Sends as many clients at once and keeps what each saw; thread-safe."""

    ctx: Context
    operations: list[Operation] = field(default_factory=list)
    _open: dict[int, tuple[Write, str]] = field(default_factory=dict)
    """Writes without an answer, and their keys."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: int = 0

    # -- what clients do ---------------------------------------------------------------------------

    def write(self, client: str, write: Write, *, deadline_s: float | None = None) -> Reply | None:
        """Send a write and record it; None where there was no answer.

        With `deadline_s` the client gives up after so long.
        """
        number, began = self._begin()
        key = new_key()
        try:
            reply = self._send(write, key, deadline_s)
        except ConnectionLost as lost:
            done = self._operation(number, client, write, (began, None))
            with self._lock:
                self._open[number] = (write, key)
                self.operations.append(replace(done, exchange=lost.number))
            return None
        self._keep(self._answered(number, client, write, (began, self._now()), reply))
        return reply

    def insist(self, client: str, write: Write, *, deadline_s: float) -> Reply:
        """Send a write, give up after `deadline_s`, and repeat it under its key until answered.

        Recorded as one operation from the first sending to the last answer.
        """
        number, began = self._begin()
        key = new_key()
        try:
            reply = self._send(write, key, deadline_s)
        except ConnectionLost:
            reply = self._repeated(write, key)
        if reply.problem_code == "idempotency_in_flight":
            reply = self._repeated(write, key)
        self._keep(self._answered(number, client, write, (began, self._now()), reply))
        return reply

    def balance(self, client: str, account: Json, *, by: Actor | None = None) -> None:
        """Read the balances of an account and record them."""
        number, began = self._begin()
        actor = by or self.ctx.customer
        reply = actor.call("getAccount", path={"id": account["id"]}, expect=200, at_once=True)
        shown = reply.body["balances"]
        self._keep(
            Operation(
                number=number,
                client=client,
                kind=Kind.BALANCE,
                began_ns=began,
                ended_ns=self._now(),
                account=account["id"],
                shown=Balance(ledger=shown["ledger"], holds=shown["holds"]),
                exchange=reply.exchange_number,
            )
        )

    def statement(self, client: str, account: Json) -> None:
        """Read the newest entries of an account, one answer, and record them."""
        number, began = self._begin()
        limit = min(PAGE_ROWS, int(self.ctx.declared("limits", "page_max")))
        query = {"sort": "-seq", "limit": limit}
        path = {"id": account["id"]}
        reply = self.ctx.customer.call(
            "listEntries", path=path, query=query, expect=200, at_once=True
        )
        ended = self._now()
        rows = [_posting(row) for row in reply.body["data"]]
        whole = reply.body["next_cursor"] is None
        # A settled hold may stand beside a row of the same seq that is on the next page.
        kept = rows if whole else [row for row in rows if row.seq != rows[-1].seq]
        if rows and not kept:
            return
        self._keep(
            Operation(
                number=number,
                client=client,
                kind=Kind.STATEMENT,
                began_ns=began,
                ended_ns=ended,
                account=account["id"],
                shown=model.Statement(postings=model.ordered_page(kept[::-1]), whole=whole),
                exchange=reply.exchange_number,
            )
        )

    # -- how writes are made -----------------------------------------------------------------------

    def deposit(self, account: Json, amount: int) -> Write:
        """Return a deposit."""
        money = self.ctx.arrange.money(amount, account["currency"])
        body = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
        return self._transaction(body, ((account["id"], amount),))

    def withdrawal(self, account: Json, amount: int) -> Write:
        """Return a withdrawal."""
        body = self.ctx.arrange.withdrawal_body(account, amount)
        return self._transaction(body, ((account["id"], -amount),))

    def transfer(self, source: Json, target: Json, amount: int) -> Write:
        """Return a transfer."""
        body = self.ctx.arrange.transfer_body(source, target, amount)
        effects = ((source["id"], -amount), (target["id"], amount))
        return self._transaction(body, effects)

    def hold(self, account: Json, amount: int) -> Write:
        """Return a hold of a withdrawal."""
        body = self.ctx.arrange.withdrawal_body(account, amount, hold=True)
        return replace(self._transaction(body, ((account["id"], -amount),)), kind=Kind.HOLD)

    def settle(self, account: Json, hold: Json) -> Write:
        """Return a settle of all of a hold, by the operator."""
        amount = hold["amount"]["amount"]
        return Write(
            kind=Kind.SETTLE,
            operation="settleTransaction",
            body={},
            effects=((account["id"], -amount),),
            actor=self.ctx.operator,
            path={"id": hold["id"]},
            account=account["id"],
            transaction=hold["id"],
        )

    def void(self, account: Json, hold: Json) -> Write:
        """Return the release of a hold."""
        write = self.settle(account, hold)
        return replace(
            write, kind=Kind.VOID, operation="voidTransaction", effects=(), actor=self.ctx.customer
        )

    # -- what came of it ---------------------------------------------------------------------------

    def resolve(self) -> None:
        """Repeat every write that had no answer under its key, until it has one.

        The write then counts as answered at that moment. INCONCLUSIVE where it never is.
        """
        for number, (write, key) in sorted(self._open.items()):
            reply = self._repeated(write, key)
            place = next(n for n, row in enumerate(self.operations) if row.number == number)
            was = self.operations[place]
            times = (was.began_ns, self._now())
            self.operations[place] = self._answered(number, was.client, write, times, reply)
        self._open.clear()

    def history(self, accounts: Sequence[Json], *, floors: bool = True) -> History:
        """Resolve what is open, read the statements at rest, and return all that was recorded."""
        self.resolve()
        self.ctx.arrange.let_writes_arrive()
        for account in accounts:
            self.balance("at rest", account)
        final = {
            account["id"]: tuple(_posting(row) for row in self.ctx.arrange.entries(account))
            for account in accounts
        }
        return History(
            operations=tuple(sorted(self.operations, key=lambda row: row.began_ns)),
            final=final,
            lag_ns=int(self.ctx.arrange.lag_s * 1e9),
            floors={account["id"]: account["min_balance"] for account in accounts}
            if floors
            else None,
        )

    def _repeated(self, write: Write, key: str) -> Reply:
        for _ in range(RESOLVE_TRIES):
            try:
                reply = self._send(write, key, None)
            except ConnectionLost:
                self.ctx.wait(0.25)
                continue
            if reply.problem_code != "idempotency_in_flight":
                return reply
            self.ctx.wait(reply.retry_after_s or 0.05)
        return self.ctx.undecided(f"{write.operation} was repeated {RESOLVE_TRIES} times in vain")

    def _send(self, write: Write, key: str, deadline_s: float | None) -> Reply:
        more: dict[str, Any] = {} if deadline_s is None else {"deadline_s": deadline_s}
        if write.path is not None:
            more["path"] = write.path
        reply = write.actor.call(write.operation, body=write.body, key=key, **more)
        self.ctx.expect(
            reply.status < 500,
            "An answer neither accepts nor refuses",
            expected="2xx or 4xx",
            observed=reply.status,
            on=[reply],
        )
        return reply

    def _answered(
        self, number: int, client: str, write: Write, times: tuple[int, int], reply: Reply
    ) -> Operation:
        done = self._operation(number, client, write, times)
        if reply.status >= 300:
            short = reply.problem_code == "insufficient_available"
            return replace(
                done, outcome=Outcome.REFUSED, for_funds=short, exchange=reply.exchange_number
            )
        name = write.transaction or reply.body["id"]
        return replace(done, transaction=name, exchange=reply.exchange_number)

    def _operation(
        self, number: int, client: str, write: Write, times: tuple[int, int | None]
    ) -> Operation:
        return Operation(
            number=number,
            client=client,
            kind=write.kind,
            began_ns=times[0],
            ended_ns=times[1],
            outcome=Outcome.UNRESOLVED if times[1] is None else Outcome.OK,
            effects=write.effects,
            transaction=write.transaction,
            account=write.account,
        )

    def _transaction(self, body: Json, effects: tuple[tuple[str, int], ...]) -> Write:
        return Write(
            kind=Kind.POST,
            operation="createTransaction",
            body=body,
            effects=effects,
            actor=self.ctx.customer,
        )

    def _keep(self, operation: Operation) -> None:
        with self._lock:
            self.operations.append(operation)

    def _begin(self) -> tuple[int, int]:
        with self._lock:
            self._numbers += 1
            return self._numbers, self._now()

    def _now(self) -> int:
        return int(self.ctx.clock() * 1e9)


def _posting(row: Json) -> model.Posting:
    return model.Posting(
        transaction=row["transaction_id"],
        amount=row["amount"],
        running=row["running_balance"],
        seq=row["seq"],
    )


def amounts(ctx: Context, count: int) -> list[int]:
    """Return amounts that name their operation, within what the deployment takes."""
    most = min(int(ctx.declared("limits", "amount_max")), TOTAL_MAX // (count + 1))
    try:
        return model.amounts(count, most=most, draw=ctx.random.getrandbits(30))
    except ValueError:
        return ctx.not_exercised(f"amounts up to {most} cannot tell {count} operations apart")


def waves(ctx: Context, work: Sequence[Sequence[Callable[[], object]]]) -> None:
    """Do each client's steps one after the other, all clients at once.

    The accounts that the case opened for it are there for a read at once.
    """

    def all_of(steps: Sequence[Callable[[], object]]) -> None:
        for step in steps:
            step()

    ctx.arrange.let_own_writes_arrive()
    ctx.together([partial(all_of, steps) for steps in work])


def judge(
    ctx: Context, history: History, *, searched: Sequence[str] = (), seconds: float = SEARCH_S
) -> None:
    """Fail with the story of the first anomaly; INCONCLUSIVE where the search ends undecided."""
    end = ctx.clock() + seconds
    _measure(ctx, history)
    judged = history_judge.judge(
        history,
        searched=tuple(searched),
        steps_max=history_search.STEPS_MAX,
        expired=lambda: ctx.clock() > end,
    )
    if judged.anomaly is not None:
        raise CheckFailed(finding(judged.anomaly))
    if judged.undecided is not None:
        ctx.undecided(judged.undecided)


def finding(anomaly: Anomaly) -> Finding:
    """Return the finding of an anomaly: its story is what was observed."""
    return Finding(
        message=f"What the clients saw is {anomaly.name.value}",
        expected="an order of all operations, by the clock and whole, that explains every answer",
        observed=story(anomaly),
        exchanges=tuple(sorted({row.exchange for row in anomaly.operations if row.exchange})),
    )


def _measure(ctx: Context, history: History) -> None:
    rows = history.operations
    reads = sum(row.reads for row in rows)
    refused = sum(row.outcome is Outcome.REFUSED for row in rows)
    for name, value in (("reads", reads), ("refused writes", refused)):
        ctx.measure(
            Measurement(check=ctx.spec.id, name=name, value=value, unit="operations", n=len(rows))
        )
