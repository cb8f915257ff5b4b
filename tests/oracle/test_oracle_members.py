"""The comparable members are those that the contract requires."""

from __future__ import annotations

import pytest

from certification.contract.document import read_document
from certification.oracle import members
from tests.oracle.mutants import is_killed


def test_the_lists_are_those_of_the_contract() -> None:
    schemas = read_document()["components"]["schemas"]
    listed = {
        "Balances": {*members.BALANCES, "as_of_seq"},
        "Account": {*members.ACCOUNT, "balances"},
        "Transaction": {*members.TRANSACTION, "lines"},
        "Entry": set(members.ENTRY),
        "TransactionLine": set(members.LINE),
    }
    assert {name: set(schemas[name]["required"]) for name in listed} == listed


def test_members_of_the_deployments_own_are_left_out() -> None:
    row = dict.fromkeys(members.ENTRY, 0) | {"served_by": "node-3"}
    assert members.entry(row) == dict.fromkeys(members.ENTRY, 0)


def test_an_account_is_its_members_with_its_balances_beside_them() -> None:
    balances = dict.fromkeys(members.BALANCES, 5)
    row = {**dict.fromkeys(members.ACCOUNT, 1), "served_by": "node-3"}
    shown = members.account({**row, "balances": {**balances, "as_of_seq": 9, "read_on": "b"}})
    assert shown == {
        **dict.fromkeys(members.ACCOUNT, 1),
        **{f"balances.{name}": 5 for name in balances},
    }


def test_a_transaction_keeps_its_lines_in_their_order() -> None:
    out = {"account_id": "a", "bucket": "cash", "amount": -30}
    to_system = {"account_id": None, "bucket": "cash", "amount": 30, "system": "outside"}
    row = {**dict.fromkeys(members.TRANSACTION, 1), "lines": [out, to_system], "served_by": "n"}
    assert members.transaction(row) == {
        **dict.fromkeys(members.TRANSACTION, 1),
        "lines": [out, {"account_id": None, "bucket": "cash", "amount": 30}],
    }


# -- each rule has a mutant ------------------------------------------------------------------------

MUTANTS = {
    "holds are not compared": ('"ledger", "holds", ', '"ledger", '),
    "moments are compared": (
        '"available", "total_value",',
        '"available", "total_value", "as_of_seq",',
    ),
    "owners are not compared": ('"id", "owner_id", ', '"id", '),
    "settled amounts are not compared": ('"settled_amount", ', ""),
    "running balances are not compared": ('"running_balance", ', ""),
    "systems are compared": ('"bucket", "amount")', '"bucket", "amount", "system")'),
    "amounts of lines are not compared": (
        '"account_id", "bucket", "amount")',
        '"account_id", "bucket")',
    ),
    "accounts are compared whole": ("{name: row[name] for name in ACCOUNT}", "dict(row)"),
    "accounts without balances": ("for name in BALANCES}", "for name in ()}"),
    "balances under the names of others": ('f"balances.{name}": balances', "name: balances"),
    "transactions are compared whole": ("{name: row[name] for name in TRANSACTION}", "row"),
    "lines are compared whole": ("{name: line[name] for name in LINE}", "line"),
    "only the first line": ('row["lines"]]', 'row["lines"][:1]]'),
    "entries are compared whole": ("{name: row[name] for name in ENTRY}", "dict(row)"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert is_killed(monkeypatch, members, MUTANTS[name], globals())
