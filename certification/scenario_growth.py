"""The steps of growth in a scenario: systems, forks, merges, reinvestments, and what they leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certification import growing
from certification.oracle import growth, lineage, rounding
from certification.oracle.ledger import CASH
from certification.scenario_book import Json, Move, Page, book, emptying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.scenario import Story
    from certification.target.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """A growth event that must be found again, and whom it concerns."""

    id: str
    kind: str
    amount: int
    pages: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Growth:
    """The growth of one scenario."""

    story: Story
    currency: str
    events: list[Happened] = field(default_factory=list)
    forks: dict[str, growth.History] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    """Those in force, by account type; a scenario ends before another is put."""

    @property
    def exponent(self) -> int:
        """How many digits the currency has behind its point."""
        return growing.exponent(self.story.ctx, self.currency)

    def policy(self, page: Page) -> Json:
        """Return the policy in force for an account's type."""
        name = page.configured["type"]
        if name not in self.policies:
            self.policies[name] = growing.policy(self.story.ctx, name)
        return self.policies[name]

    def standing(self, page: Page, cash: int | None = None) -> growth.Standing:
        """Return the account as a decision sees it, with its own or other cash."""
        base, rate = page.configured["base_amount"], page.configured["buffer_bps"]
        ledger = page.cash if cash is None else cash
        return growth.Standing(
            type=page.configured["type"],
            exponent=self.exponent,
            ledger=ledger,
            holds=sum(page.holds.values()),
            base_amount=base,
            buffer=rounding.share(base, rate),
            min_balance=page.configured["min_balance"],
            total_value=page.total - page.cash + ledger,
            depth=page.configured["depth"],
            status=page.status,
        )

    def open_system(self, amount: int) -> list[Page]:
        """Open a system; its accounts must be the shares of the policy."""
        story, ctx = self.story, self.story.ctx
        split = growing.policy(ctx, "generation")["initial_split"]
        parts = rounding.split(amount, [leg["bps"] for leg in split])
        if 0 in parts or amount > story.amount_max:
            ctx.not_exercised(f"{amount} cannot be split by the policy in force")
        body = {"name": ctx.name("system"), "amount": ctx.arrange.money(amount, self.currency)}
        reply = story.send(ctx.customer, "openSystem", 201, body=body)
        ctx.equal(len(reply.body["accounts"]), len(split), "The accounts of a system", reply)
        pages = []
        for account, leg, part in zip(reply.body["accounts"], split, parts, strict=True):
            own = {"type": leg["type"], "base_amount": part, "parent_id": None, "depth": 0}
            own |= {"root_id": account["id"], "currency": self.currency, "status": "active"}
            page = story.adopt(account, ctx.customer, **own)
            book(
                reply.body["transaction_id"],
                "opening",
                [Move(page=page, bucket=CASH, amount=part)],
            )
            page.moved = None
            pages.append(page)
        story.compare("After a system is opened", *pages, on=[reply])
        return pages

    def bring(self, page: Page, amount: int, feeder: Page) -> None:
        """Bring money into an account without moving its base: from outside, or from a feeder."""
        if amount <= 0:
            return
        if amount > self.story.amount_max - page.cash:
            self.story.ctx.not_exercised("the policy asks for more than the deployment's limit")
        if self.story.bases_are_known:
            self.story.booked("deposit", amount, target=page)
            return
        self.story.booked("deposit", amount, target=feeder)
        self.story.booked("transfer", amount, source=feeder, target=page)

    def least(self, page: Page) -> int | None:
        """Return the least cash at which an account forks by its policy; None if at no amount."""
        limit = self.story.amount_max // 2
        return growth.least_ledger(self.policy(page), self.standing(page), most=limit)

    def judge(self, page: Page) -> growth.Decision:
        """Return what the policy says of a fork of this account now."""
        history = self.forks.get(page.id, growth.NEVER_FORKED)
        depth_max = growing.depth_max(self.story.ctx)
        rules = self.policy(page)
        return growth.judge_fork(rules, self.standing(page), history, depth_max=depth_max)

    def preview(self, page: Page, body: Json | None = None) -> Reply:
        """Ask what a fork would do; it must be what the policy says, and do nothing."""
        story, decision = self.story, self.judge(page)
        path = {"id": page.id}
        asked = {"dry_run": True, **(body or {})}
        if not decision.eligible:
            problems = set(decision.reasons)
            return story.ctx.customer.call("forkAccount", path=path, body=asked, problem=problems)
        reply = story.ctx.customer.call("forkAccount", path=path, body=asked, expect=200)
        legs = [(leg["type"], leg["amount"]) for leg in reply.body["legs"]]
        expected = [(leg.to, leg.amount) for leg in decision.legs]
        story.ctx.equal(legs, expected, "The legs of a dry run", reply)
        story.ctx.equal(reply.body["amount"]["amount"], decision.amount, "Its amount", reply)
        story.compare("After a dry run", page, on=[reply])
        return reply

    def fork(self, page: Page) -> list[Page]:
        """Fork by the policy; return the children."""
        decision = self.judge(page)
        if not decision.eligible:
            why = ", ".join(decision.reasons)
            self.story.ctx.not_exercised(f"the policy does not let the account fork: {why}")
        return self._forked(page, decision, {})

    def fork_explicitly(
        self, page: Page, amount: int, shares: Sequence[tuple[str, int]]
    ) -> list[Page]:
        """Fork as a manager with an amount and shares of one's own."""
        types, bps = zip(*shares, strict=True)
        legs = growth.legs_of(amount, types, bps)
        facts = growth.facts_of(self.standing(page))
        decision = growth.Decision(amount=amount, legs=legs, facts=facts, reasons=())
        wanted = [{"type": name, "bps": share} for name, share in shares]
        money = self.story.ctx.arrange.money(amount, self.currency)
        return self._forked(page, decision, {"mode": "explicit", "amount": money, "legs": wanted})

    def _forked(self, page: Page, decision: growth.Decision, body: Json) -> list[Page]:
        story, ctx = self.story, self.story.ctx
        actor = ctx.manager if body else ctx.customer
        path = {"id": page.id}
        reply = growing.forked(ctx, story.send(actor, "forkAccount", 201, path=path, body=body))
        event, opened = reply.body["event"], reply.body["children"]
        ctx.equal(len(opened), len(decision.legs), "The number of children", reply)
        moves = [Move(page=page, bucket=CASH, amount=-decision.amount)]
        children = []
        for account, leg in zip(opened, decision.legs, strict=True):
            same = ("owner_id", "currency", "policy_ref", "buffer_bps", "root_id")
            own = {name: page.configured[name] for name in same}
            own |= {"type": leg.to, "base_amount": leg.amount, "parent_id": page.id}
            own |= {"depth": page.configured["depth"] + 1, "status": "active"}
            child = story.adopt(account, ctx.customer, **own)
            moves.append(Move(page=child, bucket=CASH, amount=leg.amount))
            children.append(child)
        book(event["transaction_id"], "fork", moves)
        for child in children:
            child.moved = None
        page.changed = None
        self._remember_fork(page)
        legs = [(leg["type"], leg["account_id"], leg["amount"]) for leg in event["legs"]]
        right = [(leg.to, c.id, leg.amount) for leg, c in zip(decision.legs, children, strict=True)]
        ctx.equal(legs, right, "The legs of a fork's event", reply)
        self._event(reply, decision.amount, decision.facts, [page, *children])
        story.compare("After a fork", page, *children, on=[reply])
        return children

    def _remember_fork(self, page: Page) -> None:
        before = self.forks.get(page.id, growth.NEVER_FORKED)
        self.forks[page.id] = growth.History(ages_s=(0.0, *before.ages_s), ledger_after=page.cash)

    def _event(self, reply: Reply, amount: int, facts: Any, pages: Sequence[Page]) -> None:
        event = reply.body["event"]
        shown = {name: value for name, value in event["facts"].items() if name in facts}
        known = {name: facts[name] for name in shown}
        ctx = self.story.ctx
        ctx.equal(shown, known, f"The facts of a {event['kind']}", reply)
        ctx.equal(event["amount"], amount, f"The amount of a {event['kind']}'s event", reply)
        ids = tuple(page.id for page in pages)
        found = Happened(id=event["id"], kind=event["kind"], amount=amount, pages=ids)
        self.events.append(found)

    def merge(self, sources: Sequence[Page], target: Page | None) -> Page:
        """Merge accounts into another, or into a new one; return the target."""
        story, ctx = self.story, self.story.ctx
        cash = sum(source.cash for source in sources)
        body: Json = {"mode": "explicit", "sources": [source.id for source in sources]}
        body |= {"create_target": {"type": "compounding"}} if target is None else {}
        body |= {"target_id": target.id} if target is not None else {}
        facts = growth.facts_of(self.standing(target)) if target is not None else {}
        reply = growing.forked(ctx, story.send(ctx.customer, "mergeAccounts", 201, body=body))
        into = target or self._new_target(reply.body["target"], sources, cash)
        if target is not None:
            into.configured["base_amount"] = growth.base_after_merge(
                into.configured["base_amount"], cash
            )
        into.changed = None
        transaction = reply.body["event"]["transaction_id"]
        moves = [move for source in sources for move in emptying(source, into)]
        only_cash = all(move.bucket == CASH for move in moves)
        book(transaction, "merge", moves)
        if target is None:
            into.moved = None
        for source in sources:
            source.configured |= {"status": "merged", "merged_into_id": into.id}
            source.changed = True
        # The contract does not say whether the amount of the event counts positions.
        amount = cash if only_cash else reply.body["event"]["amount"]
        self._event(reply, amount, facts, [into, *sources])
        story.compare("After a merge", into, *sources, on=[reply])
        read = growing.get(ctx, "getMerge", reply.body["id"])
        shown = sorted(row["id"] for row in read.body["sources"])
        ctx.equal(shown, sorted(source.id for source in sources), "The sources of a merge", read)
        return into

    def _new_target(self, account: Json, sources: Sequence[Page], cash: int) -> Page:
        roots = {source.configured["root_id"] for source in sources}
        own = {
            "type": "compounding",
            "status": "active",
            "parent_id": None,
            "root_id": roots.pop() if len(roots) == 1 else account["id"],
            "depth": min(source.configured["depth"] for source in sources),
            "owner_id": sources[0].configured["owner_id"],
            "currency": self.currency,
            "base_amount": cash,
        }
        return self.story.adopt(account, self.story.ctx.customer, **own)

    def reinvest(self, page: Page, terms: tuple[str, int], *, everything: bool = False) -> None:
        """Reinvest an amount of a period, or all that is available if that is the amount."""
        story, ctx = self.story, self.story.ctx
        period, amount = terms
        facts = growth.facts_of(self.standing(page))
        body: Json = {"period": period}
        asked: Json = {"all_available": True} if everything else {}
        body |= asked or {"amount": ctx.arrange.money(amount, self.currency)}
        path = {"id": page.id}
        reply = story.send(ctx.customer, "reinvestAccount", 201, path=path, body=body)
        legs = growth.reinvest_legs(self.policy(page)["reinvest"], amount)
        moves = [Move(page=page, bucket=CASH, amount=-amount)]
        moves += [Move(page=page, bucket=leg.to, amount=leg.amount) for leg in legs]
        book(reply.body["event"]["transaction_id"], "reinvest", moves)
        page.changed = None
        ctx.equal(reply.body["event"]["period"], period, "The period of a reinvestment", reply)
        self._event(reply, amount, facts, [page])
        story.compare("After a reinvestment", page, on=[reply])

    # -- what is left of it ----------------------------------------------------------------------

    def lineage_agrees(self, page: Page) -> None:
        """Fail unless the lineage read from an account is what the book has of its family."""
        ctx, pages = self.story.ctx, self.story.pages
        parents = {id_: p.configured["parent_id"] for id_, p in pages.items()}
        merged = {id_: p.configured["merged_into_id"] for id_, p in pages.items()}
        nodes = ctx.arrange.pages("getLineage", path={"id": page.id})
        shown = {node["account_id"]: node for node in nodes}
        family = {
            id_ for id_, p in pages.items() if p.configured["root_id"] == page.configured["root_id"]
        }
        ctx.equal(sorted(family - shown.keys()), [], "Members that the lineage lacks")
        for id_ in sorted(shown.keys() & pages.keys()):
            node, own = shown[id_], pages[id_].configured
            names = ("type", "status", "parent_id", "root_id", "depth", "merged_into_id")
            found = {name: node[name] for name in names}
            ctx.equal(found, {name: own[name] for name in names}, "A member of the lineage")
            living = lineage.effective_parent(id_, parents, merged)
            ctx.equal(node["effective_parent_id"], living, "Who stands for its parent")
            told = {row["event_id"] for row in node["events"]}
            mine = {event.id for event in self.events if id_ in event.pages}
            ctx.equal(sorted(mine - told), [], "Events that a member of the lineage lacks")

    def events_agree(self, *pages: Page) -> None:
        """Fail unless each account's list of growth events is what happened to it, in order."""
        for page in pages:
            query = {"account_id": page.id}
            rows = self.story.ctx.arrange.pages("listGrowthEvents", query=query)
            found = [(row["id"], row["kind"], row["amount"]) for row in rows]
            mine = [(e.id, e.kind, e.amount) for e in self.events if page.id in e.pages]
            self.story.ctx.equal(found, mine, "The growth events of an account")

    def totals(self) -> dict[str, int]:
        """Return counts and amounts of the customer's growth in the currency, over all periods."""
        rows = growing_summary(self.story)
        names = ("forks", "merges", "reinvestments", "forked", "merged", "reinvested")
        mine = [row for row in rows if row["currency"] == self.currency]
        return {name: sum(row[name] for row in mine) for name in names}

    def close_into(self, keeper: Page) -> None:
        """Close every account of the scenario that still lives into one."""
        for page in list(self.story.pages.values()):
            if page is keeper or page.status != "active":
                continue
            self.story.close(page, keeper if page.total else None)


def growing_summary(story: Story) -> list[Json]:
    """Return the rows of the growth summary."""
    story.ctx.arrange.let_writes_arrive()
    rows: list[Json] = story.ctx.customer.call("getGrowthSummary", expect=200).body["periods"]
    return rows
