"""The audit trail: one record for each act, true in every member, for auditors' eyes, for good."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from certification import auditing
from certification.analysing import keep
from certification.checks import check
from certification.malformed import is_refused, send_raw
from certification.model import Json, Module, Severity, Veto
from certification.oracle.analytics_series import SECOND_NS, instant_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from certification.context import Context

SKEW_S = 60
"""How far a record's time may be from that of its transaction: one clock, one commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the record of an act must say."""

    action: str
    """What the action begins with; empty where it may be a method and a path."""
    outcome: str
    actor: str
    object: str = ""
    """The object, where the contract says which; empty where it may be a path."""


def new_user(ctx: Context, **fields: str) -> tuple[Json, Json]:
    """Create a throw-away customer; return its credentials and the user."""
    rules = ctx.capabilities["auth"].get("password", {})
    password = fields.pop("password", f"Zx9!{uuid4().hex}").ljust(rules.get("min_length", 0), "x")
    credentials = {"username": f"t{uuid4().hex[:24]}", "password": password, **fields}
    body = {**credentials, "roles": ["customer"]}
    user: Json = ctx.admin.call("createUser", body=body, expect=201).body
    return credentials, user


def _login(ctx: Context, acts: auditing.Acts) -> Expected:
    credentials, user = new_user(ctx)
    acts.send(ctx.anonymous, "login", body=credentials, expect=200)
    return Expected(action="login", outcome=auditing.DONE, actor=user["id"])


def _failed_login(ctx: Context, acts: auditing.Acts) -> Expected:
    credentials, user = new_user(ctx)
    wrong = {**credentials, "password": "Zx9!" + uuid4().hex}
    acts.send(ctx.anonymous, "login", body=wrong, problem="bad_credentials")
    return Expected(action="", outcome="bad_credentials", actor=user["id"])


def _denied(ctx: Context, acts: auditing.Acts) -> Expected:
    acts.send(ctx.customer, "listUsers", problem="forbidden")
    return Expected(action="", outcome="forbidden", actor=ctx.customer.user_id)


def _foreign(ctx: Context, acts: auditing.Acts) -> Expected:
    account = ctx.arrange.account(funds=500)
    body = ctx.arrange.withdrawal_body(account, 5)
    acts.send(ctx.customer2, "createTransaction", body=body, problem="not_found")
    return Expected(action="", outcome="not_found", actor=ctx.customer2.user_id)


def _transfer(ctx: Context, acts: auditing.Acts) -> Expected:
    source, target = ctx.arrange.account(funds=500), ctx.arrange.account()
    body = ctx.arrange.transfer_body(source, target, 5)
    made = acts.send(ctx.customer, "createTransaction", body=body, expect=201).body
    actor = ctx.customer.user_id
    return Expected(
        action="createTransaction", outcome=auditing.DONE, actor=actor, object=made["id"]
    )


def _refused(ctx: Context, acts: auditing.Acts) -> Expected:
    body = ctx.arrange.withdrawal_body(ctx.arrange.account(funds=5), 50)
    acts.send(ctx.customer, "createTransaction", body=body, problem="insufficient_available")
    actor = ctx.customer.user_id
    return Expected(action="createTransaction", outcome="insufficient_available", actor=actor)


def _role_change(ctx: Context, acts: auditing.Acts) -> Expected:
    _, user = new_user(ctx)
    path = {"id": user["id"]}
    etag = ctx.admin.call("getUser", path=path, expect=200).etag
    body = {"roles": ["customer", "operator"]}
    acts.send(ctx.admin, "updateUser", path=path, body=body, if_match=etag, expect=200)
    actor = ctx.admin.user_id
    return Expected(action="updateUser", outcome=auditing.DONE, actor=actor, object=user["id"])


def _suspension(ctx: Context, acts: auditing.Acts) -> Expected:
    account = ctx.arrange.account()
    path, body = {"id": account["id"]}, {"status": "suspended"}
    etag = ctx.arrange.read_reply(account).etag
    acts.send(ctx.manager, "updateAccount", path=path, body=body, if_match=etag, expect=200)
    actor = ctx.manager.user_id
    return Expected(
        action="updateAccount", outcome=auditing.DONE, actor=actor, object=account["id"]
    )


def _stale(ctx: Context, acts: auditing.Acts) -> Expected:
    account = ctx.arrange.account()
    path, body = {"id": account["id"]}, {"name": "another"}
    acts.send(
        ctx.customer,
        "updateAccount",
        path=path,
        body=body,
        if_match='"999999"',
        problem="precondition_failed",
    )
    actor = ctx.customer.user_id
    return Expected(action="updateAccount", outcome="precondition_failed", actor=actor)


