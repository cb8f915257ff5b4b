"""The walk's book: what each accepted request moves, and a mutant for each of its rules."""

from __future__ import annotations

from typing import Any

import pytest

from certification.oracle import growth
from certification.walking import book
from certification.walking.book import SHARES, Account, Book, Booking
from tests.oracle.mutants import is_killed

POLICIES = {"revenue": {"base_mode": "contributed"}, "generation": {"base_mode": "opening"}}


def account(name: str, cash: int = 0, **more: Any) -> Account:
    fields: dict[str, Any] = {
        "type": "generation",
        "currency": "USD",
        "exponent": 2,
        "base": 199,
        "min_balance": 0,
        "buffer_bps": 500,
        "withdrawal_allowed": True,
        "root": name,
        "buckets": {"cash": cash},
    }
    return Account(id=name, **{**fields, **more})


def kept(*accounts: Account) -> Book:
    return Book(policies=POLICIES, accounts={each.id: each for each in accounts})


def asked(kind: str, amount: int, **more: object) -> dict[str, object]:
    return {"kind": kind, "amount": {"amount": amount, "currency": "USD"}, **more}


def of(name: str, amount: int, *, kind: str = "withdrawal") -> dict[str, object]:
    return asked(kind, amount, from_account_id=name)


def to(name: str, amount: int, *, kind: str = "deposit") -> dict[str, object]:
    return asked(kind, amount, to_account_id=name)


def between(one: str, two: str, amount: int, **more: object) -> dict[str, object]:
    return asked("transfer", amount, from_account_id=one, to_account_id=two, **more)


def test_what_an_account_shows() -> None:
    shares = {"cash": 100, SHARES: 40}
    one = account("a", min_balance=7, buckets=shares, parent="p", root="r", depth=2)
    held = kept(one)
    held.request("t1", {**of("a", 25), "hold": True})
    assert held.shown(one) == {
        "/status": "active",
        "/type": "generation",
        "/currency": "USD",
        "/base_amount": 199,
        "/buffer_bps": 500,
        "/parent_id": "p",
        "/root_id": "r",
        "/depth": 2,
        "/merged_into_id": None,
        "/balances/ledger": 100,
        "/balances/holds": 25,
        "/balances/buffer": 9,
        "/balances/total_value": 140,
        "/min_balance": 7,
        "/balances/available": 68,
    }


@pytest.mark.parametrize("status", ["closed", "merged"])
def test_what_an_ended_account_keeps_at_least_means_nothing(status: str) -> None:
    one = account("a", status=status)
    assert one.ended
    assert kept(one).shown(one).keys().isdisjoint({"/min_balance", "/balances/available"})
    assert not account("b", status="suspended").ended


def test_the_growth_oracle_is_told_everything() -> None:
    one = account(
        "a", min_balance=7, buckets={"cash": 100, SHARES: 40}, depth=2, status="suspended"
    )
    held = kept(one)
    held.request("t1", {**of("a", 25), "hold": True})
    assert held.standing(one) == growth.Standing(
        type="generation",
        exponent=2,
        ledger=100,
        holds=25,
        base_amount=199,
        buffer=9,
        min_balance=7,
        total_value=140,
        depth=2,
        status="suspended",
    )


def test_a_hold_counts_at_its_source_until_it_ends() -> None:
    held = kept(account("a", 100), account("b"))
    booking = held.request("t1", between("a", "b", 40, hold=True))
    assert (booking.status, booking.held, booking.lines) == ("pending", True, [])
    assert (held.holds("a"), held.holds("b")) == (40, 0)
    assert (held.awaits("a"), held.awaits("b")) == (False, True)
    held.settle(booking, 15)
    assert (booking.status, booking.settled) == ("settled", 15)
    assert (held.holds("a"), held.awaits("b")) == (0, False)
    assert (held.accounts["a"].cash, held.accounts["b"].cash) == (85, 15)


def test_a_reversal_undoes_what_was_booked_on_each_bucket() -> None:
    held = kept(account("a", 100))
    bought = held.request("t1", of("a", 40, kind="assignment"))
    assert (held.accounts["a"].cash, held.accounts["a"].buckets[SHARES]) == (60, 40)
    reversal = held.reverse("t2", bought)
    assert (held.accounts["a"].cash, held.accounts["a"].buckets[SHARES]) == (100, 0)
    assert (bought.status, reversal.status) == ("reversed", "posted")
    assert (reversal.kind, reversal.reverses, reversal.amount) == ("reversal", "t1", 40)
    lines = [("cash", -40), (SHARES, 40), ("cash", 40), (SHARES, -40)]
    assert held.accounts["a"].entries == lines


def test_a_reversal_of_a_part_is_of_the_part() -> None:
    held = kept(account("a", 100))
    booking = held.request("t1", {**of("a", 40), "hold": True})
    held.settle(booking, 15)
    assert held.reverse("t2", booking).amount == 15
    assert held.accounts["a"].cash == 100


