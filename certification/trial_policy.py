"""Puts growth policies of a check's own in force, and the deployment's own back."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from certification import growing
from certification.cleanup import TRIAL_POLICY
from certification.target.outcomes import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from certification.context import Context
    from certification.model import Json
    from certification.target.reply import Reply

PUT_BACK_TRIES = 5


@contextmanager
def under(ctx: Context, change: Callable[[Json], None], *types: str) -> Iterator[Json]:
    """Put a changed policy in force for account types; put the former ones back at the end.

    The new policy is that of type generation, changed in place by `change`, under a name of this
    run. The former policy is sent again even when the check fails or the run is ending; where the
    deployment does not take it back, the run lists the policy as left behind.
    """
    former = {name: growing.policy(ctx, name) for name in types or growing.TYPES}
    document = deepcopy(growing.policy(ctx, "generation"))
    document.pop("description", None)
    digest = hashlib.sha256(ctx.name("policy").encode()).hexdigest()
    document |= {"name": f"{TRIAL_POLICY}{digest[:20]}", "version": 1}
    change(document)
    try:
        for name in former:
            put_policy(ctx, name, document)
        yield document
    finally:
        for name, before in former.items():
            _put_back(ctx, name, before)


def put_policy(ctx: Context, account_type: str, document: Json, **expected: Any) -> Reply:
    """Put a policy in force as the admin; `expected` as `Actor.call` takes it, 200 by default."""
    path = {"type": account_type}
    etag = ctx.admin.call("getGrowthPolicy", path=path, expect=200).etag
    send = partial(ctx.admin.call, "putGrowthPolicy", path=path, if_match=etag)
    return send(body={"policy": document}, **(expected or {"expect": 200}))


def _put_back(ctx: Context, account_type: str, document: Json) -> None:
    # Past the check's budget and the end of the run: a foreign policy must not stay in force.
    path, session = {"type": account_type}, ctx.admin.session
    for _ in range(PUT_BACK_TRIES):
        ctx.arrange.let_writes_arrive()
        with suppress(ConnectionLost):
            etag = session.call("getGrowthPolicy", path=path).etag
            body = {"policy": document}
            reply = session.call("putGrowthPolicy", path=path, body=body, if_match=etag)
            if reply.status == 200:
                return
            ctx.wait(min(reply.retry_after_s or 0.0, growing.TRANSITION_S))
    # The clean-up lists it among what the run leaves behind.
    ctx.created("policy", account_type, ctx.admin.role)
