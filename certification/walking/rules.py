"""What the contract says to a request, given the book: the problems that it must be refused with.

Each function returns the codes that apply; none means that the request must be accepted. Where
several apply, those of the kind that is refused first count: existence, then state, then rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from certification.oracle import growth, rounding
from certification.walking.book import Account, Book, Booking

Codes = frozenset[str]
NONE: Codes = frozenset()
ORDER = (404, 412, 409, 422)
REVERSIBLE = frozenset(
    [
        "deposit",
        "withdrawal",
        "transfer",
        "premium",
        "assignment",
        "fee",
        "tax",
        "interest",
        "adjustment",
    ]
)


def first(codes: Iterable[str], status_of: Mapping[str, int]) -> Codes:
    """Return those of the codes that are refused first; within one status any is right."""
    found = set(codes)
    for status in ORDER:
        now = frozenset(code for code in found if status_of[code] == status)
        if now:
            return now
    return frozenset(found)


def ended(account: Account) -> list[str]:
    """Return the problem of touching an account that is closed or merged."""
    return [f"account_{account.status}"] if account.ended else []


def debited(account: Account) -> list[str]:
    """Return the problem of taking money from an account in its state."""
    return [f"account_{account.status}"] if account.status != "active" else []


def transaction(book: Book, body: Mapping[str, Any]) -> list[str]:
    """Judge a transaction request of the right shape, sent by someone who may send it."""
    source = book.accounts.get(body.get("from_account_id", ""))
    target = book.accounts.get(body.get("to_account_id", ""))
    amount, currency = body["amount"]["amount"], body["amount"]["currency"]
    codes: list[str] = []
    if source is not None:
        codes += debited(source)
        if body["kind"] == "withdrawal" and not source.withdrawal_allowed:
            codes.append("withdrawal_not_allowed")
        if book.available(source) < amount:
            codes.append("insufficient_available")
    if target is not None:
        codes += ended(target)
    if source is not None and source is target:
        codes.append("same_account")
    if any(account.currency != currency for account in (source, target) if account is not None):
        codes.append("currency_mismatch")
    return codes + unmet(book, body.get("preconditions", ()))


def unmet(book: Book, conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Judge preconditions on the money of accounts."""
    for condition in conditions:
        account = book.accounts[condition["account_id"]]
        if condition.get("ledger_eq", account.cash) != account.cash:
            return ["precondition_unmet"]
        if book.available(account) < condition.get("available_gte", -(2**53)):
            return ["precondition_unmet"]
    return []


def settle(book: Book, booking: Booking, amount: int | None) -> list[str]:
    """Judge settling a transaction, whole or in part."""
    codes = [] if booking.status == "pending" else ["not_pending"]
    for account_id in (booking.source, booking.target):
        if account_id is not None:
            codes += ended(book.accounts[account_id])
    if amount is not None and amount > booking.amount:
        codes.append("exceeds_hold")
    return codes


def void(booking: Booking) -> list[str]:
    """Judge releasing a hold."""
    return [] if booking.status == "pending" else ["not_pending"]


def reverse(book: Book, booking: Booking) -> list[str]:
    """Judge a reversal."""
    codes = []
    for account_id in booking.accounts:
        codes += ended(book.accounts[account_id])
    if booking.status == "reversed":
        codes.append("already_reversed")
    elif booking.kind not in REVERSIBLE or booking.status not in {"posted", "settled"}:
        codes.append("not_reversible")
    for account_id, bucket, amount in booking.lines:
        account = book.accounts[account_id]
        free = book.available(account) if bucket == "cash" else account.buckets.get(bucket, 0)
        if amount > 0 and free < amount:
            codes.append("insufficient_available")
    return codes


