"""The market as this deployment calls it: placing, finding, cancelling, reading, positions.

What it says is never believed further than it goes: a refusal is a refusal only after the market
was asked for the order, and an order that it does not find may still be on its way.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from reference_impl import web
from reference_impl.config import MAX_AMOUNT
from reference_impl.problems import Problem

from . import breakers, registry
from .outbound import Answer, Call, CallFailedError, Reason, query, segment
from .reports import MarketCallback, report_of
from .trading import Order, Report

Quantity = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]
Signed = Annotated[int, msgspec.Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Status = Literal["open", "partially_filled", "filled", "cancelled", "rejected"]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
POSITIONS_MAX = 10_000


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the market has it."""

    order_id: Id
    client_order_id: Id
    status: Status
    filled: Quantity
    sequence: Quantity
    """Of the last execution report."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of findOrders."""

    data: Annotated[list[Standing], msgspec.Meta(max_length=1)]


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of getExecutions."""

    data: Annotated[list[MarketCallback], msgspec.Meta(max_length=200)]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument of getPositions."""

    instrument: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    quantity: Signed


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of getPositions."""

    account_ref: Id
    as_of: Annotated[str, msgspec.Meta(max_length=64)]
    data: Annotated[list[Row], msgspec.Meta(max_length=POSITIONS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The market does not take the order: nothing was placed."""

    reason: str


Placed = Standing | Refusal


def check_way(shared: web.Services) -> None:
    """Refuse, at once, what needs a market that is not there or known to be away."""
    point = shared.outbound.registry[registry.MARKET]
    if not point.configured:
        raise CallFailedError(point.name, Reason.NOT_CONFIGURED).problem()
    standing = breakers.load(shared.readers.get(), point.name).standing
    now_ms = shared.clock.now_ms()
    if breakers.judge(standing, point.rules, now_ms) is breakers.State.OPEN:
        left_ms = point.rules.open_s * 1000 - (now_ms - standing.since_ms)
        wait_s = max(-(-left_ms // 1000), 1)
        raise CallFailedError(point.name, Reason.OPEN, retry_after_s=wait_s).problem()


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The calls, `patient` in the background; CallFailedError where nothing is known."""

    shared: web.Services
    patient: bool = False

    def place(self, order: Order) -> Placed:
        """Place an order, as often as it takes: it has one effect."""
        answer = self._call(
            Call(
                operation="placeOrder",
                method="POST",
                target="/v1/orders",
                needs=Standing,
                key=order.key,
                traceparent=order.traceparent or None,
                once=True,
                body={
                    "client_order_id": order.id,
                    "account_ref": order.account_id,
                    "instrument": order.instrument,
                    "side": order.side,
                    "quantity": order.quantity,
                    "limit_price": {"amount": order.limit_price, "currency": order.currency},
                },
            )
        )
        if answer.status < 300:
            return _same(order, answer.document)
        found = self.find(order)
        if found is not None:
            return found
        if answer.status in {400, 422} and answer.code != "idempotency_payload_mismatch":
            return Refusal(reason=f"refused by the market: {answer.code or answer.status}"[:200])
        raise CallFailedError(registry.MARKET, Reason.INVALID, f"answered {answer.status}")

    def find(self, order: Order) -> Standing | None:
        """Return the order as the market has it, by our id."""
        answer = self._call(
            Call(
                operation="findOrders",
                method="GET",
                target=f"/v1/orders{query(client_order_id=order.id)}",
                needs=Found,
                traceparent=order.traceparent or None,
            )
        )
        if answer.status >= 300:
            raise CallFailedError(registry.MARKET, Reason.INVALID, f"answered {answer.status}")
        return _same(order, answer.document.data[0]) if answer.document.data else None

    def get(self, order: Order) -> Standing | None:
        """Return the order as the market has it, by the market's id; None if it has forgotten."""
        answer = self._call(
            Call(
                operation="getOrder",
                method="GET",
                target=f"/v1/orders/{segment(order.market_id or '')}",
                needs=Standing,
                traceparent=order.traceparent or None,
            )
        )
        return _same(order, answer.document) if answer.status < 300 else None

    def cancel(self, order: Order) -> Standing | None:
        """Cancel what is not filled; None where the market has ended the order otherwise."""
        answer = self._call(
            Call(
                operation="cancelOrder",
                method="DELETE",
                target=f"/v1/orders/{segment(order.market_id or '')}",
                needs=Standing,
                key=order.cancel_key,
                traceparent=order.traceparent or None,
                once=True,
            )
        )
        if answer.status < 300:
            return _same(order, answer.document)
        if answer.status == 409:
            return None
        raise CallFailedError(registry.MARKET, Reason.INVALID, f"answered {answer.status}")

    def executions(self, order: Order) -> list[Report]:
        """Return the reports that did not arrive here; none where the market has no such list."""
        answer = self._call(
            Call(
                operation="getExecutions",
                method="GET",
                target=f"/v1/orders/{segment(order.market_id or '')}/executions"
                f"{query(after=order.last_sequence)}",
                needs=Executions,
                traceparent=order.traceparent or None,
            )
        )
        if answer.status >= 300:
            return []
        try:
            found = [report_of(row) for row in answer.document.data]
        except Problem as wrong:
            raise CallFailedError(registry.MARKET, Reason.INVALID, wrong.detail) from wrong
        return [report for report in found if report.order_id == order.id]

    def positions(self, account_ref: str, traceparent: str) -> Positions:
        """Return what the market holds for an account."""
        answer = self._call(
            Call(
                operation="getPositions",
                method="GET",
                target=f"/v1/positions{query(account_ref=account_ref)}",
                needs=Positions,
                traceparent=traceparent or None,
            )
        )
        if answer.status >= 300 or answer.document.account_ref != account_ref:
            raise CallFailedError(registry.MARKET, Reason.INVALID, f"answered {answer.status}")
        found: Positions = answer.document
        return found

    def _call(self, call: Call) -> Answer:
        return self.shared.outbound.call(registry.MARKET, call, patient=self.patient)


def _same(order: Order, standing: Standing) -> Standing:
    """Refuse an answer about another order."""
    if standing.client_order_id != order.id or standing.filled > order.quantity:
        raise CallFailedError(registry.MARKET, Reason.INVALID, "the answer is not about this order")
    return standing
