"""Sends what the contract forbids, byte by byte, and judges whether it was refused rightly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from certification.context import BACK_PRESSURE_REPEATS_MAX

if TYPE_CHECKING:
    from certification.context import Actor
    from certification.target.reply import Reply

MEDIA_TYPE = "application/problem+json"
WAIT_MAX_S = 5.0


def send_raw(actor: Actor, method: str, path: str, **request: Any) -> Reply:
    """Send `body` (as JSON) or `content` (bytes) with the headers given.

    A 503 with Retry-After is waited out; nothing else about the answer is checked.
    """
    headers = {**request.pop("headers", {})}
    if "body" in request:
        request["content"] = json.dumps(request.pop("body")).encode()
        headers.setdefault("Content-Type", "application/json")
    for _ in range(BACK_PRESSURE_REPEATS_MAX):
        reply = actor.raw(method, path, headers=headers, **request)
        if reply.status != 503 or reply.retry_after_s is None:
            return reply
        actor.context.wait(min(reply.retry_after_s, WAIT_MAX_S))
    return actor.context.undecided(f"{method} {path} answered 503 with Retry-After again and again")


def is_refused(actor: Actor, reply: Reply, *problems: str) -> None:
    """Fail unless the answer is a whole problem document, of one of these codes if any is named."""
    body = reply.body if isinstance(reply.body, dict) else {}
    faults = _faults(actor, reply, body)
    if problems and body.get("code") not in problems:
        faults.append(f"not {' or '.join(problems)}")
    actor.context.expect(
        not faults,
        "The request was not refused as the contract says",
        expected=" or ".join(problems) or "a problem document with a 4xx status",
        observed=f"{reply.status} {body.get('code') or _media_type(reply)}: {', '.join(faults)}",
        on=[reply],
    )


def _faults(actor: Actor, reply: Reply, body: dict[str, Any]) -> list[str]:
    code = body.get("code")
    row = actor.context.contract.problems.get(code) if isinstance(code, str) else None
    found = {
        "not a refusal": not 400 <= reply.status < 500,
        f"not {MEDIA_TYPE}": _media_type(reply) != MEDIA_TYPE,
        "code not in the catalogue": row is None,
        "status is not the code's": row is not None and row.status != reply.status,
        "the member status differs": body.get("status") != reply.status,
        "type is not the code's": body.get("type") != f"urn:alluse:problem:{code}",
        "title or detail missing": not (body.get("title") and "detail" in body),
        "retryable missing": not isinstance(body.get("retryable"), bool),
    }
    return [fault for fault, holds in found.items() if holds]


def _media_type(reply: Reply) -> str:
    return (reply.headers.get("Content-Type") or "no media type").partition(";")[0].strip().lower()
