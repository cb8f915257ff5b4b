"""POST /v1/accounts/{id}/fork: part of an account goes into new accounts."""

from collections.abc import Sequence
from typing import Any

import flask

from reference_impl import access, idempotency, journal, views, web
from reference_impl.access import Caller, Rank
from reference_impl.requests import given

from . import births, bodies, events, policies, standing
from . import fork_rules as rules
from .policy import Policy
from .standing import Standing

blueprint = flask.Blueprint("growth_fork", __name__)


@blueprint.post("/v1/accounts/<account_id>/fork")
def fork_account(account_id: str) -> flask.Response:
    """Fork an account, or tell what would happen."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(bodies.Fork)
    bodies.check_fork(body)
    if body.mode == "explicit":
        access.check_rank(caller, Rank.MANAGER)
    if_match = web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        parent = standing.need(tx, caller, account_id)
        standing.check_may_grow(caller, parent)
        web.check_if_match(if_match, parent.account.version, required=False)
        policy = policies.in_force(tx.connection, parent.type)
        case = rules.Case(
            policy=policy.fork,
            parent=parent,
            past=events.past_forks(tx.connection, account_id, policy.fork.per_day_max),
            plan=plan(body, policy, parent),
            now_ms=tx.now_ms,
        )
        for problem in rules.refusals(case):
            raise problem
        if body.dry_run:
            return preview(case)
        return fork(tx, caller, case, (policy, given(body.reason)))

    action = "forkAccount dry run" if body.dry_run else "forkAccount"
    return web.write(caller, action, change)


def plan(body: bodies.Fork, policy: Policy, parent: Standing) -> rules.Plan:
    """Return what is asked for: by the policy, or as the request says."""
    amount, legs = given(body.amount), given(body.legs)
    if amount is None or legs is None:
        return rules.plan_by_policy(policy.fork, parent)
    return rules.Plan(
        amount=amount.amount,
        currency=amount.currency,
        legs=tuple((leg.type, leg.bps) for leg in legs),
        explicit=True,
        override=body.override,
    )


def facts(case: rules.Case) -> dict[str, int]:
    """Return the figures that the decision rests on."""
    parent = case.parent
    return {
        "ledger": parent.ledger,
        "holds": parent.holds,
        "base_amount": parent.base_amount,
        "buffer": parent.buffer,
        "surplus": parent.surplus,
        "trigger_value": rules.trigger_value(case.policy, parent, case.past),
        "threshold": rules.threshold(case.policy, parent),
    }


def _legs(plan: rules.Plan, children: Sequence[str] = ()) -> list[dict[str, Any]]:
    legs: list[dict[str, Any]] = [
        {"type": account_type, "bps": bps, "amount": amount}
        for (account_type, bps), amount in zip(plan.legs, plan.amounts, strict=True)
    ]
    for leg, account_id in zip(legs, children, strict=False):
        leg["account_id"] = account_id
    return legs


def preview(case: rules.Case) -> idempotency.Reply:
    """Answer with what a fork would do."""
    document = {
        "dry_run": True,
        "amount": {"amount": case.plan.amount, "currency": case.parent.currency},
        "legs": _legs(case.plan),
        "facts": facts(case),
    }
    return web.json_reply(200, document, target=case.parent.id)


def fork(
    tx: web.Tx, caller: Caller, case: rules.Case, terms: tuple[Policy, str | None]
) -> idempotency.Reply:
    """Open the children, move the money, write the event; `terms` are policy and reason."""
    parent, plan = case.parent, case.plan
    policy, reason = terms
    opened = [
        (births.open_account(tx, child(parent, policy, leg_type, amount)), amount)
        for (leg_type, _), amount in zip(plan.legs, plan.amounts, strict=True)
    ]
    children = [bucket.account_id or "" for bucket, _ in opened]
    draft = journal.Draft(
        kind="fork",
        amount=plan.amount,
        currency=parent.currency,
        from_account_id=parent.id,
        to_account_id=None,
        actor=caller.user_id,
        now_ms=tx.now_ms,
        reason=reason,
    )
    journal.post(tx.connection, draft, rules.lines(parent.account.cash, opened))
    event = events.Event(
        kind="fork",
        account_id=parent.id,
        owner_id=parent.account.owner_id,
        currency=parent.currency,
        amount=plan.amount,
        policy_ref=policy.ref,
        facts=facts(case),
        legs=_legs(plan, children),
        parties=[(parent.id, "parent"), *((account_id, "child") for account_id in children)],
        mode="explicit" if plan.explicit else "policy",
        override=plan.override,
        reason=reason,
    )
    return _reply(tx, caller, events.append(tx, caller, event), (parent.id, children))


def child(parent: Standing, policy: Policy, account_type: str, amount: int) -> births.Birth:
    """Return a child: owner, currency, policy and buffer of the parent, base what it opens with."""
    return births.Birth(
        owner_id=parent.account.owner_id,
        type=account_type,
        currency=parent.currency,
        name=parent.name,
        base_amount=amount,
        buffer_bps=parent.buffer_bps,
        policy=policy,
        policy_ref=parent.policy_ref,
        parent_id=parent.id,
        root_id=parent.root_id,
        depth=parent.depth + 1,
    )


def _reply(
    tx: web.Tx, caller: Caller, event_id: str, family: tuple[str, Sequence[str]]
) -> idempotency.Reply:
    reads = (caller, tx.services.sealer)
    parent, *children = (
        views.account(views.account_row(tx.connection, account_id, tx.now_ms), reads=reads)
        for account_id in (family[0], *family[1])
    )
    document = {
        "event": events.shown(events.row_of(tx.connection, event_id)),
        "parent": parent,
        "children": children,
    }
    headers = {"Location": f"/v1/growth/events/{event_id}"}
    return web.json_reply(201, document, target=family[0], headers=headers)
