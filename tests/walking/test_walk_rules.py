"""What the walk's book says of requests: refusals by their order, edges, and ids in scripts."""

from __future__ import annotations

from typing import Any

import pytest

from certification.contract import load_contract
from certification.walking import rules
from certification.walking.book import SHARES, Account, Book, Booking
from tests.oracle.mutants import is_killed

STATUS = {code: row.status for code, row in load_contract().problems.items()}


def account(name: str, cash: int, **more: Any) -> Account:
    fields: dict[str, Any] = {
        "type": "generation",
        "currency": "USD",
        "exponent": 2,
        "base": 0,
        "min_balance": 0,
        "buffer_bps": 500,
        "withdrawal_allowed": True,
        "root": name,
        "buckets": {"cash": cash},
    }
    return Account(id=name, **{**fields, **more})


def book(*accounts: Account) -> Book:
    return Book(policies={}, accounts={each.id: each for each in accounts})


def withdrawal(amount: int, **more: object) -> dict[str, object]:
    money = {"amount": amount, "currency": "USD"}
    return {"kind": "withdrawal", "amount": money, "from_account_id": "a", **more}


def test_a_held_unit_cannot_be_spent_and_the_edge_can() -> None:
    kept = book(account("a", 100))
    kept.request("t1", withdrawal(40, hold=True))
    assert rules.transaction(kept, withdrawal(60)) == []
    assert rules.transaction(kept, withdrawal(61)) == ["insufficient_available"]


def test_a_state_is_refused_before_a_rule() -> None:
    kept = book(account("a", 10, status="suspended"))
    codes = rules.transaction(kept, withdrawal(11))
    assert rules.first(codes, STATUS) == {"account_suspended"}


def test_a_settled_hold_moves_its_part_and_frees_the_rest() -> None:
    kept = book(account("a", 100))
    hold = kept.request("t1", withdrawal(40, hold=True))
    kept.settle(hold, 15)
    assert (kept.accounts["a"].cash, kept.holds("a")) == (85, 0)
    assert rules.settle(kept, hold, None) == ["not_pending"]
    reversal = kept.reverse("t2", hold)
    assert (kept.accounts["a"].cash, reversal.amount) == (100, 15)
    assert "already_reversed" in rules.reverse(kept, hold)


def test_a_base_follows_contributions_and_what_takes_them_back() -> None:
    kept = book(account("a", 100, base=100))
    kept.policies = {"generation": {"base_mode": "contributed"}}
    hold = kept.request("t1", withdrawal(40, hold=True))
    assert kept.accounts["a"].base == 100
    kept.settle(hold, 15)
    assert kept.accounts["a"].base == 85
    kept.reverse("t2", hold)
    assert kept.accounts["a"].base == 100
    money = {"amount": 30, "currency": "USD"}
    deposit = kept.request("t3", {"kind": "deposit", "amount": money, "to_account_id": "a"})
    assert kept.accounts["a"].base == 130
    kept.reverse("t4", deposit)
    assert (kept.accounts["a"].base, kept.accounts["a"].cash) == (100, 100)


def test_a_merge_may_stand_in_the_list_of_a_source_that_had_nothing() -> None:
    kept = book(account("a", 70), account("b", 0), account("c", 5))
    merge = Booking(id="m", kind="merge", status="posted", currency="USD", amount=70)
    kept.move_all(merge, [kept.accounts["a"], kept.accounts["b"]], kept.accounts["c"])
    posted = {"m": "posted"}
    assert kept.listed("a") == (posted, {})
    assert kept.listed("b") == ({}, posted)
    assert kept.listed("c") == (posted, {})


def transfer(amount: int, **more: object) -> dict[str, object]:
    money = {"amount": amount, "currency": more.pop("currency", "USD")}
    ends = {"from_account_id": "a", "to_account_id": "b"}
    return {"kind": "transfer", "amount": money, **ends, **more}


