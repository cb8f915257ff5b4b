"""POST /v1/merges and GET /v1/merges/{id}: accounts end in another, with everything they hold."""

from collections.abc import Sequence
from typing import Any

import flask
import msgspec

from reference_impl import access, idempotency, journal, ledger, requests, views, web
from reference_impl.access import Caller, Rank
from reference_impl.config import MAX_AMOUNT
from reference_impl.problems import Problem
from reference_impl.requests import given

from . import births, bodies, events, fork_rules, policies, standing
from . import merge_rules as rules
from .policy import Policy
from .standing import Standing

blueprint = flask.Blueprint("growth_merge", __name__)


@blueprint.post("/v1/merges")
def merge_accounts() -> flask.Response:
    """Merge accounts into one that is there, or into a new one."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(bodies.Merge)
    bodies.check_merge(body)
    if body.override:
        access.check_rank(caller, Rank.MANAGER)

    def change(tx: web.Tx) -> idempotency.Reply:
        sources = [standing.need(tx, caller, account_id) for account_id in body.sources]
        target_id = given(body.target_id)
        target = None if target_id is None else standing.need(tx, caller, target_id)
        for account in (*sources, *((target,) if target else ())):
            standing.check_may_grow(caller, account)
        policy = policies.in_force(tx.connection, target.type if target else "compounding")
        case = rules.Case(
            policy=policy.merge,
            sources=sources,
            target=target,
            by_policy=body.mode == "policy",
            override=body.override,
            held=held(tx, (*sources, *((target,) if target else ()))),
            origins=[origin(tx, source.id) for source in sources],
        )
        for problem in rules.refusals(case):
            raise problem
        return merge(tx, caller, case, (policy, body))

    return web.write(caller, "mergeAccounts", change)


def held(tx: web.Tx, accounts: Sequence[Standing]) -> frozenset[str]:
    """Return the accounts into or out of which a hold could still move money."""
    return frozenset(
        account.id
        for account in accounts
        if journal.has_open_holds(tx.connection, account.id, tx.now_ms)
    )


def origin(tx: web.Tx, account_id: str) -> rules.Origin | None:
    """Return the fork that an account was born from, judged by the policy of that fork."""
    fork = events.birth_of(tx.connection, account_id)
    if fork is None:
        return None
    policy = policies.by_ref(tx.connection, fork.policy_ref)
    return rules.Origin(fork=fork, matured=fork_rules.matured(policy.fork, fork, tx.now_ms))


def facts(case: rules.Case) -> dict[str, int]:
    """Return the figures of the target before the merge, and in mode policy what was asked."""
    target = case.target
    figures = {
        "ledger": target.ledger if target else 0,
        "holds": target.holds if target else 0,
        "base_amount": target.base_amount if target else 0,
        "buffer": target.buffer if target else 0,
        "total_value": target.total_value if target else 0,
    }
    if case.by_policy:
        figures["trigger_value"] = case.value
        if case.threshold is not None:
            figures["threshold"] = case.threshold
    return figures


def merge(
    tx: web.Tx, caller: Caller, case: rules.Case, terms: tuple[Policy, bodies.Merge]
) -> idempotency.Reply:
    """Move every bucket, end the sources, write the event; `terms` are policy and request."""
    policy, body = terms
    first = case.sources[0]
    target_id = case.target.id if case.target else open_target(tx, case, policy, body)
    buckets = [journal.account_buckets(tx.connection, source.id) for source in case.sources]
    kinds = {bucket.kind for own in buckets for bucket in own if bucket.balance}
    into = {
        kind: journal.own_bucket(tx.connection, target_id, kind, first.currency)
        for kind in sorted(kinds)
    }
    lines = rules.lines(buckets, into)
    draft = journal.Draft(
        kind="merge",
        amount=journal.sum_in(lines),
        currency=first.currency,
        from_account_id=None,
        to_account_id=target_id,
        actor=caller.user_id,
        now_ms=tx.now_ms,
        reason=given(body.reason),
    )
    journal.post(tx.connection, draft, lines)
    end_sources(tx, case.sources, target_id)
    raise_base(tx, target_id, rules.merged_cash(lines), created=case.target is None)
    event = events.Event(
        kind="merge",
        account_id=target_id,
        owner_id=(case.target or first).account.owner_id,
        currency=first.currency,
        amount=draft.amount,
        policy_ref=policy.ref,
        facts=facts(case),
        legs=legs(lines),
        parties=[(target_id, "target"), *((source.id, "source") for source in case.sources)],
        mode=body.mode,
        override=body.override,
        reason=given(body.reason),
        detail=requests.compact(
            {"sources": [source.id for source in case.sources], "created": case.target is None}
        ),
    )
    return _reply(tx, caller, events.append(tx, caller, event), 201)


def legs(lines: Sequence[ledger.Line]) -> list[dict[str, Any]]:
    """Return what each source gave, bucket by bucket."""
    return [
        {"account_id": line.bucket.account_id, "bucket": line.bucket.kind, "amount": -line.amount}
        for line in lines
        if line.amount < 0
    ]


def open_target(tx: web.Tx, case: rules.Case, policy: Policy, body: bodies.Merge) -> str:
    """Open the compounding account that a merge asks for; return its id."""
    first, wanted = case.sources[0], given(body.create_target)
    root_id, depth = rules.new_target_place(case.sources)
    birth = births.Birth(
        owner_id=first.account.owner_id,
        type="compounding",
        currency=first.currency,
        name=(given(wanted.name) if wanted else None) or first.name,
        base_amount=0,
        buffer_bps=policy.buffer_bps,
        policy=policy,
        policy_ref=policy.ref,
        root_id=root_id,
        depth=depth,
    )
    return births.open_account(tx, birth).account_id or ""


def end_sources(tx: web.Tx, sources: Sequence[Standing], target_id: str) -> None:
    """Make the sources merged for ever; an ended account has no minimum to keep (M2)."""
    tx.connection.executemany(
        "UPDATE accounts SET status = 'merged', merged_into_id = ?, min_balance = 0,"
        " version = version + 1 WHERE id = ?",
        [(target_id, source.id) for source in sources],
    )


def raise_base(tx: web.Tx, target_id: str, cash: int, *, created: bool) -> None:
    """Raise the target's base by the merged cash, so that a merge triggers no fork by itself."""
    row = tx.connection.execute(
        "UPDATE accounts SET base_amount = base_amount + ?, version = version + ? WHERE id = ?"
        " RETURNING base_amount",
        (cash, not created, target_id),
    ).fetchone()
    if row["base_amount"] > MAX_AMOUNT:
        raise Problem("amount_out_of_range", f"A base may not exceed {MAX_AMOUNT} minor units.")


def _reply(tx: web.Tx, caller: Caller, event_id: str, status: int) -> idempotency.Reply:
    document = shown(tx, caller, events.row_of(tx.connection, event_id))
    headers = {"Location": f"/v1/merges/{event_id}"} if status == 201 else {}
    target = document["target"]["id"]
    return web.json_reply(status, document, target=target, headers=headers)


def shown(tx: web.Tx, caller: Caller, row: Any) -> dict[str, Any]:
    """Return a merge with its accounts as they are now."""
    detail = msgspec.json.decode(row["detail"])
    reads = (caller, tx.services.sealer)
    target, *sources = (
        views.account(views.account_row(tx.connection, account_id, tx.now_ms), reads=reads)
        for account_id in (row["account_id"], *detail["sources"])
    )
    return {
        "id": row["id"],
        "event": events.shown(row),
        "sources": sources,
        "target": target,
        "target_created": detail["created"],
    }


@blueprint.get("/v1/merges/<event_id>")
def get_merge(event_id: str) -> flask.Response:
    """Return one merge."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    with web.snapshot() as tx:
        row = events.need_row(tx, caller, event_id, ("merge",))
        return web.respond_json(shown(tx, caller, row))
