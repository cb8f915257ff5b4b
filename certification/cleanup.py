"""Closes what a run created, with operations of the contract; lists what could not be closed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from certification.model import Json, LeftBehind
from certification.target.outcomes import ConnectionLost
from certification.target.reply import Reply
from certification.target.session import Session

PARALLEL = 4
TRIAL_POLICY = "trial-"
"""How the names of the policies begin that checks put in force for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """An object that the run made."""

    kind: str
    """`account`, `user`, or `policy`: one that a check could not put back."""
    id: str
    owner: str
    """Role of the identity that owns it."""


def tidy_up(
    objects: tuple[Created, ...], sessions: Mapping[str, Session]
) -> tuple[LeftBehind, ...]:
    """Close every object; return those that stay behind, with the deployment's own words.

    Nothing is forced: an account that refuses withdrawals, say, stays and is named.
    """
    # An object may have been booked twice; two closings at once would fail each other.
    distinct = {(made.kind, made.id): made for made in objects}
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        left = pool.map(lambda made: _close(made, sessions), distinct.values())
        return tuple(row for row in left if row is not None)


def _close(made: Created, sessions: Mapping[str, Session]) -> LeftBehind | None:
    put_away = {"account": _close_account, "user": _disable, "policy": _trial_in_force}[made.kind]
    try:
        detail = put_away(made, sessions)
    except ConnectionLost as lost:
        detail = lost.message
    except (KeyError, TypeError) as error:
        # Clean-up reads answers that no check has vouched for.
        detail = f"an answer that is not of the contract: {error!r}"
    return None if detail is None else LeftBehind(kind=made.kind, id=made.id, detail=detail)


def _close_account(made: Created, sessions: Mapping[str, Session]) -> str | None:
    """Release holds, withdraw what is there and close; None once the account is closed."""
    # A manager may do all of it on any account; checks also leave accounts of users of their own.
    closer = sessions.get("manager") or sessions.get(made.owner) or sessions["customer"]
    path = {"id": made.id}
    read = closer.call("getAccount", path=path)
    if read.status != 200:
        return _words(read)
    account: Json = read.body
    if account["status"] in ("closed", "merged"):
        return None
    if account["status"] == "suspended":
        closer.call("updateAccount", path=path, body={"status": "active"}, if_match=read.etag)
    if account["balances"]["holds"] > 0:
        _release(closer, made.id)
    current = closer.call("getAccount", path=path)
    if current.body["balances"]["available"] > 0:
        amount = {
            "amount": current.body["balances"]["available"],
            "currency": account["currency"],
        }
        body = {"kind": "withdrawal", "amount": amount, "from_account_id": made.id}
        closer.call("createTransaction", body=body)
        current = closer.call("getAccount", path=path)
    closed = closer.call("closeAccount", path=path, body={}, if_match=current.etag)
    return None if closed.status == 200 else _words(closed)


def _release(closer: Session, account: str) -> None:
    """Void what is pending on an account, over all pages."""
    query: Json = {"account_id": account, "status": "pending"}
    while True:
        page = closer.call("listTransactions", query=query).body
        for pending in page["data"]:
            closer.call("voidTransaction", path={"id": pending["id"]}, body={})
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def _disable(made: Created, sessions: Mapping[str, Session]) -> str | None:
    """Disable a user: the contract has no operation that removes one."""
    admin = sessions.get("admin")
    if admin is None:
        return "no admin identity to disable it"
    etag = admin.call("getUser", path={"id": made.id}).etag
    reply = admin.call(
        "updateUser", path={"id": made.id}, body={"status": "disabled"}, if_match=etag
    )
    return None if reply.status == 200 else _words(reply)


def _trial_in_force(made: Created, sessions: Mapping[str, Session]) -> str | None:
    """Tell which policy of a check is still in force; None once it is another one."""
    shown = sessions["admin"].call("getGrowthPolicy", path={"type": made.id})
    if shown.status != 200:
        return _words(shown)
    name = str(shown.body["policy"]["name"])
    trial = name.startswith(TRIAL_POLICY)
    return f"{name} is in force: put the policy back that was before" if trial else None


def _words(reply: Reply) -> str:
    return f"{reply.operation} answered {reply.status} {reply.problem_code or ''}".strip()
