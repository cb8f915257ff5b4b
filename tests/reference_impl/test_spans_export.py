"""Spans as a collector gets them from a real server, and a server whose collector is no good."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference_impl import __version__, metrics, spans_otlp
from reference_impl.spans import Kind, Span
from reference_impl.tracing import accept

from ._collector import SERVER, Collector, collecting
from ._waiting import eventually
from .conftest import ADMIN_PASSWORD, Client, Server, init_database, log_in, start_server

PARENT = "00f067aa0ba902b7"
SERIES = "trace_spans_total"


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = init_database(tmp_path_factory.mktemp("spans") / "book.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=of%20the%20operator")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
        running = start_server(database, "--workers", "2", "--otlp-endpoint", collector.url)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def boss(traced: Server) -> Client:
    return log_in(traced.port, "admin", ADMIN_PASSWORD)


def header(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{PARENT}-{flags}"}


def counted(client: Any, outcome: str) -> float:
    text = client.get("/metrics").body
    name = f'{SERIES}{{outcome="{outcome}"}} '
    rows = [row for row in text.splitlines() if row.startswith(name)]
    return float(rows[0].removeprefix(name)) if rows else 0.0


def test_a_request_is_a_span_in_its_callers_trace(collector: Collector, boss: Client) -> None:
    account = boss.account()
    trace_id = secrets.token_hex(16)
    before_ns = time.time_ns()
    path = f"/v1/accounts/{account['id']}?fields=canary-91ce"
    assert boss.get(path, headers=header(trace_id), check=False).status < 500
    answered_ns = time.time_ns()
    (span,) = collector.wait(lambda held: held.of(trace_id))
    assert span.name == "GET /v1/accounts/{id}"
    assert (span.parent_id, span.kind, span.failed) == (PARENT, SERVER, False)
    assert span.attributes["http.route"] == "/v1/accounts/{id}"
    assert span.attributes["http.request.method"] == "GET"
    assert span.attributes["url.scheme"] == "http"
    assert span.attributes["http.response.status_code"] in {200, 400}
    assert set(span.attributes) == {
        "http.route",
        "http.request.method",
        "http.response.status_code",
        "url.scheme",
    }
    slack_ns = 50_000_000  # the two clocks of a span are read one after the other
    assert before_ns - slack_ns <= span.began_ns <= answered_ns
    assert 0 < span.took_ns <= answered_ns - before_ns + slack_ns
    assert span.resource["service.name"] == "alluse"
    assert span.resource["service.version"] == __version__
    assert span.resource["deployment.environment.name"] == "staging"
    assert len(str(span.resource["service.instance.id"])) == 36


def test_the_ids_are_those_of_the_access_log_and_of_the_outbox(
    collector: Collector, boss: Client
) -> None:
    trace_id = secrets.token_hex(16)
    body = {"type": "generation", "currency": "USD", "name": "Weekly income"}
    made = boss.post("/v1/accounts", body, headers=header(trace_id))
    found = boss.get(f"/v1/events?account_id={made.body['id']}").body["data"]
    (span,) = collector.wait(lambda held: held.of(trace_id))
    assert {event["traceparent"] for event in found} == {f"00-{trace_id}-{span.span_id}-01"}


def test_a_request_without_a_trace_is_a_root(collector: Collector, boss: Client) -> None:
    problem = boss.get("/v1/accounts/acc_unknown")
    assert problem.status == 404
    (span,) = collector.wait(lambda held: held.of(problem.body["trace_id"]))
    assert (span.parent_id, span.failed) == ("", False)
    assert span.attributes["http.response.status_code"] == 404
    assert "error.type" not in span.attributes


def test_what_a_client_makes_up_is_in_no_span(collector: Collector, boss: Client) -> None:
    canary, trace_id = f"canary{secrets.token_hex(8)}", secrets.token_hex(16)
    marked = {**header(trace_id), "X-Request-Id": canary, "User-Agent": canary}
    boss.get(f"/{canary}?{canary}=1", headers=marked, check=False)
    boss.send(canary[:6].upper(), "/v1/accounts", headers=marked, check=False)
    wrong = {"username": canary, "password": canary}
    boss.post("/v1/auth/login", wrong, key="", headers=marked)
    found = collector.wait(lambda held: len(held.of(trace_id)) == 3 and held.of(trace_id))
    assert {span.name for span in found} == {"GET", "HTTP", "POST /v1/auth/login"}
    assert {span.attributes["http.request.method"] for span in found} == {"GET", "_OTHER", "POST"}
    sent = b"".join(collector.bodies)
    for secret in (canary, canary[:6].upper(), str(boss.token), "admin", "127.0.0.1"):
        assert secret.encode() not in sent


def test_what_is_not_sampled_is_not_exported(collector: Collector, boss: Client) -> None:
    unsampled, sampled = secrets.token_hex(16), secrets.token_hex(16)
    for _ in range(5):
        boss.get("/v1/accounts", headers=header(unsampled, "00"))
    boss.get("/v1/accounts", headers=header(sampled))
    assert collector.wait(lambda held: held.of(sampled))
    time.sleep(1.5)  # longer than a span waits for others
    assert collector.of(unsampled) == []


def test_each_worker_exports_its_own(collector: Collector, boss: Client, traced: Server) -> None:
    def instances(held: Collector) -> set[Any]:
        return {span.resource["service.instance.id"] for span in list(held.spans)}

    def both() -> bool:
        Client(traced.port, token=boss.token).get("/v1/accounts")
        return len(instances(collector)) == 2

    assert eventually(both)


def test_it_goes_where_the_operator_says_with_the_headers_of_the_environment(
    collector: Collector, boss: Client
) -> None:
    boss.get("/v1/accounts")
    assert collector.wait(lambda held: held.requests)
    paths, headers = zip(*collector.requests, strict=True)
    assert set(paths) == {"/v1/traces"}
    assert {each["content-type"] for each in headers} == {"application/x-protobuf"}
    assert {each["x-scope"] for each in headers} == {"of the operator"}
    assert eventually(lambda: counted(boss, "exported") >= 1)
    assert counted(boss, "failed") == counted(boss, "dropped") == 0


def test_what_is_left_is_sent_when_the_server_stops(
    tmp_path: Path, run_server: Callable[..., Server]
) -> None:
    trace_id = secrets.token_hex(16)
    with collecting() as held:
        running = run_server(init_database(tmp_path / "b.db"), "--otlp-endpoint", held.url)
        client = log_in(running.port, "admin", ADMIN_PASSWORD)
        client.get("/v1/accounts", headers=header(trace_id))
        assert running.stop() == 0
        assert len(held.of(trace_id)) == 1


@pytest.mark.parametrize("fault", ["gone", "hangs", "fails", "redirects"])
def test_a_collector_that_is_no_good_holds_up_nothing(
    fault: str,
    tmp_path: Path,
    run_server: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with collecting() as held, collecting() as elsewhere, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}" if fault == "gone" else held.url
        if fault == "hangs":
            held.released.clear()
        if fault == "fails":
            held.status = 500
        if fault == "redirects":
            held.status, held.headers = 307, {"Location": f"{elsewhere.url}/v1/traces"}
        database, log = init_database(tmp_path / "b.db"), tmp_path / "stderr"
        with log.open("wb") as stderr:
            running = run_server(database, "--otlp-endpoint", url, stderr=stderr.fileno())
        client = log_in(running.port, "admin", ADMIN_PASSWORD)
        account = client.funded(1_000)
        for _ in range(20):
            assert client.balances(account)["ledger"] == 1_000
        assert eventually(lambda: counted(client, "failed") > 0)
        assert client.get("/health/ready").status == 200
        began_s = time.monotonic()
        assert running.stop(timeout_s=20) == 0
        assert time.monotonic() - began_s < 10
        assert (held.spans, elsewhere.requests) == ([], [])
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    told = [line["message"] for line in lines if line["logger"] == "reference_impl.spans_otlp"]
    assert 1 <= len(told) <= 2  # once in each worker that had something to send
    assert all(f"{url}/v1/traces does not take spans" in line for line in told)
    assert not [line for line in lines if line["logger"].startswith("opentelemetry")]


class Counts(metrics.Nothing):
    """Keeps what is counted of spans."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, ...], float] = {}

    def count(
        self, family: metrics.Family, labels: tuple[str, ...] = (), amount: float = 1
    ) -> None:
        assert family is metrics.SPANS
        self.seen[labels] = self.seen.get(labels, 0) + amount


