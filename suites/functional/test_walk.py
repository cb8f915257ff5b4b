"""The model walk: random sequences over the whole API, each step held against the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certification.checks import check
from certification.model import Module, Severity, Veto

if TYPE_CHECKING:
    from certification.context import Context

WALKS = ("first", "second")
"""Two walks with random numbers of their own, so that two workers share the work."""


@check(
    "functional/walk/money-follows-the-model",
    title="No sequence of requests takes accounts and money away from the model",
    failure_title="A sequence of requests leaves accounts or money other than the rules say",
    severity=Severity.CRITICAL,
    requirements=["SYS-ACC", "SYS-TXN", "E2E-LIFE", "E2E-TXN"],
    operations=[
        "createAccount",
        "getAccount",
        "closeAccount",
        "createTransaction",
        "createTransactionBatch",
        "listEntries",
        "listTransactions",
        "updateAccount",
        "settleTransaction",
        "voidTransaction",
        "reverseTransaction",
    ],
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=[
        "busy-accounts-lose-a-unit",
    ],
    budget_s=90,
)
@pytest.mark.parametrize("walk", WALKS)
def check_money_follows_the_model(ctx: Context, walk: str) -> None:
    """Whether every step of random sequences does what the contract says, and nothing else.

    Why: Each operation can be right alone and wrong after another one: a stale figure, a state that
        is forgotten, a second refund. Nobody writes a test for every sequence.
    How: Draw sequences of openings, bookings of every kind, holds, settles, voids, reversals,
        batches, closings, suspensions, repeats under one key and reads of the past, with amounts at
        and beyond the edges. After each step read what it touched, and others in turn, and compare
        with a book that is kept beside; at the end of a sequence re-add all its accounts. A failing
        sequence is made as short as it gets and written down as a script of curl calls.
    Fails when: An answer, a refusal, a state or a figure is not the one of the book.
    Remedy: Run the script of the finding; it is the shortest sequence that was found.
    """
    from certification.walking.run import take_a_walk

    take_a_walk(ctx, growth=False, name=walk)


@check(
    "functional/walk/growth-follows-the-model",
    title="No sequence of requests takes growth away from the model",
    failure_title="A sequence with forks, merges or reinvestments ends otherwise than ruled",
    severity=Severity.CRITICAL,
    requirements=["SYS-GRO", "SYS-ACC", "SYS-TXN", "E2E-GRO"],
    operations=[
        "createAccount",
        "getAccount",
        "closeAccount",
        "createTransaction",
        "forkAccount",
        "mergeAccounts",
        "reinvestAccount",
        "getLineage",
        "listEntries",
        "listTransactions",
        "updateAccount",
        "createTransactionBatch",
        "settleTransaction",
        "voidTransaction",
        "reverseTransaction",
        "openSystem",
    ],
    modules=(Module.CORE, Module.GROWTH),
    veto=Veto.MONEY_NOT_CONSERVED,
    defects=["deposits-after-a-fork-lose-a-unit"],
    budget_s=90,
)
@pytest.mark.parametrize("walk", WALKS)
def check_growth_follows_the_model(ctx: Context, walk: str) -> None:
    """Whether forks, merges and reinvestments keep to the declared policy between other steps.

    Why: Growth moves whole accounts; what holds, closings, refunds and repeats do to it, and it to
        them, shows only in sequences.
    How: As the walk over money, with forks by the policy in force and with own shares, trials that
        must change nothing, merges into old and new accounts, reinvestments and systems; amounts
        are those at which the declared policy begins to fork. The lineage is compared edge by edge.
    Fails when: An answer, a refusal, a state, a figure or an edge is not the one of the book.
    Remedy: Run the script of the finding; it is the shortest sequence that was found.
    """
    from certification.walking.run import take_a_walk

    take_a_walk(ctx, growth=True, name=walk)


@check(
    "functional/walk/people-follow-the-model",
    title="No sequence of requests lets somebody in, or out, other than the rules say",
    failure_title="A sequence of requests opens what is closed to somebody, or closes what is open",
    severity=Severity.HIGH,
    requirements=["SYS-SEC"],
    operations=[
        "login",
        "refreshSession",
        "logout",
        "createUser",
        "getUser",
        "updateUser",
        "createAccount",
        "getAccount",
        "listAccounts",
    ],
    defects=["enabling-revives-sessions", "refreshing-brings-grants-back"],
    identities=["admin"],
    standards=["OWASP-API:2023-1", "OWASP-API:2023-2", "CWE-613"],
    budget_s=60,
)
def check_people_follow_the_model(ctx: Context) -> None:
    """Whether sessions, roles, states and grants decide together who may do what.

    Why: Each rule of access can be right alone and undone by another one: a session that comes back
        with its user, a grant that survives in a token. Whom it lets in shows only in sequences.
    How: Draw sequences in which two or three new users log in, refresh, present used tokens, log
        out, open accounts, give each other the reading of one and take it back, while an admin
        disables, enables and promotes them; grants only where they are declared. All read users,
        accounts and lists, their own and others'. At the end everybody reads everything, ended
        tokens included. A failing sequence is made short and written down as curl calls.
    Fails when: Somebody is let in, or kept out, other than the book says, or reads other things.
    Remedy: Run the script of the finding; it is the shortest sequence that was found.
    """
    from certification.walking.run import walk_among_people

    walk_among_people(ctx)
