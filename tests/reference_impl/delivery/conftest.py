"""A server whose webhooks may lead to this machine and are tried again soon."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.reference_impl.conftest import (
    ADMIN_PASSWORD,
    Client,
    Server,
    init_database,
    log_in,
    start_server,
)

from ._receiver import Receiver, receiving

QUICK = ("--webhook-allow", "127.0.0.1", "--webhook-timing", "500/40/300")


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = init_database(tmp_path_factory.mktemp("hooks") / "book.db")
    running = start_server(database, *QUICK)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def boss(hooked: Server) -> Client:
    return log_in(hooked.port, "admin", ADMIN_PASSWORD)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def hook(boss: Client, receiver: Receiver) -> Iterator[dict[str, Any]]:
    """A webhook to the receiver, for all events; ended with the test."""
    made = boss.post("/v1/webhooks", {"url": receiver.url, "event_types": ["*"]})
    assert made.status == 201, made.body
    yield made.body
    ended = boss.send("DELETE", f"/v1/webhooks/{made.body['id']}", headers={"If-Match": "*"})
    assert ended.status in {204, 404}