ACTS: dict[str, Callable[[Context, auditing.Acts], Expected]] = {
    "login": _login,
    "failed login": _failed_login,
    "denied access": _denied,
    "write to another owner's account": _foreign,
    "transfer": _transfer,
    "refused withdrawal": _refused,
    "change of roles": _role_change,
    "suspension": _suspension,
    "stale version": _stale,
}


@check(
    "functional/audit/acts-are-recorded",
    title="Who did what to what, when, and with which outcome stands in the trail, once",
    failure_title="An act is missing from the audit trail, or its record is not true",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC", "E2E-SEC"],
    operations=[
        "listAudit",
        "login",
        "createTransaction",
        "updateUser",
        "updateAccount",
        "getAuditCheckpoint",
        "listUsers",
    ],
    modules=(Module.OPERATIONS,),
    identities=["customer", "customer2", "manager", "admin", "auditor"],
    defects=[
        "refusals-are-not-audited",
        "failed-logins-are-not-audited",
        "denials-are-not-audited",
        "audit-names-the-wrong-actor",
        "audit-forgets-the-object",
        "refusals-are-called-done",
        "audit-forgets-the-request",
    ],
    veto=Veto.AUDIT_GAP,
    standards=["OWASP-ASVS:16.2.1", "OWASP-ASVS:16.3.1", "OWASP-ASVS:16.3.2"],
)
@pytest.mark.parametrize("act", ACTS)
def check_acts_are_recorded(ctx: Context, act: str) -> None:
    """Whether nine acts, allowed and refused, each leave one record that is true.

    Why: What is not in the trail did not happen, as far as anybody can show later.
    How: Do the act under a request id of its own; find its record from a remembered place on;
        compare actor, action, object and outcome, and its time with that of a booking around it.
    Fails when: There is no record or more than one, or a member is not what was done.
    Remedy: Write the record in the transaction of the change, or of the refusal; never from what
        the client says of itself.
    """
    acts = auditing.acts(ctx)
    booked = ctx.arrange.deposit(ctx.arrange.account(), 1)
    expected = ACTS[act](ctx, acts)
    record = acts.record()
    on = [acts.done[-1][1]]
    ctx.equal(record["outcome"], expected.outcome, f"The outcome of a {act}", *on)
    if act == "login":
        # Before the token there is a user, but no principal.
        who: object = expected.actor in {record["actor"], record["object"]}
        ctx.equal(who, True, "The user stands in the record of the login", *on)
    elif act == "failed login":
        ctx.equal(record["actor"] in {expected.actor, "-"}, True, "The actor is the user", *on)
    else:
        ctx.equal(record["actor"], expected.actor, f"The actor of a {act}", *on)
    ctx.equal(record["action"].startswith(expected.action), True, f"The action of a {act}", *on)
    if expected.object:
        ctx.equal(record["object"], expected.object, f"The object of a {act}", *on)
    if act == "change of roles":
        ctx.equal("roles" in record["action"], True, "The action names the changed member", *on)
    apart = abs(instant_ns(record["ts"]) - instant_ns(booked["recorded_at"])) / SECOND_NS
    ctx.expect(
        apart <= SKEW_S,
        "The record has another time than a booking just before it",
        expected=f"within {SKEW_S} s of {booked['recorded_at']}",
        observed=record["ts"],
        on=on,
    )


@check(
    "functional/audit/each-act-once",
    title="As many records as acts, also when many act at once; a replay is no act",
    failure_title="Acts and records do not have the same number",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["listAudit", "createTransaction", "getAuditCheckpoint"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "auditor"],
    defects=[
        "refusals-are-not-audited",
        "refusals-are-called-done",
        "audit-forgets-the-object",
        "acts-are-audited-twice",
        "replays-are-audited",
    ],
    veto=Veto.AUDIT_GAP,
    standards=["OWASP-ASVS:16.5.3"],
)
def check_each_act_once(ctx: Context) -> None:
    """Whether 12 bookings at once, 5 refusals and 3 replays leave 12, 5 and no records.

    Why: A trail that loses one record in a thousand under load is no trail.
    How: Send twelve deposits in one burst and five withdrawals beyond the funds; repeat three of
        the deposits with their keys; count the records of each by request id.
    Fails when: An act has no record or several, a replay has one, or outcomes do not match.
    Remedy: Commit act and record together; find a stored answer before writing a record.
    """
    account = ctx.arrange.account()
    acts = auditing.acts(ctx)
    bodies = [
        {
            "kind": "deposit",
            "amount": ctx.arrange.money(2**number),
            "to_account_id": account["id"],
        }
        for number in range(12)
    ]
    send = partial(acts.send, ctx.customer, "createTransaction", expect=201)
    made = ctx.together([partial(send, body=body) for body in bodies])
    beyond = ctx.arrange.withdrawal_body(account, 2**20)
    refuse = partial(acts.send, ctx.customer, "createTransaction", problem="insufficient_available")
    for _ in range(5):
        refuse(body=beyond)
    for reply, body in zip(made[:3], bodies, strict=False):
        send(body=body, key=reply.sent_key)
    found = acts.records(actor=ctx.customer.user_id)
    outcomes = [[record["outcome"] for record in found[id_]] for id_, _ in acts.done]
    expected = [[auditing.DONE]] * 12 + [["insufficient_available"]] * 5 + [[]] * 3
    ctx.equal(outcomes, expected, "The outcomes recorded of 12 deposits, 5 refusals, 3 replays")
    objects = sorted(found[id_][0]["object"] for id_, _ in acts.done[:12])
    ctx.equal(objects, sorted(reply.body["id"] for reply in made), "The objects of the deposits")


