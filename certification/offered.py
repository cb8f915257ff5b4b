"""Which operations a deployment offers, by what it declares, and which scope each one needs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from certification.malformed import send_raw
from certification.model import Module

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.contract import Operation
    from certification.target.reply import Reply

WITH_OPERATIONS = (Module.CORE, Module.OPERATIONS)
"""What checks of grants, erasure and audit ask for."""
NOBODY = "nobody"
"""An id that no deployment gives."""
COUNTED_AS = {
    "orders": "transactions",
    "reconciliations": "transactions",
    "alerts": "metrics",
    "silences": "metrics",
    "recoveries": "metrics",
    "api": "metrics",
}
"""Areas of paths that schema Scope of the contract counts among others."""
MOVING = frozenset({"entries", "positions", "strategy"})
"""What of an account counts as transactions."""
ABSENT = frozenset({404, 501})
"""How an operation is answered that a deployment may leave out."""


def operations(ctx: Context) -> list[Operation]:
    """Return the secured operations of the declared modules, without deviations and drafts."""
    declared = {row["id"] for row in ctx.capabilities["modules"]}
    deviating = {
        gap["operationId"]
        for row in ctx.capabilities["modules"]
        for gap in row.get("deviations", ())
    }
    return [
        operation
        for operation in ctx.contract.operations.values()
        if operation.module in declared
        and operation.id not in deviating
        and "public" not in operation.roles
        and not operation.draft
    ]


def offers(ctx: Context, operation_id: str) -> bool:
    """Tell whether the deployment offers an operation."""
    return any(operation.id == operation_id for operation in operations(ctx))


def scope_of(operation: Operation) -> str:
    """Return the scope an operation needs (schema Scope of the contract); empty for none."""
    steps = [step for step in operation.path.split("/") if step and step != "v1"]
    if steps[0] == "auth":
        return ""
    area = COUNTED_AS.get(steps[0], steps[0])
    if operation.module in {"growth", "analytics"}:
        area = operation.module
    elif steps[0] == "accounts" and set(steps[2:3]) & MOVING:
        area = "transactions"
    return f"{area}:{'read' if operation.method == 'GET' else 'write'}"


def knock(actor: Actor, operation: Operation) -> Reply:
    """Send an operation about an object that nobody has, with a body that asks for nothing.

    Who may not is refused before the body is looked at; who may changes nothing with it.
    """
    names = {
        part.strip("{}"): {"type": "generation", "report": "performance"}.get(
            part.strip("{}"), NOBODY
        )
        for part in operation.path.split("/")
        if part.startswith("{")
    }
    path = operation.url_path(names)
    headers = {"If-Match": '"1"'} if operation.method != "GET" else {}
    if operation.idempotency_required:
        headers["Idempotency-Key"] = uuid4().hex
    if operation.method in {"POST", "PUT", "PATCH"}:
        return send_raw(actor, operation.method, path, headers=headers, body={})
    return send_raw(actor, operation.method, path, headers=headers)
