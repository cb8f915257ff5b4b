"""The steps of a walk over growth: forks, merges, reinvestments, systems and the lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from certification import growing
from certification.oracle import growth, rounding
from certification.walking import rules
from certification.walking.book import CASH, Account, Booking
from certification.walking.changes import CoreMachine
from certification.walking.money import NEAR, NUMBERS, OPENED_MAX
from certification.walking.steps import ACCOUNT, step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certification.model import Json
    from certification.target.reply import Reply

LEGS = st.sampled_from(
    [
        [("generation", 5_000), ("compounding", 5_000)],
        [("revenue", 3_333), ("revenue", 3_333), ("generation", 3_334)],
        [("compounding", 10_000)],
        [("generation", 5_000), ("revenue", 5_001)],
    ]
)
AGEING_S = 120
"""A shorter cool-down could end in the middle of an example; such accounts fork once."""


class GrowthMachine(CoreMachine):
    """The steps of modules core and growth."""

    @property
    def depth_max(self) -> int | None:
        """The deployment's own limit of depth."""
        return growing.depth_max(self.walk.ctx)

    def room(self, more: int) -> bool:
        """Whether so many accounts more fit into the example."""
        return len(self.order) + more <= self.walk.limits.accounts

    def grown(self, reply: Reply) -> Reply:
        """Wait until the accounts of an asynchronous growth are out of their transition."""
        return growing.forked(self.walk.ctx, reply)

    def forking(self, number: int, which: str) -> Account:
        """Return the account; or the next one, or the deepest, of a type that forks."""
        order = self.order[number:] + self.order[:number]
        accounts = [self.book.accounts[name] for name in order]
        fit = [
            account
            for account in accounts
            if account.status == "active"
            and account.type in self.book.policies[account.type]["fork"]["account_types"]
        ]
        chosen = fit[0] if which != "any" and fit else accounts[0]
        if which == "deepest" and fit:
            chosen = max(fit, key=lambda account: account.depth)
        self.focus = self.order.index(chosen.id)
        return chosen

    @step(
        weight=5,
        which=ACCOUNT,
        gap=st.sampled_from([0, 1, -1, 777, None]),
        trial=st.sampled_from([False, False, True]),
        apt=st.sampled_from(["next", "deepest", "any"]),
    )
    def fork(self, which: int, gap: int | None, trial: bool, apt: str) -> None:
        """Fork by the policy, or ask what that would do, at the edge where the policy forks."""
        account = self.forking(which, apt)
        policy = self.book.policies[account.type]["fork"]
        if not self.room(len(policy["legs"])) or self._ages(account, policy):
            return
        if gap is not None and not account.ended:
            self._endow(account, gap)
        codes, decision = rules.fork(self.book, account, depth_max=self.depth_max)
        body = {"dry_run": True} if trial else {}
        with self.doing(f"{'ask about a fork' if trial else 'fork'} of {account.id}"):
            self._forked(account, (codes, decision.legs), body, "customer")

    def _endow(self, account: Account, gap: int) -> None:
        most = growing.amount_max(self.walk.ctx) // 4
        least = rules.least_for_fork(self.book, account, most=most)
        amount = (least or 0) + gap - account.cash
        if least is None or amount < 1:
            return
        money = self.money(account, amount)
        body = {"kind": "deposit", "amount": money, "to_account_id": account.id}
        with self.doing(f"deposit of {amount} to {account.id}, {gap} from where it forks"):
            self.transact(body, "customer")

    @step(
        weight=2,
        when=lambda self: self.can("manager"),
        which=ACCOUNT,
        size=NUMBERS,
        legs=LEGS,
        override=st.booleans(),
    )
    def fork_explicitly(
        self, which: int, size: int, legs: list[tuple[str, int]], override: bool
    ) -> None:
        """Fork with a manager's own amount and shares."""
        account = self.forking(which, "next")
        policy = self.book.policies[account.type]["fork"]
        if not self.room(len(legs)) or self._ages(account, policy):
            return
        body = {
            "mode": "explicit",
            "amount": self.money(account, size),
            "legs": [{"type": kind, "bps": bps} for kind, bps in legs],
            **({"override": True, "reason": "walk"} if override else {}),
        }
        codes, parts = rules.explicit_fork(self.book, account, body, depth_max=self.depth_max)
        with self.doing(f"fork of {size} off {account.id} as a manager, shares {legs}"):
            self._forked(account, (codes, parts), body, "manager")

    def _ages(self, account: Account, policy: Json) -> bool:
        return bool(account.forks) and 0 < policy["cool_down_s"] < AGEING_S

    def _forked(
        self,
        account: Account,
        judged: tuple[list[str], Sequence[growth.Leg]],
        body: Json,
        role: str,
    ) -> None:
        codes, legs = judged
        trial = body.get("dry_run", False)
        path, status = {"id": account.id}, 200 if trial else 201
        reply = self.write(role, "forkAccount", codes, path=path, body=body, status=status)
        if reply is None or trial:
            if reply is not None:
                amount = sum(leg.amount for leg in legs)
                message = "What a fork would move"
                self.walk.same(self.tale, reply, "/amount/amount", amount, message)
            self.touch(account)
            return
        self.grown(reply)
        self.touch(account, *self._children(account, legs, reply))

    def _children(
        self, account: Account, legs: Sequence[growth.Leg], reply: Reply
    ) -> list[Account]:
        message = "The children of a fork are not the legs of its amount"
        self.walk.same(self.tale, reply, f"/children/{len(legs)}", None, message)
        children, lines = [], []
        for number, leg in enumerate(legs):
            place = f"/children/{number}"
            self.walk.same(self.tale, reply, f"{place}/type", leg.to, message)
            self.walk.same(self.tale, reply, f"{place}/balances/ledger", leg.amount, message)
            child = reply.body["children"][number]
            children.append(
                self.admit(
                    child,
                    type=leg.to,
                    currency=account.currency,
                    base=leg.amount,
                    buffer_bps=account.buffer_bps,
                    parent=account.id,
                    root=account.root,
                    depth=account.depth + 1,
                )
            )
            lines.append((child["id"], CASH, leg.amount))
        amount = sum(leg.amount for leg in legs)
        booking = Booking(
            id=reply.body["event"]["transaction_id"],
            kind="fork",
            status="posted",
            currency=account.currency,
            amount=amount,
        )
        self.book.post(booking, [(account.id, CASH, -amount), *lines])
        account.forks += 1
        account.ledger_after_fork = account.cash
        self.booked.append(booking.id)
        return children

    @step(
        weight=3,
        sources=st.lists(ACCOUNT, min_size=1, max_size=3),
        into=ACCOUNT,
        new=st.booleans(),
        near=NEAR,
    )
    def merge(self, sources: list[int], into: int, new: bool, near: bool) -> None:
        """Merge accounts into one that is there, or into a new one."""
        chosen = [self.account(number) for number in sources]
        chosen[0] = self.pick(sources[0], near=near)
        target = None if new else self.account(into)
        if self._open_question(chosen, target) or (new and not self.room(1)):
            return
        most = self.walk.ctx.declared("limits").get("merge_sources_max", 2**31)
        codes = rules.merge(self.book, chosen, target, sources_max=most)
        body = growing.merge_body(
            [{"id": account.id} for account in chosen],
            None if target is None else {"id": target.id},
        )
        names = " and ".join(account.id for account in chosen)
        where = "a new account" if target is None else target.id
        with self.doing(f"merge {names} into {where}"):
            reply = self.write("customer", "mergeAccounts", codes, body=body)
            if reply is not None:
                self.grown(reply)
                self._merged(chosen, target, reply)
            self.touch(*chosen, *([target] if target else []))

    def _open_question(self, sources: Sequence[Account], target: Account | None) -> bool:
        """Tell whether the contract leaves open what such a merge does."""
        everyone = [*sources, *([target] if target else [])]
        held_target = target is not None and self.book.holds(target.id)
        kept = any(account.min_balance for account in sources)
        return bool(held_target or kept or any(self.book.awaits(a.id) for a in everyone))

    def _merged(self, sources: Sequence[Account], target: Account | None, reply: Reply) -> None:
        event = reply.body["event"]
        if target is None:
            roots = {source.root for source in sources}
            own = reply.body["target"]["id"]
            target = self.admit(
                reply.body["target"],
                type="compounding",
                currency=sources[0].currency,
                base=0,
                root=roots.pop() if len(roots) == 1 else own,
                depth=min(source.depth for source in sources),
            )
        value = sum(source.total for source in sources)
        booking = Booking(
            id=event["transaction_id"],
            kind="merge",
            status="posted",
            currency=target.currency,
            amount=value,
        )
        cash = self.book.move_all(booking, sources, target)
        target.base = growth.base_after_merge(target.base, cash)
        for source in sources:
            source.status, source.merged_into = "merged", target.id
        message = "A merge does not move what its sources were worth"
        self.walk.same(self.tale, reply, "/event/amount", value, message)
        self.touch(target)
        self.booked.append(booking.id)

    @step(weight=2, which=ACCOUNT, size=st.sampled_from(["least", "less", "all", "too much"]))
    def reinvest(self, which: int, size: str) -> None:
        """Reinvest the newest open period of an account."""
        account = self.account(which)
        policy = self.book.policies[account.type]
        least = growth.minor(policy["reinvest"]["amount_min_major"], account.exponent)
        free = max(growth.reinvestable(self.book.standing(account)), 0)
        sizes = {"less": least - 1, "all": free, "too much": free + 1}
        amount = max(1, sizes.get(size, least))
        if size == "least" and free < least and account.status == "active":
            lacking = least - growth.reinvestable(self.book.standing(account))
            deposit: Json = {"kind": "deposit", "to_account_id": account.id}
            with self.doing(f"deposit of {lacking} to {account.id}, enough to reinvest"):
                money = self.money(account, lacking)
                self.transact({**deposit, "amount": money}, "customer")
        wire = self.etags[account.id].body if account.id in self.etags else None
        if wire is None:
            return
        period = growing.period_now(wire, dict(policy))
        codes, decision = rules.reinvest(self.book, account, amount, period)
        body = {"period": period, "amount": self.money(account, amount)}
        with self.doing(f"reinvest {amount} of {account.id} for {period}"):
            path = {"id": account.id}
            reply = self.write("customer", "reinvestAccount", codes, path=path, body=body)
            if reply is not None:
                lines = [(account.id, leg.to, leg.amount) for leg in decision.legs if leg.amount]
                booking = Booking(
                    id=reply.body["event"]["transaction_id"],
                    kind="reinvest",
                    status="posted",
                    currency=account.currency,
                    amount=amount,
                )
                self.book.post(booking, [(account.id, CASH, -amount), *lines])
                account.periods.add(period)
            self.touch(account)

    @step(number=st.integers(1, 3_000))
    def open_system(self, number: int) -> None:
        """Open the accounts of a system; its amount is split by the policy."""
        split = self.book.policies["generation"]["initial_split"]
        if len(self.order) > OPENED_MAX or not self.room(len(split)):
            return
        parts = rounding.split(number, [leg["bps"] for leg in split])
        currency = self.walk.ctx.arrange.currency
        body = {
            "name": self.walk.ctx.name("system"),
            "amount": {"amount": number, "currency": currency},
        }
        codes = ["amount_too_small"] if min(parts) < 1 else []
        with self.doing(f"open a system with {number}"):
            reply = self.write("customer", "openSystem", codes, body=body)
            if reply is None:
                return
            opened, lines = [], []
            for wire, leg, part in zip(reply.body["accounts"], split, parts, strict=True):
                opened.append(self.admit(wire, type=leg["type"], base=part))
                lines.append((wire["id"], CASH, part))
            booking = Booking(
                id=reply.body["transaction_id"],
                kind="opening",
                status="posted",
                currency=currency,
                amount=number,
            )
            self.book.post(booking, lines)
            self.touch(*opened)

    @step(when=lambda self: self.news("lineage") and len(self.order) > 3, which=ACCOUNT)
    def look_at_lineage(self, which: int) -> None:
        """Read the family of an account; every edge must be the book's (F3, M3)."""
        account = self.account(which)
        self.seen["lineage"] = len(self.writes)
        with self.doing(f"look at the lineage of {account.id}"):
            query = {"limit": self.walk.ctx.capabilities["limits"]["page_max"]}
            path = {"id": account.id}
            reply = self.send("customer", "getLineage", path=path, query=query)
            self.walk.expect(self.tale, reply, status=200, refusals=(), why="getLineage")
            nodes = {row["account_id"]: row for row in reply.body["data"]}
            family = {a.id for a in self.book.accounts.values() if a.root == account.root}
            missing = sorted(family - nodes.keys())
            self.walk.ctx.equal(missing, [], "Accounts of one root missing from it", reply)
            for number, row in enumerate(reply.body["data"]):
                held = self.book.accounts.get(row["account_id"])
                if held is None:
                    continue
                for name, value in (
                    ("parent_id", held.parent),
                    ("root_id", held.root),
                    ("depth", held.depth),
                    ("merged_into_id", held.merged_into),
                    ("status", held.status),
                ):
                    message = "An edge of the lineage is not what happened"
                    pointer = f"/data/{number}/{name}"
                    self.walk.same(self.tale, reply, pointer, value, message)