@check(
    "functional/audit/filters-filter",
    title="Filters of the trail leave out what they say, and nothing else",
    failure_title="A filter of the audit trail hides a record, or shows another",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC"],
    operations=["listAudit", "getAuditCheckpoint"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "auditor"],
    defects=["audit-filters-are-ignored"],
)
def check_filters_filter(ctx: Context) -> None:
    """Whether actor, action, object, outcome, from and to find a known record, and only its like.

    Why: An investigation that trusts a filter sees what the filter shows.
    How: Make a deposit and a refused withdrawal; filter by each member of the deposit's record, and
        by values that it does not have.
    Fails when: The record is missing with its own value, a row has another value, or the record is
        shown with a value that it does not have.
    Remedy: Apply every filter in the query that pages.
    """
    account = ctx.arrange.account()
    acts = auditing.acts(ctx)
    money = ctx.arrange.money(3)
    body = {"kind": "deposit", "amount": money, "to_account_id": account["id"]}
    acts.send(ctx.customer, "createTransaction", body=body, expect=201)
    over = ctx.arrange.withdrawal_body(account, 9)
    acts.send(ctx.customer, "createTransaction", body=over, problem="insufficient_available")
    record, refused = acts.record(0), acts.record(1)
    for name in ("actor", "action", "object", "outcome"):
        found = auditing.rows(ctx, acts.start, **{name: record[name]})
        ctx.equal({row[name] for row in found}, {record[name]}, f"Rows filtered by {name}")
        ctx.equal(record in found, True, f"The record is found by its {name}")
    shown = auditing.rows(ctx, acts.start, outcome=refused["outcome"])
    ctx.equal((refused in shown, record in shown), (True, False), "Rows by another outcome")
    book = keep(ctx, account)
    window = {"from": record["ts"], "to": book.at(2)}
    ctx.equal(record in auditing.rows(ctx, acts.start, **window), True, "The record in its time")
    early = auditing.rows(ctx, acts.start, to=record["ts"])
    ctx.equal(record in early, False, "`to` is not part of its window")


@check(
    "functional/audit/only-auditors-read",
    title="The trail is for auditors and admins, and written by nobody",
    failure_title="The audit trail can be read by others, or written through the interface",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC", "E2E-SEC"],
    operations=["listAudit", "getAuditCheckpoint"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "operator", "manager", "admin", "auditor"],
    defects=["anybody-reads-the-trail", "the-trail-can-be-purged"],
    veto=Veto.AUDIT_GAP,
    standards=["OWASP-ASVS:16.4.2"],
)
def check_only_auditors_read(ctx: Context) -> None:
    """Whether six roles are refused every method that writes, and four of them reading.

    Why: Whoever can write the trail can write himself out of it.
    How: Read trail and checkpoint as each role; send PUT, PATCH, DELETE and POST to the trail, to a
        record and to the checkpoint as each role, admin and auditor too; read the first record
        before and after.
    Fails when: A customer, operator, manager or nobody reads; any role gets anything but a refusal
        for a write; or the first record has changed.
    Remedy: Give the trail no route that writes, and the database no right to update or delete.
    """
    first = ctx.auditor.call("listAudit", query={"limit": 1}, expect=200).body["data"]
    for operation in ("listAudit", "getAuditCheckpoint"):
        ctx.admin.call(operation, expect=200)
        ctx.anonymous.call(operation, problem="token_missing")
        for actor in (ctx.customer, ctx.operator, ctx.manager):
            actor.call(operation, problem="forbidden")
    for path in ("/v1/audit", "/v1/audit/1", "/v1/audit/checkpoint"):
        for method in ("PUT", "PATCH", "DELETE", "POST"):
            for actor in (ctx.anonymous, ctx.customer, ctx.manager, ctx.auditor, ctx.admin):
                reply = send_raw(actor, method, path, body={"outcome": "done"})
                is_refused(actor, reply)
    again = ctx.auditor.call("listAudit", query={"limit": 1}, expect=200).body["data"]
    ctx.equal(again, first, "The first record")
