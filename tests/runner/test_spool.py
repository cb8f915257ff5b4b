"""Spools survive crashes, torn lines and many writers, and merge in one order."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from certification.errors import HarnessError
from certification.model import CaseResult, CheckId, Exchange, Outcome
from certification.spool import Spool, SpoolSink, append_created, merge, read_created, tail

A, B = CheckId("functional/probe/a"), CheckId("functional/probe/b")


def exchange(check: CheckId, number: int) -> Exchange:
    return Exchange(
        check=check,
        case="-",
        attempt=1,
        number=number,
        identity="customer",
        operation=None,
        method="GET",
        url="http://x/",
        request_headers=(),
        request_body=None,
        started_at="",
        elapsed_ms=1.0,
        status=200,
    )


def passed(check: CheckId) -> CaseResult:
    return CaseResult(check=check, case="-", outcome=Outcome.PASS, observations=1)


def test_the_order_is_the_plan_s_whoever_wrote_first(tmp_path: Path) -> None:
    for worker, check in (("gw0", B), ("gw1", A)):
        spool = Spool(tmp_path / f"{worker}.jsonl")
        for number in (2, 1):
            spool.record(exchange(check, number))
        spool.record(passed(check))
    records = merge(tmp_path, [A, B]).records
    shown = [(row.check, getattr(row, "number", "case")) for row in records]  # type: ignore[union-attr]  # no measurement here
    assert shown == [(A, 1), (A, 2), (A, "case"), (B, 1), (B, 2), (B, "case")]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gw0.jsonl")
    spool.record(passed(A))
    with spool.path.open("ab") as file:
        file.write(b'{"kind":"case","check":"functional/pro')
    assert [row.check for row in merge(tmp_path, [A]).records] == [A]  # type: ignore[union-attr]  # one case


@pytest.mark.parametrize(
    ("cut_short", "outcome"), [(None, Outcome.ERROR), ("interrupted", Outcome.NOT_EXERCISED)]
)
def test_a_case_that_never_ended_is_no_pass_and_keeps_what_it_sent(
    tmp_path: Path, cut_short: str | None, outcome: Outcome
) -> None:
    sink = SpoolSink(Spool(tmp_path / "gw0.jsonl"), A)
    sink.begin(A, "-", 1)
    sink.place()
    sink.sending(exchange(A, 1))
    sent, case = merge(tmp_path, [A], cut_short=cut_short).records
    assert isinstance(sent, Exchange)
    assert sent.error is not None
    assert isinstance(case, CaseResult)
    assert case.outcome is outcome


def test_many_threads_share_one_spool(tmp_path: Path) -> None:
    sink = SpoolSink(Spool(tmp_path / "gw0.jsonl"), A)
    sink.begin(A, "-", 1)

    def send() -> None:
        for _ in range(100):
            number = sink.place()[3]
            sink.sending(exchange(A, number))
            sink.answered(exchange(A, number))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.spool.record(passed(A))
    merged = merge(tmp_path, [A])
    numbers = [row.number for row in merged.records if isinstance(row, Exchange)]
    assert numbers == list(range(1, 801))


def test_tail_tells_each_case_once(tmp_path: Path) -> None:
    spool, offsets = Spool(tmp_path / "gw0.jsonl"), dict[Path, int]()
    assert tail(tmp_path, offsets) == ([], False)
    spool.record(passed(A))
    assert [row.check for row in tail(tmp_path, offsets)[0]] == [A]
    spool.record(passed(B))
    assert [row.check for row in tail(tmp_path, offsets)[0]] == [B]
    assert tail(tmp_path, offsets) == ([], False)


def test_a_full_disk_is_ours_not_the_target_s() -> None:
    with pytest.raises(HarnessError, match="cannot be written"):
        Spool(Path("/dev/full")).record(passed(A))


def test_created_objects_are_read_by_every_process(tmp_path: Path) -> None:
    assert read_created(tmp_path) == ()
    append_created(tmp_path, "account", "acc_1", "customer")
    append_created(tmp_path, "user", "usr_1", "admin")
    assert read_created(tmp_path) == (
        ("account", "acc_1", "customer"),
        ("user", "usr_1", "admin"),
    )
