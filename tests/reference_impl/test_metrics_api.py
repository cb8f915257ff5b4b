"""Metrics from outside: two workers, known traffic, a killed worker, a locked book, odd input."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from certification.contract import load_contract
from reference_impl.app import create_app
from reference_impl.config import Settings
from reference_impl.metrics_requests import UNKNOWN, template
from reference_impl.metrics_store import Store

from ._waiting import eventually

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]
REQUESTS = "http_server_request_duration_seconds_count"


@pytest.fixture(scope="module")
def book(
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    from .conftest import init_database

    return init_database(tmp_path_factory.mktemp("metrics") / "book.db")


@pytest.fixture(scope="module")
def metered(book: Path) -> Iterator[Any]:
    """A server of its own: nobody else's requests are counted."""
    from .conftest import start_server

    running = start_server(book, "--workers", "2")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def root(metered: Any) -> Any:
    from .conftest import ADMIN_PASSWORD, log_in

    return log_in(metered.port, "admin", ADMIN_PASSWORD)


def scrape(client: Any, **headers: str) -> Scraped:
    """Return every sample; strictly parsed."""
    answer = client.get("/metrics", headers=headers or None)
    assert answer.status == 200, answer.body
    parse = parse_plain
    if headers:
        parse = parse_openmetrics
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
    else:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Scraped = {}
    for family in parse(answer.raw.decode()):
        assert family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "a series twice"
            found[key] = sample.value
    return found


