"""The steps of a walk over accounts and money; Hypothesis chooses, orders and shrinks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from certification.walking import rules, sweep
from certification.walking.book import Account, Book, Booking
from certification.walking.machine import WalkMachine
from certification.walking.steps import ACCOUNT, step

if TYPE_CHECKING:
    from certification.model import Json
    from certification.target.reply import Reply

SIZES = st.sampled_from(["some", "all", "one more than all", "half", "one"])
NUMBERS = st.integers(1, 3_000)
NEAR = st.booleans()
"""Whether a step goes on with the account that the last one was about."""
INWARD = ("deposit", "premium", "interest", "adjustment")
OUTWARD = ("withdrawal", "fee", "tax", "assignment", "adjustment")
HOLDABLE = frozenset({"withdrawal", "fee", "tax", "transfer"})
BY_CUSTOMER = frozenset({"deposit", "withdrawal", "transfer"})
TYPES = ("generation", "revenue", "compounding")
SMALL_PAGE = 2
LOOK_EVERY = 4
"""Steps between two reads of what they touched; the end of an example reads everything."""
OPENED_MAX = 5
"""Accounts that are opened one by one; the rest of the room is for what grows."""


class MoneyMachine(WalkMachine):
    """Draws only from what its own example made: numbers of accounts and of transactions."""

    def __init__(self) -> None:
        """Begin an example with an empty book."""
        super().__init__()
        self.broken = True
        self.book = Book(policies=self.walk.policies)
        self.writes: list[tuple[str, str, Json, Reply]] = []
        self.order: list[str] = []
        self.booked: list[str] = []
        self.etags: dict[str, Reply] = {}
        self.turn = 0
        self.touched: dict[str, None] = {}
        self.focus = 0
        self.seen: dict[str, int] = {}
        self.broken = False

    # -- what steps are made of --------------------------------------------------------------------

    def can(self, role: str) -> bool:
        """Whether the target file gives this identity."""
        return role in self.walk.ctx.sessions

    def news(self, reader: str) -> bool:
        """Whether anything was written since this step last read; a second read would tell less."""
        return self.seen.get(reader, 0) < len(self.writes)

    def account(self, number: int) -> Account:
        """Return an account by its number."""
        return self.book.accounts[self.order[number % len(self.order)]]

    def pick(self, number: int, *, near: bool) -> Account:
        """Return the account that the last step was about, or that of the number."""
        self.focus = self.focus if near else number
        return self.account(self.focus)

    def focus_on(self, booking: Booking) -> None:
        """Make the account of a transaction the one that the next step may go on with."""
        if booking.accounts:
            self.focus = self.order.index(booking.accounts[0])

    def booking(self, number: int) -> Booking:
        """Return a transaction by its number."""
        return self.book.bookings[self.booked[-1 - number % len(self.booked)]]

    def holding(self, number: int) -> Booking:
        """Return a hold by its number."""
        held = [row for row in self.book.bookings.values() if row.held]
        return held[-1 - number % len(held)]

    @property
    def holds_any(self) -> bool:
        """Whether there is a hold, pending or ended."""
        return any(row.held for row in self.book.bookings.values())

    def send(self, role: str, operation: str, **request: Any) -> Reply:
        """Send an operation of this example."""
        return self.walk.send(self.tale, role, operation, **request)

    def write(
        self, role: str, operation: str, codes: Sequence[str], **request: Any
    ) -> Reply | None:
        """Send a write; return its answer where it had to be, and was, accepted."""
        status = request.pop("status", 201)
        reply = self.send(role, operation, **request)
        refusals = rules.first(codes, self.statuses)
        if not self.walk.expect(self.tale, reply, status=status, refusals=refusals, why=operation):
            return None
        if reply.sent_key is not None:
            self.writes.append((role, operation, request, reply))
        return reply

    @property
    def statuses(self) -> Mapping[str, int]:
        """The HTTP status of each problem code."""
        return {code: row.status for code, row in self.walk.ctx.contract.problems.items()}

    def admit(self, wire: Json, **known: Any) -> Account:
        """Take an account that was opened into the book."""
        account = self.book.adopt(wire, **known)
        self.walk.ctx.created("account", account.id, "customer")
        self.order.append(account.id)
        return account

    def touch(self, *accounts: Account) -> None:
        """Have accounts read before long: several steps on one account cost one read."""
        self.touched |= {account.id: None for account in accounts}

    def look(self, *accounts: Account) -> None:
        """Read accounts; everything that the book decides must be there."""
        self.walk.ctx.arrange.let_writes_arrive()
        for account in dict.fromkeys(account.id for account in accounts):
            held = self.book.accounts[account]
            reply = self.send("customer", "getAccount", path={"id": account})
            self.walk.expect(self.tale, reply, status=200, refusals=(), why="getAccount")
            sweep.compare_account(self.walk, self.tale, reply, self.book, held)
            self.etags[account] = reply
            self.touched.pop(account, None)

    def posted(self, reply: Reply, booking: Booking) -> None:
        """Compare the answer of a booking with the book."""
        for pointer, value in (
            ("/kind", booking.kind),
            ("/status", booking.status),
            ("/amount/amount", booking.amount),
        ):
            message = "The answer does not say what was asked for"
            self.walk.same(self.tale, reply, pointer, value, message)
        self.booked.append(booking.id)
        self._remember_moment(booking, reply.body["seq"])

    def _remember_moment(self, booking: Booking, seq: int) -> None:
        # A later settle may append lines to the newest seq of the book; once a newer transaction
        # of ours stands behind it, the moment is past for good.
        for account_id in booking.accounts:
            account = self.book.accounts[account_id]
            account.past.append((seq, account.cash, account.total))

    def amount_of(self, account: Account, size: str, number: int) -> int:
        """Return an amount by what is available: at, below and just over the edge."""
        free = max(self.book.available(account), 0)
        sizes = {"some": number, "half": free // 2, "all": free, "one": 1}
        return max(1, sizes.get(size, free + 1))

    def money(self, account: Account, amount: int) -> Json:
        """Return a money object in the account's currency."""
        return {"amount": amount, "currency": account.currency}

    def transact(self, body: Json, role: str) -> None:
        """Send a transaction, which must be accepted or refused as the book says."""
        codes = rules.transaction(self.book, body)
        reply = self.write(role, "createTransaction", codes, body=body)
        named = (body.get("from_account_id"), body.get("to_account_id"))
        touched = [self.book.accounts[name] for name in named if name is not None]
        if reply is not None:
            self.posted(reply, self.book.request(reply.body["id"], body))
        self.touch(*touched)

    # -- steps -------------------------------------------------------------------------------------

    @initialize(funds=st.lists(st.integers(0, 3_000), min_size=2, max_size=3))
    def begin_with_accounts(self, funds: list[int]) -> None:
        """Open accounts with some money."""
        with self.doing(f"open accounts with {', '.join(map(str, funds))}"):
            for kind, amount in zip(TYPES, funds, strict=False):
                account = self._open({"type": kind, "withdrawal_allowed": True})
                if amount:
                    body = {"kind": "deposit", "to_account_id": account.id}
                    self.transact({**body, "amount": self.money(account, amount)}, "customer")

    def _open(self, fields: Json) -> Account:
        arrange = self.walk.ctx.arrange
        body = {"currency": arrange.currency, "name": self.walk.ctx.name("walk"), **fields}
        reply = self.write("customer", "createAccount", [], body=body)
        if reply is None:
            raise LookupError("no refusal was predicted")
        given = {name: fields[name] for name in ("min_balance", "buffer_bps") if name in fields}
        base = fields.get("base_amount", 0)
        account = self.admit(reply.body, type=fields["type"], base=base, **given)
        for pointer, value in self.book.shown(account).items():
            self.walk.same(self.tale, reply, pointer, value, "A new account")
        return account

    @step(
        kind=st.sampled_from(TYPES),
        base=st.sampled_from([0, 1_001]),
        floor=st.sampled_from([0, 0, 7]),
        other=st.booleans(),
    )
    def open_account(self, kind: str, base: int, floor: int, other: bool) -> None:
        """Open one more account."""
        if len(self.order) >= OPENED_MAX:
            return
        codes = [row["code"] for row in self.walk.ctx.declared("currencies")]
        own = self.walk.ctx.arrange.currency
        currency = next((code for code in codes if code != own), own) if other else own
        fields = {"type": kind, "base_amount": base, "min_balance": floor, "currency": currency}
        with self.doing(f"open a {kind} account in {currency}, base {base}, at least {floor}"):
            self._open(fields)

    @step(weight=2, to=ACCOUNT, kind=st.sampled_from(INWARD), number=NUMBERS)
    def bring(self, to: int, kind: str, number: int) -> None:
        """Bring money in: deposit, premium, interest, credit."""
        role = "customer" if kind in BY_CUSTOMER else "operator"
        if not self.can(role):
            return
        account = self.account(to)
        body = {
            "kind": kind,
            "amount": self.money(account, number),
            "to_account_id": account.id,
            **({"direction": "credit", "reason": "walk"} if kind == "adjustment" else {}),
        }
        with self.doing(f"{kind} of {number} to {account.id}"):
            self.transact(body, role)

    @step(
        weight=3,
        source=ACCOUNT,
        kind=st.sampled_from(OUTWARD),
        size=SIZES,
        number=NUMBERS,
        near=NEAR,
    )
    def take(self, source: int, kind: str, size: str, number: int, near: bool) -> None:
        """Take money out: withdrawal, fee, tax, assignment, debit."""
        self._take(self.pick(source, near=near), (kind, size, number), {})

    @step(
        weight=3,
        source=ACCOUNT,
        kind=st.sampled_from(["withdrawal", "fee", "tax"]),
        size=SIZES,
        number=NUMBERS,
        near=NEAR,
    )
    def hold(self, source: int, kind: str, size: str, number: int, near: bool) -> None:
        """Hold money that is to go out."""
        what = (kind, size, number)
        self._take(self.pick(source, near=near), what, {"hold": True})

    def _take(self, account: Account, what: tuple[str, str, int], fields: Json) -> None:
        kind, size, number = what
        role = "customer" if kind in BY_CUSTOMER else "operator"
        if not self.can(role):
            return
        amount = self.amount_of(account, size, number)
        body = {
            "kind": kind,
            "amount": self.money(account, amount),
            "from_account_id": account.id,
            **({"direction": "debit", "reason": "walk"} if kind == "adjustment" else {}),
            **fields,
        }
        with self.doing(f"{'hold a ' if fields else ''}{kind} of {amount} from {account.id}"):
            self.transact(body, role)

    @step(weight=2, source=ACCOUNT, to=ACCOUNT, size=SIZES, number=NUMBERS)
    def transfer(self, source: int, to: int, size: str, number: int) -> None:
        """Move money between two accounts."""
        self._transfer((source, to), (size, number), {})

    @step(weight=2, source=ACCOUNT, to=ACCOUNT, size=SIZES, number=NUMBERS)
    def hold_transfer(self, source: int, to: int, size: str, number: int) -> None:
        """Hold money that is to go to another account."""
        self._transfer((source, to), (size, number), {"hold": True})

    def _transfer(self, ends: tuple[int, int], how: tuple[str, int], fields: Json) -> None:
        one, two = (self.account(number) for number in ends)
        amount = self.amount_of(one, *how)
        body = {
            "kind": "transfer",
            "amount": self.money(one, amount),
            "from_account_id": one.id,
            "to_account_id": two.id,
            **fields,
        }
        word = "hold a transfer" if fields else "transfer"
        with self.doing(f"{word} of {amount} from {one.id} to {two.id}"):
            self.transact(body, "customer")

    @step(
        weight=3,
        source=ACCOUNT,
        gap=st.sampled_from([1, 0, -1]),
        exact=st.booleans(),
        near=NEAR,
    )
    def transact_under_conditions(self, source: int, gap: int, exact: bool, near: bool) -> None:
        """Withdraw one unit only if the account is as its owner believes."""
        account = self.pick(source, near=near)
        condition = (
            {"ledger_eq": account.cash + gap}
            if exact
            else {"available_gte": self.book.available(account) + gap}
        )
        body = {
            "kind": "withdrawal",
            "amount": self.money(account, 1),
            "from_account_id": account.id,
            "preconditions": [{"account_id": account.id, **condition}],
        }
        with self.doing(f"withdrawal of 1 from {account.id} if {condition}"):
            self.transact(body, "customer")

    @invariant()
    def the_others_stay(self) -> None:
        """Read what the last steps touched, and one other account in turn: it must be as it was."""
        self.turn += 1
        if self.broken or not self.order or self.turn % LOOK_EVERY:
            return
        other = self.account(self.turn // LOOK_EVERY % len(self.order))
        with self.doing("look at the accounts"):
            self.look(*(self.book.accounts[name] for name in [*self.touched, other.id]))

    def teardown(self) -> None:
        """Sweep all accounts of an example that went well to its end."""
        if self.broken or not self.order:
            return
        with self.doing("re-add every account from its entries and transactions"):
            sweep.sweep(self.walk, self.tale, self.book)
        self.walk.examples += 1
