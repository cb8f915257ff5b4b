"""Texts that systems lose or change, for scenarios that carry one through a whole life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certification.context import Context

ODD_TEXTS = (
    "Zo\u0308e \u00fc\u0142\u0131 \u4e2d\u6587 e\u0301\u200b",
    "\U0001f98a\U0001f1e9\U0001f1ea \u202babc\u202c a\u200db \u0645\u0631\u062d",
    "' OR 1=1; -- <b>&amp;\\u0000",
)
"""Composed and decomposed letters, marks that show nothing, both directions, four bytes, markup."""


def taken(ctx: Context, texts: Sequence[str]) -> tuple[str, ...]:
    """Return those texts that the deployment does not refuse in a name: it may know better."""

    def is_taken(text: str) -> bool:
        body = {"type": "generation", "currency": ctx.arrange.currency, "name": text}
        reply = ctx.customer.call("createAccount", body=body, expect=(201, 400))
        if reply.status == 201:
            ctx.created("account", reply.body["id"], ctx.customer.role)
        return reply.status == 201

    return tuple(text for text in texts if is_taken(text))
