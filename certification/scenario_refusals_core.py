"""How each problem code of the core is provoked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from certification.arrange import unknown_id
from certification.guests import new_password
from certification.malformed import send_raw
from certification.scenario_refusals import Provoke, Trial, deposit_body, on, post

if TYPE_CHECKING:
    from certification.context import Actor, Context
    from certification.model import Json

BODY_MAX_BYTES = 16 * 1024 * 1024
"""The largest body that a provocation is ready to send."""
LOGINS_MAX = 20
"""The most failed logins that are tried to reach a lock-out."""


def _raw(ctx: Context, account: Json, content: bytes, media_type: str) -> Trial:
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": media_type}
    send = partial(
        send_raw, ctx.customer, "POST", "/v1/transactions", headers=headers, content=content
    )
    return Trial(send=send, accounts=[account])


def _malformed_json(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return _raw(ctx, account, json.dumps(deposit_body(account)).encode()[:-1], "application/json")


def _unsupported_media_type(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return _raw(ctx, account, json.dumps(deposit_body(account)).encode(), "text/plain")


def _body_too_large(ctx: Context) -> Trial:
    most = int(ctx.declared("limits", "body_bytes_max"))
    if most > BODY_MAX_BYTES:
        ctx.not_exercised(f"limits.body_bytes_max is {most}")
    account = ctx.arrange.account(funds=10)
    body = json.dumps(deposit_body(account) | {"memo": "x" * most}).encode()
    return _raw(ctx, account, body, "application/json")


def _validation_failed(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return post(ctx, deposit_body(account, "5"), account)


def _invalid_parameter(ctx: Context) -> Trial:
    return Trial(send=partial(ctx.customer.call, "listAccounts", query={"limit": 0}))


def _invalid_cursor(ctx: Context) -> Trial:
    return Trial(send=partial(ctx.customer.call, "listTransactions", query={"cursor": "none"}))


def _cursor_mismatch(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    ctx.arrange.deposit(account, 2)
    ctx.arrange.let_writes_arrive()
    path = {"id": account["id"]}
    page = ctx.customer.call("listEntries", path=path, query={"limit": 1}, expect=200).body
    query = {"limit": 1, "sort": "-seq", "cursor": page["next_cursor"]}
    send = partial(ctx.customer.call, "listEntries", path=path, query=query)
    return Trial(send=send, accounts=[account], also=("invalid_cursor",))


def _key(ctx: Context, key: str | None) -> Trial:
    account = ctx.arrange.account(funds=10)
    body = deposit_body(account)
    send = partial(ctx.customer.call, "createTransaction", body=body, key=key)
    return Trial(send=send, accounts=[account])


def _idempotency_payload_mismatch(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    body = deposit_body(account)
    first = ctx.customer.call("createTransaction", body=body, expect=201)
    body = deposit_body(account, 6)
    send = partial(ctx.customer.call, "createTransaction", body=body, key=first.sent_key)
    return Trial(send=send, accounts=[account])


# -- who ---------------------------------------------------------------------------------------


def _token_missing(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return post(ctx, deposit_body(account), account, by=ctx.anonymous)


def _token_invalid(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    headers = {"Authorization": "Bearer made.up.token"}
    send = partial(
        ctx.anonymous.call, "createTransaction", body=deposit_body(account), headers=headers
    )
    return Trial(send=send, accounts=[account])


def _bad_credentials(ctx: Context) -> Trial:
    body = {"username": f"nobody{uuid4().hex[:12]}", "password": uuid4().hex}
    return Trial(send=partial(ctx.anonymous.call, "login", body=body))


def new_user(ctx: Context) -> tuple[Json, Json]:
    """Create a customer of the check's own; return the credentials and the user."""
    credentials = {"username": f"t{uuid4().hex[:24]}", "password": new_password(ctx)}
    body = {**credentials, "roles": ["customer"]}
    user: Json = ctx.admin.call("createUser", body=body, expect=201).body
    return credentials, user


def _token_reused(ctx: Context) -> Trial:
    credentials, _ = new_user(ctx)
    login = ctx.anonymous.call("login", body=credentials, expect=200).body
    if "refresh_token" not in login:
        ctx.not_exercised("a new user must enrol a second factor first")
    body = {"refresh_token": login["refresh_token"]}
    ctx.anonymous.call("refreshSession", body=body, expect=200)
    return Trial(send=partial(ctx.anonymous.call, "refreshSession", body=body))


