"""Events to the notification system and reports to the reporting system, as these see them."""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from certification.counterparties.faults import FaultKind
from certification.counterparties.parties import Counterparties, first
from tests.reference_impl._waiting import eventually
from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    Client,
    Server,
    init_database,
    log_in,
    start_server,
)

QUICK = ("--call-timing", "300/1/1")

pytestmark = pytest.mark.filterwarnings(
    # of a simulator in this process that a server, killed with open connections, left behind
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(scope="module")
def parties() -> Iterator[Counterparties]:
    with Counterparties.start() as found:
        yield found


@contextlib.contextmanager
def told(parties: Counterparties) -> Iterator[None]:
    """Say in the environment where notification and reporting are."""
    with pytest.MonkeyPatch.context() as patch:
        for name, party in (
            ("NOTIFICATION", parties.notification),
            ("REPORTING", parties.reporting),
        ):
            patch.setenv(f"ALLUSE_COUNTERPARTY_{name}_URL", party.url)
            patch.setenv(f"ALLUSE_COUNTERPARTY_{name}_TOKEN", party.token)
        yield


@pytest.fixture(scope="module")
def served(parties: Counterparties, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = init_database(tmp_path_factory.mktemp("parties") / "book.db")
    with told(parties):
        running = start_server(database, *QUICK)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def boss(served: Server) -> Client:
    return log_in(served.port, "admin", ADMIN_PASSWORD)


def events(boss: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = boss.get("/v1/events?limit=200").body
    found += page["data"]
    while page["next_cursor"]:
        page = boss.get(f"/v1/events?cursor={page['next_cursor']}").body
        found += page["data"]
    return found


def delivered(parties: Counterparties, boss: Client) -> bool:
    wanted = [event["id"] for event in events(boss)]
    return bool(set(wanted) <= set(parties.notification.state()["last_event_ids"]))


SET_ASIDE = 'delivery_events_total{outcome="set_aside",system="notification"} '
BACKLOG = 'outbox_backlog_events{consumer="notification"} '


def figure(boss: Client, name: str) -> float:
    """Return one series of the metrics."""
    text = boss.get("/metrics", check=False).body
    found = [line for line in text.splitlines() if line.startswith(name)]
    return float(found[0].rpartition(" ")[2])


def test_every_event_of_the_feed_arrives_in_order(parties: Counterparties, boss: Client) -> None:
    mark = parties.notification.mark()
    accounts = [boss.funded(1000)["id"] for _ in range(3)]
    for turn in range(30):
        one, other = accounts[turn % 3], accounts[(turn + 1) % 3]
        boss.book("transfer", 1, from_account_id=one, to_account_id=other)
    assert eventually(lambda: delivered(parties, boss))
    assert parties.notification.state()["out_of_order"] == 0
    assert parties.notification.violations(since=mark) == ()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FaultKind.STATUS, {"status": 500}),
        (FaultKind.STATUS, {"status": 503, "effect": True}),
        (FaultKind.HANG, {"effect": True}),
        (FaultKind.RATE_LIMIT, {"retry_after_s": 1}),
        (FaultKind.REFUSE, {}),
        (FaultKind.MALFORMED, {"form": "json"}),
    ],
)
def test_what_fails_is_sent_again_as_it_was_and_nothing_is_lost(
    parties: Counterparties, boss: Client, kind: FaultKind, options: dict[str, Any]
) -> None:
    party = parties.notification
    assert eventually(lambda: delivered(parties, boss))
    mark = party.mark()
    when = {} if kind is FaultKind.REFUSE else {"when": first(3)}
    with party.fault(kind, **when, **options):  # type: ignore[arg-type]
        account = boss.funded(500)
        for _ in range(5):
            boss.book("deposit", 1, to_account_id=account["id"])
        answered = boss.get(f"/v1/accounts/{account['id']}").body["balances"]["ledger"]
        assert answered == 505
        time.sleep(0.4)
    assert eventually(lambda: delivered(parties, boss))
    assert party.state()["out_of_order"] == 0
    assert party.violations(since=mark) == ()
    for tried in party.attempts(since=mark, operation="deliverEvents"):
        assert tried.payloads == 1
        assert tried.effects <= 1


