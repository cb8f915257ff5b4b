from __future__ import annotations

import runpy
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from certification.certificate import generate_key, sign
from certification.claims import Contradiction, Rule, claims_text, examine
from certification.errors import UsageError
from certification.evidence import read_run
from certification.judge import judge
from certification.shipped import path as shipped

if TYPE_CHECKING:
    from pathlib import Path

REPLAYS = shipped("fixtures/replays")
TODAY = date(2026, 3, 1)
READINGS = {
    "ws3-2025-as-weighted": Fraction(979, 1000),
    "ws3-2025-performance-counted": Fraction(954, 1000),
    "ws3-2025-documentation-overall": Fraction(19, 20),
}
DOCUMENTS = ("baseline-2025.toml", "plan-2025.toml", "final-report-2025.toml")


@pytest.mark.parametrize(("name", "total"), READINGS.items())
def test_the_figures_of_2025_score_exactly(name: str, total: Fraction) -> None:
    judgement = judge(REPLAYS / f"{name}.jsonl", today=TODAY)
    assert judgement.score.total.lower == judgement.score.total.upper == total
    assert judgement.verdict.beats_reference is True


@pytest.mark.parametrize("name", READINGS)
def test_figures_that_were_only_reported_reach_no_readiness_and_are_never_signed(
    name: str, tmp_path: Path
) -> None:
    path = REPLAYS / f"{name}.jsonl"
    judgement = judge(path, today=TODAY)
    assert judgement.run.header.source == "reported"
    assert judgement.verdict.reached is False
    key = generate_key(tmp_path / "k").private
    with pytest.raises(UsageError, match="reported, not observed"):
        sign(
            judgement,
            path,
            private_key_path=key,
            operator="Ada",
            now=datetime(2026, 3, 1, tzinfo=UTC),
        )


@pytest.mark.parametrize("name", READINGS)
def test_each_stated_score_says_where_it_stands(name: str) -> None:
    run = read_run(REPLAYS / f"{name}.jsonl")
    assert len(run.reported) == 6
    assert all("Assessment" in record.source for record in run.reported)


@pytest.mark.parametrize(("name", "total"), READINGS.items())
def test_the_files_record_what_their_script_writes(
    name: str, total: Fraction, tmp_path: Path
) -> None:
    # Not byte for byte: a recorded file stays as it is when headers gain a field.
    fresh_path = tmp_path / "fresh.jsonl"
    fresh_path.write_bytes(runpy.run_path(str(REPLAYS / "record_replays.py"))["record"](name))
    recorded, fresh = read_run(REPLAYS / f"{name}.jsonl"), read_run(fresh_path)
    assert recorded.reported == fresh.reported
    assert recorded.header.run_id == fresh.header.run_id == name
    assert judge(fresh_path, today=TODAY).score.total.lower == total


@pytest.fixture(scope="module")
def found() -> tuple[Contradiction, ...]:
    return examine([REPLAYS / name for name in DOCUMENTS], today=TODAY)


