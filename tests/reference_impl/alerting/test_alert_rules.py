"""Each rule, with a virtual clock: silent while all is well, fires after its `for`, and ends."""

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

import reference_impl
from reference_impl.alerting import judge
from reference_impl.alerting.history import History
from reference_impl.alerting.machine import Fire, Machine, Standing, Tell
from reference_impl.alerting.rules import BY_NAME, MEASURED, RULES

EVERY_S = 60.0
BEGIN_S = 1_800_000_000.0
WELL_S = 70 * 60.0
REQUESTS = "http_server_request_duration_seconds"
CALLS = "integration_call_duration_seconds_count"
EDGES = ("0.02", "0.05", "0.1", "0.2", "0.5", "+Inf")

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class World:
    """What a deployment exposes; counters grow as `a_second` says, gauges are as they are."""

    def __init__(self) -> None:
        self.now_s = BEGIN_S
        self.gauges: Series = {}
        self.counters: Series = {}
        self.a_second: Series = {}
        for name, value in (
            ("system_cpus", 4),
            ("system_memory_available_bytes", 6e9),
            ("system_memory_total_bytes", 8e9),
            ("process_resident_memory_bytes", 2e8),
            ("disk_free_bytes", 50e9),
            ("disk_size_bytes", 100e9),
            ("process_open_fds", 60),
            ("process_max_fds", 1024),
            ("process_workers", 2),
            ("process_start_time_seconds", BEGIN_S - 7200),
            ("http_server_active_requests", 3),
            ("http_server_threads", 64),
            ("writer_queue_length", 2),
            ("writer_queue_limit", 1024),
            ("db_integrity_ok", 1),
        ):
            self.gauge(name, value)
        self.gauge("outbox_backlog_events", 12, consumer="mail")
        self.gauge("integration_breaker_state", 0, system="market")
        for name, rate in (
            ("process_cpu_seconds_total", 0.8),
            ("process_worker_starts_total", 0),
        ):
            self.grows(name, rate)
        self.grows("log_records_total", 0, level="error")
        for code in ("circuit_open", "integration_unavailable"):
            self.grows("http_server_problems_total", 0, code=code)
        self.grows("background_failures_total", 0, job="sweep")
        self.grows("events_total", 0, type="alluse.login.locked")
        self.grows("db_commit_failures_total", 0, reason="busy")
        self.grows("ledger_transactions_total", 1, kind="transfer", outcome="posted")
        self.grows(CALLS, 2, system="market", outcome="ok")
        self.grows(CALLS, 0, system="market", outcome="timeout")
        self.histogram(REQUESTS, 2, "0.02", method="POST", route="/v1/transactions", status="201")
        self.histogram(REQUESTS, 0.5, "0.5", method="POST", route="/v1/auth/login", status="200")
        self.histogram("db_commit_duration_seconds", 2, "0.02")
        self.histogram("db_read_duration_seconds", 2, "0.05")

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.gauges[name, tuple(labels.items())] = value

    def grows(self, name: str, a_second: float, **labels: str) -> None:
        key = name, tuple(labels.items())
        self.a_second[key] = a_second
        self.counters.setdefault(key, 0.0)

    def histogram(self, name: str, a_second: float, edge: str, **labels: str) -> None:
        """Let values fall into the bucket of `edge` from now on."""
        self.grows(f"{name}_count", a_second, **labels)
        for upper in EDGES:
            self.grows(
                f"{name}_bucket", a_second * (float(upper) >= float(edge)), **labels, le=upper
            )

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        for key, rate in self.a_second.items():
            self.counters[key] += rate * seconds

    def samples(self) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
        found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for (name, labels), value in (self.gauges | self.counters).items():
            found.setdefault(name, []).append((dict(labels), value))
        return found

    def drop(self, name: str) -> None:
        for held in (self.gauges, self.counters, self.a_second):
            for key in [key for key in held if key[0] == name]:
                del held[key]


