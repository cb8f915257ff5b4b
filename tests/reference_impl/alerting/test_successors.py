"""What one worker saw before it died or lost its lease, its successor goes on from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_impl import background, health, metrics, recoveries, runtime_dir
from reference_impl.alerting import evaluator, judge
from reference_impl.alerting.looks import Looks, line
from reference_impl.alerting.machine import Fire
from tests.reference_impl._desk import Desk, opened

GAP_S = background.LEASE_MS / 1000 + 2


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """In a server's folder, with the shortest of times."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    with opened(tmp_path, alert_scale=60.0) as found:
        monkeypatch.setenv(runtime_dir.VARIABLE, str(folder))
        yield found


def own(desk: Desk, seconds: float = 1.0) -> None:
    desk.hands.advance(seconds)
    desk.app.extensions["alluse.background"].tend()


def look(desk: Desk, judging: evaluator.Evaluator, seconds: float = 1.0) -> list[str]:
    own(desk, seconds)
    changes = judging.look(desk.hands.now, evaluator.scrape(desk.services))
    return [change.key[0] for change in changes if isinstance(change, Fire)]


def test_what_happened_between_two_evaluators_fires(desk: Desk) -> None:
    first = evaluator.Evaluator(desk.services)
    for _ in range(3):
        assert look(desk, first) == []
    desk.services.metrics.count(metrics.FAILURES, ("busy",))
    second = evaluator.Evaluator(desk.services)
    assert look(desk, second, GAP_S) == ["WritesFail"]
    look(desk, second)
    assert look(desk, first) == []  # it has the lease again: it knows what the other saw
    assert first.history.now_s == desk.hands.now / 1000


def test_what_the_first_could_not_write_the_second_fires(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluator.Evaluator(desk.services)
    look(desk, first)
    desk.services.metrics.count(metrics.FAILURES, ("busy",))
    with monkeypatch.context() as hurt:
        hurt.setattr(first, "_write", lambda *_: (_ for _ in ()).throw(background.LostLeaseError()))
        with pytest.raises(background.LostLeaseError):
            look(desk, first)
    assert look(desk, evaluator.Evaluator(desk.services), 4) == ["WritesFail"]


def test_nothing_is_said_of_a_gap_that_is_too_long(desk: Desk) -> None:
    look(desk, evaluator.Evaluator(desk.services))
    desk.services.metrics.count(metrics.FAILURES, ("busy",))
    second = evaluator.Evaluator(desk.services)
    assert look(desk, second, 60) == []
    assert not second.history.reaches(second.history.now_s - 1)


def test_the_files_of_the_looks_stay_short_and_reach_back_far_enough(tmp_path: Path) -> None:
    history, looks = judge.history(60.0), Looks(tmp_path)
    for at in range(1, 1000):
        looks.add(line(float(at), history.add(float(at), {}), {("Rule", ("a",)): at}), 60.0)
    assert not looks.changed()
    with (tmp_path / "looks").open("ab") as file:
        file.write(b"\n[1000, [nul")  # killed in the middle
    following = Looks(tmp_path)
    assert following.changed()
    found = list(following.read())
    assert found[-1].pending == (("Rule", ("a",), 999),)
    assert [look.at for look in found] == [float(at) for at in range(int(found[0].at), 1000)]
    assert 60 <= len(found) <= 125
    following.begin_anew()
    assert looks.changed()
    assert list(looks.read()) == []


def test_a_fault_that_is_over_under_the_next_watcher(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> list[tuple[str, int]]:
        rows = desk.get("/v1/recoveries").json["data"]
        return [(row["component"], row["duration_ms"]) for row in rows]

    first, second = recoveries.Watch(desk.services), recoveries.Watch(desk.services)
    with monkeypatch.context() as hurt:
        hurt.setitem(health.CHECKS, "disk:space", ("system", lambda _: {"status": "warn"}))
        own(desk)
        first.step()
    own(desk, GAP_S)
    second.step()
    assert shown() == [("disk", GAP_S * 1000)]
    first.step()  # watches again, and knows that it was told
    recoveries.Watch(desk.services).step()
    assert len(shown()) == 1
