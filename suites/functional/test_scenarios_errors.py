"""Scenarios of errors: each code of the catalogue is provoked, and what was asked for is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification import trial_policy
from certification.checks import check
from certification.model import Module, Severity
from certification.scenario_refusals import refused
from certification.scenario_refusals_core import CORE, USERS
from certification.scenario_refusals_growth import GROWTH, UNDER_OWN_RULES, own_rules

if TYPE_CHECKING:
    from certification.context import Context

OUT_OF_REACH = {
    "account_in_transition": "only while an asynchronous growth operation runs",
    "approval_required": "only where the module dual_control is declared",
    "busy": "only under more load than the deployment carries",
    "current_password_wrong": "needs a session of a user's own: a check of sessions",
    "hold_of_order": "only beside an order at a market",
    "idempotency_in_flight": "only while the first request runs: idempotency/burst-has-one-effect",
    "mfa_already_enrolled": "needs a second factor: a check of authentication",
    "mfa_invalid": "needs a second factor: a check of authentication",
    "mfa_replayed": "needs a second factor: a check of authentication",
    "not_implemented": "a deployment may answer 404 not_found instead",
    "rate_limited": "exhausts what all checks share",
    "read_only": "only in maintenance, which stops all checks",
    "role_escalation": "may be forbidden instead: roles/nobody-raises-roles",
    "token_expired": "only after the lifetime of a token",
}
"""Codes that operations of core and growth declare and no ordinary request provokes, and why."""


@check(
    "functional/scenarios-errors/codes-of-the-core",
    title="Each refusal of the core has its code, its form and no effect",
    failure_title="A refusal of the core has another code or form, or leaves something behind",
    severity=Severity.HIGH,
    requirements=["E2E-ERR", "SYS-TXN", "SYS-ACC"],
    operations=[
        "createTransaction",
        "createTransactionBatch",
        "createAccount",
        "updateAccount",
        "closeAccount",
        "settleTransaction",
        "voidTransaction",
        "reverseTransaction",
        "listAccounts",
        "listEntries",
        "listTransactions",
        "login",
    ],
    identities=("customer", "customer2", "operator", "manager"),
    defects=[
        "refusals-promise-too-much",
        "refused-withdrawals-hold-what-is-there",
        "refusals-are-200",
    ],
)
@pytest.mark.parametrize("code", sorted(CORE))
def check_codes_of_the_core(ctx: Context, code: str) -> None:
    """Whether the request that the code is for gets it, in full form, and nothing else happens.

    Why: Clients branch on codes; a refusal that keeps something, or a session that is dead after
        one, turns an error of the client into a loss.
    How: For each code make the situation it is for and send the request; compare code, status,
        type, title, retryable and pointers with the catalogue, and members, balances, versions and
        entries of the accounts with those before; then open and fund an account.
    Fails when: Anything of this differs, or the work after it is refused.
    Remedy: Refuse before the first write, from one table of codes, statuses and retryable.
    """
    refused(ctx, code, CORE[code](ctx))


@check(
    "functional/scenarios-errors/codes-of-users",
    title="Each refusal of users and sessions has its code and its form",
    failure_title="A refusal of users or sessions has another code or form",
    severity=Severity.MEDIUM,
    requirements=["E2E-ERR", "SYS-SEC"],
    operations=["createUser", "login", "refreshSession"],
    identities=("customer", "admin"),
    defects=["lock-outs-look-like-typos", "refusals-promise-too-much"],
)
@pytest.mark.parametrize("code", sorted(USERS))
def check_codes_of_users(ctx: Context, code: str) -> None:
    """Whether a taken name, a weak password, a used token and a lock-out are told apart.

    Why: A person at a login needs to know whether to retype, to wait or to call.
    How: Make users of the check's own; take a name twice, send a short password, use a refresh
        token twice, fail logins up to the declared threshold.
    Fails when: A code, status or member of the problem differs from the catalogue.
    Remedy: Give each of these rules its own code.
    """
    refused(ctx, code, USERS[code](ctx))


@check(
    "functional/scenarios-errors/codes-of-growth",
    title="Each refusal of growth has its code, its form and no effect",
    failure_title="A refusal of growth has another code or form, or leaves something behind",
    severity=Severity.HIGH,
    requirements=["E2E-ERR", "SYS-GRO"],
    operations=["forkAccount", "mergeAccounts", "reinvestAccount", "createTransaction"],
    modules=(Module.GROWTH,),
    identities=("customer", "manager"),
    defects=["refused-merges-touch-their-sources", "refusals-promise-too-much"],
)
@pytest.mark.parametrize("code", sorted(GROWTH))
def check_codes_of_growth(ctx: Context, code: str) -> None:
    """Whether each reason why accounts do not grow has its own code, and nothing else happens.

    Why: An operator decides by the code whether to wait, to ask a manager or to change the request.
    How: For each code make the situation under the policy in force; compare as for the core.
    Fails when: Code, form or retryable differ from the catalogue, or an account changed.
    Remedy: Judge every rule before the first write, and answer with the code of the first broken.
    """
    refused(ctx, code, GROWTH[code](ctx))


@check(
    "functional/scenarios-errors/codes-of-policies",
    title="Each refusal that a policy may ask for has its code, its form and no effect",
    failure_title="A refusal that the policy asks for has another code or form, or an effect",
    severity=Severity.MEDIUM,
    requirements=["E2E-ERR", "SYS-GRO"],
    operations=["putGrowthPolicy", "forkAccount", "mergeAccounts", "reinvestAccount"],
    modules=(Module.GROWTH,),
    identities=("customer", "admin"),
    grants=("configuration",),
    alone=True,
    defects=["refused-reinvestments-touch-the-account", "refusals-promise-too-much"],
)
@pytest.mark.parametrize("code", sorted(UNDER_OWN_RULES))
def check_codes_of_policies(ctx: Context, code: str) -> None:
    """Whether bounds, thresholds, waiting times and depth are refused with their codes.

    Why: The policy in force may lack a rule; under one that has it, its refusal must be right.
    How: Put a policy with every rule in force; break one; compare as for the core.
    Fails when: Code, form or retryable differ from the catalogue, or an account changed.
    Remedy: Give each rule of the policy its own code.
    """
    with trial_policy.under(ctx, own_rules):
        refused(ctx, code, UNDER_OWN_RULES[code](ctx))