def test_what_the_receiver_refuses_for_its_content_is_found_and_set_aside(
    parties: Counterparties, boss: Client
) -> None:
    party = parties.notification
    # What it took but could not say so is sent again, and would be refused as well.
    assert eventually(lambda: delivered(parties, boss) and figure(boss, BACKLOG) == 0)
    before = len(events(boss))
    start = figure(boss, SET_ASIDE)
    with party.fault(FaultKind.STATUS, status=422):
        for _ in range(4):
            boss.account()
        assert eventually(lambda: figure(boss, SET_ASIDE) - start == len(events(boss)) - before)
    last = boss.account()["id"]
    assert eventually(lambda: [e for e in events(boss) if e["subject"] == last])
    newest = events(boss)[-1]["id"]
    assert eventually(lambda: newest in party.state()["last_event_ids"])
    assert boss.get("/health/ready").status == 200


def test_a_report_is_pushed_once_and_says_so(parties: Counterparties, boss: Client) -> None:
    party = parties.reporting
    mark = party.mark()
    account = boss.funded(500)
    with party.fault(FaultKind.STATUS, status=503, effect=True, when=first(2)):
        made = boss.post("/v1/reports", {"report": "entries", "account_id": account["id"]})
        path = made.headers["location"]
        found = eventually(
            lambda: (r := boss.get(path).body).get("push", {}).get("status") == "pushed" and r, 30
        )
    kept = [r for r in party.state()["reports"] if r["report_ref"] == found["id"]]
    assert len(kept) == 1
    assert kept[0]["report_id"] == found["push"]["remote_id"]
    shown = next(each for each in found["exports"] if each["format"] == "json")
    assert kept[0]["sha256"] == shown["sha256"]
    assert party.violations(since=mark) == ()
    tried = party.attempts(since=mark, operation="pushReport")
    assert [(each.payloads, each.effects) for each in tried] == [(1, 1)]


def test_a_report_that_is_refused_says_why(parties: Counterparties, boss: Client) -> None:
    account = boss.funded(500)
    with parties.reporting.fault(FaultKind.STATUS, status=422, operations=("pushReport",)):
        made = boss.post("/v1/reports", {"report": "entries", "account_id": account["id"]})
        path = made.headers["location"]
        found = eventually(
            lambda: (r := boss.get(path).body).get("push", {}).get("status") == "failed" and r, 30
        )
    assert found["push"]["error"]
    assert found["push"]["pushed_at"] is None
    assert boss.get(f"{path}/export", check=False).status == 200


def test_a_killed_server_goes_on_where_it_was(
    parties: Counterparties, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = init_database(tmp_path_factory.mktemp("killed") / "book.db")
    with told(parties):
        server = start_server(database, *QUICK)
        boss = log_in(server.port, "admin", ADMIN_PASSWORD)
        mark = parties.notification.mark()
        account = boss.funded(500)
        with parties.notification.fault(FaultKind.SLOW, delay_s=0.2):

            def a_second_delivery_has_begun() -> bool:
                boss.book("deposit", 1, to_account_id=account["id"])
                return parties.notification.mark() > mark + 1

            assert eventually(a_second_delivery_has_begun)
            server.stop(signal.SIGKILL)
        server = start_server(database, *QUICK)
        try:
            boss = log_in(server.port, "admin", ADMIN_PASSWORD)
            assert eventually(lambda: delivered(parties, boss), 30)
            assert parties.notification.state()["out_of_order"] == 0
            assert parties.notification.violations(since=mark) == ()
        finally:
            server.stop(signal.SIGKILL)
