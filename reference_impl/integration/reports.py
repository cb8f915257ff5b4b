"""An execution report as the market writes it, in a callback or in an answer."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from reference_impl import clock, requests
from reference_impl.config import MAX_AMOUNT
from reference_impl.problems import invalid

from . import trading


class MarketCallback(requests.Body):
    """POST /v1/callbacks/market."""

    execution_id: requests.Id
    order_id: requests.Id
    kind: Literal["fill", "partial_fill", "reject", "cancel", "market_event"]
    occurred_at: requests.Instant
    sequence: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
    quantity: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    price: requests.Money | UnsetType = UNSET


def report_of(body: MarketCallback) -> trading.Report:
    """Turn the body into what the rules work with; 400 where members do not go together."""
    quantity, price = requests.given(body.quantity) or 0, requests.given(body.price)
    if body.kind in trading.FILLS:
        if quantity < 1:
            raise invalid("/quantity", "missing", f"A {body.kind} has a quantity")
        if price is None:
            raise invalid("/price", "missing", f"A {body.kind} has a price")
    else:
        quantity, price = 0, None
    return trading.Report(
        id=body.execution_id,
        order_id=body.order_id,
        sequence=body.sequence,
        kind=body.kind,
        quantity=quantity,
        price=None if price is None else price.amount,
        currency=None if price is None else price.currency,
        occurred_at=instant(body.occurred_at),
    )


def instant(value: datetime) -> int:
    """Return an instant as milliseconds since 1970; 400 at either end of the calendar."""
    try:
        return clock.milliseconds(value.astimezone(UTC))
    except OverflowError:
        raise invalid("/occurred_at", "range", "Out of the calendar") from None
