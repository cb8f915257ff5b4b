from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from certification.errors import EvidenceError, HarnessError, UsageError
from certification.evidence import (
    EvidenceWriter,
    encode_line,
    iter_exchanges,
    read_run,
    record_from_json,
    record_to_json,
)
from certification.evidence_lines import Limits
from certification.model import Incident, Measurement, Outcome
from certification.results import RecordedRun
from tests.judging.made import (
    TARGET,
    case,
    exchange,
    header,
    judged,
    planned,
    profile,
    recorded,
    requirement,
    written,
)

CHECK = planned("functional/a/x", "A")


def made() -> RecordedRun:
    return recorded(profile(), {CHECK: Outcome.PASS}, register=(requirement("A"),))


def a_file(folder: Path) -> Path:
    return written(folder, made(), tuple(exchange(CHECK.id, n) for n in range(1, 6)))


def plain(folder: Path) -> bytes:
    return gzip.decompress(a_file(folder).read_bytes())


def as_file(folder: Path, content: bytes, name: str = "other.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    run = read_run(path)
    assert (run.header, run.cases) == (made().header, made().cases)
    assert run.footer is not None
    assert (run.footer.records, run.footer.requests, run.footer.target) == (7, 3, TARGET)
    assert not (tmp_path / "evidence.jsonl").exists()
    assert read_run(as_file(tmp_path, gzip.decompress(path.read_bytes()))) == run
    assert judged(run).verdict.exit_code == 1


def test_equal_runs_give_equal_files(tmp_path: Path) -> None:
    assert a_file(tmp_path / "a").read_bytes() == a_file(tmp_path / "b").read_bytes()


def test_every_record_goes_through_json() -> None:
    measurement = Measurement(check=CHECK.id, name="p95", value=1.5, unit="ms", n=3)
    incident = Incident(what="w", detail="d", at="t", voids_verdict=False)
    for record in (made().header, exchange(CHECK.id), case(CHECK.id, Outcome.FAIL)):
        assert record_from_json(record_to_json(record)) == record
    for other in (measurement, incident):
        assert record_from_json(json.loads(encode_line(other))) == other
    with pytest.raises(EvidenceError, match="kind 'nonsense'"):
        record_from_json({"kind": "nonsense"})
    with pytest.raises(EvidenceError, match=r"case record: .*outcome"):
        record_from_json({"kind": "case", "check": "a", "case": "-", "outcome": "GREAT"})


def test_exchanges_are_found_again(tmp_path: Path) -> None:
    checks = ("functional/a/x", "functional/a/y")
    path = written(
        tmp_path, made(), tuple(exchange(c, n, a) for c in checks for n in (1, 2) for a in (1, 2))
    )
    found = list(
        iter_exchanges(path, lambda check, _case, attempt: check[-1] == "y" and attempt == 2)
    )
    assert [(e.check, e.number) for e in found] == [("functional/a/y", 1), ("functional/a/y", 2)]
    assert len(list(iter_exchanges(path))) == 8


def test_hostile_text_is_written_readably_and_numbers_that_are_none_are_refused(
    tmp_path: Path,
) -> None:
    bad = replace(exchange(CHECK.id), response_body="\ud800<script>\x00\u2028")
    path = written(tmp_path, made(), (bad,))
    assert next(iter_exchanges(path)).response_body == "?<script>\x00\u2028"
    endless = Measurement(check=CHECK.id, name="p95", value=float("inf"), unit="ms", n=3)
    with pytest.raises(HarnessError, match="not finite"):
        encode_line(endless)


def test_evidence_is_never_written_over(tmp_path: Path) -> None:
    a_file(tmp_path)
    with pytest.raises(UsageError, match="evidence already"):
        EvidenceWriter(tmp_path / "evidence.jsonl")
    (tmp_path / "evidence.jsonl.gz").rename(tmp_path / "evidence.jsonl")
    with pytest.raises(UsageError, match="evidence already"):
        EvidenceWriter(tmp_path / "evidence.jsonl")


# Cut


def test_cut_in_half_keeps_the_whole_lines_and_says_so(tmp_path: Path) -> None:
    text = plain(tmp_path)
    for cut in (
        text[: text.index(b"\n", len(text) // 2) + 9],
        text[:-1],
        text[: text.rindex(b"{")],
    ):
        run = read_run(as_file(tmp_path, cut))
        assert run.footer is None
        assert run.header == made().header
        verdict = judged(run).verdict
        assert (verdict.level, verdict.exit_code) == ("INCONCLUSIVE", 3)


def test_a_gzip_file_cut_anywhere_keeps_whole_lines_or_says_there_are_none(tmp_path: Path) -> None:
    packed = a_file(tmp_path).read_bytes()
    messages: list[str] = []
    for length in range(3, len(packed) - 9, 7):
        path = as_file(tmp_path, packed[:length], "cut.gz")
        try:
            assert read_run(path).header == made().header
        except EvidenceError as error:
            messages.append(error.message)
    assert 0 < len(messages) < len(range(3, len(packed) - 9, 7))
    assert {text.partition(": ")[2] for text in messages} == {
        "empty, or cut inside the header: there is nothing to judge"
    }


def test_a_killed_run_leaves_its_lines(tmp_path: Path) -> None:
    with EvidenceWriter(tmp_path / "evidence.jsonl") as writer:
        writer.write(made().header)
        writer.write(made().cases[0])
        run = read_run(tmp_path / "evidence.jsonl")
    assert (run.cases, run.footer) == (made().cases, None)


# Edited


def test_no_byte_can_be_changed_unnoticed(tmp_path: Path) -> None:
    text = plain(tmp_path)
    for at in range(0, len(text), 11):
        edited = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        try:
            run = read_run(as_file(tmp_path, edited))
        except EvidenceError:
            continue
        # The footer does not hash itself: its own fields may change and are then seen to differ.
        assert run.footer is None or run.digest != read_run(as_file(tmp_path, text)).digest
        assert at > text.rindex(b'{"kind":"footer"')


def test_no_byte_of_the_compressed_file_can_be_changed_unnoticed(tmp_path: Path) -> None:
    packed = a_file(tmp_path).read_bytes()
    good = read_run(as_file(tmp_path, packed, "good.gz"))
    for at in range(10, len(packed), 13):
        edited = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        try:
            run = read_run(as_file(tmp_path, edited, "edited.gz"))
        except EvidenceError:
            continue
        # A changed length field can look like a cut file; it never looks like a whole, other run.
        assert run.footer is None or run == good


def test_a_removed_or_added_record_is_noticed(tmp_path: Path) -> None:
    lines = plain(tmp_path).splitlines(keepends=True)
    for wrong in (lines[:2] + lines[3:], lines[:3] + lines[2:]):
        with pytest.raises(EvidenceError, match="edited"):
            read_run(as_file(tmp_path, b"".join(wrong)))


# Not evidence


def test_order_and_version_of_the_records(tmp_path: Path) -> None:
    lines = plain(tmp_path).splitlines(keepends=True)
    other = lines[0].replace(b"certification-evidence/1", b"certification-evidence/9")
    for wrong, message in (
        (lines[1:], "line 1: the file does not begin with a header"),
        ([lines[-1]], "does not begin with a header"),
        ([*lines, lines[-1]], "a record stands after the footer"),
        ([*lines, lines[1]], "a record stands after the footer"),
        ([lines[0], *lines], "line 2: a second header"),
        ([other, *lines[1:]], "format 'certification-evidence/9'; this version reads"),
        ([lines[0], b'{"kind":"nonsense","a":1}\n'], "line 2: record kind 'nonsense'"),
        ([lines[0], b'{"kind":"case","check":7}\n'], "line 2: not a case record"),
        ([lines[0], b"\n"], "line 2: not a record"),
        ([lines[0], b'{"kind":"case",' + b'"a":[' * 200_000 + b"\n"], "line 2: not a case record"),
        ([b"hello\n"], "not a record"),
        ([b"<html>\n" * 9], "not a record"),
        ([bytes(range(256)) * 40], "not a record"),
        ([b'{"kind":"header","format":"certification-evidence/1"}\n'], "not a header record"),
        ([], "there is nothing to judge"),
        ([lines[0][:-40]], "there is nothing to judge"),
    ):
        with pytest.raises(EvidenceError) as raised:
            read_run(as_file(tmp_path, b"".join(wrong)))
        assert message in raised.value.message
        assert str(tmp_path) in raised.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gz", tmp_path):
        with pytest.raises(EvidenceError, match="cannot be read"):
            read_run(path)


def test_bytes_after_the_compressed_stream_are_refused(tmp_path: Path) -> None:
    packed = a_file(tmp_path).read_bytes()
    with pytest.raises(EvidenceError, match="damaged"):
        read_run(as_file(tmp_path, packed + b"more", "tail.gz"))


# Bombs


def bomb(line: bytes, count: int) -> bytes:
    """Return a gzip stream of a header and `count` megabytes of `line`."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(encode_line(header(profile())))]
    block = line * max(1, (1 << 20) // len(line))
    parts += [packer.compress(block) for _ in range(count)]
    return b"".join([*parts, packer.flush()])


def test_a_gzip_bomb_ends_in_a_message_in_little_memory(tmp_path: Path) -> None:
    one_line = as_file(tmp_path, bomb(b"0", 100), "line.gz")
    assert one_line.stat().st_size < 200_000
    many = as_file(tmp_path, bomb(encode_line(exchange(CHECK.id)), 40), "many.gz")
    cases = as_file(tmp_path, bomb(encode_line(case(CHECK.id, Outcome.PASS)), 12), "cases.gz")
    limits = Limits(total_bytes=32 << 20, kept_bytes=4 << 20)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EvidenceError, match="line 2: longer than"):
        read_run(one_line)
    with pytest.raises(EvidenceError, match="more than 33554432 bytes of records"):
        read_run(many, limits=limits)
    with pytest.raises(EvidenceError, match="bytes besides the exchanges"):
        read_run(cases, limits=limits)
    # The peak only rises: what this test added to it, whatever ran before in this process.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


def test_a_line_of_100_mb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(encode_line(header(profile())) + b'{"kind":"exchange",')
        file.seek(100 << 20, os.SEEK_CUR)
        file.write(b"}\n")
    with pytest.raises(EvidenceError, match="line 2: longer than 16777216 bytes"):
        read_run(path)


# Full disk

FULL_DISK = """
import resource, sys
from pathlib import Path
from certification.errors import HarnessError
from certification.evidence import EvidenceWriter, encode_line
from certification.evidence import read_run
from certification.model import Outcome
from tests.judging.made import case, exchange, header, profile

limit, path = int(sys.argv[1]), Path(sys.argv[2])
writer = EvidenceWriter(path)
writer.write(header(profile()))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    for number in range(1000):
        writer.write(exchange("functional/a/x", number))
    writer.close(ended="completed", ended_at="")
except HarnessError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_is_a_harness_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "20000", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "evidence.jsonl: cannot be written" in done.stdout
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert len(content) <= 20000
    assert read_run(path).footer is None
    assert len(list(iter_exchanges(path))) > 20


def test_no_room_for_the_compressed_file_leaves_the_plain_one_with_its_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    writer = EvidenceWriter(tmp_path / "evidence.jsonl")
    writer.write(made().header)
    monkeypatch.setattr("certification.evidence.os.fsync", full)
    with pytest.raises(HarnessError, match="No space left on device"):
        writer.close(ended="completed", ended_at="")
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.jsonl"]
    assert read_run(tmp_path / "evidence.jsonl").footer is not None


def test_the_device_that_is_always_full(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    writer = EvidenceWriter(tmp_path / "run" / "evidence.jsonl")
    writer._file.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer._file = full
        with pytest.raises(HarnessError, match="No space left on device"):
            writer.write(made().header)
    assert writer.records == 0