def test_of_several_refusals_those_of_the_first_kind_count() -> None:
    codes = ["insufficient_available", "account_closed", "pending_holds"]
    assert rules.first(codes, STATUS) == {"account_closed", "pending_holds"}
    assert rules.first(["same_account"], STATUS) == {"same_account"}
    order = ["not_found", "precondition_failed", "account_closed", "same_account"]
    assert [STATUS[code] for code in order] == [404, 412, 409, 422]
    for number, code in enumerate(order):
        assert rules.first(order[number:], STATUS) == {code}


@pytest.mark.parametrize(
    ("status", "as_source", "as_target"),
    [
        ("active", [], []),
        ("suspended", ["account_suspended"], []),
        ("closed", ["account_closed"], ["account_closed"]),
        ("merged", ["account_merged"], ["account_merged"]),
    ],
)
def test_the_state_of_either_end(status: str, as_source: list[str], as_target: list[str]) -> None:
    one, other = account("a", 10, status=status), account("b", 10)
    assert rules.transaction(book(one, other), transfer(1)) == as_source
    swapped = book(account("a", 10), account("b", 10, status=status))
    assert rules.transaction(swapped, transfer(1)) == as_target


def test_each_rule_of_a_transaction_has_its_code() -> None:
    kept = book(account("a", 10, withdrawal_allowed=False), account("b", 0))
    assert rules.transaction(kept, withdrawal(10)) == ["withdrawal_not_allowed"]
    assert rules.transaction(kept, transfer(10)) == []
    assert rules.transaction(kept, transfer(1, to_account_id="a")) == ["same_account"]
    assert rules.transaction(kept, transfer(1, currency="EUR")) == ["currency_mismatch"]


@pytest.mark.parametrize(
    ("condition", "codes"),
    [
        ({"ledger_eq": 100}, []),
        ({"ledger_eq": 99}, ["precondition_unmet"]),
        ({"available_gte": 60}, []),
        ({"available_gte": 61}, ["precondition_unmet"]),
    ],
)
def test_conditions_are_on_the_ledger_or_on_what_is_available(
    condition: dict[str, int], codes: list[str]
) -> None:
    kept = book(account("a", 100))
    kept.request("t1", withdrawal(40, hold=True))
    asked = withdrawal(1, preconditions=[{"account_id": "a", **condition}])
    assert rules.transaction(kept, asked) == codes


def test_a_hold_ends_once_and_at_most_whole() -> None:
    kept = book(account("a", 100), account("b", 0))
    hold = kept.request("t1", transfer(40, hold=True))
    assert rules.settle(kept, hold, None) == rules.settle(kept, hold, 40) == rules.void(hold) == []
    assert rules.settle(kept, hold, 41) == ["exceeds_hold"]
    kept.accounts["b"].status = "closed"
    assert rules.settle(kept, hold, 40) == ["account_closed"]
    hold.status = "voided"
    assert rules.void(hold) == ["not_pending"]


def test_a_reversal_needs_what_it_takes_back_on_each_bucket() -> None:
    kept = book(account("a", 0))
    bought = kept.request("t1", {**withdrawal(40), "kind": "deposit", "from_account_id": None})
    bought.lines.append(("a", "cash", 40))
    assert rules.reverse(kept, bought) == ["insufficient_available"]
    kept.accounts["a"].buckets["cash"] = 40
    assert rules.reverse(kept, bought) == []
    kept.request("t2", withdrawal(1, hold=True))
    assert rules.reverse(kept, bought) == ["insufficient_available"]
    shares = Booking(id="s", kind="assignment", status="posted", currency="USD", amount=9)
    shares.lines.append(("a", SHARES, 9))
    assert rules.reverse(kept, shares) == ["insufficient_available"]
    kept.accounts["a"].buckets[SHARES] = 9
    assert rules.reverse(kept, shares) == []
    kept.accounts["a"].status = "merged"
    assert rules.reverse(kept, shares) == ["account_merged"]


@pytest.mark.parametrize("kind", ["fork", "merge", "sweep", "reversal", "reinvestment"])
def test_what_no_request_books_is_not_reversed(kind: str) -> None:
    row = Booking(id="t", kind=kind, status="posted", currency="USD", amount=1)
    assert rules.reverse(book(), row) == ["not_reversible"]