def _locked(ctx: Context) -> Trial:
    threshold = ctx.declared("auth").get("lockout", {}).get("threshold", LOGINS_MAX + 1)
    if threshold > LOGINS_MAX:
        ctx.not_exercised(f"no lock-out is declared after {LOGINS_MAX} failed logins or fewer")
    wrong = new_user(ctx)[0] | {"password": f"wrong{uuid4().hex}"}
    for _ in range(threshold):
        ctx.anonymous.call("login", body=wrong, problem=("bad_credentials", "locked"))
    return Trial(send=partial(ctx.anonymous.call, "login", body=wrong))


def _forbidden(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return post(ctx, deposit_body(account) | {"kind": "interest"}, account)


def _not_found(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    nowhere = {"id": unknown_id(account)}
    return post(ctx, ctx.arrange.transfer_body(account, nowhere, 5), account)


def _username_taken(ctx: Context) -> Trial:
    credentials, _ = new_user(ctx)
    body = {**credentials, "roles": ["customer"]}
    return Trial(send=partial(ctx.admin.call, "createUser", body=body))


def _password_policy(ctx: Context) -> Trial:
    least = ctx.declared("auth").get("password", {}).get("min_length")
    if least is None:
        ctx.not_exercised("the deployment declares no minimum length of passwords")
    short = f"Zx9!{uuid4().hex}"[: least - 1]
    body = {"username": f"t{uuid4().hex[:24]}", "password": short, "roles": ["customer"]}
    return Trial(send=partial(ctx.admin.call, "createUser", body=body))


# -- conditional writes ------------------------------------------------------------------------


def _precondition_failed(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    body = {"name": ctx.name("other")}
    return on(ctx, "updateAccount", account, body, account, if_match='"987654321987"')


def _precondition_required(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return on(ctx, "updateAccount", account, {"name": ctx.name("other")}, account)


def _precondition_unmet(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    condition = {"account_id": account["id"], "available_gte": 11}
    return post(ctx, deposit_body(account) | {"preconditions": [condition]}, account)


# -- accounts ----------------------------------------------------------------------------------


def _unsupported_currency(ctx: Context) -> Trial:
    codes = {row["code"] for row in ctx.declared("currencies")}
    other = next(code for code in ("XTS", "XXX", "ZZZ") if code not in codes)
    body = {"type": "generation", "currency": other, "name": ctx.name("other")}
    return Trial(send=partial(ctx.customer.call, "createAccount", body=body))


def _closed(ctx: Context) -> Json:
    account = ctx.arrange.account()
    ctx.arrange.close(account, expect=200)
    return account


def _invalid_transition(ctx: Context) -> Trial:
    account = _closed(ctx)
    etag = ctx.arrange.read_reply(account).etag
    body, by = {"status": "active"}, ctx.manager
    trial = on(ctx, "updateAccount", account, body, account, by=by, if_match=etag)
    return Trial(send=trial.send, accounts=trial.accounts, also=("account_closed",))


def _account_closed(ctx: Context) -> Trial:
    account = _closed(ctx)
    return post(ctx, deposit_body(account), account)


def _account_suspended(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    ctx.arrange.suspend(account)
    return post(ctx, ctx.arrange.withdrawal_body(account, 1), account)


def _close(ctx: Context, account: Json, *others: Json, by: Actor | None = None) -> Trial:
    body = {"sweep_to": others[0]["id"]} if others else {}
    etag = ctx.arrange.read_reply(account).etag
    return on(ctx, "closeAccount", account, body, account, by=by, if_match=etag)


def _balance_not_zero(ctx: Context) -> Trial:
    return _close(ctx, ctx.arrange.account(funds=1))


def _pending_holds(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    ctx.arrange.hold(account, 10)
    return _close(ctx, account, ctx.arrange.account())


def _owner_mismatch(ctx: Context) -> Trial:
    other = ctx.arrange.account(owner=ctx.customer2)
    return _close(ctx, ctx.arrange.account(funds=10), other, by=ctx.manager)


# -- transactions ------------------------------------------------------------------------------


def _insufficient_available(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return post(ctx, ctx.arrange.withdrawal_body(account, 11), account)


def _currency_mismatch(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    others = [row["code"] for row in ctx.declared("currencies")]
    others.remove(account["currency"])
    if not others:
        ctx.not_exercised("only one currency is declared")
    return post(ctx, deposit_body(account | {"currency": others[0]}), account)


def _same_account(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    return post(ctx, ctx.arrange.transfer_body(account, account, 1), account)


def _withdrawal_not_allowed(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10, withdrawal_allowed=False)
    return post(ctx, ctx.arrange.withdrawal_body(account, 1), account)


def _amount_out_of_range(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=int(ctx.declared("limits", "amount_max")))
    return post(ctx, deposit_body(account, 1), account)


def _invalid_expiry(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    past = {"hold": True, "expires_at": "2020-02-29T00:00:00Z"}
    return post(ctx, ctx.arrange.withdrawal_body(account, 1, **past), account)


def _not_pending(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    gone = ctx.arrange.transaction(ctx.arrange.withdrawal_body(account, 1))
    return on(ctx, "voidTransaction", gone, {}, account)


def _exceeds_hold(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    body = {"amount": ctx.arrange.money(6, account["currency"])}
    hold = ctx.arrange.hold(account, 5)
    return on(ctx, "settleTransaction", hold, body, account, by=ctx.operator)


def _reverse(ctx: Context, *, reversal: bool) -> Trial:
    account, body = ctx.arrange.account(funds=10), {"reason": "wrong"}
    deposit = ctx.arrange.deposit(account, 1)
    first = on(ctx, "reverseTransaction", deposit, body, by=ctx.manager).send()
    ctx.has_status(first, 201)
    target = first.body if reversal else deposit
    return on(ctx, "reverseTransaction", target, body, account, by=ctx.manager)


def _batch_rejected(ctx: Context) -> Trial:
    account = ctx.arrange.account(funds=10)
    items = [deposit_body(account), ctx.arrange.withdrawal_body(account, 16)]
    body = {"items": items, "all_or_nothing": True}
    send = partial(ctx.customer.call, "createTransactionBatch", body=body)
    return Trial(send=send, accounts=[account])


CORE: Mapping[str, Provoke] = {
    "account_closed": _account_closed,
    "account_suspended": _account_suspended,
    "already_reversed": partial(_reverse, reversal=False),
    "amount_out_of_range": _amount_out_of_range,
    "bad_credentials": _bad_credentials,
    "balance_not_zero": _balance_not_zero,
    "batch_rejected": _batch_rejected,
    "body_too_large": _body_too_large,
    "currency_mismatch": _currency_mismatch,
    "cursor_mismatch": _cursor_mismatch,
    "exceeds_hold": _exceeds_hold,
    "forbidden": _forbidden,
    "idempotency_key_invalid": partial(_key, key="too short"),
    "idempotency_key_missing": partial(_key, key=None),
    "idempotency_payload_mismatch": _idempotency_payload_mismatch,
    "insufficient_available": _insufficient_available,
    "invalid_cursor": _invalid_cursor,
    "invalid_expiry": _invalid_expiry,
    "invalid_parameter": _invalid_parameter,
    "invalid_transition": _invalid_transition,
    "malformed_json": _malformed_json,
    "not_found": _not_found,
    "not_pending": _not_pending,
    "not_reversible": partial(_reverse, reversal=True),
    "owner_mismatch": _owner_mismatch,
    "pending_holds": _pending_holds,
    "precondition_failed": _precondition_failed,
    "precondition_required": _precondition_required,
    "precondition_unmet": _precondition_unmet,
    "same_account": _same_account,
    "token_invalid": _token_invalid,
    "token_missing": _token_missing,
    "unsupported_currency": _unsupported_currency,
    "unsupported_media_type": _unsupported_media_type,
    "validation_failed": _validation_failed,
    "withdrawal_not_allowed": _withdrawal_not_allowed,
}
"""Codes that an operation of the core answers to a customer or the staff."""
USERS: Mapping[str, Provoke] = {
    "locked": _locked,
    "password_policy": _password_policy,
    "token_reused": _token_reused,
    "username_taken": _username_taken,
}
"""Codes that need a user of the check's own, made by an admin."""
