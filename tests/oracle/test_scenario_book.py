"""The book of a scenario: what it predicts and refuses, and how it reads a target's entries."""

from __future__ import annotations

from typing import Any

import pytest

from certification import scenario_book
from certification.scenario_book import (
    SHARES,
    UNNAMED,
    Ask,
    Page,
    book,
    emptying,
    in_groups,
    named,
)
from tests.oracle.mutants import is_killed

LARGEST = 1_000_000


def page(name: str, cash: int = 0, **configured: Any) -> Page:
    """An account with cash that came in one deposit."""
    members = {
        "status": "active",
        "currency": "USD",
        "base_amount": 199,
        "buffer_bps": 500,
        "min_balance": 0,
        "withdrawal_allowed": True,
    }
    opened = Page(id=name, configured=members | configured, version=1, balance_version=1)
    if cash:
        book("t0", "deposit", Ask(kind="deposit", amount=cash, target=opened).moves())
    return opened


def test_what_may_be_spent_leaves_out_holds_and_the_minimum() -> None:
    account = page("a", 100, min_balance=30)
    account.holds["h"] = 25
    read = account.reading()
    assert (read["balances.ledger"], read["balances.holds"]) == (100, 25)
    assert read["balances.available"] == 45
    assert read["balances.buffer"] == 9
    assert not Ask(kind="withdrawal", amount=45, source=account).refusals(LARGEST)
    refused = Ask(kind="withdrawal", amount=46, source=account).refusals(LARGEST)
    assert refused == {"insufficient_available"}


def test_shares_count_in_the_total_and_cannot_be_spent() -> None:
    account = page("a", 100)
    account.buckets[SHARES] = 40
    read = account.reading()
    assert (read["balances.ledger"], read["balances.total_value"]) == (100, 140)
    assert read["balances.available"] == 100
    assert (read["status"], read["base_amount"]) == ("active", 199)


@pytest.mark.parametrize(
    ("status", "as_source", "as_target"),
    [
        ("suspended", {"account_suspended"}, set()),
        ("closed", {"account_closed"}, {"account_closed"}),
        ("merged", {"account_merged"}, {"account_merged"}),
    ],
)
def test_state_goes_before_every_rule(
    status: str, as_source: set[str], as_target: set[str]
) -> None:
    account = page("a", 10, status=status)
    assert Ask(kind="withdrawal", amount=99, source=account).refusals(LARGEST) == as_source
    assert Ask(kind="deposit", amount=1, target=account).refusals(LARGEST) == as_target


def test_each_rule_has_its_code_and_any_of_several_may_be_named() -> None:
    account, other = page("a", 10, withdrawal_allowed=False), page("b", LARGEST)
    transfer = Ask(kind="transfer", amount=11, source=account, target=other)
    assert transfer.refusals(LARGEST) == {"insufficient_available", "amount_out_of_range"}
    itself = Ask(kind="transfer", amount=1, source=account, target=account)
    assert itself.refusals(LARGEST) == {"same_account"}
    withdrawal = Ask(kind="withdrawal", amount=1, source=account)
    assert withdrawal.refusals(LARGEST) == {"withdrawal_not_allowed"}
    assert not Ask(kind="fee", amount=1, source=account).refusals(LARGEST)
    foreign = Ask(kind="deposit", amount=1, target=account, currency="EUR")
    assert foreign.refusals(LARGEST) == {"currency_mismatch"}


def test_the_edges_of_a_balance_may_be_reached() -> None:
    full = page("b", LARGEST - 1)
    assert not Ask(kind="deposit", amount=1, target=full).refusals(LARGEST)
    over = Ask(kind="deposit", amount=2, target=full).refusals(LARGEST)
    assert over == {"amount_out_of_range"}
    ended = page("c", status="closed")
    two = Ask(kind="transfer", amount=1, source=page("a", status="suspended"), target=ended)
    assert two.refusals(LARGEST) == {"account_suspended", "account_closed"}


def test_a_body_names_what_was_asked_for() -> None:
    account, other = page("a", 100), page("b")
    euros = {"amount": 5, "currency": "EUR"}
    usd = {"amount": 5, "currency": "USD"}
    held = Ask(kind="transfer", amount=5, source=account, target=other, hold=True)
    assert held.body() == {
        "kind": "transfer",
        "amount": usd,
        "from_account_id": "a",
        "to_account_id": "b",
        "hold": True,
    }
    foreign = Ask(kind="deposit", amount=5, target=other, currency="EUR", more={"memo": "m"})
    assert foreign.body() == {
        "kind": "deposit",
        "amount": euros,
        "to_account_id": "b",
        "memo": "m",
    }
    why = "a scenario"
    credit = Ask(kind="adjustment", amount=5, target=other).body()
    debit = Ask(kind="adjustment", amount=5, source=account).body()
    assert (credit["direction"], credit["reason"]) == ("credit", why)
    assert (debit["direction"], debit["reason"]) == ("debit", why)
    itself = Ask(kind="transfer", amount=1, source=account, target=account)
    assert itself.pages == (account,)


