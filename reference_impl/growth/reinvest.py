"""POST /v1/accounts/{id}/reinvest: cash of an account goes into its positions."""

import sqlite3
from typing import Any

import flask

from reference_impl import access, idempotency, journal, views, web
from reference_impl.access import Caller, Rank
from reference_impl.requests import given

from . import bodies, events, policies, standing
from . import reinvest_rules as rules
from .policy import Policy, ReinvestPolicy

blueprint = flask.Blueprint("growth_reinvest", __name__)


@blueprint.post("/v1/accounts/<account_id>/reinvest")
def reinvest_account(account_id: str) -> flask.Response:
    """Reinvest cash of an account, or tell what would happen."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(bodies.Reinvest)
    bodies.check_reinvest(body)
    if_match = web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        account = standing.need(tx, caller, account_id)
        standing.check_may_grow(caller, account)
        policy = policies.in_force(tx.connection, account.type)
        legs = own_legs(body, policy.reinvest)
        if legs != policy_legs(policy.reinvest):
            access.check_rank(caller, Rank.MANAGER)
        web.check_if_match(if_match, account.account.version, required=False)
        money = given(body.amount)
        case = rules.Case(
            policy=policy.reinvest,
            account=account,
            period=body.period,
            amount=money.amount if money else rules.all_available(policy.reinvest, account),
            currency=money.currency if money else account.currency,
            legs=legs,
            done=reinvested(tx.connection, account_id, body.period),
            now=events.moment_of(tx.now_ms),
        )
        for problem in rules.refusals(case):
            raise problem
        if body.dry_run:
            return preview(case)
        return reinvest(tx, caller, case, (policy, given(body.reason)))

    action = "reinvestAccount dry run" if body.dry_run else "reinvestAccount"
    return web.write(caller, action, change)


def policy_legs(policy: ReinvestPolicy) -> list[tuple[str, int]]:
    """Return the legs of the policy."""
    return [(leg.bucket, leg.bps) for leg in policy.legs]


def own_legs(body: bodies.Reinvest, policy: ReinvestPolicy) -> list[tuple[str, int]]:
    """Return the legs that the request names, or those of the policy."""
    legs = given(body.legs)
    return policy_legs(policy) if legs is None else [(leg.bucket, leg.bps) for leg in legs]


def reinvested(connection: sqlite3.Connection, account_id: str, period: str) -> bool:
    """Tell whether an account has reinvested a period (invariant R3)."""
    row = connection.execute(
        "SELECT 1 FROM growth_events WHERE kind = 'reinvest' AND account_id = ? AND period = ?",
        (account_id, period),
    ).fetchone()
    return row is not None


def facts(account: standing.Standing) -> dict[str, int]:
    """Return the figures that the decision rests on."""
    return {
        "ledger": account.ledger,
        "holds": account.holds,
        "base_amount": account.base_amount,
        "buffer": account.buffer,
    }


def _legs(case: rules.Case) -> list[dict[str, Any]]:
    return [{"bucket": bucket, "bps": bps, "amount": amount} for bucket, bps, amount in case.moves]


def preview(case: rules.Case) -> idempotency.Reply:
    """Answer with what a reinvestment would do."""
    document = {
        "dry_run": True,
        "amount": {"amount": case.amount, "currency": case.account.currency},
        "legs": _legs(case),
        "facts": facts(case.account),
    }
    return web.json_reply(200, document, target=case.account.id)


def reinvest(
    tx: web.Tx, caller: Caller, case: rules.Case, terms: tuple[Policy, str | None]
) -> idempotency.Reply:
    """Move the money between buckets and write the event; `terms` are policy and reason."""
    account = case.account
    policy, reason = terms
    into = {
        bucket: journal.own_bucket(tx.connection, account.id, bucket, account.currency)
        for bucket, _, _ in case.moves
    }
    draft = journal.Draft(
        kind="reinvest",
        amount=case.amount,
        currency=account.currency,
        from_account_id=account.id,
        to_account_id=None,
        actor=caller.user_id,
        now_ms=tx.now_ms,
        reason=reason,
    )
    journal.post(tx.connection, draft, rules.lines(account.account.cash, into, case.moves))
    event = events.Event(
        kind="reinvest",
        account_id=account.id,
        owner_id=account.account.owner_id,
        currency=account.currency,
        amount=case.amount,
        policy_ref=policy.ref,
        facts=facts(account),
        legs=_legs(case),
        parties=[(account.id, "self")],
        mode="policy" if case.legs == policy_legs(policy.reinvest) else "explicit",
        period=case.period,
        reason=reason,
    )
    return _reply(tx, caller, events.append(tx, caller, event), account.id)


def _reply(tx: web.Tx, caller: Caller, event_id: str, account_id: str) -> idempotency.Reply:
    row = views.account_row(tx.connection, account_id, tx.now_ms)
    document = {
        "event": events.shown(events.row_of(tx.connection, event_id)),
        "account": views.account(row, reads=(caller, tx.services.sealer)),
    }
    headers = {"Location": f"/v1/growth/events/{event_id}"}
    return web.json_reply(201, document, target=account_id, headers=headers)
