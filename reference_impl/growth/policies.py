"""Which policy is in force: rows, the presets of a new book, and /v1/growth/policies/{type}."""

import sqlite3
from pathlib import Path
from typing import Any, get_args

import flask

from reference_impl import idempotency, requests, web
from reference_impl.access import Rank
from reference_impl.clock import text
from reference_impl.problems import Problem, bad_parameter

from . import policy as documents
from .policy import Policy

blueprint = flask.Blueprint("growth_policies", __name__)

PRESETS = Path(__file__).parents[1] / "presets"
DEFAULT = "classic@1"
TYPES: tuple[str, ...] = get_args(requests.AccountType)

_IN_FORCE = """
SELECT f.account_type, f.policy_ref, f.version, f.updated_at, p.document, p.sha256
FROM growth_in_force f JOIN growth_policies p ON p.ref = f.policy_ref
"""


class PutPolicy(requests.Body):
    """PUT /v1/growth/policies/{type}."""

    policy: Policy


def seed(connection: sqlite3.Connection, now_ms: int) -> None:
    """Write the presets into a new book, and put the default in force for every type."""
    for path in sorted(PRESETS.glob("*.json")):
        store(connection, documents.read(path.read_bytes()))
    for account_type in TYPES:
        connection.execute(
            "INSERT INTO growth_in_force (account_type, policy_ref, base_mode, updated_at)"
            " VALUES (?, ?, 'opening', ?)",
            (account_type, DEFAULT, now_ms),
        )


def store(connection: sqlite3.Connection, policy: Policy) -> None:
    """Keep a policy; Problem `policy_invalid` if name and version are those of another."""
    row = connection.execute(
        "SELECT document FROM growth_policies WHERE ref = ?", (policy.ref,)
    ).fetchone()
    document = documents.canonical(policy)
    if row is None:
        connection.execute(
            "INSERT INTO growth_policies VALUES (?, ?, ?)",
            (policy.ref, document, documents.digest(policy)),
        )
    elif row["document"] != document:
        raise Problem(
            "policy_invalid",
            f"{policy.ref} is another document; use the next version.",
            errors=[{"pointer": "/policy/version", "code": "taken"}],
        )


def in_force(connection: sqlite3.Connection, account_type: str) -> Policy:
    """Return the policy for an account type as of this moment."""
    return documents.read(_row(connection, account_type)["document"])


def by_ref(connection: sqlite3.Connection, ref: str) -> Policy:
    """Return a policy of the book, in force or not."""
    row = connection.execute(
        "SELECT document FROM growth_policies WHERE ref = ?", (ref,)
    ).fetchone()
    return documents.read(row["document"])


def ref_in_force(connection: sqlite3.Connection, account_type: str) -> str | None:
    """Return the name and version of the policy in force."""
    row = connection.execute(
        "SELECT policy_ref FROM growth_in_force WHERE account_type = ?", (account_type,)
    ).fetchone()
    return None if row is None else str(row["policy_ref"])


def declared(connection: sqlite3.Connection) -> list[dict[str, str]]:
    """Return what the capability document says of the policies in force."""
    rows = connection.execute(f"{_IN_FORCE} ORDER BY f.account_type")
    names = ("account_type", "policy_ref", "sha256")
    return [{name: row[name] for name in names} for row in rows]


def _row(connection: sqlite3.Connection, account_type: str) -> Any:
    return connection.execute(f"{_IN_FORCE} WHERE f.account_type = ?", (account_type,)).fetchone()


def _shown(row: Any) -> dict[str, Any]:
    return {
        "account_type": row["account_type"],
        "policy_ref": row["policy_ref"],
        "version": row["version"],
        "policy": documents.document(documents.read(row["document"])),
        "updated_at": text(row["updated_at"]),
    }


def check_type(account_type: str) -> None:
    """Refuse a path that names no account type."""
    if account_type not in TYPES:
        raise bad_parameter("type", f"one of {', '.join(TYPES)}")


@blueprint.get("/v1/growth/policies/<account_type>")
def get_growth_policy(account_type: str) -> flask.Response:
    """Return the policy in force for an account type."""
    web.caller(Rank.CUSTOMER, auditor=True)
    check_type(account_type)
    row = _row(web.reader(), account_type)
    tag = web.etag(row["version"])
    return web.not_modified(tag) or web.respond_json(_shown(row), {"ETag": tag})


@blueprint.put("/v1/growth/policies/<account_type>")
def put_growth_policy(account_type: str) -> flask.Response:
    """Put another policy in force; past events keep theirs."""
    caller = web.caller(Rank.ADMIN)
    check_type(account_type)
    policy = web.body(PutPolicy).policy
    documents.check_shape(policy, "/policy")
    if_match = web.if_match()

    def change(tx: web.Tx) -> idempotency.Reply:
        web.check_if_match(if_match, _row(tx.connection, account_type)["version"])
        documents.check_rules(policy, "/policy")
        store(tx.connection, policy)
        tx.connection.execute(
            "UPDATE growth_in_force SET policy_ref = ?, base_mode = ?, version = version + 1,"
            " updated_at = ? WHERE account_type = ?",
            (policy.ref, policy.base_mode, tx.now_ms, account_type),
        )
        row = _row(tx.connection, account_type)
        headers = {"ETag": web.etag(row["version"])}
        return web.json_reply(200, _shown(row), target=policy.ref, headers=headers)

    return web.write(caller, "putGrowthPolicy", change, once=False)