class Watcher:
    """A machine over the history of a world; remembers what fires."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.history: History = judge.history(1.0)
        self.machine = Machine(rules=RULES, scale=1.0)
        self.standing: dict[str, Standing] = {}

    def run(self, seconds: float, each: Callable[[World], None] = lambda _: None) -> set[str]:
        """Go on for so long; return the names that fired meanwhile."""
        fired = set()
        end_s = self.world.now_s + seconds
        while self.world.now_s < end_s:
            self.world.later(EVERY_S)
            each(self.world)
            fired |= self.look()
        return fired

    def look(self) -> set[str]:
        self.history.add(self.world.now_s, self.world.samples())
        holding = judge.holding(self.history, 1.0)
        now_ms = int(self.world.now_s * 1000)
        changes = self.machine.step(now_ms, holding, list(self.standing.values()), [])
        fired = set()
        for change in changes:
            if isinstance(change, Fire):
                name = change.key[0]
                fired.add(name)
                self.standing[f"{change.key}"] = Standing(
                    id=f"{change.key}", key=change.key, told_at=now_ms
                )
            elif isinstance(change, Tell) and change.kind == "resolved":
                del self.standing[change.id]
        return fired


def _gauge(name: str, value: float, **labels: str) -> Callable[[World], None]:
    return lambda world: world.gauge(name, value, **labels)


def _grows(name: str, rate: float, **labels: str) -> Callable[[World], None]:
    return lambda world: world.grows(name, rate, **labels)


def _falls(name: str, rate: float) -> Callable[[World], None]:
    """A gauge that changes by `rate` a second from now on."""
    state: dict[str, float] = {}

    def change(world: World) -> None:
        key = next(key for key in world.gauges if key[0] == name)
        state.setdefault("value", world.gauges[key])
        state["value"] += rate * EVERY_S
        world.gauges[key] = state["value"]

    return change


def _slow_payments(world: World) -> None:
    labels = {"method": "POST", "route": "/v1/transactions", "status": "201"}
    world.histogram(REQUESTS, 2, "0.5", **labels)


def _failing(world: World) -> None:
    labels = {"method": "GET", "route": "/v1/accounts", "status": "500"}
    world.histogram(REQUESTS, 0.2, "0.02", **labels)


def _no_requests(world: World) -> None:
    for name, labels in list(world.a_second):
        if name.startswith(REQUESTS):
            world.grows(name, 0.1 if name.endswith("count") else 0, **dict(labels))


def _overload(world: World) -> None:
    world.gauge("writer_queue_length", 900)
    world.gauge("http_server_active_requests", 60)
    world.histogram("db_commit_duration_seconds", 2, "0.1")


def _calls(bad: float) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.grows(CALLS, 2 - bad, system="market", outcome="ok")
        world.grows(CALLS, bad, system="market", outcome="timeout")

    return change


def _start_a_worker(world: World) -> None:
    key = ("process_worker_starts_total", ())
    world.counters[key] = 3.0


FAULTS: dict[str, Callable[[World], None]] = {
    "CpuHigh": _grows("process_cpu_seconds_total", 3.5),
    "MemoryHigh": _gauge("system_memory_available_bytes", 1e9),
    "MemoryRunsOut": _falls("process_resident_memory_bytes", 5e5),
    "DiskHigh": _gauge("disk_free_bytes", 15e9),
    "DiskFull": _gauge("disk_free_bytes", 9e9),
    "DiskRunsOut": _falls("disk_free_bytes", -4e6),
    "FilesHigh": _gauge("process_open_fds", 1800),
    "WorkerReplaced": _start_a_worker,
    "ErrorsHigh": _failing,
    "LatencyHigh": _slow_payments,
    "TransactionsSlow": _slow_payments,
    "ThroughputFallen": _no_requests,
    "ThreadsBusy": _gauge("http_server_active_requests", 62),
    "WriteQueueHigh": _gauge("writer_queue_length", 900),
    "Overloaded": _overload,
    "ErrorsLogged": _grows("log_records_total", 0.05, level="error"),
    "BackgroundFails": _grows("background_failures_total", 0.05, job="sweep"),
    "LoginsAttacked": _grows("events_total", 0.05, type="alluse.login.locked"),
    "WritesFail": _grows("db_commit_failures_total", 0.05, reason="busy"),
    "CommitsSlow": lambda world: world.histogram("db_commit_duration_seconds", 2, "0.1"),
    "QueriesSlow": lambda world: world.histogram("db_read_duration_seconds", 2, "0.2"),
    "IntegrityUnknown": _gauge("db_integrity_ok", 0),
    "TransactionsFallen": _grows(
        "ledger_transactions_total", 0.1, kind="transfer", outcome="posted"
    ),
    "EventsWait": _gauge("outbox_backlog_events", 20_000, consumer="mail"),
    "EventsPileUp": _falls("outbox_backlog_events", 80.0),
    "BreakerOpen": _gauge("integration_breaker_state", 2, system="market"),
    "CallsFail": _calls(0.4),
    "IntegrationUnreliable": _calls(0.1),
    "MetricMissing": lambda world: world.drop("disk_free_bytes"),
}


@pytest.fixture(scope="module")
def well_for_long() -> Watcher:
    watcher = Watcher(World())
    assert watcher.run(WELL_S) == set()
    return watcher


def test_every_rule_has_a_fault() -> None:
    assert set(FAULTS) == set(BY_NAME)
    assert {rule.kind for rule in RULES} == {"threshold", "anomaly", "composite", "trend"}


def test_what_no_real_fault_shows_is_said_on_the_page() -> None:
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("*_faults*.py"))
    page = Path(reference_impl.__file__).parent / "docs" / "operations" / "alerts.md"
    said = page.read_text("utf-8").partition("## What the tests make happen")[2]
    fed = {name for name in BY_NAME if f"|{name}|" in said}
    assert fed == {name for name in BY_NAME if f'"{name}"' not in tests.replace(HOST_RULES, "")}
    assert len(fed) < 6


HOST_RULES = '{"DiskHigh", "DiskFull", "DiskRunsOut", "MemoryHigh", "CpuHigh", "CommitsSlow"}'
"""Named in a test because they may fire by chance."""


def test_nothing_fires_while_all_is_well() -> None:
    assert Watcher(World()).run(3 * 3600) == set()


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_rule_fires_for_its_fault_after_its_time_and_ends(
    name: str, well_for_long: Watcher
) -> None:
    rule, watcher = BY_NAME[name], copy.deepcopy(well_for_long)
    world = watcher.world
    well = {key: dict(held) for key, held in (("g", world.gauges), ("r", world.a_second))}
    began_s, fired_s = world.now_s, 0.0
    while world.now_s - began_s < 2 * 3600 and not fired_s:
        if name in watcher.run(EVERY_S, FAULTS[name]):
            fired_s = world.now_s
    assert fired_s, f"{name} never fired"
    assert fired_s - began_s >= rule.for_s
    if rule.for_s <= 300 and rule.kind == "threshold":
        assert fired_s - began_s <= rule.for_s + 10 * 60
    world.gauges, world.a_second = dict(well["g"]), dict(well["r"])
    for key in world.a_second:
        world.counters.setdefault(key, 0.0)
    watcher.run(100 * 60)
    assert not [alert for alert in watcher.standing.values() if alert.key[0] == name]


def test_few_events_say_nothing_of_proportions() -> None:
    world = World()
    for key in list(world.a_second):
        world.a_second[key] = 0.0
    watcher = Watcher(world)
    watcher.run(WELL_S)
    labels = (("method", "GET"), ("route", "/v1/accounts"), ("status", "500"))
    for edge in EDGES:
        world.counters[f"{REQUESTS}_bucket", (*labels, ("le", edge))] = float(edge == "+Inf")
    world.counters[f"{REQUESTS}_count", labels] = 1.0
    world.counters[CALLS, (("system", "market"), ("outcome", "timeout"))] += 1
    assert watcher.run(600) == set()


def _answers(world: World, number: float, code: str, status: str = "503") -> None:
    """Have so many requests answered with a problem, at once."""
    labels = (("method", "POST"), ("route", "/v1/orders"), ("status", status))
    problem = ("http_server_problems_total", (("code", code),))
    for key in [(f"{REQUESTS}_count", labels), problem]:
        world.counters[key] = world.counters.get(key, 0.0) + number


@pytest.mark.parametrize(
    ("number", "code", "fires"),
    [
        (4, "internal_error", False),
        (5, "internal_error", True),
        (200, "circuit_open", False),
        (200, "integration_unavailable", False),
    ],
)
def test_a_few_failures_and_those_of_an_outside_system_are_no_many_errors(
    number: int, code: str, *, fires: bool
) -> None:
    world = World()
    for key in world.a_second:
        world.a_second[key] *= 0.04  # a quiet night: 30 requests in the window
    watcher = Watcher(world)
    watcher.run(600)
    _answers(world, number, code)
    assert ("ErrorsHigh" in watcher.run(600)) == fires


def test_own_errors_are_seen_among_refusals_of_an_outside_system() -> None:
    world = World()
    watcher = Watcher(world)
    watcher.run(600)
    _answers(world, 100, "circuit_open")
    _answers(world, 20, "internal_error", "500")
    assert "ErrorsHigh" in watcher.run(600)


def test_a_counter_that_began_anew_does_not_look_like_a_leap() -> None:
    world = World()
    watcher = Watcher(world)
    watcher.run(WELL_S)
    for key in world.counters:
        world.counters[key] = 0.0
    assert watcher.run(600) - {"ThroughputFallen"} == set()


def test_a_new_evaluator_ends_no_alert_before_its_windows_are_full() -> None:
    world = World()
    first = Watcher(world)
    first.run(WELL_S)
    assert "WritesFail" in first.run(120, FAULTS["WritesFail"])
    world.grows("db_commit_failures_total", 0, reason="busy")
    second = Watcher(world)
    second.standing = first.standing
    second.run(240)
    assert second.standing
    second.run(120)
    assert not second.standing


def test_each_metric_that_must_be_there_is_missed_by_its_name() -> None:
    for name in MEASURED:
        world = World()
        watcher = Watcher(world)
        watcher.run(300)
        world.drop(name)
        watcher.run(300)
        assert ("MetricMissing", (name,)) in {a.key for a in watcher.standing.values()}


def test_samples_come_in_order() -> None:
    watcher = Watcher(World())
    watcher.run(600)
    times = [at for at, _ in watcher.history.window(next(RULES[0].asks.selectors()), 0, 9e12)]
    assert all(a < b for a, b in pairwise(times))


def test_a_gap_in_what_can_be_read_does_not_look_like_a_leap() -> None:
    world = World()
    world.counters["events_total", (("type", "alluse.login.locked"),)] = 500.0
    watcher = Watcher(world)
    watcher.run(WELL_S)
    kept = (dict(world.gauges), dict(world.counters), dict(world.a_second))
    for name in ("events_total", "ledger_transactions_total"):
        world.drop(name)
    watcher.run(60)
    world.gauges, world.counters, world.a_second = kept
    assert watcher.run(600) == set()