def test_a_statement_adds_up_each_bucket_by_transaction() -> None:
    account = page("a", 100)
    account.moved = False
    assert named(f"{UNNAMED}a") is None
    book("t1", "assignment", Ask(kind="assignment", amount=40, source=account).moves())
    assert account.moved
    assert account.statement() == [
        ("t0", "deposit", {"cash": 100}, {"cash": 100}),
        ("t1", "assignment", {"cash": -40, SHARES: 40}, {"cash": 60, SHARES: 40}),
    ]


def test_nothing_that_does_not_move_is_a_line() -> None:
    account, empty = page("a", 5), page("b")
    held = Ask(kind="withdrawal", amount=5, source=account, hold=True)
    account.moved = False
    book("t1", "withdrawal", held.moves(0))
    assert (len(account.lines), account.moved) == (1, False)
    empty.buckets[SHARES] = 0
    assert emptying(empty, account) == []


def test_an_assignment_keeps_the_total_and_a_sweep_moves_every_bucket() -> None:
    account, other = page("a", 100), page("b", 1)
    book("t1", "assignment", Ask(kind="assignment", amount=40, source=account).moves())
    assert (account.cash, account.buckets[SHARES], account.total) == (60, 40, 100)
    book(f"{UNNAMED}a", "sweep", emptying(account, other))
    assert (account.total, other.cash, other.buckets[SHARES]) == (0, 61, 40)


def test_a_settle_of_a_part_books_the_part() -> None:
    account, other = page("a", 100), page("b")
    held = Ask(kind="transfer", amount=70, source=account, target=other, hold=True)
    book("t1", "transfer", held.moves(31))
    assert (account.cash, other.cash) == (69, 31)


def test_lines_of_several_moves_in_one_bucket_count_as_their_sum() -> None:
    account = page("a", 100)
    book("t1", "transfer", Ask(kind="transfer", amount=9, source=account, target=account).moves())
    assert account.statement()[1] == ("t1", "transfer", {"cash": 0}, {"cash": 100})


def row(transaction: str, amount: int, running: int, bucket: str = "cash") -> dict[str, Any]:
    """An entry as a target shows it."""
    return {
        "transaction_id": transaction,
        "kind": "deposit" if transaction == "t0" else "sweep",
        "bucket": bucket,
        "amount": amount,
        "running_balance": running,
    }


def test_lines_of_one_transaction_may_come_as_one_or_as_many() -> None:
    account = page("a", 100)
    book(f"{UNNAMED}z", "sweep", emptying(page("b", 7), account)[1:])
    known = frozenset({"t0"})
    one = [row("t0", 100, 100), row("t9", 7, 107)]
    many = [row("t0", 100, 100), row("t9", 3, 103), row("t9", 4, 107)]
    assert in_groups(one, known) == in_groups(many, known) == account.statement()


@pytest.mark.parametrize(
    "wrong",
    [
        [row("t0", 100, 100), row("t9", 6, 106)],
        [row("t0", 100, 100), row("t9", 7, 106)],
        [row("t9", 7, 7), row("t0", 100, 107)],
        [row("t0", 100, 100)],
        [row("t0", 100, 100), row("t9", 7, 107), row("t8", 7, 114)],
        [row("t0", 100, 100), row("t9", 7, 7, SHARES)],
    ],
    ids=["amount", "running", "order", "missing", "twice", "bucket"],
)
def test_every_difference_of_a_statement_shows(wrong: list[dict[str, Any]]) -> None:
    account = page("a", 100)
    book(f"{UNNAMED}z", "sweep", emptying(page("b", 7), account)[1:])
    assert in_groups(wrong, frozenset({"t0"})) != account.statement()


# -- each rule has a mutant ------------------------------------------------------------------------