def test_the_queue_is_bounded_and_what_does_not_fit_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spans_otlp, "WAITING_MAX", 10)
    monkeypatch.setattr(spans_otlp, "BATCH_MAX", 5)
    monkeypatch.setattr(spans_otlp, "DELAY_MS", 20)

    def span() -> Span:
        times = (time.time_ns(), time.time_ns())
        trace = accept(None)
        return Span(
            trace=trace, kind=Kind.CLIENT, name="x", times=times, attributes={}, failed=False
        )

    counts = Counts()
    with collecting() as held:
        held.released.clear()
        exported = spans_otlp.Exported(f"{held.url}/v1/traces", "here", counts)
        for _ in range(100):
            exported.put(span())
        lost = counts.seen["dropped",]
        assert 75 <= lost <= 90  # 10 wait, and at most three batches are on their way
        held.released.set()
        assert held.wait(lambda one: len(one.spans) == 100 - lost)
        assert eventually(lambda: counts.seen.get(("exported",)) == 100 - lost)
        exported.put(span())  # there is room again
        assert held.wait(lambda one: len(one.spans) == 101 - lost)
        assert counts.seen["dropped",] == lost
        exported.stop()
        exported.stop()


def test_stopping_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_otlp, "STOP_S", 0.2)
    with collecting() as held:
        held.released.clear()
        exported = spans_otlp.Exported(f"{held.url}/v1/traces", "here", Counts())
        times = (time.time_ns(), time.time_ns())
        exported.put(
            Span(
                trace=accept(None),
                kind=Kind.SERVER,
                name="x",
                times=times,
                attributes={},
                failed=True,
            )
        )
        ended = threading.Thread(target=exported.stop)
        ended.start()
        ended.join(10)
        assert not ended.is_alive()


