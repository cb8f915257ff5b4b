"""What tests of the market share: reports as others would sign them, and waiting for results."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.reference_impl._waiting import wait_for
from tests.reference_impl.conftest import Answer, Client
from tests.reference_impl.market.conftest import Desk

PATH = "/v1/callbacks/market"


def report(order: dict[str, Any], sequence: int, kind: str, **members: Any) -> dict[str, Any]:
    return {
        "execution_id": f"own-{uuid.uuid4().hex[:12]}",
        "order_id": order["id"],
        "kind": kind,
        "occurred_at": datetime.now(UTC).isoformat(),
        "sequence": sequence,
        **members,
    }


def usd(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD"}


def signed(secret: str, body: bytes, message_id: str, at: datetime | None = None) -> dict[str, str]:
    """Sign with the library that others would use."""
    moment = at or datetime.now(UTC)
    value = Webhook(secret).sign(message_id, moment, body.decode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": value,
    }


def deliver(desk: Desk, told: dict[str, Any], **options: Any) -> Answer:
    body = json.dumps(told).encode()
    message_id = options.pop("message_id", told["execution_id"])
    headers = signed(desk.world.secret, body, message_id, options.pop("at", None))
    headers |= {"Content-Type": "application/json", **options.pop("headers", {})}
    return Client(desk.server.port).send("POST", PATH, raw=body, headers=headers)


def reconciled(desk: Desk, answer: Answer) -> dict[str, Any]:
    assert answer.status == 201, answer.body
    path = answer.headers["location"]
    return dict(
        wait_for(lambda: desk.operator.get(path).body, lambda found: found["status"] != "running")
    )