def close(book: Book, account: Account, sweep_to: Account | None) -> list[str]:
    """Judge closing an account, its ETag being right."""
    codes = ended(account)
    if book.holds(account.id):
        codes.append("pending_holds")
    if sweep_to is None:
        return codes + (["balance_not_zero"] if account.total else [])
    codes += debited(sweep_to)
    if sweep_to is account:
        codes.append("same_account")
    if sweep_to.currency != account.currency:
        codes.append("currency_mismatch")
    return codes


def history(account: Account) -> growth.History:
    """Return the forks of an account; a walk is over before any of them has aged."""
    return growth.History(ages_s=(0.0,) * account.forks, ledger_after=account.ledger_after_fork)


def fork(
    book: Book, account: Account, *, depth_max: int | None
) -> tuple[list[str], growth.Decision]:
    """Judge a fork by the policy; return also what it would move."""
    policy = book.policies[account.type]
    decision = growth.judge_fork(
        policy, book.standing(account), history(account), depth_max=depth_max
    )
    codes = list(decision.reasons)
    if codes and growth.too_small(decision.legs):
        codes.append("amount_too_small")
    return codes, decision


def explicit_fork(
    book: Book, account: Account, body: Mapping[str, Any], *, depth_max: int | None
) -> tuple[list[str], tuple[growth.Leg, ...]]:
    """Judge a fork with a manager's own amount and shares; return also its legs."""
    rules = book.policies[account.type]["fork"]
    now = book.standing(account)
    amount, shares = body["amount"]["amount"], [leg["bps"] for leg in body["legs"]]
    codes = list(growth.ended(account.status))
    if growth.cooling(rules, history(account)):
        codes.append("fork_cooldown_active")
    if growth.too_deep(rules, now, depth_max):
        codes.append("lineage_depth_exceeded")
    if body["amount"]["currency"] != account.currency:
        codes.append("currency_mismatch")
    if (
        account.type not in rules["account_types"]
        or (amount > now.surplus and not body.get("override", False))
        or now.ledger - amount < growth.floor_of(rules, now)
        or book.available(account) < amount
    ):
        codes.append("not_eligible")
    if sum(shares) != rounding.WHOLE_BPS:
        return [*codes, "shares_invalid"], ()
    legs = growth.legs_of(amount, [leg["type"] for leg in body["legs"]], shares)
    return codes + (["amount_too_small"] if growth.too_small(legs) else []), legs


def merge(
    book: Book, sources: Sequence[Account], target: Account | None, *, sources_max: int
) -> list[str]:
    """Judge an explicit merge by the owner of all accounts; no target: into a new one."""
    rules = book.policies[target.type if target else "compounding"]["merge"]
    everyone = [*sources, *([target] if target else [])]
    codes = []
    for account in everyone:
        if account.status == "merged":
            codes.append("account_merged")
        elif account.status != "active":
            codes.append("account_not_active")
        if book.holds(account.id):
            codes.append("pending_holds")
    distinct = {source.id for source in sources}
    if len(distinct) != len(sources):
        codes.append("duplicate_source")
    if target is not None and target.id in distinct:
        codes.append("target_in_sources")
    if not rules["sources_min"] <= len(sources) <= min(rules["sources_max"], sources_max):
        codes.append("too_many_sources")
    if len({account.currency for account in everyone}) > 1:
        codes.append("currency_mismatch")
    if not sum(source.total for source in sources):
        codes.append("nothing_to_merge")
    return codes


def reinvest(
    book: Book, account: Account, amount: int, period: str
) -> tuple[list[str], growth.Decision]:
    """Judge a reinvestment of this amount in an open period."""
    decision = growth.judge_reinvest(
        book.policies[account.type],
        book.standing(account),
        amount,
        done=period in account.periods,
    )
    return list(decision.reasons), decision


def least_for_fork(book: Book, account: Account, *, most: int) -> int | None:
    """Return the cash with which the account would just fork by the policy."""
    now = replace(book.standing(account), holds=0)
    least = growth.least_ledger(book.policies[account.type], now, most=most)
    return None if least is None else least + book.holds(account.id)