KNOWN = [
    (Rule.WEIGHTED_TOTAL, "weighted total", "0.94", "0.979"),
    (Rule.TARGETS_MET, "targets met", "a share of 1.0", "7 of 8 = 0.875"),
    (Rule.MEAN, "mean of recovery", "2.1", "3.1 or 3.9"),
    (Rule.TWO_VALUES, "peak/memory", "65.8 %", "62.3 % in the other place"),
    (Rule.COMPLETE, "compliance/rate", "all, 100 %", "97.3 %"),
    (Rule.COMPLETE, "integration/success_rate", "all, 100 %", "99.8 %"),
    (
        Rule.TWO_NAMES,
        "Test Coverage 94 %",
        "of code across all components",
        "the same figure of system functionality",
    ),
    (
        Rule.WORSE_AFTER,
        "throughput/transaction_processing",
        "improved",
        "2850 /s before, 245.7 /s after",
    ),
    (Rule.WORSE_AFTER, "throughput/forking", "improved", "120 /s before, 42.1 /s after"),
    (Rule.WORSE_AFTER, "throughput/merging", "improved", "95 /s before, 35.6 /s after"),
    (Rule.WORSE_AFTER, "latency/analytics", "improved", "150 ms before, 320.5 ms after"),
    (Rule.WORSE_AFTER, "users/stable", "improved", "175 before, 125 after"),
    (Rule.TARGET_MISSED, "throughput/transaction_processing", "> 4000 /s", "245.7 /s"),
    (Rule.TARGET_MISSED, "peak/cpu", "< 60 %", "65.8 %"),
    (Rule.TARGET_MISSED, "peak/memory", "< 60 %", "62.3 %"),
    (Rule.TARGET_MISSED, "peak/database_connections", "< 50 %", "85.2 %"),
    (Rule.TARGET_MISSED, "users/stable", ">= 250", "125"),
    (
        Rule.TARGET_ALREADY_MET,
        "throughput/account_operations",
        "> 150 /s",
        "235 /s before the work began",
    ),
    (Rule.TARGET_ALREADY_MET, "latency/complex", "< 300 ms", "185 ms before the work began"),
    (
        Rule.PROMISED_CHANGE,
        "throughput/transaction_processing",
        "50 % better by reaching > 4000 /s",
        "40.4 %",
    ),
]
"""Every contradiction that the requirements list."""

BESIDES = {
    (Rule.PROMISED_CHANGE, "latency/complex"),
    (Rule.PROMISED_CHANGE, "throughput/account_operations"),
    (Rule.WORSE_AFTER, "throughput/analytics"),
    (Rule.WORSE_AFTER, "peak/network"),
    (Rule.WORSE_AFTER, "peak/database_connections"),
    (Rule.WORSE_AFTER, "peak/thread_pool"),
}
"""What the rules find besides, checked by hand against the documents."""


@pytest.mark.parametrize(("rule", "subject", "stated", "recomputed"), KNOWN)
def test_each_contradiction_of_2025_is_named(
    found: tuple[Contradiction, ...], rule: Rule, subject: str, stated: str, recomputed: str
) -> None:
    assert (rule, subject, stated, recomputed) in {
        (one.rule, one.subject, one.stated, one.recomputed) for one in found
    }


def test_nothing_is_named_that_the_documents_do_not_contain(
    found: tuple[Contradiction, ...],
) -> None:
    known = {(rule, subject) for rule, subject, _, _ in KNOWN} | BESIDES
    assert {(one.rule, one.subject) for one in found} == known
    assert len(found) == len(KNOWN) + len(BESIDES)


def test_the_memory_figure_is_traced_to_the_line_it_was_copied_from(
    found: tuple[Contradiction, ...],
) -> None:
    memory = next(one for one in found if one.rule is Rule.TWO_VALUES)
    assert "65.8 % is the value of CPU in" in memory.note


def test_the_missed_target_is_named(found: tuple[Contradiction, ...]) -> None:
    met = next(one for one in found if one.rule is Rule.TARGETS_MET)
    assert met.note == "missed: Database Connection Utilization 85.2 %, target <= 80"


def test_already_met_targets_are_two(found: tuple[Contradiction, ...]) -> None:
    assert sum(one.rule is Rule.TARGET_ALREADY_MET for one in found) == 2


def test_the_text_names_section_and_document(found: tuple[Contradiction, ...]) -> None:
    text = claims_text(found)
    assert "weighted_total  weighted total: stated 0.94; recomputed 0.979" in text
    assert "final report (phase 6): `Production Readiness Assessment" in text
    assert text.endswith("26 contradictions\n")


def test_the_data_holds_no_verdict() -> None:
    for name in DOCUMENTS:
        text = (REPLAYS / name).read_text()
        assert not any(rule.value in text for rule in Rule if rule.value not in KINDS)
        assert "0.979" not in text


KINDS = {"weighted_total", "mean", "complete"}
"""Kinds of statement that share their name with a rule."""