def refused(database: Path, endpoint: str, **more: str) -> str:
    command = [sys.executable, "-m", "reference_impl", "serve", "--database", str(database)]
    result = subprocess.run(
        [*command, "--otlp-endpoint", endpoint],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **more},
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_what_cannot_work_is_refused_before_the_port_opens(
    tmp_path: Path, make_database: Callable[[Path], Path]
) -> None:
    database = make_database(tmp_path / "b.db")
    assert "otlp_endpoint" in refused(database, "127.0.0.1:4318")
    line = refused(database, "http://collector.example", OTEL_EXPORTER_OTLP_HEADERS="a=hush")
    assert "use https" in line
    assert "hush" not in line
    line = refused(database, "http://127.0.0.1:4318", OTEL_EXPORTER_OTLP_TIMEOUT="soon")
    assert "OTEL_EXPORTER_OTLP_TIMEOUT: the exporter cannot use it; give seconds" in line


def test_missing_packages_are_refused_naming_the_extra(
    tmp_path: Path, make_database: Callable[[Path], Path]
) -> None:
    (tmp_path / "opentelemetry.py").write_text(
        "raise ModuleNotFoundError('No module named opentelemetry', name='opentelemetry')"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    line = refused(make_database(tmp_path / "b.db"), "http://127.0.0.1:4318", PYTHONPATH=path)
    assert "alluse-certification[otel]" in line


OFF = """
import sys
from pathlib import Path
from reference_impl.app import create_app
from reference_impl.config import Settings
app = create_app(Settings(database=Path(sys.argv[1])))
assert app.test_client().get("/health/live").status_code == 200
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "requests")])
"""


def test_without_an_endpoint_nothing_is_imported(
    tmp_path: Path, make_database: Callable[[Path], Path]
) -> None:
    database = make_database(tmp_path / "b.db")
    ended = subprocess.run(
        [sys.executable, "-c", OFF, str(database)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == "[]\n"


def test_without_an_endpoint_no_series_is_there(server: Server, admin: Client) -> None:
    assert SERIES not in admin.get("/metrics").body
