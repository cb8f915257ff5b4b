"""Steps of a walk that end what earlier steps began: settles, voids, reversals."""

from __future__ import annotations

from hypothesis import strategies as st

from certification.walking import rules
from certification.walking.book import Booking
from certification.walking.money import BY_CUSTOMER, MoneyMachine
from certification.walking.steps import BOOKING, HOLD, step


class EndingMachine(MoneyMachine):
    """Holds that end, once; transactions that are reversed, once."""

    @step(
        weight=3,
        when=lambda self: self.can("operator") and self.holds_any,
        which=HOLD,
        part=st.sampled_from(["all", "half", "one more"]),
    )
    def settle(self, which: int, part: str) -> None:
        """Settle a hold, or more than it, or one that has ended."""
        self._settle(self.holding(which), part)

    @step(
        when=lambda self: self.can("operator") and bool(self.booked),
        which=BOOKING,
        settling=st.booleans(),
    )
    def end_what_is_no_hold(self, which: int, settling: bool) -> None:
        """Settle or void a transaction that was booked at once."""
        booking = self.booking(which)
        if settling:
            self._settle(booking, "all")
        elif booking.source is not None:
            self._void(booking)

    def _settle(self, booking: Booking, part: str) -> None:
        self.focus_on(booking)
        sizes = {"half": max(1, booking.amount // 2), "one more": booking.amount + 1}
        amount = sizes.get(part)
        money = {"amount": amount, "currency": booking.currency}
        body = {} if amount is None else {"amount": money}
        with self.doing(f"settle {booking.id} ({part})"):
            codes = rules.settle(self.book, booking, amount)
            path = {"id": booking.id}
            touched = [self.book.accounts[name] for name in booking.accounts]
            reply = self.write(
                "operator", "settleTransaction", codes, path=path, body=body, status=200
            )
            if reply is not None:
                for account in self.book.accounts.values():
                    account.past = account.past[:-1]
                self.book.settle(booking, booking.amount if amount is None else amount)
                message = "The answer to settling a hold"
                self.walk.same(self.tale, reply, "/status", "settled", message)
                pointer = "/settled_amount/amount"
                self.walk.same(self.tale, reply, pointer, booking.settled, message)
            self.touch(*touched)

    @step(weight=3, when=lambda self: self.can("operator") and self.holds_any, which=HOLD)
    def void(self, which: int) -> None:
        """Release a hold, or one that has ended."""
        self._void(self.holding(which))

    def _void(self, booking: Booking) -> None:
        self.focus_on(booking)
        with self.doing(f"void {booking.id}"):
            codes, path = rules.void(booking), {"id": booking.id}
            # Whether a customer may release what an operator held is the deployment's to say.
            role = "customer" if booking.kind in BY_CUSTOMER else "operator"
            reply = self.write(role, "voidTransaction", codes, path=path, body={}, status=200)
            if reply is not None:
                booking.status = "voided"
                self.walk.same(self.tale, reply, "/status", "voided", "The answer to a void")
            self.touch(*(self.book.accounts[name] for name in booking.accounts))

    @step(
        weight=3,
        when=lambda self: self.can("manager") and bool(self.booked),
        which=BOOKING,
        again=st.booleans(),
    )
    def reverse(self, which: int, again: bool) -> None:
        """Reverse a transaction, or what cannot be: one that was reversed above all."""
        booking = self.booking(which)
        reversed_ = [row for row in self.book.bookings.values() if row.status == "reversed"]
        if again and reversed_:
            booking = reversed_[-1]
        self.focus_on(booking)
        touched = [self.book.accounts[name] for name in booking.accounts]
        open_question = booking.kind not in rules.REVERSIBLE and any(a.ended for a in touched)
        if open_question or any(account.status == "suspended" for account in touched):
            # The contract does not say which refusal, or whether there is one.
            return
        with self.doing(f"reverse {booking.id}"):
            codes, path = rules.reverse(self.book, booking), {"id": booking.id}
            body = {"reason": "walk"}
            reply = self.write("manager", "reverseTransaction", codes, path=path, body=body)
            if reply is not None:
                reversal = self.book.reverse(reply.body["id"], booking)
                message = "The answer to a reversal"
                self.walk.same(self.tale, reply, "/reverses_id", booking.id, message)
                self.posted(reply, reversal)
            self.touch(*touched)
