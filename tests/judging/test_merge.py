from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certification.errors import UsageError
from certification.evidence import EvidenceWriter, iter_exchanges, read_run
from certification.merge import merge
from certification.model import Category, Finding, Outcome
from certification.results import NOT_SELECTED, SELECTION_PASSED, RecordedRun
from tests.judging.made import (
    TARGET,
    case,
    exchange,
    judged,
    planned,
    profile,
    recorded,
    requirement,
    written,
)

RULES = profile()
REGISTER = (requirement("A"), requirement("B", Category.SECURITY))
CHECKS = (planned("functional/a/x", "A"), planned("security/b/x", "B"))
P, X, U = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def part(name: str, *outcomes: Outcome | None, **more: Any) -> RecordedRun:
    """Return a shard; None: this check was left to another shard."""
    rows = {
        check
        if outcome is not None
        else replace(check, fixed_outcome=Outcome.NOT_EXERCISED, fixed_reason=NOT_SELECTED): outcome
        for check, outcome in zip(CHECKS, outcomes, strict=True)
    }
    partial = None in outcomes
    return recorded(
        RULES,
        rows,
        **{
            "register": REGISTER,
            "run_id": name,
            "selection": f"shard {name}" if partial else None,
            "requested_level": SELECTION_PASSED if partial else "GOOD",
            **more,
        },
    )


def joined(folder: Path, *runs: RecordedRun) -> RecordedRun:
    paths = [written(folder / run.header.run_id, run) for run in runs]
    return read_run(merge(paths, folder / "out"))


def test_shards_of_one_run_become_a_whole_run(tmp_path: Path) -> None:
    run = joined(tmp_path, part("one", P, None), part("two", None, P))
    assert (run.header.selection, run.header.requested_level) == (None, "GOOD")
    verdict = judged(run).verdict
    assert (verdict.level, verdict.exit_code, verdict.not_certifiable) == ("BEST", 0, ())
    assert run.footer is not None
    assert run.footer.requests == 6


def test_what_every_shard_left_out_stays_left_out(tmp_path: Path) -> None:
    run = joined(tmp_path, part("one", P, None), part("two", P, None))
    assert run.header.selection == "shard one + shard two"
    assert judged(run).verdict.not_certifiable
    assert judged(run).verdict.exit_code == 0


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a", part("one", P, None)),
        written(tmp_path / "b", part("two", X, P)),
    ]
    first = merge(paths, tmp_path / "ab").read_bytes()
    assert merge(paths[::-1], tmp_path / "ba").read_bytes() == first


@pytest.mark.parametrize(("first", "second"), [(P, X), (X, P)])
@pytest.mark.parametrize("flaky", ["fail", "inconclusive"])
def test_decided_twice_differently_is_the_worst_and_flaky(
    tmp_path: Path, first: Outcome, second: Outcome, flaky: str
) -> None:
    run = joined(tmp_path, part("one", first, P), part("two", second, P))
    result = judged(run, profile(flaky=flaky)).score.checks[0]
    assert (result.outcome, result.flaky) == (X, True)
    assert not judged(run).score.checks[1].flaky


def test_exchanges_of_a_case_decided_twice_stay_apart(tmp_path: Path) -> None:
    finding = Finding(message="m", expected="e", observed="o", exchanges=(2,))
    failed = replace(
        part("two", P, P),
        cases=(case(CHECKS[0].id, X, findings=(finding,)), case(CHECKS[1].id, P)),
    )
    paths = [
        written(
            tmp_path / run.header.run_id,
            run,
            tuple(exchange(CHECKS[0].id, number) for number in (1, 2, 3)),
        )
        for run in (part("one", P, P), failed)
    ]
    out = merge(paths, tmp_path / "out")
    numbers = [(e.attempt, e.number) for e in iter_exchanges(out)]
    assert numbers == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
    assert read_run(out).cases[0].findings[0].exchanges == (5,)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"target": replace(TARGET, build="b2")}, "another target"),
        ({"contract_sha256": "99"}, "another contract"),
        ({"harness": "0.2.0"}, "another harness"),
        ({"profile_sha256": "99"}, "another profile"),
        ({"register": REGISTER[:1]}, "another register"),
        ({"run_id": "one"}, "the same run as"),
        ({"source": "reported"}, "only runs observed"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    one, two = part("one", P, None), part("two", None, P, **change)
    paths = [written(tmp_path / "a", one), written(tmp_path / "b", two)]
    with pytest.raises(UsageError, match=what):
        merge(paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_instances_of_one_build_belong_together(tmp_path: Path) -> None:
    other = replace(TARGET, instances=("i2",), base_url="https://other.example")
    run = joined(tmp_path, part("one", P, None), part("two", None, P, target=other))
    assert run.header.target is not None
    assert run.header.target.instances == ("i1", "i2")
    assert judged(run).verdict.exit_code == 0


def test_a_shard_that_was_cut_short_voids_the_verdict(tmp_path: Path) -> None:
    whole = written(tmp_path / "a", part("one", P, None))
    cut = tmp_path / "b.jsonl"
    with EvidenceWriter(cut) as writer:
        writer.write(part("two", None, P).header)
    run = read_run(merge([whole, cut], tmp_path / "out"))
    verdict = judged(run).verdict
    assert (verdict.level, verdict.exit_code) == ("INCONCLUSIVE", 3)
    assert any("two ends without a footer" in text for text in verdict.inconclusive)


def test_a_build_that_changed_in_one_shard_is_still_seen(tmp_path: Path) -> None:
    first = written(tmp_path / "a", part("one", P, None), target=replace(TARGET, build="b2"))
    second = written(tmp_path / "b", part("two", None, P))
    run = read_run(merge([first, second], tmp_path / "out"))
    assert "the target changed during the run: build" in judged(run).verdict.inconclusive


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to merge"):
        merge([], tmp_path)


def test_a_part_that_may_lack_cases_of_a_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-k cuts through checks"):
        joined(tmp_path, part("one", P, None, selection="-k x"), part("two", None, P))
