"""The rules of orders as pure functions: what a report may say, and what follows from it.

Nothing here reads the clock or the database. Prices are of one unit, in integer minor units;
instants are milliseconds since 1970.
"""

import random
from dataclasses import dataclass
from typing import Literal

from reference_impl.config import MAX_AMOUNT
from reference_impl.problems import Problem

Side = Literal["buy", "sell"]
Ending = Literal["cancelled", "rejected"]
LIVE = ("pending", "open", "partially_filled")
ENDED = ("filled", "cancelled", "rejected")
BUCKETS = ("position:contracts", "position:leaps", "position:shares")
FILLS = frozenset({"fill", "partial_fill"})
ENDINGS: dict[str, Ending] = {"cancel": "cancelled", "reject": "rejected"}
CLOCKS_APART_MS = 300_000
"""So far may the market's clock and this one be apart."""
HELD_BACK_MAX = 200
"""Reports of one order that may wait for an earlier one."""
BACKOFF_MS, BACKOFF_MS_MAX = 500, 30_000
WATCH_MS, WATCH_MS_MAX = 5_000, 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it stands."""

    seq: int
    id: str
    account_id: str
    bucket: str
    instrument: str
    side: Side
    quantity: int
    limit_price: int
    currency: str
    filled: int
    status: str
    hold_seq: int | None
    market_id: str | None
    last_sequence: int
    ending: Ending | None
    ending_filled: int | None
    cancel_at: int | None
    attempts: int
    due_at: int | None
    reason: str | None
    traceparent: str
    created_at: int
    created_by: str
    updated_at: int

    @property
    def live(self) -> bool:
        """Whether something can still be executed."""
        return self.status in LIVE

    @property
    def left(self) -> int:
        """How much is not executed."""
        return self.quantity - self.filled

    @property
    def key(self) -> str:
        """The idempotency key of placing it; one for all attempts."""
        return f"place-{self.id}"

    @property
    def cancel_key(self) -> str:
        """The idempotency key of cancelling it."""
        return f"cancel-{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the market says happened to an order."""

    id: str
    order_id: str
    sequence: int
    kind: str
    quantity: int
    price: int | None
    currency: str | None
    occurred_at: int


def invalid(detail: str) -> Problem:
    """Return the refusal of a report that does not fit its order."""
    return Problem("execution_invalid", detail)


def worth(price: int, quantity: int) -> int:
    """Return what so many units cost; Problem `amount_out_of_range` beyond what can be booked."""
    amount = price * quantity
    if amount > MAX_AMOUNT:
        raise Problem("amount_out_of_range", f"Price times quantity may not exceed {MAX_AMOUNT}.")
    return amount


def check_report(order: Order, report: Report, *, known: int, now_ms: int) -> None:
    """Refuse a report that does not fit; `known` is the quantity of all executions taken so far."""
    if report.occurred_at < order.created_at - CLOCKS_APART_MS:
        raise invalid("It happened before the order was placed.")
    if report.occurred_at > now_ms + CLOCKS_APART_MS:
        raise invalid("It has not happened yet.")
    if report.kind in FILLS:
        check_fill(order, report, known=known)
    elif not order.live and report.kind in ENDINGS and ENDINGS[report.kind] != order.status:
        raise invalid(f"The order is {order.status}.")


def check_fill(order: Order, report: Report, *, known: int) -> None:
    """Refuse an execution of too much, at a wrong price, or after the end."""
    if not order.live:
        raise invalid(f"The order is {order.status}.")
    if report.quantity < 1 or report.price is None:
        raise invalid("An execution has a quantity and a price.")
    if report.quantity > order.quantity - known:
        raise invalid(f"{order.quantity - known} are left, {report.quantity} were executed.")
    if report.currency != order.currency:
        raise invalid(f"The order is in {order.currency}.")
    worse = report.price - order.limit_price
    if (worse if order.side == "buy" else -worse) > 0:
        raise invalid("The price is worse than the limit.")
    worth(report.price, report.quantity)


def check_place(order: Order, report: Report, taken: set[int]) -> None:
    """Refuse a report whose place is taken by another one, or one too far ahead."""
    if report.sequence <= order.last_sequence or report.sequence in taken:
        raise invalid(f"Sequence {report.sequence} was another execution.")
    ahead = report.sequence > order.last_sequence + 1
    if ahead and len(taken) >= HELD_BACK_MAX:
        raise Problem("busy", "Too many reports wait for an earlier one.")


def status_after(order: Order, filled: int) -> str:
    """Return an order's status with so much of it filled."""
    if filled == order.quantity:
        return "filled"
    return "partially_filled" if filled else "open"


def cost_of(*, quantity: int, cost: int, sold: int) -> int:
    """Return the cost of what is sold of a position: its share, the rest with the last unit."""
    return cost if sold == quantity else cost * sold // quantity


def backoff_ms(attempts: int, *, retry_after_s: int = 0) -> int:
    """Return how long to wait after so many attempts, at least as long as the market asks for."""
    bound = min(BACKOFF_MS << min(attempts, 10), BACKOFF_MS_MAX)
    wait = random.randint(bound // 2, bound)  # noqa: S311 - spreads load
    return max(wait, retry_after_s * 1000)


def watch_ms(attempts: int) -> int:
    """Return when to look at an open order again: later and later."""
    return min(WATCH_MS << min(attempts, 10), WATCH_MS_MAX)
