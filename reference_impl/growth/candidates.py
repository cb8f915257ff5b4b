"""GET /v1/growth/candidates: what could grow now, with facts and the reasons against it.

Every account that has not ended is judged once for a fork and once for the current quarter, and
once for the merge of each of its forks whose children are not all gone, by the same rules as the
requests. A merge is judged into a new compounding account, and listed under the account that the
children come from.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import flask

from reference_impl import listing, views, web
from reference_impl.access import Rank
from reference_impl.problems import Problem

from . import events, fork, fork_rules, merge, merge_rules, policies, reinvest, reinvest_rules
from . import standing as standings
from .standing import Standing

blueprint = flask.Blueprint("growth_candidates", __name__)

SCAN_ACCOUNTS_MAX = 500
"""Accounts that one page looks at; a rare filter then yields a short page and a cursor."""
Candidate = dict[str, Any]


@blueprint.get("/v1/growth/candidates")
def list_growth_candidates() -> flask.Response:
    """Return a page of candidates; a customer's are own accounts."""
    caller = web.caller(Rank.CUSTOMER, auditor=True)
    filters = {
        "kind": listing.one_of(*events.KINDS),
        "account_id": listing.identifier,
        "eligible": listing.one_of("true", "false"),
    }
    asked = listing.page("listGrowthCandidates", caller.user_id, ("seq",), filters)
    confined = listing.confined(caller, "a.owner_id", "a.id")
    found: list[tuple[list[int], Candidate]] = []
    with web.snapshot() as tx:
        last = None
        for seen, row in enumerate(_accounts(tx, asked, confined), 1):
            last = row["seq"] if seen == SCAN_ACCOUNTS_MAX else None
            found += islice(judged(tx, asked, row), asked.limit + 1 - len(found))
            if len(found) > asked.limit:
                break
    document = listing.answer(asked, found, lambda item: item[0], lambda item: item[1])
    if document["next_cursor"] is None and last is not None:
        document["next_cursor"] = listing.continue_after(asked, [last, LAST])
    return web.respond_json(document)


FORK, REINVEST, MERGE, LAST = 0, 1, 2, 2**53 - 1
"""Places of an account's candidates: a merge is at 2 + the seq of its fork; LAST is after all."""


def _accounts(
    tx: web.Tx, asked: listing.Page, confined: tuple[list[str], list[str]]
) -> Iterator[Any]:
    """Return the accounts that a page looks at: those from where the last page ended."""
    sign, order = ("<=", "DESC") if asked.descending else (">=", "ASC")
    only, names = confined
    conditions = ["a.status IN ('active', 'suspended')", *only]
    values: list[Any] = [*names]
    if asked.after is not None:
        conditions.append(f"a.seq {sign} ?")
        values.append(asked.after[0])
    if asked.filter("account_id") is not None:
        conditions.append("a.id = ?")
        values.append(asked.filter("account_id"))
    query = (
        f"{views.ACCOUNTS} WHERE {' AND '.join(conditions)}"
        f" ORDER BY a.seq {order} LIMIT {SCAN_ACCOUNTS_MAX}"
    )
    return iter(tx.connection.execute(query, (tx.now_ms, *values)))


def judged(tx: web.Tx, asked: listing.Page, row: Any) -> Iterator[tuple[list[int], Candidate]]:
    """Yield the candidates of an account that pass the filter; the key is (account, place)."""
    wanted, first = asked.filter("eligible"), 0
    if asked.after is not None and asked.after[0] == row["seq"]:
        first = asked.after[1] + 1
    for place, candidate in candidates(tx, row, asked.filter("kind"), first):
        if wanted is None or candidate["eligible"] == (wanted == "true"):
            yield [row["seq"], place], candidate


def candidates(
    tx: web.Tx, row: Any, kind: str | None, first: int
) -> Iterator[tuple[int, Candidate]]:
    """Yield what an account could do, from a place on: (place, candidate), places rising."""
    account = standings.of(row)
    if first <= FORK and kind in {None, "fork"}:
        yield FORK, fork_candidate(tx, account)
    if first <= REINVEST and kind in {None, "reinvest"}:
        yield REINVEST, reinvest_candidate(tx, account)
    if kind in {None, "merge"}:
        for forked in events.forks_of(tx.connection, account.id, first - MERGE):
            if found := merge_candidate(tx, account, forked):
                yield MERGE + forked.seq, found


def fork_candidate(tx: web.Tx, account: Standing) -> Candidate:
    """Judge the fork that the policy would make."""
    policy = policies.in_force(tx.connection, account.type)
    case = fork_rules.Case(
        policy=policy.fork,
        parent=account,
        past=events.past_forks(tx.connection, account.id, policy.fork.per_day_max),
        plan=fork_rules.plan_by_policy(policy.fork, account),
        now_ms=tx.now_ms,
    )
    verdict = _verdict("fork", account, case.plan.amount, fork_rules.refusals(case))
    return {**verdict, "policy_ref": policy.ref, "facts": fork.facts(case)}


def reinvest_candidate(tx: web.Tx, account: Standing) -> Candidate:
    """Judge the reinvestment of the current quarter, of all that is available."""
    policy = policies.in_force(tx.connection, account.type)
    period = events.quarter_of(tx.now_ms)
    case = reinvest_rules.Case(
        policy=policy.reinvest,
        account=account,
        period=period,
        amount=reinvest_rules.all_available(policy.reinvest, account),
        currency=account.currency,
        legs=reinvest.policy_legs(policy.reinvest),
        done=reinvest.reinvested(tx.connection, account.id, period),
        now=events.moment_of(tx.now_ms),
    )
    verdict = _verdict("reinvest", account, case.amount, reinvest_rules.refusals(case))
    facts = reinvest.facts(account)
    return {**verdict, "policy_ref": policy.ref, "period": period, "facts": facts}


def merge_candidate(tx: web.Tx, account: Standing, forked: fork_rules.Forked) -> Candidate | None:
    """Judge the merge of a fork's children; None if all of them have ended."""
    policy = policies.in_force(tx.connection, "compounding")
    children = [
        standings.of(views.account_row(tx.connection, child, tx.now_ms))
        for child in sorted(forked.children)
    ]
    if all(child.account.status in {"closed", "merged"} for child in children):
        return None
    case = merge_rules.Case(
        policy=policy.merge,
        sources=children,
        target=None,
        by_policy=True,
        override=False,
        held=merge.held(tx, children),
        origins=[merge.origin(tx, child.id) for child in children],
    )
    verdict = _verdict("merge", account, case.value, merge_rules.refusals(case))
    facts = {**reinvest.facts(account), "trigger_value": case.value, "total_value": case.value}
    if case.threshold is not None:
        facts["threshold"] = case.threshold
    sources = [child.id for child in children]
    return {**verdict, "policy_ref": policy.ref, "sources": sources, "facts": facts}


def _verdict(kind: str, account: Standing, amount: int, refusals: Iterable[Problem]) -> Candidate:
    reasons = list(dict.fromkeys(problem.code for problem in refusals))
    money = {"amount": amount, "currency": account.currency}
    return {
        "account_id": account.id,
        "kind": kind,
        "eligible": not reasons,
        "amount": None if reasons else money,
        "reasons": reasons,
    }
