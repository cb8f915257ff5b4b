"""The sweep's arithmetic: what a right book passes and a wrong one does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certification.oracle import ledger
from certification.oracle.ledger import Entry, Line, Transaction
from tests.oracle.mutants import is_killed

if TYPE_CHECKING:
    from random import Random

HOME = frozenset({"a", "b"})


def booked(kind: str, amount: int, **fields: Any) -> Transaction:
    lines = (
        Line(account=fields.get("source"), bucket="cash", amount=-amount),
        Line(account=fields.get("target"), bucket="cash", amount=amount),
    )
    given: dict[str, Any] = {"id": f"{kind}-{amount}", "status": "posted", "currency": "USD"}
    given |= {"settled": None, "source": None, "target": None, "reverses": None}
    given |= {"held": False, "lines": lines}
    return Transaction(kind=kind, amount=amount, **{**given, **fields})


def entry(amount: int, running: int = 0, *, account: str = "a", transaction: str = "t") -> Entry:
    return Entry(
        account=account,
        transaction=transaction,
        bucket="cash",
        currency="USD",
        amount=amount,
        running=running,
    )


def test_a_running_balance_that_does_not_add_up_is_named() -> None:
    assert ledger.first_running_break([(100, 100), (-30, 70)]) is None
    broken = ledger.first_running_break([(100, 100), (-30, 100), (5, 105)])
    assert broken == "line 2: amount -30 gives 70, stated is 100"


def test_each_bucket_is_added_up_for_itself() -> None:
    rows = [entry(100), entry(-30), replace(entry(30), bucket="position:shares")]
    assert ledger.sums_by_bucket(rows) == {"cash": 70, "position:shares": 30}


@given(st.lists(st.integers(-5, 5).filter(bool), max_size=12), st.randoms())
def test_any_order_of_a_true_chain_is_a_chain(amounts: list[int], rng: Random) -> None:
    total, rows = 0, []
    for amount in amounts:
        total += amount
        rows.append((amount, total))
    rng.shuffle(rows)
    assert ledger.chains(rows)


def test_a_settle_may_stand_before_what_was_booked_before_it() -> None:
    assert ledger.chains([(-30, 75), (100, 100), (5, 105)])
    assert ledger.chains([])


def test_rows_that_no_order_can_chain_are_refused() -> None:
    assert not ledger.chains([(100, 100), (-30, 100)])
    assert not ledger.chains([(100, 200)]), "the chain begins at 0"
    assert not ledger.chains([(10, 10), (5, 55), (-5, 50)]), "a loop that is never reached"


def test_a_changed_running_balance_breaks_the_chain() -> None:
    rows = [(100, 100), (-30, 70), (5, 75)]
    assert ledger.chains(rows)
    for number, (amount, running) in enumerate(rows):
        changed = [*rows[:number], (amount, running + 1), *rows[number + 1 :]]
        assert not ledger.chains(changed)


def test_inflow_counts_only_what_crosses_the_border() -> None:
    book = [
        booked("deposit", 1_000, target="a"),
        booked("transfer", 300, source="a", target="b"),
        booked("transfer", 50, source="b", target="elsewhere"),
        booked("fee", 7, source="a"),
        booked("adjustment", 2, target="b"),
        booked("assignment", 90, source="a"),
    ]
    assert ledger.inflow_by_currency(book, HOME) == {"USD": 1_000 - 50 - 7 + 2}


def test_what_comes_from_elsewhere_comes_from_outside() -> None:
    inward = booked("transfer", 60, source="elsewhere", target="a")
    assert ledger.inflow_by_currency([inward], HOME) == {"USD": 60}


@pytest.mark.parametrize(
    ("kind", "source", "target", "inflow"),
    [
        ("deposit", None, "a", 40),
        ("premium", None, "a", 40),
        ("interest", None, "a", 40),
        ("adjustment", None, "a", 40),
        ("withdrawal", "a", None, -40),
        ("fee", "a", None, -40),
        ("tax", "a", None, -40),
        ("adjustment", "a", None, -40),
        ("transfer", "a", "elsewhere", -40),
        ("assignment", "a", None, 0),
    ],
)
def test_what_a_request_names_counts_by_its_words_and_not_by_its_lines(
    kind: str, source: str | None, target: str | None, inflow: int
) -> None:
    row = booked(kind, 40, source=source, target=target, lines=())
    assert ledger.inflow_by_currency([row], HOME) == {"USD": inflow}


def test_currencies_are_apart_and_a_transaction_of_two_lists_counts_once() -> None:
    shared = booked("transfer", 5, source="a", target="elsewhere")
    euros = booked("deposit", 7, target="b", currency="EUR")
    counted = ledger.inflow_by_currency([shared, euros, shared], HOME)
    assert counted == {"USD": -5, "EUR": 7}


def test_what_is_not_booked_moved_nothing() -> None:
    for status, moved in (("posted", 40), ("reversed", 40), ("pending", 0), ("voided", 0)):
        assert booked("deposit", 40, target="a", status=status).moved == moved


def test_a_hold_counts_what_was_settled_and_nothing_before() -> None:
    hold = booked("withdrawal", 400, source="a", held=True, status="pending", lines=())
    assert ledger.inflow_by_currency([hold], HOME) == {"USD": 0}
    settled = replace(hold, status="settled", settled=150)
    assert ledger.inflow_by_currency([settled], HOME) == {"USD": -150}


def test_a_reversal_takes_back_what_its_original_brought() -> None:
    original = booked("deposit", 40, target="a", status="reversed")
    reversal = booked("reversal", 40, source="a", id="r", reverses=original.id)
    assert ledger.inflow_by_currency([original, reversal], HOME) == {"USD": 0}
    assert ledger.inflow_by_currency([original], HOME) == {"USD": 40}


def test_a_reversal_of_a_part_that_was_settled_takes_back_the_part() -> None:
    held = booked("withdrawal", 400, source="a", status="reversed", held=True, settled=150)
    reversal = booked("reversal", 150, id="r", reverses=held.id)
    bought = booked("deposit", 400, target="a")
    assert ledger.inflow_by_currency([bought, held], HOME) == {"USD": 250}
    assert ledger.inflow_by_currency([bought, held, reversal], HOME) == {"USD": 400}


def test_a_reversal_of_what_was_not_read_says_nothing() -> None:
    assert ledger.inflow_by_currency([booked("reversal", 9, reverses="x")], HOME) == {"USD": 0}


def test_what_no_request_names_is_counted_from_its_lines() -> None:
    sweep = booked("sweep", 60, source="a", target="elsewhere")
    inside = booked("fork", 60, source="a", target="b")
    assert ledger.inflow_by_currency([sweep, inside], HOME) == {"USD": -60}


def test_lines_and_entries_are_compared_both_ways_and_by_count() -> None:
    row = booked("transfer", 30, source="a", target="b", id="t")
    right = [entry(-30, account="a"), entry(30, account="b")]
    assert ledger.line_differences(right, [row], HOME) == []
    assert len(ledger.line_differences(right[:1], [row], HOME)) == 1
    assert len(ledger.line_differences([*right, right[0]], [row], HOME)) == 1
    assert ledger.line_differences([right[0], entry(31, account="b")], [row], HOME) != []
    outward = booked("transfer", 30, source="a", target="elsewhere", id="t")
    assert ledger.line_differences(right[:1], [outward], HOME) == []
    twice = replace(row, lines=(*row.lines, row.lines[1]))
    assert len(ledger.line_differences(right, [twice], HOME)) == 1


@pytest.mark.parametrize(
    "other",
    [{"transaction": "t2"}, {"account": "a"}, {"bucket": "position:shares"}, {"amount": 31}],
    ids=str,
)
def test_a_line_is_known_by_its_transaction_account_bucket_and_amount(
    other: dict[str, Any],
) -> None:
    row = booked("transfer", 30, source="a", target="b", id="t")
    right = [entry(-30, account="a"), entry(30, account="b")]
    assert len(ledger.line_differences([right[0], replace(right[1], **other)], [row], HOME)) == 2


def test_a_transaction_that_does_not_add_up_is_seen() -> None:
    row = booked("transfer", 30, source="a", target="b")
    assert ledger.unbalanced(row) == 0
    short = replace(row, lines=(row.lines[0], Line(account="b", bucket="cash", amount=29)))
    assert ledger.unbalanced(short) == -1
    one_sided = replace(row, lines=(Line(account="a", bucket="cash", amount=-30),))
    assert ledger.unbalanced(one_sided) == -30
    outward = replace(row, lines=(*one_sided.lines, Line(account=None, bucket="cash", amount=30)))
    assert ledger.unbalanced(outward) == 0


# -- each rule has a mutant ------------------------------------------------------------------------

KEY = """(e.transaction, e.account, e.bucket, e.amount) for e in entries)
    stated = Counter(
        (transaction.id, line.account, line.bucket, line.amount)
"""
WHICH = """        for transaction in transactions
        for line in transaction.lines
        if line.account in accounts
    )"""
WHICH_ONCE = WHICH.replace("accounts\n    )", "accounts}\n    )")
MUTANTS = {
    "deposits bring nothing": ('{"deposit", "premium", "interest"}', '{"premium", "interest"}'),
    "premiums bring nothing": ('{"deposit", "premium", "interest"}', '{"deposit", "interest"}'),
    "interest brings nothing": ('{"deposit", "premium", "interest"}', '{"deposit", "premium"}'),
    "withdrawals take nothing": ('{"withdrawal", "fee", "tax"}', '{"fee", "tax"}'),
    "fees take nothing": ('{"withdrawal", "fee", "tax"}', '{"withdrawal", "tax"}'),
    "taxes take nothing": ('{"withdrawal", "fee", "tax"}', '{"withdrawal", "fee"}'),
    "posted is not booked": ('{"posted", "settled", "reversed"}', '{"settled", "reversed"}'),
    "settled is not booked": ('{"posted", "settled", "reversed"}', '{"posted", "reversed"}'),
    "reversed is not booked": ('{"posted", "settled", "reversed"}', '{"posted", "settled"}'),
    "everything is booked": ("if self.status not in BOOKED:", "if False:"),
    "a hold moves what was asked": ("return self.settled or 0", "return self.amount"),
    "no hold is a hold": ("if self.held:", "if False:"),
    "one sum for all buckets": ("sums[entry.bucket] +=", 'sums["cash"] +='),
    "the last amount is the sum": ("sums[entry.bucket] +=", "sums[entry.bucket] ="),
    "running is the amount": ("if running != total:", "if running != amount:"),
    "any running balance": ("if running != total:", "if False:"),
    "lines count from 0": ("start=1", "start=0"),
    "no rows are no chain": ("return True\n    degree", "return False\n    degree"),
    "an edge begins where it ends": ("(running - amount, running)", "(running, running)"),
    "ends are free": ("not any(degree.values()) and ", ""),
    "a chain begins anywhere": ("degree[0] -= 1", "degree[edges[0][0]] -= 1"),
    "a chain ends where it begins": ("degree[final] += 1", "degree[0] += 1"),
    "loops hang in the air": (" and _all_reached(0, neighbours)", ""),
    "no way forth": ("neighbours[start].add(end)", "neighbours[start]"),
    "two steps are too far": ("waiting.append(node)", "continue"),
    "the side of the system is left out": (
        "return sum(line.amount for line in transaction.lines)\n",
        "return sum(line.amount for line in transaction.lines if line.account)\n",
    ),
    "lost lines pass": ("stated - listed", "Counter()"),
    "invented entries pass": ("listed - stated", "Counter()"),
    "entries without their number": (
        "listed = Counter((e.transaction, e.account, e.bucket, e.amount) for e in entries)",
        "listed = Counter({(e.transaction, e.account, e.bucket, e.amount) for e in entries})",
    ),
    "lines without their number": (
        KEY + WHICH,
        KEY.replace("Counter(\n        (", "Counter(\n        row for row in {(") + WHICH_ONCE,
    ),
    "lines of others count": ("        if line.account in accounts\n    )", "    )"),
    "any transaction": (KEY, KEY.replace("e.transaction, ", "").replace("transaction.id, ", "")),
    "any account": (KEY, KEY.replace("e.account, ", "").replace("line.account, ", "")),
    "any bucket": (KEY, KEY.replace("e.bucket, ", "").replace("line.bucket, ", "")),
    "any amount": (KEY, KEY.replace(", e.amount", "").replace(", line.amount", "")),
    "both lists count": ("for transaction in book.values()", "for transaction in transactions"),
    "one currency": ("total[transaction.currency]", 'total["USD"]'),
    "all payees are ours": (
        "transaction.moved if transaction.target in accounts else 0",
        "transaction.moved",
    ),
    "all payers are ours": (
        "transaction.moved if transaction.source in accounts else 0",
        "transaction.moved",
    ),
    "inward is outward": ("return into\n", "return -into\n"),
    "outward is inward": ("return -out\n", "return out\n"),
    "transfers only come": ("return into - out", "return into"),
    "transfers only go": ("return into - out", "return -out"),
    "adjustments are their lines": ('{"transfer", "adjustment"}', '{"transfer"}'),
    "transfers are their lines": ('{"transfer", "adjustment"}', '{"adjustment"}'),
    "assignments leave": (
        'if kind == "assignment":\n        return 0',
        'if kind == "assignment":\n        return -out',
    ),
    "a reversal does it again": ("else -_inflow(original", "else _inflow(original"),
    "a reversal of anything": (
        "return 0 if original is None",
        "return -transaction.moved if original is None",
    ),
    "what no request names is nothing": (
        "return sum(line.amount for line in transaction.lines if line.account in accounts)",
        "return 0",
    ),
    "what no request names is everywhere": (
        "return sum(line.amount for line in transaction.lines if line.account in accounts)",
        "return sum(line.amount for line in transaction.lines)",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_killed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert is_killed(monkeypatch, ledger, MUTANTS[name], globals())