def test_contributions_move_the_base_where_the_policy_counts_them() -> None:
    counting, other = account("a", 0, type="revenue"), account("b", 500)
    held = kept(counting, other)
    for number, (body, base) in enumerate(
        [
            (to("a", 300), 499),
            (of("a", 99), 400),
            (to("a", 60, kind="premium"), 400),
            (of("a", 60, kind="fee"), 400),
            (between("b", "a", 100), 400),
            ({**of("a", 10), "hold": True}, 400),
            (of("a", 401), 0),
        ]
    ):
        held.request(f"t{number}", body)
        assert counting.base == base, body
    held.request("t9", to("b", 5))
    assert other.base == 199


def test_a_reversed_contribution_is_taken_back_and_a_settled_one_is_one() -> None:
    counting = account("a", 0, type="revenue")
    held = kept(counting)
    deposit = held.request("t1", to("a", 300))
    held.reverse("t2", deposit)
    assert counting.base == 199
    hold = held.request("t3", {**of("a", 40), "hold": True})
    held.settle(hold, 15)
    assert counting.base == 184


def test_an_account_lists_what_it_pays_or_receives_and_what_is_only_held() -> None:
    held = kept(account("a", 100), account("b"))
    held.request("t1", between("a", "b", 40, hold=True))
    held.request("t2", to("a", 5))
    assert held.listed("a") == ({"t1": "pending", "t2": "posted"}, {})
    assert held.listed("b") == ({"t1": "pending"}, {})
    both = Booking(id="t", kind="transfer", status="posted", currency="USD", amount=1)
    both.source, both.target, both.lines = "a", "b", [("b", "cash", 1), ("c", "cash", 1)]
    assert both.accounts == ("a", "b", "c")


def test_a_merge_moves_every_bucket_of_its_sources() -> None:
    sources = [account("a", 70), account("b", 0, buckets={"cash": 0, SHARES: 9})]
    target = account("c", 5)
    held = kept(*sources, target, account("d"))
    merge = Booking(id="m", kind="merge", status="posted", currency="USD", amount=70)
    assert held.move_all(merge, sources, target) == 70
    assert [each.total for each in sources] == [0, 0]
    assert target.buckets == {"cash": 75, SHARES: 9}
    assert merge.emptied == ("a", "b")
    assert sorted(merge.lines) == [
        ("a", "cash", -70),
        ("b", SHARES, -9),
        ("c", "cash", 70),
        ("c", SHARES, 9),
    ]


def test_the_source_of_a_merge_that_had_nothing_may_list_it() -> None:
    held = kept(account("a", 70), account("b"), account("c"))
    merge = Booking(id="m", kind="merge", status="posted", currency="USD", amount=70)
    held.move_all(merge, [held.accounts["a"], held.accounts["b"]], held.accounts["c"])
    assert merge.may_touch == {"b"}
    assert held.listed("a") == ({"m": "posted"}, {})
    assert held.listed("b") == ({}, {"m": "posted"})


def test_an_opened_account_keeps_what_is_known_and_reads_the_rest() -> None:
    wire = {
        "id": "a",
        "type": "revenue",
        "currency": "JPY",
        "base_amount": 11,
        "min_balance": 3,
        "buffer_bps": 250,
        "withdrawal_allowed": False,
        "balances": {"exponent": 0},
    }
    held = kept()
    one = held.adopt(wire, base=12, depth=1)
    assert held.accounts == {"a": one}
    assert (one.type, one.currency, one.exponent, one.root) == ("revenue", "JPY", 0, "a")
    assert (one.base, one.min_balance, one.buffer_bps, one.depth) == (12, 3, 250, 1)
    assert not one.withdrawal_allowed


# -- each rule has a mutant ------------------------------------------------------------------------

