"""The dashboards show what the metrics say, in every worker, and their history is bounded."""

import collections
import contextlib
import http.client
import itertools
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from reference_impl.dashboards import pages, reads, samples
from reference_impl.dashboards.expressions import Rate, Sample, Sum, Vector
from reference_impl.dashboards.figures import document
from reference_impl.dashboards.panels import Kind, Page, Panel, Query, Unit

Figures = dict[str, Any]
REQUESTS = "http_server_request_duration_seconds_count"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from .conftest import init_database, start_server

    database = init_database(tmp_path_factory.mktemp("dashboards") / "book.db")
    running = start_server(database, "--workers", "2")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def root(watched: Any) -> Any:
    from .conftest import ADMIN_PASSWORD, log_in

    return log_in(watched.port, "admin", ADMIN_PASSWORD)


def figures(client: Any, page: str, range_s: int = 900) -> Figures:
    answer = client.get(f"/dashboards/{page}/data?range_s={range_s}")
    assert answer.status == 200, answer.body
    return dict(answer.body)


def now(shown: Figures, panel: str) -> dict[str, float]:
    return {one["name"]: one["values"][-1] for one in shown["panels"][panel]["series"]}


def scraped(client: Any, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = collections.defaultdict(float)
    for family in parse(client.get("/metrics").raw.decode()):
        for sample in family.samples:
            if sample.name == name and sample.value:
                found[sample.labels.get(label, "")] += sample.value
    return dict(found)


def test_business_figures_are_those_of_the_metrics(root: Any) -> None:
    dollars, yen = root.funded(1_234_56), root.funded(5000, currency="JPY")
    root.book("withdrawal", 34_56, from_account_id=dollars["id"])
    root.patch(f"/v1/accounts/{yen['id']}", {"status": "suspended"}, tag='"1"')
    shown = figures(root, "business")
    assert now(shown, "held") == scraped(root, "ledger_customer_minor_units", "currency")
    assert now(shown, "held")["JPY"] == 5000
    assert now(shown, "accounts") == scraped(root, "ledger_accounts", "status")
    posted = scraped(root, "ledger_transactions_total", "kind")
    assert now(shown, "posted") == {"": sum(posted.values())}


def test_requests_of_all_workers_are_counted_in_the_rates(root: Any) -> None:
    until = time.monotonic() + 25
    while len(figures(root, "operational")["times"]) < 2:
        assert time.monotonic() < until, "no sample was kept"
        time.sleep(0.2)
    for _ in range(300):
        root.get("/v1/accounts?limit=1")
    shown = figures(root, "operational")
    (rates,) = [one for one in shown["panels"]["requests"]["series"] if one["name"] == "2xx"]
    spans = itertools.pairwise(shown["times"])
    drawn = sum(
        (rate or 0) * (to - at) for rate, (at, to) in zip(rates["values"][1:], spans, strict=True)
    )
    assert 300 <= drawn <= sum(scraped(root, REQUESTS, "route").values())
    assert now(shown, "workers") == {"": 2}
    assert now(shown, "error_share") == {"": 0}


def test_tables_show_what_the_api_answers(root: Any) -> None:
    account = root.account(name="The newest of all")
    shown = figures(root, "business")
    name, kind, status, holds, opened = shown["tables"]["newest_accounts"]["rows"][0]
    assert (name, kind, status, holds) == ("The newest of all", "generation", "active", "0.00 USD")
    assert opened == account["created_at"]
    health = figures(root, "operational")["tables"]["health"]["rows"]
    assert ["database:writer", "pass"] in [row[:2] for row in health]


def test_what_is_not_offered_is_said_not_to_be(root: Any) -> None:
    for page, table, path in (
        ("alerting", "alerts", "/v1/alerts"),
        ("operational", "integrations", "/v1/integrations"),
        ("operational", "recoveries", "/v1/recoveries"),
    ):
        found = figures(root, page)["tables"][table]
        offered = root.get(path, check=False).status == 200
        assert ("rows" in found) is offered, (table, found)
        if not offered:
            assert found["unavailable"].startswith("Not available")


def test_the_history_grows_by_itself_and_survives_the_worker_that_kept_it(
    tmp_path: Path,
    make_database: Callable[[Path], Path],
    run_server: Callable[..., Any],
    log_in_as: Callable[..., Any],
    admin_password: str,
) -> None:
    running = run_server(make_database(tmp_path / "book.db"), "--workers", "2")
    client = log_in_as(running.port, "admin", admin_password)

    def length() -> int:
        with contextlib.suppress(OSError, http.client.HTTPException):  # it was on the dead worker
            return len(figures(client, "technical", 3600)["times"])
        return 0

    def grown(to: int) -> None:
        until = time.monotonic() + 60
        while length() < to:
            assert time.monotonic() < until, f"{length()} samples, not {to}"
            time.sleep(0.5)

    grown(2)
    kept = length()
    os.kill(keeper(running.process.pid, tmp_path / "book.db"), signal.SIGKILL)
    grown(kept + 2)


def keeper(pid: int, database: Path) -> int:
    """Return the process that keeps the samples: workers leave notes of who they are."""

    def children(of: int) -> list[int]:
        return [int(one) for one in Path(f"/proc/{of}/task/{of}/children").read_text().split()]

    with contextlib.closing(sqlite3.connect(database)) as connection:
        query = "SELECT holder FROM leases WHERE name = ?"
        (holder,) = connection.execute(query, (samples.JOB,)).fetchone()
    (main,) = children(pid)
    (found,) = [worker for worker in children(main) if instance(worker) == holder]
    return found


def instance(worker: int) -> str:
    """Return who a worker is: it holds a file open in the folder where its note lies."""
    opened = (str(one.readlink()) for one in Path(f"/proc/{worker}/fd").iterdir())
    folders = [Path(path).parent for path in opened if Path(path).name.startswith("metrics-")]
    notes = [folder / f"worker-{worker}" for folder in folders]
    return "".join(note.read_text() for note in notes[:1] if note.is_file())


def counted(at_s: float, value: float) -> Sample:
    sums: dict[Sum, Vector] = {one: {} if one.by else {(): 0.0} for one in pages.SUMS}
    return Sample(at_s=at_s, sums={**sums, pages.SUMS[0]: {(): value}})


def test_the_history_is_bounded_and_gives_few_points_evenly_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "KEPT", 50)
    history = samples.History(tmp_path)
    for number in range(200):
        history.append(counted(1000.0 + number, number))
    lines = sum(path.read_bytes().count(b"\n") for path in tmp_path.iterdir())
    assert 50 <= lines <= 100
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(samples, "POINTS_MAX", 10)
    found = history.since(1150)
    assert len(found) == 10
    assert found[-1].at_s == 1199
    assert {b.at_s - a.at_s for a, b in itertools.pairwise(found)} == {5}
    assert found[-1].sums[pages.SUMS[0]] == {(): 199}


