"""Closes what a run created, with operations of the contract; lists what could not be closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

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


@dataclass(slots=True)
class _Closing:
    """An object on its way out."""

    made: Created
    session: Session
    """Of whoever closes it."""
    shown: Reply | None = None
    """The account as it last read; None where something was written since."""
    ended: bool = False
    detail: str | None = None
    """Why it stays behind, once ended; None where it does not."""

    def look(self) -> Reply:
        """Return how the account reads now."""
        if self.shown is None:
            self.shown = self.session.call("getAccount", path={"id": self.made.id})
        return self.shown

    def write(self, operation: str, **request: Any) -> Reply:
        """Send a write; what was read before is no longer so."""
        self.shown = None
        return self.session.call(operation, **request)

    def end(self, last: Reply) -> None:
        """End with this answer: the object is put away if it is a 200."""
        self.ended = True
        self.detail = None if last.status == 200 else _words(last)


def tidy_up(
    objects: tuple[Created, ...],
    sessions: Mapping[str, Session],
    *,
    let_writes_arrive: Callable[[], None],
) -> tuple[LeftBehind, ...]:
    """Close every object; return those that stay behind, with the deployment's own words.

    Nothing is forced: an account that refuses withdrawals, say, stays and is named. All objects
    are taken a step further at once, and `let_writes_arrive` is called before each step reads
    what the one before wrote.
    """
    # An object may have been booked twice; two closings at once would fail each other.
    distinct = {(made.kind, made.id): made for made in objects}
    closings = [_begin(made, sessions) for made in distinct.values()]
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        for number in range(STEPS_MAX):
            rest = [row for row in closings if not row.ended]
            if rest:
                let_writes_arrive()
            list(pool.map(partial(_take, number), rest))
    return tuple(
        LeftBehind(kind=row.made.kind, id=row.made.id, detail=row.detail)
        for row in closings
        if row.detail is not None
    )


def _begin(made: Created, sessions: Mapping[str, Session]) -> _Closing:
    if made.kind != "account":
        found = sessions.get("admin") or sessions["anonymous"]
        known = "admin" in sessions
        detail = None if known else f"no admin identity to put the {made.kind} away"
        return _Closing(made, found, ended=not known, detail=detail)
    # A manager may do all of it on any account; checks also leave accounts of users of their own.
    return _Closing(
        made, sessions.get("manager") or sessions.get(made.owner) or sessions["customer"]
    )


def _take(number: int, closing: _Closing) -> None:
    """Take an object one step further; whatever goes wrong ends it."""
    try:
        _STEPS[closing.made.kind][number](closing)
    except ConnectionLost as lost:
        closing.ended, closing.detail = True, lost.message
    except (KeyError, TypeError) as error:
        # Clean-up reads answers that no check has vouched for.
        detail = f"an answer that is not of the contract: {error!r}"
        closing.ended, closing.detail = True, detail


def _free(closing: _Closing) -> None:
    """Activate a suspended account and release its holds."""
    read, path = closing.look(), {"id": closing.made.id}
    if read.status != 200 or read.body["status"] in ("closed", "merged"):
        closing.end(read)
        return
    if read.body["status"] == "suspended":
        closing.write("updateAccount", path=path, body={"status": "active"}, if_match=read.etag)
    if read.body["balances"]["holds"] > 0:
        _release(closing)


def _pay_out(closing: _Closing) -> None:
    """Withdraw what is available."""
    account: Json = closing.look().body
    available = account["balances"]["available"]
    if available > 0:
        amount = {"amount": available, "currency": account["currency"]}
        body = {"kind": "withdrawal", "amount": amount, "from_account_id": closing.made.id}
        closing.write("createTransaction", body=body)


def _close(closing: _Closing) -> None:
    etag, path = closing.look().etag, {"id": closing.made.id}
    closing.end(closing.write("closeAccount", path=path, body={}, if_match=etag))


def _release(closing: _Closing) -> None:
    """Void what is pending on an account, over all pages."""
    query: Json = {"account_id": closing.made.id, "status": "pending"}
    while True:
        page = closing.session.call("listTransactions", query=query).body
        for pending in page["data"]:
            closing.write("voidTransaction", path={"id": pending["id"]}, body={})
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def _disable(closing: _Closing) -> None:
    """Disable a user: the contract has no operation that removes one."""
    path = {"id": closing.made.id}
    etag = closing.session.call("getUser", path=path).etag
    body = {"status": "disabled"}
    closing.end(closing.session.call("updateUser", path=path, body=body, if_match=etag))


def _trial_in_force(closing: _Closing) -> None:
    """Look which policy is in force: one of a check stays behind until it is another."""
    shown = closing.session.call("getGrowthPolicy", path={"type": closing.made.id})
    closing.end(shown)
    name = str(shown.body["policy"]["name"]) if shown.status == 200 else ""
    if name.startswith(TRIAL_POLICY):
        closing.detail = f"{name} is in force: put the policy back that was before"


_STEPS: Mapping[str, tuple[Callable[[_Closing], None], ...]] = {
    "account": (_free, _pay_out, _close),
    "user": (_disable,),
    "policy": (_trial_in_force,),
}
STEPS_MAX = max(len(steps) for steps in _STEPS.values())


def _words(reply: Reply) -> str:
    return f"{reply.operation} answered {reply.status} {reply.problem_code or ''}".strip()