MUTANTS = {
    "shares are cash": ("return self.buckets.get(CASH, 0)", "return self.total"),
    "the total is the cash": ("return sum(self.buckets.values())", "return self.cash"),
    "the buffer is rounded": ("self.buffer_bps // 10_000", "self.buffer_bps / 10_000"),
    "the buffer is of the cash": ("return self.base * self", "return self.cash * self"),
    "closed is no end": ('{"closed", "merged"}', '{"merged"}'),
    "merged is no end": ('{"closed", "merged"}', '{"closed"}'),
    "suspended is an end": ('{"closed", "merged"}', '{"closed", "merged", "suspended"}'),
    "a transaction touches twice": ("tuple(dict.fromkeys(name for", "tuple((name for"),
    "payers are not touched": ("named = [self.source, self", "named = [self"),
    "payees are not touched": ("self.source, self.target, *", "self.source, *"),
    "lines touch nobody": (", *(account for account, _, _ in self.lines)]", "]"),
    "emptied accounts may be silent": (" - frozenset(self.accounts)\n", "\n"),
    "nobody may list more": ("return frozenset(self.emptied)", "return frozenset()"),
    "all holds are one's own": ("if row.source == account_id)", ")"),
    "holds are of payees": ("if row.source == account_id)", "if row.target == account_id)"),
    "holds never end": ('if row.status == "pending"]', "if row.held]"),
    "payers wait": ("any(row.target == account_id", "any(account_id in row.accounts"),
    "holds may be spent": ("account.cash - self.holds(account.id) - ", "account.cash - "),
    "the minimum may be spent": (
        "self.holds(account.id) - account.min_balance",
        "self.holds(account.id)",
    ),
    "growth knows no holds": ("holds=self.holds(account.id)", "holds=0"),
    "growth knows no minimum": ("            min_balance=account.min_balance,\n", ""),
    "growth knows no total": ("total_value=account.total", "total_value=account.cash"),
    "growth knows no depth": ("            depth=account.depth,\n", ""),
    "growth knows no state": ("            status=account.status,\n", ""),
    "growth knows no buffer": ("buffer=account.buffer,", "buffer=0,"),
    "holds are not shown": ('"/balances/holds": self.holds(account.id)', '"/balances/holds": 0'),
    "the total shown is the cash": (
        '"/balances/total_value": account.total',
        '"/balances/total_value": account.cash',
    ),
    "parents are not shown": ('"/parent_id": account.parent', '"/parent_id": None'),
    "roots are their own": ('"/root_id": account.root', '"/root_id": account.id'),
    "ended accounts keep a minimum": ("if not account.ended:", "if True:"),
    "nothing is available": ("if not account.ended:", "if False:"),
    "everybody lists it": ("if account_id in row.accounts}", "}"),
    "nobody lists more": ("if account_id in row.may_touch}", "if False}"),
    "known settings are read": ("**(settings | known)", "**(known | settings)"),
    "settings are forgotten": ('"buffer_bps": wire["buffer_bps"]', '"buffer_bps": 500'),
    "exponents are 2": ('exponent = wire["balances"]["exponent"]', "exponent = 2"),
    "opened accounts are forgotten": ("self.accounts[account.id] = account", "pass"),
    "transactions are forgotten": ("self.bookings[booking.id] = booking", "pass"),
    "the last line is the balance": ("account.buckets.get(bucket, 0) + amount", "amount"),
    "lines are not entries": ("account.entries.append((bucket, amount))", "pass"),
    "lines are not the transaction's": (
        "booking.lines.append((account_id, bucket, amount))",
        "pass",
    ),
    "holds are booked": ("[] if held else self._lines", "self._lines"),
    "holds are posted": ('"pending" if held else "posted"', '"posted"'),
    "holds contribute": ("if not held:", "if True:"),
    "nothing contributes": ("if not held:", "if False:"),
    "payers are paid": ("(booking.source, CASH, -amount)", "(booking.source, CASH, amount)"),
    "payees pay": ("(booking.target, CASH, amount)", "(booking.target, CASH, -amount)"),
    "assigned cash is gone": ('if booking.kind == "assignment":', "if False:"),
    "assigned cash is doubled": (
        "(booking.source, SHARES, amount)",
        "(booking.source, SHARES, 2 * amount)",
    ),
    "every kind contributes": (
        "if account is None or booking.kind != kind:",
        "if account is None:",
    ),
    "every policy counts": ('.get("base_mode") == "contributed"', '.get("base_mode")'),
    "a base below zero": (
        "max(0, account.base + moved)",
        "account.base + moved",
    ),
    "withdrawals add to the base": ('"withdrawal", -amount)', '"withdrawal", amount)'),
    "settled holds do not contribute": ("        self._contribute(booking, amount)\n", ""),
    "a reversal takes nothing back": ("self._contribute(original, -moved)", "pass"),
    "a reversal contributes": (
        "self._contribute(original, -moved)",
        "self._contribute(original, moved)",
    ),
    "a settled hold is pending": (
        'booking.status, booking.settled = "settled", amount',
        "booking.settled = amount",
    ),
    "a part is the whole": (
        "self._lines(booking, amount))\n",
        "self._lines(booking, booking.amount))\n",
    ),
    "reversed is posted": ('original.status = "reversed"', "pass"),
    "a reversal does it again": (
        "(account, bucket, -amount) for account, bucket, amount in original",
        "(account, bucket, amount) for account, bucket, amount in original",
    ),
    "a reversal of the whole hold": (
        "original.amount if original.settled is None else original.settled",
        "original.amount",
    ),
    "a reversal of nothing": ("reverses=original.id", "reverses=None"),
    "only cash merges": ("            if amount\n", "            if amount and bucket == CASH\n"),
    "empty buckets merge": ("            if amount\n", ""),
    "what merged is the total": ("if bucket == CASH)", ")"),
    "sources keep theirs": ("out = [(account, bucket, -amount)", "out = [(account, bucket, 0)"),
    "targets get nothing": ("[(target.id, bucket, amount)", "[(target.id, bucket, 0)"),
    "merged shares are cash": ("[(target.id, bucket, amount)", "[(target.id, CASH, amount)"),
    "sources are forgotten": ("tuple(account.id for account in sources)", "()"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert is_killed(monkeypatch, book, MUTANTS[name], globals())
