"""What a report is about: the accounts whose entries count, and who may see them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reference_impl import access, accounts, web
from reference_impl.access import Caller

_FAMILY = """
SELECT id FROM accounts WHERE owner_id = :owner AND root_id IN (
  SELECT root_id FROM accounts WHERE id IN (SELECT value FROM json_each(:members)))
"""
_HEIRS = """
SELECT e.account_id AS id FROM growth_events e
WHERE e.owner_id = :owner AND e.kind = 'merge' AND json_extract(e.detail, '$.created')
  AND e.seq IN (SELECT p.seq FROM json_each(:members) m
                JOIN parties p ON p.account_id = m.value AND p.role = 'source')
  AND NOT EXISTS (SELECT 1 FROM parties p WHERE p.seq = e.seq AND p.role = 'source'
                  AND p.account_id NOT IN (SELECT value FROM json_each(:members)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An account, a system, or all accounts of an owner in one currency."""

    type: str
    id: str
    currency: str
    select: str
    """SQL that yields the ids of the accounts."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The named parameters of `select`."""


def of_account(account_id: str, currency: str) -> Subject:
    """Return one account as a subject."""
    return Subject(
        type="account",
        id=account_id,
        currency=currency,
        select="SELECT :account",
        values={"account": account_id},
    )


def of_members(system_id: str, currency: str, members: list[str]) -> Subject:
    """Return a group of accounts as a subject."""
    return Subject(
        type="system",
        id=system_id,
        currency=currency,
        select="SELECT value FROM json_each(:members)",
        values={"members": json.dumps(members)},
    )


def need_account(tx: web.Tx, caller: Caller, account_id: str) -> tuple[Subject, list[str]]:
    """Return an account that the caller sees, and its id; 404 otherwise."""
    row = accounts.need_row(tx, caller, account_id)
    return of_account(account_id, row["currency"]), [account_id]


def need_system(tx: web.Tx, caller: Caller, system_id: str) -> tuple[Subject, list[str]]:
    """Return a system that the caller sees, and its members; 404 otherwise."""
    row = system_row(tx, system_id)
    if row is None:
        raise access.not_found(f"system {system_id}")
    found = members(tx, row)
    check_group(caller, f"system {system_id}", row["owner_id"], found)
    return of_members(system_id, row["currency"], found), found


def check_group(caller: Caller, what: str, owner_id: str, group: list[str]) -> None:
    """Answer 404 unless the caller may see every account of a group, by role, owner or grants."""
    access.check_visible(caller, what, owner_id, objects=group)
    mine = access.owns(caller, owner_id) or access.sees_all(caller)
    if not (mine or set(group) <= set(caller.objects)):
        raise access.not_found(what)


def system_row(tx: web.Tx, system_id: str) -> Any:
    """Return a system with its currency, or None."""
    return tx.connection.execute(
        "SELECT s.id, s.seq, s.owner_id, t.currency FROM systems s"
        " JOIN transactions t ON t.seq = s.seq WHERE s.id = ?",
        (system_id,),
    ).fetchone()


def members(tx: web.Tx, system: Any) -> list[str]:
    """Return the accounts of a system, in the order of their opening.

    They are the accounts that were opened with it, every account that descends from a member by
    birth, and every account that a merge of members alone created; all of the system's owner.
    """
    rows = tx.connection.execute(
        "SELECT account_id AS id FROM parties WHERE seq = ? AND role = 'opened'", (system["seq"],)
    )
    found = {row["id"] for row in rows}
    while True:
        named = {"members": json.dumps(sorted(found)), "owner": system["owner_id"]}
        more = {row["id"] for row in tx.connection.execute(_FAMILY, named)}
        more |= {row["id"] for row in tx.connection.execute(_HEIRS, named)}
        if more <= found:
            break
        found |= more
    ordered = tx.connection.execute(
        "SELECT id FROM accounts WHERE id IN (SELECT value FROM json_each(?)) AND owner_id = ?"
        " ORDER BY seq",
        (json.dumps(sorted(found)), system["owner_id"]),
    )
    return [row["id"] for row in ordered]
