"""The comparable members are those that the contract requires."""

from __future__ import annotations

from certification.contract.document import read_document
from certification.oracle import members


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
