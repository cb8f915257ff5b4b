"""Walks a target through a scenario, and compares every account with the book after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certification import retrying
from certification.oracle import ledger, members
from certification.scenario_book import (
    CONFIGURED,
    UNNAMED,
    Ask,
    Deal,
    Json,
    Move,
    Page,
    book,
    emptying,
    in_groups,
    named,
)

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.target.reply import Reply

STATEMENTS_MAX = 3
"""How many accounts of a scenario have their statement read in other ways at its end."""
CUSTOMER_KINDS = frozenset({"deposit", "withdrawal", "transfer"})


@dataclass(slots=True, kw_only=True)
class Story:
    """One scenario under way: its accounts, and how its requests are sent."""

    ctx: Context
    twice: bool = False
    """Whether every write that takes a key is sent again under it, and must be a replay."""
    pages: dict[str, Page] = field(default_factory=dict)
    owners: dict[str, Actor] = field(default_factory=dict)
    deals: list[Deal] = field(default_factory=list)
    bases_are_known: bool = True
    """Whether base_amount follows from the contract alone: not where deposits raise it."""

    def __post_init__(self) -> None:
        """Look whether the declared policy lets deposits move the base."""
        modules = {row["id"] for row in self.ctx.declared("modules")}
        if "growth" in modules:
            path = {"type": "generation"}
            reply = self.ctx.customer.call("getGrowthPolicy", path=path, expect=200)
            self.bases_are_known = reply.body["policy"]["base_mode"] == "opening"

    @property
    def amount_max(self) -> int:
        """The largest amount and balance that the deployment takes."""
        return int(self.ctx.declared("limits", "amount_max"))

    # -- sending -------------------------------------------------------------------------------

    def send(self, actor: Actor, operation: str, expect: int, **request: Any) -> Reply:
        """Send a write that must be accepted; with `twice`, once more under the same key."""
        reply = actor.call(operation, **request)
        if reply.problem_code == "approval_required":
            self.ctx.not_exercised("the deployment asks a second person to approve this")
        self.ctx.has_status(reply, expect)
        if self.twice and reply.sent_key is not None:
            again = actor.call(operation, **{**request, "key": reply.sent_key})
            retrying.is_replay(self.ctx, reply, again)
        return reply

    def adopt(self, account: Json, actor: Actor, **expected: Any) -> Page:
        """Take an account that the target opened into the book; these members must read so."""
        self.ctx.created("account", account["id"], actor.role)
        shown = members.account(account)
        found = {name: shown[name] for name in expected}
        self.ctx.equal(found, expected, "A new account reads otherwise than it was opened")
        page = Page(
            id=account["id"],
            configured={name: shown[name] for name in CONFIGURED},
            version=account["version"],
            balance_version=account["balance_version"],
        )
        self.pages[page.id], self.owners[page.id] = page, actor
        return page

    def open(self, *, owner: Actor | None = None, by: Actor | None = None, **fields: Any) -> Page:
        """Open an account, for its owner or by staff; it must read as asked, and empty."""
        ctx, holder = self.ctx, owner or self.ctx.customer
        body = {
            "type": "generation",
            "currency": ctx.arrange.currency,
            "name": ctx.name("scenario"),
        } | fields
        if by is not None:
            body["owner_id"] = holder.user_id
        account = self.send(by or holder, "createAccount", 201, body=body).body
        expected = {name: value for name, value in body.items() if name in CONFIGURED}
        expected |= {"owner_id": holder.user_id, "status": "active", "merged_into_id": None}
        expected |= {"parent_id": None, "root_id": account["id"], "depth": 0}
        page = self.adopt(account, holder, **expected)
        self.compare("A new account", page)
        return page

    def post(self, ask: Ask) -> Deal | None:
        """Send a transaction; it must be booked or refused as the book says, and nothing else."""
        reply, deal = self._decided(ask), None
        if reply.status == 201:
            deal = self._accept(ask, reply.body)
        self.compare(f"After a {ask.kind}", *ask.pages, on=[reply])
        return deal

    def booked(self, kind: str, amount: int, **ends: Any) -> Deal:
        """Send a transaction that the book must let through."""
        deal = self.post(Ask(kind=kind, amount=amount, **ends))
        if deal is None:
            raise ValueError(f"the scenario asked for an impossible {kind} of {amount}")
        return deal

    def _decided(self, ask: Ask) -> Reply:
        actor = self._sender([ask])
        codes = ask.refusals(self.amount_max)
        if codes:
            return actor.call("createTransaction", body=ask.body(), problem=codes)
        return self.send(actor, "createTransaction", 201, body=ask.body())

    def _sender(self, asks: Iterable[Ask]) -> Actor:
        asks = list(asks)
        roles = {self.owners[page.id].role for ask in asks for page in ask.pages}
        if len(roles) > 1 or any(ask.kind not in CUSTOMER_KINDS for ask in asks):
            return self.ctx.operator
        return self.ctx.actor(roles.pop())

    def _accept(self, ask: Ask, shown: Json) -> Deal:
        deal = Deal(id=shown["id"], ask=ask)
        self.deals.append(deal)
        stated = (shown["kind"], shown["amount"]["amount"], shown["hold"], shown["status"])
        status = "pending" if ask.hold else "posted"
        expected = (ask.kind, ask.amount, ask.hold, status)
        self.ctx.equal(stated, expected, "Kind, amount, hold and status of a transaction")
        for name in ("memo", "metadata"):
            if name in ask.more:
                self.ctx.equal(shown[name], ask.more[name], f"The {name} of a transaction")
        if ask.hold and ask.source is not None:
            ask.source.holds[deal.id] = ask.amount
            ask.source.moved = None
            return deal
        deal.moves = ask.moves()
        book(deal.id, ask.kind, deal.moves)
        self._lines_agree(deal, shown)
        return deal

    def _lines_agree(self, deal: Deal, shown: Json) -> None:
        """Fail unless the lines on the scenario's accounts are the moves, and all add up to 0."""
        found: dict[tuple[str, str], int] = {}
        for line in shown["lines"]:
            if line["account_id"] in self.pages:
                place = (line["account_id"], line["bucket"])
                found[place] = found.get(place, 0) + line["amount"]
        expected: dict[tuple[str, str], int] = {}
        for move in deal.moves:
            place = (move.page.id, move.bucket)
            expected[place] = expected.get(place, 0) + move.amount
        self.ctx.equal(found, expected, f"The lines of a {shown['kind']}")
        self.ctx.equal(sum(line["amount"] for line in shown["lines"]), 0, "The sum of its lines")

    def batch(self, asks: Sequence[Ask], *, whole: bool = False) -> None:
        """Send transactions as one batch; each must come to what the book says, in order."""
        body = {"items": [ask.body() for ask in asks], "all_or_nothing": whole}
        reply = self.send(self._sender(asks), "createTransactionBatch", 200, body=body)
        for ask, row in zip(asks, reply.body["results"], strict=True):
            codes = ask.refusals(self.amount_max)
            self.ctx.expect(
                row.get("problem", {}).get("code") in codes if codes else row["status"] == 201,
                f"Item {row['index']} of a batch, a {ask.kind}, came to something else",
                expected=" or ".join(sorted(codes)) or "201",
                observed=row.get("problem", {}).get("code") or row["status"],
                on=[reply],
            )
            if row["status"] == 201:
                self._accept(ask, row["transaction"])
        touched = {page.id: page for ask in asks for page in ask.pages}
        self.compare("After a batch", *touched.values(), on=[reply])

    # -- what follows a transaction ------------------------------------------------------------

    def settle(self, deal: Deal, amount: int | None = None) -> None:
        """Settle a hold, all of it or a part."""
        part = deal.ask.amount if amount is None else amount
        body: Json = {}
        if amount is not None:
            body["amount"] = {"amount": amount, "currency": deal.ask.own_currency}
        path = {"id": deal.id}
        reply = self.send(self.ctx.operator, "settleTransaction", 200, path=path, body=body)
        stated = (reply.body["status"], reply.body["settled_amount"]["amount"])
        self.ctx.equal(stated, ("settled", part), "A settled hold", reply)
        self._end_hold(deal)
        deal.moves = deal.ask.moves(part)
        book(deal.id, deal.ask.kind, deal.moves)
        for page in deal.ask.pages:
            page.in_order = False
        self._lines_agree(deal, reply.body)
        self.compare("After a settle", *deal.ask.pages, on=[reply])

    def void(self, deal: Deal) -> None:
        """Release a hold."""
        path = {"id": deal.id}
        actor = self._sender([deal.ask])
        reply = self.send(actor, "voidTransaction", 200, path=path, body={})
        self.ctx.equal(reply.body["status"], "voided", "A voided hold", reply)
        self._end_hold(deal)
        self.compare("After a void", *deal.ask.pages, on=[reply])

    def _end_hold(self, deal: Deal) -> None:
        if deal.ask.source is not None:
            del deal.ask.source.holds[deal.id]
            deal.ask.source.moved = None

    def reverse(self, deal: Deal) -> None:
        """Reverse a booked transaction; both sides must be as if it had never been."""
        path, body = {"id": deal.id}, {"reason": "a scenario"}
        reply = self.send(self.ctx.manager, "reverseTransaction", 201, path=path, body=body)
        self.ctx.equal(reply.body["reverses_id"], deal.id, "What a reversal reverses", reply)
        undone = [Move(page=m.page, bucket=m.bucket, amount=-m.amount) for m in deal.moves]
        book(reply.body["id"], "reversal", undone)
        self._lines_agree(Deal(id=reply.body["id"], ask=deal.ask, moves=undone), reply.body)
        original = self.ctx.arrange.read_transaction({"id": deal.id}, by=self.ctx.manager)
        stated = (original["status"], original["reversed_by_id"])
        self.ctx.equal(stated, ("reversed", reply.body["id"]), "The original of a reversal", reply)
        self.compare("After a reversal", *deal.ask.pages, on=[reply])

    # -- what changes an account ---------------------------------------------------------------

    def update(self, page: Page, *, by: Actor | None = None, **members_: Any) -> None:
        """Change members of an account with its present ETag."""
        actor = by or self.owners[page.id]
        etag = self.ctx.arrange.read_reply({"id": page.id}, by=actor).etag
        path = {"id": page.id}
        reply = self.send(actor, "updateAccount", 200, path=path, body=members_, if_match=etag)
        page.configured |= members_
        page.changed = True
        self.compare("After an update", page, on=[reply])

    def close(self, page: Page, into: Page | None = None) -> None:
        """Close an account, empty or with a sweep into another."""
        body = {} if into is None else {"sweep_to": into.id}
        reply = self.send(
            self.owners[page.id],
            "closeAccount",
            200,
            path={"id": page.id},
            body=body,
            if_match=self._etag(page),
        )
        self.ctx.equal(reply.body["status"], "closed", "A closed account", reply)
        if into is not None:
            book(f"{UNNAMED}{page.id}", "sweep", emptying(page, into))
        page.configured["status"] = "closed"
        page.changed = True
        self.compare("After a close", page, *([into] if into else []), on=[reply])

    def refuse(
        self,
        actor: Actor,
        operation: str,
        problem: str,
        *,
        near: Sequence[Page] | None = None,
        **request: Any,
    ) -> Reply:
        """Send a write that must be refused; these accounts (by default all) may not change."""
        reply = actor.call(operation, problem=problem, **request)
        pages = self.pages.values() if near is None else near
        self.compare(f"After a refusal, {problem},", *pages, on=[reply])
        return reply

    def refuse_close(self, page: Page, problem: str, body: Json | None = None) -> None:
        """Ask for a close that must be refused."""
        path = {"id": page.id}
        self.refuse(
            self.owners[page.id],
            "closeAccount",
            problem,
            near=[page],
            path=path,
            body=body or {},
            if_match=self._etag(page),
        )

    def _etag(self, page: Page) -> str | None:
        return self.ctx.arrange.read_reply({"id": page.id}, by=self.owners[page.id]).etag

    # -- comparing -------------------------------------------------------------------------------

    def compare(self, when: str, *pages: Page, on: Sequence[Reply] = ()) -> None:
        """Fail unless these accounts read as the book says: members, versions, every entry."""
        for page in pages:
            self._entries_agree(when, page, self._account_agrees(when, page, on))

    def _account_agrees(self, when: str, page: Page, on: Sequence[Reply]) -> list[Reply]:
        reply = self.ctx.arrange.read_reply({"id": page.id}, by=self.owners[page.id])
        shown = [*on, reply]
        self._members_agree(when, page, shown)
        self._versions_agree(when, page, shown)
        return shown

    def _members_agree(self, when: str, page: Page, on: Sequence[Reply]) -> None:
        shown, expected = members.account(on[-1].body), page.reading()
        if not self.bases_are_known:
            page.configured["base_amount"] = shown["base_amount"]
            expected = page.reading()
        wrong = {name for name, value in expected.items() if shown[name] != value}
        found = {name: shown[name] for name in sorted(wrong)}
        right = {name: expected[name] for name in found}
        self.ctx.equal(found, right, f"{when} an account reads otherwise", *on)
        balances = on[-1].body["balances"]
        buckets = balances.get("buckets", {ledger.CASH: balances["ledger"]})
        held = {name: amount for name, amount in buckets.items() if amount}
        expected_buckets = {name: amount for name, amount in page.buckets.items() if amount}
        self.ctx.equal(held, expected_buckets, f"{when} the buckets of an account", *on)

    def _versions_agree(self, when: str, page: Page, on: Sequence[Reply]) -> None:
        account = on[-1].body
        rows = (
            ("version", page.version, page.changed),
            ("balance_version", page.balance_version, page.moved),
        )
        for name, before, rose in rows:
            now = account[name]
            right = now > before if rose else now == before
            if rose is None or (name == "version" and not self.bases_are_known):
                right = now >= before
            self.ctx.expect(
                right,
                f"{when} the {name} of an account does not follow what happened",
                expected=f"{'more than' if rose else 'still'} {before}",
                observed=now,
                on=on,
            )
        page.version, page.balance_version = account["version"], account["balance_version"]
        page.moved = page.changed = False

    def _entries_agree(self, when: str, page: Page, on: Sequence[Reply]) -> None:
        query, by = {"limit": self.ctx.declared("limits", "page_max")}, self.owners[page.id]
        rows = self.ctx.arrange.pages("listEntries", path={"id": page.id}, query=query, by=by)
        known = frozenset(line.transaction for line in page.lines if named(line.transaction))
        shown, expected = in_groups(rows, known), page.statement()
        message = f"{when} the entries of an account are not those of its transactions"
        if page.in_order:
            self.ctx.equal(shown, expected, message, *on)
            return
        amounts, right = (sorted(repr(row[:3]) for row in rows_) for rows_ in (shown, expected))
        self.ctx.equal(amounts, right, message, *on)
        for bucket in {row["bucket"] for row in rows}:
            steps = [(r["amount"], r["running_balance"]) for r in rows if r["bucket"] == bucket]
            self.ctx.expect(
                ledger.chains(steps),
                f"{when} the running balances of an account do not add up",
                expected="each amount leads from one running balance to the next",
                observed=steps,
                on=on,
            )

    def finish(self) -> None:
        """Compare every account once more, and read the longest statements in other ways."""
        for page in self.pages.values():
            self._account_agrees("At the end", page, [])
        longest = sorted(self.pages.values(), key=lambda page: -len(page.lines))
        for page in longest[:STATEMENTS_MAX]:
            self._statement(page)

    def _statement(self, page: Page) -> None:
        """Walk the entries in a few pages, list the transactions, read a balance of the past."""
        ctx, by = self.ctx, self.owners[page.id]
        path = {"id": page.id}
        rows = min(2 + len(page.lines) // 3, ctx.declared("limits", "page_max"))
        query = {"limit": rows}
        rows = ctx.arrange.pages("listEntries", path=path, query=query, by=by)
        sums: Counter[str] = Counter()
        for row in rows:
            sums[row["bucket"]] += row["amount"]
        left = {name: amount for name, amount in sums.items() if amount}
        right = {name: amount for name, amount in page.buckets.items() if amount}
        ctx.equal(left, right, "The statement of an account, added up")
        listed = ctx.arrange.pages("listTransactions", query={"account_id": page.id}, by=by)
        ids = {row["id"] for row in listed}
        asked = {d.id for d in self.deals if page.id in {end.id for end in d.ask.pages}}
        ctx.equal(sorted(asked - ids), [], "Transactions that an account's list lacks")
        if rows:
            seq = rows[len(rows) // 2]["seq"]
            past = by.call("getAccount", path=path, query={"as_of_seq": seq}, expect=200)
            then = sum(r["amount"] for r in rows if r["seq"] <= seq and r["bucket"] == ledger.CASH)
            ctx.equal(past.body["balances"]["ledger"], then, f"The ledger as of {seq}", past)