def test_half_a_line_is_passed_over(tmp_path: Path) -> None:
    history = samples.History(tmp_path)
    history.append(counted(10.0, 1))
    with (tmp_path / samples.NEW).open("ab") as file:
        file.write(b"[11.0,[[[[],")
    assert [one.at_s for one in history.since(0)] == [10.0]


def test_without_a_history_a_rate_is_not_made_up() -> None:
    counter = Sum(series="c_total")
    panel = Panel(
        id="p", title="P", kind=Kind.LINE, unit=Unit.COUNT, queries=(Query(show=Rate(counter)),)
    )
    page = Page(id="x", title="X", about="", parts=(panel,))
    first = Sample(at_s=1.0, sums={counter: {(): 5.0}})
    assert document(page, [first])["panels"]["p"]["series"] == []
    later = Sample(at_s=3.0, sums={counter: {(): 11.0}})
    restarted = Sample(at_s=4.0, sums={counter: {(): 2.0}})
    (line,) = document(page, [first, later, restarted])["panels"]["p"]["series"]
    assert line["values"] == [None, 3.0, None]


def test_a_rate_over_a_moment_is_not_drawn() -> None:
    old, young, present = (Sample(at_s=at_s, sums={}) for at_s in (90.0, 99.9, 100.0))
    assert samples.window([old, young], present) == [old, present]
    assert samples.window([young], present) == [present]
    assert samples.window([old], present) == [old, present]
    assert samples.window([], present) == [present]


@pytest.mark.parametrize(
    ("value", "currency", "said"),
    [
        (123456, "USD", "1,234.56 USD"),
        (-5, "USD", "-0.05 USD"),
        (5000, "JPY", "5,000 JPY"),
        (9_007_199_254_740_991, "BHD", "9,007,199,254,740.991 BHD"),
        ({"amount": 1, "currency": "BHD"}, None, "0.001 BHD"),
        ("5", "USD", ""),
        (5, "XXX", ""),
    ],
)
def test_money_is_written_exactly(value: Any, currency: Any, said: str) -> None:
    assert reads.money(value, currency) == said