def value(found: Scraped, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def total(found: Scraped, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(number for (own, has), number in found.items() if own == name and wanted <= has)


def fresh(client: Any) -> Any:
    """The same principal on a connection of its own, which another worker may answer."""
    return type(client)(client.port, token=client.token, user_id=client.user_id)


def test_the_hits_of_the_caches_are_counted_over_all_workers(root: Any) -> None:
    name, labels = "cache_lookups_total", {"cache": "verified_tokens", "outcome": "hit"}
    before = total(scrape(fresh(root)), name, **labels)
    for _ in range(50):  # more than the scrapes below look up themselves
        assert fresh(root).get("/v1/accounts").status == 200
    for _ in range(30):  # a worker samples itself once a second
        if total(scrape(fresh(root)), name, **labels) >= before + 45:
            return
        time.sleep(0.1)
    raise AssertionError("the hits of the workers are not among the metrics")


def test_every_declared_metric_is_there_in_both_forms(root: Any) -> None:
    declared = root.get("/.well-known/alluse").body["observability"]["metrics"]
    assert root.get("/v1/accounts/none").status == 404  # a problem, so that one is counted
    assert root.get("/v1/accounts").status == 200
    for headers in ({}, OPENMETRICS):
        names = {name for name, _ in scrape(root, **headers)}
        families = names | {re.sub(r"_(count|sum|bucket)$", "", name) for name in names}
        assert set(declared.values()) <= families
        assert not any(name.startswith("integration_") for name in names)  # none is built


def test_requests_are_counted_exactly_whichever_worker_answers(root: Any) -> None:
    account = root.account()
    before = scrape(root)
    path = f"/v1/accounts/{account['id']}"
    for _ in range(10):
        client = fresh(root)
        assert client.get(path).status == 200
        assert client.get("/v1/accounts/acc_unknown").status == 404
        assert client.get("/v1/nowhere", check=False).status == 404
    for after in (scrape(fresh(root)), scrape(fresh(root), **OPENMETRICS)):
        route = "/v1/accounts/{id}"

        def rise(status: str, of: str = route, now: Scraped = after) -> float:
            labels = {"method": "GET", "route": of, "status": status}
            return value(now, REQUESTS, **labels) - value(before, REQUESTS, **labels)

        assert (rise("200"), rise("404"), rise("404", UNKNOWN)) == (10, 10, 10)
        code = {"code": "not_found"}
        name = "http_server_problems_total"
        assert value(after, name, **code) - value(before, name, **code) == 20
        edges = {dict(has)["le"] for name, has in after if name.endswith("seconds_bucket")}
        assert {"0.02", "0.05", "0.1", "0.2", "+Inf"} <= edges


def test_business_counters_are_those_of_the_book(root: Any) -> None:
    before = scrape(root)
    source, target = root.funded(10_000), root.account()
    key = uuid.uuid4().hex
    parties = {"from_account_id": source["id"], "to_account_id": target["id"]}
    for _ in range(3):  # the same request: one transfer
        assert root.book("transfer", 250, key=key, **parties).status == 201
    assert root.book("transfer", 99_999, **parties).status == 422
    held = root.book("withdrawal", 100, from_account_id=source["id"], hold=True).body["id"]
    settled = root.post(f"/v1/transactions/{held}/settle", {})
    assert settled.status == 200
    tag = root.get(f"/v1/accounts/{target['id']}").headers["etag"]
    suspended = root.patch(f"/v1/accounts/{target['id']}", {"status": "suspended"}, tag=tag)
    assert suspended.status == 200
    after = scrape(fresh(root))

    def rise(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    name = "ledger_transactions_total"
    assert rise(name, kind="transfer", outcome="posted") == 1
    assert rise(name, kind="deposit", outcome="posted") == 1
    assert rise(name, kind="withdrawal", outcome="held") == 1
    assert rise(name, kind="withdrawal", outcome="settled") == 1
    assert rise("ledger_moved_minor_units_total", currency="USD") == 10_000 + 250 + 100
    assert rise("ledger_accounts", status="active") == 1
    assert rise("ledger_accounts", status="suspended") == 1
    accounts = root.get("/v1/accounts?limit=200").body["data"]
    held_by_customers = sum(one["balances"]["total_value"] for one in accounts)
    assert value(after, "ledger_customer_minor_units", currency="USD") == held_by_customers


def test_counters_never_go_back_when_a_worker_is_killed(root: Any, metered: Any) -> None:
    for _ in range(20):
        assert fresh(root).get("/v1/accounts").status == 200
    before = scrape(root)
    workers = worker_pids(metered.ready["pid"])
    assert len(workers) == 2
    assert value(before, "process_workers") == 2
    os.kill(workers[0], signal.SIGKILL)
    deadline = time.monotonic() + 15
    after = before
    while time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            after = scrape(fresh(root))
        except OSError:
            continue  # the connection was the killed worker's
        starts = "process_worker_starts_total"
        if value(after, starts) > value(before, starts) and value(after, "process_workers") == 2:
            break
    else:
        raise AssertionError("no second worker came up")
    for (name, labels), number in before.items():
        if name.endswith(("_total", "_count", "_bucket", "_sum")):
            assert after[name, labels] >= number, (name, labels)
    assert value(after, "process_start_time_seconds") == value(before, "process_start_time_seconds")
    assert value(after, "http_server_active_requests") == 1  # the scrape; not what was killed
    with contextlib.suppress(OSError):  # its own connection may be to the killed one
        root.get("/health/live")


def worker_pids(supervisor: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    main = [pid for pid, parent in parents.items() if parent == supervisor]
    return [pid for pid, parent in parents.items() if parent in main]


def test_scrapes_under_load_are_whole_and_rise(root: Any) -> None:
    source, target = root.funded(100_000), root.account()
    stop = threading.Event()
    sent = [0, 0]

    def transfer(place: int) -> None:
        client = fresh(root)
        while not stop.is_set():
            parties = {"from_account_id": source["id"], "to_account_id": target["id"]}
            sent[place] += client.book("transfer", 1, **parties).status == 201

    before = scrape(root)
    threads = [threading.Thread(target=transfer, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    last = before
    try:
        for _ in range(15):
            now = scrape(fresh(root))
            for (name, labels), number in last.items():
                if name.endswith(("_total", "_count")):
                    assert now[name, labels] >= number, (name, labels)
            last = now
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    after = scrape(root)
    kind = {"kind": "transfer", "outcome": "posted"}
    name = "ledger_transactions_total"
    assert value(after, name, **kind) - value(before, name, **kind) == sum(sent) > 0
    commits = "db_commit_group_size"
    grown = total(after, f"{commits}_sum") - total(before, f"{commits}_sum")
    assert grown >= sum(sent)  # the server's own work writes, too


def test_requests_that_are_open_are_active(root: Any, metered: Any) -> None:
    head = (
        f"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {root.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    ).encode()
    held = [socket.create_connection(("127.0.0.1", metered.port)) for _ in range(3)]
    try:
        for connection in held:
            connection.sendall(head)
        assert eventually(lambda: value(scrape(root), "http_server_active_requests") == 4)
    finally:
        for connection in held:
            connection.close()
    assert eventually(lambda: value(scrape(root), "http_server_active_requests") == 1)


def test_what_clients_make_up_is_no_label(root: Any) -> None:
    def ask() -> None:
        for _ in range(30):
            made_up = uuid.uuid4().hex
            root.get(f"/v1/accounts/{made_up}")
            root.get(f"/{made_up}", check=False)
            root.get(f"/v1/events?type={made_up}")
            root.send("BREW", "/v1/accounts", check=False)
            root.get("/health/live", headers={"Host": made_up})

    ask()
    before = scrape(root)
    ask()
    assert set(scrape(root)) == set(before)


def test_who_may_scrape(root: Any, metered: Any) -> None:
    from .conftest import PASSWORD, log_in

    def principal(*roles: str) -> Any:
        name = f"u-{uuid.uuid4().hex[:20]}"
        body = {"username": name, "password": PASSWORD, "roles": list(roles)}
        assert root.post("/v1/users", body).status == 201
        return log_in(metered.port, name, PASSWORD)

    assert type(root)(metered.port).get("/metrics").status == 401
    assert principal("customer").get("/metrics").code == "forbidden"
    machine = principal("service")
    assert machine.get("/metrics").code == "forbidden"
    grant = {"principal_id": machine.user_id, "scope": "metrics:read"}
    assert root.post("/v1/grants", grant).status == 201
    assert machine.get("/metrics").status == 200
    assert principal("operator").get("/metrics").status == 200


def test_a_locked_book_shows_in_readiness_and_metrics(root: Any, book: Path) -> None:
    before = value(scrape(root), "db_commit_failures_total", reason="busy")
    other = sqlite3.connect(book, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert eventually(lambda: root.get("/health/ready").status == 503)
        checks = root.get("/health/ready").body["checks"]
        assert checks["database:writer"][0]["status"] == "fail"
        assert checks["database:read"][0]["status"] == "pass"
        assert root.get("/health/live").status == 200
        assert eventually(
            lambda: value(scrape(root), "db_commit_failures_total", reason="busy") > before
        )
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert eventually(lambda: root.get("/health/ready").status == 200)


def test_switched_off_it_is_not_there_and_not_declared(tmp_path: Path) -> None:
    from .conftest import ADMIN_PASSWORD, init_database, log_in, start_server

    running = start_server(init_database(tmp_path / "b.db"), "--no-metrics", "--no-access-log")
    try:
        client = log_in(running.port, "admin", ADMIN_PASSWORD)
        assert client.get("/metrics", check=False).code == "not_found"
        declared = client.get("/.well-known/alluse").body
        assert "metrics" not in declared["observability"]
        assert "log_format" not in declared["observability"]
        (operations,) = [one for one in declared["modules"] if one["id"] == "operations"]
        assert "getMetrics" in json.dumps(operations["deviations"])
    finally:
        running.stop()


def test_route_labels_are_paths_of_the_contract(tmp_path: Path) -> None:
    from reference_impl import setup

    setup.create(tmp_path / "b.db", "admin", "an admin's long password")
    app = create_app(Settings(database=tmp_path / "b.db"))
    paths = {operation.path for operation in load_contract().operations.values()}
    routes = {template(rule.rule) for rule in app.url_map.iter_rules()}
    assert {route for route in routes if not route.startswith("/dashboards")} <= paths


def test_the_file_of_a_killed_worker_goes_on(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    for store in (first, second):
        store.add(store.place("c", ("x",)), 2)
        store.put(store.place("g", ()), 7)
    first.close()

    def summed(name: str, *, live: bool = False) -> float:
        found = [one for one in second.everything() if one.family == name]
        return sum(one.values[0] for one in found if one.live or not live)

    assert (summed("c"), summed("g", live=True)) == (4, 7)
    third = Store(tmp_path)
    third.clear(["g"])
    third.add(third.place("c", ("x",)), 1)
    assert (summed("c"), summed("g", live=True)) == (5, 7)
    assert len(list(tmp_path.iterdir())) == 2
    for store in (second, third):
        store.close()


def test_threads_lose_no_count() -> None:
    store = Store(None)
    place = store.place("c", ())

    def count() -> None:
        for _ in range(20_000):
            store.add(place, 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(place) == 80_000
    store.close()
