"""The audit trail and people: no secrets in it, and whole after somebody is erased."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING
from uuid import uuid4

from certification import auditing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import audit

if TYPE_CHECKING:
    from certification.context import Context


def new_user(ctx: Context, **fields: str) -> tuple[Json, Json]:
    """Create a throw-away customer; return its credentials and the user."""
    rules = ctx.capabilities["auth"].get("password", {})
    password = fields.pop("password", f"Zx9!{uuid4().hex}").ljust(rules.get("min_length", 0), "x")
    credentials = {"username": f"t{uuid4().hex[:24]}", "password": password, **fields}
    body = {**credentials, "roles": ["customer"]}
    user: Json = ctx.admin.call("createUser", body=body, expect=201).body
    return credentials, user


@check(
    "functional/audit-privacy/secrets-stay-out",
    title="No secret, name or text of a request stands in the trail, and no digest to guess it by",
    failure_title="A secret or a person's words stand in the audit trail",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=[
        "listAudit",
        "login",
        "createUser",
        "createAccount",
        "createTransaction",
        "getAuditCheckpoint",
    ],
    modules=(Module.OPERATIONS,),
    identities=["customer", "admin", "auditor"],
    defects=["payloads-stand-in-the-trail", "digests-can-be-guessed"],
    standards=["OWASP-ASVS:16.2.5", "CWE-532"],
)
def check_secrets_stay_out(ctx: Context) -> None:
    """Whether canaries in passwords, names, references and memos are nowhere in the records.

    Why: The trail is kept for years, read by auditors, and cannot be erased.
    How: Send a canary as password of a new user, as password and name of failed logins, as bank
        reference of an account and memo of a deposit; search the records of these acts for it, and
        compare each payload digest with plain digests of what was sent.
    Fails when: A record holds the canary, or a digest is the SHA-256 of the payload without a key.
    Remedy: Record ids and keyed digests, never payloads.
    """
    canary = f"Canary9!{uuid4().hex}"
    acts, sent = auditing.acts(ctx), []
    user = {"username": f"t{uuid4().hex[:24]}", "password": canary, "roles": ["customer"]}
    credentials, _ = new_user(ctx)
    account = ctx.arrange.account()
    opened = {"type": "generation", "currency": ctx.arrange.currency, "name": canary}
    money = ctx.arrange.money(1)
    deposit = {"kind": "deposit", "amount": money, "to_account_id": account["id"], "memo": canary}
    requests: list[tuple[str, str, Json, Json]] = [
        ("admin", "createUser", user, {"expect": 201}),
        ("anonymous", "login", {**credentials, "password": canary}, {"problem": "bad_credentials"}),
        ("anonymous", "login", {**credentials, "username": canary}, {"problem": "bad_credentials"}),
        ("customer", "createAccount", {**opened, "external_account_ref": canary}, {"expect": 201}),
        ("customer", "createTransaction", deposit, {"expect": 201}),
    ]
    for role, operation, body, expected in requests:
        reply = acts.send(ctx.actor(role), operation, body=body, **expected)
        if operation == "createAccount":
            ctx.created("account", reply.body["id"], role)
        sent.append(body)
    found = acts.records()
    for (request_id, reply), body in zip(acts.done, sent, strict=True):
        for record in found[request_id]:
            ctx.equal(canary in json.dumps(record), False, "The canary is in a record", reply)
            plain = {json.dumps(body).encode(), json.dumps(body, separators=(",", ":")).encode()}
            plain |= {audit.canonical(body), canary.encode()}
            digests = {hashlib.sha256(text).hexdigest() for text in plain}
            guessed = any(digest in record["payload_digest"] for digest in digests)
            ctx.equal(guessed, False, "A payload digest is one that anybody can make", reply)


@check(
    "functional/audit-privacy/erasure-keeps-the-trail",
    title="After a person is erased, the records and every proof over them still verify",
    failure_title="Erasing a person breaks the audit trail, or leaves no record",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["erasePersonalData", "listAudit", "getAuditCheckpoint", "createUser", "login"],
    modules=(Module.OPERATIONS,),
    identities=["admin", "auditor"],
    defects=["erasure-edits-the-trail"],
    veto=Veto.AUDIT_GAP,
    standards=["OWASP-ASVS:16.4.2", "GDPR Art. 17"],
)
def check_erasure_keeps_the_trail(ctx: Context) -> None:
    """Whether records of an erased user stay as they were, in a tree that continues the old one.

    Why: The right to be forgotten must not be a way to unmake evidence.
    How: Create a user, log in, keep the records and a checkpoint; erase the user; read the records
        again, prove them in the new tree, and prove that the new tree continues the old one.
    Fails when: A record has changed, a proof does not verify, the name stands in the trail, or the
        erasure left no record.
    Remedy: Name people by ids in the trail; erase what the ids stand for.
    """
    acts = auditing.acts(ctx)
    credentials, user = new_user(ctx)
    acts.send(ctx.anonymous, "login", body=credentials, expect=200)
    acts.record()
    path = {"id": user["id"]}
    before = [row for row in auditing.rows(ctx, acts.start) if user["id"] in row.values()]
    kept = auditing.checkpoint(ctx)
    etag = ctx.admin.call("getUser", path=path, expect=200).etag
    acts.send(ctx.admin, "erasePersonalData", path=path, if_match=etag, expect=(200, 202, 204))
    erased = acts.record()
    ctx.equal(erased["outcome"], auditing.DONE, "The outcome of the erasure")
    after = auditing.rows(ctx, acts.start)
    same = [row for row in after if row["seq"] in {old["seq"] for old in before}]
    ctx.equal(same, before, "The records of the erased user")
    auditing.expect_chained(ctx, after, "records around an erasure")
    name = credentials["username"]
    ctx.equal(any(name in json.dumps(row) for row in after), False, "The name is in the trail")
    for record in (*before, erased):
        shown = auditing.checkpoint(ctx, prove=record["seq"], since=kept.body["size"])
        auditing.expect_signed(ctx, shown)
        ctx.equal(audit.is_included(shown.body, record), True, "The record is in the tree", shown)
        proof = audit.steps(shown.body["consistency"])
        whole = audit.is_consistent(audit.head(kept.body), audit.head(shown.body), proof)
        ctx.equal(whole, True, "The tree continues the one before the erasure", kept, shown)
