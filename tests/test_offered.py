"""What a deployment offers, and which scope an operation needs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from certification import offered
from certification.contract import load_contract

CONTRACT = load_contract()


@pytest.mark.parametrize(
    ("operation", "scope"),
    [
        ("listAccounts", "accounts:read"),
        ("closeAccount", "accounts:write"),
        ("listEntries", "transactions:read"),
        ("createTransactionBatch", "transactions:write"),
        ("forkAccount", "growth:write"),
        ("getSystem", "growth:read"),
        ("getAnalytics", "analytics:read"),
        ("createReport", "analytics:write"),
        ("erasePersonalData", "users:write"),
        ("getAuditCheckpoint", "audit:read"),
        ("putStrategy", "transactions:write"),
        ("listPositions", "transactions:read"),
        ("cancelOrder", "transactions:write"),
        ("createSilence", "metrics:write"),
        ("logout", ""),
    ],
)
def test_a_scope_follows_from_path_and_module(operation: str, scope: str) -> None:
    assert offered.scope_of(CONTRACT.operations[operation]) == scope


def test_deviations_drafts_and_public_operations_are_not_offered() -> None:
    gap = {"operationId": "createGrant", "reason": "not built"}
    modules = [
        {"id": "core", "version": "0.1.0", "level": "full"},
        {"id": "dual_control", "version": "0.1.0", "level": "full"},
        {"id": "operations", "version": "0.1.0", "level": "partial", "deviations": [gap]},
    ]
    drafted = replace(CONTRACT.operations["decideApproval"], draft=True)
    contract = replace(CONTRACT, operations={**CONTRACT.operations, drafted.id: drafted})
    ctx = cast(Any, SimpleNamespace(contract=contract, capabilities={"modules": modules}))
    assert offered.offers(ctx, "listApprovals")
    assert offered.offers(ctx, "listGrants")
    assert offered.offers(ctx, "getAccount")
    for absent in ("createGrant", "login", "decideApproval", "getLineage"):
        assert not offered.offers(ctx, absent)