def test_what_is_not_booked_is_not_reversed() -> None:
    for status, codes in (
        ("posted", []),
        ("settled", []),
        ("pending", ["not_reversible"]),
        ("voided", ["not_reversible"]),
        ("reversed", ["already_reversed"]),
    ):
        row = Booking(id="t", kind="transfer", status=status, currency="USD", amount=1)
        assert rules.reverse(book(), row) == codes


def test_an_account_closes_empty_or_into_another() -> None:
    kept = book(account("a", 0), account("b", 0, buckets={"cash": 0, SHARES: 1}))
    one, other = kept.accounts.values()
    assert rules.close(kept, one, None) == rules.close(kept, other, one) == []
    assert rules.close(kept, other, None) == ["balance_not_zero"]
    assert rules.close(kept, one, one) == ["same_account"]
    euros = account("e", 0, currency="EUR")
    assert rules.close(kept, one, euros) == ["currency_mismatch"]
    other.status = "suspended"
    assert rules.close(kept, one, other) == ["account_suspended"]
    assert rules.close(kept, account("c", 0, status="closed"), None) == ["account_closed"]
    one.buckets["cash"] = 5
    kept.request("t1", withdrawal(5, hold=True))
    assert rules.close(kept, one, account("d", 0)) == ["pending_holds"]


MERGING = {"generation": {"merge": {"sources_min": 1, "sources_max": 2}}}
MERGING["compounding"] = {"merge": {"sources_min": 1, "sources_max": 3}}


def merge(*sources: Account, into: Account | None = None, most: int = 9) -> list[str]:
    kept = book(*sources, *([into] if into else []))
    kept.policies = MERGING
    for each in kept.accounts.values():
        if each.id == "held":
            kept.request("t1", {**withdrawal(1, hold=True), "from_account_id": "held"})
    return rules.merge(kept, sources, into, sources_max=most)


def test_each_rule_of_a_merge_has_its_code() -> None:
    one, two, three = account("a", 5), account("b", 0), account("c", 0)
    assert merge(one, two) == merge(one, two, into=three) == merge(one, two, three) == []
    assert merge(one, two, three, into=account("d", 0)) == ["too_many_sources"]
    assert merge(one, two, three, most=2) == merge(into=one)[:1] == ["too_many_sources"]
    assert merge(one, one) == ["duplicate_source"]
    assert merge(one, two, into=one) == ["target_in_sources"]
    assert merge(two, three) == ["nothing_to_merge"]
    assert merge(account("held", 5), into=two) == ["pending_holds"]
    assert merge(one, into=account("held", 5)) == ["pending_holds"]
    assert merge(one, account("m", 0, status="merged")) == ["account_merged"]
    for status in ("closed", "suspended"):
        assert merge(one, account("m", 0, status=status)) == ["account_not_active"]
    assert merge(one, into=account("e", 0, currency="EUR")) == ["currency_mismatch"]


# -- each rule has a mutant ------------------------------------------------------------------------

