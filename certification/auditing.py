"""Reads the audit trail for checks: from a remembered place on, and only their own acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from certification.oracle import audit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from certification.context import Actor, Context
    from certification.model import Json
    from certification.target.reply import Reply

PAGES_MAX = 40
"""Pages that one search reads: the log is everybody's, and may be long."""
DONE = "done"


def checkpoint(ctx: Context, **query: int) -> Reply:
    """Return the signed tree head, with the proofs asked for by `prove` and `since`."""
    ctx.arrange.let_writes_arrive()
    return ctx.auditor.call("getAuditCheckpoint", query=query, expect=200)


def rows(ctx: Context, start: int, **filters: Any) -> list[Json]:
    """Return the records from seq `start` on that the filters let through.

    INCONCLUSIVE where they are more than PAGES_MAX pages.
    """
    query = {"from_seq": start, "limit": ctx.declared("limits", "page_max"), **filters}
    return ctx.arrange.pages("listAudit", by=ctx.auditor, query=query, pages_max=PAGES_MAX)


@dataclass(slots=True, kw_only=True)
class Acts:
    """What a check did since a remembered place of the trail, by the request id of each act."""

    ctx: Context
    start: int
    """The seq of the first record that can be about it."""
    done: list[tuple[str, Reply]] = field(default_factory=list)

    def send(self, actor: Actor, operation: str, **request: Any) -> Reply:
        """Send an operation under a request id of its own."""
        request_id = f"audit-{uuid4().hex}"
        headers = {**request.pop("headers", {}), "X-Request-Id": request_id}
        reply = actor.call(operation, headers=headers, **request)
        self.ctx.equal(reply.headers.get("X-Request-Id"), request_id, "The echoed id", reply)
        self.done.append((request_id, reply))
        return reply

    def records(self, **filters: Any) -> dict[str, list[Json]]:
        """Return the records of each act by its request id, in the order of the trail."""
        self.ctx.arrange.let_writes_arrive()
        found: dict[str, list[Json]] = {request_id: [] for request_id, _ in self.done}
        for record in rows(self.ctx, self.start, **filters):
            if record["request_id"] in found:
                found[record["request_id"]].append(record)
        return found

    def record(self, number: int = -1, **filters: Any) -> Json:
        """Return the one record of an act; fail where there is none, or more than one."""
        request_id, reply = self.done[number]
        found = self.records(**filters)[request_id]
        self.ctx.expect(
            len(found) == 1,
            "An act does not stand in the audit trail once",
            expected=f"one record of {reply.operation} ({reply.status}), request {request_id}",
            observed=[f"{row['seq']} {row['action']} {row['outcome']}" for row in found] or "none",
            on=[reply],
        )
        return found[0]


def acts(ctx: Context) -> Acts:
    """Remember where the trail ends now."""
    return Acts(ctx=ctx, start=checkpoint(ctx).body["size"] + 1)


def expect_chained(ctx: Context, records: Sequence[Mapping[str, Any]], what: str) -> None:
    """Fail unless the records follow one another without a gap, each hash recomputed."""
    breaks = audit.chain_breaks(records)
    ctx.expect(
        not breaks,
        f"The audit trail is broken: {what}",
        expected="seq without gaps, prev_hash and leaf_hash as recomputed",
        observed="; ".join(breaks[:5]),
    )


def public_key(ctx: Context) -> str:
    """Return the key that checkpoints must be signed with; NOT_EXERCISED where none is declared."""
    key = ctx.capabilities.get("audit", {}).get("checkpoint_key")
    return ctx.not_exercised("no audit.checkpoint_key is declared") if key is None else str(key)


def expect_signed(ctx: Context, reply: Reply) -> None:
    """Fail unless a checkpoint is signed with the declared key."""
    try:
        right = audit.is_signed(reply.body, public_key(ctx))
    except ValueError as error:
        ctx.fail(
            "The declared checkpoint key is none",
            expected="an Ed25519 public key in PEM",
            observed=str(error),
        )
    ctx.expect(
        right,
        "A checkpoint is not signed with the declared key",
        expected="a signature over epoch, root, size and ts",
        observed=reply.body["signature"],
        on=[reply],
    )
