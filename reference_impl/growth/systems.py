"""POST /v1/systems and GET /v1/systems/{id}: accounts opened together, by the policy's split."""

from typing import Any

import flask

from reference_impl import access, idempotency, ids, journal, ledger, requests, views, web
from reference_impl.access import Caller, Rank
from reference_impl.clock import text
from reference_impl.config import CURRENCIES
from reference_impl.problems import Problem
from reference_impl.requests import given

from . import births, bodies, events, policies, shares
from .policy import Policy

blueprint = flask.Blueprint("growth_systems", __name__)


@blueprint.post("/v1/systems")
def open_system() -> flask.Response:
    """Open generation, revenue and compounding with one amount from outside."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(bodies.OpenSystem)
    bodies.check_system(body)
    owner_id = given(body.owner_id) or caller.user_id
    if owner_id != caller.user_id or caller.service:
        access.check_rank(caller, Rank.OPERATOR)

    def change(tx: web.Tx) -> idempotency.Reply:
        found = tx.connection.execute("SELECT 1 FROM users WHERE id = ?", (owner_id,)).fetchone()
        if found is None:
            raise access.not_found(f"user {owner_id}")
        if body.amount.currency not in CURRENCIES:
            raise Problem("unsupported_currency", f"There is {', '.join(CURRENCIES)}.")
        policy = policies.in_force(tx.connection, "generation")
        amounts = shares.split(body.amount.amount, [leg.bps for leg in policy.initial_split])
        if problem := shares.check_legs(amounts):
            raise problem
        system_id = open_accounts(tx, caller, (policy, body, owner_id), amounts)
        document = shown(tx, caller, _row(tx, system_id))
        headers = {"Location": f"/v1/systems/{system_id}"}
        return web.json_reply(201, document, target=system_id, headers=headers)

    return web.write(caller, "openSystem", change)


def open_accounts(
    tx: web.Tx,
    caller: Caller,
    terms: tuple[Policy, bodies.OpenSystem, str],
    amounts: tuple[int, ...],
) -> str:
    """Write the accounts, the opening and the system; `terms` are policy, request and owner."""
    policy, body, owner_id = terms
    currency = body.amount.currency
    opened = [
        births.open_account(tx, birth(terms, leg.type, amount))
        for leg, amount in zip(policy.initial_split, amounts, strict=True)
    ]
    draft = journal.Draft(
        kind="opening",
        amount=body.amount.amount,
        currency=currency,
        from_account_id=None,
        to_account_id=None,
        actor=caller.user_id,
        now_ms=tx.now_ms,
    )
    outside = journal.system_bucket(tx.connection, "external", currency)
    lines = [ledger.line(outside, -body.amount.amount)]
    lines += [ledger.line(cash, amount) for cash, amount in zip(opened, amounts, strict=True)]
    journal.post(tx.connection, draft, lines)
    system_id, seq = ids.new_id("sys", tx.now_ms), journal.tip(tx.connection)
    tx.connection.execute(
        "INSERT INTO systems VALUES (?, ?, ?, ?, ?, ?)",
        (seq, system_id, owner_id, body.name, policy.ref, tx.now_ms),
    )
    parties = [(cash.account_id or "", "opened") for cash in opened]
    events.write_parties(tx.connection, seq, parties)
    return system_id


def birth(
    terms: tuple[Policy, bodies.OpenSystem, str], account_type: str, amount: int
) -> births.Birth:
    """Return an account of a system: its own root, its base what it opens with."""
    policy, body, owner_id = terms
    return births.Birth(
        owner_id=owner_id,
        type=account_type,
        currency=body.amount.currency,
        name=body.name,
        base_amount=amount,
        buffer_bps=policy.buffer_bps,
        policy=policy,
        policy_ref=policy.ref,
        metadata=requests.compact(body.metadata),
    )


def _row(tx: web.Tx, system_id: str) -> Any:
    return tx.connection.execute(
        "SELECT s.*, t.id AS transaction_id, t.amount, t.currency FROM systems s"
        " JOIN transactions t ON t.seq = s.seq WHERE s.id = ?",
        (system_id,),
    ).fetchone()


def shown(tx: web.Tx, caller: Caller, row: Any) -> dict[str, Any]:
    """Return a system; its accounts as they are now, in the order of the split."""
    reads = (caller, tx.services.sealer)
    accounts = tx.connection.execute(
        "SELECT a.id FROM parties p JOIN accounts a ON a.id = p.account_id"
        " WHERE p.seq = ? AND p.role = 'opened' ORDER BY a.seq",
        (row["seq"],),
    ).fetchall()
    return {
        "id": row["id"],
        "owner_id": row["owner_id"],
        "name": row["name"],
        "amount": {"amount": row["amount"], "currency": row["currency"]},
        "policy_ref": row["policy_ref"],
        "transaction_id": row["transaction_id"],
        "created_at": text(row["created_at"]),
        "accounts": [
            views.account(views.account_row(tx.connection, found["id"], tx.now_ms), reads=reads)
            for found in accounts
        ],
    }


@blueprint.get("/v1/systems/<system_id>")
def get_system(system_id: str) -> flask.Response:
    """Return one system."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    with web.snapshot() as tx:
        row = _row(tx, system_id)
        if row is None:
            raise access.not_found(f"system {system_id}")
        access.check_visible(caller, f"system {system_id}", row["owner_id"])
        return web.respond_json(shown(tx, caller, row))