MUTANTS = {
    "cash is everything": ("return self.buckets[CASH]", "return self.total"),
    "holds may be spent": (" - sum(self.holds.values())", ""),
    "the minimum may be spent": (' - int(self.configured["min_balance"])', ""),
    "the total is the cash": ("return sum(self.buckets.values())", "return self.cash"),
    "the buffer is rounded up": (
        'self.configured["base_amount"] * self.configured["buffer_bps"] // 10_000',
        '-(-self.configured["base_amount"] * self.configured["buffer_bps"] // 10_000)',
    ),
    "the buffer is of the cash": ('self.configured["base_amount"] *', "self.cash *"),
    "holds are counted and not added": ('"holds": sum(', '"holds": len('),
    "no configuration is read": ("return self.configured | {", "return {"),
    "running balances begin anew": ("running[line.bucket] += line", "running[line.bucket] = line"),
    "running balances are of the account": (
        "running[line.bucket] += line.amount",
        "running.update(dict.fromkeys(self.buckets, line.amount))",
    ),
    "each line stands alone": ("if line.transaction != last:", "if True:"),
    "everything is one transaction": ("if line.transaction != last:", "if last is None:"),
    "the last line is the amount": ("amounts.get(line.bucket, 0) + line.amount", "line.amount"),
    "marks are ids": ("None if transaction.startswith(UNNAMED) else transaction", "transaction"),
    "an account is named twice": (
        "return tuple(named.values())",
        "return (self.source, self.target)",
    ),
    "the currency of the accounts": (
        "return self.currency or self.own_currency",
        "return self.own_currency",
    ),
    "bodies name the accounts' currency": (
        '"currency": self.currency or self.own_currency',
        '"currency": self.own_currency',
    ),
    "credits are debits": ('"credit" if self.source is None else "debit"', '"debit"'),
    "debits are credits": ('"credit" if self.source is None else "debit"', '"credit"'),
    "nothing is held": ("if self.hold:", "if False:"),
    "more is left out": ("return body | dict(self.more)", "return body"),
    "a part is the whole": ("self.amount if amount is None else amount", "self.amount"),
    "assigned cash is gone": ('if self.kind == "assignment":', "if False:"),
    "payers are paid": ("bucket=CASH, amount=-units", "bucket=CASH, amount=units"),
    "payees pay": ("bucket=CASH, amount=units", "bucket=CASH, amount=0 - units"),
    "closed accounts go on": ('in ("closed", "merged")', 'in ("merged",)'),
    "merged accounts go on": ('in ("closed", "merged")', 'in ("closed",)'),
    "suspended accounts pay": ('self.source.status == "suspended"', "False"),
    "suspended accounts are not paid": (
        'if self.source is not None and self.source.status == "suspended":',
        'if any(page.status == "suspended" for page in self.pages):',
    ),
    "rules go before the state": (
        "return frozenset(ended) or frozenset(self._broken_rules(amount_max))",
        "return frozenset(self._broken_rules(amount_max)) or frozenset(ended)",
    ),
    "rules go with the state": (
        "frozenset(ended) or frozenset(self._broken_rules(amount_max))",
        "frozenset(ended) | frozenset(self._broken_rules(amount_max))",
    ),
    "currencies mix": (
        "self.body_currency for page in self.pages",
        'page.configured["currency"] for page in self.pages',
    ),
    "to oneself": ("source is not None and source is target", "False"),
    "withdrawals are allowed": ('not withdrawn.configured["withdrawal_allowed"]', "False"),
    "no fee either": ('source if self.kind == "withdrawal" else None', "source"),
    "more than there is": ("self.amount > source.available", "self.amount > source.available + 1"),
    "less than there is": ("self.amount > source.available", "self.amount >= source.available"),
    "beyond the largest": ("target.cash + self.amount > amount_max", "self.amount > amount_max"),
    "below the largest": (
        "target.cash + self.amount > amount_max",
        "target.cash + self.amount >= amount_max",
    ),
    "lines of nothing": ("if not move.amount:", "if False:"),
    "booked without a line": ("move.page.lines.append(line)", "line"),
    "a line without a booking": (
        "move.page.buckets[move.bucket] += move.amount",
        "move.page.buckets",
    ),
    "nobody moved": ("move.page.moved = True", "move.page.moved = False"),
    "empty buckets move": (
        "sorted(page.buckets.items()) if amount]",
        "sorted(page.buckets.items())]",
    ),
    "only cash is swept": ("if amount]", "if amount and name == CASH]"),
    "swept money is copied": (
        "Move(page=page, bucket=name, amount=-amount)",
        "Move(page=page, bucket=name, amount=0)",
    ),
    "swept shares are cash": (
        "Move(page=into, bucket=name, amount=amount)",
        "Move(page=into, bucket=CASH, amount=amount)",
    ),
    "rows stand alone": ('if row["transaction_id"] != last:', "if True:"),
    "rows are one": ('if row["transaction_id"] != last:', "if last is None:"),
    "strangers keep their ids": (
        'row["transaction_id"] if row["transaction_id"] in known else None',
        'row["transaction_id"]',
    ),
    "everybody is a stranger": (
        'row["transaction_id"] if row["transaction_id"] in known else None',
        "None",
    ),
    "the last row is the amount": (
        'amounts.get(row["bucket"], 0) + row["amount"]',
        'row["amount"]',
    ),
    "what is stated is not read": (
        'after[row["bucket"]] = row["running_balance"]',
        'after[row["bucket"]] = sum(amounts.values())',
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert is_killed(monkeypatch, scenario_book, MUTANTS[name], globals())
