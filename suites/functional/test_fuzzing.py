"""Fuzzing by the contract's schemas: valid requests work, forbidden ones are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Module, Severity

if TYPE_CHECKING:
    from certification.context import Context

CORE = (
    "getCapabilities",
    "getLiveness",
    "getReadiness",
    "listUsers",
    "getUser",
    "createAccount",
    "listAccounts",
    "getAccount",
    "updateAccount",
    "closeAccount",
    "listEntries",
    "createTransaction",
    "listTransactions",
    "createTransactionBatch",
    "getTransaction",
    "settleTransaction",
    "voidTransaction",
    "reverseTransaction",
)
GROWTH = (
    "openSystem",
    "getSystem",
    "getGrowthPolicy",
    "listGrowthCandidates",
    "listGrowthEvents",
    "getGrowthEvent",
    "getGrowthSummary",
    "forkAccount",
    "mergeAccounts",
    "getMerge",
    "reinvestAccount",
    "getLineage",
)
ANALYTICS = (
    "getAnalytics",
    "getSystemAnalytics",
    "createReport",
    "getReport",
    "exportReport",
)
OPERATIONS = (
    "listAudit",
    "getAuditCheckpoint",
    "createGrant",
    "listGrants",
    "getGrant",
    "deleteGrant",
    "listAlerts",
    "listAlertHistory",
    "listBackups",
    "listRecoveries",
)
SPARED = {
    "login": "wrong passwords lock users out",
    "refreshSession": "a token that is used twice ends the session of the run",
    "logout": "it ends the session of the run",
    "verifyMfa": "wrong codes lock users out",
    "enrollMfa": "it would change how the run's users log in",
    "disableMfa": "the same",
    "resetMfa": "the same",
    "createUser": "users cannot be removed again",
    "updateUser": "it would change the passwords and roles of the run's users",
    "putGrowthPolicy": "a policy decides for everybody",
    "erasePersonalData": "it ends users",
    "getMetrics": "it takes no data and answers in no JSON",
    "listEvents": "what the feed of one module holds depends on every other operation",
    **dict.fromkeys(
        ("acknowledgeAlert", "createSilence", "getSilence", "deleteSilence"),
        "it would quieten alerts that people wait for",
    ),
    "listAlertmanagerAlerts": "its form is another project's",
    **dict.fromkeys(
        ("createBackup", "getBackup", "verifyBackup", "restoreBackup", "putMaintenance"),
        "it copies, replaces or stops the book of everybody",
    ),
    "testControl": "it moves the clock of everybody",
    **dict.fromkeys(
        ("listIntegrations", "probeIntegration", "exchangeToken", "receiveMarketCallback"),
        "systems of others answer it, or alone may send it",
    ),
    **dict.fromkeys(
        ("listWebhooks", "createWebhook", "getWebhook", "deleteWebhook", "rotateWebhookSecret"),
        "a webhook sends what happens to an address of others",
    ),
    **dict.fromkeys(
        ("getStrategy", "putStrategy", "executeStrategy", "getStrategyExecution"),
        "a strategy places orders in a market",
    ),
    **dict.fromkeys(
        ("listStrategyResults", "listOrders", "createOrder", "getOrder", "cancelOrder"),
        "an order goes to a market",
    ),
    "listPositions": "only orders make positions",
    **dict.fromkeys(
        ("listApprovals", "getApproval", "decideApproval"),
        "an approval carries out what a manager could not do alone",
    ),
    **dict.fromkeys(
        ("createReconciliation", "getReconciliation"), "it compares with a market's own books"
    ),
}
"""Operations that random requests must not reach, or that they would show nothing of."""


@check(
    "functional/fuzzing/core-keeps-to-its-schemas",
    title="Core operations take what their schemas allow and refuse what these forbid",
    failure_title="A core operation breaks on valid data, or accepts what its schema forbids",
    severity=Severity.HIGH,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-ERR"],
    operations=["createAccount", "createTransaction", "createTransactionBatch"],
    defects=["core-bodies-may-hold-anything"],
    budget_s=60,
)
@pytest.mark.parametrize("operation", CORE)
def check_core_keeps_to_its_schemas(ctx: Context, operation: str) -> None:
    """Whether generated requests are answered as the contract says, whatever is in them.

    Why: Examples written by hand hold what their author thought of.
    How: Generate requests from the schema of the operation, valid and forbidden ones, with ids of
        living objects, and send them. Every answer is compared with the contract.
    Fails when: A valid request is answered with an internal error, an undeclared problem or a body
        of another form; or one that the schema forbids is accepted. An operation that no valid
        request could make succeed is not passed but not exercised.
    Remedy: Validate requests by the schemas of the contract before anything is read into them.
    """
    from certification.fuzzing.probe import fuzz

    fuzz(ctx, operation)


@check(
    "functional/fuzzing/growth-keeps-to-its-schemas",
    title="Growth operations take what their schemas allow and refuse what these forbid",
    failure_title="A growth operation breaks on valid data, or accepts what its schema forbids",
    severity=Severity.HIGH,
    requirements=["SYS-GRO", "E2E-ERR"],
    operations=["forkAccount", "mergeAccounts", "reinvestAccount", "openSystem"],
    modules=(Module.CORE, Module.GROWTH),
    defects=["growth-bodies-may-hold-anything"],
    budget_s=60,
)
@pytest.mark.parametrize("operation", GROWTH)
def check_growth_keeps_to_its_schemas(ctx: Context, operation: str) -> None:
    """Whether generated requests for growth are answered as the contract says.

    Why: A fork with members that were not understood moves money by accident.
    How: As for core operations, with accounts that may fork and reinvest.
    Fails when: A valid fork, merge or reinvestment breaks, or a forbidden one is accepted.
    Remedy: Validate requests by the schemas of the contract before anything is read into them.
    """
    from certification.fuzzing.probe import fuzz

    fuzz(ctx, operation)


@check(
    "functional/fuzzing/analytics-keep-to-their-schemas",
    title="Analytics operations take what their schemas allow and refuse what these forbid",
    failure_title="An analytics operation breaks on valid data, or accepts what is forbidden",
    severity=Severity.MEDIUM,
    requirements=["SYS-ANA", "E2E-ERR"],
    operations=["getAnalytics", "createReport"],
    modules=(Module.CORE, Module.ANALYTICS),
    defects=["reports-may-hold-anything"],
    budget_s=60,
)
@pytest.mark.parametrize("operation", ANALYTICS)
def check_analytics_keep_to_their_schemas(ctx: Context, operation: str) -> None:
    """Whether generated windows, horizons and reports are answered as the contract says.

    Why: Windows at the end of time are where date arithmetic breaks.
    How: As for core operations, on accounts with entries.
    Fails when: A valid window or report breaks, or one that the schema forbids is accepted.
    Remedy: Refuse windows and horizons outside their bounds before computing with them.
    """
    from certification.fuzzing.probe import fuzz

    fuzz(ctx, operation)


@check(
    "functional/fuzzing/grants-and-audit-keep-to-their-schemas",
    title="Grants and audit take what their schemas allow and refuse what these forbid",
    failure_title="Grants or audit break on valid data, or accept what is forbidden",
    severity=Severity.MEDIUM,
    requirements=["SYS-SEC", "E2E-ERR"],
    operations=["createGrant", "listAudit"],
    modules=(Module.CORE, Module.OPERATIONS),
    defects=["audit-passes-over-parameters"],
    budget_s=60,
)
@pytest.mark.parametrize("operation", OPERATIONS)
def check_grants_and_audit_keep_to_their_schemas(ctx: Context, operation: str) -> None:
    """Whether generated grants, filters and proofs are answered as the contract says.

    Why: A right that was given with a misspelt limit is given without it.
    How: As for core operations.
    Fails when: A valid grant or filter breaks, or one that the schema forbids is accepted.
    Remedy: Validate requests by the schemas of the contract before anything is read into them.
    """
    from certification.fuzzing.probe import fuzz

    fuzz(ctx, operation)
