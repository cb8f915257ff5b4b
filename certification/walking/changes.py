"""More steps of a walk: states and endings of accounts, batches, repeats, the past, small pages."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from certification.walking import rules
from certification.walking.book import CASH, Booking
from certification.walking.endings import EndingMachine
from certification.walking.money import NEAR, NUMBERS, SMALL_PAGE
from certification.walking.steps import ACCOUNT, step

if TYPE_CHECKING:
    from certification.model import Json
    from certification.walking.book import Account

ITEMS = st.lists(
    st.tuples(st.sampled_from(["deposit", "withdrawal", "transfer"]), NUMBERS, st.booleans()),
    min_size=1,
    max_size=3,
)


class CoreMachine(EndingMachine):
    """The steps of the core module."""

    @step(weight=2, one=ACCOUNT, two=ACCOUNT, items=ITEMS, whole=st.booleans())
    def batch(self, one: int, two: int, items: list[tuple[str, int, bool]], whole: bool) -> None:
        """Book several at once, each with its outcome or all or none."""
        source, target = self.account(one), self.account(two)
        most = self.walk.ctx.arrange.batch_items_max
        bodies = [self._item(item, source, target) for item in items[:most]]
        trial = deepcopy(self.book)
        refused = []
        for number, body in enumerate(bodies):
            codes = rules.first(rules.transaction(trial, body), self.statuses)
            refused.append(codes)
            if not codes:
                trial.request(f"trial-{number}", body)
        words = ", ".join(f"{body['kind']} {body['amount']['amount']}" for body in bodies)
        name = "all or nothing" if whole else "one by one"
        with self.doing(f"batch, {name}, on {source.id} and {target.id}: {words}"):
            request: Json = {"items": bodies, "all_or_nothing": whole}
            codes_all = ["batch_rejected"] if whole and any(refused) else []
            reply = self.write(
                "customer", "createTransactionBatch", codes_all, body=request, status=200
            )
            if reply is not None:
                self._book_items(reply.body["results"], bodies, refused)
            self.touch(source, target)

    def _item(self, item: tuple[str, int, bool], source: Account, target: Account) -> Json:
        kind, amount, edge = item
        if edge and kind != "deposit":
            amount = self.amount_of(source, "all", amount)
        ends = {
            "deposit": {"to_account_id": target.id},
            "withdrawal": {"from_account_id": source.id},
            "transfer": {"from_account_id": source.id, "to_account_id": target.id},
        }[kind]
        currency = (target if kind == "deposit" else source).currency
        return {"kind": kind, "amount": {"amount": amount, "currency": currency}, **ends}

    def _book_items(
        self, results: list[Json], bodies: list[Json], refused: list[rules.Codes]
    ) -> None:
        reply = self.tale.sent[-1].reply
        if reply is None:
            raise LookupError("a batch without an answer")
        message = "An item of a batch"
        self.walk.same(self.tale, reply, f"/results/{len(bodies)}", None, message)
        for number, (body, codes) in enumerate(zip(bodies, refused, strict=True)):
            place = f"/results/{number}"
            if not codes:
                self.walk.same(self.tale, reply, f"{place}/status", 201, message)
                done = results[number]["transaction"]
                self.walk.same(self.tale, reply, f"{place}/transaction/kind", body["kind"], message)
                self.booked.append(self.book.request(done["id"], body).id)
                continue
            code = results[number].get("problem", {}).get("code")
            if code not in codes:
                self.walk.same(self.tale, reply, f"{place}/problem/code", min(codes), message)

    @step(
        weight=2,
        when=lambda self: self.can("manager"),
        which=ACCOUNT,
        share=st.sampled_from([None, None, 0, 1, 3]),
        near=NEAR,
    )
    def manage(self, which: int, share: int | None, near: bool) -> None:
        """Suspend or resume an account, or change what it keeps at least, within what it has."""
        account = self.pick(which, near=near)
        if share is None:
            self._suspend_or_resume(account)
        elif not account.ended:
            wanted = max(account.cash - self.book.holds(account.id), 0) * share // 3
            with self.doing(f"keep at least {wanted} in {account.id}"):
                self._change(account, {"min_balance": wanted}, [])
                account.min_balance = wanted
                self.touch(account)

    def _suspend_or_resume(self, account: Account) -> None:
        wanted = "active" if account.status == "suspended" else "suspended"
        with self.doing(f"make {account.id} {wanted}"):
            self._change(account, {"status": wanted}, rules.ended(account))
            if not account.ended:
                account.status = wanted
            self.touch(account)

    def _change(self, account: Account, body: Json, codes: list[str]) -> None:
        self.look(account)
        path, etag = {"id": account.id}, self.etags[account.id]
        self.write(
            "manager",
            "updateAccount",
            codes,
            path=path,
            body=body,
            if_match_of=etag,
            status=200,
        )

    @step(weight=2, which=ACCOUNT, into=ACCOUNT, sweeping=st.booleans(), near=NEAR)
    def close(self, which: int, into: int, sweeping: bool, near: bool) -> None:
        """Close an account, with or without somewhere to sweep its money to."""
        account = self.pick(which, near=near)
        target = self.account(into) if sweeping else None
        if account.status == "suspended" or account.min_balance or self.book.awaits(account.id):
            # The contract leaves these open.
            return
        codes = rules.close(self.book, account, target)
        body = {} if target is None else {"sweep_to": target.id}
        where = "" if target is None else f", the rest to {target.id}"
        with self.doing(f"close {account.id}{where}"):
            self.look(account)
            path, etag = {"id": account.id}, self.etags[account.id]
            reply = self.write(
                "customer",
                "closeAccount",
                codes,
                path=path,
                body=body,
                if_match_of=etag,
                status=200,
            )
            if reply is not None:
                if target is not None and account.total:
                    self._swept(account, target)
                account.status = "closed"
            self.touch(account, *([target] if target else []))

    def _swept(self, account: Account, target: Account) -> None:
        # The answer does not name the sweep; it is the newest transaction of the account.
        query = {"account_id": account.id, "sort": "-seq", "limit": 1}
        reply = self.send("customer", "listTransactions", query=query)
        message = "The sweep of a closed account"
        self.walk.same(self.tale, reply, "/data/0/kind", "sweep", message)
        self.walk.same(self.tale, reply, "/data/0/amount/amount", account.total, message)
        booking = Booking(
            id=reply.body["data"][0]["id"],
            kind="sweep",
            status="posted",
            currency=account.currency,
            amount=account.total,
            source=account.id,
            target=target.id,
        )
        self.book.move_all(booking, [account], target)

    @step(weight=2, when=lambda self: bool(self.writes), back=st.integers(1, 4))
    def repeat(self, back: int) -> None:
        """Send a write again under its key: the same answer, and nothing more happens."""
        role, operation, request, first = self.writes[-min(back, len(self.writes))]
        with self.doing(f"repeat {operation} under its key"):
            reply = self.send(role, operation, repeats=first, **request)
            why = f"{operation}, repeated,"
            self.walk.expect(self.tale, reply, status=first.status, refusals=(), why=why)
            for name in ("id", "results", "event"):
                if isinstance(first.body, dict) and name in first.body:
                    message = "A repeated write is answered otherwise"
                    self.walk.same(self.tale, reply, f"/{name}", first.body[name], message)

    @step(when=lambda self: self.news("past"), which=ACCOUNT, back=st.integers(1, 3))
    def look_back(self, which: int, back: int) -> None:
        """Read balances as they were after an earlier transaction of this account."""
        account = self.account(which)
        moments = account.past[:-1]
        if not moments:
            return
        self.seen["past"] = len(self.writes)
        seq, cash, total = moments[-min(back, len(moments))]
        with self.doing(f"look back at {account.id}"):
            query = {"as_of_seq": seq}
            reply = self.send("customer", "getAccount", path={"id": account.id}, query=query)
            self.walk.expect(self.tale, reply, status=200, refusals=(), why="a past balance")
            message = "The balance after an earlier transaction"
            self.walk.same(self.tale, reply, "/balances/ledger", cash, message)
            self.walk.same(self.tale, reply, "/balances/total_value", total, message)

    @step(weight=2, when=lambda self: self.news("pages"), which=ACCOUNT, near=NEAR)
    def page_through(self, which: int, near: bool) -> None:
        """Walk the entries of an account on small pages; each stands there once."""
        account = self.pick(which, near=near)
        if not SMALL_PAGE < len(account.entries) <= 12:
            return
        self.seen["pages"] = len(self.writes)
        with self.doing(f"page through the entries of {account.id}"):
            rows: list[tuple[str, int]] = []
            query: Json = {"limit": SMALL_PAGE}
            for _ in range(len(account.entries) + 2):
                path = {"id": account.id}
                reply = self.send("customer", "listEntries", path=path, query=query)
                self.walk.expect(self.tale, reply, status=200, refusals=(), why="listEntries")
                rows += [(row["bucket"], row["amount"]) for row in reply.body["data"]]
                if reply.body["next_cursor"] is None:
                    break
                query = {**query, "cursor": reply.body["next_cursor"]}
            self.walk.ctx.equal(
                sorted(rows), sorted(account.entries), "The entries, page by page", reply
            )
            cash = [amount for bucket, amount in rows if bucket == CASH]
            self.walk.ctx.equal(sum(cash), account.cash, "The sum of the entries", reply)
