"""Text: names and memos come back exactly as they were sent, or are refused; never altered."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from certification.checks import check
from certification.guests import new_password
from certification.model import Severity

if TYPE_CHECKING:
    from certification.context import Context
    from certification.target.reply import Reply

NAME_MAX_CHARS = 200
MEMO_MAX_CHARS = 500

TEXTS = {
    "composed": "Jos\u00e9 \u00c5ngstr\u00f6m",
    "decomposed": "Jose\u0301 A\u030angstro\u0308m",
    "hangul jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "ligature": "\ufb01nance \u2460 \u212b",
    "emoji": "\U0001f9d1\u200d\U0001f680 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd",
    "right to left": "\u062d\u0633\u0627\u0628 \u05d7\u05e9\u05d1\u05d5\u05df 42",
    "direction marks": "a\u202eb\u202cc\u200fd",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe",
    "four bytes": "\U00020bb7\U0001d518\U0010fffd",
    "turkish": "\u0130stanbul I\u0131i\u0307",
    "sharp s": "Stra\u00dfe STRASSE \u1e9e",
    "markup": "<script>alert('x')</script> & \"<b>\" &amp;",
    "sql": "Robert'); DROP TABLE accounts;--",
    "template": "{{7*7}} ${7*7} %s %n {0} \\n \\u0041",
    "spaces": "  two  at  the  ends  ",
    "nbsp": "\u00a0\u2003a\u3000",
    "null word": "null",
    "long word": "x" * NAME_MAX_CHARS,
    "long emoji": "\U0001f98a" * NAME_MAX_CHARS,
}


def kept_or_refused(ctx: Context, reply: Reply, sent: str, member: str) -> bool:
    """Fail unless the text was kept exactly or refused with a 4xx; tell whether it was kept."""
    if reply.status != 201:
        ctx.is_problem(reply, "validation_failed")
        return False
    ctx.equal(reply.body[member], sent, f"The {member} was altered", reply)
    return True


@check(
    "functional/text/names-come-back-exactly",
    title="A name comes back exactly as it was sent, or is refused",
    failure_title="A name is altered on its way",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC"],
    operations=["createAccount", "getAccount", "updateAccount"],
    defects=["names-are-normalised"],
)
@pytest.mark.parametrize("text", list(TEXTS))
def check_names_come_back_exactly(ctx: Context, text: str) -> None:
    """Give an account names of many scripts.

    Why: Normalising, trimming or escaping a name changes somebody's name, and breaks every
    comparison with the system it came from.
    How: Open an account with the name, read it, and rename it to the same; compare code points.
    Fails when: what comes back differs from what was sent by one code point.
    Remedy: Store UTF-8 as sent; normalise only copies that are used for searching.
    """
    sent = TEXTS[text]
    body = {"type": "generation", "currency": ctx.arrange.currency, "name": sent}
    reply = ctx.customer.call("createAccount", body=body)
    if not kept_or_refused(ctx, reply, sent, "name"):
        return
    ctx.created("account", reply.body["id"], ctx.customer.role)
    ctx.wait(ctx.arrange.lag_s)
    read = ctx.arrange.read_reply(reply.body)
    ctx.equal(read.body["name"], sent, "The name reads differently than it was accepted", read)
    renamed = ctx.customer.call(
        "updateAccount",
        path={"id": reply.body["id"]},
        body={"name": sent},
        if_match=read.etag,
        expect=200,
    )
    ctx.equal(renamed.body["name"], sent, "A change to the same name altered it", renamed)


@check(
    "functional/text/memos-come-back-exactly",
    title="A memo and metadata come back exactly as they were sent, or are refused",
    failure_title="A memo or metadata is altered on its way",
    severity=Severity.MEDIUM,
    requirements=["SYS-TXN"],
    operations=["createTransaction", "getTransaction"],
    defects=["memos-are-cut"],
)
@pytest.mark.parametrize("text", list(TEXTS))
def check_memos_come_back_exactly(ctx: Context, text: str) -> None:
    """Book with memos and metadata of many scripts.

    Why: A memo often carries the number by which the other side recognises the payment; cut or
    altered, the payment is unmatched.
    How: Book a deposit with the text, repeated to nearly the longest memo, as memo and in the
    metadata.
    Fails when: what comes back differs from what was sent.
    Remedy: Store UTF-8 as sent; refuse what does not fit.
    """
    sent = TEXTS[text]
    memo = sent * max(1, MEMO_MAX_CHARS // len(sent))
    metadata = {sent[:40]: [sent[:100], {"nested": sent[:100]}, None, True, 0]}
    account = ctx.arrange.account()
    body = {
        "kind": "deposit",
        "amount": ctx.arrange.money(5, account["currency"]),
        "to_account_id": account["id"],
        "memo": memo,
        "metadata": metadata,
    }
    reply = ctx.customer.call("createTransaction", body=body)
    if not kept_or_refused(ctx, reply, memo, "memo"):
        return
    ctx.wait(ctx.arrange.lag_s)
    read = ctx.customer.call("getTransaction", path={"id": reply.body["id"]}, expect=200)
    found = (read.body["memo"], read.body["metadata"])
    ctx.equal(found, (memo, metadata), "Memo or metadata read differently than accepted", read)


@check(
    "functional/text/control-characters",
    title="Control characters are refused",
    failure_title="Control characters are accepted, or silently removed",
    severity=Severity.LOW,
    requirements=["SYS-ACC"],
    operations=["createAccount"],
    defects=["control-characters-are-removed"],
)
@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\n", "\r\n", "\t", "\x1b[31m", "\x7f"], ids=repr
)
def check_control_characters(ctx: Context, character: str) -> None:
    """Put control characters into a name.

    Why: A line feed in a name forges a log line, an escape sequence takes over the terminal of
    whoever reads it, and a NUL ends the text in the next system.
    How: Open an account with the character inside the name and at its end.
    Fails when: the answer is not 400 `validation_failed`.
    Remedy: Refuse U+0000 to U+001F and U+007F in single-line text; do not remove them.
    """
    for name in (f"before{character}after", f"before{character}"):
        body = {"type": "generation", "currency": ctx.arrange.currency, "name": name}
        reply = ctx.customer.call("createAccount", body=body)
        if reply.status == 201:
            ctx.created("account", reply.body["id"], ctx.customer.role)
        ctx.is_problem(reply, "validation_failed")


@check(
    "functional/text/over-long-text-is-refused",
    title="Text over its length is refused, not cut",
    failure_title="Text over its length is cut or breaks the server",
    severity=Severity.MEDIUM,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-ERR"],
    operations=["createAccount", "createTransaction"],
    defects=["long-names-are-cut", "memos-are-cut"],
)
@pytest.mark.parametrize(
    "character", ["x", "\u00e9", "\U0001f98a"], ids=["ascii", "latin", "emoji"]
)
def check_over_long_text_is_refused(ctx: Context, character: str) -> None:
    """Send names and memos of the longest length and of one character more.

    Why: What is cut silently is lost, and nobody finds out before it is needed.
    How: Open accounts with names of 200 and 201 characters, book with memos of 500 and 501, in
    ASCII and with characters of more bytes.
    Fails when: the longer one is not 400 `validation_failed`, or the allowed one does not come back
    whole.
    Remedy: Count characters (code points), as JSON Schema does, and refuse.
    """
    account = ctx.arrange.account()
    base = {"type": "generation", "currency": account["currency"]}
    fits = character * NAME_MAX_CHARS
    reply = ctx.customer.call("createAccount", body={**base, "name": fits}, expect=201)
    ctx.created("account", reply.body["id"], ctx.customer.role)
    ctx.equal(reply.body["name"], fits, "A name of the allowed length was altered", reply)
    ctx.customer.call(
        "createAccount", body={**base, "name": fits + character}, problem="validation_failed"
    )
    booking = {
        "kind": "deposit",
        "amount": ctx.arrange.money(5, account["currency"]),
        "to_account_id": account["id"],
    }
    memo = character * MEMO_MAX_CHARS
    booked = ctx.customer.call("createTransaction", body={**booking, "memo": memo}, expect=201)
    ctx.equal(booked.body["memo"], memo, "A memo of the allowed length was altered", booked)
    ctx.customer.call(
        "createTransaction", body={**booking, "memo": memo + character}, problem="validation_failed"
    )


@check(
    "functional/text/user-names-are-one-in-any-case",
    title="A user name that differs in case only is not given twice",
    failure_title="Two users can have names that a person cannot tell apart",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC", "E2E-ERR"],
    operations=["createUser"],
    defects=["user-names-differ-by-case"],
    identities=["admin"],
    standards=["CWE-178"],
)
def check_user_names_are_one_in_any_case(ctx: Context) -> None:
    """Create a user, then others whose names look the same.

    Why: Whoever registers ADA beside ada receives what was meant for her.
    How: Take a name in small letters; ask for it in capitals, mixed, and in full-width letters.
    Fails when: a name in other case is not 409 `username_taken`, or one of letters that the
    contract does not have is not 400 `validation_failed`.
    Remedy: Compare names by one folded form, stored beside the name and unique.
    """
    name = f"t{uuid4().hex[:20]}z"
    body = {"username": name, "password": new_password(ctx), "roles": ["customer"]}
    ctx.admin.call("createUser", body=body, expect=201)
    for twin in (name.upper(), name.title()):
        again = {**body, "username": twin}
        ctx.admin.call("createUser", body=again, problem="username_taken")
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in name)
    ctx.admin.call("createUser", body={**body, "username": wide}, problem="validation_failed")
