"""Resources under /v1/grants: what is given to, or taken from, one principal beside its roles.

An admin gives and denies every scope; the owner of an account gives others the use of it.
"""

import sqlite3
from typing import Any, Literal

import flask
from msgspec import UNSET, UnsetType

from . import access, clock, idempotency, ids, listing, principals, requests, web
from .access import Caller, Rank
from .problems import Problem, invalid
from .requests import given

blueprint = flask.Blueprint("grants", __name__)


class CreateGrant(requests.Body):
    """POST /v1/grants."""

    principal_id: requests.Id
    scope: Literal[principals.SCOPES]  # type: ignore[valid-type]  # the closed set, kept in one place
    effect: Literal["allow", "deny"] = "allow"
    object_id: requests.Id | UnsetType = UNSET
    expires_at: requests.Instant | UnsetType = UNSET


def view(row: sqlite3.Row) -> dict[str, Any]:
    """Return a grant's wire form."""
    return {
        "id": row["id"],
        "principal_id": row["principal_id"],
        "scope": row["scope"],
        "effect": row["effect"],
        "object_id": row["object_id"],
        "expires_at": clock.maybe(row["expires_at"]),
        "created_at": clock.text(row["created_at"]),
        "created_by": row["created_by"],
    }


@blueprint.post("/v1/grants")
def create_grant() -> flask.Response:
    """Give a scope, or deny it."""
    caller = web.caller(Rank.CUSTOMER)
    body = web.body(CreateGrant)
    check_form(body)
    check_may_give(caller, body)

    def change(tx: web.Tx) -> idempotency.Reply:
        check_parties(tx, caller, body)
        grant_id = insert(tx, caller, body)
        headers = {"Location": f"/v1/grants/{grant_id}"}
        shown = view(_row(tx.connection, grant_id))
        return web.json_reply(201, shown, target=grant_id, headers=headers)

    return web.write(caller, "createGrant", change)


def check_form(body: CreateGrant) -> None:
    """Refuse an object beside a scope that cannot be bound to one."""
    if body.object_id is not UNSET and body.scope not in principals.OBJECT_SCOPES:
        raise invalid("/object_id", "not_allowed", f"{body.scope} is not bound to an account.")


def check_may_give(caller: Caller, body: CreateGrant) -> None:
    """Refuse what this caller may not give: the own rights grow through somebody else only."""
    if body.principal_id == caller.user_id:
        raise Problem("role_escalation", "Nobody changes the own rights.")
    if caller.rank >= Rank.ADMIN:
        return
    if body.object_id is UNSET or body.effect == "deny":
        raise Problem("forbidden", "Below admin, a grant allows something on an own account.")
    if body.scope not in principals.OWNER_SCOPES:
        raise Problem("forbidden", f"An owner gives {', '.join(principals.OWNER_SCOPES)}.")


def check_parties(tx: web.Tx, caller: Caller, body: CreateGrant) -> None:
    """Check that account and principal exist and are the caller's to connect; then the expiry."""
    object_id = given(body.object_id)
    if object_id is not None:
        row = tx.connection.execute(
            "SELECT owner_id FROM accounts WHERE id = ?", (object_id,)
        ).fetchone()
        owner = None if row is None else row["owner_id"]
        if owner is None or not (access.owns(caller, owner) or access.sees_all(caller)):
            raise access.not_found(f"account {object_id}")
        if caller.rank < Rank.ADMIN and not access.owns(caller, owner):
            raise Problem("forbidden", "Only its owner and an admin give the use of an account.")
    row = tx.connection.execute(
        "SELECT roles FROM users WHERE id = ?", (body.principal_id,)
    ).fetchone()
    if row is None:
        raise access.not_found(f"user {body.principal_id}")
    if body.effect == "deny" and access.rank(row["roles"].split()) >= Rank.ADMIN:
        raise Problem("role_escalation", "Nothing is denied to an admin; change the roles.")
    expires = given(body.expires_at)
    if expires is not None and clock.milliseconds(expires) <= tx.now_ms:
        raise Problem("invalid_expiry", "expires_at is in the past.")


def insert(tx: web.Tx, caller: Caller, body: CreateGrant) -> str:
    """Write a grant; return its id."""
    grant_id, expires = ids.new_id("grt", tx.now_ms), given(body.expires_at)
    tx.connection.execute(
        "INSERT INTO grants (id, principal_id, scope, effect, object_id, expires_at, created_at,"
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            grant_id,
            body.principal_id,
            body.scope,
            body.effect,
            given(body.object_id),
            None if expires is None else clock.milliseconds(expires),
            tx.now_ms,
            caller.user_id,
        ),
    )
    return grant_id


@blueprint.get("/v1/grants")
def list_grants() -> flask.Response:
    """Return a page of grants: all for admin and auditor, else those one gave or has."""
    caller = web.caller(Rank.NONE, auditor=True)
    filters = {"principal_id": listing.identifier, "object_id": listing.identifier}
    asked = listing.page("listGrants", caller.user_id, ("seq",), filters)
    after, values, order = listing.keyset(asked, ("seq",))
    conditions = [after]
    for name in filters:
        if asked.filter(name) is not None:
            conditions.append(f"{name} = ?")
            values.append(asked.filter(name))
    if not _reads_all(caller):
        conditions.append("(principal_id = ? OR created_by = ?)")
        values += [caller.user_id, caller.user_id]
    query = (
        f"SELECT * FROM grants WHERE {' AND '.join(conditions)}"  # noqa: S608 - own names and marks
        f" ORDER BY {order} LIMIT {asked.limit + 1}"
    )
    rows = web.reader().execute(query, values).fetchall()
    return web.respond_json(listing.answer(asked, rows, lambda row: [row["seq"]], view))


@blueprint.get("/v1/grants/<grant_id>")
def get_grant(grant_id: str) -> flask.Response:
    """Return one grant to those whom it concerns."""
    caller = web.caller(Rank.NONE, auditor=True)
    return web.respond_json(view(need_row(web.reader(), caller, grant_id)))


@blueprint.delete("/v1/grants/<grant_id>")
def delete_grant(grant_id: str) -> flask.Response:
    """Take a grant back: it counts no more from the next request on."""
    caller = web.caller(Rank.CUSTOMER)

    def change(tx: web.Tx) -> idempotency.Reply:
        row = need_row(tx.connection, caller, grant_id)
        if caller.rank < Rank.ADMIN and row["created_by"] != caller.user_id:
            raise Problem("forbidden", "Who gave it, or an admin, takes it back.")
        if row["principal_id"] == caller.user_id and row["effect"] == "deny":
            raise Problem("role_escalation", "Nobody changes the own rights.")
        tx.connection.execute("DELETE FROM grants WHERE id = ?", (grant_id,))
        return idempotency.Reply(status=204, body=b"", headers={}, target=grant_id)

    return web.write(caller, "deleteGrant", change, once=False)


def need_row(connection: sqlite3.Connection, caller: Caller, grant_id: str) -> sqlite3.Row:
    """Return a grant that the caller gave, has, or reads by role; 404 otherwise."""
    row: sqlite3.Row | None = _row(connection, grant_id)
    if row is not None and (
        _reads_all(caller) or access.owns(caller, row["principal_id"], row["created_by"])
    ):
        return row
    raise access.not_found(f"grant {grant_id}")


def _reads_all(caller: Caller) -> bool:
    return caller.rank >= Rank.ADMIN or caller.auditor


def _row(connection: sqlite3.Connection, grant_id: str) -> Any:
    return connection.execute("SELECT * FROM grants WHERE id = ?", (grant_id,)).fetchone()