MUTANTS = {
    "rules go before the state": ("(404, 412, 409, 422)", "(404, 412, 422, 409)"),
    "versions go before existence": ("(404, 412, 409, 422)", "(412, 404, 409, 422)"),
    "the state goes before versions": ("(404, 412, 409, 422)", "(404, 409, 412, 422)"),
    "every code counts": ("if now:", "if False:"),
    "ended accounts go on": ("if account.ended else []", "if False else []"),
    "suspended accounts pay": ('if account.status != "active" else []', "if account.ended else []"),
    "payers may be in any state": ("codes += debited(source)", "codes += []"),
    "withdrawals are allowed": ("not source.withdrawal_allowed", "False"),
    "nothing is withdrawn": ('body["kind"] == "withdrawal" and not source', "not source"),
    "more than there is": (
        "if book.available(source) < amount:",
        "if book.available(source) + 1 < amount:",
    ),
    "less than there is": (
        "if book.available(source) < amount:",
        "if book.available(source) <= amount:",
    ),
    "payees may have ended": ("codes += ended(target)", "codes += []"),
    "payees must be active": ("codes += ended(target)", "codes += debited(target)"),
    "to oneself": ("source is not None and source is target", "False"),
    "currencies mix": ("account.currency != currency for", "False for"),
    "no condition": ('return codes + unmet(book, body.get("preconditions", ()))', "return codes"),
    "any ledger": ('condition.get("ledger_eq", account.cash) != account.cash', "False"),
    "a ledger below": (
        'condition.get("ledger_eq", account.cash) != account.cash',
        'condition.get("ledger_eq", account.cash) > account.cash',
    ),
    "anything is available": (
        "book.available(account) < condition.get(",
        "False and condition.get(",
    ),
    "the ledger is available": (
        "book.available(account) < condition.get(",
        "account.cash < condition.get(",
    ),
    "more is available": (
        "book.available(account) < condition.get(",
        "book.available(account) <= condition.get(",
    ),
    "holds settle again": (
        'codes = [] if booking.status == "pending" else ["not_pending"]',
        "codes = []",
    ),
    "settled into what ended": ("(booking.source, booking.target):", "(booking.source,):"),
    "more than the hold": ("amount > booking.amount", "False"),
    "less than the hold": ("amount > booking.amount", "amount >= booking.amount"),
    "holds are released again": (
        'return [] if booking.status == "pending" else ["not_pending"]',
        "return []",
    ),
    "reversed in what ended": (
        "    for account_id in booking.accounts:\n        codes += ended",
        "    for account_id in ():\n        codes += ended",
    ),
    "reversed again": ('codes.append("already_reversed")', "pass"),
    "every kind is reversed": ("booking.kind not in REVERSIBLE or ", ""),
    "transfers are not reversed": ('        "transfer",\n', ""),
    "every state is reversed": (' or booking.status not in {"posted", "settled"}', ""),
    "settled is not reversed": ('not in {"posted", "settled"}', 'not in {"posted"}'),
    "shares are cash": (
        'book.available(account) if bucket == "cash" else account.buckets.get(bucket, 0)',
        "book.available(account)",
    ),
    "holds are taken back": (
        'book.available(account) if bucket == "cash"',
        'account.cash if bucket == "cash"',
    ),
    "nothing is needed": ("if amount > 0 and free < amount:", "if False:"),
    "a unit more is needed": (
        "if amount > 0 and free < amount:",
        "if amount > 0 and free <= amount:",
    ),
    "closed again": (
        "    codes = ended(account)\n    if book.holds",
        "    codes: list[str] = []\n    if book.holds",
    ),
    "closed with holds": (
        '    if book.holds(account.id):\n        codes.append("pending_holds")\n    if sweep_to',
        "    if sweep_to",
    ),
    "closed with money": ('["balance_not_zero"] if account.total else []', "[]"),
    "closed with shares": (
        '["balance_not_zero"] if account.total',
        '["balance_not_zero"] if account.cash',
    ),
    "swept to a suspended account": ("codes += debited(sweep_to)", "codes += ended(sweep_to)"),
    "swept to itself": ("if sweep_to is account:", "if False:"),
    "swept into another currency": ("if sweep_to.currency != account.currency:", "if False:"),
    "merged accounts are not active": ('if account.status == "merged":', "if False:"),
    "suspended accounts merge": ('elif account.status != "active":', "elif account.ended:"),
    "held accounts merge": (
        "        if book.holds(account.id):\n            codes",
        "        if False:\n            codes",
    ),
    "only sources are looked at": ("[*sources, *([target] if target else [])]", "[*sources]"),
    "a source twice": ("if len(distinct) != len(sources):", "if False:"),
    "a target that is a source": ("target is not None and target.id in distinct", "False"),
    "any number of sources": ('min(rules["sources_max"], sources_max)', "99"),
    "the deployment has no most": (
        'min(rules["sources_max"], sources_max)',
        'rules["sources_max"]',
    ),
    "the policy has no most": ('min(rules["sources_max"], sources_max)', "sources_max"),
    "no least number": ('rules["sources_min"] <= len(sources)', "0 <= len(sources)"),
    "a new account is a generation": ('target.type if target else "compounding"', '"generation"'),
    "merged currencies mix": ("len({account.currency for account in everyone}) > 1", "False"),
    "nothing merges": ("if not sum(source.total for source in sources):", "if False:"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert is_killed(monkeypatch, rules, MUTANTS[name], globals())
