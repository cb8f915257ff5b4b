"""Proofs over the audit trail: chain, inclusion, consistency and signatures, recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certification import auditing
from certification.checks import check
from certification.model import Json, Module, Severity, Veto
from certification.oracle import audit

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply

STANDARDS = ("OWASP-ASVS:16.4.2", "RFC 9162")


def _some_acts(ctx: Context, count: int) -> auditing.Acts:
    """Make deposits whose records are looked for."""
    account = ctx.arrange.account()
    acts = auditing.acts(ctx)
    for number in range(count):
        body = {
            "kind": "deposit",
            "amount": ctx.arrange.money(2**number),
            "to_account_id": account["id"],
        }
        acts.send(ctx.customer, "createTransaction", body=body, expect=201)
    return acts


@check(
    "functional/audit-proofs/the-chain-is-whole",
    title="Records follow one another without a gap, each with the hash of the one before",
    failure_title="The audit trail has a gap, or a record that was changed",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["listAudit", "getAuditCheckpoint", "createTransaction"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "auditor"],
    defects=["audit-skips-a-number", "audit-rows-are-edited", "audit-chain-is-cut"],
    veto=Veto.AUDIT_GAP,
    standards=STANDARDS,
)
def check_the_chain_is_whole(ctx: Context) -> None:
    """Whether the newest records, and the first page, make one chain by their own words.

    Why: A trail is evidence only while nobody can take a record out or change one unseen.
    How: Make eight deposits; read every record since, own and others', and the first page of the
        trail; recompute each leaf hash from the record as shown and compare each prev_hash.
    Fails when: A seq is left out or repeated, a hash is not that of the members, a record does not
        name the hash before it, or the first one names any.
    Remedy: Append in the transaction of the change, under one lock; never update a record.
    """
    acts = _some_acts(ctx, 8)
    newest = auditing.rows(ctx, acts.start)
    ctx.equal(newest[0]["seq"] if newest else None, acts.start, "The first record since")
    auditing.expect_chained(ctx, newest, f"records from {acts.start} on")
    limit = min(50, ctx.declared("limits", "page_max"))
    first = ctx.auditor.call("listAudit", query={"limit": limit}, expect=200)
    begun = [record["seq"] for record in first.body["data"]]
    ctx.equal(begun, list(range(1, len(begun) + 1)), "The numbers of the first page", first)
    auditing.expect_chained(ctx, first.body["data"], "the first page")


@check(
    "functional/audit-proofs/acts-are-included",
    title="Each act is in the signed tree, proven from its record as shown",
    failure_title="An inclusion proof does not lead from a record to the signed root",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["getAuditCheckpoint", "listAudit", "createTransaction"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "auditor"],
    defects=["proofs-of-the-wrong-leaf", "checkpoints-signed-by-another-key"],
    veto=Veto.AUDIT_GAP,
    standards=STANDARDS,
)
def check_acts_are_included(ctx: Context) -> None:
    """Whether the audit paths of own records, of the first and of the last verify.

    Why: With a path and a signed root, a customer can show that a transfer was recorded without
        seeing anybody else's record.
    How: Make six deposits, find their records, ask for a proof of each, of the first record and of
        one beyond the last; verify by RFC 9162 against the root, and the root's signature with the
        declared key.
    Fails when: A path does not lead from the hash of the record to the root, the root is not signed
        with the key, or what is beyond the end is not 404.
    Remedy: Hash leaves as the contract says; build paths from the leaf's own place, seq - 1.
    """
    acts = _some_acts(ctx, 6)
    found = [acts.record(number, actor=ctx.customer.user_id) for number in range(6)]
    first = ctx.auditor.call("listAudit", query={"limit": 1}, expect=200).body["data"]
    for record in (*found, *first):
        shown = auditing.checkpoint(ctx, prove=record["seq"])
        auditing.expect_signed(ctx, shown)
        _expect_included(ctx, shown, record)
    beyond = shown.body["size"] + 10**9
    query = {"prove": beyond}
    ctx.auditor.call("getAuditCheckpoint", query=query, problem="not_found")


def _expect_included(ctx: Context, shown: Reply, record: Json) -> None:
    ctx.expect(
        "inclusion" in shown.body and audit.is_included(shown.body, record),
        "The inclusion proof does not verify",
        expected=f"a path from record {record['seq']} to the root of {shown.body['size']}",
        observed=shown.body.get("inclusion", "no member `inclusion`"),
        on=[shown],
    )


@check(
    "functional/audit-proofs/checkpoints-continue",
    title="Each checkpoint continues every earlier one, across writes",
    failure_title="A later checkpoint does not continue an earlier one",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["getAuditCheckpoint", "createTransaction", "listAudit"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "auditor"],
    defects=["history-is-rewritten", "checkpoints-signed-by-another-key"],
    veto=Veto.AUDIT_GAP,
    standards=STANDARDS,
)
def check_checkpoints_continue(ctx: Context) -> None:
    """Whether consistency proofs verify between checkpoints taken before and after writes.

    Why: S2: whoever kept a checkpoint notices that history was rewritten behind it, and only then.
    How: Keep four checkpoints with deposits between them; ask for a proof from each to the newest,
        from the first record on, and from a size that was never reached; verify roots, proofs and
        signatures by RFC 9162.
    Fails when: A proof does not verify, size or epoch goes back, two checkpoints of one size have
        different roots, or the size beyond is not 404.
    Remedy: Only append; compute old roots from stored leaves, never from the present ones alone.
    """
    account = ctx.arrange.account()
    kept = [auditing.checkpoint(ctx)]
    for amount in (1, 2, 4):
        ctx.arrange.deposit(account, amount)
        kept.append(auditing.checkpoint(ctx))
    for shown in kept:
        auditing.expect_signed(ctx, shown)
    sizes = [shown.body["size"] for shown in kept]
    ctx.equal(sizes, sorted(set(sizes)), "The sizes of checkpoints across writes", *kept)
    epochs = {shown.body["epoch"] for shown in kept}
    ctx.equal(len(epochs), 1, "How many epochs there are without a restore", *kept)
    first = ctx.auditor.call("listAudit", query={"limit": 1}, expect=200).body["data"][0]
    begun = (1, audit.leaf_hash(first))
    for old in (begun, *(audit.head(shown.body) for shown in kept)):
        shown = auditing.checkpoint(ctx, since=old[0])
        auditing.expect_signed(ctx, shown)
        proof = audit.steps(shown.body.get("consistency", ()))
        ctx.expect(
            audit.is_consistent(old, audit.head(shown.body), proof),
            "The consistency proof does not verify",
            expected=f"the {shown.body['size']} records continue the {old[0]} of {old[1].hex()}",
            observed=shown.body.get("consistency", "no member `consistency`"),
            on=[shown],
        )
    beyond = {"since": shown.body["size"] + 10**9}
    ctx.auditor.call("getAuditCheckpoint", query=beyond, problem="not_found")


@check(
    "functional/audit-proofs/the-root-is-of-the-leaves",
    title="The signed root is that of the records that are shown",
    failure_title="The signed root is not that of the records that are shown",
    severity=Severity.CRITICAL,
    requirements=["SYS-SEC"],
    operations=["getAuditCheckpoint", "listAudit"],
    modules=(Module.OPERATIONS,),
    identities=["customer", "auditor"],
    defects=["roots-lag-behind"],
    veto=Veto.AUDIT_GAP,
    standards=STANDARDS,
)
def check_the_root_is_of_the_leaves(ctx: Context) -> None:
    """Whether every record since an old checkpoint stands in the new tree at its own place.

    Why: Proofs of a few records say nothing of one that was slipped in between them.
    How: Take a checkpoint, make deposits, read all records since, prove up to twelve of them, own
        and others', each at its seq, and compare the place of each with the chain.
    Fails when: A record that the list shows is not the leaf of its place.
    Remedy: One table is list, chain and tree.
    """
    acts = _some_acts(ctx, 5)
    records = auditing.rows(ctx, acts.start)
    chosen = records if len(records) <= 12 else ctx.random.sample(records, 12)
    for record in chosen:
        shown = auditing.checkpoint(ctx, prove=record["seq"])
        auditing.expect_signed(ctx, shown)
        _expect_included(ctx, shown, record)
